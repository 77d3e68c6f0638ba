"""Every refusal has its word, in one order; what waits for its turn stays pending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.enrollment import End, LaneClass, LaneKey, RunStatus
from dripd.clock import DAY, FAR_FUTURE, HOUR, Instant
from dripd.policy.admission import decide
from dripd.policy.admission_rows import (
    Accept,
    Decision,
    Leave,
    Reject,
    RequestRow,
    first_of_each_key,
    rejections,
)
from dripd.policy.rooms import MissingVersion
from tests.support.rooms import BERLIN, NOW, World, email, make_version, request, sms

OPEN_RUN = {"exclusivity": "none", "reentry": "always"}


def world(*steps: dict[str, Any], **top: Any) -> World:
    made = World()
    made.add(*(steps or (email(),)), **top)
    return made


def decided(rooms: World | None = None, **keys: Any) -> Decision:
    (decision,) = decide([request(**keys)], NOW, rooms or world())
    return decision


def refusal(rooms: World | None = None, **keys: Any) -> str:
    decision = decided(rooms, **keys)
    assert isinstance(decision, Reject), decision
    return decision.reason


def accepted(rooms: World | None = None, **keys: Any) -> Accept:
    decision = decided(rooms, **keys)
    assert isinstance(decision, Accept), decision
    return decision


def test_what_nothing_speaks_against_begins_now() -> None:
    found = accepted(requested_by="eve")

    assert (found.started_at, found.due_at, found.cv_id) == (NOW, NOW, 1)
    assert found.lane == LaneKey(10, LaneClass.FIRST, "email", "account", "account")
    assert (found.reentry, found.exclusive, found.owner) == (1, None, "eve")
    assert found.end is None


def test_the_owner_is_who_asked_else_the_contacts_else_the_campaigns() -> None:
    assert accepted(owner="bob").owner == "bob"
    assert accepted().owner == "ann"


def test_a_contact_s_zone_that_does_not_exist_is_noted_where_it_is_read() -> None:
    rooms = world(timezone="contact")

    assert accepted(rooms, timezone="Europe/Pariss").doubt == "unknown_zone"
    assert accepted(rooms, timezone=BERLIN).doubt == accepted(rooms).doubt == ""
    assert accepted(timezone="Europe/Pariss").doubt == ""


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"account_id": None}, "unknown_account"),
        ({"campaign_id": None}, "unknown_campaign"),
        ({"contact_id": None}, "unknown_contact"),
        ({"vars_ok": False}, "bad_request:vars"),
        ({"start_at": FAR_FUTURE}, "bad_request:start_at"),
        ({"start_at": -1}, "bad_request:start_at"),
        ({"campaign_status": "draft"}, "not_active"),
        ({"campaign_status": "paused"}, "not_active"),
        ({"campaign_status": "draining"}, "not_active"),
        ({"cv_id": None}, "not_active"),
        ({"on_board": False}, "not_on_board"),
        ({"email_suppressed": True}, "suppressed"),
        ({"live": 1, "runs": 1, "unreset": 1}, "already_in:c1"),
        ({"runs": 1, "unreset": 1}, "already_ran"),
        ({"runs": 10, "runs_today": 10}, "max_runs"),
    ],
)
def test_every_refusal_has_its_word(keys: dict[str, Any], reason: str) -> None:
    assert refusal(**keys) == reason


def test_the_account_may_forbid_it() -> None:
    """As it stands in the deciding transaction: what a daemon remembers of it may be old."""
    assert refusal(account_status="paused") == "account_paused"
    assert refusal(subscribed=False) == "no_subscription"


def test_a_seen_key_is_refused_with_the_first_ones_run() -> None:
    found = decided(duplicate_of=77)

    assert isinstance(found, Reject)
    assert (found.reason, found.enrollment_id) == ("duplicate", 77)
    refused = decided(duplicate_of=0)
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.enrollment_id) == ("duplicate", None)


def test_what_the_version_requires_must_be_there() -> None:
    rooms = world(policy={"require": ["phone", "email"]})

    assert refusal(rooms, phone=None) == "missing:phone"
    assert refusal(rooms, email="") == "missing:email"


def test_what_is_required_is_the_address_that_field_map_names() -> None:
    rooms = world(policy={"require": ["phone"]}, field_map={"phone": "attrs.mobile"})

    assert refusal(rooms, phone="+15551234", attrs={}) == "missing:phone"
    assert refusal(rooms, phone="+15551234", attrs={"mobile": " "}) == "missing:phone"
    assert isinstance(decided(rooms, phone=None, attrs={"mobile": "+15559876"}), Accept)


def test_a_contact_is_refused_only_where_no_channel_reaches_it() -> None:
    both = world(email(), sms())

    assert isinstance(decided(both, email_suppressed=True), Accept)
    assert refusal(both, email_suppressed=True, phone_suppressed=True) == "suppressed"
    tags = world({"do": "tag_add", "tag": "x"})
    assert isinstance(decided(tags, email_suppressed=True, phone_suppressed=True), Accept)


def test_texts_need_a_number_of_the_account() -> None:
    rooms = world(sms())
    del rooms.senders["sms"]

    assert refusal(rooms) == "no_sender"


@pytest.mark.feature("Q2")
def test_a_reset_run_does_not_count_against_once() -> None:
    assert isinstance(decided(runs=1, unreset=0), Accept)


def test_after_its_end_a_contact_may_run_again() -> None:
    rooms = world(policy={"reentry": "after_end"})

    assert accepted(rooms, runs=1, unreset=1).reentry == 2
    assert refusal(rooms, runs=1, live=1) == "already_in:c1"


def test_runs_side_by_side_are_free_of_the_unique_index() -> None:
    assert accepted(world(policy=OPEN_RUN), runs=2, live=2).reentry is None


def test_how_soon_and_how_often_a_contact_may_run_again() -> None:
    policy = {"reentry": {"mode": "after_end", "min_gap": "1d", "max_runs": 3}}
    rooms = world(policy=policy)
    ended = Instant(NOW - DAY + HOUR)

    assert refusal(rooms, runs=1, last_ended_at=ended) == "min_gap"
    assert isinstance(decided(rooms, runs=1, last_ended_at=Instant(NOW - DAY)), Accept)
    later = Instant(NOW + HOUR)
    assert isinstance(decided(rooms, runs=1, last_ended_at=ended, start_at=later), Accept)
    assert refusal(rooms, runs=3) == "max_runs"
    daily = world(policy={"reentry": {"mode": "after_end", "max_runs_per_day": 2}})
    assert refusal(daily, runs=9, runs_today=2) == "max_runs"


@pytest.mark.parametrize("on_busy", ["reject", "queue", "move"])
def test_a_contact_that_is_busy_elsewhere(on_busy: str) -> None:
    rooms = world(policy={"exclusivity": {"scope": "group:sales", "on_busy": on_busy}})
    decision = decided(rooms, busy={"group:sales": "other"})

    match on_busy:
        case "reject":
            assert isinstance(decision, Reject)
            assert decision.reason == "already_in:other"
        case "queue":
            assert isinstance(decision, Leave)
            assert decision.queued_in == "group:sales"
            own = decided(rooms, live=1, runs=1, unreset=1, busy={"group:sales": "c1"})
            assert isinstance(own, Reject)
        case "move":
            assert isinstance(decision, Accept)
            assert decision.displaces
            own = decided(rooms, live=1, runs=1, unreset=1, busy={"group:sales": "c1"})
            assert isinstance(own, Reject)
    assert accepted(rooms, busy={"account": "other"}).exclusive == "group:sales"


def test_once_is_over_even_for_a_request_that_would_queue() -> None:
    policy = {"exclusivity": {"scope": "account", "on_busy": "queue"}}

    busy = {"account": "c1"}
    assert refusal(world(policy=policy), live=1, unreset=1, busy=busy) == "already_in:c1"


def test_the_second_request_of_a_contact_waits_for_the_first_ones_commit() -> None:
    rows = [request(id=1), request(id=2), request(id=3, contact_id=8), request(id=4)]

    decisions = decide(rows, NOW, world())

    assert [type(one) for one in decisions] == [Accept, Leave, Accept, Leave]
    assert [one.request.id for one in decisions] == [1, 2, 3, 4]


def test_a_refused_request_keeps_nobody_waiting() -> None:
    rows = [request(id=1, vars_ok=False), request(id=2)]

    assert [type(one) for one in decide(rows, NOW, world())] == [Reject, Accept]


def test_a_start_in_the_future_counts_and_one_in_the_past_is_now() -> None:
    rooms = world(email(delay="1d"))

    later = accepted(rooms, start_at=Instant(NOW + DAY))
    assert (later.started_at, later.due_at) == (NOW + DAY, NOW + 2 * DAY)
    assert accepted(rooms, start_at=Instant(NOW - DAY)).started_at == NOW


def test_the_first_due_is_a_wall_time_of_the_contacts_zone() -> None:
    rooms = world(email(send_at="09:00"), timezone="contact")

    assert accepted(rooms, timezone=BERLIN).due_at == NOW + 22 * HOUR
    assert accepted(rooms, timezone="Mars/Olympus").due_at == NOW + 23 * HOUR


def test_a_version_that_is_not_loaded_is_asked_for() -> None:
    with pytest.raises(MissingVersion) as caught:
        decided(World())

    assert caught.value.cv_id == 1


def test_a_version_without_steps_ends_as_it_begins() -> None:
    rooms = world()
    version = make_version(email())
    version.steps = ()
    rooms.versions[1] = version

    assert accepted(rooms).end == End(RunStatus.COMPLETED, "completed")


Change = Callable[[dict[str, Any]], None]
rows = st.builds(
    request,
    id=st.integers(1, 1000),
    account_id=st.sampled_from([None, 1]),
    campaign_id=st.sampled_from([None, 10]),
    contact_id=st.sampled_from([None, 7, 8, 9]),
    cv_id=st.sampled_from([None, 1, 2]),
    campaign_status=st.sampled_from(["active", "draft", None]),
    vars_ok=st.booleans(),
    start_at=st.none() | st.integers(-(10**15), 10**15),
    duplicate_of=st.sampled_from([None, None, 0, 5]),
    email_suppressed=st.booleans(),
    on_board=st.booleans(),
    busy=st.sampled_from([{}, {"account": "other"}]),
    runs=st.integers(0, 12),
    live=st.integers(0, 1),
    unreset=st.integers(0, 2),
    timezone=st.sampled_from([None, BERLIN, "x"]),
)
ROOMS = World()
ROOMS.add(email(), sms(delay="1d"), cv_id=1)
ROOMS.add(sms(day=2, day_at="09:00"), cv_id=2,
          policy={"exclusivity": {"scope": "account", "on_busy": "queue"}, "reentry": "after_end"})  # fmt: skip


@given(st.lists(rows, max_size=8))
def test_decide_answers_every_request_in_its_order(requests: list[RequestRow]) -> None:
    decisions = decide(requests, NOW, ROOMS)

    assert [one.request for one in decisions] == requests
    started = [one for one in decisions if isinstance(one, Accept)]
    assert len({one.request.contact_id for one in started}) == len(started)
    for one in started:
        assert NOW <= one.started_at <= one.due_at <= FAR_FUTURE
        assert not one.request.live


def test_of_one_key_the_first_is_decided_and_others_have_their_turn_after_it() -> None:
    asked = [(1, 1, "k"), (2, 1, "k"), (3, 2, "k"), (4, 1, None), (5, 1, None), (6, 1, "")]

    assert [1, 3, 4, 5, 6] == first_of_each_key(asked)


def test_an_accepted_request_that_did_not_begin_says_why_or_waits() -> None:
    begun, short, loser, waits = (accepted(id=number) for number in (1, 2, 3, 4))
    refused = Reject(request(id=5), "no_consent")

    found = rejections([begun, short, loser, waits, refused], {1}, {2}, {3}.__contains__)

    assert [(5, "no_consent"), (2, "insufficient_balance"), (3, "already_ran")] == [
        (one.request.id, one.reason) for one in found
    ]


@pytest.mark.parametrize(("reentry", "kept"), [(1, 1), (2, None), (None, None)])
def test_a_run_that_ends_as_it_begins_keeps_nobody_out_but_of_a_single_run(
    reentry: int | None, kept: int | None
) -> None:
    one = accepted()
    one.reentry, one.exclusive = reentry, "account"

    assert (reentry, "account") == one.claims()
    one.end = End(RunStatus.COMPLETED, "completed")
    assert (kept, None) == one.claims()
