"""Contacts at the desk: add, import, list, show, update, tag, erase."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from dripd.admin import params as p
from dripd.admin.messages import Call, decode
from dripd.campaigns.condition import Condition, compile_condition
from dripd.errors import BadRequest, Conflict, DripdError
from dripd.store.connect import Conn
from dripd.store.desk_account import read_zone
from dripd.store.desk_deed import (
    Deed,
    Result,
    Row,
    cursor_of,
    read_cursor,
    read_now,
    refuse_unfit,
    shown,
)
from dripd.store.desk_find import (
    account_id,
    find_contact,
    find_list,
    find_person,
    sole_account,
)
from dripd.store.desk_ops import WRITABLE, apply_ops, doubts, read_attrs, read_ops
from dripd.store.statements import sql

CHUNK = 500
"""Contacts that are read at once where a condition must be judged in Python."""

MOST_CHUNKS = 40
"""Then the page ends, with a cursor behind what was looked at."""


async def add_contact(conn: Conn, call: Call, args: p.ContactAdd) -> Deed:
    """Make a contact, or change what is given of one that is there."""
    account = await sole_account(conn, args.account)
    types = await _types(conn, account["id"])
    result = await _put(conn, account["id"], types, args)
    return Deed(
        result={**result, "account_key": account["key"]},
        accounts=(account["id"],),
        target=f"contact {result['id']}",
    )


async def import_contacts(conn: Conn, call: Call, args: p.Import) -> Deed:
    """Each row on its own: a bad one is refused by itself."""
    account = await sole_account(conn, args.account)
    types = await _types(conn, account["id"])
    items = [await _import(conn, account["id"], types, row) for row in args.rows]
    changed = sum(bool(item.pop("changed", False)) for item in items)
    return Deed(
        result={"changed": changed, "items": items},
        accounts=(account["id"],),
        target=f"{len(items)} contacts",
    )


async def _import(
    conn: Conn, account: int, types: Mapping[str, str], row: Mapping[str, object]
) -> Result:
    name = str(row.get("external_id", ""))
    try:
        refuse_unfit(row)
        args = decode(p.ContactAdd, {k: v for k, v in row.items() if v is not None})
        async with conn.transaction():
            done = await _put(conn, account, types, args)
    except DripdError as error:
        said = {"code": error.code, "path": error.path, "message": error.message}
        return {"external_id": name, "ok": False, **said, "hint": error.hint}
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        return {"external_id": name, "ok": False, "code": "bad_value", "message": str(error)}
    return {
        "external_id": name,
        "ok": True,
        "created": done["created"],
        "id": done["id"],
        "changed": done["changed"],
        "warnings": done["warnings"],
    }


async def _put(
    conn: Conn, account: int, types: Mapping[str, str], args: p.ContactAdd
) -> Result:
    given = {name: getattr(args, name) for name in WRITABLE}
    columns = {name: value and value.strip() for name, value in given.items()}
    _check_columns(columns)
    attrs = read_attrs(args.attrs, types)
    old = await conn.fetchrow(sql("lock_contact_key"), account, args.external_id)
    row = await conn.fetchrow(
        sql("put_contact"), account, args.external_id, *columns.values(), attrs
    )
    tagged: list[Row] = []
    if args.tags:
        tagged = await conn.fetch(sql("tag_contacts"), account, [row["id"]], list(args.tags))
    fresh = old is None or any(row[name] != old[name] for name in ("attrs", *WRITABLE))
    return {
        "changed": fresh or bool(tagged),
        "created": old is None,
        **shown(row),
        "warnings": doubts(attrs, types),
    }


async def _types(conn: Conn, account: int) -> dict[str, str]:
    return {row["key"]: row["type"] for row in await conn.fetch(sql("field_types"), account)}


def _check_columns(columns: Mapping[str, str | None]) -> None:
    email, zone = columns.get("email"), columns.get("timezone")
    if email and ("@" not in email.strip("@") or any(c.isspace() for c in email)):
        raise BadRequest(
            f"{email!r} is no address", code="bad_value", path="email", hint="NAME@DOMAIN"
        )
    if zone:
        read_zone(zone)


async def list_contacts(conn: Conn, args: p.ContactList) -> Result:
    """A page of contacts; `where` is judged on each, so a page may end before it is full."""
    condition = read_where(args.where)
    account = await account_id(conn, args.account)
    members = None
    if args.list_key is not None:
        members = await find_list(conn, args.list_key, args.account)
        account = members["account_id"]
    (after,) = read_cursor(args.after, 0)
    size = args.limit + 1 if condition is None else CHUNK
    items: list[Result] = []
    for _ in range(MOST_CHUNKS):
        rows = await conn.fetch(
            sql("list_contacts"), account, args.tag, members and members["id"], after, size
        )
        for row in rows:
            if condition is not None and not condition(facts_of(row)):
                continue
            if len(items) == args.limit:
                return {"items": items, "next": cursor_of({"id": after}, ("id",))}
            items.append(shown(row, "lists"))
            after = row["id"]
        if len(rows) < size:
            return {"items": items, "next": None}
        after = rows[-1]["id"]
    return {"items": items, "next": cursor_of({"id": after}, ("id",))}


def read_where(text: str | None) -> Condition | None:
    """A condition over a contact. Raises `BadRequest`."""
    if text is None:
        return None
    try:
        return compile_condition(text)
    except ValueError as error:
        raise BadRequest(
            f"the condition cannot be read: {error}", path="where", hint="attrs.tier == 'gold'"
        ) from error


def facts_of(row: Row) -> dict[str, object]:
    """What a condition may ask about a contact: attrs, contact, tags, lists."""
    attrs = row["attrs"]
    columns: dict[str, object] = {
        name: row[name] for name in ("external_id", "company_id", *WRITABLE)
    }
    return {
        "attrs": attrs if isinstance(attrs, dict) else {},
        "contact": columns,
        "tags": frozenset(row["tags"]),
        "lists": frozenset(row["lists"]),
    }


async def show_contact(conn: Conn, args: p.ContactKey) -> Result:
    """The contact with its tags, lists and live runs."""
    row = await find_contact(conn, args.contact, args.account)
    more = await conn.fetchrow(sql("more_of_contact"), row["account_id"], row["id"])
    live = await conn.fetch(sql("contact_runs"), row["account_id"], row["id"])
    return {
        **shown(row),
        "tags": more["tags"],
        "lists": more["lists"],
        "enrollments": [shown(run) for run in live],
    }


async def unmask_contact(conn: Conn, call: Call, args: p.ContactKey) -> Deed:
    """The personal values of one contact; why, and by whom, stands in the audit."""
    if not call.reason:
        raise BadRequest("say why it must be seen", path="reason", hint="--reason TEXT")
    row = await find_contact(conn, args.contact, args.account)
    seen = {name: row[name] for name in ("id", "external_id", "email", "phone", "attrs")}
    return Deed(
        result={"changed": False, **seen},
        accounts=(row["account_id"],),
        target=f"contact {row['id']}",
    )


async def update_contact(conn: Conn, call: Call, args: p.ContactUpdate) -> Deed:
    """Change fields: columns as given, then `ops` in their order, all or nothing."""
    found = await find_contact(conn, args.contact, args.account)
    old = await conn.fetchrow(sql("lock_contact"), found["account_id"], found["id"])
    if old["erased_at"] is not None:
        raise Conflict(f"contact {args.contact!r} has been erased", code="erased")
    columns = {name: old[name] for name in WRITABLE}
    for name in WRITABLE:
        if (given := getattr(args, name)) is not None:
            columns[name] = given.strip() or None
    types = await _types(conn, old["account_id"])
    ops, now = read_ops(args.ops), await read_now(conn)
    before = _object(old["attrs"])
    zone = await _home(conn, old)
    attrs, columns = apply_ops(before, columns, ops, now, types, zone)
    _check_columns(columns)
    changed = attrs != before or any(columns[name] != old[name] for name in WRITABLE)
    row: Row = old
    if changed:
        row = await conn.fetchrow(
            sql("change_contact"), old["account_id"], old["id"], *columns.values(), attrs
        )
    fresh = {key: value for key, value in attrs.items() if value != before.get(key)}
    return Deed(
        result={"changed": changed, **shown(row), "warnings": doubts(fresh, types)},
        accounts=(old["account_id"],),
        target=f"contact {old['id']}",
    )


async def _home(conn: Conn, contact: Row) -> ZoneInfo:
    """The zone of a contact's dates: its own, else the account's; UTC where neither can be read."""
    zones = await conn.fetchrow(sql("zones_of_contact"), contact["account_id"], contact["id"])
    for name in (zones["own"], zones["of_account"]):
        with contextlib.suppress(KeyError, ValueError, OSError):
            return ZoneInfo(name or "")
    return ZoneInfo("UTC")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


async def tag_contact(conn: Conn, call: Call, args: p.ContactTag) -> Deed:
    row = await find_person(conn, args.contact, args.account)
    done = await conn.fetch(
        sql("tag_contacts"), row["account_id"], [row["id"]], list(args.tags)
    )
    return await _tagged(conn, call, row, "tag_added", len(done))


async def untag_contact(conn: Conn, call: Call, args: p.ContactTag) -> Deed:
    row = await find_contact(conn, args.contact, args.account)
    done = await conn.fetch(sql("untag_contact"), row["account_id"], row["id"], list(args.tags))
    return await _tagged(conn, call, row, "tag_removed", len(done))


async def _tagged(conn: Conn, call: Call, row: Row, event: str, changed: int) -> Deed:
    """What was done; the journal has by whom, for the event itself does not say."""
    if changed:
        detail = {"event": event, "contact_id": row["id"], "n": changed}
        await conn.execute(sql("note_campaign"), row["account_id"], call.actor, "event", detail)
    return Deed(
        result={"changed": changed, "id": row["id"]},
        accounts=(row["account_id"],),
        target=f"contact {row['id']}",
    )


async def erase_contact(conn: Conn, call: Call, args: p.ContactKey) -> Deed:
    """Forget a person for good; needs `yes`."""
    row = await find_contact(conn, args.contact, args.account)
    if not call.yes and not call.dry_run:
        raise Conflict(
            f"contact {row['id']} would be erased for good", code="confirm:1",
            hint="repeat with --yes",
        )  # fmt: skip
    changed = row["erased_at"] is None
    if changed:
        await conn.execute(sql("erase_contact"), row["id"])
    return Deed(
        result={"changed": changed, "id": row["id"]},
        accounts=(row["account_id"],),
        target=f"contact {row['id']}",
    )
