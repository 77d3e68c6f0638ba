"""Folding what was used outside a cap into its day, in memory."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from dripd.store.memory_rows import AccountDay
from dripd.store.memory_tables import Tables

COUNT_MOST = 1_000_000_000
"""Where a day's counts stop, so that what remains of a cap can be reckoned."""

USAGE_MOST = 1000
"""How many reports one pass folds."""


def days_to_lock(tables: Tables) -> list[int]:
    """The accounts whose day rows the folding of this moment would lock."""
    return [account_id for account_id, _ in _days_of_usage(tables).values()]


def _days_of_usage(tables: Tables) -> dict[str, tuple[int, AccountDay]]:
    """By account key: the account and its present day, of all who have one."""
    found = {}
    for key in {usage.account_key for usage in islice(tables.usage, USAGE_MOST)}:
        account = tables.account_of(None, key)
        day = None if account is None else tables.day_at(account.id, tables.now())
        if account is not None and day is not None:
            found[key] = (account.id, day)
    return found


def fold_usage(tables: Tables) -> list[int]:
    """Put what others reported into the day rows of this moment; returns their accounts.

    What goes over the cap is journaled, never refused; usage of an account whose day is not
    there yet waits for it.
    """
    days = _days_of_usage(tables)
    sums: dict[str, Counter[str]] = {key: Counter() for key in days}
    for usage in list(islice(tables.usage, USAGE_MOST)):
        if usage.account_key in days:
            sums[usage.account_key][usage.source] += usage.n
        elif tables.account_of(None, usage.account_key) is not None:
            continue
        tables.usage.drop(usage.id)
    for key, (_, day) in days.items():
        _fold(tables, day, sums[key])
    return sorted(account_id for account_id, _ in days.values())


def _fold(tables: Tables, day: AccountDay, n: Counter[str]) -> None:
    tables.days.change(
        (day.account_id, day.local_date),
        bulk=min(day.bulk + n["bulk"], COUNT_MOST),
        individual=min(day.individual + n["individual"], COUNT_MOST),
        internal=min(day.internal + n["internal"], COUNT_MOST),
    )
    if n["bulk"] and day.used + day.bulk > day.cap:
        detail: dict[str, object] = {"used": day.used, "bulk": day.bulk, "cap": day.cap}
        tables.write_journal(day.account_id, None, None, "over_cap", detail)
