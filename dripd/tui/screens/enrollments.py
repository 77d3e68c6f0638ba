"""Where does everybody stand, and why? The list of runs, one contact's timeline, the wide stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dripd.admin.closed import RunStatus, words
from dripd.admin.holds import HOLDS
from dripd.tui.dialog import Blank, Choice, Menu, Question, Reading
from dripd.tui.draw import Cell, Line, line, pad, stack, wrap
from dripd.tui.filter import Key
from dripd.tui.page import Action, Deeds, ListPage, Port
from dripd.tui.table import MIDDLE, Column, Row
from dripd.tui.watch import Watch
from dripd.tui.words import clock, count, instant, many, since, span, state, text

MOST_EVENTS = 500
"""Entries of a timeline that are read."""

TOLD_AT = 54
BENEATH_AT = 17
GATE_AT = 22
"""The columns in which an entry of the timeline tells its details, beside it or beneath it, and
a gate its."""

STOPS: tuple[tuple[str, dict[str, bool], str], ...] = (
    ("stop", {}, "runs end as terminated, stopped"),
    (
        "stop, reset contacts",
        {"reset": True},
        "runs end, and their contacts may run again as if they never had",
    ),
    (
        "stop, reset statistics",
        {"reset_stats": True},
        "runs end, and leave the campaign's counts",
    ),
    (
        "stop, reset both",
        {"reset": True, "reset_stats": True},
        "runs end and leave the campaign's counts, and their contacts may run again",
    ),
)


def due(row: Row, now_ms: int) -> str:
    """How long until the step is due: `+1d02h`, `now`."""
    at = instant(row.get("due_at"))
    if at is None:
        return "-"
    return f"+{span(at - now_ms)}" if at > now_ms else "now"


def why(row: Row) -> str:
    return text(row.get("hold_reason") or row.get("end_reason"))


class Enrollments(ListPage):
    name: ClassVar[str] = "enrollments"
    digit: ClassVar[str] = "4"
    short: ClassVar[str] = "Enrol"
    tiny: ClassVar[str] = "En"
    title: ClassVar[str] = "Enrollments"
    method: ClassVar[str] = "enroll.list"
    fixed: ClassVar[Mapping[str, object]] = {"quick": True}
    bare: ClassVar[str] = "contact"
    keys: ClassVar[Mapping[str, Key]] = {
        "account": Key(param="account", help="of this account"),
        "campaign": Key(param="campaign", help="through this campaign"),
        "contact": Key(param="contact", help="of this contact: its external id, or #id"),
        "status": Key(param="status", help="in this state", values=words(RunStatus)),
        "hold": Key(param="hold", help="held for this reason", values=tuple(HOLDS), named=True),
        "list": Key(param="list", help="whose contact is on this list"),
        "tag": Key(param="tag", help="whose contact has this tag"),
        "step": Key(param="step", help="live, at the step of this key"),
    }
    figures = (
        ("STATE", "waiting: its step is not due; held: due, and something keeps it back; executing: leased"),
        ("DUE", "time until the waiting step's instant; `now`: it has come"),
        ("WHY", "the first hold in the order in which they are looked at, or how the run ended"),
        ("NODE", "the daemon that has its step in hand, else the one that serves its account; - where it has ended"),
        ("simulate", "the engine itself, played ahead over a copy: delays, windows, the cap with all that competes for it; no replies, every provider accepts"),
        ("timeline", "journal and events of this contact; `chain`: every gate before the next step"),
    )  # fmt: skip

    def __init__(self, port: Port, deeds: Deeds) -> None:
        self._explained: Watch | None = None
        self._timeline: list[Row] | None = None
        self._inside: Row | None = None
        self._top = 0
        self._room = 10
        super().__init__(port, deeds)

    def columns(self) -> Sequence[Column]:
        return (
            Column(title="RUN", width=8, show=lambda row: text(row.get("id")), sort=lambda row: row.get("id")),
            Column(title="CONTACT", show=lambda row: text(row.get("external_id") or f"#{row.get('contact_id')}")),
            Column(title="CAMPAIGN", width=14, show=lambda row: f"{text(row.get('campaign_key'))} v{row.get('version')}"),
            Column(title="STEP", width=9, show=lambda row: text(row.get("step_key"))),
            Column(title="STATE", width=12, show=lambda row: state(row.get("status"))),
            Column(title="DUE", width=7, show=lambda row: due(row, self.port.now_ms), sort=lambda row: instant(row.get("due_at"))),
            Column(title="WHY", width=12, show=why),
            Column(title="ACCOUNT", width=10, priority=2, show=lambda row: text(row.get("account_key"))),
            Column(title="NODE", width=8, priority=2, show=lambda row: text(row.get("node"))),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        has_row = self._no_row
        enter = Action(key="enter", label="timeline", brief="read", help="what happened, why it waits", run=self.enter,
                       method="contact.timeline", why_not=has_row)  # fmt: skip
        leave = Action(key="escape", label="back", help="to the list", run=lambda: None)
        return [
            enter if self._inside is None else leave,
            Action(key="i", label="simulate", brief="next", help="what the run would do from now on, if nobody answered",
                   run=self._simulate, method="enroll.simulate", why_not=self._is_over),
            Action(key="u", label="unmask", help="address, number and fields of this contact; audited",
                   run=self._unmask, method="contact.unmask", changes=True, why_not=has_row),
            Action(key="a", label="enroll", help="one or many contacts, by a plan", run=self._enroll,
                   method="enroll.add", changes=True),
            Action(key="S", label="SKIP", help="the waiting step of the marked runs", run=self._skip,
                   method="enroll.skip", changes=True, why_not=has_row),
            Action(key="D", label="DUE NOW", brief="DUE", help="let the marked runs' steps come up at once",
                   run=self._due_now, method="enroll.due_now", changes=True, why_not=has_row),
            Action(key="K", label="STOP", help="the marked runs; contacts and statistics may be reset",
                   run=self._stop, method="enroll.stop", changes=True, why_not=has_row),
        ]  # fmt: skip

    def _no_row(self) -> str:
        return "" if self._meant else "the cursor is on nothing"

    def _is_over(self) -> str:
        over = self._meant and self._meant[0].get("ended_at")
        return self._no_row() or ("the run is over" if over else "")

    @property
    def uses_marks(self) -> bool:
        return True

    @property
    def _meant(self) -> list[Row]:
        """The run whose timeline is read; else the marked ones, or that under the cursor."""
        return self._table.marked if self._inside is None else [self._inside]

    def _picked(self) -> tuple[dict[str, object], str]:
        """The selection of the runs that are meant, and how it is called."""
        rows = self._meant
        named = (
            f"{len(rows)} runs"
            if len(rows) > 1
            else f"run {rows[0]['id']} of {text(rows[0].get('external_id'))}"
        )
        return {"enrollment": [row["id"] for row in rows]}, named

    def _unmask(self) -> None:
        for row in self._meant[:1]:
            self.deeds.reveal(
                f"UNMASK {text(row.get('external_id'))}",
                ["Shows the address, the number and the fields of this one contact.",
                 "Who looked, and why, is kept in the audit."],
                "contact.unmask", {"contact": f"#{row['contact_id']}", "account": row["account_key"]},
                _unmasked, verb="Unmask",
            )  # fmt: skip

    def _simulate(self) -> None:
        row = self._meant[0]
        self.port.tell("it is played ahead ...")

        async def run() -> None:
            answer = await self.port.call("enroll.simulate", {"enrollment": row["id"]})
            title = f"next: run {row['id']} of {text(row.get('external_id'))}"
            if self.seen:  # whoever has gone on meanwhile is not disturbed
                self.port.ask(Reading(title, _simulated(answer, self.port.now_ms)))

        self.port.spawn(run())

    def _step_of(self) -> dict[str, object]:
        """Of one run its step is expected as it is shown; of many the plan holds the steps."""
        rows = self._meant
        return {"expect": {"step_key": rows[0].get("step_key")}} if len(rows) == 1 else {}

    def _skip(self) -> None:
        picked, named = self._picked()
        picked |= self._step_of()
        self.deeds.planned(
            f"SKIP the step of {named}", "enroll.skip", picked,
            lambda n: [f"The waiting step of {many(n, 'run')} is never performed; they go on.", "It cannot be undone."],
            verb="Skip",
        )  # fmt: skip

    def _due_now(self) -> None:
        picked, named = self._picked()
        picked |= self._step_of()
        self.deeds.planned(
            f"DUE NOW: {named}", "enroll.due_now", picked,
            lambda n: [f"The waiting step of {many(n, 'run')} comes up at once, in its window and cap.", "A message that leaves cannot be taken back."],
            verb="Release",
        )  # fmt: skip

    def _stop(self) -> None:
        picked, named = self._picked()

        def choose(more: dict[str, object], note: str) -> None:
            self.deeds.planned(
                f"STOP {named}", "enroll.stop", {**picked, **more},
                lambda n: [f"{count(n)} {note if n != 1 else note.replace('runs end', 'run ends')}.", "Nothing more is sent to them by these runs. It cannot be undone."],
                verb="Stop",
            )  # fmt: skip

        def run(more: dict[str, object], note: str) -> Any:
            return lambda: choose(more, note)

        self.port.ask(
            Menu(
                "stop",
                [
                    Choice(label=label, note=note, run=run(dict(more), note))
                    for label, more, note in STOPS
                ],
            )
        )

    def _enroll(self) -> None:
        campaign = Blank(name="campaign", label="Campaign:", required=True)
        campaign.field.set(str(self.wanted.get("campaign", "")))
        account = Blank(name="account", label="Account (if ambiguous):")
        account.field.set(str(self.wanted.get("account", "")))
        contacts = Blank(
            name="contacts", label="Contacts (ids, spaces between):", required=True
        )

        def done(typed: dict[str, str]) -> None:
            params: dict[str, object] = {
                "campaign": typed["campaign"],
                "contacts": typed["contacts"].split(),
                "source": "console",
            }
            if typed["account"]:
                params["account"] = typed["account"]
            self.deeds.planned(
                f"ENROLL in {typed['campaign']}", "enroll.add", params,
                lambda n: [f"{count(n)} requests; each is judged by the campaign's own rules."],
                verb="Enroll",
            )  # fmt: skip

        self.port.ask(
            Question("enroll", [campaign, account, contacts], done, "external ids, or #id")
        )

    def enter(self) -> None:
        row = self._table.row
        if row is None or self._inside is not None:
            return
        self._inside, self._top, self._timeline = row, MOST_EVENTS, None
        self.crumbs = [f"{row['id']} {text(row.get('external_id'))}"]
        self._read_timeline(row)

    def _read_timeline(self, row: Row) -> None:
        async def run() -> None:
            answer = await self.port.call(
                "contact.timeline",
                {
                    "contact": f"#{row['contact_id']}",
                    "account": row["account_key"],
                    "limit": MOST_EVENTS,
                },
            )
            if self._inside is not None and self._inside["id"] == row["id"]:
                self._timeline = answer.get("items", [])
            self.port.changed()

        self.port.spawn(run())

    def _taken(self) -> None:
        """Whoever reads a run's timeline sees what has happened since."""
        super()._taken()
        fresh = self._inside and self._table.rows.get(self.key_of(self._inside))
        if fresh and fresh != self._inside:
            self._inside = fresh
            self._read_timeline(fresh)

    def reload(self) -> None:
        super().reload()
        if self._inside is not None:
            self._read_timeline(self._inside)

    def refilter(self) -> None:
        self._inside, self.crumbs = None, []
        super().refilter()

    def back(self) -> bool:
        inside, self._inside, self.crumbs = self._inside, None, []
        return inside is not None

    def scroll(self, by: int, *, pages: bool = False) -> bool:
        """Within the timeline keys move through it, and the cursor stays on its run."""
        if self._inside is None:
            return False
        self._top += by * (self._room if pages else 1)
        return True

    def moved(self) -> None:
        super().moved()
        row = self._table.row
        wanted = None if row is None else {"enrollment": row["id"]}
        if wanted == (self._explained.params if self._explained else None):
            return
        fresh = (
            None
            if wanted is None
            else Watch("enroll.explain", wanted, hz=0.5, changed=self.port.changed)
        )
        old, self._explained = self._explained, fresh
        self.replace(old, fresh)

    @property
    def trouble(self) -> str:
        return self._list.error

    def detail(self, row: Row, width: int) -> list[Line]:
        found = [
            line(Cell(f" {row['id']} {text(row.get('external_id'))}", "head"),
                 f"  run {text(row.get('run_no'))}  since {clock(row.get('started_at'), day=True)}"
                 f"  owner {text(row.get('owner'))}  {state(row.get('status')).text.strip()}"),
        ]  # fmt: skip
        if row.get("ended_at"):
            ended = (
                f"  ended {clock(row.get('ended_at'), day=True)}: {text(row.get('end_reason'))}"
            )
            return [*found, line(ended)]
        answer = self._explained.answer if self._explained else None
        for one in (answer or {}).get("enrollments", []):
            if one.get("enrollment_id") == row.get("id"):
                found += self._chain(one, width)
        return found

    def _chain(self, one: Row, width: int) -> list[Line]:
        step = one.get("step") or {}
        ready = one.get("ready_at")
        goes = (
            f"goes {clock(ready, day=True)} ({since(ready, self.port.now_ms)})"
            if ready
            else "nobody can say when"
        )
        found = [
            line(
                f"  step {text(step.get('index'))} of {text(step.get('of'))}: {text(step.get('key'))}   {goes}"
            )
        ]
        for gate in one.get("chain", [])[:4]:
            until = clock(gate.get("until"), day=True)
            first, *more = wrap(f"until {until}  {text(gate.get('detail'))}", width - GATE_AT)
            found.append(
                line(Cell(f"  || {pad(text(gate.get('gate')), 16)}", "warn"), f" {first}")
            )
            found += [line(" " * GATE_AT, part) for part in more]
        return found

    def lines(self, width: int, height: int) -> list[Line]:
        if self._inside is None:
            return super().lines(width, height)
        fresh = self._table.rows.get(self.key_of(self._inside), self._inside)
        head = self.detail(fresh, width)
        if self._timeline is None:
            return stack([*head, line(Cell("   reading ...", "dim"))], width, height)
        events = [part for one in self._timeline for part in _event(one, width)]
        self._room = max(1, height - len(head) - 1)
        self._top = max(0, min(self._top, len(events) - self._room))
        above, below = self._top, max(0, len(events) - self._top - self._room)
        more = f"{above} lines above, {below} below: j k PgUp PgDn; " if above or below else ""
        title = line(
            Cell(" TIMELINE", "head"), Cell(f"  newest last; {more}Esc goes back", "dim")
        )
        shown = events[self._top : self._top + self._room] or [
            line(Cell("   nothing yet", "dim"))
        ]
        return stack([*head, title, *shown], width, height)


