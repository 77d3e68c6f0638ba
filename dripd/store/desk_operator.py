"""Operators at the desk: who may act in an account, and on which boards."""

from __future__ import annotations

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.errors import NotFound
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Deed,
    Result,
    made,
    page,
    read_cursor,
    shown,
)
from dripd.store.desk_find import account_id, find_account, sole_account
from dripd.store.desk_role import refuse_non_admin
from dripd.store.statements import sql


async def set_operator(conn: Conn, call: Call, args: p.OperatorSet) -> Deed:
    account = await sole_account(conn, args.account)
    await refuse_non_admin(conn, call, [account["id"]])
    await conn.execute(sql("lock_key"), f"operator {account['id']} {args.name}")
    old = await conn.fetchrow(sql("find_operator"), account["id"], args.name)
    base = dict(old) if old is not None else {"role": "member", "boards": []}
    role = args.role or base["role"]
    boards = base["boards"] if args.boards is None else list(args.boards)
    row = await conn.fetchrow(sql("put_operator"), account["id"], args.name, role, boards)
    changed = old is None or (old["role"], old["boards"]) != (role, boards)
    return made(account, row, old, args.name, changed=changed)


async def list_operators(conn: Conn, args: p.Listing) -> Result:
    after = read_cursor(args.after, 0, "")
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("list_operators"), account, *after, args.limit + 1)
    return page(rows, args.limit, "account_id", "name")


async def remove_operator(conn: Conn, call: Call, args: p.OperatorKey) -> Deed:
    account = await sole_account(conn, args.account)
    await refuse_non_admin(conn, call, [account["id"]])
    done = await conn.execute(sql("remove_operator"), account["id"], args.name)
    if done.endswith(" 0"):
        raise NotFound(f"account {account['key']} has no operator {args.name!r}")
    return Deed(result={"changed": True}, accounts=(account["id"],), target=args.name)


async def read_operator(conn: Conn, name: str, account: str | None) -> Result | None:
    """How `dripd.operator` knows *name* in the account, None where it does not."""
    if account is None:
        return None
    row = await conn.fetchrow(
        sql("find_operator"), (await find_account(conn, account))["id"], name
    )
    return None if row is None else shown(row)
