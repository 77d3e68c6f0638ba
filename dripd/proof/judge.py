"""Were the promises kept in a simulation? The provider's log and the views, nothing else.

`Record` is what anybody can see of a deployment; `judge` holds it against what was done.
`Watch` looks at it again and again while it happens: what must be true at every instant.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from dripd.clock import MINUTE, Instant, format_instant, to_datetime
from dripd.proof.provider import DEFINITE, Request
from dripd.proof.story import History
from dripd.proof.tenant import FREQUENCY, PRICE, TEXT, Edition, Tenant, read_words
from dripd.proof.troubled import Troubled

PROMISES: Final = (
    "lost", "duplicates", "cap_excess", "window", "after_stop", "order", "stuck", "ledger",
    "phantom", "live", "transition", "early", "input", "frozen", "evidence",
    "erasure", "version", "sender",
)  # fmt: skip

SURE: Final = frozenset({"accepted", "unknown"})
"""States of a delivery that is counted as sent."""

LEGAL: Final = frozenset({"leased", "failed", "accepted", "unknown", "cancelled"})

NEXT: Final = {
    "accepted": frozenset({"accepted"}),
    "unknown": frozenset({"unknown", "accepted"}),
    "cancelled": frozenset({"cancelled"}),
    "failed": frozenset({"failed"}),
    "leased": LEGAL,
}
"""What may become of a delivery that was seen in a state."""

BY_HAND: Final = {**NEXT, "unknown": NEXT["unknown"] | {"failed"}}
"""The same of a message that no run sends: it is tried once, so that what its daemon was told in
the end is all that can have become of it."""

HOLDS: Final = frozenset({"step_failed"})
"""Reasons for which a run may wait for a person when all is over."""

Broken = dict[str, list[str]]
Row = dict[str, Any]


@dataclass
class Record:
    """What is to be seen: the provider's log in its order, and the public relations."""

    requests: list[Request]
    deliveries: list[Row]
    runs: list[Row]
    asked: list[Row]
    """`dripd.enroll_request`."""
    due: list[Row]
    usage: list[Row]
    money: list[Row]
    """`dripd.ledger`."""

    @classmethod
    def of(cls, world: Troubled) -> Record:
        store = world.store
        return cls(
            list(world.asked), store.deliveries(), store.enrollments(), store.requests(),
            store.due_steps(), store.cap_usage(), store.ledger,
        )  # fmt: skip

    def taken(self) -> list[Request]:
        return [one for one in self.requests if one.accepted]

    def of_runs(self) -> list[Row]:
        """Deliveries of campaigns; the others were written by hand."""
        return [row for row in self.deliveries if row["enrollment_id"] is not None]


def nothing() -> Broken:
    return {name: [] for name in PROMISES}


@dataclass
class Watch:
    """What has been seen so far, and what was wrong with it."""

    history: History
    broken: Broken = field(default_factory=nothing)
    _states: dict[str, str] = field(default_factory=dict)
    _ended: dict[int, str] = field(default_factory=dict)

    def look(self, record: Record) -> None:
        """One look between two acts."""
        self._live(record)
        self._transitions(record)
        self._alone(record)
        _duplicates(self.broken, record, self.history.keyed)

    def _live(self, record: Record) -> None:
        """Exactly one due step for each live run, none for one that has ended."""
        due = Counter(row["enrollment_id"] for row in record.due)
        marked = {row["enrollment_id"] for row in record.due if row["attempt"] < 0}
        for run in record.runs:
            wanted = 1 if run["ended_at"] is None else 0
            found = due.pop(run["id"], 0)
            if found != wanted and not (run["id"] in marked and found == 1):
                self.broken["live"].append(f"run {run['id']} has {found} due steps")
        self.broken["live"] += [f"a due step of run {run}, which is not there" for run in due]

    def _alone(self, record: Record) -> None:
        """Where campaigns exclude each other, a contact has one live run."""
        exclusive = {one.id for one in self.history.tenants if "exclusive" in one.traits}
        live = Counter(
            row["contact_id"]
            for row in record.runs
            if row["account_id"] in exclusive and row["ended_at"] is None
        )
        self.broken["live"] += [
            f"contact {c} has {n} live runs" for c, n in live.items() if n > 1
        ]

    def _transitions(self, record: Record) -> None:
        """No terminal state is left, but for `unknown` by evidence."""
        for row in _latest(record.deliveries).values():
            before, now = self._states.get(row["id"], "leased"), row["state"]
            allowed = BY_HAND if row["enrollment_id"] is None else NEXT
            if now not in allowed[before]:
                self.broken["transition"].append(f"{row['id']} was {before} and is {now}")
            self._states[row["id"]] = now
        for run in record.runs:
            before, now = self._ended.get(run["id"], ""), run["end_reason"] or ""
            if before and now != before:
                self.broken["transition"].append(f"run {run['id']}: {before}, then {now}")
            self._ended[run["id"]] = now


