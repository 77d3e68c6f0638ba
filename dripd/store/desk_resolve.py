"""What became of a message that nobody knew of? What an operator found out, put on record."""

from __future__ import annotations

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.enrollment import DELIVERY_STATES
from dripd.errors import Conflict
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Row
from dripd.store.desk_delivery import show_delivery
from dripd.store.statements import sql


async def resolve_delivery(conn: Conn, call: Call, args: p.DeliveryResolve) -> Deed:
    """An `unknown` delivery is accepted or failed. A failed one gives back what it took of the
    day's cap, and its charge. A run that waited for that does the step anew; one that has gone
    on stays where it is.

    Raises `NotFound`, and `Conflict` for one whose outcome is known to be the other, or that
    is being sent again at this moment.
    """
    found = await show_delivery(conn, p.DeliveryKey(id=args.id))
    if found["state"] == args.state:
        return _deed(args, int(str(found["account_id"])), changed=False)
    row = None
    if found["state"] == "unknown":
        if args.state == "failed" and await is_tried_again(conn, args.id):
            raise Conflict(
                f"delivery {args.id} is being sent again at this moment",
                code="in_flight",
                hint="look again in a minute",
            )
        row = await settle_unknown(conn, args.id, args.state)
    if row is None:
        raise Conflict(
            f"delivery {args.id} is {found['state']}",
            code="not_unknown",
            hint="only an unknown outcome can be resolved",
        )
    return _deed(args, row["account_id"], changed=True)


async def is_tried_again(conn: Conn, delivery_id: str) -> bool:
    """Is an unknown delivery being sent again at this moment?"""
    enrollment, _, seq = delivery_id.partition("-")
    if enrollment == "i":
        return False
    return bool(await conn.fetchval(sql("is_tried_again"), int(enrollment), int(seq)))


async def settle_unknown(
    conn: Conn, delivery_id: str, state: str, reason: str = "resolved"
) -> Row | None:
    """Make an unknown delivery `accepted` or `failed`, the latter for *reason*; None: it was
    not unknown (any more)."""
    if delivery_id.startswith("i-"):
        number = int(delivery_id.removeprefix("i-"))
        found: Row | None = await conn.fetchrow(
            sql("resolve_individual"), number, state, reason
        )
        return found
    enrollment, _, seq = delivery_id.partition("-")
    where = (int(enrollment), int(seq))
    row: Row | None = await conn.fetchrow(
        sql("resolve_delivery"), *where, DELIVERY_STATES[state], reason
    )
    if row is not None and state == "failed":
        account = row["account_id"]
        if row["counted"]:
            await conn.execute(sql("free_cap"), account, row["leased_at"])
            await conn.fetch(sql("unpark_reason"), [account], "cap")
        await conn.execute(sql("refund_failed"), account, where[0], delivery_id)
    return row


def _deed(args: p.DeliveryResolve, account: int, *, changed: bool) -> Deed:
    return Deed(
        result={"changed": changed, "id": args.id, "state": args.state},
        accounts=(account,),
        target=f"delivery {args.id}",
        detail={"state": args.state},
    )
