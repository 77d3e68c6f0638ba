"""Accounts over the socket: what SQL knows of them, with what the calendar says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.campaigns.settings import parse_window
from dripd.campaigns.window import build_window
from dripd.clock import Instant, format_instant
from dripd.daemon.control_explain import Holidays
from dripd.daemon.control_room import Room
from dripd.errors import DefinitionError
from dripd.scheduler.calendar import next_open
from dripd.store import desk_account, desk_operator
from dripd.store.connect import Conn
from dripd.store.desk_account import list_accounts, read_backlogs
from dripd.store.desk_deed import Result, read_now


class AccountControl:
    """The handlers of `account.*` and `operator.*`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        room = self._room
        return {
            "account.set": room.changing(
                partial(desk_account.set_account, calendars=room.hooks.calendars)
            ),
            "account.list": self.list,
            "account.show": room.reading(desk_account.show_account),
            "account.deposit": room.changing(desk_account.deposit),
            "account.pause": room.changing(desk_account.pause_account),
            "account.resume": room.changing(desk_account.resume_account),
            "operator.set": room.changing(desk_operator.set_operator),
            "operator.list": room.reading(desk_operator.list_operators),
            "operator.remove": room.changing(desk_operator.remove_operator),
        }

    async def list(self, _call: Call, args: p.AccountList) -> Result:
        if not args.figures:
            return await self._room.desk.run(list_accounts, args)
        found, backlogs, now = await self._room.desk.run(_with_backlogs, args)
        holidays = self._room.hooks.holidays
        items: Any = found["items"]
        return {
            **found,
            "items": [
                {**row, "backlog": backlogs.get(row["id"], 0), **window_now(row, now, holidays)}
                for row in items
            ],
        }


async def _with_backlogs(
    conn: Conn, args: p.AccountList
) -> tuple[Result, Mapping[int, int], Instant]:
    found = await list_accounts(conn, args)
    items: Any = found["items"]
    backlogs = await read_backlogs(conn, [row["id"] for row in items])
    return found, backlogs, await read_now(conn)


def window_now(row: Mapping[str, Any], now: Instant, holidays: Holidays) -> Result:
    """`window`: always, open, closed, or unreadable; `opens_at` if it is closed and opens."""
    try:
        spec = "off" if row["send_window"] is None else parse_window(row["send_window"])
        if spec == "off":
            return {"window": "always", "opens_at": None}
        opens = next_open(build_window(spec, holidays), ZoneInfo(row["timezone"]), now)
    except (DefinitionError, KeyError, ValueError, OSError):
        return {"window": "unreadable", "opens_at": None}
    if opens == now:
        return {"window": "open", "opens_at": None}
    return {"window": "closed", "opens_at": None if opens is None else format_instant(opens)}