def judge(record: Record, history: History) -> Broken:
    """Every promise with what broke it, once all that may go has gone."""
    broken = nothing()
    tenants = {tenant.id: tenant for tenant in history.tenants}
    _duplicates(broken, record, history.keyed)
    _books(broken, record)
    _caps(broken, record, tenants)
    _ledger(broken, record, tenants)
    _windows(broken, record, tenants, history)
    _stops(broken, record, history)
    _rests(broken, record, history)
    _erasures(broken, record, history)
    _money(broken, record, tenants)
    _order(broken, record, tenants)
    _versions(broken, record, tenants, history)
    _senders(broken, record, history)
    _twice(broken, record)
    if not history.clock_stepped:
        _early(broken, record, tenants)
        _limits(broken, record, tenants)
    _stuck(broken, record)
    _input(broken, record, history)
    if not history.faults["disk_lost"] and not history.faults["disk_full"]:
        _evidence(broken, record)
    for key, bodies in _bodies(record).items():
        if len(bodies) > 1:
            broken["frozen"].append(f"{key} went out with {len(bodies)} contents")
    return broken


def _latest(deliveries: Sequence[Row]) -> dict[str, Row]:
    """Of each delivery its last row: a step released from `step_failed` begins another."""
    return {row["id"]: row for row in deliveries}


def _by_key(record: Record) -> dict[str, Row]:
    return {row["idempotency_key"]: row for row in record.deliveries}


def _bodies(record: Record) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for request in record.requests:
        found[request.key].add(request.body)
    return found


def _duplicates(broken: Broken, record: Record, keyed: frozenset[str]) -> None:
    """A message is taken at most once; without keys at most one request could have been taken."""
    taken = Counter(one.key for one in record.taken())
    maybe = Counter(
        one.key
        for one in record.requests
        if one.provider not in keyed and one.fate not in DEFINITE
    )
    told = [f"{key} was taken {n} times" for key, n in taken.items() if n > 1]
    told += [f"{key} was risked {n} times" for key, n in maybe.items() if n > 1]
    broken["duplicates"] += [one for one in told if one not in broken["duplicates"]]


def _books(broken: Broken, record: Record) -> None:
    """Record and provider agree on what left."""
    by_key = _by_key(record)
    keys = {one.key for one in record.requests if one.fate not in DEFINITE}
    for key in {one.key for one in record.taken()}:
        state = by_key[key]["state"] if key in by_key else None
        if state not in SURE:
            broken["lost"].append(f"{key} was taken and is {state}")
    arrived = {one.key for one in record.taken()}
    for key, row in by_key.items():
        if row["state"] == "accepted" and key not in arrived:
            broken["lost"].append(f"{key} is accepted and never arrived")
    broken["phantom"] += [
        f"{key} was asked for and is on no record" for key in keys - by_key.keys()
    ]


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local(at: Instant, tenant: Tenant) -> datetime:
    return to_datetime(at).astimezone(_zone(tenant.zone))


