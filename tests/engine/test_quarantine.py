"""One bad row never stops a batch: it is set aside, alone, with its error; what left is kept."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from dripd.campaigns.enrollment import Change
from dripd.clock import parse_instant
from dripd.engine import send
from dripd.engine.quarantine import said
from dripd.errors import StoreError
from dripd.proof.virtual import Virtual, virtual
from dripd.store.protocol import LeaseKey

EMAIL = {"do": "email", "subject": "Hi", "text": "Hello {First Name|there}"}
ONE = {"key": "one", **EMAIL}
TWO = {"key": "two", "delay": "1d", **EMAIL}
TAG = {"key": "tag", "do": "tag_add", "tag": "seen"}

NAMES = [f"c{n}" for n in range(9)]
BAD = "c4"

pytestmark = pytest.mark.trio


def enroll(world: Virtual) -> int:
    """All of `NAMES`; the id of the contact that is to be bad."""
    ids = {name: world.contact(name) for name in NAMES}
    for name in NAMES:
        world.store.enroll(world.acme, "welcome", name)
    return ids[BAD]


def run_of(world: Virtual, contact: int) -> dict[str, Any]:
    return next(row for row in world.store.enrollments() if row["contact_id"] == contact)


def failures(world: Virtual) -> list[tuple[str, str]]:
    return [
        (row["step_key"], row["reason"])
        for row in world.store.step_runs()
        if row["outcome"] == "failed"
    ]


def others_went_on(world: Virtual, bad: int, *, with_bad: int = 0) -> None:
    sent = [to for to, _ in world.received()]
    assert with_bad == sent.count(f"{BAD}@x.test")
    assert {f"{name}@x.test" for name in NAMES if name != BAD} <= set(sent)
    run = run_of(world, bad)
    assert ("held", "quarantined") == (run["status"], run["hold_reason"])


async def test_a_step_that_cannot_be_leased_waits_alone(autojump_clock: MockClock) -> None:
    async with virtual() as world:
        world.campaign({"key": "in", "do": "delay", "delay": "1h"}, ONE)
        bad = enroll(world)
        await world.pass_by(1)
        run = run_of(world, bad)["id"]

        def is_bad(key: LeaseKey) -> bool:
            return key.enrollment_id == run

        world.store.refuse("lease", is_bad)
        await world.advance_to("2026-01-06T09:00:00Z")

        others_went_on(world, bad)
        assert [("in", "StoreError: a row of this lease cannot be taken: it is played so")] == (
            failures(world)
        )


async def test_a_contact_that_cannot_be_read_waits_alone(autojump_clock: MockClock) -> None:
    async with virtual() as world:
        world.campaign(ONE)
        bad = enroll(world)
        world.store.spoil_contact(world.acme, bad)
        await world.advance_to("2026-01-06T09:00:00Z")

        others_went_on(world, bad)
        assert [("one", "the contact's attrs cannot be read")] == failures(world)
        assert 8 == sum(row["n"] for row in world.store.cap_usage())


async def test_a_message_that_left_is_kept_and_the_step_behind_it_waits(
    autojump_clock: MockClock,
) -> None:
    """Its texts are what the database refuses: it is written without them, and not sent again."""
    async with virtual() as world:
        world.campaign(ONE, TWO)
        bad = enroll(world)
        await world.pass_by(0)

        def is_bad(change: Change) -> bool:
            return any(row.to_address == "c4@x.test" for row in change.log)

        world.store.refuse("record", is_bad)
        await world.advance_to("2026-01-08T09:00:00Z")

        others_went_on(world, bad, with_bad=1)
        assert [("two", "unwritable")] == failures(world)
        states = {row["state"] for row in world.store.deliveries()}
        assert {"accepted"} == states
        assert 17 == len(world.received()) == len(set(world.received()))
        assert 0 == world.engines[0].pipe.unsent


async def test_an_effect_that_cannot_be_written_holds_its_own_step(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign(TAG, ONE)
        bad = enroll(world)

        def is_bad(change: Change) -> bool:
            return bool(change.effects) and change.leased.contact_id == bad

        world.store.refuse("record", is_bad)
        await world.advance_to("2026-01-06T09:00:00Z")

        others_went_on(world, bad)
        assert [
            ("tag", "StoreError: a row of this record cannot be taken: it is played so")
        ] == (failures(world))


@pytest.mark.interpreted
async def test_what_raises_in_judgement_waits_alone_with_its_error(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = send.perform

    def fragile(leased: Any, *rest: Any) -> Any:
        if leased.email == "c4@x.test":
            raise ZeroDivisionError("c4@x.test is worth nothing")
        return perform(leased, *rest)

    monkeypatch.setattr(send, "perform", fragile)
    async with virtual() as world:
        world.campaign(ONE)
        bad = enroll(world)
        await world.advance_to("2026-01-06T09:00:00Z")

        others_went_on(world, bad)
        assert [("one", "ZeroDivisionError: ... is worth nothing")] == failures(world)


async def test_an_error_is_told_without_what_may_be_somebodys() -> None:
    error = StoreError("value 'Ann Smith' of ann@x.test,\n call +49 30 123 4567\x00 \ud800")
    told = said(error)
    assert "StoreError: value '...' of ..., call ..." == told
    told.encode()
    assert 200 == len(said(ValueError("x" * 900)))


def begin(world: Virtual, n_bad: int, n: int) -> None:
    """*n* contacts, the first *n_bad* of them with a name that no message can carry."""
    for number in range(n):
        name = "An\x00n" if number < n_bad else "Ann"
        world.contact(f"p{number}", attrs={"first_name": name})
        world.store.enroll(world.acme, "welcome", f"p{number}")


@pytest.mark.parametrize(("n_bad", "is_paused"), [(10, False), (11, True)])
async def test_a_campaign_that_fails_from_its_start_is_paused(
    n_bad: int, is_paused: bool, autojump_clock: MockClock
) -> None:
    async with virtual() as world:
        subject = {"key": "one", "do": "email", "subject": "Hi {First Name}", "text": "Hello"}
        world.campaign(subject)
        begin(world, n_bad, 200)
        await world.pass_by(5)

        (campaign,) = world.store._tables.campaigns
        assert ("paused" if is_paused else "active") == campaign.status
        told = [row for row in world.store.notifications() if row["kind"] == "paused"]
        assert is_paused == bool(told)
        assert 200 - n_bad >= len(world.received())
        held = [row for row in world.store.enrollments() if row["hold_reason"] == "quarantined"]
        assert n_bad == len(held)

        assert is_paused == ("paused" in {row["kind"] for row in world.store.journal()})


async def test_a_campaign_that_has_begun_well_is_not_paused(autojump_clock: MockClock) -> None:
    """What fails after its first steps is of one list, not of the campaign."""
    async with virtual() as world:
        subject = {"key": "one", "do": "email", "subject": "Hi {First Name}", "text": "Hello"}
        world.campaign(subject)
        begin(world, 0, 200)
        await world.pass_by(5)
        for number in range(30):
            world.contact(f"q{number}", attrs={"first_name": "An\x00n"})
            world.store.enroll(world.acme, "welcome", f"q{number}")
        await world.pass_by(5)

        (campaign,) = world.store._tables.campaigns
        assert "active" == campaign.status
        assert 1 == len(world.engines[0].pipe.first.grown)


async def test_a_request_that_breaks_its_batch_is_rejected_alone(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign(ONE)
        bad = world.contact(BAD)
        world.store.refuse("admit", lambda row: row.contact_id == bad)
        for name in NAMES:
            if name != BAD:
                world.contact(name)
            world.store.enroll(world.acme, "welcome", name)
        await world.advance_to("2026-01-05T09:00:00Z")

        assert {f"{name}@x.test" for name in NAMES if name != BAD} == {
            to for to, _ in world.received()
        }
        decided = [(row["status"], row["reject_reason"]) for row in world.store.requests()]
        assert ("rejected", "bad_request:row") == decided.pop(NAMES.index(BAD))
        assert {("accepted", None)} == set(decided)


async def test_a_request_for_a_version_that_cannot_be_read_stops_no_other(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign(ONE, campaign="broken")
        world.campaign(ONE)
        broken = min(version.id for version in world.store._tables.versions)
        world.engines[0].pipe.directory.broken[broken] = "of a later dripd"
        world.enroll("early", campaign="broken")
        world.enroll("late")
        await world.pass_by(2)
        assert [("late@x.test", "one")] == world.received()

        world.engines[0].pipe.directory.broken.clear()
        await world.advance_to("2026-01-05T09:00:00Z")
        assert {"early@x.test", "late@x.test"} == {to for to, _ in world.received()}


async def test_an_event_that_breaks_its_batch_takes_effect_without_its_payload(
    autojump_clock: MockClock,
) -> None:
    """A reply must stop its run whatever stands in it; the others' take effect as ever."""
    async with virtual() as world:
        world.campaign(TWO)
        bad = enroll(world)
        await world.pass_by(1)
        world.store.refuse("digest", lambda event: "odd" in event.payload)
        for row in world.store.enrollments():
            payload = {"odd": 1} if row["contact_id"] == bad else {}
            world.store.event(
                world.acme, "reply", contact_id=row["contact_id"], payload=payload
            )
        await world.advance_to("2026-01-08T09:00:00Z")

        assert [] == world.received()
        assert {"reply": len(NAMES)} == world.ends()
        assert {None} == {row["refused_reason"] for row in world.store.event_log()
                          if row["kind"] == "reply"}  # fmt: skip


