"""Which daemons are there, how are they, and what comes up when?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dripd.tui.dialog import Reading
from dripd.tui.draw import Cell, Line, gathered, line, spark
from dripd.tui.page import Action, ListPage
from dripd.tui.table import Column, Row
from dripd.tui.words import clock, count, span, state, text

SILENT_S = 6.0
SKEW_MS = 2_000
LEASES = 4
"""Lease events that are shown."""


def heartbeat(row: Row) -> Cell:
    silent = float(row.get("silent_s") or 0)
    return Cell(f"{silent:.1f} s", "bad" if silent > SILENT_S else "")


def skew(row: Row) -> Cell:
    """How far the clock of its host is ahead of the database's."""
    found = row.get("skew_ms")
    if found is None:
        return Cell("  clock -")
    shown = round(found / 1000, 1) + 0.0  # never -0.0
    return Cell(f"  clock {shown:+.1f} s", "bad" if abs(found) > SKEW_MS else "")


def pool(row: Row) -> Cell:
    """How many of its connections are at work."""
    found = row.get("figures", {}).get("pool")
    if not found:
        return Cell("  pool -")
    busy, size = found["used"], found["size"]
    return Cell(f"  pool {busy}/{size} busy", "warn" if busy >= size else "")


def figure(name: str, unit: str = "") -> Any:
    return lambda row: f"{count(row.get('figures', {}).get(name))}{unit}"