def _caps(broken: Broken, record: Record, tenants: dict[int, Tenant]) -> None:
    """By the local day of the lease; where the cap changed, the highest of that day."""
    by_key = _by_key(record)
    sent: Counter[tuple[int, date]] = Counter()
    for request in record.taken():
        row = by_key.get(request.key)
        if row is not None and row["enrollment_id"] is not None and row["channel"] == "email":
            tenant = tenants[row["account_id"]]
            sent[tenant.id, _local(row["leased_at"], tenant).date()] += 1
    for (account, day), n in sent.items():
        most = _cap_of(tenants[account], day)
        if most is not None and n > most:
            broken["cap_excess"].append(f"account {account}, {day}: {n} of {most}")


def _cap_of(tenant: Tenant, day: date) -> int | None:
    if not tenant.caps:
        return None
    days = [(_local(at, tenant).date(), cap) for at, cap in tenant.caps]
    before = [cap for at, cap in days if at < day]
    return max([*before[-1:], *(cap for at, cap in days if at == day)], default=None)


def _ledger(broken: Broken, record: Record, tenants: dict[int, Tenant]) -> None:
    """The cap counts exactly what left or may have left."""
    counted: Counter[tuple[int, date]] = Counter()
    for row in record.of_runs():
        if row["state"] in SURE and row["channel"] == "email":
            tenant = tenants[row["account_id"]]
            counted[tenant.id, _local(row["leased_at"], tenant).date()] += 1
    used = {
        (row["account_id"], row["local_date"]): row["n"]
        for row in record.usage
        if row["source"] == "program" and row["n"]
    }
    for place in sorted(counted.keys() | used.keys()):
        if counted[place] != used.get(place, 0):
            broken["ledger"].append(
                f"account {place[0]}, {place[1]}: used {used.get(place, 0)}, sent {counted[place]}"
            )


def _windows(
    broken: Broken, record: Record, tenants: dict[int, Tenant], history: History
) -> None:
    """The hour of the lease and the hour of the request; of who slept in between, the lease."""
    by_key = _by_key(record)
    for request in record.taken():
        row, tenant = by_key.get(request.key), tenants[request.account_id]
        if row is None or row["enrollment_id"] is None or tenant.window is None:
            continue
        moments = [row["leased_at"]]
        if (
            not request.by_zombie
            and not history.clock_stepped
            and request.fate != "late_accept"
        ):
            moments.append(request.at)
        broken["window"] += [
            f"{request.key} at {format_instant(at)}"
            for at in moments
            if not _is_open(_local(at, tenant), tenant.window)
        ]


def _is_open(local: datetime, window: dict[str, Any]) -> bool:
    opens, closes = int(window["from"][:2]), int(window["to"][:2])
    day = local.date()
    if opens > closes and local.hour < closes:
        day -= timedelta(days=1)  # the part behind midnight belongs to the day before
    inside = (
        opens <= local.hour < closes
        if opens < closes
        else local.hour >= opens or local.hour < closes
    )
    days = window.get("days")
    return inside and (
        days is None
        or (["mon", "tue", "wed", "thu", "fri", "sat", "sun"])[day.weekday()] in days
    )


def _stops(broken: Broken, record: Record, history: History) -> None:
    """Nothing was leased after a stop of its contact, nor sent to a suppressed address."""
    runs, by_key = {row["id"]: row for row in record.runs}, _by_key(record)
    for row in record.of_runs():
        run = runs[row["enrollment_id"]]
        for stop in history.stopped.get(run["contact_id"], ()):
            if run["started_at"] <= stop < row["leased_at"]:
                broken["after_stop"].append(f"{row['id']} leased after the stop")
        ended = history.ended.get(run["id"])
        if ended is not None and ended < row["leased_at"]:
            broken["after_stop"].append(f"{row['id']} leased after its run was ended")
    for request in record.requests:
        since, leased = history.suppressed.get(request.recipient), by_key.get(request.key)
        if since is not None and leased is not None and since < leased["leased_at"]:
            broken["after_stop"].append(f"{request.key} to a suppressed address")


