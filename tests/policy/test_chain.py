"""Internal steps are performed in one pass; each sees what those before it did."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.action import (
    AddTag,
    AddToList,
    Effect,
    MakeTask,
    MoveTo,
    Note,
    RemoveFromList,
    RemoveTag,
    UpdateCompany,
    UpdateContact,
)
from dripd.campaigns.definition import Op
from dripd.campaigns.enrollment import Change, End, Leased, LogState, RunStatus
from dripd.campaigns.ops import parse_op
from dripd.clock import DAY, HOUR, Instant, format_instant, parse_instant
from dripd.policy.fields import operate
from dripd.policy.perform import CHAIN_MOST, chain
from tests.support.rooms import BERLIN, NOW, World, email, leased, make_version, tag

COMPLETED = End(RunStatus.COMPLETED, "completed")


def ran(*steps: dict[str, Any], **keys: Any) -> Change:
    top = keys.pop("top", {})
    return chain(leased(**keys), make_version(*steps, **top), NOW, World())


def told(change: Change) -> list[tuple[int, int, str, str | None]]:
    return [(row.seq, row.step_no, row.state.name, row.reason) for row in change.log]


def untag(name: str = "x", **keys: Any) -> dict[str, Any]:
    return {"do": "tag_remove", "tag": name, **keys}


def lists(verb: str, *names: str, **keys: Any) -> dict[str, Any]:
    return {"do": f"list_{verb}", "list": list(names), **keys}


def update(*ops: str, **keys: Any) -> dict[str, Any]:
    return {"do": "update", "ops": list(ops), **keys}


def test_steps_without_delay_are_performed_in_one_pass() -> None:
    change = ran(*(tag(name) for name in "abcde"))

    assert change.effects == [AddTag(tag=name) for name in "abcde"]
    assert told(change) == [(no + 1, no, "DONE", None) for no in range(5)]
    assert {row.at for row in change.log} == {NOW}
    assert change.end == COMPLETED


def test_a_pass_breaks_off_before_a_message_and_before_a_delay() -> None:
    message = ran(tag(), email())
    delayed = ran(tag(), tag("y", delay="2h"))

    for change, due in ((message, NOW), (delayed, NOW + 2 * HOUR)):
        assert change.next is not None
        assert (change.next.step_no, change.next.seq, change.next.due_at) == (1, 2, due)
        assert len(change.log) == 1


def test_a_delay_step_is_done_and_what_follows_counts_from_it() -> None:
    change = ran({"do": "delay", "delay": "1d"}, tag(delay="2d"))

    assert change.next is not None
    assert change.next.due_at == NOW + 2 * DAY
    assert told(change) == [(1, 0, "DONE", None)]


def test_a_pass_breaks_off_after_what_its_own_version_listens_to() -> None:
    """The goal on the tag is the inbox's to find: the rest waits until it has."""
    goal = {"goal": {"on": "tag_added", "tag": "Won"}}

    change = ran(tag("Won"), tag("y"), top=goal)

    assert change.effects == [AddTag(tag="Won")]
    assert change.next is not None
    assert (change.next.step_no, change.next.due_at) == (1, NOW)
    assert len(ran(tag("Won"), tag("y"), top=goal, tags=frozenset({"Won"})).effects) == 1


def test_a_step_of_another_window_is_leased_by_itself() -> None:
    window = {"from": "09:00", "to": "17:00"}

    change = ran(tag(), tag("y", window=window))

    assert change.next is not None
    assert change.next.lane is not None
    assert change.next.lane.calendar != ""


def test_what_changes_nothing_is_a_noop() -> None:
    change = ran(
        tag("a"),
        untag("b"),
        lists("add", "l"),
        lists("remove", "m"),
        update("tier set gold"),
        tags=frozenset({"a"}),
        lists=frozenset({"l"}),
        attrs={"tier": "gold"},
    )

    assert change.effects == []
    assert [row.reason for row in change.log] == ["noop"] * 5
    assert {row.state for row in change.log} == {LogState.DONE}


