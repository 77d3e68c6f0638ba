"""How long does a mailbox rest between two messages? As long as a person might take.

The length of one rest is drawn from a span by a hash of the message before it, not by dice:
whoever asks again, also after a restart, is told the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from dripd.clock import DAY, HOUR, MINUTE, SECOND, Millis

_SPAN: Final = re.compile(r"([0-9]{1,6})(s|m|h)?(?:\s*-\s*([0-9]{1,6})(s|m|h))?")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR}
_HINT: Final = "write 90s, or 60s-120s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """At least *least_ms*, at most *most_ms*, both included, between two messages."""

    least_ms: Millis
    most_ms: Millis

    def after(self, key: str) -> Millis:
        """The rest after the message *key*: the same for the same key, for ever."""
        digest = blake2b(key.encode(), digest_size=8).digest()
        span = self.most_ms - self.least_ms + 1
        return Millis(self.least_ms + int.from_bytes(digest) % span)


def parse_gap(text: str) -> Gap:
    """Read `90s`, `60s-120s` or `60-120s`; a bare number takes the unit behind the dash.

    Raises `ValueError`, saying what to write, if *text* is none of it, holds no time, ends
    before it begins, or is longer than a day.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or not (found[2] or found[4]):
        raise ValueError(f"{text!r} is no gap; {_HINT}")
    least = int(found[1]) * _UNITS[found[2] or found[4]]
    most = least if found[3] is None else int(found[3]) * _UNITS[found[4]]
    if not 0 < least <= most <= DAY:
        raise ValueError(f"{text!r} is no gap from something up to a day; {_HINT}")
    return Gap(least_ms=Millis(least), most_ms=Millis(most))