def _rests(broken: Broken, record: Record, history: History) -> None:
    """Nothing was leased while its account or its campaign was paused."""
    runs = {row["id"]: row for row in record.runs}
    for row in record.of_runs():
        campaign = runs[row["enrollment_id"]]["campaign_key"]
        for account, paused, since, until in history.rests:
            ours = row["account_id"] == account and paused in {"", campaign}
            if ours and since < row["leased_at"] <= until:
                broken["after_stop"].append(f"{row['id']} leased while it was paused")


def _erasures(broken: Broken, record: Record, history: History) -> None:
    """The books know no address of a contact that was erased."""
    broken["erasure"] += [
        f"{row['id']} knows {row['to_address']}"
        for row in record.deliveries
        if row["to_address"] in history.erased
    ]


def _money(broken: Broken, record: Record, tenants: dict[int, Tenant]) -> None:
    """What was charged and not refunded is what left, and at most what may have left: who dies
    before it charges may be taken for one who sent. No debt was made."""
    price, sent = Decimal(PRICE), Counter[tuple[int, str]]()
    for row in record.of_runs():
        sent[row["account_id"], row["state"]] += 1
    for tenant in tenants.values():
        lines = [line for line in record.money if line["account_id"] == tenant.id]
        paid, balance = Decimal(0), Decimal(0)
        for line in lines:
            amount = line["amount"] if line["kind"] != "charge" else -line["amount"]
            balance += amount
            paid -= amount if line["kind"] != "deposit" else 0
            if balance < 0:
                broken["ledger"].append(f"account {tenant.id} owes {-balance}")
        least = sent[tenant.id, "accepted"] * price if tenant.sells else Decimal(0)
        most = least + sent[tenant.id, "unknown"] * price if tenant.sells else least
        if not least <= paid <= most:
            broken["ledger"].append(f"account {tenant.id}: paid {paid} of {least} to {most}")


def _limits(broken: Broken, record: Record, tenants: dict[int, Tenant]) -> None:
    """Of a sender's day and of what a contact may be sent, by when each message was let go."""
    strays = {one.key for one in record.requests if _is_stray(one)}
    contacts = {run["id"]: run["contact_id"] for run in record.runs}
    by_day: Counter[tuple[int, int, date]] = Counter()
    by_contact: dict[int, list[Instant]] = defaultdict(list)
    for row in record.of_runs():
        tenant, at = tenants[row["account_id"]], row["sent_at"]
        if row["state"] not in SURE or at is None or row["idempotency_key"] in strays:
            continue
        if row["sender_id"] in tenant.senders and at < (tenant.limited_until or 0):
            by_day[tenant.id, row["sender_id"], _local(at, tenant).date()] += 1
        if "frequency" in tenant.traits:
            by_contact[contacts[row["enrollment_id"]]].append(at)
    for (account, sender, day), n in by_day.items():
        most = tenants[account].most(day)
        if most is not None and n > most:
            broken["cap_excess"].append(f"sender {sender}, {day}: {n} of {most}")
    most, within = FREQUENCY
    for contact, moments in by_contact.items():
        moments.sort()
        for before, after in zip(moments, moments[most:], strict=False):
            if after - before < within:
                told = f"contact {contact}: {most + 1} in {after - before} ms"
                broken["cap_excess"].append(told)


def _senders(broken: Broken, record: Record, history: History) -> None:
    """A contact is written to from one sender of a pool, as long as none is paused."""
    contacts = {run["id"]: run["contact_id"] for run in record.runs}
    resting = {one.id for one in history.tenants if history.rested.intersection(one.senders)}
    found: dict[int, set[int]] = defaultdict(set)
    for row in record.of_runs():
        is_mail = row["channel"] == "email" and row["account_id"] not in resting
        if is_mail and row["state"] in SURE and row["sender_id"] is not None:
            found[contacts[row["enrollment_id"]]].add(row["sender_id"])
    broken["sender"] += [
        f"contact {contact} was written to from {sorted(senders)}"
        for contact, senders in found.items()
        if len(senders) > 1
    ]


