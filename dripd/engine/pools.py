"""Which sender of a pool writes to a contact? Chosen once, by weight among those with room, and kept.

Asked for messages of pools alone, a batch at a time, before they are dispatched. The choice
stands in SQL: whatever comes to the pool, on whatever daemon, a contact is written to from the
same sender, and its answers find the same mailbox. One whose sender is paused moves to
another, and stays there.
"""

from __future__ import annotations

from collections.abc import Sequence

from dripd.campaigns.enrollment import Leased
from dripd.engine.directory import Account, ranked
from dripd.engine.pipeline import Pipeline
from dripd.store.protocol import SenderRow, Wish

KEPT_MOST = 200_000
"""Choices in memory: more than there can be steps in flight, by far."""


async def choose_senders(
    pipe: Pipeline, granted: Sequence[Leased], *, has_left: bool = False
) -> None:
    """Make known from which sender of its pool each message of *granted* leaves, or from which
    it *has left*, whatever room there is now."""
    wishes: dict[tuple[int, int, str, str], Wish] = {}
    room: dict[int, int] = {}
    for leased in granted:
        if leased.account_id not in pipe.directory.pooled:
            continue
        version = pipe.directory.versions.get(leased.cv_id)
        if version is None or leased.step_no >= len(version.steps):
            continue
        step = version.steps[leased.step_no]
        if not version.sends(leased.step_no, leased.flags) or not _is_pool(step.sender):
            continue
        place = (leased.account_id, leased.contact_id, step.channel, step.sender)
        wish = _wish(pipe, place, room, has_left=has_left)
        if wish is not None:
            wishes[place] = wish
    if wishes:
        asked = sorted(wishes.items())
        chosen = await pipe.store.choose_senders([wish for _, wish in asked])
        kept = pipe.directory.chosen
        kept |= {place: one for (place, _), one in zip(asked, chosen, strict=True)}
        while len(kept) > KEPT_MOST:
            del kept[next(iter(kept))]


def _is_pool(address: str) -> bool:
    return not address or "," in address


def _wish(
    pipe: Pipeline, place: tuple[int, int, str, str], room: dict[int, int], *, has_left: bool
) -> Wish | None:
    """What is to be asked; None: it is known, or no sender has room to begin with a contact."""
    account_id, contact_id, channel, pool = place
    account = pipe.directory.account(account_id)
    usable = account.usable(channel, pool)
    ids = frozenset(one.id for one in usable)
    if pipe.directory.chosen.get(place) in ids:
        return None
    free = [one for one in usable if has_left or _room(pipe, account, one, room) > 0]
    if not free:
        return None
    best = ranked(contact_id, free)
    if not has_left:
        room[best.id] -= 1
    return Wish(account_id, contact_id, channel, pool, best.id, ids)


def _room(pipe: Pipeline, account: Account, sender: SenderRow, room: dict[int, int]) -> int:
    if sender.id not in room:
        room[sender.id] = pipe.flow.room_of(account, sender, pipe.clock.now())
    return room[sender.id]