def test_later_steps_of_a_pass_see_what_earlier_ones_did() -> None:
    change = ran(
        tag("a"),
        untag("a", when="'a' in tags"),
        tag("b", when="'a' in tags"),
        update("score increment 5", "tier set gold"),
        lists("add", "vip", when="attrs.tier == 'gold' and attrs.score == 8"),
        lists("remove", "vip", when="'vip' in lists"),
        attrs={"score": 3},
        top={"policy": {"on_list_leave": "ignore"}},
    )

    assert change.effects == [
        AddTag(tag="a"),
        RemoveTag(tag="a"),
        UpdateContact(attrs={"score": 8, "tier": "gold"}),
        AddToList(list_key="vip"),
        RemoveFromList(list_key="vip"),
    ]
    assert told(change)[2] == (3, 2, "SKIPPED", "condition_false")


@pytest.mark.feature("C31")
def test_leaving_the_attached_list_last_completes_the_run() -> None:
    attached = {"triggers": [{"on": "list_added", "list": "B"}]}

    last = ran(tag(), lists("remove", "B"), lists=frozenset("B"), top=attached)
    early = ran(lists("remove", "B"), lists("add", "D"), lists=frozenset("B"), top=attached)
    kept = ran(lists("remove", "B"), tag(), lists=frozenset("B"),
               top={**attached, "policy": {"on_list_leave": "ignore"}})  # fmt: skip

    assert last.end == End(RunStatus.COMPLETED, "completed:left_list")
    assert early.end == End(RunStatus.REMOVED, "left_list:B")
    assert early.effects == [RemoveFromList(list_key="B")]
    assert kept.end == COMPLETED


@pytest.mark.feature("C37")
def test_a_move_ends_the_run_and_nothing_behind_it_is_performed() -> None:
    change = ran({"do": "move", "campaign": "b"}, email())

    assert change.end == End(RunStatus.REMOVED, "moved:b")
    assert change.effects == [MoveTo(campaign_key="b")]


def test_an_end_ends_the_run_where_its_condition_holds() -> None:
    ended = ran({"do": "end"}, top={})
    maybe = ran({"do": "end", "when": "'x' in tags"}, tag())

    assert ended.end == End(RunStatus.COMPLETED, "end")
    assert told(maybe)[0] == (1, 0, "SKIPPED", "condition_false")
    assert maybe.effects == [AddTag(tag="x")]


def test_only_the_leased_step_can_be_late() -> None:
    change = ran(
        tag("a", expires_after="1h"), tag("b", expires_after="1h"), due_at=Instant(NOW - DAY)
    )

    assert [row[2:] for row in told(change)] == [("SKIPPED", "expired"), ("DONE", None)]


def task(**keys: Any) -> dict[str, Any]:
    return {"do": "custom_task", "title": "Call {First Name}", **keys}


def made(*steps: dict[str, Any], **keys: Any) -> MakeTask:
    (found,) = [e for e in ran(*steps, **keys).effects if isinstance(e, MakeTask)]
    return found


def test_a_task_is_made_for_its_assignee() -> None:
    step = task(text="about {plan}", due="2h", reminder="30m", assignee="contact.owner")

    found = made(step, owner="bob", attrs={"first_name": "Ann", "plan": "gold"}, seq=4)

    assert found == MakeTask(
        seq=4,
        step_key="s0",
        kind="custom",
        title="Call Ann",
        assignee="bob",
        due_at=Instant(NOW + 2 * HOUR),
        reminder_at=Instant(NOW + 2 * HOUR - 1_800_000),
        recipient="bob",
        payload={"campaign": "c1", "text": "about gold"},
    )


def test_a_task_that_nobody_owns_falls_to_the_campaigns_owner_and_is_noted() -> None:
    change = ran(task(assignee="contact.service_owner"))

    note, found = change.effects
    assert note == Note(
        kind="assignee_missing", detail={"seq": 1, "wanted": "contact.service_owner"}
    )
    assert isinstance(found, MakeTask)
    assert found.assignee == "ann"


