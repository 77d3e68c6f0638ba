"""What may have changed between the judgement of a message and its leaving is looked at again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from dripd.campaigns.event import Accepted, Unknown
from dripd.campaigns.parse import parse
from dripd.channels.base import Message, Repeats, Settle
from dripd.clock import DAY, Instant, Millis
from dripd.engine.tuning import Tuning
from dripd.store.protocol import Turn
from tests.engine.rig import HELLO, Rig, SlowSink

TO_NOON: dict[str, object] = {
    **HELLO, "window": {"from": "09:00", "to": "12:01", "days": ["mon"]},
}  # fmt: skip
"""The rig begins on a Monday at noon."""


class Turning:
    """A rig whose database takes its time over turns, and what happens meanwhile."""

    def __init__(self, wait_s: float) -> None:
        self.rig = Rig(Tuning(), SlowSink())
        self._wait_s = wait_s
        self.asked = trio.Event()
        self._take = self.rig.store.take_turns
        self.rig.store.take_turns = self._slowly  # type: ignore[method-assign]

    async def _slowly(self, turns: Sequence[Turn]) -> list[tuple[int, Instant | None]]:
        answer = await self._take(turns)
        self.asked.set()
        await trio.sleep(self._wait_s)
        return answer

    def begin(self, step: dict[str, object]) -> tuple[int, int]:
        """An account whose sender has a day of its own, and a contact in its campaign."""
        store = self.rig.store
        account = store.add_account("acme")
        store.add_sender(account, "s@acme.test", daily_limit=10)
        document = {
            "campaign": "c", "account": "acme", "name": "c", "sender": "s@acme.test",
            "exit_rules": [{"on": "reply"}], "steps": [step],
        }  # fmt: skip
        store.add_campaign(account, parse(document))
        contact = store.add_contact(account, email="p@x.test")
        store.enroll(account, "c", contact)
        return account, contact


@pytest.mark.trio
async def test_a_window_that_closes_while_the_database_is_asked_keeps_the_message(
    autojump_clock: MockClock,
) -> None:
    """It was judged a minute before noon was over, and left a minute after."""
    slow = Turning(wait_s=90)
    slow.begin(TO_NOON)
    async with slow.rig.running():
        await trio.sleep(120)

    (run,) = slow.rig.store.enrollments()
    assert ([], "held", "window") == (slow.rig.sink.came, run["status"], run["hold_reason"])


@pytest.mark.trio
async def test_a_stop_that_comes_while_the_database_is_asked_keeps_the_message(
    autojump_clock: MockClock,
) -> None:
    slow = Turning(wait_s=5)
    account, contact = slow.begin(HELLO)
    async with slow.rig.running():
        await slow.asked.wait()
        slow.rig.store.event(account, "reply", contact_id=contact)
        await trio.sleep(20)

    (run,) = slow.rig.store.enrollments()
    assert ([], "reply", 0) == (slow.rig.sink.came, run["end_reason"], slow.rig.pipe.unsent)


class Silent(SlowSink):
    """It honours keys, and does not answer the first request of each; one at a time."""

    repeats = Repeats(key_ms=Millis(DAY))  # type: ignore[misc]  # of another provider

    def __init__(self) -> None:
        super().__init__(batch=1, concurrency=1)
        self._known: set[int] = set()

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        for message in messages:
            number = message.enrollment_id or 0
            self.came.append((trio.current_time(), number))
            if number not in self._known:
                self._known.add(number)
                settle(message, Unknown(reason="lost"))
            else:
                await trio.sleep(50)  # the others wait in its queue
                settle(message, Accepted(provider_id="p"))


@pytest.mark.trio
async def test_what_waits_in_doubt_before_a_busy_provider_does_not_leave_after_its_window(
    autojump_clock: MockClock,
) -> None:
    """Its window was looked at when it was leased, and it stood behind another for a minute."""
    sink = Silent()
    rig = Rig(Tuning(), sink)
    began = trio.current_time()
    rig.enroll(rig.account("acme", step=TO_NOON), 2)
    async with rig.running():
        await trio.sleep(200)

    later = [round(at - began) for at, _ in sink.came if at - began > 1]
    assert [at for at in later if at >= 60] == []
    assert len(later) == 1
    assert {"unknown", None} == {row["hold_reason"] for row in rig.store.enrollments()}


@pytest.mark.trio
@pytest.mark.parametrize(("margin_ms", "n"), [(2_000, 0), (0, 1)])
async def test_nothing_is_let_go_that_could_arrive_after_its_window(
    autojump_clock: MockClock, margin_ms: int, n: int
) -> None:
    """It comes up a second before its window closes."""
    rig = Rig(Tuning(window_margin_ms=Millis(margin_ms)), SlowSink())
    rig.enroll(rig.account("acme", step={**TO_NOON, "delay": "59s"}), 1)
    async with rig.running():
        await trio.sleep(90)

    (run,) = rig.store.enrollments()
    assert (n, None if n else "window") == (len(rig.sink.came), run["hold_reason"])
    assert len(rig.store.leases) <= 1
