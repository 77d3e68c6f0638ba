"""Do the promises hold under faults that only a simulation can play, and play again?

Several daemons' real stages on one `MemoryStore`, in virtual time and with a scheduler that
draws from the seed: the same seed is the same run, to the last switch of tasks. Daemons are
cut, acknowledgements lost before and after the commit, rows and days locked, the database
away, providers ambiguous. Then all is mended, two months pass, and the views are judged by
`judge`, which knows nothing of how they came about.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import trio
import trio.testing

from dripd.clock import DAY, HOUR, MINUTE, Instant, Millis, format_instant
from dripd.errors import StoreError, TimedOut
from dripd.proof.virtual import Engine, Virtual, virtual

DAEMONS: Final = 3
ROUNDS: Final = 25

UNITS: Final = (
    "admit", "lease", "record", "digest", "load", "park", "unpark", "heads", "make_days",
    "read_versions", "reap", "orphans", "nudge", "look",
)  # fmt: skip
"""Units whose acknowledgement may be lost."""

PROMISES: Final = (
    "lost", "duplicates", "cap_excess", "window", "after_stop", "order", "stuck", "phantom",
)  # fmt: skip

WINDOW: Final = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}


@dataclass
class History:
    """What was done to the deployment, for the judge."""

    seed: int
    cap: int | None = None
    windowed: bool = False
    replied: dict[int, Instant] = field(default_factory=dict)
    """Contact to the instant at which its first reply was committed."""
    faults: Counter[str] = field(default_factory=Counter)


def simulate(seed: int) -> tuple[History, dict[str, list[str]]]:
    """Play *seed*; what was done, and promise to what broke it (empty lists where it holds)."""
    scheduler = trio._core._run
    vars(scheduler)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    scheduler._r.seed(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(_play, seed, clock=clock)


async def _play(seed: int) -> tuple[History, dict[str, list[str]]]:
    dice, history = random.Random(seed), History(seed)
    async with virtual(daemons=DAEMONS) as world:
        story = _Story(world, dice, history)
        story.set_up()
        for _ in range(ROUNDS):
            await dice.choices(story.acts, story.weights)[0]()
        await story.mend()
        return history, judge(world, history)


class _Story:
    """One seed's choices: each act is drawn, with its particulars, from the dice."""

    def __init__(self, world: Virtual, dice: random.Random, history: History) -> None:
        self.world, self.dice, self.history = world, dice, history
        self.contacts: dict[str, int] = {}
        chosen: list[tuple[Callable[[], Any], int]] = [
            (self._enroll, 5), (self._reply, 3), (self._pass_time, 6), (self._lose_answer, 3),
            (self._cut, 2), (self._go_away, 1), (self._lock, 2), (self._misanswer, 2),
            (self._pause, 1),
        ]  # fmt: skip
        kept = [one for one in chosen if one[0] == self._pass_time or dice.random() < 0.8]
        self.acts = [act for act, _ in kept]
        self.weights = [weight for _, weight in kept]

    def set_up(self) -> None:
        dice, store = self.dice, self.world.store
        if dice.random() < 0.5:
            self.history.cap = dice.randint(3, 12)
            store.add_plan("simulated", self.history.cap)
            store.set_account(self.world.acme, plan="simulated")
        self.history.windowed = dice.random() < 0.4
        mail = {"do": "email", "subject": "Hi", "text": "Hello"}
        self.world.campaign(
            {"key": "mark", "do": "tag_add", "tag": "in"},
            {"key": "one", **mail},
            {"key": "two", "delay": f"{dice.randint(1, 40)}h", **mail},
            {"key": "three", "delay": f"{dice.randint(1, 5)}d", **mail},
            {"key": "over", "do": "list_add", "list": "done", "create_if_missing": True},
            window=WINDOW if self.history.windowed else "off",
            exit_rules=[{"on": "reply"}],
        )

    async def _enroll(self) -> None:
        for _ in range(self.dice.randint(1, 6)):
            name = f"c{len(self.contacts)}"
            self.contacts[name] = self.world.contact(name)
            self.world.store.enroll(self.world.acme, "welcome", name)
        await self.world.pass_by(self.dice.choice((0.0, 0.05, 1.0)))

    async def _reply(self) -> None:
        if not self.contacts:
            return
        contact = self.contacts[self.dice.choice(list(self.contacts))]
        if self.dice.random() < 0.5:
            address = next(n for n, c in self.contacts.items() if c == contact) + "@x.test"
            self.world.store.event(self.world.acme, "reply", address=address)
        else:
            self.world.store.event(self.world.acme, "reply", contact_id=contact)
        self.history.replied.setdefault(contact, self.world.clock.now())

    async def _pass_time(self) -> None:
        hours = self.dice.choice((0, 1, 5, 24, 60))
        to = Instant(self.world.clock.now() + hours * HOUR + self.dice.randint(0, MINUTE))
        with suppress(StoreError, TimedOut):
            await self.world.advance_to(format_instant(to))

    async def _lose_answer(self) -> None:
        unit = self.dice.choice(UNITS)
        self.world.store.fail_next(unit, self.dice.choice(("before", "after")))
        self.history.faults["answer_lost"] += 1

    async def _cut(self) -> None:
        """A daemon dies in the middle of what it does; another one is started."""
        victims = [one for one in self._alive() if one is not self.world.engines[0]]
        if not victims:
            return
        await self.world.pass_by(self.dice.choice((0.0, 0.001, 0.01, 0.1)))
        victim = self.dice.choice(victims)
        await victim.cut()
        self.world.store.silence(victim.pipe.incarnation, DAY)
        with suppress(StoreError):
            await self.world.start()
        self.history.faults["daemon_cut"] += 1

    def _alive(self) -> list[Engine]:
        return [one for one in self.world.engines if not one.gone.is_set()]

    async def _go_away(self) -> None:
        self.world.store.away = True
        await self.world.pass_by(self.dice.choice((0.1, 1.0, 8.0)))
        self.world.store.away = False
        self.history.faults["database_away"] += 1

    async def _lock(self) -> None:
        store = self.world.store
        runs = [row["id"] for row in store.enrollments()]
        picked = self.dice.sample(runs, min(len(runs), 3))
        with ExitStack() as stack:
            stack.enter_context(store.lock_rows(picked))
            if self.dice.random() < 0.3:
                stack.enter_context(store.lock_days([self.world.acme]))
            await self.world.pass_by(self.dice.choice((0.1, 2.0)))
        self.history.faults["locked"] += 1

    async def _misanswer(self) -> None:
        answer = self.dice.choice(("ambiguous", "temporary", "throttle"))
        self.world.store.sink_rule("%", answer, times=self.dice.randint(1, 3))
        self.history.faults[answer] += 1

    async def _pause(self) -> None:
        self.world.store.set_account(self.world.acme, status="paused")
        await self.world.pass_by(self.dice.choice((0.0, 0.5, 3.0)))
        self.world.store.set_account(self.world.acme, status="active")
        self.history.faults["paused"] += 1

    async def mend(self) -> None:
        """The faults stop; what is due and allowed must drain."""
        await self.world.pass_by(30)
        self.world.store.age_claims(Millis(10 * MINUTE))
        await self.world.pass_by(5)
        for days in (1, 60):
            to = Instant(self.world.clock.now() + days * DAY)
            await self.world.advance_to(format_instant(to))