def _is_stray(request: Request) -> bool:
    """It arrived when it pleased: nobody promised anything of that instant."""
    return request.fate == "late_accept" or request.by_zombie


def _order(broken: Broken, record: Record, tenants: dict[int, Tenant]) -> None:
    """No mail after one that comes behind it in its campaign, whatever the version."""
    places = _places(record, tenants)
    last: dict[int, str] = {}
    for request in record.requests:
        run = request.enrollment_id
        if run is None or _is_stray(request):
            continue  # it was let go before the run went on, and was long on its way
        before, keys = last.get(run, ""), [edition.keys for edition in places[run]]
        if any(_is_behind(some, request.step_key, before) for some in keys) and not any(
            _is_behind(some, before, request.step_key) for some in keys
        ):
            broken["order"].append(f"run {run}: {request.step_key} came late")
        last[run] = request.step_key


def _places(record: Record, tenants: dict[int, Tenant]) -> dict[int, list[Edition]]:
    """By run, the versions of its campaign."""
    return {
        run["id"]: tenants[run["account_id"]].editions[run["campaign_key"]]
        for run in record.runs
    }


def _is_behind(keys: list[str], one: str, other: str) -> bool:
    return one in keys and other in keys and keys.index(one) < keys.index(other)


def _early(broken: Broken, record: Record, tenants: dict[int, Tenant]) -> None:
    """A step's request is not before its due: the delay counts from the step before it, or, if
    what of that was under way came after it had been taken over, from its lease. Who passed to
    another version has waited for a step of either."""
    places, done = _places(record, tenants), _done(record)
    leased = {
        (row["enrollment_id"], row["step_key"]): row["leased_at"]
        for row in record.of_runs()
        if row["sent_at"] is None  # by whoever took it over
    }
    first: dict[int, dict[str, Instant]] = defaultdict(dict)
    said: dict[int, set[int]] = defaultdict(set)
    for one in record.requests:
        run = one.enrollment_id
        if run is not None and (run, one.step_key) in done and not _is_stray(one):
            first[run].setdefault(one.step_key, one.at)
            said[run].add(read_words(one.body)[0])
    for row in record.runs:
        came, editions = first[row["id"]], places[row["id"]]
        if said[row["id"]] <= {row["version"]}:
            mails = editions[row["version"] - 1].mails
            pairs = [(one, two, delay) for (one, _), (two, delay) in pairwise(mails)]
        else:
            order = sorted(came, key=lambda key: came[key])
            pairs = [
                (a, b, min(_delays(editions, a, b), default=0)) for a, b in pairwise(order)
            ]
        for one, two, delay in pairs:
            if one in came and two in came:
                since = min(came[one], leased.get((row["id"], one), came[one]))
                if came[two] - since < delay - MINUTE:
                    told = f"{two} came {delay - came[two] + since} ms early"
                    broken["early"].append(f"run {row['id']}: {told}")


def _done(record: Record) -> set[tuple[int, str]]:
    """The mails of runs of which it is known what became: of no other did a run wait for the
    step that follows."""
    return {(row["enrollment_id"], row["step_key"]) for row in record.of_runs()}


def _delays(editions: list[Edition], before: str, step: str) -> Iterator[int]:
    """How long one waits at least for *step*, or for one between that was taken out."""
    for edition in editions:
        keys = edition.keys
        if before in keys:
            yield from (delay for _, delay in edition.mails[keys.index(before) + 1 :])
        if step in keys:
            yield dict(edition.mails)[step]


