"""The deployment over the socket: its clock, its daemons, its state, who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import trio

from dripd import log
from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.clock import Instant
from dripd.daemon.control_room import Room
from dripd.errors import StoreError
from dripd.store.connect import Conn
from dripd.store.desk_account import turn_all
from dripd.store.desk_audit import PROMISES, is_guarded, read_account_ids, verify_account
from dripd.store.desk_deed import Deed, Result
from dripd.store.desk_deployment import (
    adopt,
    aim_clock,
    drain_node,
    list_audit,
    list_nodes,
    read_status,
    show_clock,
    undrain_node,
)
from dripd.store.desk_operator import read_operator
from dripd.store.desk_pick import confirm

STATUS_S = 3.0
"""How long the database may take over a status: whoever asks wants to know that it is slow."""


class DeploymentControl:
    """The handlers of `clock.* daemon.* logs.* node.* audit.*`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "clock.show": self.clock,
            "clock.set": self.set_clock,
            "clock.advance": self.set_clock,
            "daemon.pause": self.pause,
            "daemon.resume": self.resume,
            "daemon.adopt": self._room.changing(adopt),
            "daemon.status": self.status,
            "daemon.ready": self.ready,
            "daemon.whoami": self.whoami,
            "config.reload": self.reload,
            "logs.tail": self.tail,
            "logs.level": self.level,
            "node.list": self.nodes,
            "node.drain": self._room.changing(drain_node),
            "node.undrain": self._room.changing(undrain_node),
            "node.trace": self.trace,
            "audit.verify": self.verify,
            "audit.list": self._room.reading(list_audit),
        }

    async def clock(self, _call: Call, _args: p.Params) -> Result:
        return await self._room.desk.run(show_clock)

    async def set_clock(self, call: Call, args: p.ClockSet | p.ClockAdvance) -> Result:
        """Take the manual clock there; answers when nothing more is due."""
        aimed = await self._room.perform(aim_clock, call, args)
        return dict(await self._room.hooks.clock_set(cast("Instant", aimed["to"])))

    async def pause(self, call: Call, _args: p.Everything) -> Result:
        return await self._room.perform(_turn_all, call, "paused")

    async def resume(self, call: Call, _args: p.Everything) -> Result:
        return await self._room.perform(_turn_all, call, "active")

    async def status(self, _call: Call, _args: p.Params) -> Result:
        """What the daemon knows, and what SQL knows where it answers."""
        own = dict(self._room.hooks.status())
        try:
            with trio.fail_after(STATUS_S):
                facts = await self._room.desk.run(read_status)
        except (StoreError, trio.TooSlowError) as error:
            own = dict(self._room.hooks.status())  # it knows by now
            known: Any = own.get("db")
            told = known if known and not known["ok"] else {"error": _said(error)}
            return {**own, "db": {"since": None, **told, "ok": False}}
        clock = {"mode": facts.pop("mode"), "now": facts.pop("now")}
        return {"db": {"ok": True, "error": None}, **facts, "clock": clock, **own}

    async def ready(self, _call: Call, _args: p.Params) -> Result:
        return dict(self._room.hooks.ready())

    async def whoami(self, call: Call, args: p.InAccount) -> Result:
        operator = await self._room.desk.run(read_operator, call.actor, args.account)
        return {
            "uid": call.uid,
            "user": call.user,
            "role": str(call.role),
            "why": call.why,
            "as_name": call.as_name,
            "operator": operator,
        }

    async def reload(self, call: Call, _args: p.Params) -> Result:
        """Read the configuration again, and say what took effect and what needs a restart."""
        await self._room.perform(_note_reload, call)
        return dict(self._room.hooks.reload())

    async def tail(self, _call: Call, args: p.LogsTail) -> Result:
        """The daemon's own last lines; `next` is where the next call goes on, at the end too."""
        least = log.LEVELS[args.level or "debug"]

        def wanted(line: log.Line) -> bool:
            heavy = log.LEVELS[str(line["level"])] >= least
            return heavy and str(line["event"]).startswith(args.event)

        items, after, lost = log.RING.since(args.after, args.limit, wanted)
        return {"items": items, "next": str(after), "lost": lost}

    async def level(self, call: Call, args: p.LogsLevel) -> Result:
        before = log.level()
        if args.level is None:
            return {"changed": False, "level": before}
        result = await self._room.perform(_turn_log, call, before, args.level)
        if not call.dry_run:
            log.set_level(args.level)
        return result

    async def nodes(self, _call: Call, _args: p.Params) -> Result:
        return await self._room.desk.run(list_nodes)

    async def verify(self, _call: Call, args: p.InAccount) -> Result:
        """Hold the history against the promises, an account at a time."""
        run = self._room.desk.run
        accounts = await run(read_account_ids, args.account)
        broken: dict[str, list[str]] = {name: [] for name in PROMISES}
        for account_id, key in accounts:
            found = await run(verify_account, account_id)
            for name, rows in found.items():
                broken[name] += [f"{key}: {row}" for row in rows]
        checks = [_kept(name, broken[name], one.hint) for name, one in PROMISES.items()]
        guarded = [] if await run(is_guarded) else ["its triggers are gone or off"]
        checks.append(_kept("audit_is_insert_only", guarded, "find out who took them away"))
        return {
            "ok": all(one["ok"] for one in checks),
            "accounts": len(accounts),
            "checks": checks,
        }

    async def trace(self, _call: Call, _args: p.Params) -> Result:
        """What this daemon's tasks are doing, and how full its wheel and queues are."""
        return dict(self._room.hooks.trace())


def _said(error: StoreError | trio.TooSlowError) -> str:
    slow = f"the database has not answered for {STATUS_S:g} s"
    return error.message if isinstance(error, StoreError) else slow


def _kept(name: str, broken: list[str], hint: str) -> Result:
    shown = ", ".join(broken[:20]) or "kept"
    return {"name": name, "ok": not broken, "detail": shown, "hint": hint if broken else ""}


async def _note_reload(_conn: Conn, _call: Call) -> Deed:
    return Deed(result={}, target="config")


async def _turn_log(_conn: Conn, _call: Call, before: str, wanted: str) -> Deed:
    return Deed(
        result={"changed": wanted != before, "level": wanted, "before": before},
        target="log",
        detail={"level": wanted},
    )


async def _turn_all(conn: Conn, call: Call, status: str) -> Deed:
    deed = await turn_all(conn, call, status)
    if status == "paused":
        confirm(call, len(deed.accounts), "accounts would be paused")
    return deed
