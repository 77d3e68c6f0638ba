"""Money in memory: the ledger, what runs were charged, what ends give back.

The twin of what the schema does by triggers and of the charge in `unit_admit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from dripd.billing.ledger import Ask, is_refunded, over_quota, unaffordable
from dripd.billing.meter import ACTION
from dripd.billing.price import FREE
from dripd.campaigns.enrollment import CHANNEL_NO, LogState, RunStatus
from dripd.clock import Instant
from dripd.policy.admission_rows import Accept
from dripd.store.memory_directory import park
from dripd.store.memory_rows import HeldAction, LedgerLine, Meter, Run
from dripd.store.memory_tables import Tables
from dripd.store.protocol import ParkRow

SENT = {LogState.ACCEPTED, LogState.UNKNOWN}


class Covered(NamedTuple):
    """What one message of a run has been charged, and what became of it."""

    step_key: str
    amount: Decimal
    sent: bool
    in_flight: bool


def write(
    tables: Tables,
    account_id: int,
    kind: str,
    amount: Decimal,
    *,
    at: Instant | None = None,
    enrollment_id: int | None = None,
    step_key: str | None = None,
    delivery_id: str | None = None,
) -> None:
    """A line of the ledger."""
    line = LedgerLine(
        id=tables.next_id(),
        account_id=account_id,
        kind=kind,
        amount=amount,
        at=tables.now() if at is None else at,
        enrollment_id=enrollment_id,
        step_key=step_key,
        delivery_id=delivery_id,
    )
    tables.ledger.add(line.id, line)
    if kind != "charge":
        _open(tables, account_id)


def _open(tables: Tables, account_id: int) -> None:
    """What waits for money is looked at again."""
    for row in [one for one in tables.parks if one.account_id == account_id]:
        if row.reason == "balance":
            tables.parks.drop((account_id, row.lane))
            tables.nudge(account_id)


def balance(tables: Tables, account_id: int) -> Decimal:
    """What the account has left."""
    amounts = (
        -line.amount if line.kind == "charge" else line.amount
        for line in tables.ledger
        if line.account_id == account_id
    )
    return sum(amounts, FREE)


def charge(tables: Tables, begun: Sequence[tuple[Accept, int]]) -> set[int]:
    """Charge what the runs cost, oldest request first; the runs that the balance is short of."""
    asked = sorted((one.request.id, run, one) for one, run in begun if one.charge)
    accounts = {one.request.account_id or 0 for _, _, one in asked}
    refused = unaffordable(
        {account: balance(tables, account) for account in accounts},
        [(run, one.request.account_id or 0, one.charge) for _, run, one in asked],
    )
    for _, run, one in asked:
        account = one.request.account_id or 0
        if run in refused:
            tables.runs.drop((account, run))
        else:
            write(tables, account, "charge", one.charge, at=one.started_at, enrollment_id=run)
    return refused


def covered(tables: Tables, run: Run) -> Iterator[Covered]:
    """Each message of the run that was charged for."""
    if run.paid is None:
        return
    messages: Any = run.paid["messages"]
    amounts: dict[str, Decimal] = {
        key: Decimal(str(one["amount"])) for key, one in messages.items()
    }
    for line in lines_of(tables, run):
        if line.kind == "charge" and line.step_key is not None:
            amounts[line.step_key] = amounts.get(line.step_key, FREE) + line.amount
    sent = _sent(tables, run)
    row = tables.due.get((run.account_id, run.id))
    leased = row is not None and row.claim_id is not None
    flying = step_key(tables, row.cv_id, row.step_no) if row is not None and leased else None
    for key, amount in amounts.items():
        if amount > 0:
            yield Covered(key, amount, key in sent, key == flying)


def toll(tables: Tables, asks: Sequence[Ask]) -> dict[int, str]:
    """The claim decides first, then the quota, then the balance, then both are written."""
    refused = {ask.enrollment_id: "lost" for ask in asks if not _is_claimed(tables, ask)}
    held = [ask for ask in asks if ask.enrollment_id not in refused]
    ordered = sorted(held, key=lambda ask: (ask.account_id, ask.enrollment_id))
    refused |= dict.fromkeys(_over_quota(tables, ordered), "quota")
    charged = {line.delivery_id for line in tables.ledger if line.kind == "charge"}
    paying = [
        ask
        for ask in ordered
        if ask.amount and ask.enrollment_id not in refused and ask.delivery_id not in charged
    ]
    short = unaffordable(
        {ask.account_id: balance(tables, ask.account_id) for ask in paying},
        [(ask.enrollment_id, ask.account_id, ask.amount) for ask in paying],
    )
    refused |= dict.fromkeys(short, "balance")
    park(
        tables,
        [
            ParkRow(ask.account_id, ask.lane, "balance", None)
            for ask in paying
            if ask.enrollment_id in short
        ],
    )
    for ask in paying:
        if ask.enrollment_id not in short:
            write(
                tables, ask.account_id, "charge", ask.amount, enrollment_id=ask.enrollment_id,
                step_key=ask.step_key, delivery_id=ask.delivery_id,
            )  # fmt: skip
    for ask in ordered:
        if ask.quota is not None and ask.enrollment_id not in refused:
            _hold_action(tables, ask)
    return refused


def _is_claimed(tables: Tables, ask: Ask) -> bool:
    row = tables.due.get((ask.account_id, ask.enrollment_id))
    return row is not None and row.claim_id == ask.claim_id


def _over_quota(tables: Tables, asks: Sequence[Ask]) -> set[int]:
    counted = Counter({(m.account_id, m.period): m.n for m in tables.meters})
    for held in tables.held_actions:
        if held.claim_id in tables.claims:
            counted[held.account_id, held.period] += 1
    known = {(held.enrollment_id, held.claim_id) for held in tables.held_actions}
    fresh = [ask for ask in asks if (ask.enrollment_id, ask.claim_id) not in known]
    return over_quota(fresh, counted)


def _hold_action(tables: Tables, ask: Ask) -> None:
    drop_held(tables, ask.account_id, ask.enrollment_id)
    row = HeldAction(
        account_id=ask.account_id, enrollment_id=ask.enrollment_id, claim_id=ask.claim_id,
        period=ask.period,
    )  # fmt: skip
    tables.held_actions.add((ask.account_id, ask.enrollment_id), row)


def drop_held(tables: Tables, account_id: int, enrollment_id: int) -> None:
    if (account_id, enrollment_id) in tables.held_actions:
        tables.held_actions.drop((account_id, enrollment_id))


def count_actions(tables: Tables, account_id: int, month: str, n: int) -> None:
    """Automation actions that were performed."""
    key = (account_id, ACTION, month)
    row = tables.meters.get(key)
    if row is None:
        tables.meters.add(key, Meter(account_id=account_id, kind=ACTION, period=month, n=n))
    else:
        tables.meters.change(key, n=row.n + n)


def lines_of(tables: Tables, run: Run) -> list[LedgerLine]:
    return [tables.ledger[one] for one in tables.ledger_of.at((run.account_id, run.id))]


def _sent(tables: Tables, run: Run) -> set[str]:
    logs = [tables.step_log[one] for one in tables.log_of.at((run.account_id, run.id))]
    return {
        step_key(tables, log.cv_id, log.row.step_no)
        for log in logs
        if log.row.channel != CHANNEL_NO[""] and log.row.state in SENT
    }


def step_key(tables: Tables, cv_id: int, step_no: int) -> str:
    return tables.versions[cv_id].steps[step_no][0]


def refund_unsent(tables: Tables, account_id: int, enrollment_id: int) -> None:
    """What a run that has ended was charged for and did not send goes back, once."""
    run = tables.runs.get((account_id, enrollment_id))
    if run is None or run.status is RunStatus.LIVE or run.paid is None:
        return
    if not is_refunded(run.end_reason or "", run.paid["refund_on"]):
        return
    done = {line.step_key for line in lines_of(tables, run) if line.kind == "refund"}
    for one in covered(tables, run):
        if not one.sent and not one.in_flight and one.step_key not in done:
            write(
                tables, account_id, "refund", one.amount, enrollment_id=enrollment_id,
                step_key=one.step_key,
            )  # fmt: skip
