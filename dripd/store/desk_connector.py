"""Connectors at the desk: the addresses of outside servers that `sync` steps call."""

from __future__ import annotations

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.errors import NotFound
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, made, page, read_cursor
from dripd.store.desk_find import account_id, check_key, lock_used, sole_account
from dripd.store.statements import sql


async def set_connector(conn: Conn, call: Call, args: p.ConnectorSet) -> Deed:
    """Make or change a connector; runs that were held for want of one go on."""
    account = await sole_account(conn, args.account)
    await conn.execute(sql("lock_key"), f"connector {account['id']} {args.name}")
    old = await conn.fetchrow(sql("find_connector"), account["id"], args.name)
    url = args.url or (old["url"] if old is not None else None)
    if old is None:
        check_key(args.name, "name")
    if url is None:
        raise NotFound(
            f"account {account['key']} has no connector {args.name!r}",
            hint="make it: --url URL",
        )
    secret = args.secret if args.secret is not None else old and old["secret"]
    row = await conn.fetchrow(
        sql("put_connector"), account["id"], args.name, url, secret or None
    )
    await conn.execute(sql("wake_unconnected"), account["id"])
    changed = old is None or (old["url"], old["secret"]) != (url, secret or None)
    return made(account, row, old, args.name, changed=changed)


async def list_connectors(conn: Conn, args: p.Listing) -> Result:
    after = read_cursor(args.after, 0, "")
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("list_connectors"), account, *after, args.limit + 1)
    return page(rows, args.limit, "account_id", "key")


async def remove_connector(conn: Conn, call: Call, args: p.ConnectorRemove) -> Deed:
    """Raises `Conflict` naming the campaigns that use it, unless forced."""
    account = await sole_account(conn, args.account)
    hint = "change these campaigns, or --force: their steps are then held"
    users = await lock_used(
        conn, "connector", account, args.name,
        users="find_users_of_connector", force=args.force, hint=hint,
    )  # fmt: skip
    done = await conn.execute(sql("remove_connector"), account["id"], args.name)
    if done.endswith(" 0"):
        raise NotFound(f"account {account['key']} has no connector {args.name!r}")
    result = {"changed": True, "campaigns": users}
    return Deed(result=result, accounts=(account["id"],), target=args.name)
