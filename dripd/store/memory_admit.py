"""Admission in memory: the twin of `unit_admit`. The unique indexes of `run` are the judges."""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from itertools import groupby, islice

from dripd.campaigns.enrollment import FLAG_VARS, DueKey, End, RunStatus
from dripd.clock import DAY, Instant
from dripd.policy.admission_rows import (
    Accept,
    Decision,
    Leave,
    Reject,
    RequestRow,
    first_of_each_key,
    rejections,
)
from dripd.store.memory_changes import forget_runs
from dripd.store.memory_desk import stop_run
from dripd.store.memory_directory import LAST_ID
from dripd.store.memory_money import charge
from dripd.store.memory_rows import (
    Account,
    Campaign,
    Contact,
    DueStep,
    EnrollRequest,
    Run,
    SeenRequest,
)
from dripd.store.memory_tables import Tables
from dripd.store.protocol import Admitted, Decide
from dripd.store.unit_admit import Losers


def admit(
    tables: Tables,
    losers: Losers,
    n: int,
    decide: Decide,
    only: Set[int] = frozenset(),
    unreadable: Set[int] = frozenset(),
) -> Admitted:
    """Decide some *n* pending requests, of each account that asks as many, the oldest first."""
    taken = take(tables, n, only, unreadable)
    if not taken:
        return Admitted(taken=0, decided=0, started=[])
    ids = first_of_each_key(_mark(tables, one) for one in taken)
    done = decide_requests(tables, losers, ids, decide)
    done.taken = len(taken)
    return done


