"""How fast through several buckets at once: those of account, sender, provider and domain."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.clock import Instant, Millis
from dripd.ratelimit.bucket import GRANTED, Answer, Bucket, Wait


def take_all(buckets: Sequence[Bucket], n: int, now: Instant) -> Answer:
    """Take *n* tokens from every one of *buckets* at *now*, or from none.

    The order does not matter, and a bucket named twice is taken from once. `Wait` is that of
    the slowest: after it all of them grant, if nobody else took in between.

    Raises `ValueError` if *n* is negative or exceeds the burst of one; then nothing is taken.
    """
    several = dict.fromkeys(buckets)
    wait = max((bucket.wait_ms(n, now) for bucket in several), default=Millis(0))
    if wait:
        return Wait(wait)
    for bucket in several:
        bucket.take(n, now)
    return GRANTED