def _versions(
    broken: Broken, record: Record, tenants: dict[int, Tenant], history: History
) -> None:
    """A message says what its step says in a version of its campaign; a run goes from one
    version to a later one at most, and does every step of the one in which it ends."""
    places = _places(record, tenants)
    said: dict[int, dict[str, int]] = defaultdict(dict)
    for request in record.requests:
        if request.enrollment_id is None:
            continue
        version, key = read_words(request.body)
        if (
            key != request.step_key
            or key not in places[request.enrollment_id][version - 1].keys
        ):
            broken["version"].append(f"{request.key} says {request.body!r}")
        said[request.enrollment_id].setdefault(request.step_key, version)
    done = _done(record)
    for run in record.runs:
        versions, editions = said[run["id"]], places[run["id"]]
        told = f"run {run['id']} of version {run['version']}"
        if any(one > run["version"] for one in versions.values()):
            broken["version"].append(f"{told} said {versions}")
        for n, edition in enumerate(editions, 1):
            if n > run["version"] and edition.at < run["started_at"]:
                broken["version"].append(f"{told} began after version {n}")
        if run["end_reason"] != "completed" or _was_completed(run, editions):
            continue
        mails = editions[run["version"] - 1].keys
        own = [mails.index(key) for key, n in versions.items() if n == run["version"]]
        behind = mails[min(own) :] if own else mails[-1:]
        if len(editions) == 1 or all(one.mode != "migrate" for one in editions):
            behind = mails
        lost = [key for key in behind if (run["id"], key) not in done]
        is_barred = history.suppressed or run["contact_id"] in history.stopped
        if "texts" in tenants[run["account_id"]].traits and is_barred:
            lost = [key for key in lost if key != TEXT]  # it is passed over, the mails are not
        if lost:
            broken["lost"].append(f"{told} is completed without {lost}")


def _was_completed(run: Row, editions: list[Edition]) -> bool:
    """Was nothing left for it in a version that was published while it ran?"""
    return any(one.mode == "migrate" and one.at == run["ended_at"] for one in editions)


def _twice(broken: Broken, record: Record) -> None:
    """Each step of a run is sent once, under one delivery."""
    sent = {
        (row["enrollment_id"], row["step_key"], row["id"])
        for row in record.of_runs()
        if row["state"] in SURE
    }
    for (run, step), n in Counter((run, step) for run, step, _ in sent).items():
        if n > 1:
            broken["duplicates"].append(f"run {run}: {step} was sent {n} times")


def _stuck(broken: Broken, record: Record) -> None:
    """Every request is decided, every run has ended or waits for a person, no claim is open."""
    broken["stuck"] += [
        f"run {row['id']} is {row['status']} {row['hold_reason']}"
        for row in record.runs
        if row["ended_at"] is None and row["hold_reason"] not in HOLDS
    ]
    broken["stuck"] += [f"request {r['id']}" for r in record.asked if r["status"] == "pending"]
    broken["stuck"] += [
        f"{r['id']} is leased" for r in record.deliveries if r["state"] == "leased"
    ]


def _input(broken: Broken, record: Record, history: History) -> None:
    """What was asked for twice under one key began one run."""
    runs = Counter((row["contact_id"], row["campaign_key"]) for row in record.runs)
    broken["input"] += [
        f"contact {c}: {n} runs in {key}" for (c, key), n in runs.items() if n > 1
    ]
    broken["lost"] += [
        f"run {row['id']} has {row['end_reason']} and there is no such run"
        for row in record.runs
        if (row["end_reason"] or "").startswith("moved:")
        and (row["contact_id"], row["end_reason"].removeprefix("moved:")) not in runs
    ]
    begun = {row["id"] for row in record.runs}
    broken["lost"] += [
        f"request {row['id']} was accepted, run {row['enrollment_id']} is not there"
        for row in record.asked
        if row["status"] == "accepted" and row["enrollment_id"] not in begun
    ]


def _evidence(broken: Broken, record: Record) -> None:
    """An answer that a daemon has heard ends in the books, whenever and by whomever it was."""
    by_key = _by_key(record)
    for request in record.requests:
        row = by_key.get(request.key)
        heard = request.accepted and request.was_heard
        if heard and row is not None and row["state"] == "unknown":
            broken["evidence"].append(f"{request.key} was answered and is unknown")
