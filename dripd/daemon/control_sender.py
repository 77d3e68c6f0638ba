"""How do senders stand? What SQL counts, and what only the daemon that serves the account knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.campaigns.address import meant
from dripd.daemon.control_room import Room
from dripd.errors import BadRequest, near
from dripd.store import desk_sender
from dripd.store.desk_deed import Result
from dripd.store.desk_sender import list_senders, senders_of, set_sender, show_sender

SHUT: Final = frozenset({"no_sender", "breaker"})
"""Gates of which `why_shut` can say more."""


class SenderControl:
    """The handlers of `sender.*`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        room = self._room
        return {
            "sender.set": self.set,
            "sender.list": self.list,
            "sender.show": self.show,
            "sender.limit": room.changing(desk_sender.limit_sender),
            "sender.test": self.test,
            "sender.probe": room.changing(desk_sender.probe_sender),
            "sender.pause": room.changing(desk_sender.pause_sender),
            "sender.resume": room.changing(desk_sender.resume_sender),
        }

    async def list(self, _call: Call, args: p.SenderList) -> Result:
        found = await self._room.desk.run(list_senders, args)
        items: Any = found["items"]
        return {**found, "items": [self._standing(row) for row in items]}

    async def show(self, _call: Call, args: p.SenderShow) -> Result:
        return self._standing(await self._room.desk.run(show_sender, args))

    async def set(self, call: Call, args: p.SenderSet) -> Result:
        """A sender goes by a provider that this daemon knows. Raises `BadRequest`."""
        known, named = self._room.hooks.providers(), args.provider
        if known is not None and named is not None and named not in known:
            raise BadRequest(
                f"no provider {named!r} is configured here",
                path="provider",
                hint=near(named, known, f"add [provider.{named}] and restart the daemon"),
            )
        return await self._room.perform(set_sender, call, args)

    async def test(self, call: Call, args: p.SenderTest) -> Result:
        """First the audit row, then the message."""
        aimed = await self._room.perform(desk_sender.aim_test, call, args)
        return dict(await self._room.hooks.send_test(sender=aimed["sender"], to=args.to))

    def _standing(self, row: Mapping[str, Any]) -> Result:
        """*row* with what may leave a second at most, and `standing`: as this daemon knows it,
        else as the one has told that serves its account, else None."""
        hooks = self._room.hooks
        own = hooks.standing(row["account_id"], row["id"])
        return {
            **row,
            "limit_per_s": hooks.sender_most(row),
            "standing": row["standing"] if own is None else dict(own),
        }


async def why_shut(room: Room, row: Mapping[str, Any], gate: str) -> str:
    """What keeps the senders of a waiting run back: each one, and until when."""
    rows = await room.desk.run(senders_of, row["account_id"], row["channel"])
    named = row["senders"] if isinstance(row["senders"], list) else [row["senders"]]
    known = meant(",".join(filter(None, named)), (one["address"] for one in rows))
    asked = [one for one in rows if one["address"] in known] or rows
    told = [word for one in asked if (word := _why(room, row["account_id"], one, gate))]
    if asked:
        return "; ".join(told) or "its lane rests; it is asked anew"
    return f"the account has no sender for {row['channel']}: dripd sender set"


def _why(room: Room, account_id: int, sender: Mapping[str, Any], gate: str) -> str:
    if sender["status"] == "paused":
        reason = sender["pause_reason"] or "by hand"
        return f"{sender['address']} is paused ({reason}) until dripd sender resume"
    standing: Any = room.hooks.standing(account_id, sender["id"])
    if standing is None or gate == "no_sender":
        unknown = standing is not None and standing["unknown_provider"]
        return f"the provider of {sender['address']} is not configured here" if unknown else ""
    return "; ".join(
        f"{one['of']} fails: "
        + (
            "the next message tries it"
            if one["probe_at"] is None
            else f"tried again at {one['probe_at']}"
        )
        for one in standing["breakers"]
    )
