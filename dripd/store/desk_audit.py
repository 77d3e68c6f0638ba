"""Were the promises kept? The whole history of an account, held against what must be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dripd.store.connect import Conn
from dripd.store.desk_find import find_account
from dripd.store.statements import sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """`statement` finds what breaks it; `hint` says what to do about that."""

    statement: str
    hint: str


PROMISES: Final[Mapping[str, Promise]] = {
    "never_twice": Promise(
        statement="find_double_messages",
        hint="dripd delivery list --enrollment ENR; report it with the daemon's log",
    ),
    "never_lost": Promise(
        statement="find_lost_runs",
        hint="dripd enroll show ENR; report it with the daemon's log",
    ),
    "each_step_once": Promise(
        statement="find_repeated_steps", hint="report it with the daemon's log"
    ),
    "no_step_passed_over": Promise(
        statement="find_missing_steps", hint="report it with the daemon's log"
    ),
    "in_order": Promise(
        statement="find_disordered_steps",
        hint="a clock of the database that was set back explains it; else report it",
    ),
    "nothing_after_the_end": Promise(
        statement="find_steps_after_the_end", hint="report it with the daemon's log"
    ),
    "never_to_a_suppressed_address": Promise(
        statement="find_suppressed_messages",
        hint="a transaction that took minutes to suppress it explains it; else report it",
    ),
    "told_twice_done_once": Promise(
        statement="find_repeated_input", hint="report it with the daemon's log"
    ),
    "money_adds_up": Promise(
        statement="find_money_faults", hint="dripd account show ACCOUNT; report it"
    ),
    "always_explained": Promise(
        statement="find_unexplained_ends", hint="report it with the daemon's log"
    ),
    "never_over_a_cap": Promise(
        statement="find_days_over_cap",
        hint="a plan that was lowered since explains it; else report it",
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
