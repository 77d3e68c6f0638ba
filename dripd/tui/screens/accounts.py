"""Who pays, and what sends for them? Accounts and senders, in two tabs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar

from dripd.admin.closed import AccountStatus, Channel, words
from dripd.tui.dialog import Blank
from dripd.tui.draw import Cell, Line, gauge, line, wrap
from dripd.tui.filter import Key
from dripd.tui.page import Action, Deeds, ListPage, Port, held_by
from dripd.tui.table import Column, Row
from dripd.tui.watch import Watch
from dripd.tui.words import bounded, clock, count, glyph, pace, percent, since, text


def used(row: Row) -> str:
    """What has left today, of how much may."""
    if "used" not in row:
        return "-"
    cap = row.get("cap")
    return f"{count(row.get('used'))}/{'no cap' if cap is None else count(cap)}"


def backlog(row: Row) -> str:
    """What is due and has not left; counting stops at a thousand."""
    return bounded(row.get("backlog"))


def window(row: Row, now_ms: int) -> Cell:
    """Whether messages may leave at this hour, else when again."""
    found = row.get("window")
    if found == "closed":
        opens = row.get("opens_at")
        return Cell(since(opens, now_ms) if opens else "never opens", "warn")
    words = {"always": "24x7", "open": "open", "unreadable": "unreadable"}
    return Cell(words.get(str(found), "-"), "bad" if found == "unreadable" else "")


ACCOUNTS = (
    Column(title="ST", width=3, show=lambda row: glyph(row.get("status"))),
    Column(title="ACCOUNT", show=lambda row: text(row.get("key"))),
    Column(title="STATUS", width=8, show=lambda row: text(row.get("status"))),
    Column(title="TODAY/CAP", width=15, right=True, show=used),
    Column(
        title="BACKLOG", width=7, right=True, show=backlog, sort=lambda row: row.get("backlog")
    ),
    Column(title="PLAN", width=9, priority=2, show=lambda row: text(row.get("plan"))),
    Column(title="ZONE", width=13, priority=2, show=lambda row: text(row.get("timezone"))),
)


def today(row: Row) -> str:
    """What has left from a sender in its local day, of how much may; nobody counts the rest."""
    limit = row.get("limit_today")
    return "-" if limit is None else f"{count(row.get('used_today') or 0)}/{count(limit)}"


def tokens(row: Row) -> str:
    standing = row.get("standing") or {}
    return "-" if standing.get("burst") is None else f"{standing['tokens']}/{standing['burst']}"


def shut(row: Row) -> list[str]:
    """Everything that keeps a sender back now, and until when; the longest in force first."""
    standing = row.get("standing") or {}
    found = []
    if row.get("status") == "paused":
        found.append(f"paused: {text(row.get('pause_reason') or 'by hand')}")
    if standing.get("unknown_provider"):
        found.append("provider unknown")
    for one in standing.get("breakers", []):
        probe = one.get("probe_at")
        found.append(f"breaker {'probes' if probe is None else clock(probe)} {text(one['of'])}")
    if (limit := row.get("limit_today")) is not None and (row.get("used_today") or 0) >= limit:
        found.append("cap: day is spent")
    if row.get("next_at"):
        found.append(f"gap {clock(row['next_at'])}")
    if standing.get("rests_until"):
        found.append(f"throttled {clock(standing['rests_until'])}")
    return [*found, "rate"] if standing.get("tokens") == 0 else found


MANY_FAIL, MOST_FAIL = 0.05, 0.5
"""Shares of an hour's attempts from which on failing is a warning, and worse."""


def fails(row: Row) -> float | None:
    """The share of the hour's attempts that failed; None: nothing was tried."""
    tried = row.get("tried_1h")
    return row.get("failed_1h", 0) / tried if tried else None


def failing(row: Row) -> Cell:
    share = fails(row)
    if share is None:
        return Cell("-")
    style = "bad" if share >= MOST_FAIL else "warn" if share >= MANY_FAIL else ""
    return Cell(f"{share:.1%}" if 0 < share < 0.1 else percent(share), style)


