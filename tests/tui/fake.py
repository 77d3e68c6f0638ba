"""A daemon made of canned answers, and a console on it that is driven by keys, without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from itertools import takewhile
from typing import Any

from dripd.admin.catalogue import SPECS
from dripd.admin.delta import key_of
from dripd.admin.mask import masked
from dripd.admin.messages import decode, split
from dripd.admin.own import OWN
from dripd.admin.roles import Role
from dripd.admin.safe import clean
from dripd.errors import BadRequest, DripdError
from dripd.tui.console import Console, said
from dripd.tui.draw import plain
from dripd.tui.link import VERBATIM
from dripd.tui.options import Options
from dripd.tui.watch import Follow, Watch

NOW = "2026-03-02T12:00:00Z"

OVERVIEW: dict[str, Any] = {
    "state": "running",
    "env": "prod-eu",
    "node": "mail-1",
    "mode": "manual",
    "now": NOW,
    "as_of": NOW,
    "figures": {
        "sent_per_s": 812.0, "lag_ms": 400, "lag_p50_ms": 90, "unsent": 212, "ready": 40,
        "wheel": 3204, "accepted": 90_000, "limit_per_s": 1000.0,
        "accepted_1m": 48_310, "retry_1m": 201, "failed_1m": 290, "unknown_1m": 2,
        "took_p50_ms": 91, "took_p95_ms": 240, "took_p99_ms": 1_210,
    },
    "history": [{"sent_per_s": n, "lag_ms": 9 * n, "unsent": n} for n in range(30)],
    "nodes": [
        {"node": "mail-1", "figures": {"sent_per_s": 812.0, "lag_ms": 400, "unsent": 212, "in_flight": 4000, "ready": 40, "limit_per_s": 1000.0,
                                       "accepted_1m": 48_310, "retry_1m": 201, "failed_1m": 290, "unknown_1m": 2}, "silent_s": 1.0},
        {"node": "mail-2", "figures": {"sent_per_s": 0.0, "lag_ms": 0, "in_flight": 4000, "limit_per_s": 250.0}, "silent_s": 0.5},
    ],
    "due": {
        "overdue": 3204, "held": 12, "active": 1_204_118, "retrying": 1204, "later": 5, "percent": 2.5,
        "seconds": [n % 7 for n in range(60)], "minutes": list(range(60)),
        "hours": [1770, *(1000 * (n % 9) for n in range(1, 48))],
    },
    "holding": [
        {"reason": "window", "account_key": "acme", "campaign_key": "welcome", "count": 2310,
         "more": True, "since_at": NOW, "release_at": "2026-03-02T13:00:00Z"},
        {"reason": "step_failed", "account_key": "acme", "campaign_key": "welcome", "count": 12,
         "more": False, "since_at": NOW, "release_at": None},
    ],
    "inbox": {"approvals": 3, "tasks": 4, "unread": 1, "snoozed": 2, "overdue": 1,
              "oldest_approval_at": "2026-03-02T08:48:00Z", "oldest_at": "2026-03-02T08:48:00Z", "oldest_due_at": "2026-03-02T12:48:00Z"},
    "alerts": [
        {"level": "!", "what": "step_failed", "where": "acme/welcome", "detail": "12 held",
         "screen": "failures", "of": {"account": "acme", "campaign": "welcome"}},
    ],
    "unknown": {"n": 5, "presumed": 2},
    "zones_differ": [],
    "queues": [{"account": "acme", "requests": 900, "events": 12}],
    "accounts": {"active": True, "paused": True},
    "db": {"ok": True, "error": None},
}  # fmt: skip


def rows(n: int, **columns: Any) -> list[dict[str, Any]]:
    """*n* rows with ids; a callable column gets the number of its row."""
    return [
        {"id": k, **{name: v(k) if callable(v) else v for name, v in columns.items()}}
        for k in range(1, n + 1)
    ]


ANSWERS: dict[str, Any] = {
    "daemon.overview": OVERVIEW,
    "account.list": {"items": rows(3, key=lambda k: f"acct-{k}", status="active", plan="unlimited", timezone="UTC",
                                   used=30, cap=300, backlog=1001, window="closed", opens_at="2026-03-02T13:00:00Z")},
    "account.show": {"key": "acct-1", "status": "active", "cap": {"limit": 300, "used": 30, "left": 270, "local_date": "2026-03-02"},
                     "holds": [{"reason": "cap", "count": 3, "release_at": NOW}], "balance": "5"},
    "sender.list": {"items": rows(2, account_id=1, account_key="acct-1", address=lambda k: f"s{k}@acme.test", channel="email",
                                  provider="sink", status="active", rate="20/s", limit_per_s=20.0, sent_per_s=lambda k: 9.8 / k,
                                  tried_1h=1000, failed_1h=lambda k: 3 if k > 1 else 600, p95_ms=210, limit_today=2000, used_today=1980,
                                  last_error={"reason": "http_503", "at": NOW},
                                  standing={"tokens": 4, "burst": 20, "rests_until": None, "unknown_provider": False, "trips_today": 3,
                                            "breakers": [{"of": "provider sink", "since": NOW, "probe_at": "2026-03-02T12:00:48Z"}]})},
    "sender.show": {"id": 1, "pools": [{"campaign_key": "welcome", "share": 0.5}], "waiting": {"due": 71, "next_hour": 1001},
                    "reputation": {"bounced": 9, "complained": 0}, "warmup_day": None, "limit_tomorrow": None},
    "campaign.list": {"items": rows(3, account_id=1, account_key="acme", key=lambda k: f"camp-{k}", status="active",
                                    live_version=2, has_draft=True, owner="ann",
                                    figures={"active": 812_004, "sent_24h": 0, "failed_24h": 0, "replied": 0.041, "ended": 0.71,
                                             "least": {"active": 433, "sent_24h": 500, "replied": 120}})},
    "campaign.stats": {"campaign_key": "camp-1", "enrolled": 100, "active": 40, "goal": 3, "completed": 50, "removed": 7,
                       "terminated": 0, "versions": [1, 2], "steps": [{"step_key": "hello", "at": 4, "done": 96, "skipped": 0, "failed": 2, "sent": 94, "left": {"reply": 8, "unsubscribe": 2}}]},
    "campaign.diff": {"changes": [{"op": "~", "path": "steps[0].subject", "old": "Hi", "new": "Hello"}]},
    "enroll.list": {"items": rows(60, external_id=lambda k: f"c{k}", contact_id=lambda k: 1000 + k, account_id=1, account_key="acme",
                                  campaign_key="welcome", version=2, step_key="nudge", status="held", hold_reason="window",
                                  run_no=1, started_at=NOW, due_at="2026-03-02T13:30:00Z", ended_at=None, node="mail-1")},
    "enroll.explain": {"enrollments": [{"enrollment_id": 1, "step": {"key": "nudge", "index": 2, "of": 5},
                       "chain": [{"gate": "window", "until": "2026-03-02T13:00:00Z", "detail": "mon-fri"}], "ready_at": "2026-03-02T13:00:00Z"}]},
    "enroll.simulate": {"enrollment_id": 1, "campaign_key": "welcome", "as_of": NOW, "whole": False, "steps": [
        {"step_key": "nudge", "kind": "email", "outcome": "done", "reason": None, "at": "2026-03-02T13:30:00Z", "sent": True},
        {"step_key": "vip", "kind": "email", "outcome": "skipped", "reason": "condition_false", "at": "2026-03-04T09:00:00Z", "sent": False}],
        "status": "held", "end_reason": None, "ended_at": None, "step_key": "call", "due_at": NOW, "hold_reason": "task", "release_at": None},
    "contact.timeline": {"items": [{"at": NOW, "kind": "accepted", "campaign_key": "welcome", "detail": {"run_no": 1}},
                                   {"at": NOW, "kind": "step_done", "campaign_key": "welcome", "step_key": "hello", "detail": {"seq": 1}}]},
    "contact.unmask": {"id": 1001, "external_id": "c1", "email": "ann@acme.test", "phone": None, "attrs": {"tier": "gold"}},
    "task.list": {"items": rows(4, kind=lambda k: "call" if k == 4 else "approval", title="Send this?", campaign_key="welcome", step_key="hello", account_key="acme",
                                assignee="ann", state="open", draft="d1", created_at="2026-03-02T08:48:00Z", due_at="2026-03-02T11:00:00Z",
                                enrollment_id=9, blocks=3, expires_at="2026-03-03T12:00:00Z", snoozed_until=None, payload={"subject": "Hi", "text": "Hello⏎there"})},
    "notification.list": {"items": rows(2, kind="opened", recipient="ann", account_key="acme", created_at=NOW, read_at=None, payload={})},
    "dead.list": {"items": [
        {"group": "g1", "account_key": "acme", "campaign_key": "welcome", "step_key": "hello", "count": 9120, "code": "step_failed",
         "error": "503 upstream", "retry": "safe", "per_s": 20.0, "first_at": NOW, "last_at": NOW,
         "sample": [{"enrollment_id": 41, "external_id": "c41", "attempt": 4, "at": NOW}]},
        {"group": "g2", "account_key": "acme", "campaign_key": "welcome", "step_key": "hello", "count": 801, "code": "quarantined",
         "error": None, "retry": "unsafe", "first_at": NOW, "last_at": NOW}]},
    "delivery.list": {"items": rows(1, id="41-2", state="unknown", account_key="acme", step_key="hello", to_address="a***@x.test", reason="timeout")},
    "node.list": {"items": [{"node": "mail-1", "incarnation": "77", "state": "running", "silent_s": 1.0, "up_s": 4000, "accounts": 40,
                             "claims": 2, "version": "0.1.0", "skew_ms": -4, "figures": {"sent_per_s": 812.0, "lag_ms": 400, "cpu_percent": 41, "wheel": 9, "db_p99_ms": 4.1, "pool": {"used": 3, "size": 8}}}],
                  "leases": [{"node": "mail-2", "at": NOW, "what": "heartbeat_late", "said": "heartbeat 6.1 s after the one before; dead at 10 s"},
                             {"node": "mail-1", "at": NOW, "what": "claims_swept", "said": "took over 17 steps that dead daemons held"}]},
    "node.trace": {"node": "mail-1", "wheel": 9, "tasks": [{"depth": 0, "name": "run.main", "at": "serve:12"}, {"depth": 1, "name": "feed.feed", "at": "feed:40"}]},
    "suppress.import": {"changed": 1, "items": [{"address": "a@x.test", "ok": True, "changed": True},
                                                {"address": "", "ok": False, "changed": False, "code": "bad_value", "message": "an address is missing"}]},
    "audit.list": {"items": rows(2, at=NOW, user="carol", method="campaign.pause", target="reminders", result="changed", reason="typo")},
    "suppress.export": {"items": [{"id": "77-0-email", "account_id": 0, "scope": "everywhere", "channel": "email", "address": "z***@x.test", "reason": "bounce",
                                   "created_at": NOW, "created_by": "event", "expires_at": None}]},
    "suppress.check": {"suppressed": True, "entries": [{"scope": "everywhere", "channel": "email", "reason": "bounce"}]},
    "deliveries": {"rows": [{"at": NOW, "state": "accepted", "channel": "email", "account": "acme", "campaign": "welcome", "step": "hello",
                             "id": f"{k}-1", "enrollment_id": k, "contact_id": k, "to_address": "a***@x.test", "took_ms": 90 + k} for k in range(30)], "n": 30},
    "events": {"rows": [{"at": NOW, "kind": "reply", "account": "acme", "contact_id": 4, "enrollment_id": 5, "source": "mail", "detail": "auto=False"}], "n": 1},
    "logs": {"rows": [{"ts": NOW, "level": "warning", "stage": "send", "event": "store.lost", "reason": "gone"},
                      {"ts": "2026-03-02T12:00:01.500Z", "level": "info", "stage": "send", "event": "store.regained"}], "n": 2},
    "plan.make": {"plan_id": "p1", "n": 3, "digest": "d", "sample": [{"enrollment_id": 1}], "expires_in_s": 120},
}  # fmt: skip


def judge(method: str, params: Mapping[str, Any]) -> None:
    """Raise as the daemon does if *method* does not take *params*."""
    if method == "plan.make":
        judge(params["method"], params["params"])
    elif method in SPECS:
        decode(SPECS[method].params, split(params)[1])


class FakeDaemon:
    """Answers at once; `calls` is what it was asked to do, `failing` what it refuses."""

    def __init__(
        self, role: Role = Role.ADMIN, answers: Mapping[str, Any] | None = None
    ) -> None:
        allowed = [name for name, spec in SPECS.items() if role.covers(spec.role)]
        self.hello: dict[str, Any] = {
            "env": "prod-eu", "node": "mail-1", "role": str(role), "user": "alice", "uid": 1001,
            "server": "0.1.0", "proto": [1, 0], "methods": [*allowed, *OWN],
        }  # fmt: skip
        self.answers: dict[str, Any] = {**ANSWERS, **(answers or {})}
        self.up = True
        self.trouble: DripdError | None = None
        self.lost_at: float | None = None
        self.is_past = False
        self.word = "LIVE"
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failing: dict[str, DripdError] = {}
        self.watched: list[Watch] = []
        self.refused: list[BadRequest] = []

    def watch(self, watch: Watch) -> None:
        self.watched.append(watch)
        try:
            judge(watch.of, watch.params)
        except BadRequest as error:
            self.refused.append(error)
            watch.failed(error)
            return
        watch.opened(self._reply(watch))

    def _reply(self, watch: Watch) -> dict[str, Any]:
        answer = self.answers.get(watch.of, {"items": []})
        if isinstance(watch, Follow):
            return {"sub": 1, **self._shown(answer, is_masked=True)}
        found = self._shown(answer, is_masked=SPECS[watch.of].personal)
        key = SPECS[watch.of].view
        assert key is not None, f"{watch.of} is no view"
        assert not key or all(key_of(row, key) for row in found.get("items", []))
        return {"sub": 1, "key": list(key), "result": {"next": None, **found} if key else found}

    @staticmethod
    def _shown(answer: Any, *, is_masked: bool) -> Any:
        """*answer* as it comes over the wire."""
        return clean(masked(answer) if is_masked else answer)

    def tell(self, of: str, method: str, params: Mapping[str, Any]) -> None:
        """As the daemon tells of a change."""
        for watch in self.watched:
            if watch.of == of:
                watch.took(method, params)

    def unwatch(self, watch: Watch) -> None:
        self.watched.remove(watch)

    def pace(self, watch: Watch, hz: float) -> None:
        watch.hz = hz

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, *, once: bool = False
    ) -> Any:
        self.calls.append((method, dict(params or {})))
        try:
            judge(method, dict(params or {}))
        except BadRequest as error:
            self.refused.append(error)
            raise
        if method in self.failing:
            raise self.failing[method]
        answer = self.answers.get(method, {"changed": True})
        is_viewer = self.hello["role"] == Role.VIEWER
        personal = method not in SPECS or SPECS[method].personal
        sent = masked(answer) if is_viewer and personal else answer
        return sent if method in VERBATIM else clean(sent)

    def jump(self, by_s: float) -> bool:
        return False

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing is open."""


