"""How is the deployment, and what holds mail back?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from dripd.clock import Instant, format_instant
from dripd.tui.dialog import Choice, Menu
from dripd.tui.draw import Cell, Line, line, pad, peaks, spark, stack
from dripd.tui.filter import written
from dripd.tui.page import Action, Deeds, Page, Port
from dripd.tui.table import MIDDLE, WIDE, Column, Row, Table
from dripd.tui.words import bounded, clock, count, hint, since, text, undecided

COLUMNS = (
    Column(
        title="COUNT",
        width=9,
        right=True,
        show=lambda row: count(row["count"], more=row["more"]),
    ),
    Column(title="REASON", width=16, show=lambda row: Cell(text(row["reason"]), "warn")),
    Column(title="WHERE", show=lambda row: f"{row['account_key']}/{row['campaign_key']}"),
    Column(title="SINCE", width=12, show=lambda row: clock(row.get("since_at"), day=True)),
    Column(title="OPENS", width=12, show=lambda row: clock(row["release_at"], day=True)),
    Column(title="WHAT TO DO", width=30, priority=2, show=lambda row: hint(row["reason"])),
)


HOUR: Final = 3_600_000

RESTS: Final = (
    ("1 hour", HOUR), ("4 hours", 4 * HOUR), ("1 day", 24 * HOUR), ("7 days", 7 * 24 * HOUR),
)  # fmt: skip
"""How long an alert may be snoozed, in ms."""

LOW: Final = 14
"""Lines below which the holds and the alerts have none to give away."""


class Overview(Page):
    name: ClassVar[str] = "overview"
    digit: ClassVar[str] = "1"
    short: ClassVar[str] = "Over"
    tiny: ClassVar[str] = "Ov"
    title: ClassVar[str] = "Overview"
    figures = (
        ("SENT/s", "messages that providers accepted a second, mean of 10 s, all nodes"),
        ("limit", "what may leave a second by all rates of accounts, senders and providers; no limit: some have none"),
        ("ok, fail", "of the attempts of the last minute, all nodes: accepted; refused for good or of unknown outcome. The rest is tried again"),
        ("DUE LAG p99", "lease minus due (or minus the opening of what held it), last 60 s, the worst node"),
        ("oldest", "how long what is leased and has not left has been due, the worst node"),
        ("IN FLIGHT", "steps leased and not yet recorded / [engine] in_flight, all nodes"),
        ("retry, ready", "steps that were tried and wait for another try, from a sample; due and loaded, to be leased next"),
        ("trends", "the last ten minutes of the node that this console is connected to, each part at its highest"),
        ("DUE NOW", "waiting steps whose instant has come, held ones included; ~ from a sample"),
        ("NEXT 1h, 24h", "what comes up then, from a sample of 300 pages of due_step"),
        ("ACTIVE", "live enrollments, one due step each; ~ from the same sample"),
        ("COUNT", "due and held for this reason; counting stops at 1 000 a lane: 1 001+"),
        ("SINCE", "when the hold began, where one lane is held as a whole"),
        ("OPENS", "when the hold ends by itself; - if somebody must act"),
        ("unknown", "deliveries of which nobody knows whether they arrived; presumed sent: their run went on; counting stops at 1 000"),
        ("zz", "an alert that somebody has snoozed, until when and who; one that grows worse is awake"),
        ("(2s ago)", "how old what SQL tells is: large tables are read more seldom"),
    )  # fmt: skip

    def __init__(self, port: Port, deeds: Deeds) -> None:
        super().__init__(port, deeds)
        self._head_rows = 7
        self._table = Table(
            COLUMNS, lambda row: f"{row['reason']}/{row['account_key']}/{row['campaign_key']}"
        )

    @property
    def table(self) -> Table:
        return self._table

    @property
    def _answer(self) -> Mapping[str, Any]:
        return self.port.overview.answer or {}

    def actions(self) -> list[Action]:
        paused = self._is_paused()
        return [
            Action(key="enter", label="open", help="the enrollments that are held so", run=self.enter),
            Action(key="a", label="alert", help="go where an alert points", run=self._alert,
                   why_not=lambda: "" if self._answer.get("alerts") else "there is no alert"),
            Action(key="s", label="snooze", help="an alert that somebody knows of, for everybody; or wake it. z undoes it",
                   run=self._snooze, method="alert.snooze", changes=True,
                   why_not=lambda: "" if self._answer.get("alerts") else "there is no alert"),
            Action(key="P", label="RESUME ALL SENDING" if paused else "PAUSE ALL SENDING",
                   brief="RESUME ALL" if paused else "PAUSE ALL",
                   help="every account at once, by a plan", run=self._turn,
                   method="daemon.resume" if paused else "daemon.pause", changes=True),
        ]  # fmt: skip

    def _is_paused(self) -> bool:
        """Whether no account is at work any more, and some only because they are paused."""
        accounts = self._answer.get("accounts", {})
        return bool(accounts.get("paused")) and not accounts.get("active")

    def _turn(self) -> None:
        env = self.port.env
        if self._is_paused():
            self.deeds.planned(
                f"RESUME ALL SENDING on {env}", "daemon.resume", {"all": True},
                lambda n: [f"{count(n)} accounts go on. What is due is sent by and by, within each account's rate, cap and window."],
                verb="Resume", word=lambda _: env,
            )  # fmt: skip
            return
        flying = sum(
            node.get("figures", {}).get("unsent", 0) for node in self._answer.get("nodes", [])
        )
        self.deeds.planned(
            f"PAUSE ALL SENDING on {env}", "daemon.pause", {"all": True},
            lambda n: [
                f"Stops new sends of {count(n)} accounts. {count(flying)} in flight will finish.",
                "Enrollments keep their clocks; what comes due meanwhile is sent after resuming, "
                "after its window and cap have been looked at again.",
            ],
            verb="Pause", word=lambda _: env,
        )  # fmt: skip

    def _alert(self) -> None:
        alerts: Sequence[Row] = self._answer["alerts"]
        if len(alerts) == 1:
            self._follow(alerts[0])
            return
        self.port.ask(
            Menu(
                "alert",
                [
                    Choice(
                        label=named(one),
                        note=f"{text(one.get('detail'))}  -> {text(one.get('screen'))}",
                        run=partial(self._follow, one),
                    )
                    for one in alerts
                ],
            )
        )

    def _snooze(self) -> None:
        """Which alert, then for how long; one that is snoozed is woken."""
        self.port.ask(
            Menu(
                "snooze or wake",
                [
                    Choice(
                        label=f"{'wake ' if one.get('snoozed_until') else ''}{named(one)}",
                        note=text(one.get("detail")),
                        run=partial(
                            self._wake if one.get("snoozed_until") else self._rest, one
                        ),
                    )
                    for one in self._answer["alerts"]
                ],
            )
        )

    def _rest(self, alert: Row) -> None:
        untils = [
            (label, format_instant(Instant(self.port.now_ms + ms))) for label, ms in RESTS
        ]
        self.port.ask(
            Menu(
                f"snooze {named(alert)}",
                [
                    Choice(
                        label=label,
                        note=f"until {clock(until, day=True)}, or until it grows worse",
                        run=partial(self._snooze_until, alert, until),
                    )
                    for label, until in untils
                ],
            )
        )

    def _snooze_until(self, alert: Row, until: str) -> None:
        of = {"what": alert["what"], "where": alert["where"]}
        self.deeds.act(
            "alert.snooze", {**of, "until": until, "expect": {"snoozed_until": None}},
            f"snoozed {named(alert)}", undo=("alert.wake", of, {"snoozed_until": until}),
        )  # fmt: skip

    def _wake(self, alert: Row) -> None:
        of = {"what": alert["what"], "where": alert["where"]}
        until = alert["snoozed_until"]
        self.deeds.act(
            "alert.wake", {**of, "expect": {"snoozed_until": until}}, f"woke {named(alert)}",
            undo=("alert.snooze", {**of, "until": until}, {"snoozed_until": None}),
        )  # fmt: skip

    def _follow(self, alert: Row) -> None:
        """Where *alert* points, and there what it is about."""
        self.port.go(str(alert.get("screen", "")), written(**(alert.get("of") or {})))

    def enter(self) -> None:
        self._table.take(self._answer.get("holding", []))
        row = self._table.row
        if row is not None:
            self.port.go(
                "enrollments",
                written(
                    account=row["account_key"], campaign=row["campaign_key"], hold=row["reason"]
                ),
            )

    def click(self, y: int) -> None:
        self._table.click(y - self._head_rows)

    def lines(self, width: int, height: int) -> list[Line]:
        if not self._answer:
            trouble = self.port.overview.error
            waits = Cell(
                f"  {trouble or 'waiting for the daemon ...'}", "bad" if trouble else "dim"
            )
            return stack([line(waits)], width, height)
        self._table.take(self._answer.get("holding", []))
        is_low = height < LOW
        head = [*self._figures(width), *self._due(width, is_low=is_low)]
        alerts = self._alerts(width, height)
        if is_low:
            alerts = alerts[1:] or alerts  # without their head; nor is there a line between
            alerts = alerts[: max(1, (height - len(head) - 2) // 2)]
        else:
            alerts = [line(""), *alerts]
        self._head_rows = len(head) + 1
        room = max(2 if is_low else 3, height - len(head) - len(alerts) - 1)
        held = (
            self._table.lines(width, room)
            if self._table.order
            else [line(Cell("   nothing", "dim"))]
        )
        below = self._table.n_below if self._table.order else 0
        more = f"; {below} more below" if below else ""
        title = line(
            Cell(" WHAT IS HOLDING MAIL BACK", "head"),
            Cell(f"  (Enter lists them{more})", "dim"),
        )
        return stack([*head, title, *held, *alerts], width, height)

    def _figures(self, width: int) -> list[Line]:
        """Three columns: what is sent, how late, what is in flight."""
        own = self._answer.get("figures", {})
        nodes = [node.get("figures", {}) for node in self._answer.get("nodes", [])] or [own]
        size = (width - 1) // 3
        history: Sequence[Mapping[str, float]] = self._answer.get("history", [])
        if len(nodes) < 2:
            nodes = [own]  # it is fresher than its heartbeat

        def total(name: str) -> str:
            return count(round(sum(node.get(name, 0) for node in nodes), 1))

        def worst(name: str) -> float:
            return float(max(node.get(name, 0) for node in nodes)) / 1000

        has_room = width >= MIDDLE
        oldest = f" oldest {worst('oldest_ms'):.1f} s" if has_room else ""
        ready = f" ready {total('ready')}" if has_room else ""
        columns = (
            ("SENT/s (10 s mean)", f"{total('sent_per_s')}  {_limit(nodes)}", "sent_per_s", _shares(nodes)),
            ("DUE LAG p99", f"{worst('lag_ms'):.1f} s  target <5 s", "lag_ms", f"p50 {worst('lag_p50_ms'):.1f} s{oldest}"),
            ("IN FLIGHT", f"{total('unsent')} / {total('in_flight')}", "unsent", f"{self._again()}{ready}"),
        )  # fmt: skip
        rows: list[list[Cell]] = [[Cell(" ")] for _ in range(4)]
        for title, value, name, more in columns:
            trend = spark(
                peaks([float(one.get(name, 0)) for one in history], size - 3), size - 3
            )
            for row, cell in zip(
                rows,
                (Cell(title, "head"), Cell(value), Cell(trend, "spark"), Cell(more, "dim")),
                strict=True,
            ):
                row.append(Cell(f"{pad(cell.text, size - 1)} ", cell.style))
        shown = rows if history else [rows[0], rows[1], rows[3]]
        return [tuple(row) for row in shown]

    def _again(self) -> str:
        due = self._answer.get("due", {})
        return f"retry {_about(due)}{count(due.get('retrying', 0))}"

    def _due(self, width: int, *, is_low: bool) -> list[Line]:
        due = self._answer.get("due", {})
        about = _about(due)
        overdue, active = due.get("overdue", 0), due.get("active", 0)
        hours = due.get("hours", [])
        hour, day = sum(hours[:1]), sum(hours[:24])
        said = (
            f" DUE NOW {about}{count(overdue)} | NEXT 1h {about}{count(hour)} | NEXT 24h {about}{count(day)}"
            f" | ACTIVE {about}{count(active)}"
        )
        age = since(self._answer.get("as_of"), self.port.now_ms)
        db = self._answer.get("db", {})
        trouble = self.port.overview.error or (
            "" if db.get("ok", True) else text(db.get("error"))
        )
        above = (
            []
            if is_low and not trouble
            else [line(Cell(f" as it was: {trouble}" if trouble else "", "bad"))]
        )
        shown_age = f"  (as of {age} ago)" if width >= 100 else f" ({age} ago)"
        return [*above, line(said, Cell(shown_age, "dim"))]

    def _alerts(self, width: int, height: int) -> list[Line]:
        """The worst that there is room for, then what waits for people."""
        alerts: Sequence[Row] = self._answer.get("alerts", [])
        place = 22 if width >= WIDE else 14
        found = [_alert(one, place) for one in alerts[: max(1, height // 4)]]
        found += [*self._approvals(), *self._unknown()]
        if not found:
            return [line(Cell(" no alerts", "dim"))]
        return [line(Cell(" ALERTS", "head")), *found]

    def _approvals(self) -> Iterator[Line]:
        inbox = self._answer.get("inbox", {})
        oldest = inbox.get("oldest_approval_at")
        if oldest is not None:
            yield line(
                Cell("  ? approvals        ", "warn"),
                f"{bounded(inbox['approvals'])} wait,"
                f" the oldest {since(oldest, self.port.now_ms)}  -> inbox",
            )

    def _unknown(self) -> Iterator[Line]:
        unknown = self._answer.get("unknown", {})
        if n := unknown.get("n"):
            presumed = unknown.get("presumed")
            went_on = f", {count(presumed)} presumed sent" if presumed else ""
            yield line(
                Cell(" !? unknown          ", "bad" if undecided(self._answer) else "dim"),
                f"{bounded(n)} deliveries{went_on}  -> unknown",
            )


def _alert(one: Row, place: int) -> Line:
    """One alert, *place* columns of it for where; who snoozed it, where somebody has."""
    style = "bad" if one.get("level") == "!!" else "warn"
    level, told = text(one.get("level")), f"-> {text(one.get('screen'))}"
    until = one.get("snoozed_until")
    if until:
        style, level = "dim", "zz"
        told = f"until {clock(until, day=True)} by {text(one.get('snoozed_by'))}"
    return line(
        Cell(f" {pad(level, 2)} {pad(text(one.get('what')), 16)} ", style),
        Cell(
            f"{pad(text(one.get('where')), place)} {text(one.get('detail'))}  {told}",
            "dim" if until else "",
        ),
    )


def _about(due: Row) -> str:
    """What stands before an estimate."""
    return "~" if due.get("percent", 100) < 100 else ""


def named(alert: Row) -> str:
    """An alert by what it is and where."""
    return f"{text(alert.get('what'))} {alert.get('where') or ''}".strip()


def _limit(nodes: Sequence[Row]) -> str:
    """What may leave a second at most, where that is bounded on every node."""
    if any(node.get("limit_per_s") is None for node in nodes):
        return "no limit"
    return f"limit {count(round(sum(node['limit_per_s'] for node in nodes), 1))}"


def _shares(nodes: Sequence[Row]) -> str:
    """What became of the attempts of the last minute."""
    ok, again, failed, unknown = (
        sum(node.get(f"{name}_1m", 0) for node in nodes)
        for name in ("accepted", "retry", "failed", "unknown")
    )
    tried = ok + again + failed + unknown
    if not tried:
        return "ok - fail -"
    return f"ok {ok / tried:.1%} fail {(failed + unknown) / tried:.1%}"
