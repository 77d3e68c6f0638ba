"""How many takes a second does one token bucket answer, and four at once?

`python bench/bucket.py [N]`: N takes of one token at 0.1 ms apart, half of them refused.
"""

from __future__ import annotations

import json
import sys
import time

from dripd.clock import Instant, Millis
from dripd.ratelimit.bucket import GRANTED, Bucket, Rate
from dripd.ratelimit.buckets import take_all

START = Instant(1_767_225_600_000)
RATE = Rate(n=5, per_ms=Millis(1), burst=100)


def run(n: int | None = None) -> dict[str, float]:
    """Take *n* tokens (a million) one by one, ten a millisecond from a rate of five."""
    n = n or 1_000_000
    bucket, granted = Bucket(RATE), 0
    began = time.perf_counter()
    for i in range(n):
        granted += bucket.take(1, Instant(START + i // 10)) is GRANTED
    seconds = time.perf_counter() - began
    most = RATE.burst + RATE.n * ((n - 1) // 10)
    if granted != min(n, most):
        raise AssertionError(f"{granted} of {n} tokens granted, not {most}")
    return {"n": n, "seconds": seconds, "per_s": n / seconds, "four_us": _four_us()}


def _four_us(n: int = 20_000) -> float:
    buckets = [Bucket(RATE) for _ in range(4)]
    began = time.perf_counter()
    for i in range(n):
        take_all(buckets, 1, Instant(START + i))
    return (time.perf_counter() - began) / n * 1e6


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
