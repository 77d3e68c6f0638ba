"""Whose turn is it to leave? What senders have sent of their day, and when they may again."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.clock import Instant
from dripd.store.memory_rows import SenderTurn
from dripd.store.memory_tables import Tables
from dripd.store.protocol import Turn, TurnBack


def take_turns(tables: Tables, turns: Sequence[Turn]) -> list[tuple[int, Instant | None]]:
    """Of each turn how many may leave, and when its gap is over."""
    return [_take(tables, turn) for turn in turns]


def _take(tables: Tables, turn: Turn) -> tuple[int, Instant | None]:
    key, now = (turn.account_id, turn.sender_id), tables.now()
    row = tables.turns.get(key)
    if row is None:
        row = SenderTurn(account_id=turn.account_id, sender_id=turn.sender_id)
        tables.turns.add(key, row)
    stands = (
        row.starts_at is not None
        and turn.starts_at is not None
        and row.starts_at >= turn.starts_at
    )
    used = row.used if stands else turn.base
    granted = turn.n if turn.most is None else min(turn.n, max(turn.most - used, 0))
    if turn.gap_ms is not None and row.next_at is not None and row.next_at > now:
        granted = 0
    next_at = row.next_at
    if granted and turn.gap_ms is not None:
        next_at = Instant(now + turn.gap_ms)
    starts_at = max(
        (at for at in (row.starts_at, turn.starts_at) if at is not None), default=None
    )
    tables.turns.change(key, starts_at=starts_at, used=used + granted, next_at=next_at)
    return granted, next_at


def return_turns(tables: Tables, backs: Sequence[TurnBack]) -> None:
    """Their day has room again."""
    for back in backs:
        key = (back.account_id, back.sender_id)
        row = tables.turns.get(key)
        if row is None:
            continue
        is_today = row.starts_at is not None and row.starts_at == back.starts_at
        used = max(row.used - back.n, 0) if is_today else row.used
        next_at = None if back.reopens else row.next_at
        tables.turns.change(key, used=used, next_at=next_at)
