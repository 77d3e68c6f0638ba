"""What does the console ask beyond lists? The overview: headline figures, holds, alerts; and
lets alerts rest.

Figures of this daemon are fresh at every look; what SQL knows is the last glance
(`dripd.daemon.glance`), however many consoles look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.clock import format_instant
from dripd.daemon.control_room import Room
from dripd.errors import NotFound, StoreBusy, StoreError
from dripd.store.desk_console import snooze_alert, wake_alert
from dripd.store.desk_deed import Result

SILENT_S: Final = 10.0
"""A heartbeat older than this is an alert: five beats were missed."""

LATE_MS: Final = 5_000
"""A lag beyond this is an alert."""


class ConsoleControl:
    """The handlers of `daemon.overview` and `alert.*`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "daemon.overview": self.overview,
            "alert.list": self.list_alerts,
            "alert.snooze": self.snooze,
            "alert.wake": self._room.changing(wake_alert),
        }

    async def list_alerts(self, _call: Call, _args: p.Params) -> Result:
        """What somebody should look at, what is snoozed last."""
        glance, error = await self._room.hooks.glance()
        found = alerts(self._room.hooks.figures(), glance, error)
        return {"items": found, "next": None}

    async def snooze(self, call: Call, args: p.AlertSnooze) -> Result:
        """Let an alert rest, for every console. Raises `NotFound` if there is none such."""
        found: Any = (await self.list_alerts(call, p.Params()))["items"]
        for one in found:
            if (one["what"], one["where"]) == (args.what, args.where):
                return await self._room.perform(snooze_alert, call, args, one["level"])
        raise NotFound(
            f"there is no alert {args.what!r} of {args.where!r}", path="what",
            hint="dripd alert list",
        )  # fmt: skip

    async def overview(self, _call: Call, args: p.Overview) -> Result:
        """The deployment at a glance; without its history if `brief`."""
        own = dict(self._room.hooks.figures())
        await trio.lowlevel.cancel_shielded_checkpoint()
        found_in_sql, error = await self._room.hooks.glance()
        glance: Any = found_in_sql
        history = own.pop("history", [])
        found: Result = {
            "state": own.pop("state", ""),
            "env": own.pop("env", ""),
            "node": self._room.hooks.node,
            "figures": own,
            "db": {"ok": error is None, "error": error and error.message},
            "alerts": alerts(own, glance, error),
            **{k: v for k, v in glance.items() if k not in {"as_of_at", "snoozes"}},
        }
        if "as_of_at" in glance:
            found["as_of"] = format_instant(glance["as_of_at"])
        if not args.brief:
            found["history"] = history
        return found


def alerts(
    own: Mapping[str, Any], glance: Mapping[str, Any], db: StoreError | None
) -> list[Result]:
    """What somebody should look at, the worst first, what is snoozed last: level, what, where,
    detail, screen, and until when it is snoozed."""
    found: list[Result] = []
    if isinstance(db, StoreBusy):
        found.append(_alert("!", "database slow", "", db.message, "logs"))
    elif db is not None:
        found.append(_alert("!!", "database away", "", db.message, "logs"))
    for node in glance.get("nodes", []):
        if node["silent_s"] > SILENT_S:
            silence = f"no heartbeat for {node['silent_s']:.0f} s"
            found.append(_alert("!!", "node silent", node["node"], silence, "nodes"))
    found += _barred(glance.get("nodes", []))
    found += _died(own.get("processes", []))
    if apart := glance.get("zones_differ"):
        rules = f"rules of time zones: {', '.join(apart)}"
        found.append(_alert("!", "zones differ", "", rules, "nodes"))
    if waiting := own.get("needs_restart"):
        found.append(_alert("!", "restart needed", "", f"for {', '.join(waiting)}", "nodes"))
    if own.get("lag_ms", 0) > LATE_MS:
        late = f"p99 {own['lag_ms'] / 1000:.1f} s late"
        found.append(_alert("!", "steps are late", "", late, "nodes"))
    found += _failing(glance.get("nodes", []))
    found += _refused(glance.get("nodes", []))
    found += _stopped(glance.get("stopped", []))
    found += _held(glance.get("holding", []))
    found = [{**one, **_snoozed(one, glance.get("snoozes", []))} for one in found]
    return sorted(
        found, key=lambda one: (one["snoozed_until"] is not None, one["level"] != "!!")
    )


