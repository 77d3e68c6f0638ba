"""Admission, feed and days: what every store does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
import trio

from dripd.campaigns.definition import Content
from dripd.campaigns.enrollment import End, LaneClass, LaneKey, RunStatus
from dripd.clock import DAY, HOUR, MINUTE, Instant
from dripd.policy.admission_rows import Decision, Leave, Quote, RequestRow
from dripd.spans import Spans
from dripd.store.protocol import Decide, Head, Outage, ParkRow, Standstill
from tests.store.suite_record import a_task
from tests.store.world import (
    NODE,
    T0,
    TODAY,
    TOMORROW,
    World,
    campaign,
    day_row,
    ends,
    open_scene,
    reject_all,
    start_all,
)


class Facts:
    """A decision that keeps what it was asked and leaves all pending."""

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []

    def __call__(self, rows: Sequence[RequestRow], _now: Instant) -> list[Decision]:
        self.rows += rows
        return [Leave(row) for row in rows]


def queue_all(scope: str) -> Decide:
    """Every request waits until its contact's run in *scope* has ended."""
    return lambda rows, _now: [Leave(row, queued_in=scope) for row in rows]


async def run_of(world: World, contact: int) -> int:
    """The first run of *contact*."""
    return min(r["id"] for r in await world.enrollments() if r["contact_id"] == contact)