def test_who_is_told_of_a_task_is_a_person_of_the_contact() -> None:
    notify = {"notify": {"field": "rep"}}

    assert made(task(), attrs={"first_name": "A", "rep": "eve"}, top=notify).recipient == "eve"
    assert made(task(), top=notify).recipient == "ann"
    assert made(task(notify=False), top=notify).recipient is None
    quiet = {"notify": {"field": "rep", "task_due": False}}
    assert made(task(), top=quiet).recipient is None


def test_a_task_whose_title_lacks_a_value_holds_the_run_there() -> None:
    change = ran(tag(), task(), attrs={})

    assert change.next is not None
    assert (change.next.lane, change.next.hold_reason) == (None, "missing_tag:First Name")
    assert (change.next.step_no, change.next.seq) == (1, 2)
    assert told(change) == [(1, 0, "DONE", None)]
    assert change.effects == [AddTag(tag="x")]


def test_an_update_is_all_or_nothing() -> None:
    change = ran(update("tier set gold", "score increment 5"), tag(), attrs={"score": "many"})

    assert change.effects == []
    assert told(change) == [(1, 0, "FAILED", "unable:score")]
    assert change.next is not None
    assert (change.next.step_no, change.next.seq) == (0, 2)
    assert (change.next.lane, change.next.hold_reason) == (None, "step_failed")
    assert change.next.is_mendable


def test_an_update_reads_values_as_the_field_holds_them() -> None:
    fields = {"n": "number", "ok": "bool", "at": "datetime"}
    ops = update("n set 5", "ok set true", "at set 2026-03-01T10:00+01:00")
    change = ran(ops, top={"fields": fields})
    wrong = ran(update("n set five"), top={"fields": fields})

    assert change.effects == [
        UpdateContact(attrs={"n": 5, "ok": True, "at": "2026-03-01T10:00+01:00"}, columns={})
    ]
    assert told(wrong) == [(1, 0, "FAILED", "unable:n")]


def test_an_update_writes_columns_attrs_and_the_company() -> None:
    change = ran(
        update("contact.owner set bob", "attrs.tier set gold", "phone clear", "n now"),
        update("company.size increment 2", target="company"),
        update("external_id set 5"),
        company={"size": 3},
    )

    assert change.effects == [
        UpdateContact(
            attrs={"tier": "gold", "n": "2026-03-02T10:00:00Z"},
            columns={"owner": "bob", "phone": None},
        ),
        UpdateCompany(attrs={"size": 5}),
    ]
    assert told(change)[2][2:] == ("FAILED", "unable:external_id")


def test_operations_in_one_step_build_on_each_other() -> None:
    change = ran(update("n set 1", "n increment 2", "many add a", "many add b", "many add a"))

    assert change.effects == [UpdateContact(attrs={"n": 3, "many": ["a", "b"]})]


@pytest.mark.parametrize(
    ("op", "before", "after"),
    [
        ("f set 5", None, "5"),
        ("f clear", "x", None),
        ("f add a", None, ["a"]),
        ("f add a", "b", ["b", "a"]),
        ("f remove a", ["a", "b"], ["b"]),
        ("f increment 2", "40", 42),
        ("f increment 2", "1.5", 3.5),
        ("f increment", None, 1),
        ("f increment", "", 1),
    ],
)
def test_operations_on_a_field(op: str, before: object, after: object) -> None:
    assert operate(parse_op(op), before, format_instant(NOW)) == after


