"""A definition answers what comes next, which window holds, and what an event means."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.condition import compile_condition
from dripd.campaigns.definition import Definition, Match, Step
from dripd.campaigns.window import WindowSpec, build_window, format_minute, parse_minute

OFFICE = WindowSpec(days=frozenset(range(5)), opens=540, closes=1020, holidays=("DE-BE",))


def campaign(*steps: Step, **keys: object) -> Definition:
    return Definition(campaign="c", account="a", name="C", steps=steps, **keys)  # type: ignore[arg-type]


def test_steps_follow_each_other_unless_they_say_otherwise() -> None:
    maybe = compile_condition("tags")
    found = campaign(
        Step(key="a", kind="email"),
        Step(key="b", kind="end", when=maybe),
        Step(key="c", kind="sms", next="e"),
        Step(key="d", kind="end"),
        Step(key="e", kind="email", next="end"),
        Step(key="f", kind="email"),
    )

    assert [found.next_index(i) for i in range(6)] == [1, 2, 4, None, None, None]
    assert found.step_index("c") == 2
    with pytest.raises(KeyError):
        found.step_index("x")


def test_the_innermost_window_holds_and_only_messages_inherit_one() -> None:
    mail, task = Step(key="a", kind="email"), Step(key="b", kind="custom_task")
    own = WindowSpec(opens=60)
    asked = Step(key="c", kind="custom_task", window=own)
    free = Step(key="d", kind="email", window="off")

    assert campaign().window_of(mail) == "account"
    assert campaign(window=OFFICE).window_of(mail) == OFFICE
    assert campaign(window="off").window_of(mail) is None
    assert campaign(window=OFFICE).window_of(free) is None
    assert campaign(window=OFFICE).window_of(task) is None
    assert campaign(window="off").window_of(asked) == own


def test_attached_lists_are_those_of_list_triggers() -> None:
    triggers = (
        Match(kind="list_added", params={"list": "b"}),
        Match(kind="list_removed", params={"list": "c"}),
        Match(kind="reply"),
    )

    assert campaign(triggers=triggers).attached_lists() == {"b"}


SPECS = st.builds(
    WindowSpec,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    opens=st.integers(0, 1439),
    closes=st.integers(0, 1440),
    holidays=st.lists(st.sampled_from(["DE-BE", "2026-12-25"]), max_size=2).map(tuple),
)


@given(SPECS)
def test_a_window_survives_its_text(spec: WindowSpec) -> None:
    assert WindowSpec.from_text(spec.to_text()) == spec


@given(SPECS, SPECS)
def test_windows_are_equal_if_their_texts_are(one: WindowSpec, other: WindowSpec) -> None:
    assert (one == other) == (one.to_text() == other.to_text())


@given(st.integers(0, 1440))
def test_a_minute_survives_its_text(minute: int) -> None:
    assert parse_minute(format_minute(minute)) == minute


@pytest.mark.parametrize("text", ["", "9", "9:5", "009:00", "24:01", "12:60", "-1:00", "٩:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time of day"):
        parse_minute(text)


def test_a_window_is_closed_on_its_dates_and_its_calendars() -> None:
    calendars = {"DE-BE": {date(2026, 3, 8)}}
    spec = WindowSpec(holidays=("DE-BE", "2026-12-24"))

    window = build_window(spec, calendars.__getitem__)

    assert date(2026, 3, 8) in window.holidays
    assert date(2026, 12, 24) in window.holidays
    assert date(2026, 12, 25) not in window.holidays
    with pytest.raises(KeyError):
        build_window(WindowSpec(holidays=("XX",)), calendars.__getitem__)


@pytest.mark.parametrize(
    ("rule", "kind", "payload", "expected"),
    [
        (Match(kind="reply"), "reply", {}, True),
        (Match(kind="reply"), "reply", {"auto": True}, False),
        (Match(kind="reply"), "open", {}, False),
        (Match(kind="open"), "open", {"machine": True}, False),
        (Match(kind="open", params={"link": "a"}), "open", {"link": "b"}, False),
        (Match(kind="bounce"), "bounce", {}, True),
        (Match(kind="bounce"), "bounce", {"type": "hard"}, True),
        (Match(kind="bounce"), "bounce", {"type": None}, True),
        (Match(kind="bounce"), "bounce", {"type": "soft"}, False),
        (Match(kind="bounce", params={"type": "soft"}), "bounce", {"type": "soft"}, True),
        (Match(kind="bounce", params={"type": "hard"}), "bounce", {}, True),
        (Match(kind="bounce", params={"type": "hard"}), "bounce", {"type": None}, True),
        (Match(kind="tag_added", params={"tag": "x"}), "tag_added", {"tag": "x"}, True),
        (Match(kind="tag_added", params={"tag": "x"}), "tag_added", {"tag": "X"}, False),
        (Match(kind="list_added", params={"list": "b"}), "list_added", {}, False),
        (
            Match(kind="status_changed", params={"field": "s", "to": 5}),
            "field_changed",
            {"field": "s", "from": None, "to": "5"},
            True,
        ),
        (
            Match(kind="status_changed", params={"field": "s", "to": "won"}),
            "status_changed",
            {"field": "s", "from": "won", "to": "won"},
            False,
        ),
        (
            Match(kind="status_changed", params={"field": "s", "to": 5}),
            "field_changed",
            {"field": "s", "from": None, "to": 5.0},
            True,
        ),
        (
            Match(kind="field_changed", params={"field": "s", "to": None}),
            "status_changed",
            {"field": "s", "from": "x", "to": "y"},
            False,
        ),
        (
            Match(kind="field_changed", params={"field": "s", "to": True}),
            "field_changed",
            {"field": "s", "to": True},
            True,
        ),
        (Match(kind="reply", params={"step": "one"}), "reply", {}, True),
        (Match(kind="reply", params={"step": "two"}), "reply", {}, False),
        (Match(kind="contact_created", params={"board": "b"}), "contact_created", {}, True),
        (Match(kind="contact_created", params={"board": "c"}), "contact_created", {}, False),
    ],
)
def test_what_a_match_fits(
    rule: Match, kind: str, payload: dict[str, object], expected: object
) -> None:
    assert rule.matches(kind, payload, step_key="one", lists={"b"}) is expected


def test_machine_opens_count_where_the_policy_says_so() -> None:
    assert Match(kind="open").matches("open", {"machine": True}, machine_opens=True)


def test_a_goal_is_named_by_its_tag_or_its_kind() -> None:
    assert Match(kind="tag_added", params={"tag": "Won"}).goal_word() == "tag:Won"
    assert Match(kind="reply").goal_word() == "reply"
