"""Does the proof bite? Known mistakes of such engines, made on purpose in the running code.

Each is a patch of the real stages or of the store in memory, for as long as its context lasts;
the product itself has no switch for any. The simulation must find every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timezone, tzinfo
from functools import partial
from itertools import count
from typing import Any, Final

from dripd.campaigns.definition import Definition
from dripd.campaigns.enrollment import Change, Leased, LogRow, LogState
from dripd.campaigns.event import Accepted, Retryable, StepEvent, Uncertain, Unknown
from dripd.campaigns.migration import Place
from dripd.engine import doubt, send, sweep
from dripd.engine.directory import Directory
from dripd.engine.pipeline import Pipeline
from dripd.proof.simulate import simulate
from dripd.store import (
    memory_admit,
    memory_desk,
    memory_directory,
    memory_lease,
    memory_nodes,
    memory_record,
)
from dripd.store.memory_rows import Claim
from dripd.store.memory_tables import Tables
from dripd.store.protocol import LeaseResult, Look

SUMMER: Final = datetime(2026, 7, 1, tzinfo=UTC)

Patch = Callable[[], AbstractContextManager[None]]


@contextmanager
def patched(place: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """`place.name` is what *wrap* makes of it."""
    before = getattr(place, name)
    setattr(place, name, wrap(before))
    try:
        yield
    finally:
        setattr(place, name, before)


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A mistake, who made it, and the promises one of which must turn out broken."""

    name: str
    about: str
    patch: Patch
    breaks: frozenset[str]
    focus: tuple[str, ...]
    """Acts of the story under which it shows."""


def _as_row(unit: Any, change: Change) -> None:
    """Take whatever row the run has now for the one that was leased."""
    leased = change.leased
    row = unit.tables.due.get((leased.account_id, leased.enrollment_id))
    if row is not None:
        leased.claim_id, leased.lane, leased.due_at = row.claim_id, row.lane, row.due_at


def _unfenced(settle: Any) -> Any:
    def complete(unit: Any, change: Change) -> bool:
        _as_row(unit, change)
        return bool(settle(unit, change))

    return complete


def _fenced_by_name(settle: Any) -> Any:
    """Who bears the name of the step's holder may write its result: here all bear one."""

    def complete(unit: Any, change: Change) -> bool:
        row = unit.tables.due.get((change.leased.account_id, change.leased.enrollment_id))
        if row is not None and row.claim_id is not None:
            _as_row(unit, change)
        return bool(settle(unit, change))

    return complete


def _no_arm(grant: Any) -> Any:
    """What is fetched is sent: nobody looks at stops and suppressions once more."""

    def fetch(*args: Any) -> Leased | None:
        with (
            patched(memory_lease, "_has_event", lambda _: lambda *__: False),
            patched(memory_lease, "_suppressed", lambda _: lambda *__: False),
        ):
            found: Leased | None = grant(*args)
        return found

    return fetch


def _count_later(lease: Any) -> Any:
    """The cap is looked at by the lease and counted by the record."""

    def look_only(tables: Tables, *args: Any) -> LeaseResult:
        before = {(day.account_id, day.local_date): day.used for day in tables.days}
        result: LeaseResult = lease(tables, *args)
        for key, used in before.items():
            tables.days.change(key, used=used)
        return result

    return look_only


def _count_at_record(record: Any) -> Any:
    def write(tables: Tables, losers: Any, changes: Sequence[Change], *rest: Any) -> Any:
        for change in changes:
            day = tables.days.get((change.leased.account_id, change.leased.local_date))
            if change.leased.counted and day is not None:
                key = (day.account_id, day.local_date)
                tables.days.change(key, used=day.used + 1)
        return record(tables, losers, changes, *rest)

    return write


@contextmanager
def _cap_after() -> Iterator[None]:
    with (
        patched(memory_lease, "lease", _count_later),
        patched(memory_record, "record", _count_at_record),
    ):
        yield


def _by_watermark(admit: Any) -> Any:
    """Requests are those with an id beyond the last that was read."""
    read: dict[int, int] = {}

    def after_last(tables: Tables, *args: Any) -> Any:
        last = read.get(id(tables), 0)
        pending = list(tables.ready_requests())
        read[id(tables)] = max(pending, default=last)
        fresh = [one for one in pending if one > last]
        with patched(tables, "ready_requests", lambda _: lambda: iter(fresh)):
            return admit(tables, *args)

    return after_last


def _sent_when_fetched(_: Any) -> Any:
    def judge(*_args: Any) -> StepEvent:
        return Accepted()

    return judge