def sender_glyph(row: Row) -> Cell:
    if (row.get("standing") or {}).get("breakers") or row.get("pause_reason"):
        return Cell("!!", "bad")
    is_active = row.get("status") == "active"
    if is_active and (fails(row) or 0) >= MANY_FAIL:
        return Cell(" !", "warn")
    return glyph(row.get("status"))


def state_of(row: Row) -> str:
    """A sender in one word: `paused failing held ok`."""
    if row.get("status") != "active":
        return "paused"
    breakers = (row.get("standing") or {}).get("breakers")
    if breakers or (fails(row) or 0) >= MANY_FAIL:
        return "failing"
    return "held" if shut(row) else "ok"


def _tally(rows: Iterable[Row]) -> str:
    found = Counter(map(state_of, rows))
    return ", ".join(
        f"{found[one]} {one}" for one in ("ok", "held", "failing", "paused") if found[one]
    )


SENDERS = (
    Column(title="ST", width=3, show=sender_glyph),
    Column(title="SENDER", show=lambda row: text(row.get("address"))),
    Column(title="NOW/s", width=7, right=True, show=lambda row: pace(row.get("sent_per_s")), sort=lambda row: row.get("sent_per_s")),
    Column(title="LIM/s", width=7, right=True, narrow=False, show=lambda row: pace(row.get("limit_per_s")), sort=lambda row: row.get("limit_per_s")),
    Column(title="TODAY", width=9, right=True, narrow=False, show=today, sort=lambda row: row.get("used_today")),
    Column(title="FAIL1h", width=6, right=True, show=failing, sort=fails),
    Column(title="HELD BY", width=17, show=lambda row: Cell((shut(row) or ["-"])[0].partition(" provider ")[0], "warn")),
    Column(title="p95 ms", width=6, right=True, priority=2, show=lambda row: count(row.get("p95_ms")), sort=lambda row: row.get("p95_ms")),
    Column(title="PROVIDER", width=9, priority=2, show=lambda row: text(row.get("provider"))),
    Column(title="ACCOUNT", width=8, priority=2, show=lambda row: text(row.get("account_key"))),
)  # fmt: skip


OF_ACCOUNTS = (
    ("TODAY/CAP", "messages that took of the daily cap since the account's local midnight / the plan's cap"),
    ("BACKLOG", "steps that are due and not leased, held ones included; counting stops at 1 000"),
    ("WINDOW", "of the account: open now, or in how long it opens; campaigns may have their own"),
    ("HELD BY", "what holds back most of what is due of the account"),
    ("held", "live enrollments that are held, by reason, and when the first is released"),
)  # fmt: skip
OF_SENDERS = (
    ("TODAY", "of a sender: what left in its account's local day, of its limit or warm-up of today; - has none"),
    ("NOW/s", "messages of a sender that its provider accepted a second, mean of 10 s, all nodes; 5 to 10 s old; slower ones a minute or an hour"),
    ("LIM/s", "what may leave a second by its rate, its account's, its provider's, and its gap at its mean; - nothing bounds it"),
    ("FAIL1h", "of its attempts within the hour, all nodes: those that were neither accepted nor told to come later; red from 50%"),
    ("p95 ms", "95 of 100 calls to its provider took at most so long, in the last 5 to 10 minutes"),
    ("tokens", "a sender's token bucket: what is in it of what fits, in the daemon that serves the account"),
    ("gap", "the rest between two messages of a sender; HELD BY says until when"),
    ("weight", "a sender's, and its share among the active ones of account and channel; then of each campaign's pool"),
    ("breaker", "open since, the next try, and how often it or its provider's opened in the account's day, since that daemon's start"),
    ("waiting on it", "messages of the campaigns that may leave from it: due, and due within the hour; counting stops at 1 000"),
    ("HELD BY", "paused (bounce_rate, complaint_rate: too much came back, until somebody resumes it); breaker: its provider or itself fails, until the next probe, x has it tried at once; gap, cap, rate"),
)  # fmt: skip
"""What the figures of either tab mean."""