def judge(world: Virtual, history: History) -> dict[str, list[str]]:
    """Every promise with what broke it, from the sink's record and the views alone."""
    broken: dict[str, list[str]] = {name: [] for name in PROMISES}
    received = world.store.sink_messages
    deliveries = {
        (row["enrollment_id"], row["step_key"]): row for row in world.store.deliveries()
    }
    runs = {row["id"]: row for row in world.store.enrollments()}
    _judge_messages(broken, received, deliveries)
    _judge_times(broken, received, history)
    for place, row in deliveries.items():
        replied = history.replied.get(runs[place[0]]["contact_id"])
        if replied is not None and runs[place[0]]["started_at"] <= replied < row["leased_at"]:
            broken["after_stop"].append(f"{place} leased after the reply")
    broken["stuck"] += [
        f"run {row['id']} is {row['status']} {row['hold_reason']}"
        for row in runs.values()
        if row["ended_at"] is None
    ]
    broken["stuck"] += [
        f"request {r['id']}" for r in world.store.requests() if r["status"] == "pending"
    ]
    return broken


def _judge_messages(
    broken: dict[str, list[str]],
    received: Sequence[Mapping[str, Any]],
    deliveries: Mapping[tuple[int, str], Mapping[str, Any]],
) -> None:
    count = Counter((row["enrollment_id"], row["step_key"]) for row in received)
    broken["duplicates"] += [f"{place} came {n} times" for place, n in count.items() if n > 1]
    for place in count:
        state = deliveries[place]["state"] if place in deliveries else None
        if state not in {"accepted", "unknown"}:
            broken["phantom"].append(f"{place} arrived and is {state}")
    for place, row in deliveries.items():
        if row["state"] == "accepted" and place not in count:
            broken["lost"].append(f"{place} is accepted and never arrived")
    order = {"one": 1, "two": 2, "three": 3}
    seen: dict[int, int] = defaultdict(int)
    for row in received:
        if order[row["step_key"]] < seen[row["enrollment_id"]]:
            broken["order"].append(f"run {row['enrollment_id']}: {row['step_key']} came late")
        seen[row["enrollment_id"]] = order[row["step_key"]]


def _judge_times(
    broken: dict[str, list[str]], received: Sequence[Mapping[str, Any]], history: History
) -> None:
    """The cap by UTC days, the account's zone; the window on the hours of working days."""
    days = Counter(row["received_at"] // DAY for row in received)
    if history.cap is not None:
        broken["cap_excess"] += [
            f"day {day}: {n} of {history.cap}" for day, n in days.items() if n > history.cap
        ]
    for row in received if history.windowed else ():
        at = row["received_at"]
        weekday, hour = (at // DAY + 3) % 7, at % DAY // HOUR
        if weekday > 4 or not 9 <= hour < 17:
            broken["window"].append(f"run {row['enrollment_id']} at {format_instant(at)}")


def run(seeds: range, say: Callable[[str], None]) -> dict[str, object]:
    """Play every seed of *seeds*; sums, and the seeds that broke a promise, each told to *say*."""
    total: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failed: list[int] = []
    for seed in seeds:
        history, broken = simulate(seed)
        faults += history.faults
        found = {name: told for name, told in broken.items() if told}
        total.update({name: len(told) for name, told in found.items()})
        if found:
            failed.append(seed)
            say(f"seed {seed}: {found}")
    return {
        "seeds": len(seeds),
        "first_seed": seeds.start,
        "faults": dict(faults),
        **{name: total[name] for name in PROMISES},
        "failed_seeds": failed,
        "ok": not failed,
    }
