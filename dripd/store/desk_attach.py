"""Files that go with mails at the desk: taken in part by part, known by what they hold."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.attached import PART_BYTES
from dripd.campaigns.definition import Definition
from dripd.campaigns.known import files_of
from dripd.errors import BadRequest, DefinitionError, Fault
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Row
from dripd.store.desk_find import find_account
from dripd.store.statements import sql


async def attach(conn: Conn, _call: Call, args: p.CampaignAttach) -> Deed:
    """Keep one part of a file; `complete` once all of it is there.

    Any part may be given again; the one that completes the file is noted. A whole that is not
    what it was said to be is forgotten.
    """
    account = await find_account(conn, args.account)
    place = (account["id"], args.sha256)
    await conn.execute(sql("lock_key"), f"attachment {account['id']} {args.sha256}")
    data = _part(args)
    changed = not await _is_whole(conn, *place)
    if changed:
        await conn.execute(sql("drop_misfits"), *place, args.size)
        await conn.execute(sql("put_attachment"), *place, args.part, args.size, data)
    complete = await _is_whole(conn, *place)
    if changed and complete and not await conn.fetchval(sql("is_sound"), *place):
        await conn.execute(sql("drop_attachment"), *place)
        complete = False
    return Deed(
        result={"changed": changed, "complete": complete},
        accounts=(account["id"],),
        target=args.sha256,
        detail={"size": args.size},
        noted=changed and complete,
    )


def _part(args: p.CampaignAttach) -> bytes:
    """Raises `BadRequest` for what is not just this part of the file."""
    try:
        data = base64.b64decode(args.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"it is no base64: {error}", path="data") from error
    wanted = min(PART_BYTES, args.size - args.part * PART_BYTES)
    if len(data) != wanted or (args.part and not data):
        raise BadRequest(
            f"part {args.part} has {len(data)} bytes, not {max(wanted, 0)}",
            path="data",
            hint="every part has 512 KiB, only the last may be shorter",
        )
    return data


async def _is_whole(conn: Conn, account_id: int, sha256: str) -> bool:
    return bool(await conn.fetch(sql("keep_attachments"), account_id, [sha256]))


async def refuse_unattached(conn: Conn, account: Row, definition: Definition) -> None:
    """Raise `DefinitionError` for files that the account does not have in full."""
    wanted = list(files_of(definition))
    if not wanted:
        return
    rows: list[Any] = await conn.fetch(
        sql("keep_attachments"), account["id"], [one.sha256 for _, one in wanted]
    )
    there = {(row["sha256"], row["size"]) for row in rows}
    faults = tuple(
        Fault(
            code="missing:attachment",
            path=path,
            message=f"what {one.name!r} holds has not been handed over",
            hint="dripd campaign apply FILE, with the file beside it",
        )
        for path, one in wanted
        if (one.sha256, one.size) not in there
    )
    if faults:
        raise DefinitionError(f"{len(faults)} file(s) are not there", faults=faults)