def take(
    tables: Tables, n: int, only: Set[int] = frozenset(), unreadable: Set[int] = frozenset()
) -> list[int]:
    """What `admit` would decide; an account is known by the word that names it."""
    asking: dict[tuple[int | None, str | None], list[int]] = {}
    for one in tables.ready_requests():
        if (not only or one in only) and _live_version(tables, one) not in unreadable:
            request = tables.requests[one]
            asking.setdefault((request.account_id, request.account_key), []).append(one)
    share = -(-n // max(1, len(asking)))
    return sorted(one for ids in asking.values() for one in (ids if only else ids[:share]))


def _live_version(tables: Tables, request_id: int) -> int | None:
    request = tables.requests[request_id]
    account = tables.account_of(request.account_id, request.account_key)
    campaign = None
    if account is not None:
        campaign = tables.campaign_of(account.id, request.campaign_key)
    return None if campaign is None else campaign.live_cv_id


def reject(tables: Tables, ids: Sequence[int], reason: str) -> None:
    """Requests that nobody can read are decided."""
    for one in ids:
        if tables.requests[one].status == "pending":
            tables.requests.change(
                one, status="rejected", reject_reason=reason, decided_at=tables.now()
            )


def new_request(
    tables: Tables, account_id: int, campaign_key: str, contact_id: int, source: str
) -> EnrollRequest:
    """A request that dripd itself makes."""
    request = EnrollRequest(
        id=tables.next_id("request"),
        account_id=account_id,
        account_key=None,
        campaign_key=campaign_key,
        contact_id=contact_id,
        external_id=None,
        source=source,
        idempotency_key=None,
        requested_by=None,
        conversation_ref=None,
        vars=None,
        start_at=None,
        quote_id=None,
        inserted_at=tables.now(),
    )
    return tables.requests.add(request.id, request)


def _mark(tables: Tables, request_id: int) -> tuple[int, int | None, str | None]:
    """By what a request is known that was made twice."""
    request = tables.requests[request_id]
    account = tables.account_of(request.account_id, request.account_key)
    named = account.id if account is not None else request.account_id
    return request_id, named, request.idempotency_key


def decide_requests(
    tables: Tables, losers: Losers, ids: Sequence[int], decide: Decide
) -> Admitted:
    """Decide the requests *ids* and write what was decided."""
    now = tables.now()
    decisions = decide([_facts(tables, tables.requests[one], now) for one in ids], now)
    accepted = sorted(
        (one for one in decisions if isinstance(one, Accept)), key=Accept.lock_order
    )
    begun, broke = _begin_all(tables, accepted, now)
    started = [key for one, run in begun if (key := _start(tables, one, run)) is not None]
    runs = {one.request.id: run for one, run in begun}
    rejected = rejections(decisions, runs, broke, losers.lost)
    _note(tables, runs, rejected, decisions)
    for one in decisions:
        if isinstance(one, Leave) and one.queued_in:
            _queue(tables, one.request, one.queued_in)
    done = Admitted(taken=len(ids), decided=len(runs) + len(rejected), started=started)
    done.accounts = {key.account_id for key in started}
    return done


def _begin_all(
    tables: Tables, accepted: list[Accept], now: Instant
) -> tuple[list[tuple[Accept, int]], set[int]]:
    """Those that begin, with their runs, and the requests that the balance does not cover. One
    that does not begin after all leaves in its place the run that it was to take it from."""
    broke: set[int] = set()
    while True:
        before = tables.undo.mark()
        begun = [
            (one, run) for one in accepted if (run := _begin(tables, one, now)) is not None
        ]
        short = charge(tables, begun) if any(one.charge for one, _ in begun) else set()
        poor = {one.request.id for one, run in begun if run in short}
        begun = [(one, run) for one, run in begun if run not in short]
        ran = {one.request.id for one, _ in begun}
        stay = {o.request.id for o in accepted if o.displaces and o.request.id not in ran}
        if not stay:
            return begun, broke | poor
        tables.undo.roll_back(before)
        broke |= poor & stay
        accepted = [one for one in accepted if one.request.id not in stay]


def _queue(tables: Tables, request: RequestRow, scope: str) -> None:
    """It waits until its contact's run in *scope* has ended; not where none has begun."""
    account, contact = request.account_id or 0, request.contact_id or 0
    runs = (tables.runs[key] for key in tables.runs_of.at((account, contact)))
    if any(run.exclusive == scope for run in runs):
        tables.requests.change(request.id, account_id=account, queued_for=contact)


def wake_queued(tables: Tables, after: tuple[int, int], most: int) -> tuple[int, int] | None:
    """Wake who waits for contacts that are busy no more; the last contact, None = no more."""
    waiting = (key[:2] for key in tables.queued.at("queued").after((*after, LAST_ID)))
    behind = [(account, contact) for (account, contact), _ in islice(groupby(waiting), most)]
    for who in behind:
        if all(tables.runs[key].exclusive is None for key in tables.runs_of.at(who)):
            tables.free_contact(*who)
    return behind[-1] if len(behind) == most else None


def _facts(tables: Tables, request: EnrollRequest, now: Instant) -> RequestRow:
    """What must be known to decide *request*, as the statement `request_facts` reads it."""
    account = tables.account_of(request.account_id, request.account_key)
    row = RequestRow(
        id=request.id,
        account_id=account.id if account is not None else None,
        campaign_key=request.campaign_key,
        campaign_id=None,
        campaign_status=None,
        cv_id=None,
        contact_id=None,
        source=request.source,
        idempotency_key=request.idempotency_key,
        requested_by=request.requested_by,
        conversation_ref=request.conversation_ref,
        vars=_vars_of(request.vars),
        vars_ok=request.vars is None or isinstance(request.vars, dict),
        inserted_at=request.inserted_at,
        start_at=request.start_at,
        quote_id=request.quote_id,
        entry=request.entry or "",
    )
    if account is not None:
        _add_account_facts(tables, account, request, row, now)
    return row


def _vars_of(value: object) -> dict[str, object] | None:
    if value is None:
        return None
    return copy.deepcopy(value) if isinstance(value, dict) else {}


def _add_account_facts(
    tables: Tables, account: Account, request: EnrollRequest, row: RequestRow, now: Instant
) -> None:
    campaign = tables.campaign_of(account.id, request.campaign_key)
    contact = _contact_of(tables, account.id, request)
    row.account_status, row.subscribed = account.status, account.subscription_active
    if campaign is not None:
        row.campaign_id = campaign.id
        row.campaign_status = campaign.status
        row.campaign_owner = campaign.owner
        row.cv_id = campaign.live_cv_id
    if request.requested_by is not None:
        row.requester_role = _role(tables, account.id, request.requested_by)
    if contact is not None:
        _add_contact_facts(tables, contact, row)
        if account.prices or (
            row.cv_id and "field_map" in tables.versions[row.cv_id].definition
        ):
            _add_facts(tables, account, contact, row)
    row.quote = tables.quotes.get((account.id, request.quote_id or ""))
    row.on_board = _is_on_board(tables, account.id, campaign, contact)
    if campaign is not None and contact is not None:
        _add_history(tables, row, campaign.id, contact.id, now)
    seen = tables.seen_requests.get((account.id, request.idempotency_key or ""))
    if request.idempotency_key and seen is not None:
        row.duplicate_of = seen.enrollment_id or 0


def _role(tables: Tables, account_id: int, name: str) -> str | None:
    """The operator's role, "" for none; None where the account has no operators."""
    roles = {o.name: o.role for o in tables.operators if o.account_id == account_id}
    return roles.get(name, "") if roles else None


def _contact_of(tables: Tables, account_id: int, request: EnrollRequest) -> Contact | None:
    named: tuple[int, int] | None = None
    if request.contact_id is not None:
        named = (account_id, request.contact_id)
    elif request.external_id is not None:
        found = tables.contact_names.at((account_id, request.external_id))
        named = found[0] if found else None
    contact = tables.contacts.get(named) if named is not None else None
    return None if contact is None or contact.erased_at is not None else contact


def _add_contact_facts(tables: Tables, contact: Contact, row: RequestRow) -> None:
    row.contact_id = contact.id
    row.email = contact.email
    row.phone = contact.phone
    row.timezone = contact.timezone
    row.owner = contact.owner
    row.email_suppressed = tables.is_suppressed(contact.account_id, "email", contact.email)
    row.phone_suppressed = tables.is_suppressed(contact.account_id, "sms", contact.phone)
    runs = [tables.runs[key] for key in tables.runs_of.at((contact.account_id, contact.id))]
    row.busy = {
        run.exclusive: tables.campaigns[run.account_id, run.campaign_id].key
        for run in runs
        if run.exclusive is not None
    }


def _add_facts(tables: Tables, account: Account, contact: Contact, row: RequestRow) -> None:
    """What decides which messages will be sent, for accounts that pay for them, and where to,
    for versions that map addresses."""
    who = (account.id, contact.id)
    company = tables.companies.get((account.id, contact.company_id or 0))
    row.prices = dict(account.prices)
    row.attrs = copy.deepcopy(contact.attrs)
    row.service_owner = contact.service_owner
    row.contact_external_id = contact.external_id
    row.company = copy.deepcopy(company.attrs) if company is not None else {}
    row.tags = frozenset(str(tables.tags[key].what) for key in tables.tags_of.at(who))
    lists = (tables.places[key].what for key in tables.places_of.at(who))
    row.lists = frozenset(tables.lists[account.id, int(one)].key for one in lists)


def _is_on_board(
    tables: Tables, account_id: int, campaign: Campaign | None, contact: Contact | None
) -> bool:
    if campaign is None or campaign.board is None:
        return True
    board = tables.list_of(account_id, campaign.board)
    if board is None or contact is None:
        return False
    return (account_id, contact.id, board.id) in tables.places


def _add_history(
    tables: Tables, row: RequestRow, campaign_id: int, contact_id: int, now: Instant
) -> None:
    """The runs that the contact has had in this campaign."""
    keys = tables.runs_of.at((row.account_id, contact_id))
    runs = [run for run in map(tables.runs.__getitem__, keys) if run.campaign_id == campaign_id]
    row.runs = len(runs)
    row.live = sum(run.status is RunStatus.LIVE for run in runs)
    row.unreset = sum(run.reset_at is None for run in runs)
    row.runs_today = sum(run.started_at > now - DAY for run in runs)
    row.last_ended_at = max((r.ended_at for r in runs if r.ended_at is not None), default=None)
    row.last_run_no = max((run.run_no for run in runs), default=0)
    row.alone = any(run.reentry == 1 and run.status is not RunStatus.LIVE for run in runs)


def _displace(tables: Tables, one: Accept) -> None:
    """End the run whose place is taken, as a move would."""
    key = (one.request.account_id or 0, one.request.contact_id or 0, one.exclusive)
    for found in tables.run_exclusive.at(key):
        stop_run(tables, found, End(RunStatus.REMOVED, f"moved:{one.request.campaign_key}"))


def _yield(tables: Tables, one: Accept) -> None:
    """Ended runs that were to be the contact's only one here keep it out no longer."""
    request = one.request
    for key in tables.runs_of.at((request.account_id, request.contact_id)):
        run = tables.runs[key]
        ended = run.campaign_id == request.campaign_id and run.status is not RunStatus.LIVE
        if ended and run.reentry == 1:
            tables.runs.change(key, reentry=None)


def _begin(tables: Tables, one: Accept, now: Instant) -> int | None:
    """Insert a run; None where a unique index forbids it."""
    if one.displaces:
        _displace(tables, one)
    if one.resets:
        forget_runs(
            tables,
            one.request.account_id or 0,
            one.request.contact_id or 0,
            one.request.campaign_id or 0,
        )
    if one.yields:
        _yield(tables, one)
    run = _run_of(tables, one, now)
    tables.lane_of(run.account_id, one.lane)
    if _is_taken(tables, run):
        return None
    tables.runs.add((run.account_id, run.id), run)
    return run.id


def _start(tables: Tables, one: Accept, run_id: int) -> DueKey | None:
    """The due step of a run that has begun; None where it has ended already."""
    if one.end is not None:
        return None
    run = tables.runs[one.request.account_id or 0, run_id]
    lane = tables.lane_of(run.account_id, one.lane)
    step = DueStep(
        account_id=run.account_id,
        enrollment_id=run.id,
        contact_id=run.contact_id,
        cv_id=run.cv_id,
        run_no=run.run_no,
        due_at=one.due_at,
        lane=lane,
        step_no=one.step_no,
        flags=FLAG_VARS if one.request.vars else 0,
    )
    tables.due.add((run.account_id, run.id), step)
    return DueKey(run.account_id, lane, one.due_at, run.id, run.cv_id)


def _run_of(tables: Tables, one: Accept, now: Instant) -> Run:
    request, end = one.request, one.end
    reentry, exclusive = one.claims()
    run = Run(
        account_id=request.account_id or 0,
        campaign_id=request.campaign_id or 0,
        id=tables.next_id("run"),
        contact_id=request.contact_id or 0,
        cv_id=one.cv_id,
        run_no=request.last_run_no + 1,
        started_at=one.started_at,
        reentry=reentry,
        exclusive=exclusive,
        owner=one.owner,
        source=request.source,
        conversation_ref=request.conversation_ref,
        vars=copy.deepcopy(request.vars) if request.vars else None,
        paid=copy.deepcopy(dict(one.paid)) if one.paid is not None else None,
        frozen=copy.deepcopy(dict(one.frozen)) if one.frozen is not None else None,
    )
    if end is not None:
        run.status = end.status
        run.end_reason = end.reason
        run.ended_at = max(now, one.started_at)
    return run


def _is_taken(tables: Tables, run: Run) -> bool:
    """Would a unique index of `run` refuse this row?"""
    who = (run.account_id, run.contact_id)
    return (
        tables.run_numbers.has((*who, run.campaign_id, run.run_no))
        or (
            run.reentry is not None
            and tables.run_reentry.has((run.account_id, run.campaign_id, run.contact_id))
        )
        or (run.exclusive is not None and tables.run_exclusive.has((*who, run.exclusive)))
    )


def _note(
    tables: Tables,
    runs: dict[int, int],
    rejected: list[Reject],
    decisions: Sequence[Decision],
) -> None:
    """Write the decisions into the requests, the journal and the idempotency keys."""
    requests = {one.request.id: one.request for one in decisions}
    for request_id, run_id in runs.items():
        _decide(tables, requests[request_id], "accepted", None, run_id)
    for one in rejected:
        _decide(tables, one.request, "rejected", one.reason, one.enrollment_id or None)
        if one.request.account_id:
            who = (one.request.account_id, None, one.request.contact_id)
            tables.write_journal(*who, "rejected", one.told())
    for made in decisions:
        run = runs.get(made.request.id)
        if isinstance(made, Accept) and made.doubt and run is not None:
            account = made.request.account_id or 0
            tables.write_journal(account, run, made.request.contact_id, made.doubt, {})


def _decide(
    tables: Tables, request: RequestRow, status: str, reason: str | None, run: int | None
) -> None:
    tables.requests.change(
        request.id,
        status=status,
        reject_reason=reason,
        enrollment_id=run,
        decided_at=tables.now(),
    )
    if request.idempotency_key and request.account_id and reason != "duplicate":
        key = (request.account_id, request.idempotency_key)
        if key not in tables.seen_requests:
            row = SeenRequest(request_id=request.id, enrollment_id=run)
            tables.seen_requests.add(key, row)