def _rescue_stale(reap: Any) -> Any:
    """The rescuer acts on the list of the pass before, by id, whoever holds the rows by now."""
    seen: dict[int, list[tuple[Claim, list[Any]]]] = {}

    def rescue(tables: Tables, incarnation: int, timeout_ms: int, gone: Any = ()) -> list[int]:
        late = tables.real_ms() - timeout_ms // 2
        quiet = {node.incarnation for node in tables.nodes if node.beat_at < late}
        rescued = []
        for claim, keys in seen.get(id(tables), ()):
            new_id = tables.next_id("claim")
            for key in keys:
                if key in tables.due and tables.due[key].attempt >= 0:
                    tables.due.change(key, claim_id=new_id)
            made = replace(
                claim, claim_id=new_id, incarnation=incarnation, claimed_at=tables.real_ms(),
                adopted_from=(*claim.adopted_from, claim.incarnation),
            )  # fmt: skip
            tables.claims.add(new_id, made)
            rescued.append(new_id)
        seen[id(tables)] = [
            (replace(claim), tables.due_by_claim.at(claim.claim_id))
            for claim in tables.claims
            if claim.incarnation in quiet and claim.incarnation != incarnation
        ]
        return rescued + list(reap(tables, incarnation, timeout_ms, gone))

    return rescue


def _cancel_ambiguous(log: Any) -> Any:
    def write(tables: Tables, change: Change, row: LogRow, *, stopped: bool) -> None:
        if stopped and row.state is LogState.UNKNOWN:
            row.state = LogState.CANCELLED
        log(tables, change, row, stopped=stopped)

    return write


def _fresh_key(message: Any) -> Any:
    numbers = count(1)

    def make(ready: Any, deployment: str) -> Any:
        made = message(ready, deployment)
        made.idempotency_key += f":{next(numbers)}"
        return made

    return make


def _rendered_anew(message: Any) -> Any:
    def make(ready: Any, deployment: str) -> Any:
        made = message(ready, deployment)
        made.text += f" ({ready.leased.attempt})"
        return made

    return make


def _fixed_offset(lane_window: Any) -> Any:
    """Local hours by the offset of summer."""

    def read(self: Directory, account_id: int, lane: Any) -> tuple[Any, tzinfo]:
        window, zone = lane_window(self, account_id, lane)
        offset = SUMMER.astimezone(zone).utcoffset()
        return window, zone if offset is None else timezone(offset)

    return read


def _retry_unknown(judged: Any) -> Any:
    def judge(policy: Any, provider: str, leased: Any, event: Any, *rest: Any) -> Any:
        if isinstance(event, Unknown):
            event = Retryable(reason=event.reason)
        return judged(policy, provider, leased, event, *rest)

    return judge


def _refund_unknown(advance: Any) -> Any:
    def go(leased: Any, version: Any, event: Any, *rest: Any) -> Change:
        made: Change = advance(leased, version, event, *rest)
        made.refund |= isinstance(event, Unknown | Uncertain)
        return made

    return go


def _words_of_now(words: Any) -> Any:
    """What a dead daemon sent is taken for what it would say now."""

    def render(pipe: Any, leased: Leased, mark: str, deployment: str) -> Any:
        if not mark:
            return words(pipe, leased, mark, deployment)
        with patched(doubt, "mark", lambda _: lambda *__: mark):
            return words(pipe, leased, mark, deployment)

    return render


def _close_early(closing: Any) -> Any:
    """A claim goes with the batch that was taken last, whatever becomes of those before."""

    def close(pipe: Any, batch: Sequence[Change]) -> list[int]:
        waiting = {change.leased.claim_id for change in pipe.done}
        waiting |= {leased.claim_id for queue in pipe.leased.values() for leased in queue}
        taken = {change.leased.claim_id for change in batch} - waiting
        return sorted(taken.union(closing(pipe, batch)))

    return close


@contextmanager
def _advance_by(wrap: Callable[[Any], Any]) -> Iterator[None]:
    with patched(send, "advance", wrap), patched(sweep, "advance", wrap):
        yield


def _next_step_later(record: Any) -> Any:
    """The step that follows is inserted by a transaction of its own, with the next batch."""
    owed: dict[int, list[Any]] = {}

    def write(tables: Tables, *args: Any) -> Any:
        late, owed[id(tables)] = owed.get(id(tables), []), []
        for row in late:
            tables.due.add((row.account_id, row.enrollment_id), row)
        done = record(tables, *args)
        for key in {(one.account_id, one.enrollment_id) for one in done.moved[:1]}:
            if key in tables.due:
                owed[id(tables)].append(tables.due.drop(key))
        return done

    return write


def _only_told(look: Any) -> Any:
    """Work is what was told of since the last look; what failed then is not looked for again."""
    heard: dict[tuple[int, int | None], int] = {}

    def listen(tables: Tables, *args: Any, **more: Any) -> Look:
        seen: Look = look(tables, *args, **more)
        news = []
        for account in seen.events:
            newest = max(row.id for row in tables.events if row.account_id in {account, None})
            if newest > heard.get((id(tables), account), 0):
                heard[id(tables), account] = newest
                news.append(account)
        seen.events = news
        return seen

    return listen


