"""What waits for a person? Approvals and tasks in one tab, notifications in the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dripd.admin.closed import TaskKind, TaskState, words
from dripd.tui.dialog import Blank, Reading
from dripd.tui.draw import Cell, Line, line
from dripd.tui.filter import Key, written
from dripd.tui.page import Action, ListPage
from dripd.tui.table import Column, Row
from dripd.tui.words import bounded, clock, since, state, text


class Inbox(ListPage):
    name: ClassVar[str] = "inbox"
    digit: ClassVar[str] = "5"
    short: ClassVar[str] = "Inbox"
    tiny: ClassVar[str] = "In"
    title: ClassVar[str] = "Inbox"
    tabs: ClassVar[tuple[str, ...]] = ("inbox", "notifications")
    figures = (
        ("AGE", "since the task was made, or the notice written"),
        ("DUE", "when it should be done; struck through: somebody has closed it meanwhile"),
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
        }

    @property
    def uses_marks(self) -> bool:
        return self.second

    def params(self) -> dict[str, object]:
        return dict(self.wanted) if self.second else {"state": "open", **self.wanted}

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
            Column(title="ST", width=3, show=lambda row: Cell(state(row.get("state")).text[:2], "warn" if row.get("kind") == "approval" else "")),
            age,
            Column(title="KIND", width=12, show=lambda row: text(row.get("kind"))),
            Column(title="WHAT", show=lambda row: text(row.get("title"))),
            Column(title="CAMPAIGN", width=16, show=lambda row: f"{text(row.get('campaign_key'))}/{text(row.get('step_key'))}"),
            Column(title="FOR", width=10, show=lambda row: text(row.get("assignee"))),
            Column(title="DUE", width=12, show=lambda row: clock(row.get("due_at"), day=True), sort=lambda row: row.get("due_at")),
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
                   method="task.cancel", changes=True, why_not=self._no_row),
            Action(key="d", label="done", help="the task is finished", run=self._done,
                   method="task.done", changes=True, why_not=self._no_row),
            Action(key="c", label="claim", help="the task is yours; z gives it back", run=self._claim,
                   method="task.assign", changes=True, why_not=self._is_mine),
            Action(key="t", label="assign", help="to somebody", run=self._assign,
                   method="task.assign", changes=True, why_not=self._no_row),
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

    def _no_approval(self) -> str:
        kind = (self._table.row or {}).get("kind")
        return self._no_row() or ("" if kind == "approval" else f"it is a task of kind {kind}")

    def _is_mine(self) -> str:
        mine = (self._table.row or {}).get("assignee") == self.port.me
        return self._no_row() or ("it is yours already" if mine else "")

    def summary(self, width: int) -> list[Line]:
        inbox: dict[str, Any] = (self.port.overview.answer or {}).get("inbox", {})
        oldest = inbox.get("oldest_approval_at")
        waits = f"   oldest approval {since(oldest, self.port.now_ms)}" if oldest else ""
        said = (
            f" APPROVALS {bounded(inbox.get('approvals'))}  TASKS {bounded(inbox.get('tasks'))}"
            f"  UNREAD {bounded(inbox.get('unread'))}{waits}"
        )
        return [line(Cell(said, "head")), *super().summary(width)]

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
        ]  # fmt: skip


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
