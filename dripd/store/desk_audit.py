"""Were the promises kept? The whole history of an account, held against what must be true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from dripd.store.connect import Conn
from dripd.store.desk_find import find_account
from dripd.store.statements import sql


class Promise(NamedTuple):
    """`statement` finds what breaks it; `hint` says what to do about that."""

    statement: str
    hint: str = "report it with the daemon's log"


PROMISES: Final[Mapping[str, Promise]] = {
    "never_twice": Promise(
        "find_double_messages",
        "dripd delivery list --enrollment ENR; report it with the daemon's log",
    ),
    "never_lost": Promise(
        "find_lost_runs", "dripd enroll show ENR; report it with the daemon's log"
    ),
    "each_step_once": Promise("find_repeated_steps"),
    "no_step_passed_over": Promise("find_missing_steps"),
    "in_order": Promise(
        "find_disordered_steps",
        "a clock of the database that was set back explains it; else report it",
    ),
    "nothing_after_the_end": Promise("find_steps_after_the_end"),
    "never_to_a_suppressed_address": Promise(
        "find_suppressed_messages",
        "a transaction that took minutes to suppress it explains it; else report it",
    ),
    "told_twice_done_once": Promise("find_repeated_input"),
    "money_adds_up": Promise("find_money_faults", "dripd account show ACCOUNT; report it"),
    "always_explained": Promise("find_unexplained_ends"),
    "never_over_a_cap": Promise(
        "find_days_over_cap", "a plan that was lowered since explains it; else report it"
    ),
}
"""What `dripd audit verify` looks for, by the name of the promise."""


async def read_account_ids(conn: Conn, account: str | None) -> list[tuple[int, str]]:
    """Every account, or the named one. Raises `NotFound`."""
    if account is not None:
        found = await find_account(conn, account)
        return [(found["id"], found["key"])]
    return [(row["id"], row["key"]) for row in await conn.fetch(sql("list_audited_accounts"))]


async def verify_account(conn: Conn, account_id: int) -> Mapping[str, list[str]]:
    """What breaks each promise in an account, at most 20 of a kind. Reads its whole history."""
    await conn.execute("SET LOCAL statement_timeout = 0")
    return {
        name: [row["found"] for row in await conn.fetch(sql(promise.statement), account_id)]
        for name, promise in PROMISES.items()
    }


async def is_guarded(conn: Conn) -> bool:
    """Whether nobody can change the audit or the journal by an ordinary statement."""
    return bool(await conn.fetchval(sql("audit_is_guarded")))
