"""The toll as a unit of work: the quota decides first, then the balance, then both are written."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.billing.ledger import Ask, over_quota, unaffordable
from dripd.billing.meter import ACTION
from dripd.store.connect import Conn
from dripd.store.statements import sql


async def toll(conn: Conn, asks: Sequence[Ask]) -> dict[int, str]:
    """Charge and hold what can be granted, shut the lanes of what lacks money; enrollment to why
    it was refused."""
    claimed = await _claimed(conn, asks)
    refused = {ask.enrollment_id: "lost" for ask in asks if ask.enrollment_id not in claimed}
    ordered = sorted(
        (ask for ask in asks if ask.enrollment_id in claimed),
        key=lambda ask: (ask.account_id, ask.enrollment_id),
    )
    counting = [ask for ask in ordered if ask.quota is not None]
    refused |= dict.fromkeys(await _over_quota(conn, counting), "quota")
    paying = [ask for ask in ordered if ask.amount and ask.enrollment_id not in refused]
    poor = await _charge(conn, paying)
    refused |= dict.fromkeys(poor, "balance")
    if poor:
        await _shut(conn, [ask for ask in paying if ask.enrollment_id in poor])
    granted = [ask for ask in counting if ask.enrollment_id not in refused]
    if granted:
        await conn.execute(
            sql("hold_actions"),
            [ask.account_id for ask in granted],
            [ask.enrollment_id for ask in granted],
            [ask.claim_id for ask in granted],
            [ask.period for ask in granted],
        )
    return refused


async def _claimed(conn: Conn, asks: Sequence[Ask]) -> set[int]:
    rows = await conn.fetch(
        sql("keep_claimed"),
        [ask.account_id for ask in asks],
        [ask.enrollment_id for ask in asks],
        [ask.claim_id for ask in asks],
    )
    return {row["enrollment_id"] for row in rows}


async def _over_quota(conn: Conn, asks: list[Ask]) -> set[int]:
    if not asks:
        return set()
    places = sorted({(ask.account_id, ask.period) for ask in asks})
    which = (ACTION, [account for account, _ in places], [month for _, month in places])
    await conn.execute(sql("lock_meters"), *which)
    rows = await conn.fetch(sql("read_meters"), *which)
    held = await conn.fetch(
        sql("read_held_actions"),
        [ask.account_id for ask in asks],
        [ask.enrollment_id for ask in asks],
        [ask.claim_id for ask in asks],
    )
    known = {row["enrollment_id"] for row in held}
    return over_quota(
        (ask for ask in asks if ask.enrollment_id not in known),
        {(row["account_id"], row["period"]): row["n"] for row in rows},
    )


async def _charge(conn: Conn, asks: list[Ask]) -> set[int]:
    """Charge what the balances cover; the enrollments that they do not."""
    if not asks:
        return set()
    accounts = sorted({ask.account_id for ask in asks})
    purses = await conn.fetch(sql("lock_purses"), accounts)
    if len(purses) < len(accounts):
        await conn.execute(sql("make_purses"), accounts)
        purses = await conn.fetch(sql("lock_purses"), accounts)
    rows = await conn.fetch(
        sql("read_charged"),
        [ask.account_id for ask in asks],
        [ask.delivery_id for ask in asks],
    )
    before = {row["delivery_id"] for row in rows}
    fresh = [ask for ask in asks if ask.delivery_id not in before]
    refused = unaffordable(
        {row["account_id"]: row["balance"] for row in purses},
        [(ask.enrollment_id, ask.account_id, ask.amount) for ask in fresh],
    )
    charged = [ask for ask in fresh if ask.enrollment_id not in refused]
    if charged:
        await conn.execute(
            sql("charge_sends"),
            [ask.account_id for ask in charged],
            [ask.enrollment_id for ask in charged],
            [ask.step_key for ask in charged],
            [ask.delivery_id for ask in charged],
            [ask.amount for ask in charged],
        )
    return refused


async def _shut(conn: Conn, poor: list[Ask]) -> None:
    await conn.execute(
        sql("shut_for_balance"),
        [ask.account_id for ask in poor],
        [ask.lane for ask in poor],
    )
