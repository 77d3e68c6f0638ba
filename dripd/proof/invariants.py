"""What else must hold, whatever happened: of every request, every row, every minute.

As `checker`, which calls this, it looks at the sink's log and at rows read by SQL, and shares
no code with the daemon.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from dripd.proof.found import Barred, Found, Injected

TOLD_BY_STATUS: Final = ("301", "307", "400", "401", "403", "404", "413", "422", "425", "503")
"""Statuses with which a provider says that it took nothing; 429 in all its forms besides."""

LEAVES_WITHIN_MS: Final = 20_000
"""From a lease to the last byte: the deadline of a send, and the longest that anything sleeps."""

CLOCK_MS: Final = 100
"""By which a daemon may misjudge the database's clock, and the sink's log be rounded."""

MINUTE_MS: Final = 60_000
ENOUGH: Final = 125
"""Messages of an account a minute, sent and still waiting, from which on shares mean something:
five turns of the 25 that it may take at once. Daemons that live for seconds serve some accounts a
turn more than others."""
FAIR: Final = 0.5

OF_AUDIT: Final = {
    "never_twice": "duplicates",
    "each_step_once": "duplicates",
    "never_lost": "live",
    "no_step_passed_over": "lost",
    "in_order": "order",
    "nothing_after_the_end": "live",
    "never_to_a_suppressed_address": "after_stop",
    "told_twice_done_once": "input",
    "money_adds_up": "ledger",
    "always_explained": "stuck",
    "never_over_a_cap": "cap_excess",
}
"""The checks of `dripd audit verify`, and the promise that each belongs to here."""

Entries = Sequence[Mapping[str, Any]]
Rows = Mapping[str, Any]


def look(
    found: Found, facts: Mapping[str, Any], entries: Entries, by_key: Rows, done: Injected
) -> None:
    """Everything in this file."""
    _risks(found, entries)
    _phantoms(found, entries, by_key)
    _contents(found, entries)
    _barred(found, entries, by_key, done.suppressed, "suppressed")
    _barred(found, entries, by_key, done.stops, "stopped")
    waits = _waits(facts, entries)
    _punctuality(found, waits)
    _shares(found, facts, entries, by_key, waits)
    _rows(found, facts, done)


def is_definite(fault: str) -> bool:
    """Does the provider say, by this fault of the sink, that it took nothing?"""
    word, _, shape = fault.partition("_")
    return word == "refuse" and shape.startswith(("429", *TOLD_BY_STATUS))


def _risks(found: Found, entries: Entries) -> None:
    """Where no key is honoured at most one request could have been taken."""
    maybe = Counter(
        entry["key"]
        for entry in entries
        if entry["path"].startswith("/plain") and not is_definite(entry["fault"])
    )
    for key, n in maybe.items():
        if n > 1:
            found.breach("duplicates", f"{key} was risked {n} times", n - 1)


def _phantoms(found: Found, entries: Entries, by_key: Rows) -> None:
    """What was asked of the provider is on record, unless it was refused in so many words."""
    asked = {entry["key"] for entry in entries if not is_definite(entry["fault"])}
    for key in sorted(asked - by_key.keys()):
        found.breach("phantom", f"{key!r} was asked for and is on no record")


def _contents(found: Found, entries: Entries) -> None:
    """Every request for a message has the same content."""
    contents: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        contents[entry["key"]].add(entry["sha"])
    for key, told in contents.items():
        if len(told) > 1:
            found.breach("frozen", f"{key} went out with {len(told)} contents")


def _barred(found: Found, entries: Entries, by_key: Rows, barred: Barred, how: str) -> None:
    """Nothing leaves long after its contact was barred, a repeat of what is in doubt neither."""
    since = dict(barred)
    for entry in entries:
        row = by_key.get(entry["key"])
        at = since.get(row["contact_id"]) if row is not None else None
        if row is None or at is None:
            continue
        if row["leased_at"].timestamp() * 1000 > at + 1:  # both are rounded
            found.breach("after_stop", f"{entry['key']} was leased after it was {how}")
        elif entry["at"] > at + LEAVES_WITHIN_MS:
            found.breach("after_stop", f"{entry['key']} left long after it was {how}")


class _Wait(NamedTuple):
    """Of a message that has reached the sink: which of its run, when it was due and came, in ms."""

    row: Mapping[str, Any]
    n: int
    opens: str | None
    due: float
    at: int


def _waits(facts: Mapping[str, Any], entries: Entries) -> list[_Wait]:
    first: dict[str, int] = {}
    for entry in entries:
        first.setdefault(entry["key"], entry["at"])
    steps = {(row["account_id"], row["key"]): row for row in facts["steps"]}
    started = {row["id"]: row["started_at"] for row in facts["runs"]}
    leased: dict[tuple[int, int], datetime] = {}
    known = []
    for row in facts["deliveries"]:
        step = steps.get((row["account_id"], row["step_key"]))
        if step is not None:
            leased[row["enrollment_id"], step["n"]] = row["leased_at"]
            known.append((row, step))
    found = []
    for row, step in known:
        run, n = row["enrollment_id"], step["n"]
        before = leased.get((run, n - 1)) if n > 1 else started.get(run)
        at = first.get(row["key"])
        if before is not None and at is not None:
            due = (before + step["delay"]).timestamp() * 1000
            found.append(_Wait(row, n, step["opens"], due, at))
    return found


def _punctuality(found: Found, waits: Sequence[_Wait]) -> None:
    """No step comes before its delay is over, counted from the lease of the step before it; how
    late those come that need not wait for a window."""
    late = []
    for wait in waits:
        if wait.n == 1:
            continue
        if wait.at < wait.due - CLOCK_MS:
            found.breach("early", f"{wait.row['key']} came {wait.due - wait.at:.0f} ms early")
        if not wait.opens:
            late.append(max(0, round(wait.at - wait.due)))
    if late:
        late.sort()
        found.late_ms = (late[len(late) // 2], late[len(late) * 99 // 100], late[-1])


def _shares(
    found: Found,
    facts: Mapping[str, Any],
    entries: Entries,
    by_key: Rows,
    waits: Sequence[_Wait],
) -> None:
    """Of accounts that nothing holds each gets its part of every minute through which all of
    them have work: messages that are due as it begins and have not come as it ends."""
    held = {row["id"] for row in facts["caps"]}
    held |= {row["account_id"] for row in facts["steps"] if row["opens"]}
    minutes: dict[str, dict[int, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for entry in entries:
        row = by_key.get(entry["key"])
        if row is not None and row["account_id"] not in held and not entry["repeat"]:
            provider = entry["path"].lstrip("/").partition("/")[0]
            minutes[provider][entry["at"] // MINUTE_MS][row["account_id"]] += 1
    behind: dict[int, Counter[int]] = defaultdict(Counter)
    for wait in waits:
        for minute in range(-int(-wait.due // MINUTE_MS), wait.at // MINUTE_MS):
            behind[minute][wait.row["account_id"]] += 1
    for counts in minutes.values():
        accounts = {account for told in counts.values() for account in told}
        for minute in sorted(counts)[1:-1]:  # the first and the last are not whole
            busy = [one for one in accounts if behind[minute][one] >= ENOUGH]
            told = {one: counts[minute][one] for one in busy}
            mean = sum(told.values()) / max(1, len(told))
            if mean < ENOUGH:
                continue
            least = min(told, key=lambda one: told[one])
            share = told[least] / mean
            if found.least_share is None or share < found.least_share:
                found.least_share = round(share, 2)
            if share < FAIR:
                found.breach(
                    "unfair", f"account {least}: {told[least]}, the mean is {mean:.0f}"
                )


def _rows(found: Found, facts: Mapping[str, Any], done: Injected) -> None:
    """What SQL alone shows, in the end and while it went on."""
    for what in done.sightings:
        found.breach("live", what)
    for what in facts["changes"]:
        found.breach("transition", what)
    for promise, told in facts["audit"].items():
        for what in told:
            found.breach(OF_AUDIT[promise], f"{promise}: {what}")
    for key in sorted(set(done.told) - facts["events"]):
        found.breach("events", f"{key} was answered 2xx and is not there")
