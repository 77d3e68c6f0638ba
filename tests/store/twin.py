"""A store beside a model of it: what was done to both must show in both.

The model is a dictionary of live runs, a count and the claims; it knows nothing of lanes,
locks or statements. Every act does the same to both and compares what came back, and `agree`
compares all that can be seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from dripd.campaigns.enrollment import Change, Leased, Next, RunStatus
from dripd.clock import HOUR, Instant
from dripd.policy.inbox_rows import EndRun, EventRow, InboxEffect, RunRow
from tests.store.suite_inbox import EVERY_KIND
from tests.store.world import NODE, T0, Scene, ends, start_all

CAP = 5

STEPS = 3


@dataclass
class Life:
    """A run whose due step is there; `stopped`: it has ended while it was leased."""

    contact: int
    due_at: Instant
    step_no: int = 0
    claim: int | None = None
    stopped: bool = False


@dataclass
class Twin:
    """One account of a store, and what the model thinks of it."""

    scene: Scene
    now: Instant = T0
    lives: dict[int, Life] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    used: int = 0
    told: list[int] = field(default_factory=list)
    """Contacts whose reply waits in the inbox."""
    nodes: list[int] = field(default_factory=lambda: [NODE])
    dead: list[int] = field(default_factory=list)
    owner: dict[int, int] = field(default_factory=dict)
    """Claim to the daemon that holds it."""
    hands: list[Leased] = field(default_factory=list)
    """Whatever any daemon was ever given and has not recorded, taken over or not."""

    async def enroll(self, n: int, _: int) -> None:
        scene = self.scene
        for _ in range(1 + n % 2):
            contact = await scene.contact(f"p{len(scene.contacts)}")
            await scene.world.enroll(scene.account, "c", contact)
            started = (await scene.admit(start_all(scene.lane, self.now))).started

            assert 1 == len(started)
            self.lives[started[0].enrollment_id] = Life(contact, self.now)

    async def lease(self, who: int, most: int) -> None:
        """Everything that stands there is asked for, due or not, leased or not."""
        nodes = self.nodes + self.dead
        node = nodes[who % len(nodes)]
        keys = sorted(await self.scene.keys(), key=lambda key: key.enrollment_id)
        keys = keys[: 1 + most % 6]
        free = [key.enrollment_id for key in keys if self._is_free(key.enrollment_id)]
        result = await self.scene.lease(keys, incarnation=node)
        granted = [leased.enrollment_id for leased in result.granted]

        assert (free[: CAP - self.used] if node in self.nodes else []) == sorted(granted)
        asked = {key.enrollment_id for key in keys}
        assert asked - set(granted) == {key.enrollment_id for _, key, _ in result.refused}
        self.used += len(granted)
        self.owner[result.claim_id] = node
        self.hands += result.granted
        for run in granted:
            self.lives[run].claim = result.claim_id

    def _is_free(self, run: int) -> bool:
        life = self.lives[run]
        return life.claim is None and life.due_at <= self.now and life.contact not in self.told

    async def record(self, which: int, how: int) -> None:
        """An answer comes back: the message was accepted, or provably did not leave."""
        if not self.hands:
            return
        leased = self.hands.pop(which % len(self.hands))
        life = self.lives.get(leased.enrollment_id)
        holds = life is not None and life.claim == leased.claim_id
        change = self._change(leased, sent=how % 3 > 0)
        done = await self.scene.record(change)

        assert ([] if holds else [leased.enrollment_id]) == done.late
        if life is None or not holds:
            return
        assert ([leased.enrollment_id] if life.stopped else []) == done.stopped
        self.used -= change.refund
        if life.stopped or change.next is None:
            del self.lives[leased.enrollment_id]
            self.ended.setdefault(leased.enrollment_id, "completed")
        else:
            step = change.next
            life.claim, life.due_at, life.step_no = None, step.due_at, step.step_no

    def _change(self, leased: Leased, *, sent: bool) -> Change:
        due_at = Instant(self.now + HOUR)
        if not sent:
            again = self.scene.tries_again(leased)
            assert again.next is not None
            return replace(again, next=replace(again.next, due_at=due_at))
        if leased.step_no == STEPS - 1:
            return ends(leased)
        step = Next(
            due_at=due_at, lane=self.scene.next_lane, step_no=leased.step_no + 1,
            seq=leased.seq + 1,
        )  # fmt: skip
        return self.scene.goes_on(leased, next=step)

    async def reply(self, which: int, _: int) -> None:
        contacts = self.scene.contacts
        if contacts:
            contact = contacts[which % len(contacts)]
            await self.scene.world.event(self.scene.account, "reply", contact_id=contact)
            self.told.append(contact)

    async def digest(self, _: int, __: int) -> None:
        """The inbox ends the runs of those who have replied."""

        def decide(
            events: Sequence[EventRow], runs: Sequence[RunRow], _now: Instant
        ) -> list[InboxEffect]:
            replied = {
                one for event in events if event.kind == "reply" for one in event.contact_ids
            }
            return [
                EndRun(run.enrollment_id, run.contact_id, RunStatus.REMOVED, "reply")
                for run in runs
                if run.contact_id in replied
            ]

        store, account = self.scene.store, self.scene.account
        while True:
            done = await store.digest(account, 100, decide, EVERY_KIND)
            if done is None or done.taken == 0:
                break
        for run, life in list(self.lives.items()):
            if life.contact in self.told and not life.stopped:
                self.ended[run] = "reply"
                life.stopped = True
                if life.claim is None:
                    del self.lives[run]
        self.told.clear()

    async def take_over(self, who: int, _: int) -> None:
        """A daemon falls silent and another one takes its steps over, under new claims."""
        store = self.scene.store
        dead, heir = self.nodes.pop(who % len(self.nodes)), NODE + len(self.dead) + 1
        self.dead.append(dead)
        await store.join(heir, "node", "0")
        self.nodes.append(heir)
        await self.scene.world.silence(dead)
        adopted = await store.reap(heir, 10_000)
        orphans = await store.orphans(heir, [], adopted)
        lost = {run for run, life in self.lives.items() if self._owner_of(life) == dead}

        assert lost == {leased.enrollment_id for leased in orphans}
        assert self.owner.keys().isdisjoint(leased.claim_id for leased in orphans)
        for leased in orphans:
            self.lives[leased.enrollment_id].claim = leased.claim_id
            self.owner[leased.claim_id] = heir
        self.hands += orphans

    def _owner_of(self, life: Life) -> int | None:
        return None if life.claim is None else self.owner[life.claim]

    async def pass_time(self, hours: int, _: int) -> None:
        """Within the day: its cap stays what it is."""
        self.now = Instant(min(self.now + (1 + hours % 2) * HOUR, T0 + 11 * HOUR))
        await self.scene.world.set_now(self.now)

    async def agree(self) -> None:
        """All that can be seen of the store is what the model has."""
        world = self.scene.world
        seen = {
            row["enrollment_id"]: (
                row["due_at"], row["step_no"], row["leased"], row["attempt"] < 0
            )
            for row in await world.due_steps()
        }  # fmt: skip
        wanted = {
            run: (life.due_at, life.step_no, life.claim is not None, life.stopped)
            for run, life in self.lives.items()
        }

        assert wanted == seen
        ends_of = {row["id"]: row["end_reason"] for row in await world.enrollments()}
        assert self.ended == {run: end for run, end in ends_of.items() if end is not None}
        assert self.used == await self.scene.used()


Act = tuple[str, int, int]

ACTS = ("enroll", "lease", "record", "reply", "digest", "take_over", "pass_time")


async def play(scene: Scene, acts: Sequence[Act]) -> None:
    """Do *acts* to the store and to the model; they agree after each."""
    twin = Twin(scene)
    for name, a, b in acts:
        act: Callable[[int, int], Awaitable[None]] = getattr(twin, name)
        await act(a, b)
        await twin.agree()