def _event(one: Row, width: int) -> list[Line]:
    detail = one.get("detail") or {}
    kind = detail.get("event") if one.get("kind") == "event" else one.get("kind")
    rest = {k: v for k, v in detail.items() if k not in {"event", "step_key"}}
    style = (
        "bad"
        if "failed" in str(kind)
        else "warn"
        if kind in {"held", "removed", "terminated"}
        else ""
    )
    where = "/".join(text(one[name]) for name in ("campaign_key", "step_key") if one.get(name))
    at = TOLD_AT if width >= MIDDLE else BENEATH_AT
    first, *more = wrap(text(rest) if rest else "", width - at)
    if width < MIDDLE:
        first, more = "", [first, *more] if rest else []
    head = line(
        f"   {clock(one.get('at'), day=True)}  ",
        Cell(pad(text(kind), 15), style),
        f" {pad(where or '-', 20)} {first}",
    )
    return [head, *(line(" " * at, part) for part in more)]


def _simulated(answer: Row, now_ms: int) -> list[Line]:
    """The steps to come with their instants, and how the run stands after them."""
    found = [line(Cell("As if nobody answered and every provider accepted:", "dim"))]
    for one in answer.get("steps", []):
        what = "sent" if one.get("sent") else text(one.get("outcome"))
        why = f" {text(one['reason'])}" if one.get("reason") else ""
        found.append(
            line(
                f"{clock(one.get('at'), day=True)}  {pad(since(one.get('at'), now_ms), 9)} ",
                Cell(pad(text(one.get("step_key")), 16), "head"),
                f" {pad(text(one.get('kind')), 13)} {what}{why}",
            )
        )
    found.append(line(Cell(_stands(answer), "ok" if answer.get("ended_at") else "warn")))
    if not answer.get("whole", True):
        found.append(
            line(Cell("More competes for its account's days than was played: it may be later.", "warn"))
        )  # fmt: skip
    return found


def _stands(answer: Row) -> str:
    if answer.get("ended_at"):
        at = clock(answer["ended_at"], day=True)
        return (
            f"then it has ended: {text(answer.get('end_reason') or answer.get('status'))}, {at}"
        )
    held = answer.get("hold_reason")
    until = answer.get("release_at") or answer.get("due_at")
    said = f"then it waits at {text(answer.get('step_key'))}"
    return f"{said}: {text(held)}" if held else f"{said} until {clock(until, day=True)}"


def _unmasked(seen: Mapping[str, Any]) -> list[Line]:
    fields = seen.get("attrs")
    shown = {name: seen.get(name) for name in ("external_id", "email", "phone")}
    shown |= fields if isinstance(fields, dict) else {}
    return [line(Cell(pad(name, 16), "head"), text(value)) for name, value in shown.items()]
