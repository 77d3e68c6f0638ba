"""Which one is meant? Accounts, campaigns, lists, senders and contacts by their keys.

Without an account a key is looked for in the whole deployment; one that stands in several
accounts is refused as `ambiguous`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dripd.errors import BadRequest, Conflict, NotFound, near
from dripd.store.connect import Conn
from dripd.store.desk_deed import Row
from dripd.store.statements import sql

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

KNOWN = {
    "campaign": "list_campaign_keys",
    "list": "list_list_keys",
    "sender": "list_sender_keys",
}
"""Where the keys of a noun are listed, to suggest one."""


def check_key(key: str, path: str = "key") -> None:
    """Raises `BadRequest` for a key that a file of a campaign could not name."""
    if not _KEY.fullmatch(key):
        hint = "small letters, digits, _ and -, at most 63, the first a letter or digit"
        raise BadRequest(f"{key!r} is no key", path=path, hint=hint)


async def find_account(conn: Conn, key: str) -> Row:
    """The account *key*. Raises `NotFound`."""
    row: Row | None = await conn.fetchrow(sql("find_account"), key)
    if row is None:
        keys = [found["key"] for found in await conn.fetch(sql("list_account_keys"))]
        raise NotFound(
            f"there is no account {key!r}", hint=near(key, keys, f"dripd account set {key}")
        )
    return row


async def account_id(conn: Conn, key: str | None) -> int | None:
    """The id of the account *key*, None for None. Raises `NotFound`."""
    return None if key is None else int((await find_account(conn, key))["id"])


async def sole_account(conn: Conn, key: str | None) -> Row:
    """The account *key*; for None the only one of the deployment.

    Raises `NotFound`, and `Conflict` `ambiguous` where there are several.
    """
    if key is not None:
        return await find_account(conn, key)
    keys = [row["key"] for row in await conn.fetch(sql("list_account_keys"))]
    if len(keys) == 1:
        return await find_account(conn, keys[0])
    if not keys:
        raise NotFound("there is no account yet", hint="dripd account set KEY")
    raise Conflict(
        "the account is not said", code="ambiguous", hint=f"--account {'|'.join(keys[:5])}"
    )


async def find_campaign(conn: Conn, key: str, account: str | None) -> Row:
    """The campaign *key*. Raises `NotFound`, `Conflict` `ambiguous`."""
    rows = await conn.fetch(sql("find_campaigns"), key, await account_id(conn, account))
    return await _only(conn, rows, "campaign", key, account)


async def lock_campaign(conn: Conn, key: str, account: str | None) -> Row:
    """As `find_campaign`, its row locked FOR UPDATE: the admit waits for our commit."""
    found = await find_campaign(conn, key, account)
    row: Row = await conn.fetchrow(sql("lock_campaign"), found["account_id"], found["id"])
    return row


async def find_list(conn: Conn, key: str, account: str | None) -> Row:
    """The list *key*. Raises `NotFound`, `Conflict` `ambiguous`."""
    rows = await conn.fetch(sql("find_lists"), key, await account_id(conn, account))
    return await _only(conn, rows, "list", key, account)


async def find_lists(conn: Conn, key: str, account: str | None) -> Sequence[Row]:
    """The lists *key* of every account that is meant. Raises `NotFound` where there is none."""
    rows: Sequence[Row] = await conn.fetch(
        sql("find_lists"), key, await account_id(conn, account)
    )
    return rows or [await _only(conn, rows, "list", key, account)]


async def find_sender(conn: Conn, address: str, account: str | None) -> Row:
    """The sender *address*. Raises `NotFound`, `Conflict` `ambiguous`."""
    rows = await conn.fetch(sql("find_senders"), address, await account_id(conn, account), None)
    return await _only(conn, rows, "sender", address, account)


async def find_contact(conn: Conn, text: str, account: str | None) -> Row:
    """The contact of an external_id, or of `#ID`. Raises `NotFound`, `Conflict`."""
    wanted = await account_id(conn, account)
    if (number := contact_number(text)) is not None:
        rows = await conn.fetch(sql("find_contacts_by_id"), [number], wanted)
    else:
        rows = await conn.fetch(sql("find_contacts"), [text], wanted)
    return await _only(conn, rows, "contact", text, account)


async def find_person(conn: Conn, text: str, account: str | None) -> Row:
    """As `find_contact`, of those who have not been erased. Raises `Conflict` `erased`, too."""
    row = await find_contact(conn, text, account)
    if row["erased_at"] is not None:
        raise Conflict(f"contact {text!r} has been erased", code="erased")
    return row


async def find_run(conn: Conn, enrollment: int) -> Row:
    """The enrollment of a number. Raises `NotFound`."""
    row: Row | None = await conn.fetchrow(sql("read_enrollment"), enrollment)
    if row is None:
        raise NotFound(f"there is no enrollment {enrollment}", hint="dripd enroll list")
    return row


async def find_contact_ids(
    conn: Conn, texts: Sequence[str], account: int | None
) -> dict[str, list[Row]]:
    """Every contact that one of *texts* names; a text that names none is left out."""
    numbers = {text: contact_number(text) for text in texts}
    named = [text for text, number in numbers.items() if number is None]
    found: dict[str, list[Row]] = {}
    for row in await conn.fetch(sql("find_contacts"), named, account):
        found.setdefault(row["external_id"], []).append(row)
    by_id = {number: text for text, number in numbers.items() if number is not None}
    for row in await conn.fetch(sql("find_contacts_by_id"), list(by_id), account):
        found.setdefault(by_id[row["id"]], []).append(row)
    return found


def contact_number(text: str) -> int | None:
    """The id in `#ID`, None where *text* is an external_id. Raises `BadRequest`."""
    if not text.startswith("#"):
        return None
    digits = text[1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise BadRequest(f"{text!r} is no contact", path="contact", hint="EXTERNAL_ID or #ID")
    return int(digits)


async def lock_used(
    conn: Conn, what: str, account: Row, key: str, *, users: str, force: bool, hint: str
) -> list[str]:
    """Lock the *what* of that key; the campaigns that use it, which the statement *users* finds.

    Raises `Conflict` `in_use` naming them, unless *force*.
    """
    await conn.execute(sql("lock_key"), f"{what} {account['id']} {key}")
    keys = [row["key"] for row in await conn.fetch(sql(users), account["id"], key)]
    if keys and not force:
        message = f"{what} {key!r} is used by {', '.join(keys)}"
        raise Conflict(message, code="in_use", hint=hint)
    return keys


async def _only(
    conn: Conn, rows: Sequence[Row], noun: str, key: str, account: str | None
) -> Row:
    if len(rows) == 1:
        return rows[0]
    if rows:
        keys = [str(row["account_key"]) for row in rows]
        raise Conflict(
            f"{noun} {key!r} is in several accounts: {', '.join(keys[:5])}",
            code="ambiguous",
            hint=f"--account {keys[0]}",
        )
    hint = f"dripd {noun} list"
    if noun in KNOWN:
        names = await conn.fetch(sql(KNOWN[noun]), await account_id(conn, account))
        hint = near(key, [row["key"] for row in names], hint)
    raise NotFound(f"there is no {noun} {key!r}", hint=hint)