class Rig:
    """A console that is driven by keys; time passes when a test says so."""

    def __init__(
        self,
        daemon: FakeDaemon | None = None,
        options: Options | None = None,
        size: tuple[int, int] = (80, 24),
    ) -> None:
        self.daemon = daemon or FakeDaemon()
        self.size = size
        self.now = 1000.0
        self.left = False
        self.copied: list[str] = []
        self.saved: list[tuple[str, str]] = []
        """The names of files, and what was written to them."""
        self.console = Console(
            self.daemon,
            options or Options(),
            monotonic=lambda: self.now,
            spawn=self._spawn,
            changed=lambda: None,
            copy=self.copied.append,
            save=self._save,
            leave=self._leave,
        )
        self.console.start()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run to the end at once: the fake never waits."""
        try:
            work.send(None)
        except StopIteration:
            return
        except DripdError as error:
            self.console.tell(said(error), "bad")
            return
        raise AssertionError("a deed waits for what a fake never does")

    def _save(self, name: str, kind: str, text: str) -> str:
        self.saved.append((f"{name}.{kind}", text))
        return f"written: {name}.{kind}"

    def _leave(self) -> None:
        self.left = True

    def press(self, *keys: str, after: float = 0.5) -> str:
        """Press keys one after the other; what is then on screen."""
        for key in keys:
            self.now += after
            char = {"space": " "}.get(key, key if len(key) == 1 else None)
            self.console.key(key, char)
        return self.text()

    def type(self, text: str) -> str:
        return self.press(*text)

    def write_mode(self) -> None:
        self.press("ctrl+w")

    def text(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        return [plain(one) for one in self.console.frame(*self.size)]

    @property
    def footer(self) -> str:
        """The last line; or all of what is told there."""
        frame = self.console.frame(*self.size)
        told = list(takewhile(lambda one: one[0].style.startswith("toast"), reversed(frame)))
        return " ".join(plain(one).strip() for one in reversed(told or frame[-1:]))

    @property
    def changed(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that change something."""
        return [one for one in self.daemon.calls if one[0] in SPECS and SPECS[one[0]].mutating]
