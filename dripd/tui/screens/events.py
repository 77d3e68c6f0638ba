"""What came in, and who did what? Events of contacts, and the audit in the other tab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dripd.tui.draw import Cell, Line, line
from dripd.tui.filter import Key
from dripd.tui.page import Action, ListPage, TailPage
from dripd.tui.table import Column, Row
from dripd.tui.watch import Watch
from dripd.tui.words import clock, text

STYLES = {
    "bounce": "warn", "complaint": "warn", "unsubscribe": "warn", "refused": "bad", "admin": "head",
}  # fmt: skip
"""Of the kinds that somebody should see."""


class Events(TailPage):
    name: ClassVar[str] = "events"
    digit: ClassVar[str] = "9"
    short: ClassVar[str] = "Event"
    tiny: ClassVar[str] = "Ev"
    title: ClassVar[str] = "Events"
    tabs: ClassVar[tuple[str, ...]] = ("events", "audit")
    figures = (
        ("KIND", "what the contact did or what befell it, as it came into event_in"),
        ("admin", "what somebody has changed by hand through this daemon, with who and why"),
        ("refused", "a call in a provider's name that did not prove to be its own, or could not be read; told at most each 10 s, with how many in a minute"),
        ("SOURCE", "the provider that told of it; - for what came by SQL, a command or a link of ours"),
        ("alone of N nodes", "a tail shows what the daemon has heard that this console is connected to; --socket chooses another"),
        ("NOTE", "duplicate: its dedup_key was seen; else why nobody was found for it"),
        ("audit", "every change by hand, with who, why and what came of it: the row stands with its effect"),
    )  # fmt: skip

    @property
    def method(self) -> str:  # type: ignore[override]  # the tab decides
        return "audit.list" if self.second else "events"

    @property
    def keys(self) -> dict[str, Key]:  # type: ignore[override]  # the tab decides
        if self.second:
            return {
                "who": Key(param="who", help="by this user"),
                "method": Key(param="method", help="of this method"),
                "target": Key(param="target", help="on this target"),
                "since": Key(param="since", help="an instant, or a duration back from now"),
            }
        return {
            "account": Key(param="account", help="of this account", negated=True),
            "kind": Key(
                param="kind",
                help="of this kind, or several: bounce,admin; != works",
                negated=True,
            ),
            "source": Key(param="source", help="told by this provider", negated=True),
        }

    def key_of(self, row: Row) -> str:
        return str(row.get("id")) if self.second else super().key_of(row)

    def _watching(self, after: object) -> Watch:
        return ListPage._watching(self, after) if self.second else super()._watching(after)

    def moved(self) -> None:
        if self.second:
            ListPage.moved(self)

    @property
    def nothing(self) -> str:  # type: ignore[override]  # the tab decides
        return ListPage.nothing if self.second else TailPage.nothing

    @property
    def extent(self) -> str:
        return ListPage.extent.__get__(self) if self.second else super().extent

    def columns(self) -> Sequence[Column]:
        if self.second:
            return (
                Column(title="TIME", width=12, show=lambda row: clock(row.get("at"), day=True)),
                Column(
                    title="WHO",
                    width=10,
                    show=lambda row: text(row.get("as_name") or row.get("user")),
                ),
                Column(title="METHOD", width=18, show=lambda row: text(row.get("method"))),
                Column(title="TARGET", width=18, show=lambda row: text(row.get("target"))),
                Column(title="REASON", show=lambda row: text(row.get("reason"))),
                Column(
                    title="RESULT",
                    width=9,
                    priority=2,
                    show=lambda row: text(row.get("result")),
                ),
            )
        return (
            Column(title="TIME", width=9, show=lambda row: clock(row.get("at"))),
            Column(title="KIND", width=15, show=lambda row: Cell(text(row.get("kind")), STYLES.get(str(row.get("kind")), ""))),
            Column(title="ACCOUNT", width=9, show=lambda row: text(row.get("account"))),
            Column(title="CONTACT", width=8, show=lambda row: text(row.get("contact_id"))),
            Column(title="RUN", width=7, show=lambda row: text(row.get("enrollment_id"))),
            Column(title="DETAIL", show=lambda row: text(row.get("detail"))),
            Column(title="SOURCE", width=9, priority=2, show=lambda row: text(row.get("source"))),
            Column(title="NOTE", width=14, priority=2, show=lambda row: text(row.get("note"))),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        return [
            Action(key="a", label="events" if self.second else "audit", help="only what was changed by hand, on every daemon and of old; or everything", run=self.turn_over),
            Action(key="enter", label="all of it", help="every value of the row", run=self.enter, why_not=self._no_row),
            Action(key="e", label="enrollment", help="the runs of its contact", run=self._runs, why_not=self._no_contact),
        ]  # fmt: skip

    def _no_contact(self) -> str:
        return self._no_row() or (
            "" if (self._table.row or {}).get("contact_id") else "it concerns no contact"
        )

    def _runs(self) -> None:
        if row := self._table.row:
            self.port.go(
                "enrollments", f"account={row['account']} contact=#{row['contact_id']}"
            )

    def enter(self) -> None:
        if row := self._table.row:
            kind = (
                "audit" if self.second else "event" if row.get("id") else str(row.get("kind"))
            )
            self.show_row(f"{kind} {row.get('id') or ''}".rstrip(), row)

    def detail(self, row: Row, width: int) -> list[Line]:
        shown: Any = row.get("detail")
        if self.second:
            said = f"{text(row.get('method'))} {text(row.get('target'))}: {text(row.get('result'))}"
            return [line(f" {said}   {text(row.get('reason'))}   {text(shown)}")]
        source = f"   {text(row.get('source'))}" if row.get("source") else ""
        return [
            line(f" {text(row.get('kind'))}   {text(shown)}   {text(row.get('note'))}{source}")
        ]
