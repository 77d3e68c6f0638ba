"""Where an event lets a run go on or begin, in a campaign of several sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dripd.campaigns.action import ResetRuns
from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import FLAG_WAITING, RunStatus
from dripd.campaigns.parse import parse
from dripd.campaigns.validate import check
from dripd.campaigns.version import Version
from dripd.policy.admission import decide_one
from dripd.policy.admission_rows import Accept, Reject
from dripd.policy.inbox import digest
from dripd.policy.inbox_rows import (
    EndRun,
    EnterLater,
    EnterSequence,
    ForgetRuns,
    Later,
    Request,
    one_by_one,
)
from dripd.policy.perform import chain
from tests.support.rooms import (
    ACCOUNT,
    CONTACT,
    NOW,
    RUN,
    Trigger,
    World,
    event,
    leased,
    request,
    run,
)

MISSED = {"tag": "missed"}


def document(**keys: Any) -> dict[str, Any]:
    return {
        "campaign": "c1",
        "account": "acme",
        "name": "C",
        "sequences": [
            {
                "key": "invite",
                "goal": {"on": "tag_added", "tag": "made"},
                "steps": [tag("a1"), tag("a2", delay="9d")],
            },
            {
                "key": "confirm",
                "on": [{"on": "tag_added", "tag": "made"}],
                "steps": [tag("b1", delay="1d")],
            },
            {
                "key": "missed",
                "on": [{"on": "tag_added", "tag": "missed"}],
                "steps": [{"key": "again", "do": "reset_campaign"}, tag("d1")],
            },
        ],
        **keys,
    }


def tag(key: str, **keys: Any) -> dict[str, Any]:
    return {"key": key, "do": "tag_add", "tag": key, **keys}


def laid(**keys: Any) -> World:
    found = World()
    definition = parse(document(**keys))
    found.versions[1] = Version(
        cv_id=1,
        account_id=ACCOUNT,
        campaign_id=10,
        campaign_key="c1",
        owner="ann",
        definition=definition,
    )
    found.attached = [Trigger("c1", match, 0, 1) for match in definition.entries()]
    return found


@pytest.fixture
def world() -> World:
    return laid()


def tagged(name: str, **keys: Any) -> Any:
    return event("tag_added", payload={"tag": name}, **keys)


def test_sequences_stand_behind_each_other_and_none_runs_into_the_next(world: World) -> None:
    definition = world.versions[1].definition

    assert [(one.key, one.start, one.stop) for one in definition.sequences] == [
        ("invite", 0, 2),
        ("confirm", 2, 3),
        ("missed", 3, 5),
    ]
    assert [definition.next_index(n) for n in range(5)] == [1, None, None, 4, None]
    assert definition.step_path(4) == "sequences[2].steps[1]"
    assert [definition.sequence_at(n) for n in range(5)] == [0, 0, 1, 2, 2]


def test_an_entry_event_moves_a_live_run_even_past_a_goal(world: World) -> None:
    (entered,) = digest([tagged("made")], [run(step_no=1)], NOW, world)

    assert isinstance(entered, EnterSequence)
    assert (entered.step_no, entered.due_at, entered.entered) == (2, NOW + 86_400_000, 0b011)
    assert entered.goal


def test_a_run_enters_a_sequence_once(world: World) -> None:
    assert digest([tagged("made")], [run(step_no=2)], NOW, world) == []
    assert digest([tagged("made")], [run(step_no=4, entered=0b010)], NOW, world) == []
    (entered,) = digest([tagged("made")], [run(step_no=4)], NOW, world)
    assert isinstance(entered, EnterSequence)


def test_a_sequences_goal_ends_only_runs_that_stand_in_it(world: World) -> None:
    again = run(step_no=1, entered=0b010)
    end, asked = digest([tagged("made")], [again], NOW, world)

    assert isinstance(asked, Request)
    assert end == EndRun(
        RUN, CONTACT, RunStatus.COMPLETED, "goal:tag:made", event_id=100, since=NOW
    )
    assert digest([tagged("made")], [run(step_no=4, entered=0b011)], NOW, world) == []


def test_without_a_live_run_the_event_asks_for_one_in_its_sequence(world: World) -> None:
    (asked,) = digest([tagged("missed")], [], NOW, world)

    assert asked == Request("c1", CONTACT, "trigger:tag_added", "missed")


def test_an_event_waits_for_the_step_that_is_in_flight_and_so_do_later_ones(
    world: World,
) -> None:
    flying = run(leased=True)
    effects = digest([tagged("made", id=7), event("open", id=8)], [flying], NOW, world)

    assert effects == [Later(7), Later(8)]
    assert digest([tagged("other")], [flying], NOW, world) == []


def test_a_change_of_several_fields_stays_in_the_queue_as_one() -> None:
    """Where only its second must wait, its first would ask for a run each time it is looked at."""
    won = {"on": "field_changed", "field": "stage", "to": "won"}
    world = laid(
        sequences=[
            {"key": "invite", "steps": [tag("a1", delay="1d")]},
            {"key": "won", "on": [won], "steps": [tag("b1", delay="1d")]},
        ]
    )
    hot = Match(kind="field_changed", params={"field": "status", "to": "hot"})
    world.attached.append(Trigger("c2", hot))
    told = [{"field": "status", "to": "hot"}, {"field": "stage", "to": "won"}]
    both = one_by_one(event("field_changed", payload={"changes": told}))

    assert digest(both, [run(leased=True)], NOW, world) == [Later(100)]
    assert {Request, EnterSequence} == {type(one) for one in digest(both, [run()], NOW, world)}


def test_a_later_event_of_the_batch_sees_where_the_run_stands_now(world: World) -> None:
    waiting = run(flags=FLAG_WAITING)
    effects = digest([tagged("made", id=7), tagged("missed", id=8)], [waiting], NOW, world)

    assert [e.step_no for e in effects if isinstance(e, EnterSequence)] == [2, 3]
    assert waiting.step_no == 0


def begun(**keys: Any) -> Any:
    """A run whose first step is done as soon as somebody looks."""
    return run(due_at=NOW, **keys)


def again(**keys: Any) -> Any:
    said = {"enrollment": RUN, "campaign": "c1", "sequence": "confirm", "source": "trigger:x"}
    return event("enter", payload=said, **keys)


def test_an_entry_waits_for_the_steps_that_its_run_begins_with(world: World) -> None:
    later = EnterLater(RUN, CONTACT, "c1", "confirm", "trigger:tag_added")
    reached = replace(later, goal=True)

    assert digest([tagged("made")], [begun()], NOW, world) == [reached]
    told = again(id=9)
    told.payload = {**reached.payload(), "source": "trigger:x"}
    (entered,) = digest([told], [run(step_no=1)], NOW, world)
    assert isinstance(entered, EnterSequence)
    assert entered.goal
    assert digest([again(id=9)], [begun()], NOW, world) == [Later(9)]
    assert digest([again(id=9)], [begun(leased=True)], NOW, world) == [Later(9)]
    first, second = digest([tagged("missed"), tagged("made")], [run()], NOW, world)
    assert isinstance(first, EnterSequence)
    assert second == later  # the reset and the tag of `missed` come first


@pytest.mark.parametrize(
    "keys",
    [
        {"parked": True},
        {"hold_reason": "quota"},
        {"lane": -1},
        {"flags": FLAG_WAITING},
        {"step_no": 1},
    ],
)
def test_what_is_not_done_at_once_is_not_waited_for(world: World, keys: Any) -> None:
    (entered,) = digest([tagged("made")], [begun(**keys)], NOW, world)

    assert isinstance(entered, EnterSequence)
    world.running = False
    (entered,) = digest([tagged("made")], [begun()], NOW, world)
    assert isinstance(entered, EnterSequence)


def test_an_entry_that_waited_moves_the_run_or_starts_one(world: World) -> None:
    (entered,) = digest([again()], [run(step_no=1)], NOW, world)

    assert isinstance(entered, EnterSequence)
    assert digest([again()], [run(step_no=4, entered=0b010)], NOW, world) == []
    asked = Request("c1", CONTACT, "trigger:x", "confirm")
    assert digest([again()], [], NOW, world) == [asked]
    lost = event("enter", payload={"enrollment": RUN, "sequence": "gone"})
    assert digest([lost], [run()], NOW, world) == []


def test_a_stop_does_not_wait_behind_an_entry(world: World) -> None:
    effects = digest([again(id=9), event("reply", id=10)], [begun()], NOW, world)

    assert effects == [
        Later(9),
        EndRun(RUN, CONTACT, RunStatus.REMOVED, "reply", event_id=10, since=NOW),
    ]


def test_a_request_begins_in_its_sequence_and_may_reset_what_was(world: World) -> None:
    plain = decide_one(request(unreset=1, runs=1), NOW, world)
    again = decide_one(request(unreset=1, runs=1, entry="missed"), NOW, world)
    other = decide_one(request(entry="confirm"), NOW, world)

    assert isinstance(plain, Reject)
    assert plain.reason == "already_ran"
    assert isinstance(again, Accept)
    assert (again.step_no, again.resets) == (3, True)
    assert isinstance(other, Accept)
    assert (other.step_no, other.resets) == (2, False)


def test_a_live_run_is_never_joined_by_a_second(world: World) -> None:
    found = decide_one(request(live=1, unreset=1, runs=1, entry="missed"), NOW, world)

    assert isinstance(found, Reject)
    assert found.reason == "already_in:c1"


def test_a_reset_of_its_own_campaign_lets_the_run_go_on(world: World) -> None:
    change = chain(leased(step_no=3), world.versions[1], NOW, world)

    assert change.effects[0] == ResetRuns(campaign_key="c1", own=True)
    assert [row.step_no for row in change.log] == [3, 4]


def test_what_another_campaign_resets_ends_and_counts_no_more(world: World) -> None:
    told = event("reset", payload={"campaign": "c1"})

    assert digest([told], [run()], NOW, world) == [
        EndRun(RUN, CONTACT, RunStatus.TERMINATED, "reset", event_id=100, since=NOW),
        ForgetRuns(CONTACT, "c1"),
    ]
    other = event("reset", payload={"campaign": "c2"})
    assert digest([other], [run()], NOW, world) == [ForgetRuns(CONTACT, "c2")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"steps": [tag("x")]}, "steps"),
        ({"sequences": []}, "sequences"),
        ({"sequences": [{"key": "a", "steps": []}]}, "sequences[0].steps"),
        (
            {"sequences": [{"key": "a", "steps": [tag("x")]}, {"key": "b", "steps": [tag("y")]}]},
            "sequences[1]",
        ),
        (
            {"sequences": [{"key": "a", "steps": [tag("x")]},
                           {"key": "a", "on": [{"on": "reply"}], "steps": [tag("y")]}]},
            "sequences[1].key",
        ),
        (
            {"sequences": [{"key": "a", "steps": [tag("x")]},
                           {"key": "b", "on": [{"on": "reply"}], "steps": [tag("x")]}]},
            "sequences[1].steps[0].key",
        ),
    ],
)  # fmt: skip
def test_a_fault_in_a_sequence_says_where(change: dict[str, Any], path: str) -> None:
    _, report = check(document(**change))

    assert path in [fault.path for fault in report.faults]


def test_only_resets_that_no_event_drives_are_doubtful() -> None:
    _, driven = check(document())
    _, loose = check(
        {"campaign": "c", "account": "a", "name": "C",
         "steps": [{"key": "x", "do": "reset_campaign"}]}
    )  # fmt: skip

    assert "reset_not_event_driven" not in [w.code for w in driven.warnings]
    assert "reset_not_event_driven" in [w.code for w in loose.warnings]
