"""What would a run cost? The facts of a request that nobody has made, and quotes that are kept.

The request is written, read by the statement that admission itself reads with, and deleted in
one transaction, so that a quote and the acceptance look at the same facts.
"""

from __future__ import annotations

import secrets
from decimal import Decimal

from dripd.admin import params as p
from dripd.clock import Instant
from dripd.errors import Conflict
from dripd.policy.admission_rows import RequestRow
from dripd.store.connect import Conn
from dripd.store.desk_deed import read_now
from dripd.store.desk_find import find_campaign, find_contact
from dripd.store.statements import sql
from dripd.store.unit_admit import read_requests


async def read_asked(conn: Conn, args: p.CampaignQuote) -> tuple[RequestRow, Instant]:
    """The request of a contact for a campaign, as it would be decided now.

    Raises `NotFound`, and `Conflict` `not_published` for a campaign without a version.
    """
    campaign = await find_campaign(conn, args.key, args.account)
    if campaign["live_version"] is None:
        raise Conflict(
            f"campaign {args.key!r} has never been published", code="not_published",
            hint=f"dripd campaign publish {args.key}",
        )  # fmt: skip
    contact = await find_contact(conn, args.contact, campaign["account_key"])
    asked = await conn.fetchval(
        sql("ask_for_quote"), campaign["account_id"], campaign["key"], contact["id"]
    )
    (row,) = await read_requests(conn, [asked])
    await conn.execute(sql("forget_asked"), asked)
    return row, await read_now(conn)


async def keep_quote(conn: Conn, row: RequestRow, total: Decimal) -> str:
    """Keep what was quoted, so that a request may name it; its id."""
    quote_id = secrets.token_urlsafe(12)
    await conn.execute(
        sql("keep_quote"), row.account_id, quote_id, row.campaign_id, row.contact_id, total
    )
    return quote_id
