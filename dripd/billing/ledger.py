"""Who pays for what? The charge of a run, what of it is given back, and who can afford it.

A run under `billing: upfront` is charged once, when it is accepted; what each message of it
was charged stays with the run, so that an early end gives back exactly what was not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from dripd.billing.price import FREE, Priced

END_WORDS: Mapping[str, tuple[str, ...]] = {
    "pause": ("paused",),
    "stop": ("stopped", "reset"),
}
"""Words of `refund_on` that are written otherwise in `end_reason`."""

ALWAYS_REFUNDED = "reply"


@dataclass(slots=True)
class Ask:
    """What a step of `lane` must be granted before it is performed: `amount` of the balance, and
    one of the account's `quota` of actions in `period` (None: no quota)."""

    account_id: int
    lane: int
    enrollment_id: int
    claim_id: int
    step_key: str
    delivery_id: str
    amount: Decimal = FREE
    quota: int | None = None
    period: str = ""


def over_quota(asks: Iterable[Ask], counted: Mapping[tuple[int, str], int]) -> set[int]:
    """The enrollments whose step the quota does not cover; *counted* by account and period."""
    now = dict(counted)
    refused: set[int] = set()
    for ask in asks:
        if ask.quota is None:
            continue
        place = (ask.account_id, ask.period)
        if now.get(place, 0) >= ask.quota:
            refused.add(ask.enrollment_id)
        else:
            now[place] = now.get(place, 0) + 1
    return refused


def owed(paid_for: object, unit: Decimal, segments: int | None) -> Decimal:
    """What a message costs beyond what was paid for it: negative, where it came out shorter.

    *paid_for* is its entry of `paid`; what was paid by the segment is settled by the segment.
    Without an entry it costs *unit* a segment.
    """
    n = segments or 1
    if not isinstance(paid_for, Mapping):
        return unit * n
    before = paid_for.get("segments") or 1
    amount = Decimal(str(paid_for["amount"]))
    if paid_for.get("segments") is None or segments is None:
        return FREE
    return amount / int(str(before)) * n - amount


def total(messages: Iterable[Priced]) -> Decimal:
    """The sum of what *messages* cost."""
    return sum((one.amount for one in messages), FREE)


def paid(messages: Iterable[Priced], refund_on: Sequence[str] | None) -> dict[str, object]:
    """What a run keeps of its charge: the amount of each message, and when it is given back.

    `refund_on` None: at whatever end. A reply gives back always.
    """
    return {
        "refund_on": None if refund_on is None else refund_words(refund_on),
        "messages": {one.step_key: _entry(one) for one in messages},
    }


def _entry(one: Priced) -> dict[str, object]:
    return {"amount": str(one.amount), "segments": one.segments}


def refund_words(refund_on: Sequence[str]) -> list[str]:
    """The end reasons, as they are stored, that give back what was not sent."""
    return sorted(
        {ALWAYS_REFUNDED, *(end for word in refund_on for end in END_WORDS.get(word, (word,)))}
    )


def is_refunded(reason: str, refund_on: object) -> bool:
    """Does an end for *reason* give back? `goal:tag:T` is named by `goal` too."""
    if not isinstance(refund_on, list):
        return True
    return reason in refund_on or reason.partition(":")[0] in refund_on


def unaffordable(
    balances: Mapping[int, Decimal], asked: Iterable[tuple[int, int, Decimal]]
) -> set[int]:
    """Which of *asked* (what, account, amount), in their order, the balances do not cover.

    One that is too dear leaves what there is to those behind it.
    """
    left = dict(balances)
    refused: set[int] = set()
    for what, account, amount in asked:
        if amount > left.get(account, FREE):
            refused.add(what)
        else:
            left[account] = left.get(account, FREE) - amount
    return refused
