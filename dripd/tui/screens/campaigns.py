"""How do the campaigns go? The list, and the funnel of the one under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from dripd.admin.closed import CampaignStatus, words
from dripd.tui.dialog import Choice, Menu, Reading
from dripd.tui.draw import Cell, Line, gauge, line, pad
from dripd.tui.filter import Key, written
from dripd.tui.page import Action, Deeds, ListPage, Port, held_by
from dripd.tui.table import MIDDLE, WIDE, Column, Row
from dripd.tui.watch import Watch
from dripd.tui.words import about, count, instant, many, since, state, text

ENDS = ("active", "goal", "completed", "removed", "terminated")

MORE = ("SKIP", "SENT")
"""Figures of a step for which a screen of less than `MIDDLE` columns has no room."""

OLD_MS = 10_000
"""A count that is younger is as good as now."""


def figure(name: str) -> Callable[[Row], str]:
    """How a figure of a campaign is shown, by its *name*."""

    def show(row: Row) -> str:
        figures = row.get("figures") or {}
        return about(figures.get(name), (figures.get("least") or {}).get(name))

    return show


def replied(row: Row) -> str:
    share = (row.get("figures") or {}).get("replied")
    return "-" if share is None else f"{share:.1%}"


def failing(row: Row) -> str:
    """What failed for good, of all that was sent in the last day."""
    figures = row.get("figures") or {}
    sent, failed = figures.get("sent_24h") or 0, figures.get("failed_24h") or 0
    return f"{failed / (sent + failed):.1%}" if sent + failed else "-"


def version(row: Row) -> str:
    """Its live version; `+` where a draft goes beyond it."""
    live = f"v{row['live_version']}" if row.get("live_version") else "-"
    return f"{live}+" if row.get("has_draft") else live


def progress(row: Row) -> str:
    """How many of its runs are over."""
    share = (row.get("figures") or {}).get("ended")
    return "-" if share is None else f"{gauge(share, 5)} {share:.0%}"


def by(name: str) -> Callable[[Row], object]:
    return lambda row: (row.get("figures") or {}).get(name)


COLUMNS = (
    Column(title="STATE", width=11, show=lambda row: state(row.get("status"))),
    Column(title="CAMPAIGN", show=lambda row: text(row.get("key"))),
    Column(title="ACCOUNT", width=10, narrow=False, show=lambda row: text(row.get("account_key"))),
    Column(title="VER", width=4, narrow=False, show=version),
    Column(title="ACTIVE", width=10, right=True, show=figure("active"), sort=by("active")),
    Column(title="SENT24h", width=8, right=True, show=figure("sent_24h"), sort=by("sent_24h")),
    Column(title="REPLY", width=5, right=True, narrow=False, show=replied, sort=by("replied")),
    Column(title="FAIL", width=5, right=True, priority=2, show=failing),
    Column(title="PROGRESS", width=10, priority=2, show=progress, sort=by("ended")),
    Column(title="OWNER", width=8, priority=2, show=lambda row: text(row.get("owner"))),
)  # fmt: skip


class Campaigns(ListPage):
    name: ClassVar[str] = "campaigns"
    digit: ClassVar[str] = "3"
    short: ClassVar[str] = "Camp"
    tiny: ClassVar[str] = "Ca"
    title: ClassVar[str] = "Campaigns"
    folds: ClassVar[bool] = False
    method: ClassVar[str] = "campaign.list"
    fixed: ClassVar[Mapping[str, object]] = {"figures": True}
    keys: ClassVar[Mapping[str, Key]] = {
        "account": Key(param="account", help="campaigns of this account"),
        "status": Key(param="status", help="campaigns so", values=words(CampaignStatus)),
        "board": Key(param="board", help="campaigns on this board"),
    }
    figures = (
        ("VER", "the live version; + where a draft goes beyond it"),
        (
            "PROGRESS",
            "of its runs, those that have ended, in whatever way; of a large table by a sample",
        ),
        ("ACTIVE", "live runs; ~ from a sample of pages, <500: the sample met none"),
        (
            "SENT24h",
            "messages accepted, or of unknown outcome, in the last 24 h; ~ from a sample of the log",
        ),
        ("REPLY", "of its runs, those that a reply has ended"),
        ("FAIL", "of the last 24 h, messages that failed for good"),
        (
            "LEFT, WHY",
            "runs that ended before the campaign's end, by the step that they waited for; the commonest reason",
        ),
        (
            "FUNNEL",
            "of all versions at the steps of the live one; v turns to one version after the other",
        ),
        ("A NOW", "enrollments at this step now"),
        ("MOVED ON", "times the step was done"),
        ("SKIP, FAIL", "times it was skipped, and failed for good"),
        ("SENT", "messages of the step that providers accepted, or whose outcome is unknown"),
        (
            "SHARE",
            "moved on, of all that ever entered; of one version: of those that are or ended in it",
        ),
        (
            "as of",
            "a large campaign is counted beside the work, now and then: how old the count is",
        ),
    )

    def __init__(self, port: Port, deeds: Deeds) -> None:
        self._stats: Watch | None = None
        self._version: int | None = None
        super().__init__(port, deeds)

    def columns(self) -> Sequence[Column]:
        held = Column(
            title="HELD BY",
            width=10,
            show=lambda row: held_by(self.port, row.get("account_key"), row.get("key")),
        )
        return (*COLUMNS, held)

    def key_of(self, row: Row) -> str:
        return f"{row.get('account_key')}/{row.get('key')}"

    def actions(self) -> list[Action]:
        status = (self._table.row or {}).get("status")
        turn = "resume" if status == "paused" else "pause"
        return [
            Action(key="enter", label="steps", help="the enrollments at one of its steps, or at all", run=self.enter,
                   why_not=self._no_row),
            Action(key="a", label="activate", help="publish if need be, then accept enrollments",
                   run=self._activate, method="campaign.activate", changes=True, why_not=self._no_row),
            Action(key="p", label=turn, help="the campaign under the cursor; z undoes it", run=self._turn,
                   method=f"campaign.{turn}", changes=True, why_not=self._cannot_turn),
            Action(key="D", label="DRAIN", help="accept none, by a plan; inactive when the last run ends",
                   run=self._drain, method="campaign.drain", changes=True, why_not=self._no_row),
            Action(key="u", label="publish", help="the draft as the next version, by a plan",
                   run=self._publish, method="campaign.publish", changes=True,
                   why_not=lambda: self._no_row() or ("" if (self._table.row or {}).get("has_draft") else "it has no draft")),
            Action(key="v", label="version", help="the funnel of one version after the other, then of all",
                   run=self._turn_version, why_not=self._no_row),
            Action(key="d", label="diff", help="what the draft changes", run=self._diff,
                   method="campaign.diff", why_not=self._no_row),
        ]  # fmt: skip

    def _cannot_turn(self) -> str:
        status = (self._table.row or {}).get("status")
        return "" if status in {"active", "paused"} else self._no_row() or f"it is {status}"

    def _target(self, row: Row) -> dict[str, object]:
        return {"key": row["key"], "account": row["account_key"]}

    def enter(self) -> None:
        """Whose enrollments: of all steps or of one; where the steps are not known yet, of all."""
        row = self._table.row
        if row is None:
            return
        choices = [
            Choice(label=label, note=note, run=self._listing(row, step))
            for label, note, step in [
                ("all steps", "the enrollments of this campaign", {}),
                *((text(one["step_key"]), f"{count(one.get('at'))} at it now", {"step": one["step_key"]})
                  for one in self._steps(row)),
            ]
        ]  # fmt: skip
        if len(choices) > 1:
            self.port.ask(Menu(f"steps of {text(row['key'])}", choices))
        else:
            choices[0].run()

    def _listing(self, row: Row, step: Mapping[str, object]) -> Callable[[], None]:
        wanted = written(account=row["account_key"], campaign=row["key"], **step)
        return lambda: self.port.go("enrollments", wanted)

    def _steps(self, row: Row) -> Sequence[Row]:
        """The steps of the funnel that is shown."""
        answer = (self._stats.answer if self._stats else None) or {}
        return answer.get("steps", []) if answer.get("campaign_key") == row["key"] else []

    def _turn(self) -> None:
        if row := self._table.row:
            paused = row["status"] == "paused"
            turn, back = ("resume", "pause") if paused else ("pause", "resume")
            target = self._target(row)
            given = {**target, "expect": {"status": row["status"]}}
            if not paused:
                given["mode"] = "hold"
            expect = {"status": "active" if paused else "paused"}
            inverse = (
                f"campaign.{back}",
                {**target, **({"mode": "hold"} if paused else {})},
                expect,
            )
            said = f"{'resumed' if paused else 'paused'} {row['key']}"
            self.deeds.act(f"campaign.{turn}", given, said, undo=inverse)

    def _activate(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"ACTIVATE {row['key']}",
                ["Publishes the draft if there is no version yet, then accepts enrollments and lets "
                 "live runs go on. Messages that are due leave at once."],
                "campaign.activate", self._target(row), f"activated {row['key']}", verb="Activate",
            )  # fmt: skip

    def _drain(self) -> None:
        if row := self._table.row:
            self.deeds.planned(
                f"DRAIN {row['key']}", "campaign.drain", self._target(row),
                lambda n: ["Accepts no more enrollments. Live runs go on to their ends; then it is inactive.",
                           f"Live now: {many(n, 'run')}."],
                verb="Drain", even_none=True,
            )  # fmt: skip

    def _publish(self) -> None:
        if row := self._table.row:
            self.deeds.planned(
                f"PUBLISH {row['key']}", "campaign.publish", self._target(row),
                lambda n: ["Makes the draft the next version in one switch. It cannot be undone.",
                           f"By the campaign's policy it ends or moves {many(n, 'live run')}."],
                verb="Publish", even_none=True,
            )  # fmt: skip

    def _diff(self) -> None:
        row = self._table.row
        if row is None:
            return

        async def run() -> None:
            answer = await self.port.call("campaign.diff", self._target(row))
            changes = answer.get("changes", [])
            body = [_change(one) for one in changes] or [
                line("the draft and the live version are equal")
            ]
            self.port.ask(
                Reading(
                    f"draft of {row['key']} against v{row.get('live_version') or '-'}", body
                )
            )

        self.port.spawn(run())

    def moved(self) -> None:
        super().moved()
        row = self._table.row
        wanted = None if row is None else {**self._target(row), "quick": True}
        if wanted is not None and self._stats and self._is_of(wanted, self._stats.params):
            if self._version is not None:
                wanted["version"] = self._version
        else:
            self._version = None
        if wanted == (self._stats.params if self._stats else None):
            return
        fresh = (
            None
            if wanted is None
            else Watch("campaign.stats", wanted, hz=0.5, changed=self.port.changed)
        )
        old, self._stats = self._stats, fresh
        self.replace(old, fresh)

    @staticmethod
    def _is_of(wanted: Mapping[str, object], asked: Mapping[str, object]) -> bool:
        return all(wanted[name] == asked.get(name) for name in ("key", "account"))

    def _turn_version(self) -> None:
        versions = ((self._stats.answer if self._stats else None) or {}).get("versions") or []
        turns = [None, *versions]
        here = turns.index(self._version) if self._version in turns else 0
        self._version = turns[(here + 1) % len(turns)]
        if not versions:
            self.port.tell("its versions are not counted yet")
        self.moved()

    def _age(self, answer: Mapping[str, Any]) -> str:
        """How old the count is, where that is worth a word."""
        at = instant(answer.get("as_of"))
        old = at is not None and self.port.now_ms - at >= OLD_MS
        return f"   as of {since(answer.get('as_of'), self.port.now_ms)} ago" if old else ""

    def exports(self) -> list[Choice]:
        note = "the campaign under the cursor as a file, its live version or draft"
        lacks = (
            "" if self.port.has("campaign.export") else "campaign.export is not for your role"
        )
        return [
            Choice(label="YAML", note=note, run=self._export, why_not=self._no_row() or lacks)
        ]

    def _export(self) -> None:
        if row := self._table.row:
            key = text(row["key"])

            async def run() -> None:
                answer = await self.port.call("campaign.export", self._target(row))
                self.port.save(key, "yaml", str(answer.get("text", "")))

            self.port.spawn(run())

    @property
    def trouble(self) -> str:
        return self._list.error

    def detail(self, row: Row, width: int) -> list[Line]:
        stats = self._stats
        if stats is not None and stats.error:
            return [line(Cell(f" FUNNEL of {row['key']}: {stats.error}", "warn"))]
        answer = stats.answer if stats else None
        if not answer or answer.get("campaign_key") != row.get("key"):
            return [line(Cell(f" FUNNEL of {row['key']} ...", "dim"))]
        if answer.get("enrolled") is None:
            return [line(Cell(f" FUNNEL of {row['key']}: large, being counted", "dim"))]
        entered = answer["enrolled"] if self._version is None else answer.get("entered", 0)
        if self._version != answer.get("version"):
            return [line(Cell(f" FUNNEL of {row['key']} v{self._version} ...", "dim"))]
        more = ", all versions" if len(answer.get("versions") or []) > 1 else ""
        live = f"v{row.get('live_version') or '-'}{more}"
        of = live if self._version is None else f"v{self._version} alone"
        head = f" FUNNEL {row['key']} {of}"
        facts = [
            f"entered {count(entered)}",
            *(f"{name} {count(answer.get(name))}" for name in ENDS),
        ]
        told = f"   {'   '.join(facts)}"
        age = self._age(answer)
        rest = [told + age]
        if len(head + told + age) > width:
            rest = [age, told] if len(told) <= width else [age, *_halved(facts)]
        found = [
            line(Cell(head, "head"), rest[0]),
            *(line(one) for one in rest[1:]),
            _step_head(width),
        ]
        steps: list[dict[str, Any]] = answer.get("steps", [])
        return [*found, *(_step(n, step, entered, width) for n, step in enumerate(steps, 1))]


def _halved(facts: Sequence[str]) -> list[str]:
    """*facts* in two lines."""
    half = len(facts) // 2
    return [f"   {'   '.join(some)}" for some in (facts[:half], facts[half:])]


def _sizes(width: int) -> tuple[int, int, int]:
    """Columns for the name of a step, how many left there and why, in *width*."""
    if width < WIDE:
        return 12 if width >= MIDDLE else 10, 8, 0
    return (14, 9, 17) if width < 120 else (20, 9, 26)


def _step_head(width: int) -> Line:
    name, n_left, why = _sizes(width)
    titles = [pad("#", 3), pad("STEP", name)]
    sizes = (
        ("A NOW", 9),
        ("MOVED ON", 11),
        ("SKIP", 8),
        ("FAIL", 7),
        ("SENT", 9),
        ("LEFT", n_left),
    )
    titles += [
        pad(title, size, right=True)
        for title, size in sizes
        if width >= MIDDLE or title not in MORE
    ]
    return line(Cell(f" {''.join(titles)}{pad('  WHY LEFT', why)}  SHARE", "head"))


def _step(n: int, step: Row, entered: int, width: int) -> Line:
    done = step.get("done") or 0
    share = done / entered if entered else 0.0
    name, size, room = _sizes(width)
    bad = "bad" if step.get("failed") else ""
    left: Mapping[str, int] = step.get("left") or {}
    skipped = sent = ""
    if width >= MIDDLE:
        skipped = pad(count(step.get("skipped")), 8, right=True)
        sent = pad(count(step.get("sent")), 9, right=True)
    return line(
        f" {pad(str(n), 3)}{pad(text(step.get('step_key')), name)}{pad(count(step.get('at')), 9, right=True)}"
        f"{pad(count(done), 11, right=True)}{skipped}",
        Cell(pad(count(step.get("failed")), 7, right=True), bad),
        f"{sent}{pad(count(sum(left.values())), size, right=True)}"
        f"{pad(f'  {_why(left)}', room)}  ",
        Cell(gauge(share, max(4, min(14, width - 58 - name - size - room))), "spark"),
        f" {share:.0%}",
    )


def _why(left: Mapping[str, int]) -> str:
    """What most of those who left here left for, and its share."""
    top = max(left, key=lambda reason: left[reason], default="")
    return f"{top} {left[top] / sum(left.values()):.0%}" if top else "-"


def _change(one: Row) -> Line:
    style = {"+": "ok", "-": "bad"}.get(str(one.get("op")), "warn")
    where = one.get("path") or one.get("step")
    return line(
        Cell(f"{text(one.get('op'))} {text(where)}", style),
        f"  {text(one.get('old'))} -> {text(one.get('new'))}",
    )
