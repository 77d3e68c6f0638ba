"""Lists and their members at the desk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.errors import Conflict
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, made, page, read_cursor, shown
from dripd.store.desk_find import account_id, find_contact_ids, find_list, sole_account
from dripd.store.statements import sql


async def set_list(conn: Conn, call: Call, args: p.ListSet) -> Deed:
    """Make a list, or change its kind; `dynamic` makes it one that others fill."""
    account = await sole_account(conn, args.account)
    await conn.execute(sql("lock_key"), f"list {account['id']} {args.key}")
    known = await conn.fetch(sql("find_lists"), args.key, account["id"])
    old = known[0] if known else None
    kind = args.kind or (old["kind"] if old else "bucket")
    is_static = not args.dynamic and (old is None or old["is_static"])
    row = await conn.fetchrow(sql("put_list"), account["id"], args.key, kind, is_static)
    changed = old is None or (old["kind"], old["is_static"]) != (kind, is_static)
    return made(account, row, old, args.key, changed=changed)


async def list_lists(conn: Conn, args: p.ListList) -> Result:
    (after,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("list_lists"), account, args.kind, after, args.limit + 1)
    return page(rows, args.limit, "id")


LOOKED: Final = 1_000
"""Members of a list whose runs are counted: some 10 ms."""


async def show_list(conn: Conn, args: p.ListShow) -> Result:
    """The list and a page of its members; `runs` says how the runs of its first members stand."""
    row = await find_list(conn, args.key, args.account)
    (after,) = read_cursor(args.after, 0)
    members = await conn.fetch(
        sql("list_members"), row["account_id"], row["id"], after, args.limit + 1
    )
    runs = await conn.fetchrow(sql("count_runs_of_list"), row["account_id"], row["id"], LOOKED)
    is_more = runs["members"] > LOOKED
    counted = {**runs, "members": min(runs["members"], LOOKED), "more": is_more}
    return {**shown(row), "runs": counted, **page(members, args.limit, "contact_id")}


async def add_members(conn: Conn, call: Call, args: p.ListMembers) -> Deed:
    return await _change_members(conn, args, "add_members")


async def remove_members(conn: Conn, call: Call, args: p.ListMembers) -> Deed:
    return await _change_members(conn, args, "remove_members")


async def _change_members(conn: Conn, args: p.ListMembers, statement: str) -> Deed:
    row = await find_list(conn, args.key, args.account)
    if not row["is_static"]:
        raise Conflict(
            f"list {args.key!r} is dynamic: others say who is in it", code="not_static"
        )
    found = await find_contact_ids(conn, args.contacts, row["account_id"])
    ids = sorted({hit["id"] for hits in found.values() for hit in hits})
    done = await conn.fetch(sql(statement), row["account_id"], row["id"], ids)
    items = _items(args.contacts, {text: hits[0]["id"] for text, hits in found.items()})
    return Deed(
        result={"changed": len(done), "items": items},
        accounts=(row["account_id"],),
        target=args.key,
        detail={"n": len(done)},
    )


def _items(texts: Sequence[str], ids: dict[str, int]) -> list[Result]:
    return [
        {"contact": text, "id": ids[text], "ok": True}
        if text in ids
        else {
            "contact": text,
            "ok": False,
            "code": "not_found",
            "message": f"there is no contact {text!r}",
        }
        for text in texts
    ]
