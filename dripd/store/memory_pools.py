"""Which sender of a pool writes to a contact, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.store.memory_rows import ContactSender
from dripd.store.memory_tables import Tables
from dripd.store.protocol import Wish


def choose_senders(tables: Tables, wishes: Sequence[Wish]) -> list[int]:
    """The sender that stands, where it is usable, else the proposed one from now on."""
    return [_choose(tables, wish) for wish in wishes]


def _choose(tables: Tables, wish: Wish) -> int:
    key = (wish.account_id, wish.contact_id, wish.channel, wish.pool)
    row = tables.choices.get(key)
    if row is None:
        new = ContactSender(account_id=wish.account_id, sender_id=wish.proposed)
        tables.choices.add(key, new)
        return wish.proposed
    if row.sender_id not in wish.usable:
        tables.choices.change(key, sender_id=wish.proposed)
        return wish.proposed
    return row.sender_id
