"""The queues that somebody could take instead of dripd, each as a worker process.

A worker is told what to do by lines of JSON on stdin and answers each with one on stdout:
`{"do": "fill", "n": N}` makes N jobs that are due, `{"do": "fill_at", "at": [...]}` one at each
instant, `{"do": "work", "n": N, "post": bool, "drain": bool}` works until N jobs have been
handled (and, with `drain`, nothing is left in its tables); it answers `{"first": n}` as soon as
one is handled, and at the end `{"done": n, "late_ms": [...]}`; it stops when it is told anything more, for
connections that end while CPU is read would be missed. Everything is measured from outside, the same way for all.
"""
