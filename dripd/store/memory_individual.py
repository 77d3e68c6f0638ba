"""Messages that a person asked for, in memory: the twin of `individual.sql`."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.store.memory_outbox import holds_call
from dripd.store.memory_rows import Individual
from dripd.store.memory_tables import Tables
from dripd.store.protocol import IndividualEnd, IndividualSend, IndividualStart, LostSend


def start(tables: Tables, wish: IndividualSend) -> IndividualStart:
    """The row stands before a byte leaves; never counted against the cap, never windowed."""
    contact = tables.contacts.get((wish.account_id, wish.contact_id))
    if contact is None:
        return IndividualStart(None, None, False)
    address = wish.to or (contact.phone if wish.channel == "sms" else contact.email)
    suppressed = wish.to is None and tables.is_suppressed(
        wish.account_id, wish.channel, address
    )
    if address is None or suppressed:
        return IndividualStart(None, address, suppressed)
    if wish.call_id is not None and not holds_call(
        tables, wish.account_id, wish.call_id, wish.attempt
    ):
        return IndividualStart(None, address, suppressed=False, fenced=True)
    number = tables.next_id()
    row = Individual(
        account_id=wish.account_id,
        id=number,
        contact_id=wish.contact_id,
        incarnation=wish.incarnation,
        sender_id=wish.sender_id,
        channel=wish.channel,
        to_address=address,
        subject=wish.subject,
        leased_at=tables.now(),
        notice=wish.to is not None,
        call_id=wish.call_id,
    )
    tables.individuals.add((wish.account_id, number), row)
    day = tables.day_at(wish.account_id, tables.now())
    if day is not None:
        key = (day.account_id, day.local_date)
        tables.days.change(key, individual=day.individual + 1)
    return IndividualStart(number, address, False)


def end(tables: Tables, end: IndividualEnd) -> None:
    """What came of it, unless evidence has said so meanwhile."""
    row = tables.individuals[end.account_id, end.id]
    if row.state not in {"leased", "unknown"}:
        return
    tables.individuals.change(
        (end.account_id, end.id),
        state=end.state,
        provider_id=end.provider_id,
        reason=end.reason,
        segments=end.segments,
        sent_at=None if end.state == "failed" else row.leased_at,
        accepted_at=tables.now() if end.state == "accepted" else None,
    )


def last_of_call(tables: Tables, account_id: int, call_id: int) -> str | None:
    """The state of the message that the last attempt at a call has begun."""
    found = [
        row
        for row in tables.individuals
        if (row.account_id, row.call_id) == (account_id, call_id)
    ]
    return max(found, key=lambda row: row.id).state if found else None


def lost(tables: Tables, incarnation: int) -> list[LostSend]:
    """Messages that a daemon had under way when it died, and those that *incarnation* began."""
    found = []
    for row in tables.individuals:
        node = tables.nodes.get(row.incarnation)
        is_dead = node is None or node.dead
        if row.state == "leased" and (is_dead or row.incarnation == incarnation):
            found.append(LostSend(row.account_id, row.id, row.incarnation))
    return found


def end_lost(tables: Tables, ends: Sequence[IndividualEnd]) -> None:
    """What became of them, unless somebody has said so meanwhile."""
    for one in ends:
        row = tables.individuals[one.account_id, one.id]
        if row.state == "leased":
            tables.individuals.change(
                (one.account_id, one.id),
                state=one.state,
                provider_id=one.provider_id,
                reason=one.reason,
                sent_at=None if one.state == "failed" else row.leased_at,
                accepted_at=tables.now() if one.state == "accepted" else None,
            )


def testify_alone(tables: Tables, accepted: Sequence[tuple[int, int, str | None]]) -> int:
    """Those of which a journal says that they were accepted, where nobody had known."""
    told = {-number: provider_id for number, _, provider_id in accepted if number < 0}
    known = [row for row in tables.individuals if row.id in told and row.state == "unknown"]
    for row in known:
        tables.individuals.change(
            (row.account_id, row.id),
            state="accepted",
            provider_id=told[row.id] or row.provider_id,
            reason=None,
            accepted_at=tables.now(),
        )
    return len(known)
