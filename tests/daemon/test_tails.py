"""What the tails show of what the engine did."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from dripd.admin.messages import Call
from dripd.admin.roles import Role
from dripd.clock import Instant, ManualClock
from dripd.daemon.asides import TOLD_EVERY_S, Refusals, tell_deed
from dripd.daemon.tails import Shows
from dripd.engine.pipeline import Lately
from dripd.policy.inbox_rows import EventRow
from dripd.store.desk_deed import Deed


def event(**columns: Any) -> EventRow:
    return EventRow(
        id=1, account_id=7, kind="bounce", contact_ids=(3,), enrollment_id=None, step_key=None,
        campaign_id=None, conversation_ref=None, address=None, channel=None,
        occurred_at=Instant(0), payload={"type": "hard", "reply_text": "private"}, **columns,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "source"),
    [("mail:abc", "mail"), ("other:abc", None), ("mail", "mail"), (None, None), ("", None)],
)
def test_an_event_names_the_provider_that_told_of_it(
    key: str | None, source: str | None
) -> None:
    directory: Any = SimpleNamespace(accounts={}, versions={})
    shown = Shows(directory, {"mail"}).event(event(dedup_key=key))

    assert shown["source"] == source
    assert "private" not in str(shown)


def heard(pipe: Any) -> list[dict[str, object]]:
    """What the tail of events shows."""
    account = SimpleNamespace(row=SimpleNamespace(key="acme"))
    shows = Shows(SimpleNamespace(accounts={1: account}, versions={}), set())  # type: ignore[arg-type]
    return [shows.event(one) for one in pipe.lately.heard.since(0, 100)[0]]


def a_pipe() -> Any:
    return SimpleNamespace(lately=Lately(), clock=ManualClock(Instant(0)))


def test_a_change_by_hand_stands_among_the_events() -> None:
    pipe = a_pipe()
    call = Call(
        method="campaign.pause",
        uid=1,
        pid=1,
        user="root",
        role=Role.ADMIN,
        why="",
        as_name="carol",
        reason="typo",
    )
    tell_deed(
        pipe, call, Deed(result={"changed": True}, accounts=(1,), target="campaign welcome")
    )
    tell_deed(pipe, call, Deed(result={"changed": False}, accounts=(1, 2)))
    one, other = heard(pipe)

    assert (one["kind"], one["account"], one["source"]) == ("admin", "acme", "socket")
    assert one["detail"] == "campaign.pause campaign welcome by carol: typo"
    assert (other["account"], other["note"]) == (None, "unchanged")


@pytest.mark.trio
async def test_a_flood_of_forged_calls_is_told_of_now_and_then(autojump_clock: Any) -> None:
    pipe = a_pipe()
    refusals = Refusals(pipe)
    for _ in range(30):
        refusals.note("mail", "signature", "10.0.0.8")
        await trio.sleep(TOLD_EVERY_S / 10)
    refusals.note("mail", "malformed", "")
    told = heard(pipe)

    assert [one["detail"] for one in told] == [
        "bad signature from 10.0.0.8",
        "bad signature (11 in 1 min) from 10.0.0.8",
        "bad signature (21 in 1 min) from 10.0.0.8",
        "signed, but it cannot be read from somebody",
    ]
    assert {(one["kind"], one["source"]) for one in told} == {("refused", "mail")}
