"""Who pays, and what sends for them? Accounts and senders, in two tabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dripd.tui.dialog import Blank
from dripd.tui.draw import Cell, Line, gauge, line
from dripd.tui.filter import Key
from dripd.tui.page import Action, Deeds, ListPage, Port
from dripd.tui.table import Column, Row
from dripd.tui.watch import Watch
from dripd.tui.words import clock, count, glyph, text


def used(row: Row) -> str:
    """What has left today, of how much may."""
    if "used" not in row:
        return "-"
    cap = row.get("cap")
    return f"{count(row.get('used'))}/{'no cap' if cap is None else count(cap)}"


ACCOUNTS = (
    Column(title="ST", width=3, show=lambda row: glyph(row.get("status"))),
    Column(title="ACCOUNT", width=17, show=lambda row: text(row.get("key"))),
    Column(title="STATUS", width=8, show=lambda row: text(row.get("status"))),
    Column(title="PLAN", width=13, show=lambda row: text(row.get("plan"))),
    Column(title="TODAY/CAP", width=15, right=True, show=used),
    Column(title="ZONE", width=17, show=lambda row: text(row.get("timezone"))),
    Column(title="RATE", width=12, priority=2, show=lambda row: text(row.get("rate"))),
    Column(title="NAME", priority=2, show=lambda row: text(row.get("name"))),
)

SENDERS = (
    Column(title="ST", width=3, show=lambda row: glyph(row.get("status"))),
    Column(title="SENDER", show=lambda row: text(row.get("address"))),
    Column(title="CHAN", width=5, show=lambda row: text(row.get("channel"))),
    Column(title="STATUS", width=8, show=lambda row: text(row.get("status"))),
    Column(title="PROVIDER", width=11, show=lambda row: text(row.get("provider"))),
    Column(title="RATE", width=12, show=lambda row: text(row.get("rate"))),
    Column(title="DAILY", width=8, right=True, show=lambda row: count(row.get("daily_limit"))),
    Column(title="ACCOUNT", width=14, show=lambda row: text(row.get("account_key"))),
    Column(title="OWNER", width=10, priority=2, show=lambda row: text(row.get("owner"))),
)


class Accounts(ListPage):
    name: ClassVar[str] = "accounts"
    digit: ClassVar[str] = "2"
    short: ClassVar[str] = "Acct"
    tiny: ClassVar[str] = "Ac"
    title: ClassVar[str] = "Accounts"
    figures = (
        ("TODAY/CAP", "messages that took of the daily cap since the account's local midnight / the plan's cap"),
        ("RATE", "the account's token bucket: how fast its messages may leave"),
        ("DAILY", "the most messages of a sender in a local day"),
        ("held", "live enrollments that are held, by reason, and when the first is released"),
    )  # fmt: skip

    def __init__(self, port: Port, deeds: Deeds) -> None:
        self._senders = False
        self._shown: Watch | None = None
        super().__init__(port, deeds)

    @property
    def method(self) -> str:  # type: ignore[override]  # the tab decides
        return "sender.list" if self._senders else "account.list"

    @property
    def keys(self) -> dict[str, Key]:  # type: ignore[override]  # the tab decides
        account = Key(param="account", help="senders of this account")
        channel = Key(param="channel", help="email or sms", values=("email", "sms"))
        status = Key(param="status", help="accounts so", values=("active", "paused", "closed"))
        return {"account": account, "channel": channel} if self._senders else {"status": status}

    def columns(self) -> Sequence[Column]:
        return SENDERS if self._senders else ACCOUNTS

    def key_of(self, row: Row) -> str:
        return (
            f"{row.get('account_id')}/{row.get('id')}" if self._senders else str(row.get("key"))
        )

    def actions(self) -> list[Action]:
        turn = "resume" if (self._table.row or {}).get("status") == "paused" else "pause"
        noun = "sender" if self._senders else "account"
        found = [
            Action(key="tab", label="accounts" if self._senders else "senders",
                   help="the other tab", run=self._switch),
            Action(key="p", label=turn, help=f"{turn} the {noun} under the cursor; z undoes it",
                   run=self._turn, method=f"{noun}.{turn}", changes=True, why_not=self._no_row),
        ]  # fmt: skip
        if self._senders:
            found += [
                Action(key="l", label="limit", help="how many messages it may send in a local day", run=self._limit,
                       method="sender.limit", changes=True, why_not=self._no_row),
                Action(key="t", label="test", help="send one message to an address of yours", run=self._test,
                       method="sender.test", changes=True, why_not=self._no_row),
            ]  # fmt: skip
        else:
            found.append(
                Action(key="e", label="enrollments", help="of this account",
                       run=self.enter, why_not=self._no_row)
            )  # fmt: skip
        return found

    def _no_row(self) -> str:
        return "" if self._table.row else "the cursor is on nothing"

    def _switch(self) -> None:
        self._senders = not self._senders
        self.crumbs = ["Senders"] if self._senders else []
        self.wanted, self.filter_text = {}, ""
        self.refilter()

    def back(self) -> bool:
        if self._senders:
            self._switch()
            return True
        return False

    def enter(self) -> None:
        row = self._table.row
        if row is None:
            return
        if self._senders:
            self.port.go("deliveries", f"account={row['account_key']}")
        else:
            self.port.go("enrollments", f"account={row['key']}")

    def _target(self, row: Row) -> dict[str, object]:
        if self._senders:
            return {"address": row["address"], "account": row["account_key"]}
        return {"key": row["key"]}

    def _turn(self) -> None:
        row = self._table.row
        if row is None:
            return
        noun = "sender" if self._senders else "account"
        paused = row.get("status") == "paused"
        turn, back = ("resume", "pause") if paused else ("pause", "resume")
        expect = {"status": "active" if paused else "paused"}
        target = self._target(row)
        given = {**target, "expect": {"status": row.get("status")}}
        named = text(row.get("address") if self._senders else row.get("key"))
        said = f"{turn}d {named}" if turn != "pause" else f"paused {named}"
        self.deeds.act(f"{noun}.{turn}", given, said, undo=(f"{noun}.{back}", target, expect))

    def _limit(self) -> None:
        row = self._table.row
        if row is None:
            return
        most = Blank(
            name="daily_limit", label="Most a day (0: no limit):", required=True, number=True
        )
        most.field.set(str(row.get("daily_limit") or 0))
        self.deeds.confirm(
            f"LIMIT {text(row['address'])}", ["Messages beyond it wait for the next local day."],
            "sender.limit", self._target(row), "limit set", verb="Set", blanks=[most],
        )  # fmt: skip

    def _test(self) -> None:
        row = self._table.row
        if row is None:
            return
        self.deeds.confirm(
            f"TEST {text(row['address'])}", ["Sends one real message through its provider."],
            "sender.test", self._target(row), "test sent", verb="Send",
            blanks=[Blank(name="to", label="To:", required=True)],
        )  # fmt: skip

    def moved(self) -> None:
        super().moved()
        row = self._table.row
        key = None if row is None or self._senders else row["key"]
        if key == (self._shown.params.get("key") if self._shown else None):
            return
        fresh = (
            None
            if key is None
            else Watch("account.show", {"key": key}, hz=0.5, changed=self.port.changed)
        )
        old, self._shown = self._shown, fresh
        self.replace(old, fresh)

    def detail(self, row: Row, width: int) -> list[Line]:
        if self._senders:
            shared = text(row.get("shared"))
            return [
                line(
                    f" {text(row.get('address'))}   provider {text(row.get('provider'))}   owner {text(row.get('owner'))}   shared {shared}"
                )
            ]
        answer = self._shown.answer if self._shown else None
        if not answer or answer.get("key") != row.get("key"):
            return [line(Cell(f" {text(row.get('key'))} ...", "dim"))]
        cap = answer.get("cap") or {}
        limit = cap.get("limit")
        share = (
            ""
            if not limit
            else f" {gauge(cap.get('used', 0) / limit, 10)} {count(cap.get('left'))} left"
        )
        found = [
            line(f" {text(answer.get('key'))}  {text(answer.get('name'))}   {text(answer.get('timezone'))}"
                 f"   window {text(answer.get('send_window'))}"),
            line(f" today {text(cap.get('local_date'))}: {count(cap.get('used'))} sent{share}"
                 f"   balance {text(answer.get('balance'))}"),
        ]  # fmt: skip
        for hold in answer.get("holds", [])[:4]:
            release = clock(hold.get("release_at"), day=True)
            found.append(
                line(
                    Cell(
                        f" held {count(hold.get('count'))} {text(hold.get('reason'))}", "warn"
                    ),
                    f"   until {release}",
                )
            )
        return found
