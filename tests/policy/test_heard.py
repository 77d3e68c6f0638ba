"""What is so of an event whoever hears it."""

from __future__ import annotations

import pytest

from dripd.clock import Instant
from dripd.policy.heard import occurred, refusals, staying, unresolved
from dripd.policy.inbox_rows import EventRow, Later, Refuse

NOW = Instant(1_000)


def event(number: int, *, duplicate: bool = False, unresolved: str | None = None) -> EventRow:
    return EventRow(
        id=number, account_id=1, kind="reply", contact_ids=(), enrollment_id=None,
        step_key=None, campaign_id=None, conversation_ref=None, address=None, channel=None,
        occurred_at=NOW, payload={}, duplicate=duplicate, unresolved=unresolved,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("told", "at"), [(None, 1_000), (400, 400), (2_000, 1_000), (-5, 0)], ids=str
)
def test_an_event_lies_neither_ahead_nor_before_the_epoch(told: int | None, at: int) -> None:
    assert at == occurred(None if told is None else Instant(told), NOW)


def test_what_found_nobody_says_why() -> None:
    def why(kind: str | None = "reply", *contacts: int, **other: bool) -> str | None:
        is_so = {"is_internal": False, "is_wanted": True, "has_account": True, **other}
        return unresolved(kind, contacts, **is_so)

    assert why("reply", 7) is None
    assert why(is_wanted=False) is None
    assert "unknown_contact" == why()
    assert "bad_request:kind" == why("no_kind", 7)
    assert "bad_request:kind" == why(None)
    assert "bad_request:kind" == why("task_closed", 7)
    assert why("task_closed", 7, is_internal=True) is None
    assert "unknown_account" == why("no_kind", has_account=False)


def test_that_it_came_before_is_said_before_what_was_decided_and_that_before_nobody() -> None:
    events = [
        event(1),
        event(2, duplicate=True, unresolved="unknown_contact"),
        event(3, unresolved="unknown_contact"),
        event(4, unresolved="unknown_contact"),
    ]

    found = refusals(events, [Refuse(2, "decided"), Refuse(4, "decided")])

    assert {2: "duplicate", 3: "unknown_contact", 4: "decided"} == found


def test_what_is_put_off_stays_and_nothing_else() -> None:
    assert [5] == staying([Refuse(4, "decided"), Later(5)])