@pytest.mark.feature("F16")
@pytest.mark.parametrize(
    ("zone", "of_account", "day"),
    [
        ("America/New_York", "UTC", "2026-01-05"),
        (None, "America/New_York", "2026-01-05"),
        ("Nowhere/Else", "America/New_York", "2026-01-05"),
        (BERLIN, "America/New_York", "2026-01-06"),
    ],
)
def test_now_in_a_date_is_the_day_where_the_contact_is(
    zone: str | None, of_account: str, day: str
) -> None:
    late = parse_instant("2026-01-06T03:00:00Z")
    fields = {"fields": {"since": "date", "at": "datetime"}}
    version = make_version(update("since now", "at now", "other now"), **fields)
    change = chain(leased(timezone=zone), version, late, World(home=of_account))

    told = {"since": day, "at": "2026-01-06T03:00:00Z", "other": "2026-01-06T03:00:00Z"}
    assert change.effects == [UpdateContact(attrs=told)]


@pytest.mark.parametrize("before", [True, "x", [1], "nan", float("inf")])
def test_what_is_no_number_is_not_incremented(before: object) -> None:
    with pytest.raises(ValueError, match=r"number|float"):
        operate(Op(op="increment", field="f", value=1), before, format_instant(NOW))


def test_a_disabled_operation_is_not_performed() -> None:
    ops = [{"op": "set", "field": "a", "value": "1", "enabled": False}, "b set 2"]

    assert ran({"do": "update", "ops": ops}).effects == [UpdateContact(attrs={"b": "2"})]


@pytest.mark.slow
def test_a_long_chain_goes_on_in_the_next_pass() -> None:
    steps = [tag("x") for _ in range(CHAIN_MOST + 3)]
    began = time.process_time()

    change = chain(leased(), make_version(*steps), NOW, World())

    assert change.next is not None
    assert (change.next.step_no, change.next.seq) == (CHAIN_MOST, CHAIN_MOST + 1)
    assert len(change.log) == CHAIN_MOST
    assert time.process_time() - began < 5


steps = st.one_of(
    st.builds(tag, st.sampled_from("ab"), when=st.sampled_from([None, "'a' in tags"])),
    st.builds(untag, st.sampled_from("ab")),
    st.builds(lists, st.sampled_from(["add", "remove"]), st.sampled_from("lm")),
    st.builds(update, st.sampled_from(["n increment", "n clear", "n set x", "m add 1"])),
    st.just({"do": "delay"}),
    st.just(task()),
    st.just(email()),
    st.just({"do": "delay", "delay": "1h"}),
)


@given(st.lists(steps, min_size=1, max_size=8), st.booleans())
def test_a_run_is_performed_step_by_step_whatever_it_is_made_of(
    kinds: list[dict[str, Any]], named: bool
) -> None:
    """Every pass goes on where the last one broke off; effects on the facts are idempotent."""
    version = make_version(*kinds, goal={"on": "tag_added", "tag": "b"})
    row = leased(attrs={"first_name": "Ann"} if named else {})
    seqs: list[int] = []
    while row.step_no < len(version.steps) and not version.steps[row.step_no].is_message:
        change = chain(row, version, NOW, World())
        seqs += [entry.seq for entry in change.log]
        assert (change.next is None) != (change.end is None)
        _is_idempotent(row, change.effects)
        if change.next is None or change.next.lane is None:
            break
        assert change.next.step_no > row.step_no
        row = _leased_again(row, change)

    assert seqs == list(range(1, len(seqs) + 1))


def _leased_again(row: Leased, change: Change) -> Leased:
    assert change.next is not None
    return leased(
        step_no=change.next.step_no,
        seq=change.next.seq,
        due_at=change.next.due_at,
        attrs=row.attrs,
        tags=row.tags,
        lists=row.lists,
    )


def _is_idempotent(row: Leased, effects: list[Effect]) -> None:
    """The facts of the lease are what the effects make of them."""
    for effect in effects:
        if isinstance(effect, AddTag | RemoveTag):
            last = [
                e for e in effects if isinstance(e, AddTag | RemoveTag) and e.tag == effect.tag
            ]
            assert (effect.tag in row.tags) is isinstance(last[-1], AddTag)
