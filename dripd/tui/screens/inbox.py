"""What waits for a person? Approvals and tasks in one tab, notifications in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from dripd.admin.closed import TaskKind, TaskState, words
from dripd.clock import Instant, format_instant
from dripd.tui.dialog import Blank, Choice, Menu, Question, Reading
from dripd.tui.draw import Cell, Line, folded, line
from dripd.tui.filter import Key, written
from dripd.tui.page import Action, Inverse, ListPage
from dripd.tui.screens.overview import RESTS
from dripd.tui.table import Column, Row
from dripd.tui.words import bounded, clock, count, instant, many, since, span, state, text

COUNTS: Final = (
    ("APPROVALS", "approvals"), ("TASKS", "tasks"), ("OVERDUE", "overdue"), ("SNOOZED", "snoozed"),
    ("UNREAD", "unread"),
)  # fmt: skip
"""What is counted, by the words that it is told by,"""

ALWAYS: Final = frozenset({"APPROVALS", "TASKS", "UNREAD"})
"""and what is told also where it is none."""

LATE: Final = 0.75
"""The part of a task's time from which on its age is a warning."""


class Inbox(ListPage):
    name: ClassVar[str] = "inbox"
    digit: ClassVar[str] = "5"
    short: ClassVar[str] = "Inbox"
    tiny: ClassVar[str] = "In"
    title: ClassVar[str] = "Inbox"
    tabs: ClassVar[tuple[str, ...]] = ("inbox", "notifications")
    figures = (
        ("AGE", "since the task was made, or the notice written"),
        (
            "DUE",
            "in how long it should be done, or ! since when it should be; - where it has no time of its own",
        ),
        (
            "BLOCKS",
            "its run, where that waits for it, and the requests that wait until its contact is free; - where nothing waits",
        ),
        (
            "EXPIRES",
            "in how long its run goes on without it: the step's timeout, or expires_after of a message that is to be approved",
        ),
        (
            "oldest waiting",
            "since the oldest was made; SLA: what it had from then to its due, ! once three quarters of that are over",
        ),
        ("OVERDUE", "whose due is over, of those that had longer than an instant"),
        (
            "zz",
            "snoozed: out of the inbox until then, and nobody is told of it before; snoozed=yes lists them",
        ),
        ("struck through", "somebody has closed it meanwhile"),
        ("? and blank", "? a notification that is unread: its read_at is empty in SQL as well"),
    )

    @property
    def method(self) -> str:  # type: ignore[override]  # the tab decides
        return "notification.list" if self.second else "task.list"

    @property
    def keys(self) -> dict[str, Key]:  # type: ignore[override]  # the tab decides
        account = Key(param="account", help="of this account")
        if self.second:
            return {
                "account": account,
                "recipient": Key(param="recipient", help="for this person"),
                "unread": Key(param="unread", help="yes: only what is unread", flag=True),
            }
        return {
            "account": account,
            "kind": Key(param="kind", help="of this kind", values=words(TaskKind)),
            "assignee": Key(param="assignee", help="for this person"),
            "campaign": Key(param="campaign", help="of this campaign"),
            "state": Key(param="state", help="open is usual", values=words(TaskState)),
            "snoozed": Key(
                param="snoozed", help="yes: those that somebody has put off", flag=True
            ),
        }

    @property
    def uses_marks(self) -> bool:
        return self.second

    def params(self) -> dict[str, object]:
        return dict(self.wanted) if self.second else {"state": "open", **self.wanted}

    def kept(self, rows: list[Row]) -> list[Row]:
        """Without what is snoozed, unless it is asked for: an older daemon cannot leave it out."""
        if self.second or "snoozed" in self.wanted:
            return rows
        return [row for row in rows if not row.get("snoozed_until")]

    def columns(self) -> Sequence[Column]:
        age = Column(
            title="AGE",
            width=7,
            show=lambda row: since(row.get("created_at"), self.port.now_ms),
        )
        account = Column(
            title="ACCOUNT", width=12, show=lambda row: text(row.get("account_key"))
        )
        if self.second:
            return (
                Column(
                    title="",
                    width=2,
                    show=lambda row: Cell(" " if row.get("read_at") else "?", "warn"),
                ),
                age,
                Column(title="KIND", show=lambda row: text(row.get("kind"))),
                Column(title="FOR", width=14, show=lambda row: text(row.get("recipient"))),
                Column(title="RUN", width=8, show=lambda row: text(row.get("enrollment_id"))),
                Column(title="TASK", width=7, show=lambda row: text(row.get("task_id"))),
                Column(
                    title="READ",
                    width=12,
                    show=lambda row: (
                        clock(row.get("read_at"), day=True) if row.get("read_at") else "unread"
                    ),
                ),
                account,
            )
        return (
            Column(title="ST", width=3, show=_sign),
            age,
            Column(title="KIND", width=12, show=lambda row: text(row.get("kind"))),
            Column(title="WHAT", show=lambda row: text(row.get("title"))),
            Column(title="CAMPAIGN", width=16, show=lambda row: f"{text(row.get('campaign_key'))}/{text(row.get('step_key'))}"),
            Column(title="FOR", width=8, show=lambda row: text(row.get("assignee"))),
            Column(title="DUE", width=7, show=self._due, sort=lambda row: row.get("due_at")),
            Column(title="BLOCKS", width=6, right=True, show=_blocks, sort=lambda row: row.get("blocks")),
            Column(title="EXPIRES", width=7, priority=2, show=self._expires, sort=lambda row: row.get("expires_at")),
            Column(title="ACCOUNT", width=12, priority=2, show=account.show),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        tab = Action(
            key="tab",
            label="tasks" if self.second else "notices",
            help="the other tab",
            run=self.turn_over,
        )
        mine = Action(key="f", label="all" if self._is_mine_alone else "mine", help="what is for you alone, or for everybody",
                      run=self._turn_mine)  # fmt: skip
        if self.second:
            return [
                tab,
                mine,
                Action(key="m", label="mark read", help="the marked notices", run=self._read,
                       method="notification.read", changes=True, why_not=self._no_row),
            ]  # fmt: skip
        found = [
            tab,
            Action(key="enter", label="read", help="all of it, as it would be sent", run=self.enter,
                   method="task.list", why_not=self._no_row),
            Action(key="a", label="approve", help="let the message go as it stands", run=self._approve,
                   method="task.approve", changes=True, why_not=self._no_approval),
            Action(key="x", label="reject", help="cancel the task, with a reason", run=self._cancel,
                   method="task.cancel", changes=True, why_not=self._no_open),
            Action(key="d", label="done", help="the task is finished", run=self._done,
                   method="task.done", changes=True, why_not=self._no_task),
            Action(key="c", label="claim", help="the task is yours; z gives it back", run=self._claim,
                   method="task.assign", changes=True, why_not=self._is_mine),
            Action(key="n", label="wake" if self._is_snoozed else "snooze", run=self._snooze,
                   help="out of the inbox until then, and nobody is told of it before; or back. z undoes it",
                   method="task.wake" if self._is_snoozed else "task.snooze", changes=True, why_not=self._no_open),
            Action(key="t", label="assign", help="to somebody", run=self._assign,
                   method="task.assign", changes=True, why_not=self._no_open),
            mine,
        ]  # fmt: skip
        return [one for one in found if one.key != "a" or self.port.has("task.approve")]

    @property
    def _mine(self) -> str:
        """The filter for what is for whoever sits here."""
        return written(**{"recipient" if self.second else "assignee": self.port.me})

    @property
    def _is_mine_alone(self) -> bool:
        return self._mine in self.filter_text.split()

    def _turn_mine(self) -> None:
        """Narrow the filter to what is for whoever sits here, or widen it again."""
        others = [
            one
            for one in self.filter_text.split()
            if not one.startswith(("assignee", "recipient"))
        ]
        self.set_filter(" ".join(others if self._is_mine_alone else [*others, self._mine]))

    @property
    def _is_snoozed(self) -> bool:
        return bool((self._table.row or {}).get("snoozed_until"))

    def _no_open(self) -> str:
        row = self._table.row
        if row is None:
            return "somebody has closed it meanwhile" if self._table.cursor else self._no_row()
        return (
            "" if row.get("state") == "open" else f"it is {row.get('state')}: it stays closed"
        )

    def _no_approval(self) -> str:
        kind = (self._table.row or {}).get("kind")
        return self._no_open() or (
            "" if kind == "approval" else f"it is a task of kind {kind}: d closes it"
        )

    def _no_task(self) -> str:
        kind = (self._table.row or {}).get("kind")
        return self._no_open() or (
            "it is an approval: a lets the message go" if kind == "approval" else ""
        )

    def _is_mine(self) -> str:
        mine = (self._table.row or {}).get("assignee") == self.port.me
        return self._no_open() or ("it is yours already" if mine else "")

    def _due(self, row: Row) -> Cell:
        due, made = instant(row.get("due_at")), instant(row.get("created_at"))
        if due is None or not self.port.now_ms or (made is not None and due <= made):
            return Cell("-")
        left = due - self.port.now_ms
        return Cell(f"+{span(left)}") if left > 0 else Cell(f"!{span(left)}", "bad")

    def _expires(self, row: Row) -> str:
        ends = instant(row.get("expires_at"))
        if ends is None or not self.port.now_ms:
            return "-"
        return span(max(0, ends - self.port.now_ms))

    def summary(self, width: int) -> list[Line]:
        inbox: dict[str, Any] = (self.port.overview.answer or {}).get("inbox", {})
        shown = [
            f"{word} {bounded(inbox.get(name))}"
            for word, name in COUNTS
            if inbox.get(name) or word in ALWAYS
        ]
        said = line(Cell(f" {'  '.join(shown)}   ", "head"), *self._oldest(inbox))
        return [*folded(said, width), *super().summary(width)]

    def _oldest(self, inbox: dict[str, Any]) -> list[Cell]:
        """How long the oldest waits, and what part of its time that is."""
        made, due = instant(inbox.get("oldest_at")), instant(inbox.get("oldest_due_at"))
        if made is None or not self.port.now_ms:
            return []
        waits = Cell(f"oldest waiting {span(self.port.now_ms - made)}", "head")
        if due is None or due <= made:
            return [waits]
        is_late = self.port.now_ms - made > LATE * (due - made)
        sla = f" (SLA {span(due - made)}{' !' if is_late else ''})"
        return [waits, Cell(sla, "bad" if is_late else "head")]

    def _approve(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"APPROVE task {row['id']}", [text(row.get("title")), "The message leaves as it stands, in its window and cap."],
                "task.approve", _asked(row, "state", "draft"), f"approved {row['id']}", verb="Approve",
                blanks=[Blank(name="reason", label="Reason:", required=True)],
            )  # fmt: skip

    def _cancel(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"REJECT task {row['id']}", [text(row.get("title")), "What the campaign's policy says of a cancelled task happens to the run."],
                "task.cancel", _asked(row, "state", "draft"), f"cancelled {row['id']}", verb="Reject",
                blanks=[Blank(name="reason", label="Reason:", required=True)],
            )  # fmt: skip

    def _done(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"DONE: task {row['id']}", [text(row.get("title"))],
                "task.done", _asked(row, "state"), f"done {row['id']}", verb="Done",
                blanks=[Blank(name="text", label="What came of it:")],
            )  # fmt: skip

    def _claim(self) -> None:
        if row := self._table.row:
            me, before = self.port.me, row.get("assignee")
            back = {"id": row["id"], "to": before}
            self.deeds.act(
                "task.assign", {**_asked(row, "state", "assignee"), "to": me}, f"task {row['id']} is yours",
                undo=("task.assign", back, {"assignee": me}) if before else None,
            )  # fmt: skip

    def _assign(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"ASSIGN task {row['id']}", [text(row.get("title"))],
                "task.assign", _asked(row, "state", "assignee"), f"assigned {row['id']}", verb="Assign",
                blanks=[Blank(name="to", label="To:", required=True)],
            )  # fmt: skip

    def _snooze(self) -> None:
        """For how long; one that is snoozed is woken."""
        row = self._table.row
        if row is None:
            return
        if until := row.get("snoozed_until"):
            self.deeds.act(
                "task.wake", _asked(row, "state", "snoozed_until"), f"task {row['id']} is back",
                undo=("task.snooze", {"id": row["id"], "until": until}, {"snoozed_until": None}),
            )  # fmt: skip
            return
        found = [
            Choice(label=label, note=self._rest_note(row, self.port.now_ms + ms),
                   why_not=self._too_long(row, self.port.now_ms + ms),
                   run=partial(self._snooze_for, row, ms))
            for label, ms in RESTS
        ]  # fmt: skip
        other = Choice(
            label="other", note="a duration, or an instant", run=partial(self._ask_until, row)
        )
        self.port.ask(
            Menu(f"snooze task {row['id']}: {text(row.get('title'))}", [*found, other])
        )

    def _rest_note(self, row: Row, until_ms: int) -> str:
        until = clock(format_instant(Instant(until_ms)), day=True)
        return f"until {until}; then {row.get('assignee') or self.port.me} is told"

    def _too_long(self, row: Row, until_ms: int) -> str:
        ends = instant(row.get("expires_at"))
        over = ends is not None and until_ms >= ends
        return f"its run waits only until {clock(row['expires_at'], day=True)}" if over else ""

    def _snooze_for(self, row: Row, ms: int) -> None:
        self._rest(row, {"until": format_instant(Instant(self.port.now_ms + ms))})

    def _ask_until(self, row: Row) -> None:
        def done(typed: dict[str, str]) -> None:
            said = typed["until"]
            until = instant(said)
            self._rest(row, {"lasts": said} if until is None else {"until": said})

        blank = Blank(name="until", label="For, or until:", required=True)
        self.port.ask(
            Question(
                f"snooze task {row['id']}",
                [blank],
                done,
                "such as 3d, 90m, 2026-03-02T09:00:00Z",
            )
        )

    def _rest(self, row: Row, given: dict[str, object]) -> None:
        def undo(answer: Mapping[str, Any]) -> Inverse:
            return (
                "task.wake",
                {"id": row["id"]},
                {"snoozed_until": answer.get("snoozed_until")},
            )

        self.deeds.act(
            "task.snooze", {**_asked(row, "state", "snoozed_until"), **given},
            f"snoozed task {row['id']}", undo=undo,
        )  # fmt: skip

    def _read(self) -> None:
        for row in self._table.marked:
            if not row.get("read_at"):
                self.deeds.act(
                    "notification.read", {"id": row["id"]}, f"notice {row['id']} is read"
                )
        self._table.marks.clear()

    def enter(self) -> None:
        """The task with its content, asked for by this user: viewers see it masked."""
        row = self._table.row
        if row is None or self.second:
            return

        async def run() -> None:
            answer = await self.port.call("task.list", {"id": row["id"]})
            found = next(iter(answer.get("items", [])), row)
            self.port.ask(Reading(f"task {row['id']}", _content(found)))

        self.port.spawn(run())

    def detail(self, row: Row, width: int) -> list[Line]:
        if self.second:
            return [
                line(
                    f" {text(row.get('kind'))} for {text(row.get('recipient'))}   {text(row.get('payload'))}"
                )
            ]
        return [
            line(Cell(f" {text(row.get('title'))}", "head"), f"   task {row.get('id')}  run {text(row.get('enrollment_id'))}"),
            line(f" {text(row.get('kind'))} for {text(row.get('assignee'))}   due {clock(row.get('due_at'), day=True)}"
                 f"   reminder {clock(row.get('reminder_at'), day=True)}"),
            *self._waits(row),
        ]  # fmt: skip

    def _waits(self, row: Row) -> list[Line]:
        """What waits for it, and who has put it off."""
        found: list[Line] = []
        if until := row.get("snoozed_until"):
            found.append(
                line(
                    Cell(
                        f" zz until {clock(until, day=True)} by {text(row.get('snoozed_by'))}",
                        "warn",
                    )
                )
            )
        behind = int(row.get("blocks") or 0) - 1
        if behind >= 0:
            ends = row.get("expires_at")
            until = f" until {clock(ends, day=True)}" if ends else ""
            queued = f", {many(behind, 'request')} behind it" if behind else ""
            found.append(
                line(f" run {text(row.get('enrollment_id'))} waits for it{until}{queued}")
            )
        return found


def _sign(row: Row) -> Cell:
    if row.get("snoozed_until"):
        return Cell("zz", "dim")
    return Cell(
        state(row.get("state")).text[:2], "warn" if row.get("kind") == "approval" else ""
    )


def _blocks(row: Row) -> str:
    n = int(row.get("blocks") or 0)
    return count(min(n, 1_000), more=n > 1_000) if n else "-"


def _content(row: Row) -> list[Line]:
    found: list[Line] = []
    payload = row.get("payload")
    parts = payload if isinstance(payload, dict) else {"payload": payload}
    ordered = {name: parts[name] for name in ("subject", "text", "html") if name in parts}
    for name, value in {"title": row.get("title"), **ordered, **parts}.items():
        if value not in (None, ""):
            found.append(line(Cell(name, "head")))
            found += [line(f"  {part}") for part in text(value).split("⏎")]
    return found


def _asked(row: Row, *names: str) -> dict[str, object]:
    """The task, and that it still stands as it is shown: else somebody was first."""
    return {"id": row["id"], "expect": {name: row.get(name) for name in names}}
