"""What has failed and waits for somebody? Grouped, and safe retries told apart from unsafe ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dripd.tui.dialog import Blank
from dripd.tui.draw import Cell, Line, folded, line
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
        ("DEAD", "runs in all groups that are loaded; n+ where only the latest 500 were looked at"),
        ("RETRYING", "steps that were tried and come up again by themselves; ~ from a sample"),
        ("retry all", "how long it lasts by the rates of account, senders and providers, accounts side by side; not said where one has none"),
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

    @property
    def uses_marks(self) -> bool:
        return not self.second

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
            Action(key="r", label="retry safe", help="those of the marked groups, or of this one, that nobody can have received, by one plan",
                   run=self._retry_safe, method="dead.retry", changes=True, why_not=self._cannot_retry_safely),
            Action(key="R", label="RETRY ALL", help="of the marked groups, or of this one, by one plan; UNSAFE ones only by typing how many",
                   run=self._retry, method="dead.retry", changes=True, why_not=self._cannot_retry),
            Action(key="D", label="DISCARD", help="end the runs of the marked groups, or of this one, as terminated, by one plan",
                   run=self._discard, method="dead.discard", changes=True, why_not=self._no_group),
        ]  # fmt: skip

    @property
    def _meant(self) -> list[Row]:
        """The marked groups, or the one under the cursor."""
        return self._table.marked

    def _no_group(self) -> str:
        return "" if self._meant else self._no_row() or "the marked groups are gone"

    def _cannot_retry(self) -> str:
        words = {str(row.get("retry")) for row in self._meant}
        return self._no_group() or (RETRY["no"][2] if words == {"no"} else "")

    def _cannot_retry_safely(self) -> str:
        """An UNSAFE group may hold safe ones: the daemon knows."""
        words = [str(row.get("retry")) for row in self._meant]
        if not words or {"safe", "unsafe"} & set(words):
            return self._no_group()
        return f"{words[0]}: {RETRY[words[0]][2]}"

    def enter(self) -> None:
        if (row := self._table.row) and not self.second:
            self.port.go(
                "enrollments",
                written(
                    account=row["account_key"], campaign=row["campaign_key"], hold=row["code"]
                ),
            )

    def _named(self) -> str:
        """How the groups that are meant are called in a title."""
        rows = self._meant
        if len(rows) == 1:
            return f"{text(rows[0]['campaign_key'])}/{text(rows[0]['step_key'])}"
        return f"{count(len(rows))} groups"

    def _picked(self) -> dict[str, object]:
        """The groups that are meant; one alone as a daemon knows it that knows no more."""
        groups = [row["group"] for row in self._meant]
        return {"group": groups[0]} if len(groups) == 1 else {"groups": groups}

    def _retry(self) -> None:
        rows = self._meant
        total = sum(row.get("count") or 0 for row in rows)

        def told(plan: Mapping[str, Any]) -> tuple[list[str], str]:
            """What the plan found, each kind apart; an older daemon does not tell, of one group."""
            parts = (plan.get("would") or {}).get("parts") or {
                str(rows[0].get("retry")): int(plan["n"])
            }
            lines = [
                f"{count(parts[name])} {word}: {meaning}."
                for name, (word, _, meaning) in RETRY.items()
                if parts.get(name)
            ]
            unsafe, n = int(parts.get("unsafe") or 0), int(plan["n"])
            if said := lasting(rows, n):
                lines.append(f"{said}.")
            return lines, f"unsafe {unsafe}" if unsafe else str(n)

        self.deeds.planned(
            f"RETRY {count(total)} of {self._named()}", "dead.retry", self._picked(),
            lambda n: [f"{many(n, 'step')} come{'s' if n == 1 else ''} up at once, within rate, cap and window."],
            verb="Retry", told=told,
        )  # fmt: skip

    def _retry_safe(self) -> None:
        rows = self._meant
        self.deeds.planned(
            f"RETRY what is safe of {self._named()}",
            "dead.retry", {**self._picked(), "safe": True},
            lambda n: [f"{RETRY['safe'][2]}; what may have been delivered, or waits to be mended, stays held.",
                       *([f"{said}."] if (said := lasting(rows, n)) else [])],
            verb="Retry",
        )  # fmt: skip

    def _discard(self) -> None:
        total = sum(row.get("count") or 0 for row in self._meant)
        self.deeds.planned(
            f"DISCARD {count(total)} of {self._named()}",
            "dead.discard", self._picked(),
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

    def summary(self, width: int) -> list[Line]:
        if self.second:
            return super().summary(width)
        table = self._table
        rows = [table.rows[k] for k in table.order if k not in table.gone]
        parts = {
            word: sum(row.get("count") or 0 for row in rows if row.get("retry") == name)
            for name, (word, _, _) in RETRY.items()
        }
        more = any(row.get("more") for row in rows)
        total = count(sum(row.get("count") or 0 for row in rows), more=more)
        told = [
            f" DEAD {total}" + (f" in {many(len(rows), 'group')}" if rows else ""),
            "  ".join(f"{word} {count(n)}" for word, n in parts.items() if n),
            self._retrying(),
        ]
        said = line(Cell("   ".join(filter(None, told)), "head"))
        return [*folded(said, width), *super().summary(width)]

    def _retrying(self) -> str:
        """Steps that were tried and wait for another try; an older daemon does not tell."""
        due = (self.port.overview.answer or {}).get("due", {})
        if "retrying" not in due:
            return ""
        about = "" if due.get("percent", 100) >= 100 else "~"
        return f"RETRYING {about}{count(due['retrying'])}"

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
            line(f" retry all = {lasting([row], row.get('count') or 0) or 'as fast as its account may; this daemon knows of no rate'}"),
            *some,
        ]  # fmt: skip


def lasting(rows: Sequence[Row], n: int) -> str:
    """How long *n* messages of these groups take to leave, by the rates that bound them: accounts
    go side by side, each at its own. "" where one of them has none that this daemon knows of."""
    of: dict[object, tuple[float, int]] = {}
    for row in rows:
        per_s, k = row.get("per_s"), int(row.get("count") or 0)
        if not per_s:
            return ""
        of[row.get("account_key")] = (per_s, of.get(row.get("account_key"), (0, 0))[1] + k)
    total = sum(k for _, k in of.values())
    if not total:
        return ""
    longest = max(k * n / total / per_s for per_s, k in of.values())
    rate = sum(per_s for per_s, _ in of.values())
    return f"{many(n, 'send')} at {count(rate)}/s = {span(max(1000, 1000 * longest))}"


def sampled(one: Row) -> str:
    """One run of a group, with its last attempt."""
    attempt = f"attempt {count(one['attempt'])}" if one.get("attempt") else "no attempt"
    return f"run {text(one.get('enrollment_id'))} of {text(one.get('external_id'))}   {attempt}   {clock(one.get('at'), day=True)}"


def retry_cell(row: Row) -> Cell:
    word, style, _ = RETRY.get(str(row.get("retry")), RETRY["fix"])
    return Cell(word, style)
