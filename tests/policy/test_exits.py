"""Events end, reset and begin runs: in one order, the first end wins, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import FLAG_HELD, FLAG_KEPT, RunStatus
from dripd.clock import DAY, HOUR, Instant
from dripd.policy.inbox import digest, interest
from dripd.policy.inbox_rows import (
    EndRun,
    EventRow,
    InboxEffect,
    Later,
    MoveDue,
    Poke,
    Refuse,
    Release,
    Request,
    RunRow,
    Suppress,
    one_by_one,
)
from tests.support.rooms import CONTACT, NOW, RUN, Trigger, World, email, event, run, sms

ANN = "ann@example.test"
REPLY = {"exit_rules": [{"on": "reply"}]}


def world(*steps: dict[str, Any], **top: Any) -> World:
    made = World()
    made.add(*(steps or (email(delay="1d"),)), **top)
    return made


def effects(
    rooms: World, *events: EventRow, runs: list[RunRow] | None = None, now: Instant = NOW
) -> list[InboxEffect]:
    return digest(events, [run()] if runs is None else runs, now, rooms)


def ended(rooms: World, *events: EventRow, runs: list[RunRow] | None = None) -> list[str]:
    found = effects(rooms, *events, runs=runs)
    return [one.reason for one in found if isinstance(one, EndRun)]


# --- what was asked for first


def test_an_event_waits_for_a_run_that_was_asked_for_before_it() -> None:
    rooms = world(**REPLY)
    nobody = event("reply", asked=[1], contact_ids=(), unresolved="unknown_contact")

    assert effects(rooms, event("reply", asked=[1]), runs=[]) == [Later(100)]
    assert effects(rooms, nobody, runs=[]) == [Later(100)]
    assert effects(rooms, event("open", asked=[1]), runs=[]) == []  # it would not hear it
    assert ended(rooms, event("reply", asked=[7])) == ["reply"]  # nobody here can read that one


def test_a_contact_s_events_wait_for_what_the_one_before_them_asked_for() -> None:
    rooms = world(goal={"on": "tag_added", "tag": "won"})
    rooms.attached = [Trigger("c1", Match(kind="tag_added", params={"tag": "new"}), cv_id=1)]
    tags = [event("tag_added", id=n, payload={"tag": t}) for n, t in ((1, "new"), (2, "won"))]
    stranger = event("tag_added", id=7, contact_ids=(8,), payload={"tag": "won"})

    assert effects(rooms, *tags, stranger, runs=[]) == [
        Request("c1", CONTACT, "trigger:tag_added"),
        Later(2),
    ]


def test_what_comes_after_an_event_that_stays_stays_too() -> None:
    rooms, reply = world(**REPLY), event("reply")
    batch = [reply, event("reply", id=7, contact_ids=(8,))]

    assert digest(batch, [], NOW, rooms, delayed={CONTACT}) == [Later(reply.id)]


# --- ends


@pytest.mark.parametrize("enabled", [True, False])
def test_a_rule_ends_the_run_only_if_it_is_enabled(*, enabled: bool) -> None:
    rooms = world(exit_rules=[{"on": "reply", "enabled": enabled}])

    assert ended(rooms, event("reply")) == (["reply"] if enabled else [])


def test_an_automatic_reply_is_no_reply() -> None:
    assert ended(world(**REPLY), event("reply", payload={"auto": True})) == []


def test_an_end_carries_what_its_rule_sets_and_who_is_told() -> None:
    rule = {"on": "reply", "set": {"status": "Engaged"}, "notify": True}
    rooms = world(exit_rules=[rule], notify={"field": "rep"})

    (with_rep,) = effects(rooms, event("reply"), runs=[run(attrs={"rep": "eve"})])
    (without,) = effects(rooms, event("reply"))

    assert with_rep == EndRun(
        RUN,
        CONTACT,
        RunStatus.REMOVED,
        "reply",
        {"status": "Engaged"},
        ("eve", "c1"),
        event_id=100,
        since=NOW,
    )
    assert isinstance(without, EndRun)
    assert without.notify == ("ann", "c1")


def test_engagement_is_told_where_the_campaign_asks_for_it_and_a_bounce_is_not() -> None:
    rooms = world(notify={"ended": True})

    (reply,) = effects(rooms, event("reply"))
    (bounce,) = effects(rooms, event("bounce"))

    assert isinstance(reply, EndRun)
    assert reply.notify == ("ann", "c1")
    assert isinstance(bounce, EndRun)
    assert bounce.notify is None


@pytest.mark.feature("M26")
def test_a_reply_to_another_campaigns_delivery_ends_only_that_one() -> None:
    theirs = event("reply", enrollment_id=99, campaign_id=20)
    any_rule = world(exit_rules=[{"on": "reply", "scope": "any"}])

    assert ended(world(**REPLY), theirs) == []
    assert ended(any_rule, theirs) == ["reply"]
    assert ended(world(**REPLY), event("reply", enrollment_id=RUN, campaign_id=10)) == ["reply"]


def test_a_delivery_that_is_not_logged_yet_is_known_by_its_run() -> None:
    rooms = world(**REPLY)
    rooms.add(email(delay="1d"), cv_id=2, **REPLY)
    runs = [run(), run(enrollment_id=71, campaign_id=20, cv_id=2)]

    (end,) = effects(rooms, event("reply", enrollment_id=71), runs=runs)

    assert isinstance(end, EndRun)
    assert end.enrollment_id == 71


def test_a_conversation_concerns_the_runs_that_carry_it() -> None:
    runs = [run(), run(enrollment_id=71, conversation_ref="t1")]
    talk = event("reply", conversation_ref="t1")

    found = effects(world(**REPLY), talk, runs=runs)

    assert [one.enrollment_id for one in found if isinstance(one, EndRun)] == [71]
    assert ended(world(**REPLY), event("reply", conversation_ref="else"), runs=runs) == [
        "reply", "reply",
    ]  # fmt: skip


@pytest.mark.feature("M27")
def test_an_open_by_a_machine_is_no_open() -> None:
    opened = {"exit_rules": [{"on": "open"}]}
    machine = event("open", payload={"machine": True})

    assert ended(world(**opened), machine) == []
    assert ended(world(**opened), event("open")) == ["open"]
    assert ended(world(**opened, policy={"machine_opens": "count"}), machine) == ["open"]


def test_a_rule_may_ask_for_one_step() -> None:
    rooms = world(exit_rules=[{"on": "click", "step": "s1"}])

    assert ended(rooms, event("click", step_key="s0")) == []
    assert ended(rooms, event("click", step_key="s1")) == ["click"]


@pytest.mark.feature("M28")
def test_a_hard_bounce_ends_and_suppresses_and_the_third_soft_one_ends() -> None:
    soft = event("bounce", payload={"type": "soft"}, address=ANN)

    hard = effects(world(), event("bounce", address=ANN))

    assert hard == [
        Suppress("email", ANN, "bounce"),
        EndRun(RUN, CONTACT, RunStatus.REMOVED, "bounce", event_id=100, since=NOW),
    ]
    assert effects(world(), soft, runs=[run(soft_bounces=1)]) == []
    assert ended(world(), soft, runs=[run(soft_bounces=2)]) == ["bounce"]


@pytest.mark.parametrize(
    ("kind", "forbidden"),
    [
        ("bounce", [("email", ANN)]),
        ("unsubscribe", [("email", ANN), ("sms", "+491")]),
        ("complaint", [("email", ANN), ("sms", "+491")]),
        ("reply", []),
    ],
)
def test_an_event_that_names_only_the_contact_forbids_what_the_contact_has(
    kind: str, forbidden: list[tuple[str, str]]
) -> None:
    told = effects(world(), event(kind, own=(ANN, "+491")))

    assert forbidden == [
        (one.channel, one.address) for one in told if isinstance(one, Suppress)
    ]


def test_soft_bounces_of_one_batch_add_up() -> None:
    batch = [event("bounce", id=100 + n, payload={"type": "soft"}) for n in range(3)]

    assert ended(world(), *batch[:2]) == []
    assert ended(world(), *batch) == ["bounce"]
    asked = world(exit_rules=[{"on": "bounce", "type": "soft"}])
    assert ended(asked, batch[0]) == ["bounce"]


def test_consent_withdrawn_ends_every_run_on_that_channel() -> None:
    rooms = world(exit_rules=[])
    rooms.add(sms(delay="1d"), cv_id=2)
    rooms.add({"do": "tag_add", "tag": "x", "delay": "1d"}, cv_id=3)
    runs = [run(enrollment_id=no, cv_id=no, campaign_id=no * 10) for no in (1, 2, 3)]

    def gone(stop: EventRow) -> list[int]:
        found = effects(rooms, stop, runs=runs)
        return [one.enrollment_id for one in found if isinstance(one, EndRun)]

    assert gone(event("unsubscribe", address=ANN)) == [1]
    assert gone(event("complaint", channel="sms", address="+1555")) == [2]
    assert gone(event("unsubscribe")) == [1, 2, 3]


def test_what_a_rule_sets_holds_for_an_unsubscribe_too() -> None:
    rooms = world(exit_rules=[{"on": "unsubscribe", "set": {"status": "Out"}}])

    (end,) = effects(rooms, event("unsubscribe"))

    assert isinstance(end, EndRun)
    assert (end.reason, end.set) == ("unsubscribe", {"status": "Out"})


@pytest.mark.feature("Q10")
def test_the_goal_completes_the_run_with_its_word() -> None:
    rooms = world(goal={"on": "tag_added", "tag": "Won"})

    (end,) = effects(rooms, event("tag_added", payload={"tag": "Won"}))

    assert end == EndRun(
        RUN, CONTACT, RunStatus.COMPLETED, "goal:tag:Won", event_id=100, since=NOW
    )
    assert ended(rooms, event("tag_added", payload={"tag": "Lost"})) == []


def test_a_rule_of_the_preset_yields_to_a_goal_of_the_same_event() -> None:
    by_default = world(goal={"on": "reply"})
    by_rule = world(goal={"on": "reply"}, **REPLY)
    of_one_step = world(goal={"on": "reply", "step": "b"})

    assert ended(by_default, event("reply")) == ["goal:reply"]
    assert ended(by_default, event("bounce")) == ["bounce"]
    assert ended(by_rule, event("reply")) == ["reply"]
    assert ended(of_one_step, event("reply", step_key="b")) == ["goal:reply"]
    assert ended(of_one_step, event("reply", step_key="a")) == ["reply"]


def test_leaving_an_attached_list_ends_the_run_however_it_was_attached() -> None:
    left = event("list_removed", payload={"list": "B"})
    by_file = world(triggers=[{"on": "list_added", "list": "B"}])
    by_command = world()
    by_command.attached = [Trigger("c1", Match(kind="list_added", params={"list": "B"}))]
    ignoring = world(
        triggers=[{"on": "list_added", "list": "B"}], policy={"on_list_leave": "ignore"}
    )

    assert ended(by_file, left) == ["left_list:B"]
    assert ended(by_command, left) == ["left_list:B"]
    assert ended(ignoring, left) == []
    assert ended(by_file, event("list_removed", payload={"list": "C"})) == []
    assert ended(by_file, event("list_removed", payload={"list": {"key": "B"}})) == []


def test_an_erased_contact_ends_everything() -> None:
    assert ended(world(exit_rules=[]), event("contact_erased")) == ["contact_erased"]


def test_the_first_end_in_a_batch_wins() -> None:
    rooms = world(goal={"on": "tag_added", "tag": "Won"}, **REPLY)
    won = event("tag_added", id=101, payload={"tag": "Won"})

    assert ended(rooms, event("reply"), won) == ["reply"]
    assert ended(rooms, won, event("reply", id=102)) == ["goal:tag:Won"]


# --- resets

RESTART = {
    "do": "email",
    "subject": "s",
    "text": "t",
    "delay": "5d",
    "reset_on_interaction": True,
}


def moved(
    *events: EventRow, step: dict[str, Any] | None = None, now: Instant = NOW, **keys: Any
) -> list[int]:
    rooms = world(step or RESTART, **{"exit_rules": [], **keys.pop("top", {})})
    known = {"started_at": NOW, "due_at": Instant(NOW + 5 * DAY), **keys}
    found = effects(rooms, *events, runs=[run(**known)], now=now)
    return [one.due_at - NOW for one in found if isinstance(one, MoveDue)]


def talk(days: float, **keys: Any) -> EventRow:
    return event("interaction", occurred_at=Instant(NOW + int(days * DAY)), **keys)


def test_an_interaction_restarts_the_full_delay_as_often_as_it_happens() -> None:
    assert moved(talk(2), now=Instant(NOW + 2 * DAY)) == [7 * DAY]
    both = moved(talk(2), talk(6, id=101), now=Instant(NOW + 2 * DAY))
    assert both == [7 * DAY, 11 * DAY]


def test_a_late_logged_interaction_counts_from_when_it_occurred() -> None:
    assert moved(talk(1), now=Instant(NOW + 3 * DAY)) == [6 * DAY]


def test_an_earlier_interaction_that_comes_in_late_never_shortens_the_wait() -> None:
    now = Instant(NOW + 2 * DAY)

    assert moved(talk(2), talk(1, id=101), now=now) == [7 * DAY]
    assert moved(talk(-1), now=now) == []


def test_the_rows_that_were_handed_in_are_not_changed() -> None:
    row = run(due_at=Instant(NOW + 5 * DAY))

    effects(world(RESTART, exit_rules=[]), talk(2), runs=[row], now=Instant(NOW + 2 * DAY))

    assert row.due_at == NOW + 5 * DAY


@pytest.mark.parametrize(
    "keys",
    [
        {"leased": True},
        {"lane": -1},
        {"due_at": Instant(NOW + DAY)},
        {"flags": FLAG_HELD},
        {"flags": FLAG_KEPT},
        {"attempt": 1},
        {"step": {**RESTART, "reset_on_interaction": False}},
        {"step": {**RESTART, "delay": 0, "send_at": "09:00"}},
    ],
)
def test_only_a_step_whose_delay_still_runs_is_restarted(keys: dict[str, Any]) -> None:
    assert moved(talk(1), now=Instant(NOW + DAY), **keys) == []


def test_a_step_that_counts_from_the_start_restarts_its_delay_too() -> None:
    top = {"policy": {"anchor": "after_start"}}

    assert moved(talk(1), now=Instant(NOW + DAY), top=top) == [6 * DAY]
    numbered = {**RESTART, "day": 5}
    del numbered["delay"]
    assert moved(talk(1), now=Instant(NOW + DAY), step=numbered) == []


def test_an_automatic_reply_restarts_nothing() -> None:
    auto = event("reply", occurred_at=Instant(NOW + DAY), payload={"auto": True})

    assert moved(auto, now=Instant(NOW + DAY)) == []


def test_an_exit_beats_a_reset() -> None:
    found = effects(world(RESTART, **REPLY), event("reply"))

    assert [type(one) for one in found] == [EndRun]


def test_the_next_step_after_a_reset_never_moves_into_the_past() -> None:
    now = Instant(NOW + 4 * DAY)

    assert moved(talk(0.5), now=now, due_at=Instant(NOW + 4 * DAY + HOUR)) == [int(5.5 * DAY)]


# --- releases, requests, refusals


def test_a_changed_field_lets_a_run_that_lacked_it_try_again() -> None:
    changed = event("field_changed", payload={"field": "x", "from": None, "to": "1"})
    rooms = world(exit_rules=[])
    lane = rooms.version(1).lane_key(0, None, rooms.zones)

    for reason in ("missing_tag:X", "no_address", "bad_date:X", "too_long"):
        held = run(lane=-1, hold_reason=reason)
        assert effects(rooms, changed, runs=[held]) == [Release(RUN, lane)]
    assert effects(rooms, changed, runs=[run(lane=-1, hold_reason="task")]) == []
    assert effects(rooms, changed, runs=[run(leased=True)]) == [Poke(RUN)]


def test_a_changed_company_lets_a_run_that_lacked_its_value_try_again() -> None:
    changed = event("company_changed")
    held = run(lane=-1, hold_reason="step_failed")
    ops = {"do": "update", "ops": ["n increment 1"]}

    assert [
        type(one) for one in effects(world({**ops, "target": "company"}), changed, runs=[held])
    ] == [Release]
    assert effects(world(ops), changed, runs=[held]) == []
    lacks = run(lane=-1, hold_reason="missing_tag:X")
    assert [type(one) for one in effects(world(), changed, runs=[lacks])] == [Release]


@pytest.mark.feature("C9")
def test_a_trigger_fires_forward_only() -> None:
    rooms = world(exit_rules=[])
    match = Match(kind="list_added", params={"list": "B"})
    rooms.attached = [Trigger("c1", match, after_event_id=100)]
    added = {"payload": {"list": "B"}}

    assert effects(rooms, event("list_added", id=100, **added), runs=[]) == []
    assert effects(rooms, event("list_added", id=101, **added), runs=[]) == [
        Request("c1", CONTACT, "trigger:list_added")
    ]
    other = event("list_added", id=101, payload={"list": "C"})
    assert effects(rooms, other, runs=[]) == []


@pytest.mark.feature("C29")
def test_a_list_that_was_left_again_before_anybody_looked_begins_nothing() -> None:
    payload = {"payload": {"list": "B"}}
    put, left = event("list_added", **payload), event("list_removed", id=101, **payload)
    again = event("list_added", id=102, **payload)
    asked = Request("c1", CONTACT, "trigger:list_added")
    rooms, staying = world(), world(policy={"on_list_leave": "ignore"})
    for one in (rooms, staying):
        one.attached = [Trigger("c1", Match(kind="list_added", params={"list": "B"}), cv_id=1)]

    assert effects(rooms, put, left, runs=[]) == []
    assert effects(rooms, put, left, again, runs=[]) == [asked]
    other = event("list_removed", id=101, payload={"list": "C"})
    assert effects(rooms, put, other, runs=[]) == [asked, Later(101)]
    assert effects(staying, put, left, runs=[]) == [asked]


def test_a_new_contact_fires_only_on_the_board_that_is_asked_for() -> None:
    rooms = world()
    rooms.attached = [Trigger("c1", Match(kind="contact_created", params={"board": "B"}))]

    put = {"kind": "list_added", "payload": {"list": "B"}}
    assert effects(rooms, event("contact_created"), runs=[]) == []
    assert effects(rooms, event(**put), runs=[]) == []
    other = event("list_added", payload={"list": "C"}, newcomer=True)
    assert effects(rooms, other, runs=[]) == []
    assert effects(rooms, event(**put, newcomer=True), runs=[]) == [
        Request("c1", CONTACT, "trigger:contact_created")
    ]
    rooms.attached = [Trigger("c1", rooms.attached[0].match, after_contact_id=CONTACT)]
    assert effects(rooms, event(**put, newcomer=True), runs=[]) == []


def test_an_end_comes_before_the_request_of_the_same_event() -> None:
    rooms = world(goal={"on": "tag_added", "tag": "Won"})
    rooms.attached = [Trigger("c1", Match(kind="tag_added", params={"tag": "Won"}))]

    found = effects(rooms, event("tag_added", payload={"tag": "Won"}))

    assert [type(one) for one in found] == [EndRun, Request]


def test_what_nobody_can_be_found_for_is_refused_and_does_nothing() -> None:
    lost = event("reply", unresolved="unknown_contact", address=ANN)

    assert effects(world(**REPLY), lost) == [Refuse(100, "unknown_contact")]


@pytest.mark.parametrize("kind", ["unsubscribe", "complaint", "bounce"])
def test_an_address_that_no_contact_carries_is_suppressed_all_the_same(kind: str) -> None:
    """It may stand in an attribute that a campaign maps, or come back with the next import."""
    stranger = event(kind, unresolved="unknown_contact", address=ANN)

    assert effects(world(), stranger) == [
        Suppress("email", ANN, kind),
        Refuse(100, "unknown_contact"),
    ]


def test_interest_holds_what_any_rule_or_trigger_listens_to() -> None:
    rooms = world(goal={"on": "form", "form": "f"})
    bits = interest([Trigger("c1", Match(kind="contact_created"))], [rooms.version(1)])

    assert bits & 128
    assert bits & 8192
    assert bits & 1
    assert not bits & 2048


kinds = st.sampled_from(
    ["reply", "interaction", "bounce", "unsubscribe", "tag_added", "list_removed", "open"]
)
payloads = st.sampled_from(
    [{}, {"auto": True}, {"type": "soft"}, {"tag": "Won"}, {"list": "B"}, {"machine": True}]
)
events = st.builds(
    event,
    kinds,
    id=st.integers(1, 9),
    payload=payloads,
    contact_ids=st.sampled_from([(), (7,), (7, 8)]),
    campaign_id=st.sampled_from([None, 10, 20]),
    address=st.sampled_from([None, ANN]),
    occurred_at=st.integers(NOW - 9 * DAY, NOW),
    unresolved=st.sampled_from([None, None, "unknown_contact"]),
)
runs_of = st.lists(
    st.builds(
        run,
        enrollment_id=st.integers(1, 9),
        contact_id=st.sampled_from([7, 8]),
        lane=st.sampled_from([-1, 3]),
        leased=st.booleans(),
        due_at=st.integers(NOW - DAY, NOW + 5 * DAY).map(Instant),
    ),
    max_size=4,
    unique_by=lambda row: row.enrollment_id,
)
ROOMS = world(
    RESTART,
    goal={"on": "tag_added", "tag": "Won"},
    triggers=[{"on": "list_added", "list": "B"}],
    **REPLY,
)


@given(st.lists(events, max_size=6, unique_by=lambda one: one.id), runs_of)
def test_a_batch_ends_a_run_once_and_touches_it_no_more(
    batch: list[EventRow], runs: list[RunRow]
) -> None:
    found = digest(batch, runs, NOW, ROOMS)

    over: set[int] = set()
    dues = {row.enrollment_id: row.due_at for row in runs}
    concerned = {who for one in batch if one.unresolved is None for who in one.contact_ids}
    for effect in found:
        if isinstance(effect, EndRun):
            assert effect.enrollment_id not in over
            assert effect.contact_id in concerned
            over.add(effect.enrollment_id)
        elif isinstance(effect, MoveDue):
            assert effect.enrollment_id not in over
            assert effect.due_at > dues[effect.enrollment_id] > NOW
            dues[effect.enrollment_id] = effect.due_at


@given(st.lists(events, max_size=5), runs_of, st.sampled_from(["reply", "unsubscribe"]))
def test_one_more_stop_never_lets_a_run_go_on(
    batch: list[EventRow], runs: list[RunRow], kind: str
) -> None:
    def over(events: list[EventRow]) -> set[int]:
        found = digest(events, runs, NOW, ROOMS)
        return {one.enrollment_id for one in found if isinstance(one, EndRun)}

    assert over(batch) <= over([*batch, event(kind)])
    assert {row.enrollment_id for row in runs if row.contact_id == CONTACT} <= over(
        [*batch, event("unsubscribe")]
    )


# --- several fields at once


def changed(**fields: object) -> list[EventRow]:
    told = [{"field": name, "from": None, "to": value} for name, value in fields.items()]
    return one_by_one(event("field_changed", payload={"changes": told}))


def test_every_field_of_one_change_is_heard() -> None:
    rooms = world(exit_rules=[{"on": "field_changed", "field": "stage", "to": "won"}])
    hot = Match(kind="status_changed", params={"field": "status", "to": "hot"})
    rooms.attached.append(Trigger("c2", hot))
    found = effects(rooms, *changed(status="hot", stage="won", n=1))

    assert [one.reason for one in found if isinstance(one, EndRun)] == ["field_changed"]
    assert [one.campaign_key for one in found if isinstance(one, Request)] == ["c2"]


@pytest.mark.parametrize("odd", [[], [1, "x"], {"field": "a"}, None, "all"])
def test_changes_of_another_shape_are_one_event(odd: object) -> None:
    told = event("field_changed", payload={"changes": odd, "field": "a", "to": 1})

    assert one_by_one(told) == [told]
    assert one_by_one(event("reply", payload={"changes": [{"field": "a"}]}))[0].payload != {}
