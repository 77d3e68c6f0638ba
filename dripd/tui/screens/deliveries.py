"""What leaves, and what becomes of it? The live tail of this daemon's attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from dripd.admin.closed import Channel, words
from dripd.tui.draw import Cell, Line, folded, line
from dripd.tui.filter import Key
from dripd.tui.page import Action, TailPage
from dripd.tui.table import Column, Row
from dripd.tui.words import clock, count, state, text

RESULTS = ("accepted", "retry", "failed", "unknown", "cancelled")

LAST = {"accepted": "ok", "retry": "retry", "failed": "fail", "unknown": "unknown"}
"""What attempts of the last minute came to, and how it is called."""


class Deliveries(TailPage):
    name: ClassVar[str] = "deliveries"
    digit: ClassVar[str] = "6"
    short: ClassVar[str] = "Deliv"
    tiny: ClassVar[str] = "De"
    title: ClassVar[str] = "Deliveries"
    method: ClassVar[str] = "deliveries"
    keys: ClassVar[Mapping[str, Key]] = {
        "account": Key(param="account", help="of this account", negated=True),
        "campaign": Key(param="campaign", help="of this campaign", negated=True),
        "channel": Key(param="channel", help="email or sms", values=words(Channel)),
        "state": Key(
            param="state",
            help="what became of it, or several: retry,failed; != works",
            values=RESULTS,
            negated=True,
        ),
        "step": Key(param="step", help="of this step", negated=True),
        "reason": Key(
            param="reason", help="for this reason; text* matches its beginning", negated=True
        ),
    }
    figures = (
        ("RESULT", "ok accepted, retry will be tried again, failed for good, unknown: bytes left, no full answer"),
        ("ms", "from the first byte to the provider's answer"),
        ("alone of N nodes", "a tail shows what the daemon does that this console is connected to; --socket chooses another"),
        ("showing 1 in N", "a tail shows at most 50 rows a second: how much of the last ten seconds that is, and how many it was not in all"),
        ("n/s", "messages that providers accepted a second, mean of 10 s, this daemon"),
        ("LATENCY", "of a message, from the first byte to the answer: what half, 95 and 99 % of those of the last minute took at most, this daemon, up to 200 a second looked at"),
        ("RESULT 1m", "what became of all attempts of the last minute, this daemon"),
    )  # fmt: skip

    def columns(self) -> Sequence[Column]:
        return (
            Column(title="TIME", width=9, show=lambda row: clock(row.get("at"))),
            Column(title="RESULT", width=12, show=lambda row: state(row.get("state"))),
            Column(title="CHAN", width=5, priority=2, show=lambda row: text(row.get("channel"))),
            Column(title="CAMPAIGN/STEP", show=lambda row: f"{text(row.get('campaign'))}/{text(row.get('step'))}"),
            Column(title="TO", width=18, show=lambda row: text(row.get("to_address"))),
            Column(title="ms", width=6, right=True, show=lambda row: count(row.get("took_ms")), sort=lambda row: row.get("took_ms")),
            Column(title="WHY", width=14, show=lambda row: text(row.get("reason"))),
            Column(title="ACCOUNT", width=12, priority=2, show=lambda row: text(row.get("account"))),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        failures = self.wanted.get("state") == "!accepted"
        return [
            Action(key="f", label="all" if failures else "failures", help="only what was not accepted, or all", run=self._failures),
            Action(key="enter", label="detail", help="the whole attempt", run=self.enter, why_not=self._no_row),
            Action(key="e", label="enrollment", help="the run it belongs to", run=self._run_of, why_not=self._no_row),
        ]  # fmt: skip

    def _failures(self) -> None:
        self.set_filter("" if self.wanted.get("state") == "!accepted" else "state!=accepted")

    def _run_of(self) -> None:
        if row := self._table.row:
            self.port.go(
                "enrollments", f"account={row['account']} contact=#{row['contact_id']}"
            )

    def enter(self) -> None:
        if row := self._table.row:
            self.show_row(f"attempt {row.get('id')}", row)

    def summary(self, width: int) -> list[Line]:
        return [*super().summary(width), *folded(line(Cell(self._sums(), "dim")), width)]

    def _sums(self) -> str:
        """How quick providers are, and what they answer: of all attempts, not of those shown."""
        figures = (self.port.overview.answer or {}).get("figures", {})
        took = "  ".join(
            f"{name} {count(figures[f'took_{name}_ms'])}"
            for name in ("p50", "p95", "p99")
            if f"took_{name}_ms" in figures
        )
        results = "  ".join(
            f"{word} {count(figures[f'{name}_1m'])}"
            for name, word in LAST.items()
            if figures.get(f"{name}_1m")
        )
        rate = count(figures.get("sent_per_s"))
        return f" {rate}/s   LATENCY ms {took or '-'}   RESULT 1m {results or '-'}"

    def detail(self, row: Row, width: int) -> list[Line]:
        return [
            line(
                Cell(f" {text(row.get('id'))}", "head"),
                f"  attempt {text(row.get('attempt'))}  {text(row.get('account'))}  contact #{text(row.get('contact_id'))}"
                f"  {text(row.get('reason'))}",
            )
        ]
