"""What has failed and waits for somebody? Grouped, and safe retries told apart from unsafe ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dripd.tui.dialog import Blank
from dripd.tui.draw import Cell, Line, line
from dripd.tui.filter import Key, written
from dripd.tui.page import Action, ListPage
from dripd.tui.table import Column, Row
from dripd.tui.words import clock, count, many, since, span, state, text

RETRY = {
    "safe": (
        "safe",
        "ok",
        "the provider refused it before accepting: a retry reaches them once",
    ),
    "unsafe": ("UNSAFE", "bad", "may have been delivered: a retry may reach them twice"),
    "fix": ("fix", "warn", "mend the cause first; then retry"),
    "no": ("no", "dim", "refused for good: a retry will fail again"),
}


class Failures(ListPage):
    name: ClassVar[str] = "failures"
    digit: ClassVar[str] = "7"
    short: ClassVar[str] = "Fail"
    tiny: ClassVar[str] = "Fa"
    title: ClassVar[str] = "Failures"
    tabs: ClassVar[tuple[str, ...]] = ("failures", "unknown")
    figures = (
        ("COUNT", "runs held by themselves: their step failed, or something it needs is missing; n+ of the latest 500"),
        ("FIRST, LAST", "how long ago the first and the last of them came to be held"),
        ("grouped by", "account, campaign, step, code and error: one cause, one group"),
        ("take", "how long a retry of all lasts by the rates of account, senders and providers; not said where there is none"),
        ("RETRY?", "safe: refused before it was accepted. UNSAFE: bytes left and nobody knows. fix: a value is missing"),
        ("unknown", "the other tab: deliveries whose outcome nobody knows; decide each by evidence"),
    )  # fmt: skip

    @property
    def method(self) -> str:  # type: ignore[override]  # the tab decides
        return "delivery.list" if self.second else "dead.list"

    @property
    def keys(self) -> dict[str, Key]:  # type: ignore[override]  # the tab decides
        return {
            "account": Key(param="account", help="of this account"),
            "campaign": Key(param="campaign", help="of this campaign"),
        }

    def params(self) -> dict[str, object]:
        fixed = {"state": "unknown"} if self.second else {"quick": True}
        return {**fixed, **self.wanted}

    def key_of(self, row: Row) -> str:
        return str(row.get("id") if self.second else row.get("group"))

    def columns(self) -> Sequence[Column]:
        if self.second:
            return (
                Column(title="DELIVERY", width=14, show=lambda row: text(row.get("id"))),
                Column(title="STATE", width=11, priority=2, show=lambda row: state(row.get("state"))),
                Column(title="SENT", width=12, show=lambda row: clock(row.get("sent_at") or row.get("leased_at"), day=True)),
                Column(title="ACCOUNT", width=12, show=lambda row: text(row.get("account_key"))),
                Column(title="STEP", width=10, show=lambda row: text(row.get("step_key"))),
                Column(title="TO", show=lambda row: text(row.get("to_address"))),
                Column(title="WHY", width=18, show=lambda row: text(row.get("reason"))),
            )  # fmt: skip
        return (
            Column(title="COUNT", width=8, right=True, show=lambda row: count(row.get("count"), more=bool(row.get("more"))), sort=lambda row: row.get("count")),
            Column(title="FIRST", width=6, priority=2, show=lambda row: since(row.get("first_at"), self.port.now_ms), sort=lambda row: row.get("first_at")),
            Column(title="LAST", width=6, show=lambda row: since(row.get("last_at"), self.port.now_ms), sort=lambda row: row.get("last_at")),
            Column(title="ACCOUNT", width=8, narrow=False, show=lambda row: text(row.get("account_key"))),
            Column(title="CAMPAIGN/STEP", width=13, show=lambda row: f"{text(row.get('campaign_key'))}/{text(row.get('step_key'))}"),
            Column(title="CODE", width=11, show=lambda row: text(row.get("code"))),
            Column(title="ERROR", show=lambda row: text(row.get("error"))),
            Column(title="RETRY?", width=7, show=retry_cell),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        tab = Action(
            key="tab",
            label="groups" if self.second else "unknown",
            help="the other tab",
            run=self.turn_over,
        )
        if self.second:
            found = [
                tab,
                Action(key="a", label="was accepted", help="evidence says it arrived", run=self._accepted,
                       method="delivery.resolve", changes=True, why_not=self._no_row),
                Action(key="x", label="has failed", help="evidence says it did not", run=self._failed,
                       method="delivery.resolve", changes=True, why_not=self._no_row),
            ]  # fmt: skip
            return [tab] if not self.port.has("delivery.resolve") else found
        return [
            tab,
            Action(key="enter", label="list", help="the runs of this group", run=self.enter, why_not=self._no_row),
            Action(key="r", label="retry safe", help="those of the group that nobody can have received, by a plan",
                   run=self._retry_safe, method="dead.retry", changes=True, why_not=self._cannot_retry_safely),
            Action(key="R", label="RETRY ALL", help="by a plan; UNSAFE ones only by typing the count",
                   run=self._retry, method="dead.retry", changes=True, why_not=self._cannot_retry),
            Action(key="D", label="DISCARD", help="end the group's runs as terminated, by a plan",
                   run=self._discard, method="dead.discard", changes=True, why_not=self._no_row),
        ]  # fmt: skip

    def _cannot_retry(self) -> str:
        row = self._table.row or {}
        return self._no_row() or (RETRY["no"][2] if row.get("retry") == "no" else "")

    def _cannot_retry_safely(self) -> str:
        """An UNSAFE group may hold safe ones: the daemon knows."""
        word = str((self._table.row or {}).get("retry"))
        return self._no_row() or (
            "" if word in {"safe", "unsafe"} else f"{word}: {RETRY[word][2]}"
        )

    def enter(self) -> None:
        if (row := self._table.row) and not self.second:
            self.port.go(
                "enrollments",
                written(
                    account=row["account_key"], campaign=row["campaign_key"], hold=row["code"]
                ),
            )

    def _retry(self) -> None:
        row = self._table.row
        if row is None:
            return
        word, _, meaning = RETRY.get(str(row.get("retry")), RETRY["fix"])
        unsafe = row.get("retry") == "unsafe"
        self.deeds.planned(
            f"RETRY {count(row['count'])} of {text(row['campaign_key'])}/{text(row['step_key'])}",
            "dead.retry", {"group": row["group"]},
            lambda n: [f"{word}: {meaning}.", f"{count(n)} steps come up at once, within rate, cap and window.",
                       *([f"{said}."] if (said := lasting(row, n)) else [])],
            verb="Retry", word=(lambda n: f"unsafe {n}") if unsafe else str,
        )  # fmt: skip

    def _retry_safe(self) -> None:
        if row := self._table.row:
            self.deeds.planned(
                f"RETRY what is safe of {text(row['campaign_key'])}/{text(row['step_key'])}",
                "dead.retry", {"group": row["group"], "safe": True},
                lambda n: [f"{RETRY['safe'][2]}; what may have been delivered stays held.",
                           *([f"{said}."] if (said := lasting(row, n)) else [])],
                verb="Retry",
            )  # fmt: skip

    def _discard(self) -> None:
        if row := self._table.row:
            self.deeds.planned(
                f"DISCARD {count(row['count'])} of {text(row['campaign_key'])}/{text(row['step_key'])}",
                "dead.discard", {"group": row["group"]},
                lambda n: [f"Ends {many(n, 'run')} as terminated, stopped. It cannot be undone."],
                verb="Discard",
            )  # fmt: skip

    def _accepted(self) -> None:
        self._resolve("accepted", "It counts as sent; nothing is sent again.")

    def _failed(self) -> None:
        self._resolve("failed", "It counts as not sent; what the step's policy says happens.")

    def _resolve(self, outcome: str, meaning: str) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"{row['id']} {outcome.upper()}", [meaning, "It cannot be undone."],
                "delivery.resolve", {"id": row["id"], "state": outcome}, f"{row['id']} {outcome}",
                verb="Resolve", blanks=[Blank(name="reason", label="Evidence:", required=True)],
            )  # fmt: skip

    def detail(self, row: Row, width: int) -> list[Line]:
        if self.second:
            return [
                line(
                    Cell(f" {row.get('id')}", "head"),
                    f"  {text(row.get('idempotency_key'))}  provider {text(row.get('provider'))} {text(row.get('provider_id'))}",
                )
            ]
        word, style, meaning = RETRY.get(str(row.get("retry")), RETRY["fix"])
        some = [line(f" such as {sampled(one)}") for one in row.get("sample", [])]
        return [
            line(Cell(f" {count(row.get('count'), more=bool(row.get('more')))} x {text(row.get('code'))}: {text(row.get('error'))}", "head")),
            line(f" first {clock(row.get('first_at'), day=True)}  last {clock(row.get('last_at'), day=True)}  account {text(row.get('account_key'))}"),
            line(Cell(f" {word}: {meaning}", style)),
            line(f" a retry of all: {lasting(row, row.get('count') or 0) or 'as fast as its account may; this daemon knows of no rate'}"),
            *some,
        ]  # fmt: skip


def lasting(row: Row, n: int) -> str:
    """How long *n* messages of its account take to leave, by the rates that bound them."""
    per_s = row.get("per_s")
    return f"{count(n)} at {count(per_s)}/s take {span(1000 * n / per_s)}" if per_s else ""


def sampled(one: Row) -> str:
    """One run of a group, with its last attempt."""
    attempt = f"attempt {count(one['attempt'])}" if one.get("attempt") else "no attempt"
    return f"run {text(one.get('enrollment_id'))} of {text(one.get('external_id'))}   {attempt}   {clock(one.get('at'), day=True)}"


def retry_cell(row: Row) -> Cell:
    word, style, _ = RETRY.get(str(row.get("retry")), RETRY["fix"])
    return Cell(word, style)
