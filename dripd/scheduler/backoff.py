"""How long until the next attempt? Exponential, with a jitter that is no dice.

The jitter is a hash of key and attempt, so that forecast, explain and reality agree, and a
restarted daemon waits exactly as long as the one before it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from dripd.clock import HOUR, MINUTE, Millis

JITTER_PERMILLE: Final = 200
"""The jitter moves a delay by at most this share, up or down."""

_LONGEST_SHIFT: Final = 48
_SIX_HOURS: Final = Millis(6 * HOUR)


def delay_ms(
    attempt: int, key: str, *, base: Millis = MINUTE, ceiling: Millis = _SIX_HOURS
) -> Millis:
    """How long to wait after *attempt* (from 1) failed, before the next one.

    *base* doubled with every attempt, at most *ceiling*, then moved by up to a fifth. *key*
    is what is attempted; the same key and attempt give the same delay for ever.

    Raises `ValueError` if *attempt* is below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt}: attempts are numbered from 1")
    plain = min(base << min(attempt - 1, _LONGEST_SHIFT), ceiling)
    return Millis(plain + plain * _jitter_permille(attempt, key) // 1000)


def exhausted(attempt: int, *, most: int = 8) -> bool:
    """Whether no attempt may follow *attempt*, when *most* may be made."""
    return attempt >= most


def _jitter_permille(attempt: int, key: str) -> int:
    digest = blake2b(f"{attempt}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (2 * JITTER_PERMILLE + 1) - JITTER_PERMILLE