class Accounts(ListPage):
    name: ClassVar[str] = "accounts"
    digit: ClassVar[str] = "2"
    short: ClassVar[str] = "Acct"
    tiny: ClassVar[str] = "Ac"
    title: ClassVar[str] = "Accounts"
    tabs: ClassVar[tuple[str, ...]] = ("accounts", "senders")

    def __init__(self, port: Port, deeds: Deeds) -> None:
        self._shown: Watch | None = None
        super().__init__(port, deeds)

    @property
    def method(self) -> str:  # type: ignore[override]  # the tab decides
        return "sender.list" if self.second else "account.list"

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:  # type: ignore[override]  # the tab decides
        return OF_SENDERS if self.second else OF_ACCOUNTS

    @property
    def keys(self) -> dict[str, Key]:  # type: ignore[override]  # the tab decides
        account = Key(param="account", help="senders of this account")
        channel = Key(param="channel", help="email or sms", values=words(Channel))
        status = Key(param="status", help="accounts so", values=words(AccountStatus))
        return {"account": account, "channel": channel} if self.second else {"status": status}

    def columns(self) -> Sequence[Column]:
        if self.second:
            return SENDERS
        return (
            *ACCOUNTS,
            Column(title="WINDOW", width=11, show=lambda row: window(row, self.port.now_ms)),
            Column(
                title="HELD BY", width=13, show=lambda row: held_by(self.port, row.get("key"))
            ),
        )

    def params(self) -> dict[str, object]:
        return {**({} if self.second else {"figures": True}), **self.wanted}

    def key_of(self, row: Row) -> str:
        return (
            f"{row.get('account_id')}/{row.get('id')}" if self.second else str(row.get("key"))
        )

    def actions(self) -> list[Action]:
        turn = "resume" if (self._table.row or {}).get("status") == "paused" else "pause"
        noun = "sender" if self.second else "account"
        found = [
            Action(key="tab", label="accounts" if self.second else "senders",
                   help="the other tab", run=self.turn_over),
            Action(key="p", label=turn, help=f"{turn} the {noun} under the cursor; z undoes it",
                   run=self._turn, method=f"{noun}.{turn}", changes=True, why_not=self._no_row),
        ]  # fmt: skip
        if self.second:
            found += [
                Action(key="l", label="limit", help="how many messages it may send in a local day", run=self._limit,
                       method="sender.limit", changes=True, why_not=self._no_row),
                Action(key="x", label="try now", help="its provider, and itself, where a breaker is open: the next message is the probe",
                       run=self._probe, method="sender.probe", changes=True, why_not=self._cannot_probe),
                Action(key="t", label="test", help="send one message to an address of yours", run=self._test,
                       method="sender.test", changes=True, why_not=self._no_row),
            ]  # fmt: skip
        else:
            found.append(
                Action(key="e", label="enrollments", help="of this account",
                       run=self.enter, why_not=self._no_row)
            )  # fmt: skip
        return found

    def _cannot_probe(self) -> str:
        """Of another daemon's breakers this one knows nothing: they are tried all the same."""
        row = self._table.row or {}
        standing = row.get("standing")
        if row.get("status") == "paused":
            return "it is paused"
        shut_by = standing is None or standing.get("breakers")
        return self._no_row() or ("" if shut_by else "no breaker of it is open")

    def _probe(self) -> None:
        if row := self._table.row:
            self.deeds.confirm(
                f"TRY {text(row['address'])} NOW",
                [f"The next message through {text(row.get('provider'))} is the probe: where it passes, the breaker "
                 "closes and all that waits for it goes; where it fails, it stays open twice as long."],
                "sender.probe", self._target(row), "it is tried with the next message", verb="Try",
            )  # fmt: skip

    def enter(self) -> None:
        row = self._table.row
        if row is None:
            return
        if self.second:
            self.port.go("deliveries", f"account={row['account_key']}")
        else:
            self.port.go("enrollments", f"account={row['key']}")

    @property
    def extent(self) -> str:
        """Beside how many senders are loaded: how they are."""
        return super().extent + (
            f"  {_tally(self._table.rows.values())}" if self.second else ""
        )

    def _target(self, row: Row) -> dict[str, object]:
        if self.second:
            return {"address": row["address"], "account": row["account_key"]}
        return {"key": row["key"]}

    def _turn(self) -> None:
        row = self._table.row
        if row is None:
            return
        noun = "sender" if self.second else "account"
        paused = row.get("status") == "paused"
        turn, back = ("resume", "pause") if paused else ("pause", "resume")
        expect = {"status": "active" if paused else "paused"}
        target = self._target(row)
        given = {**target, "expect": {"status": row.get("status")}}
        named = text(row.get("address") if self.second else row.get("key"))
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
        wanted = None if row is None else self._asked(row)
        if wanted == (self._shown.params if self._shown else None):
            return
        method = "sender.show" if self.second else "account.show"
        fresh = (
            None if wanted is None else Watch(method, wanted, hz=0.5, changed=self.port.changed)
        )
        old, self._shown = self._shown, fresh
        self.replace(old, fresh)

    def _asked(self, row: Row) -> dict[str, object]:
        return {**self._target(row), **({"quick": True} if self.second else {})}

    def detail(self, row: Row, width: int) -> list[Line]:
        if self.second:
            shown = (self._shown.answer if self._shown else None) or {}
            return _sender(row, shown if shown.get("id") == row.get("id") else {}, width)
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
                 f"   rate {text(answer.get('rate'))}   window {text(answer.get('send_window'))}"),
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