async def test_an_event_that_nobody_can_digest_is_logged_as_refused(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign(TWO)
        bad = enroll(world)
        await world.pass_by(1)
        world.store.refuse("digest", lambda event: bad in event.contact_ids)
        for row in world.store.enrollments():
            world.store.event(world.acme, "interaction", contact_id=row["contact_id"])
        await world.advance_to("2026-01-08T09:00:00Z")

        assert len(NAMES) == len(world.received())
        refused = [row["refused_reason"] for row in world.store.event_log()
                   if row["kind"] == "interaction"]  # fmt: skip
        assert ["bad_request:row"] == [why for why in refused if why is not None]


async def test_a_reply_that_nobody_can_digest_holds_its_contact_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    """To throw it away would be to send after a stop."""
    async with virtual() as world:
        world.campaign(TWO)
        bad = enroll(world)
        await world.pass_by(1)
        world.store.refuse("digest", lambda event: bad in event.contact_ids)
        world.store.event(world.acme, "reply", contact_id=bad)
        await world.pass_by(1)
        for row in world.store.enrollments()[:3]:
            world.store.event(world.acme, "interaction", contact_id=row["contact_id"])
        await world.pass_by(1)
        assert {world.acme} == world.engines[0].pipe.unfit.keys()
        assert 1 == len(world.store.event_queue())
        at = parse_instant("2026-01-08T09:00:00Z")
        await world.store.move_clock(at)
        await world.pass_by(5)

        assert len(NAMES) - 1 == len(world.received())
        assert f"{BAD}@x.test" not in {to for to, _ in world.received()}
        world.store.refuse("digest", lambda event: False)
        world.engines[0].pipe.unfit.clear()  # as a daemon that begins anew has it
        await world.advance_to("2026-01-08T10:00:00Z")
        assert {"reply": 1, "completed": len(NAMES) - 1} == world.ends()
