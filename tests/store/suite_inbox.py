"""The inbox and the sink: what every store does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio

from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import Change, Next, RunStatus
from dripd.campaigns.version import ALWAYS
from dripd.channels.base import SinkRow
from dripd.clock import DAY, HOUR, MINUTE, Instant
from dripd.errors import StoreError
from dripd.policy.inbox_rows import (
    EndRun,
    EnterLater,
    EventRow,
    InboxEffect,
    Judge,
    Later,
    MoveDue,
    Refuse,
    Release,
    Request,
    RunRow,
    Suppress,
)
from dripd.policy.rooms import MissingAccount
from dripd.ratelimit.reputation import Guard, Mark
from dripd.spans import Spans
from dripd.store.protocol import ParkRow, Refusal
from tests.store.world import (
    EVERY_KIND,
    LIST_ADDED,
    MAIL,
    REPLY,
    T0,
    Scene,
    World,
    campaign,
    ends,
    open_scene,
)


class Seen:
    """Keeps what the inbox was shown and answers with what it was given."""

    def __init__(self, *effects: InboxEffect) -> None:
        self.effects = list(effects)
        self.events: list[EventRow] = []
        self.runs: list[RunRow] = []

    def __call__(
        self, events: Sequence[EventRow], runs: Sequence[RunRow], _now: Instant
    ) -> list[InboxEffect]:
        self.events += events
        self.runs += runs
        return self.effects

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def reply_ends(scene: Scene, at: int = 0, **columns: object) -> EndRun:
    return EndRun(
        scene.runs[at],
        scene.contacts[at],
        RunStatus.TERMINATED,
        "reply",
        **columns,  # type: ignore[arg-type]
    )


@pytest.mark.trio
class InboxSuite:
    async def test_a_sender_of_which_too_much_came_back_is_paused_once(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        sender = await world.add_sender(scene.account, "s@acme.test")
        for leased in await scene.take(5):
            change = scene.goes_on(leased)
            change.log = [replace(change.log[0], sender_id=sender)]
            await scene.record(change)
        marks = [
            Mark(event_id=n, kind="bounce", enrollment_id=run, seq=1)
            for n, run in enumerate(scene.runs[:2])
        ]
        guard = Guard(bounces_permille=300, least=5, few=2)

        async def judged(*some: Mark) -> list[tuple[int | None, str]]:
            await world.event(scene.account, "bounce", contact_id=scene.contacts[0])
            done = await scene.digest(Judge(some, guard))
            return [(stop.sender_id, stop.reason) for stop in done.paused]

        assert await judged(marks[0]) == []
        assert await judged(marks[0]) == []  # the same event counts once
        assert await judged(*marks) == [(sender, "bounce_rate")]
        assert await judged(*marks) == []
        (row,) = (await world.store.read_accounts([scene.account]))[0].senders
        assert (row.status, row.pause_reason) == ("paused", "bounce_rate")
        told = [note["kind"] for note in await world.notifications()]
        assert told.count("paused") == 1
        await world.set_sender(scene.account, sender, "active", probes=1)
        (row,) = (await world.store.read_accounts([scene.account]))[0].senders
        assert (row.status, row.probes) == ("active", 1)

    async def test_a_stop_deletes_what_is_not_leased(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(2)
        event = await world.event(scene.account, "reply", contact_id=scene.contacts[0])
        done = await scene.digest(reply_ends(scene))
        row = await scene.run()

        assert (done.taken, done.stopped, done.accounts) == (
            1,
            [scene.runs[0]],
            {scene.account},
        )
        assert (row["status"], row["end_reason"], row["ended_at"]) == (
            "terminated",
            "reply",
            T0,
        )
        assert [d["enrollment_id"] for d in await world.due_steps()] == [scene.runs[1]]
        assert await world.event_queue() == []
        logged = (await world.event_log())[-1]
        assert (logged["id"], logged["contact_id"], logged["refused_reason"]) == (
            event,
            scene.contacts[0],
            None,
        )

    async def test_what_left_before_a_late_stop_was_heard_is_told(self, world: World) -> None:
        """Of three runs one was sent something since, one before, and one only tried to."""
        scene = await open_scene(world)
        since, before, tried = await scene.take(3)
        await scene.record(
            scene.goes_on(since), scene.goes_on(before), scene.tries_again(tried)
        )
        late = Instant(T0 - 1)
        for contact in scene.contacts[:3]:
            await world.event(scene.account, "reply", contact_id=contact)
        done = await scene.digest(
            reply_ends(scene, 0, event_id=7, since=late),
            reply_ends(scene, 1, event_id=8, since=T0),
            reply_ends(scene, 2, event_id=9, since=late),
        )
        told = [row for row in await world.journal() if row["kind"] == "regret"]

        assert done.regret == 1
        assert [(row["enrollment_id"], row["detail"]) for row in told] == [
            (since.enrollment_id, {"event_id": 7, "reason": "reply", "sent": 1, "late_ms": 1})
        ]

    async def test_stops_come_before_all_else(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        for kind in ("open", "click", "unsubscribe", "reply"):
            await world.event(scene.account, kind, contact_id=scene.contacts[0])
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert seen.kinds == ["unsubscribe", "reply", "open", "click"]
        assert (await scene.digest()).taken == 0

    async def test_an_event_names_what_its_contact_was_asked_for_before_it(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await scene.contact()
        other = await scene.contact("bob")
        await scene.clear_events()
        early = await world.event(
            scene.account, "reply", contact_id=scene.contacts[0], occurred_at=T0 - HOUR
        )
        await world.enroll("acme", "c", "ann", conversation_ref="talk")
        await world.enroll(scene.account, "nowhere", scene.contacts[0])
        ids = [
            await world.event(scene.account, "reply", **whom)
            for whom in (
                {"contact_id": scene.contacts[0]},
                {"conversation_ref": "talk"},
                {"contact_id": other},
            )
        ]
        before, after = Seen(), Seen()
        before.effects = [Later(one) for one in ids]
        await world.store.digest(scene.account, 10, before, EVERY_KIND)
        await scene.admit()
        await world.store.digest(scene.account, 10, after, EVERY_KIND)

        assert [(one.id, list(one.asked)) for one in before.events] == [
            (early, []),
            (ids[0], [scene.cv]),
            (ids[1], [scene.cv]),
            (ids[2], []),
        ]
        assert [(one.id, list(one.asked)) for one in after.events] == [(one, []) for one in ids]
        assert [one.contact_ids for one in after.events] == [
            (scene.contacts[0],),
            (scene.contacts[0],),
            (other,),
        ]

    async def test_what_was_asked_for_by_an_event_came_before_the_next_one(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await scene.contact()
        await scene.clear_events()
        tagged = await world.event(scene.account, "tag_added", contact_id=scene.contacts[0])
        removed = await world.event(
            scene.account, "list_removed", contact_id=scene.contacts[0], occurred_at=T0 - HOUR
        )
        asked = Request("c", scene.contacts[0], "trigger:tag_added")
        await scene.digest(asked, Later(removed))
        seen = Seen()
        await world.store.digest(scene.account, 10, seen, EVERY_KIND)

        assert tagged not in [one.id for one in seen.events]
        assert [(one.id, list(one.asked)) for one in seen.events] == [(removed, [scene.cv])]

    async def test_an_event_is_taken_alone_bare_or_not_at_all(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        ids = [
            await world.event(
                scene.account, "open", contact_id=scene.contacts[0], payload={"n": n}
            )
            for n in range(3)
        ]
        assert ids == await world.store.pending_events(scene.account, 10)
        first, second, seen = Seen(), Seen(), Seen()
        await world.store.digest(scene.account, 10, first, EVERY_KIND, only=ids[1:2])
        await world.store.digest(scene.account, 10, second, EVERY_KIND, only=ids[:1], bare=True)
        await world.store.refuse_events(scene.account, ids[2:], "bad_request:row")

        assert [(ids[1], {"n": 1})] == [(one.id, one.payload) for one in first.events]
        assert [(ids[0], {})] == [(one.id, one.payload) for one in second.events]
        await world.store.digest(scene.account, 10, seen, EVERY_KIND)
        assert [] == seen.events
        logged = {row["id"]: row for row in await world.event_log()}
        assert [{"n": n} for n in range(3)] == [logged[one]["payload"] for one in ids]
        assert [None, None, "bad_request:row"] == [logged[one]["refused_reason"] for one in ids]

    async def test_what_has_to_wait_is_passed_over_where_it_is_named(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        whom = await scene.contact()
        await scene.clear_events()
        early, reply, late = [
            await world.event(scene.account, kind, contact_id=whom)
            for kind in ("open", "reply", "open")
        ]
        rounds, left, after = [], [], (0, 0)
        for stays in (reply, early, None):
            seen = Seen(*([] if stays is None else [Later(stays)]))
            done = await world.store.digest(scene.account, 1, seen, EVERY_KIND, after=after)
            assert done is not None
            rounds.append([one.id for one in seen.events])
            left += done.left
            after = done.after

        assert [[reply], [early], [late]] == rounds
        assert [reply, early] == left == await world.store.pending_events(scene.account, 10)

    async def test_what_stops_runs_is_never_refused(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        ids = [
            await world.event(scene.account, kind, contact_id=scene.contacts[0])
            for kind in ("open", "reply")
        ]
        assert ids[::-1] == await world.store.pending_events(scene.account, 10)

        assert ids[:1] == await world.store.refuse_events(scene.account, ids, "bad_request:row")
        assert ids[1:] == await world.store.pending_events(scene.account, 10)

    async def test_at_most_so_many_events_are_taken(self, world: World) -> None:
        scene = await open_scene(world)
        for _ in range(3):
            await world.event(scene.account, "open")
        done = await world.store.digest(scene.account, 2, Seen(), EVERY_KIND)

        assert done is not None
        assert done.taken == 2
        assert len(await world.event_queue()) == 1

    async def test_events_are_decided_by_who_listens_once_they_are_seen(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await world.event(scene.account, "click")
        (before,) = await world.store.read_accounts([scene.account])
        number, _ = await world.add_campaign(
            scene.account,
            campaign("listener", ("one", "email"), triggers=(Match(kind="click"),)),
        )
        (attached,) = await world.store.read_accounts([scene.account])
        await world.set_campaign(scene.account, number, "paused")
        (paused,) = await world.store.read_accounts([scene.account])
        for outdated in (before, attached):
            with pytest.raises(MissingAccount):
                await world.store.digest(
                    scene.account, 100, Seen(), EVERY_KIND, outdated.listens()
                )
        assert len(await world.event_queue()) == 1
        done = await world.store.digest(
            scene.account, 100, Seen(), EVERY_KIND, paused.listens()
        )

        assert done is not None
        assert done.taken == 1

    async def test_the_inbox_is_shown_the_run_and_its_step(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1, conversation_ref="thread")
        await world.event(
            scene.account, "reply", conversation_ref="thread", payload={"auto": True}
        )
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        event, run = seen.events[0], seen.runs[0]

        assert event.contact_ids == (scene.contacts[0],)
        assert (event.payload, event.occurred_at, event.unresolved) == (
            {"auto": True},
            T0,
            None,
        )
        assert (run.enrollment_id, run.contact_id, run.campaign_id, run.cv_id) == (
            scene.runs[0],
            scene.contacts[0],
            scene.campaign,
            scene.cv,
        )
        assert (run.step_no, run.seq, run.due_at, run.started_at) == (0, 1, T0, T0)
        assert (run.leased, run.hold_reason, run.conversation_ref) == (False, None, "thread")

    async def test_a_delivery_says_whom_and_which_step_an_event_concerns(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(scene.goes_on(leased))
        await world.event(scene.account, "click", delivery_id=f"{leased.enrollment_id}-1")
        await world.event(scene.account, "click", delivery_id=f"{leased.enrollment_id}-9")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        first, second = seen.events

        assert (first.contact_ids, first.enrollment_id) == (
            (leased.contact_id,),
            leased.enrollment_id,
        )
        assert (first.step_key, first.campaign_id) == ("one", scene.campaign)
        assert (first.channel, first.address) == ("email", "p0@x.example")
        assert (second.enrollment_id, second.step_key) == (leased.enrollment_id, None)

    async def test_an_event_of_another_account_stops_nothing(self, world: World) -> None:
        """Whoever may write for an account must not end what runs in another."""
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(scene.goes_on(leased))
        other = await world.add_account("other")
        await scene.clear_events()
        await world.event(other, "reply", delivery_id=f"{leased.enrollment_id}-1")
        await world.event(other, "reply", contact_id=leased.contact_id)
        await world.event(other, "unsubscribe", address="p0@x.example")
        seen = Seen()
        await world.store.digest(other, 100, seen, EVERY_KIND)

        assert [(), (), ()] == [event.contact_ids for event in seen.events]
        assert [] == list(seen.runs)

    async def test_an_address_concerns_everybody_who_has_it(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        twin = await world.add_contact(scene.account, email="P0@X.example")
        other = await world.add_account("other")
        await world.add_contact(other, email="p0@x.example")
        await scene.clear_events()
        await world.event(scene.account, "bounce", address="p0@x.EXAMPLE")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert sorted(seen.events[0].contact_ids) == sorted([scene.contacts[0], twin])
        assert [run.contact_id for run in seen.runs] == [scene.contacts[0]]

    @pytest.mark.parametrize(
        "written", [" p0@X.example\n", "+49 (30) 12-34", "+49301234", "\u00a0+49\u201130/1234 "]
    )
    async def test_an_address_is_found_however_it_is_written(
        self, world: World, written: str
    ) -> None:
        scene = await open_scene(world)
        contact = await world.add_contact(
            scene.account, email="P0@x.example", phone="+49 30 / 1234"
        )
        await world.add_contact(scene.account, phone="(-)")
        await world.enroll(scene.account, "c", contact)
        await scene.clear_events()
        keys = (await scene.admit()).started
        await world.event(scene.account, "unsubscribe", address=written)
        await world.event(scene.account, "unsubscribe", address="-")
        lease = await scene.lease(keys, mask=MAIL | ALWAYS)
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [Refusal.EVENT] == [why for _, _, why in lease.refused]
        assert [((contact,), None), ((), "unknown_contact")] == [
            (tuple(one.contact_ids), one.unresolved) for one in seen.events
        ]

    async def test_an_address_in_other_letters_is_found_by_its_form(self, world: World) -> None:
        """Postgres' own lower() leaves what its locale does not know, and folds more than that."""
        scene = await open_scene(world)
        contact = await world.add_contact(scene.account, email="ÄNN@x.example")
        other = await world.add_contact(scene.account, email="\u1e9eo@x.example")
        await scene.clear_events()
        for address in (" änn@X.example", "\u1e9eO@x.example", "\u00dfo@x.example"):
            await world.event(scene.account, "reply", address=address)
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [(contact,), (other,), ()] == [tuple(one.contact_ids) for one in seen.events]

    async def test_contacts_are_looked_up_only_for_kinds_of_interest(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        await world.event(scene.account, "open", contact_id=scene.contacts[0])
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, REPLY)

        assert (seen.events[0].contact_ids, seen.events[0].unresolved) == ((), None)
        assert seen.runs == []
        assert (await world.event_log())[-1]["contact_id"] == scene.contacts[0]

    async def test_whoever_forbids_without_an_address_is_read_with_those_of_the_contact(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await world.add_contact(scene.account, email="a@x.example", phone="+491")
        await world.event(scene.account, "unsubscribe", contact_id=contact)
        await world.event(scene.account, "bounce", contact_id=contact, address="b@x.example")
        await world.event(scene.account, "reply", contact_id=contact)
        seen = Seen()
        for _ in range(2):
            await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        own = {event.kind: (*event.own,) for event in seen.events}

        assert ("a@x.example", "+491") == own["unsubscribe"]
        assert () == own["bounce"] == own["reply"]

    @pytest.mark.parametrize(
        "kind", ["reset", "enter", "task_closed", "company_changed", "contact_erased"]
    )
    async def test_what_only_dripd_tells_is_no_kind_of_others(
        self, world: World, kind: str
    ) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        payload = {"campaign": "c", "enrollment": scene.runs[0]}
        await world.event(scene.account, kind, contact_id=scene.contacts[0], payload=payload)
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [(kind, "bad_request:kind")] == [(e.kind, e.unresolved) for e in seen.events]

    async def test_what_dripd_tells_itself_is_heard(self, world: World) -> None:
        scene = await open_scene(world)
        company = await world.add_company(scene.account, {"city": "Oslo"})
        await scene.enroll(1)
        await world.set_company(scene.account, company, city="Bonn")
        await world.erase_contact(scene.account, scene.contacts[0])
        seen = Seen()
        while (await world.store.digest(scene.account, 100, seen, EVERY_KIND)).taken:  # type: ignore[union-attr]
            pass

        assert {"company_changed": None, "contact_erased": None} == {
            e.kind: e.unresolved for e in seen.events
        }

    async def test_events_that_cannot_be_placed_are_refused_with_a_word(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await world.event(scene.account, "reply", contact_id=987654)
        await world.event(scene.account, "sneeze", address="a@x.example")
        await world.event(scene.account, None)
        await world.event(None, "reply", address="a@x.example")
        await scene.clear_events()
        stray = await world.store.digest(0, 100, Seen(), EVERY_KIND)
        await world.event(987654, "reply", contact_id=5)
        await world.store.digest(987654, 100, Seen(), EVERY_KIND)
        refused = [row["refused_reason"] for row in await world.event_log()]

        assert stray is not None
        assert stray.taken == 1
        assert sorted(refused) == [
            "bad_request:kind",
            "bad_request:kind",
            "unknown_account",
            "unknown_account",
            "unknown_contact",
        ]

    @pytest.mark.parametrize("nobody", [0, -1, None])
    async def test_an_event_of_no_account_hides_nobody_elses(
        self, world: World, nobody: int | None
    ) -> None:
        scene = await open_scene(world)
        await scene.clear_events()
        await world.event(nobody, "reply", contact_id=5)
        await world.event(nobody, "open", contact_id=5)
        await world.event(scene.account, "reply", contact_id=5)

        seen = (await world.store.look(Spans())).events
        for account in seen:
            await world.store.digest(account, 100, Seen(), EVERY_KIND)
            await world.store.digest(account, 100, Seen(), EVERY_KIND)

        assert sorted([nobody or 0, scene.account]) == sorted(seen)
        assert [] == await world.event_queue()

    async def test_a_dedup_key_counts_once(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        for _ in range(2):
            await world.event(
                scene.account, "reply", contact_id=scene.contacts[0], dedup_key="k"
            )
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        await world.event(scene.account, "reply", contact_id=scene.contacts[0], dedup_key="k")
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert len(seen.events) == 1
        refused = [row["refused_reason"] for row in await world.event_log()][-3:]
        assert sorted(refused, key=str) == [None, "duplicate", "duplicate"]

    async def test_an_empty_dedup_key_is_none(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        for _ in range(2):
            await world.event(
                scene.account, "reply", contact_id=scene.contacts[0], dedup_key=""
            )
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert seen.kinds == ["reply", "reply"]

    async def test_an_event_of_the_future_reads_as_now(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        for at in (T0 + DAY, T0 - DAY, -DAY):
            await world.event(
                scene.account, "open", contact_id=scene.contacts[0], occurred_at=Instant(at)
            )
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [event.occurred_at for event in seen.events] == [T0, T0 - DAY, 0]
        logged = [
            row["occurred_at"] for row in await world.event_log() if row["kind"] == "open"
        ]
        assert logged == [T0, T0 - DAY, 0]

    async def test_a_refused_event_of_the_future_is_logged_as_of_now(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        event = await world.event(
            scene.account, "open", contact_id=contact, occurred_at=Instant(T0 + DAY)
        )
        await world.store.refuse_events(scene.account, [event], "unreadable")

        logged = [
            row["occurred_at"] for row in await world.event_log() if row["kind"] == "open"
        ]
        assert logged == [T0]

    async def test_a_list_that_cannot_be_is_none(self, world: World) -> None:
        scene = await open_scene(world)
        await world.event(
            scene.account,
            "list_added",
            contact_id=await scene.contact(),
            payload={"list_id": 2**64 - 1},
        )
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        listed = [one for one in seen.events if one.kind == "list_added"]
        assert [False] == ["list" in one.payload for one in listed]

    async def test_list_events_carry_the_key_of_the_list(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.list_add(scene.account, contact, "news")
        await world.list_remove(scene.account, contact, "news")
        await world.tag(scene.account, contact, "vip")
        await world.tag(scene.account, contact, "vip")
        await world.untag(scene.account, contact, "vip")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, LIST_ADDED)

        assert seen.kinds == [
            "contact_created",
            "list_added",
            "list_removed",
            "tag_added",
            "tag_removed",
        ]
        assert [e.payload.get("list", e.payload.get("tag")) for e in seen.events[1:]] == [
            "news",
            "news",
            "vip",
            "vip",
        ]

    async def test_who_was_just_made_comes_to_a_list_as_a_newcomer(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.list_add(scene.account, contact, "soon")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        await world.set_now(Instant(T0 + MINUTE))
        await world.list_add(scene.account, contact, "late")
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [(e.payload.get("list"), e.newcomer) for e in seen.events] == [
            (None, False),
            ("soon", True),
            ("late", False),
        ]

    async def test_changed_fields_are_told_one_by_one(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.set_attrs(scene.account, contact, first="ann", n=1)
        await world.set_attrs(scene.account, contact, first="eve")
        await world.set_email(scene.account, contact, "eve@x.example")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert seen.kinds == [
            "contact_created",
            "field_changed",
            "field_changed",
            "field_changed",
        ]
        assert [event.payload for event in seen.events[1:]] == [
            {"field": "n", "from": None, "to": 1},
            {"field": "first", "from": "ann", "to": "eve"},
            {"field": "email", "from": "ann@x.example", "to": "eve@x.example"},
        ]

    async def test_one_change_of_many_fields_is_one_row_and_an_event_each(
        self, world: World
    ) -> None:
        """A writer pays for one row, whoever listens to whichever field."""
        scene = await open_scene(world)
        contact = await scene.contact()
        await scene.clear_events()
        await world.set_attrs(scene.account, contact, stage="won", n=1, first="eve", Z=True)
        queued = await world.event_queue()
        seen = Seen()
        done = await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        told: list[dict[str, object]] = [
            {"field": "Z", "from": None, "to": True},
            {"field": "first", "from": "ann", "to": "eve"},
            {"field": "n", "from": None, "to": 1},
            {"field": "stage", "from": None, "to": "won"},
        ]

        assert done is not None
        assert [("field_changed", {"changes": told})] == [
            (row["kind"], row["payload"]) for row in queued
        ]
        assert [(one.id, one.payload) for one in seen.events] == [
            (queued[0]["id"], payload) for payload in told
        ]
        logged = [row for row in await world.event_log() if row["kind"] == "field_changed"]
        assert [(queued[0]["id"], contact, payload) for payload in told] == [
            (row["id"], row["contact_id"], row["payload"]) for row in logged
        ]
        assert [] == await world.event_queue()

    async def test_a_change_told_by_others_is_logged_field_by_field(self, world: World) -> None:
        scene = await open_scene(world)
        (contact, *_) = scene.contacts or [await scene.contact()]
        await scene.clear_events()
        for changes in ([{"field": "a"}, 7, {"field": "b"}], [7], {}):
            await world.event(
                scene.account, "status_changed", contact_id=contact,
                payload={"changes": changes}, dedup_key=f"k{changes}",
            )  # fmt: skip
        await world.store.digest(scene.account, 100, Seen(), EVERY_KIND)
        logged = [row for row in await world.event_log() if row["kind"] == "status_changed"]

        assert [row["payload"] for row in logged] == [
            {"field": "a"},
            {"field": "b"},
            {"changes": [7]},
            {"changes": {}},
        ]

    async def test_an_erasure_empties_events_that_wait_and_tells_of_nothing_else(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.set_email(scene.account, contact, "eve@x.example")
        await world.event(
            scene.account, "reply", address="EVE@x.example", payload={"from": "eve@x.example"}
        )
        await world.erase_contact(scene.account, contact)
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert seen.kinds == ["reply", "contact_erased", "contact_created", "field_changed"]
        assert [event.payload for event in seen.events] == [{}] * 4
        assert [[*event.contact_ids] for event in seen.events] == [[contact]] * 4

    async def test_an_entry_that_waits_is_told_again_and_stops_no_lease(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        await world.event(scene.account, "tag_added", contact_id=scene.contacts[0])
        later = EnterLater(scene.runs[0], scene.contacts[0], "c", "next", "trigger:tag_added")
        await world.store.digest(scene.account, 100, Seen(later), EVERY_KIND)
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, 0)

        (told,) = seen.events
        assert (told.kind, told.contact_ids) == ("enter", (scene.contacts[0],))
        assert told.payload == later.payload()
        await world.event(
            scene.account, "enter", contact_id=scene.contacts[0], payload=later.payload()
        )
        assert len((await scene.lease(keys)).granted) == 1

    async def test_a_run_says_whether_its_lane_rests(self, world: World) -> None:
        scene = await open_scene(world)
        (key,) = await scene.enroll(1)

        async def parked() -> bool:
            await world.event(scene.account, "reply", contact_id=scene.contacts[0])
            seen = Seen()
            await world.store.digest(scene.account, 100, seen, EVERY_KIND)
            return seen.runs[0].parked

        assert not await parked()
        await world.store.park([ParkRow(scene.account, key.lane, "window", Instant(T0 + HOUR))])
        assert await parked()

    async def test_a_reset_moves_only_what_waits(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        await scene.lease(keys[1:])
        await world.event(scene.account, "interaction", contact_id=scene.contacts[0])
        later = Instant(T0 + HOUR)
        seen = Seen(
            MoveDue(scene.runs[0], later, 5),
            MoveDue(scene.runs[1], later, 5),
        )
        done = await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert done is not None
        assert [(key.enrollment_id, key.due_at) for key in done.moved] == [
            (scene.runs[0], later)
        ]
        assert [d["due_at"] for d in await world.due_steps()] == [later, T0]
        told = [line for line in await world.journal() if line["kind"] == "delay_reset"]
        assert [line["detail"] for line in told] == [
            {"old_due_ms": T0, "new_due_ms": later, "event_id": 5}
        ]

    async def test_a_release_brings_up_what_was_held(self, world: World) -> None:
        scene = await open_scene(world)
        held, waiting = await scene.take(2)
        step = Next(due_at=T0, lane=None, step_no=0, seq=1, hold_reason="missing_tag:x")
        await scene.record(Change(leased=held, log=[], next=step), scene.tries_again(waiting))
        await world.set_now(Instant(T0 + 5))
        await world.event(scene.account, "field_changed", contact_id=held.contact_id)
        done = await scene.digest(*(Release(run, scene.lane) for run in scene.runs))
        lanes = {row.key: row.lane for row in await world.store.read_lanes(None)}
        row = await scene.run()

        assert [tuple(key) for key in done.moved] == [
            (scene.account, lanes[scene.lane], T0, held.enrollment_id, scene.cv)
        ]
        assert (row["status"], row["hold_reason"], row["release_at"]) == ("waiting", None, None)
        told = [(j["kind"], j["detail"], j["enrollment_id"]) for j in await world.journal()]
        assert told[-2:] == [
            (kind, {"reason": "missing_tag:x", "seq": 1}, held.enrollment_id)
            for kind in ("held", "released")
        ]
        assert (await scene.run(1))["due_at"] == T0 + HOUR

    async def test_a_company_that_changes_concerns_whom_it_may_release(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        held, plain, alone = await scene.take(3)
        company = await world.add_company(scene.account, {"town": "Ulm"})
        for leased in (held, plain):
            await world.set_employer(scene.account, leased.contact_id, company)
        told = [event["payload"] for event in await world.event_queue()]
        assert {"field": "company_id", "from": None, "to": company} in told
        step = Next(due_at=T0, lane=None, step_no=0, seq=1, hold_reason="missing_tag:x")
        holds = [Change(leased=one, log=[], next=replace(step)) for one in (held, alone)]
        await scene.record(*holds, scene.tries_again(plain))
        await scene.clear_events()

        await world.set_company(scene.account, company, town="Ulm")
        assert await world.event_queue() == []
        await world.set_company(scene.account, company, town="Bonn")
        await world.event(scene.account, "company_changed", address="x")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, 0)
        assert [(e.kind, e.contact_ids) for e in seen.events] == [
            ("company_changed", (held.contact_id,)),
            ("company_changed", ()),
        ]
        assert [run.enrollment_id for run in seen.runs] == [held.enrollment_id]

    async def test_effects_of_events_are_applied_with_them(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(2)
        first = await world.event(scene.account, "reply", contact_id=scene.contacts[0])
        end = reply_ends(scene, set={"state": "replied", "first": None}, notify=("bob", "c"))
        done = await scene.digest(
            end,
            Suppress("email", "p1@x.example", "unsubscribe"),
            Suppress("email", "P1@x.example", "unsubscribe"),
            Request("c", scene.contacts[1], "trigger:reply"),
            Refuse(first, "noise"),
        )
        (told,) = await world.event_queue()
        fields = {one["field"]: one["to"] for one in told["payload"]["changes"]}

        assert done.requested == 1
        assert fields == {"state": "replied", "first": None}
        assert [(n["kind"], n["recipient"], n["payload"]) for n in await world.notifications()]
        request = (await world.requests())[-1]
        assert (request["status"], request["source"]) == ("pending", "trigger:reply")
        assert (await world.event_log())[-1]["refused_reason"] == "noise"
        await scene.clear_events()
        key = (await world.store.load([(scene.account, 0, Instant(0), 0, 9)], T0))[0]
        assert (await scene.lease([key])).granted[0].suppressed

    @pytest.mark.feature("C53")
    async def test_who_unsubscribes_stays_so_where_an_order_that_ends_stood(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await world.suppress(scene.account, "email", "p1@x.example", expires_at=T0)
        await world.event(scene.account, "unsubscribe", address="p1@x.example")
        await scene.digest(Suppress("email", "p1@x.example", "unsubscribe"))

        assert [True] == await world.store.suppressed(
            [(scene.account, "email", "p1@x.example")]
        )

    async def test_a_run_that_has_ended_is_not_ended_again(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(ends(leased))
        await world.event(scene.account, "reply", contact_id=leased.contact_id)
        await scene.digest(reply_ends(scene, set={"state": "x"}, notify=("bob", "c")))

        assert (await scene.run())["end_reason"] == "completed"
        assert await world.event_queue() == []
        assert await world.notifications() == []

    async def test_effects_that_fail_leave_the_events_in_the_queue(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        await world.event(scene.account, "reply", contact_id=scene.contacts[0])
        with pytest.raises(StoreError):
            await scene.digest(reply_ends(scene), Suppress("email", " ", "x"))

        assert (await scene.run())["status"] == "waiting"
        assert len(await world.event_queue()) == 1
        assert len(await world.due_steps()) == 1

    async def test_a_run_tells_how_often_its_step_was_tried(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.record(scene.tries_again((await scene.take())[0]))
        await world.event(scene.account, "interaction", contact_id=scene.contacts[0])
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [1] == [run.attempt for run in seen.runs]

    async def test_soft_bounces_of_the_run_are_counted(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        for kind in ("soft", "soft", "hard"):
            await world.event(
                scene.account, "bounce", contact_id=scene.contacts[0], payload={"type": kind}
            )
        await scene.digest()
        await world.event(scene.account, "bounce", contact_id=scene.contacts[0])
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [run.soft_bounces for run in seen.runs] == [2]

    async def test_an_inbox_has_one_worker_at_a_time(self, world: World) -> None:
        scene = await open_scene(world)
        await world.event(scene.account, "reply", contact_id=1)
        async with world.lock_inbox(scene.account):
            assert await scene.digest() is None

        assert (await scene.digest()).taken == 1

    async def test_a_stop_waits_for_a_locked_row(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(1)
        await world.event(scene.account, "reply", contact_id=scene.contacts[0])
        finished = trio.Event()

        async def read() -> None:
            await scene.digest(reply_ends(scene))
            finished.set()

        async with trio.open_nursery() as nursery:
            async with world.lock_rows(scene.runs):
                nursery.start_soon(read)
                await world.pause()
                assert not finished.is_set()
                assert await scene.digest() is None
            await finished.wait()

        assert (await scene.run())["status"] == "terminated"


def message(to: str = "ann@x.example", account: int = 1) -> SinkRow:
    return SinkRow(
        account_id=account,
        channel="email",
        sender="us@x.example",
        recipient=to,
        subject="Hi",
        body="Hello",
        headers={"X-A": "1"},
        idempotency_key="dripd:1",
        enrollment_id=5,
        step_key="one",
    )


@pytest.mark.trio
class SinkSuite:
    async def test_the_sink_keeps_what_it_is_given(self, world: World) -> None:
        assert await world.store.write([message(), message("bob@x.example")]) == [
            "accepted",
            "accepted",
        ]
        rows = await world.sink_messages()
        assert [row["recipient"] for row in rows] == ["ann@x.example", "bob@x.example"]
        assert (rows[0]["headers"], rows[0]["received_at"]) == ({"X-A": "1"}, T0)
        assert (rows[0]["enrollment_id"], rows[0]["step_key"]) == (5, "one")

    async def test_the_sink_answers_as_its_rules_say(self, world: World) -> None:
        await world.sink_rule("a_n@%", "temporary", times=2)
        await world.sink_rule("%@x.example", "ambiguous", times=1)
        answers = await world.store.write([message() for _ in range(4)])

        assert answers == ["temporary", "temporary", "ambiguous", "accepted"]
        assert len(await world.sink_messages()) == 2
        assert await world.store.write([message()]) == ["accepted"]

    async def test_a_rule_of_an_account_concerns_nobody_else(self, world: World) -> None:
        await world.sink_rule("%", "permanent", account_id=2)
        mine, theirs = message(), replace(message(), account_id=2)

        assert await world.store.write([mine, theirs]) == ["accepted", "permanent"]
