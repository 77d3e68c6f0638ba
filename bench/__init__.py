"""Benchmarks: each module shows one figure, by `dripd bench run NAME`."""