@pytest.mark.trio
class AdmitSuite:
    async def test_requests_are_decided_oldest_first_and_start_runs(self, world: World) -> None:
        scene = await open_scene(world)
        contacts = [await scene.contact(name) for name in ("a", "b", "c")]
        for contact in contacts:
            await world.enroll("acme", "c", contact, source="sql")
        done = await scene.admit(n=2)

        assert (done.taken, done.decided, len(done.started)) == (2, 2, 2)
        assert done.accounts == {scene.account}
        rows = await world.enrollments()
        assert [row["contact_id"] for row in rows] == contacts[:2]
        assert {row["status"] for row in rows} == {"waiting"}
        assert [row["status"] for row in await world.requests()] == [
            "accepted",
            "accepted",
            "pending",
        ]
        assert {key.enrollment_id for key in done.started} == {row["id"] for row in rows}
        assert [(d["seq"], d["step_no"], d["attempt"]) for d in await world.due_steps()] == [
            (1, 0, 0)
        ] * 2

    async def test_facts_of_a_request_are_what_stands_in_the_tables(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await world.add_contact(
            scene.account, external_id="ann", email="Ann@X.example", phone="+1", owner="bob"
        )
        await world.suppress(0, "email", "ann@x.EXAMPLE")
        await world.enroll(
            "acme", "c", "ann", vars={"n": 1}, start_at=Instant(T0 + HOUR), idempotency_key="k"
        )
        facts = Facts()
        await scene.admit(facts)
        row = facts.rows[0]

        assert (row.account_id, row.campaign_id, row.cv_id) == (
            scene.account,
            scene.campaign,
            scene.cv,
        )
        assert (row.contact_id, row.campaign_status, row.owner) == (contact, "active", "bob")
        assert (row.email_suppressed, row.phone_suppressed) == (True, False)
        assert (row.vars, row.vars_ok, row.start_at) == ({"n": 1}, True, T0 + HOUR)
        assert (row.runs, row.live, row.last_run_no, row.duplicate_of) == (0, 0, 0, None)

    async def test_a_version_that_maps_addresses_is_told_where_they_lead(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        mapped = campaign("mapped")
        raw = {**mapped.raw, "field_map": {"phone": "attrs.mobile"}}
        await world.add_campaign(scene.account, replace(mapped, raw=raw))
        contact = await world.add_contact(
            scene.account, external_id="ann", attrs={"mobile": "+1555"}
        )
        for key in ("mapped", "c"):
            await world.enroll("acme", key, contact)
        facts = Facts()
        await scene.admit(facts)

        assert [row.attrs for row in facts.rows] == [{"mobile": "+1555"}, {}]

    async def test_a_request_brings_the_quote_that_it_names(self, world: World) -> None:
        scene = await open_scene(world)
        ann, bob = await scene.contact("ann"), await scene.contact("bob")
        quote = Quote(scene.campaign, ann, Decimal("0.04"))
        other = await world.add_account("other")
        await world.add_quote(scene.account, "q1", quote)
        await world.add_quote(other, "q2", quote)
        for contact, name in (
            (ann, "q1"),
            (bob, "q1"),
            (ann, "q2"),
            (ann, "gone"),
            (ann, None),
        ):
            await world.enroll("acme", "c", contact, quote_id=name)
        facts = Facts()
        await scene.admit(facts)

        assert [(row.quote_id, row.quote) for row in facts.rows] == [
            ("q1", quote),
            ("q1", quote),  # whose it is not: the decision says so
            ("q2", None),
            ("gone", None),
            (None, None),
        ]

    async def test_a_quote_serves_as_often_as_it_holds(self, world: World) -> None:
        scene = await open_scene(world)
        ann = await scene.contact("ann")
        quote = Quote(scene.campaign, ann, Decimal("1.00"))
        await world.add_quote(scene.account, "q1", quote)
        await world.enroll("acme", "c", ann, quote_id="q1")
        await scene.admit()
        await world.enroll("acme", "c", ann, quote_id="q1")
        facts = Facts()
        await scene.admit(facts)

        assert [row.quote for row in facts.rows] == [quote]

    async def test_who_asks_is_known_by_his_role_where_there_are_operators(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact, requested_by="ann")
        facts = Facts()
        await scene.admit(facts)
        await world.add_operator(scene.account, "ann", "member")
        await world.enroll("acme", "c", contact, requested_by="zoe")
        await world.enroll("acme", "c", contact)
        await scene.admit(facts)

        assert [row.requester_role for row in facts.rows] == [None, "member", "", None]

    async def test_what_a_request_names_wrongly_is_none(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        erased = await scene.contact("bob")
        await world.erase_contact(scene.account, erased)
        await world.enroll("nobody", "c", contact)
        await world.enroll("acme", "x", contact)
        await world.enroll("acme", "c", "zoe")
        await world.enroll("acme", "c", erased, vars=[1])
        await world.enroll(None, "c", contact)
        facts = Facts()
        await scene.admit(facts)

        assert [(r.account_id, r.campaign_id, r.contact_id) for r in facts.rows] == [
            (None, None, None),
            (scene.account, None, contact),
            (scene.account, scene.campaign, None),
            (scene.account, scene.campaign, None),
            (None, None, None),
        ]
        assert [r.vars_ok for r in facts.rows] == [True, True, True, False, True]

    async def test_a_refusal_gives_its_reason_and_the_others_go_on(self, world: World) -> None:
        scene = await open_scene(world)
        await world.enroll("acme", "c", "zoe")
        await world.enroll("acme", "c", await scene.contact())
        done = await scene.admit()

        assert (done.decided, len(done.started)) == (2, 1)
        assert [(r["status"], r["reject_reason"]) for r in await world.requests()] == [
            ("rejected", "unknown_contact"),
            ("accepted", None),
        ]
        told = [line for line in await world.journal() if line["kind"] == "rejected"]
        assert [line["detail"] for line in told] == [
            {"request_id": 1, "reason": "unknown_contact", "campaign": "c"}
        ]

    async def test_the_account_is_read_as_it_stands_when_it_is_decided(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await world.set_account(scene.account, subscription_active=False)
        await world.enroll("acme", "c", await scene.contact())
        facts = Facts()
        await scene.admit(facts)

        assert [("active", False)] == [(r.account_status, r.subscribed) for r in facts.rows]

    async def test_what_is_left_stays_pending(self, world: World) -> None:
        scene = await open_scene(world)
        await world.enroll("acme", "c", await scene.contact())
        done = await scene.admit(Facts())

        assert (done.taken, done.decided) == (1, 0)
        assert [row["status"] for row in await world.requests()] == ["pending"]
        assert (await world.store.look(Spans())).requests

    async def test_a_decision_that_fails_changes_nothing(self, world: World) -> None:
        def fail(_rows: Sequence[RequestRow], _now: Instant) -> list[Decision]:
            raise ZeroDivisionError

        scene = await open_scene(world)
        await world.enroll("acme", "c", await scene.contact())
        with pytest.raises(ZeroDivisionError):
            await scene.admit(fail)

        assert [row["status"] for row in await world.requests()] == ["pending"]
        assert len((await scene.admit()).started) == 1

    async def test_a_request_key_counts_once(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        for _ in range(2):
            await world.enroll("acme", "c", contact, idempotency_key="k")
        first = await scene.admit()
        facts = Facts()
        await scene.admit(facts)

        assert (first.taken, first.decided, len(first.started)) == (2, 1, 1)
        assert [row.duplicate_of for row in facts.rows] == [first.started[0].enrollment_id]

        await scene.admit(reject_all("duplicate"))
        assert [row["status"] for row in await world.requests()] == ["accepted", "rejected"]

    async def test_what_is_doubtful_of_a_run_is_noted_with_it(self, world: World) -> None:
        scene = await open_scene(world)
        await world.enroll("acme", "c", await scene.contact())
        done = await scene.admit(start_all(scene.lane, doubt="unknown_zone"))
        told = [
            (row["kind"], row["enrollment_id"])
            for row in await world.journal()
            if row["kind"] == "unknown_zone"
        ]

        assert told == [("unknown_zone", done.started[0].enrollment_id)]

    async def test_an_empty_request_key_is_none(self, world: World) -> None:
        scene = await open_scene(world)
        for name in ("ann", "bob"):
            await world.enroll("acme", "c", await scene.contact(name), idempotency_key="")
        done = await scene.admit()

        assert (done.taken, len(done.started)) == (2, 2)

    async def test_the_key_of_a_refused_request_counts_too(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact, idempotency_key="k")
        await scene.admit(reject_all("not_active"))
        await world.enroll("acme", "c", contact, idempotency_key="k")
        facts = Facts()
        await scene.admit(facts)

        assert [row.duplicate_of for row in facts.rows] == [0]

    async def test_who_loses_an_exclusive_key_is_decided_again(self, world: World) -> None:
        """Both are allowed by the rules that saw neither run; the index judges."""
        scene = await open_scene(world)
        await world.add_campaign(scene.account, campaign("d"))
        contact = await scene.contact()
        for key in ("c", "d"):
            await world.enroll("acme", key, contact)
        greedy = start_all(scene.lane, exclusive="account")
        first = await scene.admit(greedy)
        facts = Facts()
        await scene.admit(facts)

        assert len(first.started) == 1
        assert [dict(row.busy) for row in facts.rows] == [{"account": "c"}]

        await scene.admit(greedy)
        assert [row["status"] for row in await world.requests()] == ["accepted", "pending"]
        await scene.admit(greedy)
        assert [(r["status"], r["reject_reason"]) for r in await world.requests()] == [
            ("accepted", None),
            ("rejected", "already_ran"),
        ]

    async def test_a_run_whose_place_is_taken_waits_for_its_task_no_more(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact)
        keys = (await scene.admit(start_all(scene.lane, exclusive="account"))).started
        await scene.clear_events()
        leased = (await scene.lease(keys)).granted[0]
        await scene.record(scene.waits(leased, a_task(awaited=True)))
        await world.add_campaign(scene.account, campaign("d"))
        await world.enroll("acme", "d", contact)
        await scene.admit(start_all(scene.lane, exclusive="account", displaces=True))

        ends = [row["end_reason"] for row in await world.enrollments()]
        assert (["moved:d", None], ["cancelled"]) == (
            ends, [row["state"] for row in await world.tasks()],
        )  # fmt: skip

    async def test_a_second_run_is_refused_by_the_reentry_index(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        for _ in range(2):
            await world.enroll("acme", "c", contact)
        done = await scene.admit(start_all(scene.lane, reentry=1))

        assert len(done.started) == 1
        facts = Facts()
        await scene.admit(facts)
        row = facts.rows[0]
        assert (row.runs, row.live, row.unreset, row.runs_today) == (1, 1, 1, 1)
        assert (row.last_run_no, row.last_ended_at) == (1, None)

    async def test_a_run_that_was_to_be_the_only_one_yields_once_it_has_ended(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact)
        keys = (await scene.admit(start_all(scene.lane, reentry=1))).started
        await scene.record(ends((await scene.lease(keys)).granted[0]))
        await world.enroll("acme", "c", contact)
        facts = Facts()
        await scene.admit(facts)
        kept_out = await scene.admit(start_all(scene.lane, reentry=2))
        done = await scene.admit(start_all(scene.lane, reentry=2, yields=True))
        await world.enroll("acme", "c", contact)
        live = await scene.admit(start_all(scene.lane, reentry=2, yields=True))

        assert facts.rows[0].alone
        assert [len(one.started) for one in (kept_out, done, live)] == [0, 1, 0]

    async def test_runs_of_a_contact_are_numbered(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        for _ in range(2):
            await world.enroll("acme", "c", contact)
            await scene.admit()

        assert [row["run_no"] for row in await world.enrollments()] == [1, 2]

    async def test_admits_at_the_same_moment_share_the_queue(self, world: World) -> None:
        scene = await open_scene(world)
        contacts = [await scene.contact(f"p{n}") for n in range(6)]
        for contact in contacts * 2:
            await world.enroll("acme", "c", contact)
        greedy = start_all(scene.lane, reentry=1, exclusive="account")
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(scene.admit, greedy, 4)
        for _ in range(4):
            await scene.admit(greedy)

        rows = await world.requests()
        assert sorted(row["contact_id"] for row in await world.enrollments()) == contacts
        assert sorted(row["status"] for row in rows) == ["accepted"] * 6 + ["rejected"] * 6

    async def test_who_waits_for_a_busy_contact_is_woken_by_the_end_of_its_run(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        one, other = [await scene.contact(f"p{n}") for n in range(2)]
        for contact in (one, other):
            await world.enroll("acme", "c", contact)
        keys = (await scene.admit(start_all(scene.lane, exclusive="account"))).started
        await scene.clear_events()
        for contact in (one, other, one):
            await world.enroll("acme", "c", contact)
        await scene.admit(queue_all("account"))
        idle = await world.store.look(Spans())
        left = [await scene.admit(), await world.store.wake_queued((0, 0), 1)]
        run = await run_of(world, one)
        mine = next(key for key in keys if key.enrollment_id == run)
        await scene.record(ends((await scene.lease([mine])).granted[0]))
        awake = await world.store.look(Spans())
        done = await scene.admit(start_all(scene.lane))

        assert (False, True) == (idle.requests, awake.requests)
        assert 0 == left[0].taken
        assert left[1] == (scene.account, one)
        assert None is await world.store.wake_queued(left[1], 2)
        assert 2 == done.taken

    async def test_nobody_waits_for_a_run_that_is_not_there(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact)
        await scene.admit(start_all(scene.lane, exclusive="group:a"))
        await world.enroll("acme", "c", contact)
        await scene.admit(queue_all("group:b"))

        assert (await world.store.look(Spans())).requests
        assert 1 == (await scene.admit(start_all(scene.lane, exclusive="group:b"))).decided

    async def test_a_run_without_a_step_ends_as_it_begins(self, world: World) -> None:
        scene = await open_scene(world)
        await world.enroll("acme", "c", await scene.contact())
        end = End(RunStatus.COMPLETED, "completed")
        done = await scene.admit(start_all(scene.lane, end=end, reentry=2, exclusive="account"))
        row = (await world.enrollments())[0]

        assert done.started == []
        assert (row["status"], row["end_reason"], row["ended_at"]) == (
            "completed",
            "completed",
            T0,
        )
        assert await world.due_steps() == []
        facts = Facts()
        await world.enroll("acme", "c", scene.contacts[0])
        await scene.admit(facts)
        assert (facts.rows[0].live, facts.rows[0].busy, facts.rows[0].last_ended_at) == (
            0,
            {},
            T0,
        )

    async def test_who_asks_for_many_keeps_nobody_else_waiting(self, world: World) -> None:
        """An import of a million stood before every other account's request."""
        scene = await open_scene(world)
        await world.add_account("base")
        mine = [await world.enroll("acme", "c", "nobody") for _ in range(30)]
        theirs = [await world.enroll("base", "c", "nobody") for _ in range(2)]
        first = await world.store.pending_requests(10)
        done = await scene.store.admit(10, reject_all("duplicate"))
        rest = await scene.store.admit(100, reject_all("duplicate"))

        assert first == mine[:5] + theirs
        assert (done.taken, rest.taken) == (7, 25)

    async def test_every_account_that_asks_has_its_turn(self, world: World) -> None:
        """There are more of them than take part in a batch, and the first ask anew each time."""
        scene = await open_scene(world)
        asked = {await world.enroll(f"who{n:03}", "c", "nobody") for n in range(130)}
        for _ in range(4):
            await scene.store.admit(10, reject_all("duplicate"))
            await world.enroll("who000", "c", "nobody")

        waiting = {row["id"] for row in await world.requests() if row["status"] == "pending"}
        assert waiting.isdisjoint(asked)

    async def test_requests_are_decided_one_by_one_or_rejected_by_name(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        for name in ("a", "b", "c"):
            await world.enroll(scene.account, "c", await scene.contact(name))
        ids = await world.store.pending_requests(10)
        assert ids[:2] == await world.store.pending_requests(2)

        assert (
            await scene.store.admit(10, start_all(scene.lane), unreadable=[scene.cv])
        ).taken == 0
        done = await scene.store.admit(10, start_all(scene.lane), only=ids[1:2])
        assert (1, 1) == (done.taken, len(done.started))
        await world.store.reject_requests(ids[:2], "bad_request:row")
        found = [(row["status"], row["reject_reason"]) for row in await world.requests()]
        assert [("rejected", "bad_request:row"), ("accepted", None), ("pending", None)] == found


@pytest.mark.trio
class FeedSuite:
    async def test_heads_and_keys_come_lane_by_lane_in_due_order(self, world: World) -> None:
        scene = await open_scene(world)
        late = await scene.enroll(1, due_at=Instant(T0 + 2 * HOUR))
        soon = await scene.enroll(3, due_at=Instant(T0 + HOUR))
        lane = soon[0].lane
        whole = (scene.account, lane, Instant(0), 0, 10)

        assert await world.store.heads([scene.account]) == [
            Head(scene.account, lane, Instant(T0 + HOUR), soon[0].enrollment_id)
        ]
        assert await world.store.load([whole], Instant(T0 + DAY)) == [*soon, *late]
        assert await world.store.load([whole], Instant(T0 + HOUR)) == soon
        after = (scene.account, lane, soon[0].due_at, soon[0].enrollment_id, 1)
        assert await world.store.load([after], Instant(T0 + DAY)) == [soon[1]]

    async def test_steps_move_to_another_lane_as_due_as_they_were(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(4)
        await scene.lease(keys[:1])
        behind = scene.lane._replace(kind=LaneClass.CATCHING_UP)
        gone = keys[1]._replace(due_at=Instant(T0 - 1))
        async with world.lock_rows([keys[2].enrollment_id]):
            wanted = [keys[0], gone, keys[2], keys[3]]
            moved = await world.store.move_lanes(wanted, [behind] * 4)

        assert [keys[3]._replace(lane=moved[0].lane)] == moved
        [lane] = [
            row for row in await world.store.read_lanes([scene.account]) if row.key == behind
        ]
        assert moved[0].lane == lane.lane
        whole = [(scene.account, n, Instant(0), 0, 10) for n in (keys[0].lane, lane.lane)]
        assert [keys[1], keys[2], *moved] == await world.store.load(whole, T0)

    async def test_nobody_at_work_for_long_is_a_standstill(self, world: World) -> None:
        assert [] == await world.store.note_served(MINUTE)
        await world.set_now(Instant(T0 + MINUTE))
        assert [] == await world.store.note_served(MINUTE)
        await world.set_now(Instant(T0 + HOUR))
        await world.store.acknowledge_clock(NODE, Instant(T0 + 30 * MINUTE))
        found = await world.store.note_served(MINUTE)

        assert [Standstill(Instant(T0 + 30 * MINUTE), Instant(T0 + HOUR))] == found
        assert found == await world.store.note_served(MINUTE)

    async def test_what_was_paused_stood_still(self, world: World) -> None:
        """An hour each: account, subscription, campaign, deactivated, sender."""
        scene = await open_scene(world)
        sender = await world.add_sender(scene.account, "ann@acme.example")
        account, campaign = scene.account, scene.campaign

        async def own() -> list[Standstill]:
            (row,) = await world.store.read_accounts([account])
            return row.standstills

        async def turn(hour: int) -> None:
            await world.set_now(Instant(T0 + hour * HOUR))

        await world.set_account(account, status="paused")
        await world.set_account(account, subscription_active=False)
        await turn(1)
        await world.set_account(account, status="active")
        assert [] == await own()
        await turn(2)
        await world.set_account(account, subscription_active=True)
        await world.set_campaign(account, campaign, "paused")
        await turn(3)
        await world.set_campaign(account, campaign, "inactive")
        await world.set_sender(account, sender, "paused")
        await turn(4)
        await world.set_campaign(account, campaign, "active")
        await turn(5)
        await world.set_sender(account, sender, "active")
        await world.set_sender(account, sender, "paused")
        await world.set_sender(account, sender, "active")

        def hours(first: int, last: int, **of: int) -> Standstill:
            return Standstill(Instant(T0 + first * HOUR), Instant(T0 + last * HOUR), **of)

        assert await own() == [
            hours(0, 2),
            hours(2, 4, campaign_id=campaign),
            hours(3, 5, sender_id=sender),
        ]
        assert [] == await world.store.note_served(10 * HOUR)

    async def test_what_failed_stood_still(self, world: World) -> None:
        scene = await open_scene(world)
        sender = await world.add_sender(scene.account, "ann@acme.example")
        until = Instant(T0 + HOUR)
        outages = [Outage(T0, until, 0, 0, "p"), Outage(T0, until, scene.account, sender, "")]
        for _ in range(2):  # its acknowledgement may be lost
            await world.store.note_outages(outages)
        (row,) = await world.store.read_accounts([scene.account])

        assert [Standstill(T0, until, sender_id=sender)] == row.standstills
        assert [Standstill(T0, until, provider="p")] == await world.store.note_served(HOUR)

    async def test_accounts_come_round_by_id(self, world: World) -> None:
        ids = sorted([await world.add_account(key) for key in ("a", "b", "c")])

        assert await world.store.account_ids(0, 2) == ids[:2]
        assert await world.store.account_ids(ids[1], 2) == ids[2:]
        assert await world.store.account_ids(ids[2], 2) == []

    async def test_heads_after_what_was_loaded(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        later = await scene.enroll(2, due_at=Instant(T0 + HOUR))
        lane = keys[0].lane

        async def heads(after: int) -> list[Head]:
            return await world.store.next_heads([(scene.account, lane, Instant(after))])

        soon, late = keys[0].enrollment_id, later[0].enrollment_id
        assert await heads(T0) == [Head(scene.account, lane, Instant(T0 + HOUR), late)]
        assert await heads(T0 - 1) == [Head(scene.account, lane, T0, soon)]
        assert await heads(T0 + HOUR) == []
        await scene.lease(later, ahead_ms=HOUR)
        assert await heads(T0) == []

    async def test_leased_steps_are_not_loaded(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        await scene.lease(keys[:1])
        whole = (scene.account, keys[0].lane, Instant(0), 0, 10)

        assert await world.store.load([whole], Instant(T0)) == keys[1:]
        assert await world.store.heads([scene.account]) == [
            Head(scene.account, keys[0].lane, T0, keys[1].enrollment_id)
        ]
        await scene.lease(keys[1:])
        assert await world.store.heads([scene.account]) == []

    async def test_lanes_have_one_number_for_ever(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        rows = await world.store.read_lanes([scene.account])

        assert {key.lane for key in keys} == {rows[0].lane}
        assert [row.key for row in rows] == [scene.lane]
        assert await world.store.read_lanes(None) == rows
        assert isinstance(rows[0].key, LaneKey)

    async def test_parks_stand_until_they_are_taken_away(self, world: World) -> None:
        scene = await open_scene(world)
        key = (await scene.enroll(1))[0]
        until = Instant(T0 + HOUR)
        await world.store.park([ParkRow(scene.account, key.lane, "cap", None)])
        await world.store.park([ParkRow(scene.account, key.lane, "window", until)])
        row = await scene.run()

        assert await world.store.read_parks(None) == [
            ParkRow(scene.account, key.lane, "window", until)
        ]
        assert (row["status"], row["hold_reason"], row["release_at"]) == (
            "held",
            "window",
            until,
        )
        await world.store.unpark([(scene.account, key.lane)])
        assert await world.store.read_parks([scene.account]) == []
        assert (await scene.run())["status"] == "waiting"

    async def test_a_new_cap_opens_what_the_old_one_closed(self, world: World) -> None:
        scene = await open_scene(world, cap=1)
        keys = await scene.enroll(2)
        await scene.lease(keys[:1])
        await world.store.park([ParkRow(scene.account, keys[0].lane, "cap", None)])
        await world.store.make_days([day_row(scene.account, cap=2)])

        assert await world.store.read_parks(None) == []
        assert len((await scene.lease(keys[1:])).granted) == 1
        assert await scene.used() == 2

    async def test_a_new_zone_carries_what_the_day_has_used(self, world: World) -> None:
        scene = await open_scene(world, cap=3)
        keys = await scene.enroll(4)
        await world.store.make_days(
            [
                day_row(
                    scene.account,
                    local_date=TOMORROW,
                    cap=3,
                    starts_at=Instant(T0 + 12 * HOUR),
                    ends_at=Instant(T0 + 36 * HOUR),
                )
            ]
        )
        await scene.lease(keys[:2])
        moved = day_row(
            scene.account,
            local_date=TOMORROW,
            cap=3,
            starts_at=Instant(T0 - HOUR),
            ends_at=Instant(T0 + 23 * HOUR),
        )
        await world.store.make_days([moved])
        result = await scene.lease(keys[2:], day=TOMORROW)

        assert len(result.granted) == 1
        assert (await scene.lease(keys[2:], day=TODAY)).granted == []
        assert await scene.used(TOMORROW) == 3

    async def test_a_new_zone_carries_what_was_used_over_its_cap(self, world: World) -> None:
        """A smaller plan, another zone, the better plan again: the day's quota is still gone."""
        scene = await open_scene(world, cap=3)
        keys = await scene.enroll(4)
        await scene.lease(keys[:3])
        moved = day_row(
            scene.account,
            local_date=TOMORROW,
            cap=2,
            starts_at=Instant(T0 - HOUR),
            ends_at=Instant(T0 + 23 * HOUR),
        )
        await world.store.make_days([moved])
        await world.store.make_days([replace(moved, cap=3)])
        result = await scene.lease(keys[3:], day=TOMORROW)

        assert result.granted == []
        assert await scene.used(TOMORROW) == 3

    async def test_a_new_zone_of_another_date_carries_what_the_day_has_used(
        self, world: World
    ) -> None:
        """Only the day that now ends stands, under a date that the new zone does not ask for."""
        scene = await open_scene(world, cap=3)
        keys = await scene.enroll(4)
        await scene.lease(keys[:2])
        moved = day_row(
            scene.account,
            local_date=TOMORROW,
            cap=3,
            starts_at=Instant(T0 - HOUR),
            ends_at=Instant(T0 + 23 * HOUR),
        )
        await world.store.make_days([moved])

        assert 1 == len((await scene.lease(keys[2:], day=TOMORROW)).granted)
        assert [] == (await scene.lease(keys[3:], day=TODAY)).granted
        assert 3 == await scene.used(TOMORROW)

    async def test_a_new_zone_of_the_same_date_forgets_nothing_above_the_cap(
        self, world: World
    ) -> None:
        scene = await open_scene(world, cap=3)
        await scene.lease(await scene.enroll(3))
        await world.store.make_days([day_row(scene.account, cap=1)])
        moved = day_row(
            scene.account,
            cap=1,
            starts_at=Instant(T0 - HOUR),
            ends_at=Instant(T0 + 23 * HOUR),
        )
        await world.store.make_days([moved])

        assert 3 == await scene.used()

    async def test_new_days_know_what_is_paused(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        await world.set_campaign(scene.account, scene.campaign, "paused")
        start = T0 + 12 * HOUR
        tomorrow = day_row(
            scene.account,
            local_date=TOMORROW,
            starts_at=Instant(start),
            ends_at=Instant(start + DAY),
        )
        await world.store.make_days([tomorrow])
        await world.set_now(Instant(start))
        refused = (await scene.lease(keys, day=TOMORROW)).refused

        assert [str(why) for _, _, why in refused] == ["held"]

    async def test_a_nudge_reaches_every_daemon_once(self, world: World) -> None:
        scene = await open_scene(world)
        seen = [number for number, _ in (await world.store.look(Spans())).nudges]
        await world.store.nudge([scene.account, 77])
        told = (await world.store.look(Spans(seen))).nudges

        assert [account for _, account in told] == [scene.account, 77]
        seen += [number for number, _ in told]
        assert (await world.store.look(Spans(seen))).nudges == []

    async def test_a_nudge_that_comes_behind_later_ones_is_told(self, world: World) -> None:
        """Whoever took his number first may commit last."""
        await world.store.nudge([5, 6, 7])
        numbers = [number for number, _ in (await world.store.look(Spans())).nudges]
        told = (
            await world.store.look(Spans(numbers[:-3] + numbers[-3:-2] + numbers[-1:]))
        ).nudges

        assert told == [(numbers[-2], 6)]

    async def test_events_of_no_account_hide_nobody_elses(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.contact()
        await world.event(None, "reply")

        assert sorted((await world.store.look(Spans())).events) == [0, scene.account]

    async def test_the_directory_says_what_the_doors_were_told(self, world: World) -> None:
        scene = await open_scene(world)
        await world.add_plan("small", 5)
        await world.set_account(scene.account, plan="small", timezone="Europe/Berlin")
        sender = await world.add_sender(scene.account, "us@x.example")
        other = await world.add_account("other")
        rows = {row.id: row for row in await world.store.read_accounts(None)}
        acme = rows[scene.account]

        assert set(rows) == {scene.account, other}
        assert (acme.key, acme.cap, acme.timezone, acme.status) == (
            "acme",
            5,
            "Europe/Berlin",
            "active",
        )
        assert rows[other].cap is None
        assert [(s.id, s.address, s.provider) for s in acme.senders] == [
            (sender, "us@x.example", "sink")
        ]
        assert [(c.id, c.key, c.live_cv_id) for c in acme.campaigns] == [
            (scene.campaign, "c", scene.cv)
        ]
        assert [row.id for row in await world.store.read_accounts([other])] == [other]
        versions = await world.store.read_versions([scene.cv, 999])
        assert [(v.cv_id, v.campaign_key, v.version) for v in versions] == [(scene.cv, "c", 1)]
        assert versions[0].definition["campaign"] == "c"

    async def test_a_version_has_its_shared_words_of_then_and_of_now(
        self, world: World
    ) -> None:
        account = await world.add_account("acme")
        old, new = Content(subject="Old", text="x"), Content(subject="New", text="x")
        await world.set_template(account, "hello", old)
        await world.set_template(account, "other", old)
        shared = replace(campaign("c"), shared={"hello": old})
        _, cv = await world.add_campaign(account, shared)
        (before,) = await world.store.read_accounts([account])
        seen = [number for number, _ in (await world.store.look(Spans())).nudges]
        await world.set_template(account, "hello", new)

        (version,) = await world.store.read_versions([cv])
        assert version.shared == {"hello": old.as_raw()}
        assert version.current == {"hello": new.as_raw()}
        (after,) = await world.store.read_accounts([account])
        assert before.templates != after.templates
        assert [one for _, one in (await world.store.look(Spans(seen))).nudges] == [account]

    async def test_a_version_has_the_fields_that_its_account_declares(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        other = await world.add_account("other")
        await world.declare_field(scene.account, "flag", "bool")
        await world.declare_field(scene.account, "company.size", "number")
        await world.declare_field(other, "flag", "text")

        (version,) = await world.store.read_versions([scene.cv])
        assert version.types == {"flag": "bool", "company.size": "number"}

    async def test_a_file_is_read_by_what_it_holds(self, world: World) -> None:
        scene = await open_scene(world)
        other = await world.add_account("other")
        name = await world.attach(scene.account, b"in more parts than one")

        read = world.store.read_attachment
        assert await read(scene.account, name) == b"in more parts than one"
        assert await read(other, name) is None
        assert await read(scene.account, "0" * 64) is None

    async def test_look_says_what_is_new(self, world: World) -> None:
        scene = await open_scene(world)
        first = await world.store.look(Spans())

        assert (first.now, first.requests, first.events, first.usage) == (T0, False, [], False)
        assert first.nodes == [(NODE, True)]
        assert {account for _, account in first.nudges} == {scene.account}

        seen = [number for number, _ in first.nudges]
        await world.set_account(scene.account, rate="5/s")
        await scene.contact()
        await world.record_usage("acme", "bulk", 1)
        second = await world.store.look(Spans(seen))
        assert [account for _, account in second.nudges] == [scene.account]
        assert (second.events, second.usage) == ([scene.account], True)