class Nodes(ListPage):
    name: ClassVar[str] = "nodes"
    digit: ClassVar[str] = "8"
    short: ClassVar[str] = "Nodes"
    tiny: ClassVar[str] = "No"
    title: ClassVar[str] = "Nodes"
    method: ClassVar[str] = "node.list"
    figures = (
        ("HEARTBEAT", "real seconds since the daemon's last sign of life; others take its claims at 10 s"),
        ("CLAIMS", "leased batches that it has not answered for yet"),
        ("WHEEL", "steps loaded into its timer wheel: due within its horizon"),
        ("LAG", "p99 of lease minus due (or minus the opening of what held it), last 60 s"),
        ("CPU%", "of one core, mean of 10 s; a daemon is one process"),
        ("clock", "of the daemon's host, ahead of the database's (+) or behind it, the way there included; red beyond 2 s"),
        ("pool", "connections that steps go by: at work / held"),
        ("DB p99", "ms that 99 of 100 of the daemon's units of work took at most, waiting for a connection included, last 60 s"),
        ("lease events", "heartbeats that came late, accounts that moved between daemons, steps of dead daemons that were taken over; what each daemon met last"),
        ("doors", "the accounts with most of the oldest 10 000 requests and 10 000 events that wait; with that many they are crowded"),
        ("zones differ", "daemons go by different rules of time zones: the word of each"),
        ("next ...", "due steps of all accounts, each cell a slot; ~ from a sample of 300 pages"),
    )  # fmt: skip

    def params(self) -> dict[str, object]:
        return {}

    def _watching(self, after: object) -> Any:
        watch = super()._watching(after)
        watch.params = {}
        return watch

    def key_of(self, row: Row) -> str:
        return str(row.get("incarnation"))

    def columns(self) -> Sequence[Column]:
        return (
            Column(title="STATE", width=11, show=lambda row: state(row.get("state"))),
            Column(title="NODE", show=lambda row: text(row.get("node"))),
            Column(title="HEARTBEAT", width=9, right=True, show=heartbeat),
            Column(title="ACCOUNTS", width=8, right=True, narrow=False, show=lambda row: count(row.get("accounts"))),
            Column(title="CLAIMS", width=6, right=True, show=lambda row: count(row.get("claims"))),
            Column(title="SENT/s", width=7, right=True, show=figure("sent_per_s")),
            Column(title="LAG ms", width=7, right=True, show=figure("lag_ms")),
            Column(title="CPU%", width=5, right=True, show=figure("cpu_percent")),
            Column(title="DB p99", width=6, right=True, priority=2, show=figure("db_p99_ms")),
            Column(title="RSS MB", width=6, right=True, priority=2, show=figure("rss_mb")),
            Column(title="WHEEL", width=8, right=True, priority=2, show=figure("wheel")),
            Column(title="VERSION", width=8, priority=2, show=lambda row: text(row.get("version"))),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        return [
            Action(key="D", label="DRAIN", help="takes no new work and gives up its accounts, by a plan",
                   run=self._drain, method="node.drain", changes=True, why_not=self._no_row),
            Action(key="U", label="UNDRAIN", help="let it take work again", run=self._undrain,
                   method="node.undrain", changes=True, why_not=self._no_row),
            Action(key="t", label="trace", help="what the daemon that this console is connected to is doing",
                   run=self._trace, method="node.trace"),
        ]  # fmt: skip

    def _drain(self) -> None:
        if row := self._table.row:
            node = text(row["node"])
            self.deeds.planned(
                f"DRAIN {node}", "node.drain", {"node": row["incarnation"]},
                lambda _: ["It leases nothing more; others take its accounts. In flight finishes.",
                           "If it is the only one, sending stops."],
                verb="Drain", word=lambda _: node,
            )  # fmt: skip

    def _undrain(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"UNDRAIN {text(row['node'])}", ["It takes its share of the accounts again."],
                "node.undrain", {"node": row["incarnation"]}, "undrained", verb="Undrain",
            )  # fmt: skip

    def _trace(self) -> None:
        async def run() -> None:
            answer = await self.port.call("node.trace", {})
            self.port.ask(Reading(f"trace of {text(answer.get('node'))}", _traced(answer)))

        self.port.spawn(run())

    def detail(self, row: Row, width: int) -> list[Line]:
        overview = self.port.overview.answer or {}
        due: dict[str, Any] = overview.get("due", {})
        about = "~" if due.get("percent", 100) < 100 else ""
        up = span(1000 * float(row.get("up_s") or 0))
        drain = "  asked to drain" if row.get("drain") else ""
        barred = row.get("figures", {}).get("barred", {})
        found = [
            line(
                Cell(f" {text(row.get('node'))}", "head"),
                f"  up {up}",
                skew(row),
                pool(row),
                f"  incarnation {text(row.get('incarnation'))}{drain}",
            ),
            *(
                line(Cell(f"  leases nothing: {text(why)}; dripd ready says what to do", "bad"))
                for why in barred.values()
            ),
        ]
        room = min(60, width - 50)
        for label, name, unit in (
            ("60 s", "seconds", "s"),
            ("60 m", "minutes", "m"),
            ("48 h", "hours", "h"),
        ):
            slots: list[int] = due.get(name, [])
            top = max(slots, default=0)
            peak = (
                f"peak {about}{count(top)} at +{slots.index(top)}{unit}" if top else "nothing"
            )
            found.append(
                line(
                    f"  next {label} ",
                    Cell(spark(gathered(slots, room), room), "spark"),
                    f"  {about}{count(sum(slots))}  {peak}",
                )
            )
        return [*found, *self._befell(), *_deployment(overview)]

    def _befell(self) -> list[Line]:
        """What befell heartbeats, accounts and claims last."""
        told: Sequence[Row] = (self._list.answer or {}).get("leases", [])[:LEASES]
        return [
            line(
                Cell(f"  {'lease events' if not n else '':12}", "dim" if n else "head"),
                f"  {clock(one['at'])} {text(one['node'])}  {text(one['said'])}",
            )
            for n, one in enumerate(told)
        ] or [
            line(Cell("  no lease events: every heartbeat came in time, nothing moved", "dim"))
        ]


def _deployment(overview: Row) -> list[Line]:
    """What concerns all daemons: who crowds the doors, whose rules of zones differ."""
    found = []
    if queues := overview.get("queues"):
        told = "; ".join(
            f"{text(one['account']) or '?'} {count(one['requests'])} requests, {count(one['events'])} events"
            for one in queues
        )
        found.append(line(Cell("  doors        ", "head"), f" {told}"))
    if apart := overview.get("zones_differ"):
        found.append(line(Cell(f"  zones differ  {text(', '.join(apart))}", "warn")))
    return found


def _traced(answer: Row) -> list[Line]:
    """How full its queues are, then its tasks, each beneath the one that began it."""
    counts = {name: n for name, n in answer.items() if name not in {"node", "tasks"}}
    return [
        line(text(counts)),
        *(
            line(" " * 2 * one.get("depth", 0), Cell(text(one.get("name")), "head"), f"  {text(one.get('at'))}")
            for one in answer.get("tasks", [])
        ),
    ]  # fmt: skip
