"""What may befall a request at the test provider, by name; and who draws it.

The first word of a name is the truth that goes to the log: `accept` took the message, `refuse`
did not, whatever the client is told. What follows is how the answer travels, or its status.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

PHRASES: Final[Mapping[int, str]] = {
    200: "OK", 301: "Moved", 307: "Again", 400: "Bad", 401: "Who", 403: "No", 404: "Gone",
    408: "Late", 409: "Conflict", 413: "Large", 422: "Unfit", 425: "Early", 429: "Slow",
    500: "Broken", 502: "Gateway", 503: "Busy", 504: "Waited",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`shape`: how the answer travels, "answer" being whole and at once."""

    accepted: bool
    shape: str = "answer"
    status: int = 200
    headers: tuple[str, ...] = ()


NO_FAULT: Final = Fault(accepted=True)

SHAPES: Final = (
    "close",  # the connection ends without an answer
    "reset",  # the same, cut off hard
    "half_close",  # our half of it ends; what the client still says is read
    "stall",  # nothing, for as long as the client waits
    "slow",  # the answer comes after any patience
    "drip_head",  # a byte of the head now and then
    "drip_body",  # a byte of the body now and then
    "continue",  # 100 Continue, and then nothing
    "endless",  # a body in chunks that has no end
    "bomb",  # a few bytes of gzip that are 64 MiB
    "wrong_length",  # more is announced than comes
    "half",  # the connection ends in the middle of the body
    "twice",  # the answer comes two times
    "garbage",  # what is answered is no HTTP
    "empty",  # 200 without a body
    "bad_json",  # 200 with a body that cannot be read
    "mixed",  # of a batch every other message is taken, and said so
)

NOT_TAKEN: Final = ("close", "reset", "stall", "slow", "half_close")
"""Shapes that also befall a request which was not accepted."""

REFUSALS: Final = (400, 401, 403, 404, 408, 409, 413, 422, 425, 500, 502, 503, 504)

AFTER_ALL: Final = (408, 409, 500, 502, 503, 504)
"""Statuses that some providers answer although they took the message."""

RETRY_AFTER: Final[Mapping[str, str]] = {
    "": "1",
    "_date": "Sun, 06 Nov 2050 08:49:37 GMT",
    "_past": "Sun, 06 Nov 1994 08:49:37 GMT",
    "_huge": "1000000000000",
    "_negative": "-1",
    "_garbage": "soon",
    "_none": "",
}

METADATA: Final = "Location: http://169.254.169.254/latest/meta-data/"


def _retry(value: str) -> tuple[str, ...]:
    return (f"Retry-After: {value}",) if value else ()


HTTP: Final[Mapping[str, Fault]] = {
    **{f"accept_{shape}": Fault(accepted=True, shape=shape) for shape in SHAPES},
    **{f"refuse_{shape}": Fault(accepted=False, shape=shape) for shape in NOT_TAKEN},
    **{f"accept_{code}": Fault(accepted=True, status=code) for code in AFTER_ALL},
    **{f"refuse_{code}": Fault(accepted=False, status=code) for code in REFUSALS},
    "refuse_503": Fault(accepted=False, status=503, headers=_retry("1")),
    **{
        f"refuse_429{name}": Fault(accepted=False, status=429, headers=_retry(value))
        for name, value in RETRY_AFTER.items()
    },
    "refuse_301": Fault(accepted=False, status=301, headers=(METADATA,)),
    "refuse_307": Fault(accepted=False, status=307, headers=("Location: /plain/emails",)),
}

SMTP: Final = (
    "accept_drop",  # taken at the final dot, and the connection ends before the answer
    "accept_slow",  # the answer to the final dot comes after any patience
    "accept_451",  # taken, and "later" is answered
    "accept_421",  # taken and said so; the next letter of the session meets 421
    "refuse_421",  # the session ends before the letter
    "refuse_rcpt",  # 450 to the recipient
    "refuse_rcpt_550",  # 550 to the recipient
    "refuse_greylist",  # 451 to a recipient that was not seen before, then taken
    "refuse_data",  # 554 to DATA
    "refuse_data_drop",  # the connection ends before DATA is answered
    "refuse_body_drop",  # the connection ends within the letter
    "refuse_dot",  # 451 to the final dot
    "refuse_dot_554",  # 554 to the final dot
)

SESSION: Final = (
    "slow_banner",  # the greeting takes a while
    "no_8bitmime",  # not offered
    "no_pipelining",  # not offered
    "starttls_454",  # TLS is offered and then refused
)
"""What befalls whole SMTP sessions; it is asked for, never drawn."""

ALL: Final = frozenset({*HTTP, *SMTP, *SESSION})

COMMON: Final = (
    "accept_close", "accept_reset", "accept_half_close", "accept_stall", "accept_slow", "accept_drip_body",
    "accept_half", "accept_wrong_length", "accept_twice", "accept_garbage", "accept_empty", "accept_bad_json",
    "accept_500", "refuse_close", "refuse_reset", "refuse_half_close", "refuse_500", "refuse_503",
    "refuse_429",
)  # fmt: skip
"""What is drawn unless others are named: all that a good provider does on a bad day. One that
takes a message and answers 503 lies: SendGrid's manual says that 503 took nothing."""


@dataclass(slots=True)
class Rule:
    """Requests that hold `match` meet `fault`, `times` of them, or all (-1)."""

    match: bytes
    fault: str
    times: int = -1

    @classmethod
    def parse(cls, text: str) -> Rule:
        """`MATCH=FAULT` or `MATCH=FAULT*TIMES`. Raises `ValueError`."""
        match, _, rest = text.rpartition("=")
        fault, _, times = rest.partition("*")
        if not match or fault not in ALL or (times and not times.isdigit()):
            raise ValueError(f"{text!r}: expected MATCH=FAULT or MATCH=FAULT*TIMES")
        return cls(match.encode(), fault, int(times) if times else -1)

    def befalls(self, text: bytes) -> bool:
        if self.times == 0 or self.match not in text:
            return False
        self.times -= self.times > 0
        return True


@dataclass(slots=True)
class Faults:
    """Decides what befalls whom: what is asked for goes before rules, rules before dice."""

    share: float
    seed: int
    kinds: Sequence[str] = COMMON
    rules: Sequence[Rule] = ()
    session: frozenset[str] = frozenset()
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def draw(
        self, among: Mapping[str, Fault] | Sequence[str], text: bytes, asked: str = ""
    ) -> str:
        """The fault that befalls a request with *text*, one of *among*; "" for none."""
        if asked in among:
            return asked
        for rule in self.rules:
            if rule.fault in among and rule.befalls(text):
                return rule.fault
        kinds = [kind for kind in self.kinds if kind in among]
        return self.dice.choice(kinds) if self.dice.random() < self.share and kinds else ""
