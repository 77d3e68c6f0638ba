"""What becomes of a step that breaks whoever touches it? It is set aside, alone, with its error.

One bad row never stops a batch: a batch that raises is halved until the row is alone, the rest
goes on. What is set aside is held `quarantined`; the error is the reason of a failed step, so
that `dripd dead list` can tell it. What has left is kept on record whatever else is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from dripd.campaigns.enrollment import Change, Leased, LogRow, LogState, Next
from dripd.clock import Instant
from dripd.errors import DripdError, SchemaMismatch, StoreError, StoreUnavailable

T = TypeVar("T")

REASON: Final = "quarantined"

POISON: Final = (
    StoreError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    RecursionError,
)
"""What one bad row makes a batch raise, `NO_ROW` apart."""

UNREADABLE: Final = "bad_request:row"
"""Why a request or an event that breaks whoever reads it is refused."""

NO_ROW: Final = (StoreUnavailable, SchemaMismatch)
"""The database is away, or of another version: no row is to blame."""

SAID_MOST: Final = 200

LEFT: Final = frozenset({LogState.ACCEPTED, LogState.UNKNOWN})

_ADDRESSES: Final = re.compile(r"[^\s\"'<>(),;]+@[^\s\"'<>(),;]+|\+?\d[\d\s()/.-]{6,}\d")
_QUOTED: Final = re.compile(r"(['\"]).*?\1")
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def said(error: BaseException) -> str:
    """What went wrong, for people: without addresses, numbers of telephones and quoted values,
    which may be somebody's. One line."""
    text = error.message if isinstance(error, DripdError) else str(error)
    for unfit, instead in ((_QUOTED, "'...'"), (_ADDRESSES, "..."), (_UNFIT, " ")):
        text = unfit.sub(instead, text)
    return f"{type(error).__name__}: {' '.join(text.split())}"[:SAID_MOST]


async def halve(
    ids: Sequence[int],
    whole: Callable[[Sequence[int]], Awaitable[T]],
    alone: Callable[[Sequence[int], BaseException], Awaitable[T]],
) -> list[T]:
    """The batch of *ids* has raised: *whole* is asked of what is sound of it, and *alone* of each
    that is left alone with its error. Their answers, in the order of *ids*. Raises `NO_ROW`."""
    done: list[T] = []
    half = (len(ids) + 1) // 2
    for some in filter(None, (ids[:half], ids[half:])):
        try:
            done.append(await whole(some))
        except NO_ROW:
            raise
        except POISON as error:
            if len(some) > 1:
                done += await halve(some, whole, alone)
            else:
                done.append(await alone(some, error))
    return done


def set_aside(leased: Leased, why: str, now: Instant) -> Change:
    """The leased step waits for somebody; it has not been performed."""
    step_no, seq = leased.step_no, leased.seq
    return Change(
        leased=leased,
        log=[_failed(leased, step_no, seq, why, now)],
        next=_held(leased, step_no, seq + 1, leased.due_at, leased.attempt),
        refund=True,
    )


def salvage(change: Change, why: str, now: Instant) -> list[Change]:
    """What to write, one after the other until one is taken, of a change that cannot be.

    A message that left stays on record, at last without its texts: then it is the step behind
    it that waits. Nothing that the step would have changed has been changed.
    """
    leased = change.leased
    sent = [row for row in change.log if row.state in LEFT and row.channel]
    if not sent:
        plain = set_aside(leased, why, now)
        bare = replace(plain, log=[replace(row, reason="unwritable") for row in plain.log])
        return [plain, bare]
    mute = [
        replace(row, to_address=None, subject=None, provider_id=None, reason=None)
        for row in sent
    ]
    return [_go_on(change, sent, why, now), _go_on(change, mute, "unwritable", now)]


def _go_on(change: Change, sent: list[LogRow], why: str, now: Instant) -> Change:
    leased, step = change.leased, change.next
    if step is None:
        return Change(leased=leased, log=sent, end=change.end, metered=change.metered)
    held = _held(leased, step.step_no, step.seq + 1, step.due_at, step.attempt)
    log = [*sent, _failed(leased, step.step_no, step.seq, why, now)]
    return Change(leased=leased, log=log, next=held, metered=change.metered)


def _failed(leased: Leased, step_no: int, seq: int, why: str, now: Instant) -> LogRow:
    return LogRow(seq=seq, step_no=step_no, state=LogState.FAILED, at=now, reason=why,
                  attempt=leased.attempt + 1)  # fmt: skip


def _held(leased: Leased, step_no: int, seq: int, due_at: Instant, attempt: int) -> Next:
    return Next(due_at=due_at, lane=None, step_no=step_no, seq=seq, attempt=attempt,
                flags=leased.flags, hold_reason=REASON)  # fmt: skip
