"""The checker bites: each broken promise is found, alone, and a kept one is not accused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any

import pytest

from dripd.proof.checker import judge
from dripd.proof.found import PROMISES, Injected
from dripd.proof.invariants import OF_AUDIT, is_definite
from dripd.store.desk_audit import PROMISES as AUDIT

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


@dataclass
class Story:
    """Two runs of two steps in an account with a cap of 4 and a window around noon."""

    facts: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    stops: list[tuple[int, int]] = field(default_factory=list)
    suppressed: list[tuple[int, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    sightings: list[str] = field(default_factory=list)
    n: int = 2

    def __post_init__(self) -> None:
        steps = [
            {
                "account_id": 1,
                "key": key,
                "n": n,
                "opens": "11:00",
                "closes": "13:00",
                "delay": timedelta(),
            }
            for n, key in enumerate(("s1", "s2"), 1)
        ]
        self.facts = {
            "deliveries": [delivery(run, n) for n in (1, 2) for run in (7, 8)],
            "runs": [run_row(7), run_row(8)],
            "steps": steps,
            "caps": [{"id": 1, "cap": 4}],
            "used": [{"account_id": 1, "n": 4}],
            "pending": 0,
            "open": 0,
            "money": 0,
            "changes": [],
            "events": {"told:1"},
            "audit": {name: [] for name in AUDIT},
        }
        self.log = [entry(run, n) for n in (1, 2) for run in (7, 8)]

    def broken(self) -> dict[str, int]:
        found = judge(deepcopy(self.facts), self.log, self.done())
        return {promise: n for promise in PROMISES if (n := found.counts[promise])}

    def done(self) -> Injected:
        return Injected(
            requests=self.n, stops=self.stops, suppressed=self.suppressed, told=self.told,
            sightings=self.sightings,
        )  # fmt: skip


def key_of(run: int, n: int) -> str:
    return f"dripd:x:{run}:1:s{n}"


def delivery(run: int, n: int) -> dict[str, Any]:
    return {
        "id": f"{run}-{n}",
        "account_id": 1,
        "enrollment_id": run,
        "step_key": f"s{n}",
        "key": key_of(run, n),
        "state": "accepted",
        "leased_at": NOON,
        "contact_id": run,
    }


def run_row(run: int) -> dict[str, Any]:
    return {
        "id": run, "account_id": 1, "status": "completed", "hold_reason": None,
        "started_at": NOON,
    }  # fmt: skip


def entry(run: int, n: int) -> dict[str, Any]:
    return {
        "at": NOON_MS, "key": key_of(run, n), "accepted": True, "fault": "", "repeat": False,
        "path": "/keyed/emails", "sha": "a",
    }  # fmt: skip


def late_window(story: Story) -> None:
    story.log[3]["at"] = NOON_MS + 3_603_000


def stop_before_lease(story: Story) -> None:
    story.stops.append((7, NOON_MS - 5))


def state(word: str) -> Callable[[Story], None]:
    def play(story: Story) -> None:
        story.facts["deliveries"][0]["state"] = word

    return play


def swapped(story: Story) -> None:
    story.log[0], story.log[2] = story.log[2], story.log[0]


def waiting(status: str, reason: str | None) -> Callable[[Story], None]:
    def play(story: Story) -> None:
        story.facts["runs"][0].update(status=status, hold_reason=reason)

    return play


def risk(fault: str) -> Callable[[Story], None]:
    """Two requests without a key; *fault* befell both."""

    def play(story: Story) -> None:
        one = entry(7, 1) | {"path": "/plain/v3", "fault": fault, "accepted": False}
        story.log[:0] = [one, one]

    return play


def unknown_key(story: Story) -> None:
    story.log.insert(
        0, entry(7, 1) | {"key": "other", "accepted": False, "fault": "refuse_500"}
    )


def repeat_late(story: Story) -> None:
    """A repeat of what is in doubt, half a minute after its contact stopped."""
    story.stops.append((7, NOON_MS + 1))
    story.log.append(entry(7, 2) | {"accepted": False, "repeat": True, "at": NOON_MS + 30_000})


def too_early(story: Story) -> None:
    story.facts["steps"][1]["delay"] = timedelta(seconds=2)


def starved(story: Story) -> None:
    """Three minutes in which one account of two gets a tenth of what the other gets."""
    share(story, {1: [250] * 4, 2: [25, 25, 25, 200]})


def share(story: Story, sent: Mapping[int, Sequence[int]]) -> None:
    """How many messages, all due from the start, each account sent minute by minute."""
    story.facts["caps"], story.facts["steps"] = [], [
        row | {"account_id": account, "opens": None}
        for account in sent
        for row in story.facts["steps"]
    ]  # fmt: skip
    numbers, rows, log = count(100), [], []
    for account, counts in sent.items():
        for minute, n in enumerate(counts):
            for run in islice(numbers, n):
                rows.append(delivery(run, 1) | {"account_id": account})
                log.append(entry(run, 1) | {"at": NOON_MS + minute * 60_000})
    story.facts["deliveries"], story.log = rows, log
    story.facts["runs"], story.n = [run_row(row["enrollment_id"]) for row in rows], len(rows)
    story.facts["used"] = [
        {"account_id": account, "n": sum(counts)} for account, counts in sent.items()
    ]


BREACHES: list[tuple[str, Callable[[Story], object], dict[str, int]]] = [
    ("blind retry, random key per attempt", lambda s: s.log.append(entry(8, 2)), {"duplicates": 1, "cap_excess": 1}),
    ("cancelled after an ambiguous attempt", state("cancelled"), {"lost": 1, "ledger": 1}),
    ("failed though accepted", state("failed"), {"lost": 1, "ledger": 1}),
    ("accepted without a request", lambda s: s.log.pop(), {"lost": 1}),
    ("a delivery that is on no record", lambda s: s.facts["deliveries"].pop(), {"lost": 1, "ledger": 1, "phantom": 1}),
    ("a row that the watermark passed by", lambda s: s.facts.update(pending=3), {"lost": 3}),
    ("a run that was never begun", lambda s: s.facts["runs"].pop(), {"lost": 1}),
    ("cap counted after the send", lambda s: s.facts["caps"][0].update(cap=3), {"cap_excess": 1}),
    ("a refund on an ambiguous attempt", lambda s: s.facts["used"][0].update(n=3), {"ledger": 1}),
    ("money that does not add up", lambda s: s.facts.update(money=2), {"ledger": 2}),
    ("a window passed in flight", late_window, {"window": 1}),
    ("leased after a stop", stop_before_lease, {"after_stop": 2}),
    ("the second step first", swapped, {"order": 1}),
    ("a claim nobody holds", lambda s: s.facts.update(open=1), {"stuck": 1}),
    ("a due step nobody takes", waiting("waiting", None), {"stuck": 1}),
    ("a step quarantined without need", waiting("held", "quarantined"), {"stuck": 1}),
    ("risked twice without a key", risk("refuse_500"), {"duplicates": 1}),
    ("a request that nobody made", unknown_key, {"phantom": 1}),
    ("rendered anew", lambda s: s.log[3].update(sha="b") or s.log.append(
        entry(8, 2) | {"accepted": False, "repeat": True}), {"frozen": 1}),
    ("leased after a suppression", lambda s: s.suppressed.append((8, NOON_MS - 5)), {"after_stop": 2}),
    ("a repeat long after a stop", repeat_late, {"after_stop": 1}),
    ("before its delay was over", too_early, {"early": 2}),
    ("an account that starves", starved, {"unfair": 2}),
    ("a live run without a due step, for an instant", lambda s: s.sightings.append("run 7"), {"live": 1}),
    ("a step leased twice under one claim", lambda s: s.facts["changes"].append("7-1"), {"transition": 1}),
    ("an event that was acknowledged and lost", lambda s: s.told.append("told:2"), {"events": 1}),
    ("what the audit finds", lambda s: s.facts["audit"]["told_twice_done_once"].append("request 1"), {"input": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("play", "broken"), [b[1:] for b in BREACHES], ids=[b[0] for b in BREACHES]
)
def test_a_breach_is_found_under_its_name(
    play: Callable[[Story], object], broken: dict[str, int]
) -> None:
    story = Story()
    play(story)

    assert broken == story.broken()


def test_what_is_right_is_not_accused() -> None:
    story = Story()
    story.stops.append((8, NOON_MS + 50))
    story.facts["runs"][0].update(status="held", hold_reason="cap")
    story.facts["deliveries"][1]["state"] = "unknown"
    story.log[1]["fault"] = "accept_close"
    risk("refuse_429_date")(story)
    story.told.append("told:1")
    found = judge(story.facts, story.log, story.done())

    assert ({}, 1, 1) == (dict(found.counts), found.unknown, found.unknown_accepted)
    assert found.least_share is None, "no minute in which shares mean something"


def test_an_account_that_has_little_to_send_does_not_starve() -> None:
    story = Story()
    share(story, {1: [250] * 4, 2: [25] * 4, 3: [200] * 4})
    found = judge(story.facts, story.log, story.done())

    assert ({}, 0.89) == (dict(found.counts), found.least_share)


def test_every_check_of_the_audit_has_its_promise() -> None:
    assert AUDIT.keys() == OF_AUDIT.keys()
    assert set(OF_AUDIT.values()) <= set(PROMISES)


def test_what_a_provider_says_is_told_from_what_nobody_knows() -> None:
    faults = ("refuse_429_none", "refuse_503", "refuse_500", "refuse_408", "refuse_close", "")

    assert [True, True, False, False, False, False] == [is_definite(one) for one in faults]
