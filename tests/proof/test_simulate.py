"""Faults drawn from seeds, on several daemons in virtual time; and a judge that bites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dripd.clock import HOUR, Instant
from dripd.proof.simulate import PROMISES, History, judge, run, simulate
from dripd.proof.virtual import MONDAY, virtual

SEEDS = range(2, 12)


def test_promises_hold_on_every_seed() -> None:
    told: list[str] = []
    found = run(SEEDS, told.append)

    assert [] == told
    assert found["ok"]
    assert {"answer_lost", "daemon_cut", "database_away", "locked"} <= set(found["faults"])  # type: ignore[call-overload]


def test_a_seed_plays_again_the_same_way() -> None:
    first, again = simulate(5), simulate(5)

    assert first == again


ONE = {"key": "one", "do": "email", "subject": "Hi", "text": "Hello"}
TWO = {"key": "two", "delay": "1h", "do": "email", "subject": "Hi", "text": "Hello"}


def tampered(change: Callable[[Any], None], history: History) -> dict[str, list[str]]:
    """What the judge says of two honest mails after *change* of the record."""

    async def story() -> dict[str, list[str]]:
        async with virtual() as world:
            world.campaign(ONE, TWO)
            world.enroll("ann")
            await world.advance_to("2026-01-06T09:00:00Z")
            change(world.store._tables)
            return judge(world, history)

    return trio.run(story, clock=MockClock(autojump_threshold=0))


def drop_first_message(tables: Any) -> None:
    tables.sink.drop(next(iter(tables.sink._rows)))


def double_first_message(tables: Any) -> None:
    tables.sink.add(10_000, next(iter(tables.sink)))


def forget_first_delivery(tables: Any) -> None:
    tables.step_log.drop(next(iter(tables.step_log._rows)))


def turn_messages_round(tables: Any) -> None:
    first = tables.sink.drop(next(iter(tables.sink._rows)))
    tables.sink.add(10_000, first)


def open_a_run_again(tables: Any) -> None:
    tables.runs.change(next(iter(tables.runs._rows)), ended_at=None)


def send_at_night(tables: Any) -> None:
    _, row = tables.sink.drop(next(iter(tables.sink._rows)))
    tables.sink.add(10_000, (Instant(MONDAY - 3 * HOUR), row))


def nothing(tables: Any) -> None:
    """The history alone says that it should not have been so."""


@pytest.mark.parametrize(
    ("promise", "change", "history"),
    [
        ("lost", drop_first_message, History(0)),
        ("duplicates", double_first_message, History(0)),
        ("phantom", forget_first_delivery, History(0)),
        ("order", turn_messages_round, History(0)),
        ("stuck", open_a_run_again, History(0)),
        ("cap_excess", nothing, History(0, cap=1)),
        ("after_stop", nothing, History(0, replied=dict.fromkeys(range(50), MONDAY))),
        ("window", send_at_night, History(0, windowed=True)),
    ],
)
def test_the_judge_finds_what_was_broken(
    promise: str, change: Callable[[Any], None], history: History
) -> None:
    broken = tampered(change, history)

    assert promise in {name for name, told in broken.items() if told}
    assert set(PROMISES) == set(broken)


def test_the_judge_finds_nothing_in_what_is_whole() -> None:
    broken = tampered(nothing, History(0, cap=2, windowed=True))

    assert not any(broken.values())
