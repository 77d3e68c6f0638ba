"""What happens in a simulation: a seed draws the deployment and then, act by act, its troubles.

Everything is drawn from one `random.Random`, so that a seed is a story that can be told again.
What was done stands in `History`, for the judge. An act never fails: where the deployment is
too broken for it, it does nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Final

import trio

from dripd.campaigns.definition import Definition
from dripd.campaigns.migration import Migration
from dripd.campaigns.version import Version
from dripd.channels.base import EMAIL
from dripd.clock import DAY, HOUR, MINUTE, Instant, Millis
from dripd.engine.calendars import known_zones, open_zone
from dripd.engine.individual import Wish, send_individual
from dripd.engine.settle import move_to
from dripd.engine.sweep import SWEEP_S
from dripd.errors import Conflict, NotFound, StoreError, TimedOut
from dripd.proof.machine import Killed
from dripd.proof.tenant import (
    LIMIT,
    MODES,
    PRICE,
    RAMP,
    WELCOME,
    Edition,
    Mails,
    Tenant,
    draw_mails,
    draw_traits,
)
from dripd.proof.troubled import NODE_TIMEOUT_S, Daemon, Troubled
from dripd.scheduler.calendar import local_date
from dripd.store.memory_doors import Published
from dripd.store.memory_views import ViewRow

ROUNDS: Final = 10

CAP_AFTER: Final = 30
"""The cap of every account that has one, once the troubles are over."""

LATENCIES_S: Final = (0.0, 0.02, 0.3, 1.5)
SLOW: Final = LATENCIES_S[2:]

FOCUS: Final = 6
"""How much more often acts in focus are drawn."""

WAIT_MOST: Final = 15
"""How many looks, 20 ms apart, an act waits for a daemon with something in hand."""

REST_S: Final = 0.5
"""Between two looks at runs that were in flight at a publication."""

UNITS: Final = (
    "admit", "lease", "record", "digest", "load", "park", "unpark", "heads", "make_days",
    "read_versions", "reap", "orphans", "nudge", "look", "sweep", "read_accounts", "testify",
    "at_rest", "fold_usage", "take_turns", "return_turns", "count_sent", "know_addresses",
    "toll", "await_resets", "wake_queued", "set_aside", "start_individual", "end_individual",
    "lost_individuals", "end_lost",
)  # fmt: skip
"""Units whose acknowledgement may be lost."""

WINDOWS: Final = (
    {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"},
    {"from": "22:00", "to": "04:00"},
)

STOPS: Final = (
    "contact", "address", "delivery", "unsubscribe", "suppress", "bounce", "complaint",
)  # fmt: skip
"""How a contact of any account may stop it."""

ZONES: Final = ("UTC", "America/New_York", "Asia/Kolkata")


@dataclass
class History:
    """What was done to the deployment, for the judge."""

    seed: int
    tenants: list[Tenant] = field(default_factory=list)
    stopped: dict[int, list[Instant]] = field(default_factory=dict)
    """Contact to the instants at which a stop of it was committed."""
    suppressed: dict[str, Instant] = field(default_factory=dict)
    """Address to the instant from which it must not be reached."""
    erased: dict[str, Instant] = field(default_factory=dict)
    """Address of an erased contact to the instant at which it was erased."""
    rests: list[tuple[int, str, Instant, Instant]] = field(default_factory=list)
    """Account, campaign ("" = all) and the instants between which it was paused."""
    rested: set[int] = field(default_factory=set)
    """Senders that were paused."""
    ended: dict[int, Instant] = field(default_factory=dict)
    """Runs that an operator ended, and when."""
    keyed: frozenset[str] = frozenset()
    """Providers that honour an idempotency key."""
    clock_stepped: bool = False
    faults: Counter[str] = field(default_factory=Counter)


class Story:
    """One seed's choices: each act is drawn, with its particulars, from the dice."""

    def __init__(
        self,
        world: Troubled,
        dice: random.Random,
        history: History,
        focus: Collection[str] = (),
    ) -> None:
        """*focus*: acts, by name, that are drawn more often than a seed would; and `cap`
        (accounts have one) and `slow` (providers take their time)."""
        self.world, self.dice, self.history, self.focus = world, dice, history, focus
        acts: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._enroll, 5), (self._stop, 4), (self._pass_time, 7), (self._lose_answers, 3),
            (self._kill, 3), (self._freeze, 2), (self._cut_off, 1), (self._go_away, 1),
            (self._lock, 2), (self._misanswer, 2), (self._pause, 1), (self._change_cap, 1),
            (self._fill_disk, 1), (self._lose_disk, 1), (self._publish, 2), (self._interact, 1),
            (self._report_usage, 1), (self._step_clock, 1), (self._rename, 2),
            (self._erase, 1), (self._write, 1), (self._decide, 2), (self._deposit, 1),
            (self._pause_sender, 1), (self._command, 1),
        ]  # fmt: skip
        self.resting: set[tuple[int, str]] = set()
        """Accounts and campaigns that an act has paused and will resume."""
        always = {"pass_time", "enroll", *focus}
        self.acts, self.weights = [], []
        for act, weight in acts:
            name = act.__name__.lstrip("_")
            if name in always or dice.random() < 0.6:
                self.acts.append(act)
                self.weights.append(weight * FOCUS if name in focus else weight)

    def set_up(self) -> None:
        dice, world = self.dice, self.world
        for name, provider in world.providers.items():
            provider.keyed = name == "p1"
            provider.batch = dice.choice((1, 3, 32))
            provider.faulty = dice.choice((0.0, 0.1, 0.4))
            provider.latency_s = dice.choice(SLOW if "slow" in self.focus else LATENCIES_S)
        self.history.keyed = frozenset({"p1"})
        for n in range(dice.choice((1, 1, 2, 3))):
            self._add_tenant(n)

    def _add_tenant(self, n: int) -> None:
        dice, store = self.dice, self.world.store
        key, zone = f"t{n}", dice.choice(ZONES)
        is_capped = dice.random() < 0.5 or "cap" in self.focus
        cap = dice.randint(2, 8) if is_capped else None
        store.add_plan(f"plan-{key}", cap)
        account = store.add_account(key, plan=f"plan-{key}", timezone=zone)
        tenant = Tenant(
            account, key, zone, dice.choice((None, None, *WINDOWS)), dice.choice(("p0", "p1")),
            delays_ms=(dice.randint(1, 40) * HOUR, dice.randint(1, 5) * DAY),
            traits=draw_traits(dice), on_busy=dice.choice(("reject", "queue", "move")),
        )  # fmt: skip
        if cap is not None:
            tenant.caps.append((self.world.clock.now(), cap))
        self._add_senders(tenant)
        if tenant.sells:
            store.set_prices(account, email=PRICE, sms=PRICE)
            store.deposit(account, "0.05")
        self.history.tenants.append(tenant)
        for campaign in tenant.campaigns:
            self.publish(tenant, campaign, tenant.mails)

    def _add_senders(self, tenant: Tenant) -> None:
        """One or a pool of two providers, new or limited, and a number."""
        store = self.world.store
        providers = cycle((tenant.provider, "p1" if tenant.provider == "p0" else "p0"))
        tenant.began = local_date(open_zone(tenant.zone), self.world.clock.now())
        limit = LIMIT if "limit" in tenant.traits else None
        for address, provider in zip(tenant.sales, providers, strict=False):
            sender = store.add_sender(tenant.id, address, provider=provider, daily_limit=limit)
            tenant.senders.append(sender)
            if "ramp" in tenant.traits:
                first, more = RAMP
                ramp = f"{first} +{more}/d from {tenant.began.isoformat()}"
                store.set_sender(tenant.id, sender, warmup=ramp)
        store.add_sender(tenant.id, "+4930123456", channel="sms", provider=tenant.provider)

    def publish(
        self, tenant: Tenant, campaign: str, mails: Mails, mode: str = "pin"
    ) -> tuple[Published, Migration | None]:
        """Every version says something else. Raises `Conflict` where runs cannot pass to it."""
        definition = tenant.definition(campaign, mails)
        number = tenant.ids.get(campaign, 0)
        plan = _migration(tenant, number, definition) if mode == "migrate" else None
        made = self.world.store.add_campaign(
            tenant.id, definition, terminate=mode == "terminate", migration=plan
        )
        tenant.ids[campaign] = made.campaign_id
        edition = Edition(mails, self.world.clock.now(), mode)
        tenant.editions.setdefault(campaign, []).append(edition)
        return made, plan

    async def play(self, look: Callable[[], None]) -> None:
        """The troubles, some of them in the middle of what the daemons do; *look* after each."""
        for _ in range(ROUNDS):
            if self.dice.random() < 0.7:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._meddle)
                    await self._draw()()
            else:
                await self._draw()()
            look()

    def _draw(self) -> Callable[[], Awaitable[None]]:
        return self.dice.choices(self.acts, self.weights)[0]

    async def _meddle(self) -> None:
        """Another act begins at any instant of the one that goes on."""
        await self._a_moment()
        if (act := self._draw()) != self._pass_time:
            await act()

    async def _a_moment(self) -> None:
        for _ in range(self.dice.choice((0, 1, 3, 10, 40))):
            await trio.lowlevel.checkpoint()
        await self.world.pass_by(self.dice.choice((0.0, 0.001, 0.01, 0.1)))

    # what users do

    def _tenant(self) -> Tenant:
        return self.dice.choice(self.history.tenants)

    def _tick(self) -> None:
        """What is committed after this is later: instants tell it from what was before."""
        self.world.clock.set(Instant(self.world.clock.now() + 1))

    async def _enroll(self) -> None:
        tenant, store = self._tenant(), self.world.store
        for _ in range(self.dice.randint(1, 6)):
            name = f"{tenant.key}-c{tenant.n_contacts}"
            tenant.n_contacts += 1
            contact = store.add_contact(
                tenant.id, external_id=name, email=f"{name}@x.test", phone=tenant.phone(name),
                attrs={"work": f"{name}@work.test"},
            )  # fmt: skip
            tenant.contacts[name] = contact
            if "lists" in tenant.traits:
                store.list_add(tenant.id, contact, "leads")
            for campaign in tenant.campaigns:
                if campaign != WELCOME and self.dice.random() < 0.5:
                    continue
                for _ in range(
                    2 if self.dice.random() < 0.1 else 1
                ):  # the same one, told twice
                    key = f"k-{campaign}-{name}"
                    store.enroll(tenant.id, campaign, name, idempotency_key=key)
        await self.world.pass_by(self.dice.choice((0.0, 0.05, 1.0)))

    def _some(self, tenant: Tenant) -> str | None:
        """A contact of the account by its name, if it has any."""
        return self.dice.choice(list(tenant.contacts)) if tenant.contacts else None

    async def _stop(self) -> None:
        tenant = self._tenant()
        name = self._some(tenant)
        if name is None:
            return
        contact, address = tenant.contacts[name], tenant.address(name)
        how = self.dice.choice([*STOPS, *sorted(tenant.traits & {"goal", "lists", "texts"})])
        if how == "texts":
            self._text_stop(tenant, name)
        elif how == "suppress":
            self.world.store.suppress(tenant.id, "email", address.upper())
            self.history.suppressed.setdefault(address, self.world.clock.now())
        elif self._tell(tenant, name, how):
            self.history.stopped.setdefault(contact, []).append(self.world.clock.now())
        self._tick()
        self.history.faults["stops"] += 1

    def _text_stop(self, tenant: Tenant, name: str) -> None:
        """STOP, by text: the number is not to be reached again."""
        phone = tenant.phone(name)
        self.world.store.event(tenant.id, "unsubscribe", address=phone, payload={"via": "sms"})
        self.history.suppressed.setdefault(phone, self.world.clock.now())

    def _tell(self, tenant: Tenant, name: str, how: str) -> bool:
        """A contact does what ends its runs. False: not surely all of them."""
        store, contact, address = self.world.store, tenant.contacts[name], tenant.address(name)
        before = len(self.history.stopped.get(contact, ()))
        sent = [
            row["id"]
            for row in store.deliveries()
            if row["to_address"] == address and row["state"] == "accepted"
        ]
        match how:
            case "goal" | "lists" if before:
                return False
            case "goal":
                store.tag(tenant.id, contact, "won")
            case "lists":
                store.list_remove(tenant.id, contact, "leads")
            case "bounce":
                store.event(tenant.id, how, contact_id=contact, payload={"type": "hard"})
            case "delivery" if sent:
                store.event(tenant.id, "reply", delivery_id=self.dice.choice(sent))
                return len(tenant.campaigns) == 1
            case "address":
                store.event(tenant.id, "reply", address=address)
                return bool(sent) or "mapped" not in tenant.traits
            case _:
                kind = how if how in {"unsubscribe", "complaint"} else "reply"
                for _ in range(self.dice.choice((1, 1, 2))):  # the same one, told twice
                    store.event(
                        tenant.id, kind, contact_id=contact, dedup_key=f"{name}-{before}"
                    )
        return True

    async def _erase(self) -> None:
        """A contact is forgotten, whatever is in flight to it."""
        tenant = self._tenant()
        name = self._some(tenant)
        if name is None:
            return
        contact = tenant.contacts.pop(name)
        self.world.store.erase_contact(tenant.id, contact)
        now = self.world.clock.now()
        self.history.stopped.setdefault(contact, []).append(now)
        for address in (f"{name}@x.test", f"{name}@work.test", tenant.phone(name)):
            self.history.erased[address] = now
        self._tick()
        self.history.faults["erased"] += 1

    async def _write(self) -> None:
        """Somebody writes to a contact by hand, and does not wait for the answer."""
        tenant, movers = self._tenant(), self.world.awake()
        name = self._some(tenant)
        if name is None or not movers:
            return
        wish = Wish(
            account_id=tenant.id, contact_id=tenant.contacts[name], channel=EMAIL, sender="",
            subject="Hi", text="Hello", html="", requested_by="ann",
        )  # fmt: skip
        self.world.go_on(self._by_hand, self.dice.choice(movers), wish)
        self.history.faults["by_hand"] += 1

    async def _by_hand(self, daemon: Daemon, wish: Wish) -> None:
        with suppress(StoreError, Conflict, NotFound, Killed):
            await send_individual(daemon.pipe, daemon.channels, "memory", wish)

    async def _decide(self) -> None:
        """Somebody looks at what waits for a person."""
        for task in self.world.store.task_rows():
            if task["state"] == "open" and self.dice.random() < 0.5:
                state = self.dice.choice(("done", "done", "cancelled"))
                self.world.store.close_task(task["account_id"], task["id"], state)

    async def _deposit(self) -> None:
        tenant = self._tenant()
        if tenant.sells:
            self.world.store.deposit(tenant.id, f"0.0{self.dice.randint(1, 9)}")

    async def _interact(self) -> None:
        tenant = self._tenant()
        if tenant.contacts:
            contact = self.dice.choice(list(tenant.contacts.values()))
            kind = self.dice.choice(("open", "click", "interaction"))
            self.world.store.event(tenant.id, kind, contact_id=contact)

    async def _rename(self) -> None:
        """Those whose message is tried again, and others, get another name."""
        tenant = self._tenant()
        for contact in tenant.contacts.values():
            name = f"Ann {self.dice.randint(1, 9)}"
            self.world.store.set_attrs(tenant.id, contact, first_name=name)

    async def _pass_time(self) -> None:
        hours = self.dice.choice((0, 1, 5, 24, 60))
        await self._advance(hours * HOUR + self.dice.randint(0, MINUTE))

    async def _advance(self, by_ms: int, patience_s: float = 5.0) -> bool:
        """Move the clock through a daemon that lives. False: it did not settle."""
        movers = self.world.awake()
        if not movers:
            await self.world.pass_by(0.5)
            return False
        mover = movers[0]
        done = False

        async def move() -> None:
            nonlocal done
            with suppress(StoreError, TimedOut, Conflict, Killed):
                await move_to(mover.pipe, Instant(self.world.clock.now() + by_ms))
                done = True
            scope.cancel()

        with trio.move_on_after(
            patience_s
        ) as scope:  # its daemon may end, and never come to an end
            async with trio.open_nursery() as nursery:
                nursery.start_soon(move)
                await mover.gone.wait()
                scope.cancel()
        return done

    async def _pause(self) -> None:
        tenant, store, dice = self._tenant(), self.world.store, self.dice
        campaign = dice.choice(("", "", *tenant.campaigns))
        if (tenant.id, campaign) in self.resting:
            return
        self.resting.add((tenant.id, campaign))
        set_to = partial(store.set_account, tenant.id)
        if campaign:
            set_to = partial(store.set_campaign, tenant.id, tenant.ids[campaign])
        set_to(status="paused")
        since = self.world.clock.now()
        self._tick()
        await self.world.pass_by(dice.choice((0.0, 0.5, 3.0)))
        if dice.random() < 0.3:
            await self._advance(dice.randint(1, 30) * HOUR)
        self.history.rests.append((tenant.id, campaign, since, self.world.clock.now()))
        self._tick()
        set_to(status="active")
        self.resting.remove((tenant.id, campaign))
        self.history.faults["paused"] += 1

    async def _pause_sender(self) -> None:
        tenant = self._tenant()
        sender = self.dice.choice(tenant.senders)
        self.history.rested.add(sender)
        self.world.store.set_sender(tenant.id, sender, status="paused")
        await self.world.pass_by(self.dice.choice((0.0, 0.5, 3.0)))
        self.world.store.set_sender(tenant.id, sender, status="active")
        self.history.faults["sender_paused"] += 1

    async def _change_cap(self) -> None:
        tenant = self._tenant()
        if tenant.caps:
            self._set_cap(tenant, self.dice.randint(1, 10))
            self.history.faults["cap_changed"] += 1

    def _set_cap(self, tenant: Tenant, cap: int) -> None:
        self.world.store.add_plan(f"plan-{tenant.key}", cap)
        tenant.caps.append((self.world.clock.now(), cap))

    async def _publish(self) -> None:
        """A campaign is edited while it runs, whatever is in flight."""
        tenant, dice = self._tenant(), self.dice
        campaign, mode = dice.choice(tenant.campaigns), dice.choice(MODES)
        mails = draw_mails(dice, tenant.editions[campaign][-1].mails)
        live = self._live(tenant, campaign) if mode == "terminate" else []
        try:
            made, plan = self.publish(tenant, campaign, mails, mode)
        except Conflict:  # somebody would be sent a message again
            return
        if plan is not None:
            self.world.go_on(self._migrate_rest, tenant.id, made, plan)
        self._ended(live)
        self.history.faults["published"] += 1

    async def _migrate_rest(self, account: int, made: Published, plan: Migration) -> None:
        with suppress(Conflict):
            while self.world.store.migrate_rest(account, made, plan):
                await self.world.pass_by(REST_S)

    async def _command(self) -> None:
        """An operator stops runs: one, those of a contact, of a campaign, of the account."""
        tenant, dice = self._tenant(), self.dice
        runs = self._live(tenant)
        if runs:
            one = dice.choice(runs)
            alike = dice.choice(("id", "contact_id", "campaign_key", "account_id"))
            chosen = [run for run in runs if run[alike] == one[alike]]
            self.world.store.stop_runs(tenant.id, [run["id"] for run in chosen])
            self._ended(chosen)
            self.history.faults["stopped"] += 1

    def _live(self, tenant: Tenant, campaign: str = "") -> list[ViewRow]:
        """The live runs of an account, or of one of its campaigns."""
        return [
            run
            for run in self.world.store.enrollments()
            if run["account_id"] == tenant.id
            and run["ended_at"] is None
            and campaign in {"", run["campaign_key"]}
        ]

    def _ended(self, runs: list[ViewRow]) -> None:
        now = self.world.clock.now()
        self.history.ended.update((run["id"], now) for run in runs)
        self._tick()

    async def _report_usage(self) -> None:
        self.world.store.record_usage(self._tenant().key, "bulk", self.dice.randint(1, 3))

    # what goes wrong

    async def _lose_answers(self) -> None:
        for _ in range(self.dice.randint(1, 3)):
            unit = self.dice.choice(UNITS)
            self.world.store.fail_next(unit, self.dice.choice(("before", "after")))
            self.history.faults["answer_lost"] += 1

    async def _victim(self) -> Daemon | None:
        """A daemon, soon, and one that has steps in hand where there is any."""
        for _ in range(WAIT_MOST):
            busy = [one for one in self.world.awake() if one.pipe.unsent]
            if busy or not self.world.awake():
                break
            await self.world.pass_by(0.02)
        await self._a_moment()
        living = self.world.living()
        busy = [one for one in living if one.pipe.unsent]
        return self.dice.choice(busy or living) if living else None

    async def _kill(self) -> None:
        """A daemon dies in the middle of what it does; another one is started."""
        victim = await self._victim()
        if victim is not None:
            await self.world.kill(victim)
            self.history.faults["kill9"] += 1
            await self.world.start_somehow()

    async def _freeze(self) -> None:
        """SIGSTOP, mostly beyond the limit after which it counts as dead."""
        victim = await self._victim()
        if victim is None or not victim.is_awake:
            return
        victim.machine.freeze()
        if self.dice.random() < 0.5:
            await self.world.pass_by(self.dice.choice((0.6, 1.2, 3.0)) * NODE_TIMEOUT_S)
        else:
            await self._haunt()
        victim.machine.thaw()
        self.history.faults["sigstop"] += 1

    async def _haunt(self) -> None:
        """Who sleeps wakes when others have taken over, and have the next steps in hand."""
        await self.world.pass_by(NODE_TIMEOUT_S + SWEEP_S)
        latencies = [one.latency_s for one in self.world.providers.values()]
        for provider in self.world.providers.values():
            provider.latency_s = SLOW[-1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._advance, self._tenant().delays_ms[0] + MINUTE)
            for _ in range(8 * WAIT_MOST):
                if any(one.pipe.unsent for one in self.world.awake()):
                    break
                await self.world.pass_by(0.02)
            nursery.cancel_scope.cancel()
        for provider, latency in zip(self.world.providers.values(), latencies, strict=True):
            provider.latency_s = latency

    async def _cut_off(self) -> None:
        victim = await self._victim()
        if victim is None:
            return
        victim.machine.cut_off = True
        await self.world.pass_by(self.dice.choice((0.1, 0.5, 2.0)) * NODE_TIMEOUT_S)
        victim.machine.cut_off = False
        self.history.faults["cut_off"] += 1

    async def _go_away(self) -> None:
        self.world.store.away = True
        await self.world.pass_by(self.dice.choice((0.1, 1.0, 5.0)))
        self.world.store.away = False
        self.history.faults["database_away"] += 1

    async def _lock(self) -> None:
        store = self.world.store
        runs = [row["id"] for row in store.enrollments()]
        picked = self.dice.sample(runs, min(len(runs), 3))
        with ExitStack() as stack:
            stack.enter_context(store.lock_rows(picked))
            if self.dice.random() < 0.3:
                stack.enter_context(store.lock_days([self._tenant().id]))
            await self.world.pass_by(self.dice.choice((0.1, 2.0)))
        self.history.faults["locked"] += 1

    async def _misanswer(self) -> None:
        provider = self.world.providers[self.dice.choice(("p0", "p1"))]
        provider.faulty = self.dice.choice((0.0, 0.2, 0.6))
        self.history.faults["provider"] += 1

    async def _fill_disk(self) -> None:
        victim = await self._victim()
        if victim is not None:
            victim.journal.full = True
            await self.world.pass_by(self.dice.choice((0.1, 1.0)))
            victim.journal.full = False
            self.history.faults["disk_full"] += 1

    async def _lose_disk(self) -> None:
        self.world.disk.clear()
        self.history.faults["disk_lost"] += 1

    async def _step_clock(self) -> None:
        """The database's clock jumps ahead, over whatever should have been visited."""
        by_ms = self.dice.choice((1_000, MINUTE, HOUR, DAY))
        with suppress(StoreError):
            await self.world.store.move_clock(Instant(self.world.clock.now() + by_ms))
        self.history.clock_stepped = True
        self.history.faults["clock_step"] += 1

    async def mend(self) -> None:
        """The faults stop; what is due and allowed must drain."""
        world = self.world
        world.store.fail_no_more()
        for provider in world.providers.values():
            provider.faulty = provider.latency_s = 0.0
        await world.pass_by(NODE_TIMEOUT_S + SWEEP_S + 1)
        if not world.living():
            await world.start_somehow()
        world.store.age_claims(Millis(10 * MINUTE))
        await world.pass_by(SWEEP_S + 0.5)
        for tenant in self.history.tenants:
            self._let(tenant)
        for days in (1, 60):
            await self._advance(days * DAY, patience_s=600)
        while self._settle_tasks():
            await self._advance(60 * DAY, patience_s=600)

    def _let(self, tenant: Tenant) -> None:
        """Nothing holds its runs any more that would take months to let go."""
        store = self.world.store
        if tenant.caps:
            self._set_cap(tenant, CAP_AFTER)
        if not tenant.traits.isdisjoint({"limit", "ramp"}):
            for sender in tenant.senders:
                store.set_sender(tenant.id, sender, daily_limit=None, warmup=None)
            tenant.limited_until = self.world.clock.now()
        if tenant.sells:
            store.deposit(tenant.id, "100")

    def _settle_tasks(self) -> bool:
        """All that waits for a person is let go. False: nothing did."""
        open_ = [row for row in self.world.store.task_rows() if row["state"] == "open"]
        for task in open_:
            self.world.store.close_task(task["account_id"], task["id"], "done")
        return bool(open_)


def _migration(tenant: Tenant, campaign_id: int, definition: Definition) -> Migration:
    version = Version(
        cv_id=0, account_id=tenant.id, campaign_id=campaign_id,
        campaign_key=definition.campaign, owner="", definition=definition,
    )  # fmt: skip
    zones = known_zones()
    return Migration(
        definition=definition, map={},
        lane=lambda step_no, zone, flags: version.lane_key(step_no, zone, zones, flags),
    )  # fmt: skip