def _snoozed(alert: Mapping[str, Any], snoozes: Sequence[Mapping[str, Any]]) -> Result:
    """Until when nobody needs to look at *alert*, and who said so: not if it has grown worse."""
    for one in snoozes:
        same = (one["what"], one["place"]) == (alert["what"], alert["where"])
        if same and len(alert["level"]) <= len(one["level"]):
            until = format_instant(one["until_at"])
            return {"snoozed_until": until, "snoozed_by": one["created_by"]}
    return {"snoozed_until": None, "snoozed_by": None}


def _barred(nodes: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Daemons that lease nothing, and why."""
    return [
        _alert("!!", "nothing leaves", node["node"], why, "nodes")
        for node in nodes
        for why in node.get("figures", {}).get("barred", {}).values()
    ]


def _died(processes: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Daemons of `--processes` that ended by themselves and do not run again yet."""
    return [
        _alert("!!", "process died", one["node"], f"code {one['code']}, {_often(one['deaths'])}", "nodes")
        for one in processes
        if one["deaths"] and one["state"] != "running"
    ]  # fmt: skip


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _failing(nodes: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Providers that are left alone because they fail, as each daemon has found them."""
    return [
        _alert("!!", "provider fails", f"{one['of']} on {node['node']}", _tried(one["probe_at"]), "senders")
        for node in nodes
        for one in node.get("figures", {}).get("failing", [])
    ]  # fmt: skip


def _refused(nodes: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Senders of which much failed within the hour, as all daemons have counted it."""
    tried: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        for one in node.get("figures", {}).get("failing_senders", []):
            place = one["account"], one["sender"]
            tried[place] += one["tried"]
            failed[place] += one["failed"]
    return [
        _alert(
            "!!" if 2 * failed[place] >= n else "!", "sender fails", "/".join(place),
            f"{failed[place] / n:.0%} of {n} within the hour", "senders", account=place[0],
        )
        for place, n in tried.items()
    ]  # fmt: skip


def _tried(probe_at: str | None) -> str:
    return (
        "the next message tries it"
        if probe_at is None
        else f"tried again at {probe_at[11:19]}Z"
    )


def _stopped(senders: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Senders that were paused because too much came back."""
    return [
        _alert(
            "!!", "sender stopped", f"{row['account_key']}/{row['sender']}",
            f"{row['pause_reason']}, until it is resumed", "senders", account=row["account_key"],
        )
        for row in senders
    ]  # fmt: skip


def _held(holding: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Holds that do not open by themselves."""
    return [
        _alert(
            "!!" if row["reason"] in {"breaker", "quarantined"} or row.get("failing") else "!",
            "campaign fails" if row.get("failing") else row["reason"],
            "/".join(filter(None, (row["account_key"], row["campaign_key"]))),
            f"{row['count']}{'+' if row['more'] else ''} held",
            **_listed(row),
        )
        for row in holding
        if row["reason"] in {"breaker", "quarantined", "step_failed", "no_sender", "balance"}
        or row.get("failing")
    ][:10]


def _listed(row: Mapping[str, Any]) -> dict[str, str]:
    """The screen that lists what is held so, and by which filter."""
    of = {"account": row["account_key"], "campaign": row["campaign_key"]}
    if row["reason"] in {"step_failed", "quarantined"} or row.get("failing"):
        return {"screen": "failures", **of}
    return {"screen": "enrollments", **of, "hold": row["reason"]}


def _alert(level: str, what: str, where: str, detail: str, screen: str, **of: str) -> Result:
    """*of*: what it is about, as the filter of its screen names it."""
    return {
        "level": level, "what": what, "where": where, "detail": detail, "screen": screen, "of": of
    }  # fmt: skip