def _forget(_: Any) -> Any:
    def drop(*_args: Any) -> int:
        return 0

    return drop


def _by_number(_: Any) -> Any:
    """Where a run goes on is told by how many steps it has done."""

    def place(_keys: Any, step_no: int, new: Definition, _given: Any) -> Place:
        return Place(step_no if step_no < len(new.steps) else None, same=False)

    return place


def _one(place: Any, name: str, wrap: Callable[[Any], Any]) -> Patch:
    return partial(patched, place, name, wrap)


def _defect(name: str, about: str, patch: Patch, breaks: str, focus: str = "") -> Defect:
    return Defect(
        name=name, about=about, patch=patch, breaks=frozenset(breaks.split()),
        focus=tuple(focus.split()),
    )  # fmt: skip


DEFECTS: Final = (
    _defect("no_fence", "results are written by the run's id, whoever holds the step now",
            _one(memory_record, "_settle", _unfenced), "duplicates live lost", "freeze slow enroll"),
    _defect("fence_by_owner", "results are taken from whoever bears the holder's name",
            _one(memory_record, "_settle", _fenced_by_name), "duplicates live lost",
            "freeze slow"),
    _defect("no_arm", "stops and suppressions are looked at when work is fetched, not when leased",
            _one(memory_lease, "_grant", _no_arm), "after_stop", "stop lock go_away"),
    _defect("cap_after_send", "the cap is counted when the result is written", _cap_after,
            "cap_excess", "enroll cap slow"),
    _defect("watermark", "requests are found by an id beyond the last one read",
            _one(memory_admit, "admit", _by_watermark), "stuck"),
    _defect("checkpoint_at_fetch", "what a dead daemon had fetched counts as sent",
            _one(sweep, "judge", _sent_when_fetched), "lost", "kill freeze enroll"),
    _defect("rescue_by_id", "the rescuer acts on an old list, by id",
            _one(memory_nodes, "reap", _rescue_stale), "duplicates lost live", "freeze kill"),
    _defect("cancelled_after_ambiguous", "a stop cancels what may have left",
            _one(memory_record, "_log", _cancel_ambiguous), "lost ledger", "stop enroll"),
    _defect("random_key", "every attempt has a key of its own",
            _one(send, "message_of", _fresh_key), "phantom lost"),
    _defect("rendered_anew", "a retry renders its message again",
            _one(send, "message_of", _rendered_anew), "frozen"),
    _defect("words_of_now", "what only a dead daemon knew is said as it would be said now",
            _one(sweep, "_words", _words_of_now), "frozen", "kill rename misanswer slow"),
    _defect("closed_early", "a claim is closed while a batch of its steps is in flight",
            _one(Pipeline, "closing", _close_early), "stuck live", "kill lose_answers slow"),
    _defect("fixed_offset", "windows are read with the offset of summer all the year",
            _one(Directory, "lane_window", _fixed_offset), "window"),
    _defect("blind_retry", "an answer that does not come is taken for a refusal",
            _one(doubt, "judged", _retry_unknown), "duplicates", "misanswer"),
    _defect("refund_unknown", "the cap is given back for what may have left",
            partial(_advance_by, _refund_unknown), "ledger cap_excess", "misanswer"),
    _defect("next_step_apart", "the next step is inserted in a transaction of its own",
            _one(memory_record, "record", _next_step_later), "live stuck"),
    _defect("told_only", "work is looked for when it is told of, never polled",
            _one(memory_directory, "look", _only_told), "stuck", "stop lose_answers"),
    _defect("late_result_dropped", "what comes after its claim was lost changes nothing",
            _one(memory_nodes, "testify", _forget), "evidence", "freeze enroll"),
    _defect("migrated_by_number", "a run goes on at the step of the same number",
            _one(memory_desk, "place_of", _by_number), "lost version order duplicates",
            "publish enroll"),
)  # fmt: skip
"""The catalogue. A patch lasts as long as its context."""


def hunt(defect: Defect, seeds: range) -> tuple[int, str] | None:
    """The first of *seeds* that finds the defect, and the promise it broke; None: it escapes."""
    with defect.patch():
        for seed in seeds:
            _, broken = simulate(seed, defect.focus)
            found = [name for name in defect.breaks if broken[name]]
            if found:
                return seed, min(found)
    return None


def table(seeds: range, say: Callable[[str], None]) -> dict[str, object]:
    """Hunt every defect; who was found by which seed, and how many of how many."""
    rows = []
    for defect in DEFECTS:
        found = hunt(defect, seeds)
        seed, promise = found if found is not None else (None, None)
        say(f"{defect.name:26} {promise or 'escapes':12} seed {seed}")
        rows.append(
            {"defect": defect.name, "about": defect.about, "broke": promise, "seed": seed}
        )
    n = sum(row["seed"] is not None for row in rows)
    return {"caught": n, "of": len(rows), "defects": rows, "ok": n == len(rows)}
