"""Templates of an account at the desk: words that its campaigns share."""

from __future__ import annotations

from typing import Any

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.definition import Content
from dripd.campaigns.template import Kind, compile_template
from dripd.campaigns.wording import PARTS, unknown_in
from dripd.errors import BadRequest, NotFound, TemplateError
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, page, read_cursor, shown
from dripd.store.desk_file import read_fields
from dripd.store.desk_find import account_id, lock_used, sole_account
from dripd.store.statements import sql


async def set_template(conn: Conn, call: Call, args: p.TemplateSet) -> Deed:
    """Make or change a template; warns of fields that nobody has.

    Raises `BadRequest` for one that cannot be rendered.
    """
    account = await sole_account(conn, args.account)
    await conn.execute(sql("lock_key"), f"template {account['id']} {args.key}")
    old = await conn.fetchrow(sql("find_template"), account["id"], args.key)
    words = {name: _part(args, name, kind, old) for name, kind in PARTS}
    row = await conn.fetchrow(sql("put_template"), account["id"], args.key, *words.values())
    result = {
        "changed": old is None or any(old[name] != text for name, text in words.items()),
        "created": old is None,
        **shown(row),
        "account_key": account["key"],
        "warnings": await _doubts(conn, account["id"], args.key, Content(**words)),
    }
    return Deed(result=result, accounts=(account["id"],), target=args.key)


async def _doubts(conn: Conn, account: int, key: str, content: Content) -> list[Result]:
    """Warnings `unknown_field:NAME`; what a campaign that uses the template declares is known."""
    users = await conn.fetch(sql("find_users_of_template"), account, key)
    declared = {
        *await read_fields(conn, account),
        *(row["key"] for row in await conn.fetch(sql("field_types"), account)),
        *(name for row in users for name in row["fields"]),
    }
    return [
        {"code": one.code, "path": one.path, "message": one.message, "hint": one.hint}
        for one in unknown_in(content, declared)
    ]


def _part(args: p.TemplateSet, name: str, kind: Kind, old: Any) -> str:
    given: str | None = getattr(args, name)
    if given is None:
        return "" if old is None else str(old[name])
    try:
        compile_template(given, kind=kind)
    except TemplateError as error:
        raise BadRequest(
            error.message, code="bad_value", path=name, hint=error.hint or ""
        ) from error
    return given


async def remove_template(conn: Conn, call: Call, args: p.TemplateRemove) -> Deed:
    """Raises `Conflict` naming the campaigns that use it, unless forced."""
    account = await sole_account(conn, args.account)
    hint = "change these campaigns, or --force: published versions keep its words"
    users = await lock_used(
        conn, "template", account, args.key,
        users="find_users_of_template", force=args.force, hint=hint,
    )  # fmt: skip
    done = await conn.execute(sql("remove_template"), account["id"], args.key)
    if done.endswith(" 0"):
        raise _unknown(account, args.key)
    result = {"changed": True, "campaigns": users}
    return Deed(result=result, accounts=(account["id"],), target=args.key)


async def list_templates(conn: Conn, args: p.Listing) -> Result:
    after = read_cursor(args.after, 0, "")
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("list_templates"), account, *after, args.limit + 1)
    return page(rows, args.limit, "account_id", "key")


async def show_template(conn: Conn, args: p.TemplateKey) -> Result:
    account = await sole_account(conn, args.account)
    row = await conn.fetchrow(sql("find_template"), account["id"], args.key)
    if row is None:
        raise _unknown(account, args.key)
    return {**shown(row), "account_key": account["key"]}


def _unknown(account: Row, key: str) -> NotFound:
    return NotFound(
        f"account {account['key']} has no template {key!r}",
        hint="dripd campaign template list",
    )
