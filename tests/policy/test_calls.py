"""Steps that ask something of an outside server: who waits, and for what."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.campaigns.action import CallOut
from dripd.campaigns.enrollment import FLAG_WAITING, Asked, Change, LogState
from dripd.policy.perform import chain
from tests.support.rooms import NOW, World, leased, make_version, tag


def performed(
    step: dict[str, Any],
    asked: Asked | None = None,
    attrs: dict[str, Any] | None = None,
    **world: Any,
) -> Change:
    flags = FLAG_WAITING if asked is not None else 0
    version = make_version(step, tag())
    return chain(
        leased(flags=flags, asked=asked, attrs=attrs or {}), version, NOW, World(**world)
    )


SYNC = {"do": "sync", "connector": "ml"}


def test_a_script_is_told_and_the_run_goes_on() -> None:
    change = performed({"do": "script", "script": "score"})

    assert [CallOut(seq=1, step_key="s0", kind="script", target="score")] == change.effects[:1]
    assert [LogState.DONE, LogState.DONE] == [row.state for row in change.log]


def test_a_connector_is_waited_for_beside_all_lanes() -> None:
    change = performed(SYNC, connectors=frozenset({"ml"}))

    assert [
        CallOut(seq=1, step_key="s0", kind="sync", target="ml", awaited=True)
    ] == change.effects
    assert change.next is not None
    assert (None, None, 1) == (change.next.lane, change.next.hold_reason, change.next.seq)
    assert change.next.flags & FLAG_WAITING
    assert [] == change.log


def test_the_answer_decides_the_step() -> None:
    done = performed(SYNC, Asked("done", {}, NOW))
    skipped = performed(SYNC, Asked("skipped", {"reason": "no_handle"}, NOW))
    waiting = performed(SYNC, Asked("open", {}, NOW))

    assert [LogState.DONE] * 2 == [row.state for row in done.log]
    assert (LogState.SKIPPED, "no_handle") == (skipped.log[0].state, skipped.log[0].reason)
    assert [] == waiting.log == waiting.effects


@pytest.mark.feature("C32")
def test_who_has_no_handle_needs_no_connector_to_be_passed_over() -> None:
    follow = {"do": "social_follow", "network": "twitter"}
    unknown = performed(follow)
    known = performed(follow, attrs={"twitter": "@ann"})

    assert (LogState.SKIPPED, "no_handle") == (unknown.log[0].state, unknown.log[0].reason)
    assert known.next is not None
    assert known.next.hold_reason == "connector_missing"


def test_what_no_connector_took_holds_the_run() -> None:
    none = performed(SYNC)
    failed = performed(SYNC, Asked("failed", {"reason": "http_400"}, NOW))
    gone = performed(SYNC, Asked("failed", {"reason": "connector_missing"}, NOW))
    holds = [c.next.hold_reason for c in (none, failed, gone) if c.next is not None]

    assert ["connector_missing", "step_failed", "connector_missing"] == holds
    assert failed.next is not None
    assert not failed.next.flags & FLAG_WAITING
