"""What a step needs before it is performed: money for a message, one of a quota of actions.

Asked for a batch at a time, only for versions that charge per send or count actions, just
before the step is performed: nothing is charged that does not leave, but for a crash in
between, and a charge is known by its delivery, so that no retry is charged twice. What the
account cannot have parks its lane, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import trio

from dripd.billing.ledger import Ask, owed
from dripd.billing.meter import next_period, period
from dripd.billing.price import FREE, price_of
from dripd.campaigns.enrollment import Leased
from dripd.campaigns.version import Version
from dripd.clock import Instant
from dripd.engine.feed import park, shut
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.perform import Rendered
from dripd.scheduler.calendar import day_bounds
from dripd.store.protocol import ParkRow

log = get("toll")


def quota_of(pipe: Pipeline, leased: Leased, version: Version) -> int | None:
    """The account's quota of actions, where the step counts towards one."""
    if not version.metered:
        return None
    account = pipe.directory.accounts.get(leased.account_id)
    return None if account is None else account.row.action_quota


def ask_of(pipe: Pipeline, rendered: Rendered) -> Ask | None:
    """What the message must be granted; None: nothing."""
    leased, version = rendered.leased, rendered.version
    amount = FREE
    step = version.steps[leased.step_no]
    if version.billed and not step.is_notice:
        prices = pipe.directory.account(leased.account_id).prices
        unit = price_of(prices, rendered.channel, 1)
        amount = owed(leased.paid.get(step.key), unit, rendered.segments)
    quota = quota_of(pipe, leased, version)
    if amount <= FREE and quota is None:
        return None
    return _ask(leased, step.key, quota, max(amount, FREE))


def ask_for_step(leased: Leased, version: Version, quota: int) -> Ask:
    """What an internal step must be granted."""
    return _ask(leased, version.steps[leased.step_no].key, quota, FREE)


def _ask(leased: Leased, step_key: str, quota: int | None, amount: Decimal) -> Ask:
    return Ask(
        account_id=leased.account_id,
        lane=leased.lane,
        enrollment_id=leased.enrollment_id,
        claim_id=leased.claim_id,
        step_key=step_key,
        delivery_id=f"{leased.enrollment_id}-{leased.seq}",
        amount=amount,
        quota=quota,
        period=period(leased.local_date),
    )


async def toll(pipe: Pipeline, asked: Sequence[tuple[Leased, Ask]]) -> Mapping[int, str]:
    """Ask for all of *asked*; enrollment to why it was refused, its lane parked.

    What lacks money was parked by the store, together with the decision: a deposit in between
    would open nothing. While the database is away nothing is granted, and nothing parked: `away`.
    """
    try:
        with trio.CancelScope(shield=True):
            refused = await pipe.store.toll([ask for _, ask in asked])
    except StoreError as error:
        log.warning("store.lost", reason=error.code)
        return {leased.enrollment_id: "away" for leased, _ in asked}
    poor: dict[tuple[int, int], ParkRow] = {}
    full: dict[tuple[int, int], ParkRow] = {}
    for leased, ask in asked:
        leased.tolled = ask.quota is not None and leased.enrollment_id not in refused
        place = (leased.account_id, leased.lane)
        match refused.get(leased.enrollment_id):
            case "balance":
                poor[place] = ParkRow(*place, "balance", None)
            case "quota":
                full[place] = ParkRow(*place, "quota", _renewal(pipe, leased))
    if poor:
        shut(pipe, poor.values())
    try:
        await park(pipe, list(full.values()))
    except StoreError as error:  # held here until SQL is read again, and asked for once more
        log.warning("store.lost", reason=error.code)
    return refused


def _renewal(pipe: Pipeline, leased: Leased) -> Instant:
    """When the quota begins anew."""
    zone = pipe.directory.account(leased.account_id).zone
    return day_bounds(zone, next_period(leased.local_date))[0]
