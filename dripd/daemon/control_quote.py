"""What would it cost, and how long would it last? `campaign quote` over the socket."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.billing.ledger import total
from dripd.billing.price import read_prices
from dripd.clock import format_instant
from dripd.daemon.control_room import Room
from dripd.forecast.play import play
from dripd.metrics import MISSED
from dripd.policy.admission_rows import RequestRow
from dripd.policy.foresee import Foreseen, priced
from dripd.store.desk_deed import Result
from dripd.store.desk_quote import keep_quote, read_asked
from dripd.store.desk_snapshot import read_snapshot

AMPLE = Decimal(10**9)
"""A quote asks when, not whether the account can pay."""


class QuoteControl:
    """The handler of `campaign.quote`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        return {"campaign.quote": self.quote}

    async def quote(self, _call: Call, args: p.CampaignQuote) -> Result:
        """Every message that the contact would get, its price and its moment, and the sum."""
        row, now = await self._room.desk.run(read_asked, args)
        found = await self._room.hooks.rehearse(row, now)
        await self._time(row, found.messages)
        bill = priced(found.messages, read_prices(row.prices))
        quote_id = await self._room.desk.run(keep_quote, row, total(bill))
        messages = [
            {
                "step_key": one.step_key,
                "channel": one.channel,
                "segments": one.segments,
                "price": str(cost.amount),
                "at": format_instant(one.at),
                "missed_s": None if one.missed_ms is None else one.missed_ms / 1000,
                "hold_reason": one.held,
            }
            for one, cost in zip(found.messages, bill, strict=True)
        ]
        return {
            "quote_id": quote_id,
            "campaign": args.key,
            "contact": args.contact,
            "total": str(total(bill)),
            "ends_at": messages[-1]["at"] if messages else None,
            "messages": messages,
            "missed": _missed(found.messages),
            "reject_reason": found.reason,
        }

    async def _time(self, row: RequestRow, messages: list[Foreseen]) -> None:
        """Let each message come when the engine would send it, with all that competes for the
        account's day; what nothing competes with stands as it was foreseen."""
        snapshot = await self._room.desk.run(
            read_snapshot, row.account_id, row.contact_id, None, [row.cv_id]
        )
        if not messages or not snapshot.competes:
            return
        snapshot.balance = AMPLE
        campaign, margin = str(row.campaign_key), self._room.hooks.margin()
        found = await play(snapshot, None, campaign, margin=margin)
        played = {step.key: step for step in found.steps if step.sent}
        for one in messages:
            if (step := played.get(one.step_key)) is not None:
                one.at, one.missed_ms = step.at, step.missed_ms


def _missed(messages: Sequence[Foreseen]) -> list[dict[str, object]]:
    """How many messages miss their window, by how much at most; the last: by more than all.

    The bounds are those of `dripd_window_missed_seconds`.
    """
    found = Counter(
        bisect_left(MISSED, one.missed_ms / 1000)
        for one in messages
        if one.missed_ms is not None
    )
    return [{"up_to_s": most, "n": found[n]} for n, most in enumerate((*MISSED, None))]
