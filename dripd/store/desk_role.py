"""Who may change this? What `dripd.operator` says of who acts, on top of the socket's role.

An account without operators lets everybody do what the socket allows; so does an admin of the
socket who acts as nobody else. In all other cases an admin of the account may change every
campaign, a member those that are the member's own, a viewer none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from dripd.admin.messages import Call
from dripd.admin.roles import Role
from dripd.errors import NotPermitted
from dripd.store.connect import Conn
from dripd.store.statements import sql

Row: TypeAlias = Mapping[str, Any]

ENROLLING: Final = frozenset({"enroll.add", "enroll.import"})
"""Methods for which it matters whose address a campaign sends from, not who may edit it."""


class Forbidden(NotPermitted):
    """What an operator of `account_id` may not do; the journal is told."""

    def __init__(
        self,
        message: str,
        *,
        account_id: int,
        target: str,
        hint: str = "",
        code: str = "forbidden",
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.account_id = account_id
        self.target = target


def is_trusted(call: Call) -> bool:
    """An admin of the socket who acts in his own name is bound by no account's operators."""
    return call.role is Role.ADMIN and call.as_name is None


async def refuse_stranger(conn: Conn, call: Call, campaigns: Iterable[int]) -> None:
    """Raise `Forbidden` where a campaign is not the actor's to change."""
    if is_trusted(call):
        return
    found = await conn.fetchrow(
        sql("find_foreign_campaign"), sorted(set(campaigns)), call.actor
    )
    if found is not None:
        raise Forbidden(
            f"campaign {found['key']!r} is not {call.actor}'s to change",
            account_id=found["account_id"],
            target=found["key"],
            hint=f"ask {found['owner'] or 'an admin of the account'}",
        )


async def refuse_viewer(conn: Conn, call: Call, accounts: Sequence[int]) -> None:
    """Raise `Forbidden` where `dripd.operator` lets the actor only look."""
    if call.method in ENROLLING:
        return
    found = await conn.fetchrow(sql("find_viewed_account"), list(accounts), call.actor)
    if found is not None:
        raise Forbidden(
            f"{call.actor} may only look at account {found['key']}",
            account_id=found["id"],
            target=found["key"],
            hint=f"dripd operator set {call.actor} --account {found['key']} --role member",
        )


async def refuse_board(conn: Conn, call: Call, account_id: int, board: str) -> None:
    """Raise `Forbidden` where the actor has no access to a board of the account."""
    if is_trusted(call):
        return
    if await conn.fetchval(sql("is_board_closed"), account_id, board, call.actor):
        raise Forbidden(
            f"board {board!r} is not open to {call.actor}",
            account_id=account_id,
            target=board,
            hint=f"dripd operator set {call.actor} --board {board}",
        )


async def refuse_non_admin(conn: Conn, call: Call, accounts: Sequence[int] | None) -> None:
    """Raise `Forbidden` where the actor is no admin of an account that has operators.

    *accounts* None: any of the deployment.
    """
    if is_trusted(call):
        return
    among = None if accounts is None else list(accounts)
    found = await conn.fetchrow(sql("find_account_of_others"), among, call.actor)
    if found is not None:
        raise Forbidden(
            f"{call.actor} is no admin of account {found['key']}",
            account_id=found["id"],
            target=found["key"],
            hint=f"dripd operator set {call.actor} --account {found['key']} --role admin",
        )


class Sharing(NamedTuple):
    """A sender, with whose it is: `policy.visibility.Address`."""

    address: str
    channel: str
    owner: str | None
    shared: str | None


async def read_automator(
    conn: Conn, call: Call, account_id: int
) -> tuple[str | None, list[Sharing]]:
    """The actor's role where it matters for a trigger, and the account's senders.

    None: the actor is bound by nothing; "": no operator of an account that has some.
    """
    if is_trusted(call):
        return None, []
    found = await conn.fetchrow(sql("read_operator_role"), account_id, call.actor)
    if found is None:
        return None, []
    rows = await conn.fetch(sql("read_addresses"), account_id)
    return found["role"] or "", [Sharing(**dict(row)) for row in rows]


async def note_forbidden(conn: Conn, call: Call, error: Forbidden) -> None:
    """What was refused, in the journal of the account."""
    detail = {"method": call.method, "target": error.target}
    await conn.execute(sql("note_campaign"), error.account_id, call.actor, "forbidden", detail)