def _sender(row: Row, shown: Row, width: int) -> list[Line]:
    """Everything of a sender; *shown* is what `sender.show` says of it, if it has come."""
    rate = f"{text(row.get('rate'))}, {tokens(row)} tokens" if row.get("rate") else "-"
    pools = [
        f"{text(pool['campaign_key'])} {percent(pool['share'])}"
        for pool in shown.get("pools", [])
    ]
    tried = row.get("tried_1h") or 0
    hour = (
        f"{count(row.get('failed_1h'))} of {count(tried)} failed within the hour"
        if tried
        else ""
    )
    back = shown.get("reputation") or {}
    came = (
        f"   came back in 7 d: {count(back.get('bounced'))} bounces, {count(back.get('complained'))} complaints"
        if back
        else ""
    )
    kept = "" if row.get("standing") else "   (another daemon serves its account: ask it)"
    facts = [
        f"today {today(row)}   warm-up {text(row.get('warmup'))}{_warming(shown)}   rate {rate}",
        f"gap {text(row.get('gap'))}   weight {text(row.get('weight'))}, {percent(row.get('share'))}"
        f"   leaves for {', '.join(pools) or 'no campaign by name'}",
    ]  # fmt: skip
    if waiting := shown.get("waiting"):
        facts.append(
            f"waiting on it {bounded(waiting['due'])} due, {bounded(waiting['next_hour'])} next hour"
        )
    held = "; ".join(shut(row)) or "nothing"
    return [
        line(
            Cell(f" {text(row.get('address'))}", "head"),
            f"  {text(row.get('channel'))} of {text(row.get('account_key'))}   provider {text(row.get('provider'))}"
            f"   owner {text(row.get('owner'))}   shared {text(row.get('shared'))}",
        ),
        *(line(Cell(f" {one}", "bad")) for one in _failures(row)),
        line(" held by ", Cell(held, "warn" if shut(row) else "dim"), kept),
        *(line(f" {part}") for fact in facts for part in wrap(fact, width - 2, indent=2)),
        line(" " + "   ".join(filter(None, (hour, came.strip())))),
    ]


def _failures(row: Row) -> list[str]:
    """What is or was wrong with it: its breakers, its last error."""
    standing = row.get("standing") or {}
    trips = standing.get("trips_today")
    often = f", opened {count(trips)} times today" if trips and trips > 1 else ""
    found = [
        f"{text(one['of'])} fails since {clock(one.get('since'))}, "
        + (f"tried again {clock(one['probe_at'])}" if one.get("probe_at") else "the next message tries it")
        + often
        for one in standing.get("breakers", [])
    ]  # fmt: skip
    if error := row.get("last_error"):
        found.append(f"last error {text(error['reason'])} at {clock(error['at'], day=True)}")
    return found


def _warming(shown: Row) -> str:
    """Where on its ramp it is."""
    day = shown.get("warmup_day")
    if day is None:
        return ""
    when = f"begins in {1 - day} d" if day < 1 else f"day {day}"
    return f", {when}, {count(shown.get('limit_tomorrow'))} tomorrow"
