"""The judge of the simulation bites: each breach is found under its name, and no other."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache

import pytest
import trio
from trio.testing import MockClock

from dripd.clock import DAY, HOUR, Instant
from dripd.proof.judge import PROMISES, Broken, Record, Watch, judge
from dripd.proof.story import History, Story
from dripd.proof.tenant import Mails, Tenant
from dripd.proof.troubled import Troubled
from dripd.proof.virtual import MONDAY

pytestmark = pytest.mark.interpreted  # a compiled object cannot be copied deeply


@cache
def honest() -> tuple[Record, History]:
    """Two contacts of one account, three mails each, nothing wrong."""

    async def play() -> tuple[Record, History]:
        dice, history = random.Random(1), History(1, keyed=frozenset({"p1"}))
        async with trio.open_nursery() as nursery:
            world = Troubled(nursery, MONDAY, dice)
            account = world.store.add_account("t0")
            tenant = Tenant(account, "t0", "UTC", None, "p0", delays_ms=(5 * HOUR, 2 * DAY))
            tenant.senders = [world.store.add_sender(account, tenant.sales[0], provider="p0")]
            history.tenants.append(tenant)
            story = Story(world, dice, history)
            story.publish(tenant, "welcome", tenant.mails)
            for name in ("t0-c0", "t0-c1"):
                contact = world.store.add_contact(
                    account, external_id=name, email=f"{name}@x.test"
                )
                tenant.contacts[name] = contact
                world.store.enroll(account, "welcome", name)
            await world.start_somehow()
            await story.mend()
            record = Record.of(world)
            world.is_over = True
            nursery.cancel_scope.cancel()
        return record, history

    return trio.run(play, clock=MockClock(autojump_threshold=0))


def told(change: Callable[[Record, History], None]) -> set[str]:
    """The promises of which the judge says that they are broken, after *change*."""
    record, history = (deepcopy(one) for one in honest())
    change(record, history)
    watch = Watch(history)
    watch.look(honest()[0])
    watch.look(record)
    return broken(judge(record, history)) | broken(watch.broken)


def broken(found: Broken) -> set[str]:
    assert set(PROMISES) == set(found)
    return {name for name, what in found.items() if what}


def first(record: Record) -> int:
    run: int = record.runs[0]["id"]
    return run


def lose_a_message(record: Record, history: History) -> None:
    del record.requests[0]


def deny_a_message(record: Record, history: History) -> None:
    """Taken by the provider, failed in the books: the cap was given back."""
    record.deliveries[0]["state"] = "cancelled"


def send_twice(record: Record, history: History) -> None:
    record.requests.insert(1, record.requests[0])


def risk_twice(record: Record, history: History) -> None:
    record.requests.insert(1, replace(record.requests[0], accepted=False, fate="cut"))


def forget_a_delivery(record: Record, history: History) -> None:
    del record.deliveries[0]


def lower_the_cap(record: Record, history: History) -> None:
    history.tenants[0].caps.append((Instant(MONDAY - DAY), 1))


def refund_one(record: Record, history: History) -> None:
    next(row for row in record.usage if row["n"])["n"] -= 1


def edit(history: History, mails: Mails) -> None:
    editions = history.tenants[0].editions["welcome"]
    editions[0] = replace(editions[0], mails=mails)


def open_at_night(record: Record, history: History) -> None:
    history.tenants[0].window = {"from": "22:00", "to": "04:00"}


def send_from_a_zombie(record: Record, history: History) -> None:
    """Leased inside the window; who slept in between promises no more than that."""
    history.tenants[0].window = {"from": "08:00", "to": "20:00"}
    late = replace(record.requests[0], at=Instant(MONDAY + 13 * HOUR), by_zombie=True)
    record.requests[0] = late


def send_late(record: Record, history: History) -> None:
    send_from_a_zombie(record, history)
    record.requests[0] = replace(record.requests[0], by_zombie=False)


def stop_before(record: Record, history: History) -> None:
    history.stopped[record.runs[0]["contact_id"]] = [Instant(MONDAY + HOUR)]


def suppress_before(record: Record, history: History) -> None:
    history.suppressed[record.requests[0].recipient] = Instant(MONDAY - 1)


def turn_round(record: Record, history: History) -> None:
    one, *_, last = [
        n for n, r in enumerate(record.requests) if r.enrollment_id == first(record)
    ]
    record.requests[one], record.requests[last] = record.requests[last], record.requests[one]


def wake_late(record: Record, history: History) -> None:
    """The first step is let go by a daemon that slept meanwhile; the run had gone on."""
    at = [r.enrollment_id for r in record.requests].index(first(record))
    record.requests.append(replace(record.requests.pop(at), by_zombie=True))


def hurry(record: Record, history: History) -> None:
    edit(history, (("one", 0), ("two", 6 * HOUR), ("three", 2 * DAY)))


def open_a_run(record: Record, history: History) -> None:
    record.runs[0].update(ended_at=None, end_reason=None, status="waiting")


def leave_undecided(record: Record, history: History) -> None:
    record.asked[0]["status"] = "pending"


def leave_a_claim(record: Record, history: History) -> None:
    record.deliveries.append(
        {**record.deliveries[0], "state": "leased", "idempotency_key": "k"}
    )


def keep_a_due_step(record: Record, history: History) -> None:
    record.due.append({"enrollment_id": first(record), "attempt": 0})


def change_an_end(record: Record, history: History) -> None:
    record.runs[0]["end_reason"] = "reply"


def take_back(record: Record, history: History) -> None:
    record.deliveries[0]["state"] = "unknown"


def begin_twice(record: Record, history: History) -> None:
    record.runs.append({**record.runs[0], "id": 99})


def drop_a_run(record: Record, history: History) -> None:
    record.asked[0]["enrollment_id"] = 98


def rest_before(record: Record, history: History) -> None:
    account = history.tenants[0].id
    history.rests.append((account, "", Instant(MONDAY - 1), Instant(MONDAY + HOUR)))


def erase_one(record: Record, history: History) -> None:
    history.erased[record.deliveries[0]["to_address"]] = MONDAY


def charge_for_nothing(record: Record, history: History) -> None:
    account = history.tenants[0].id
    record.money.append({"account_id": account, "kind": "deposit", "amount": Decimal(1)})
    record.money.append({"account_id": account, "kind": "charge", "amount": Decimal("0.01")})


def write_often(record: Record, history: History) -> None:
    history.tenants[0].traits = frozenset({"frequency"})
    for row in record.deliveries:
        row["sent_at"] = MONDAY


def send_beyond_the_limit(record: Record, history: History) -> None:
    history.tenants[0].traits = frozenset({"limit"})
    history.tenants[0].limited_until = Instant(MONDAY + DAY)


def render_anew(record: Record, history: History) -> None:
    record.requests.append(
        replace(record.requests[0], body="Other\nHello 1 one", fate="temporary", accepted=False)
    )


def say_what_comes_later(record: Record, history: History) -> None:
    record.requests[0] = replace(record.requests[0], body="Hi\nHello 1 two")


def pass_one_over(record: Record, history: History) -> None:
    edit(history, (*history.tenants[0].mails, ("four", DAY)))


def begin_on_an_old_version(record: Record, history: History) -> None:
    editions = history.tenants[0].editions["welcome"]
    editions.append(replace(editions[0], at=Instant(MONDAY - 1)))


def send_under_two_numbers(record: Record, history: History) -> None:
    record.deliveries.append({**record.deliveries[0], "id": "1-9"})


def send_beyond_the_ramp(record: Record, history: History) -> None:
    send_beyond_the_limit(record, history)
    history.tenants[0].traits = frozenset({"ramp"})
    history.tenants[0].began = date(2026, 1, 5)
    for row in record.deliveries:
        row["sent_at"] = MONDAY


def write_from_another(record: Record, history: History) -> None:
    record.deliveries[-1]["sender_id"] = 99


def rest_and_write_from_another(record: Record, history: History) -> None:
    write_from_another(record, history)
    history.rested.update(history.tenants[0].senders)


def end_by_hand(record: Record, history: History) -> None:
    history.ended[first(record)] = Instant(MONDAY + HOUR)


def nothing(record: Record, history: History) -> None:
    """As it was."""


@pytest.mark.parametrize(
    ("change", "promises"),
    [
        (nothing, set()),
        (lose_a_message, {"lost"}),
        (deny_a_message, {"lost", "ledger", "transition"}),
        (send_twice, {"duplicates"}),
        (risk_twice, {"duplicates"}),
        (forget_a_delivery, {"lost", "phantom", "ledger"}),
        (lower_the_cap, {"cap_excess"}),
        (refund_one, {"ledger"}),
        (open_at_night, {"window"}),
        (send_from_a_zombie, set()),
        (send_late, {"window", "early"}),
        (stop_before, {"after_stop"}),
        (suppress_before, {"after_stop"}),
        (turn_round, {"order"}),
        (wake_late, set()),
        (hurry, {"early"}),
        (open_a_run, {"stuck", "live", "transition"}),
        (leave_undecided, {"stuck"}),
        (leave_a_claim, {"stuck", "transition"}),
        (keep_a_due_step, {"live"}),
        (change_an_end, {"transition"}),
        (take_back, {"transition", "evidence"}),
        (begin_twice, {"input", "lost"}),
        (drop_a_run, {"lost"}),
        (render_anew, {"frozen", "order"}),
        (rest_before, {"after_stop"}),
        (erase_one, {"erasure"}),
        (charge_for_nothing, {"ledger"}),
        (write_often, {"cap_excess"}),
        (send_beyond_the_limit, {"cap_excess"}),
        (say_what_comes_later, {"version"}),
        (pass_one_over, {"lost"}),
        (begin_on_an_old_version, {"version"}),
        (send_under_two_numbers, {"duplicates", "ledger"}),
        (send_beyond_the_ramp, {"cap_excess"}),
        (write_from_another, {"sender"}),
        (rest_and_write_from_another, set()),
        (end_by_hand, {"after_stop"}),
    ],
)  # fmt: skip
def test_a_breach_is_found_under_its_name(
    change: Callable[[Record, History], None], promises: set[str]
) -> None:
    assert promises == told(change)
