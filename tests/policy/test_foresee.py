"""What a run will send is played through by the rules that will send it."""

from __future__ import annotations

from dripd.clock import DAY, HOUR, MINUTE, Millis, format_instant, parse_instant
from dripd.policy.foresee import foresee
from tests.support.rooms import NOW, World, email, leased, sms, tag


def test_every_message_is_foreseen_at_its_moment() -> None:
    world = World()
    version = world.add(email(), sms(delay="3d"), {"do": "delay", "delay": "1d"}, email())
    found = foresee(leased(), version, world)

    assert [(one.step_key, one.channel, one.segments, one.at - NOW) for one in found] == [
        ("s0", "email", None, 0),
        ("s1", "sms", 1, 3 * DAY),
        ("s3", "email", None, 4 * DAY),
    ]
    assert found[0].subject == "Hi Ann"


def test_a_window_moves_what_is_due_while_it_is_closed() -> None:
    world = World()
    hours = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}
    version = world.add(email(), email(delay="5d"), window=hours)

    assert [format_instant(one.at) for one in foresee(leased(), version, world)] == [
        "2026-03-02T10:00:00Z",
        "2026-03-09T09:00:00Z",
    ]
    late = leased(due_at=parse_instant("2026-03-02T16:59:59Z"))
    assert format_instant(foresee(late, version, world, Millis(2_000))[0].at) == (
        "2026-03-03T09:00:00Z"
    )


def test_what_misses_its_window_is_foreseen_with_by_how_much() -> None:
    world = World()
    version = world.add(email(), email(delay="9h"), window={"from": "09:00", "to": "17:00"})
    found = foresee(leased(due_at=parse_instant("2026-03-02T16:59:59Z")), version, world)

    assert [None, HOUR + 59 * MINUTE + 59_000 + 7 * HOUR] == [one.missed_ms for one in found]
    margin = Millis(2_000)
    late = leased(due_at=parse_instant("2026-03-02T16:59:59Z"))
    assert [0, HOUR] == [one.missed_ms for one in foresee(late, version, world, margin)]


def test_a_step_sees_what_those_before_it_changed_and_the_facts_stay() -> None:
    world = World()
    facts = leased()
    version = world.add(
        {"do": "update", "ops": ["tier set gold"]},
        email(when="attrs.tier == 'gold'"),
        email(when="attrs.tier == 'silver'"),
        tag(),
    )

    assert [one.step_key for one in foresee(facts, version, world)] == ["s1"]
    assert (facts.attrs, facts.tags, facts.step_no) == ({"first_name": "Ann"}, frozenset(), 0)


def test_what_would_be_held_is_foreseen_with_the_reason() -> None:
    world = World()
    version = world.add(sms(text="Hi {City}"), sms(delay="1h"))
    found = foresee(leased(), version, world)

    assert [(one.held, one.segments, one.at - NOW) for one in found] == [
        ("missing_tag:City", 1, 0),
        (None, 1, HOUR),
    ]


def test_what_waits_for_an_event_is_taken_as_waiting_in_vain_and_a_task_as_done() -> None:
    world = World()
    version = world.add(
        {"do": "wait_for", "on": "click", "timeout": "3d", "then": "yes", "else": "no"},
        sms(key="yes", next="end"),
        {"do": "task", "title": "Call", "blocking": True, "key": "no"},
        sms(key="last", require_approval=True),
    )

    assert [(one.step_key, one.at - NOW) for one in foresee(leased(), version, world)] == [
        ("last", 3 * DAY)
    ]


def test_a_run_that_would_end_owes_nothing_more() -> None:
    world = World()
    version = world.add(sms(on_no_phone="exit"), sms())

    assert foresee(leased(phone=None), version, world) == []
