"""What admission looks at and answers: rows of requests, decisions."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from dripd.billing.price import FREE
from dripd.campaigns.enrollment import End, LaneKey
from dripd.clock import Instant


class Quote(NamedTuple):
    """What `campaign quote` promised, as far as it must still hold."""

    campaign_id: int
    contact_id: int
    total: Decimal


@dataclass(slots=True)
class RequestRow:
    """A pending `enroll_request` with what must be known to decide it.

    `account_id`, `campaign_id`, `contact_id` are None where there is no such thing. `runs`
    counts the contact's runs here, `live` those that live, `unreset` those never reset,
    `runs_today` those of the last 24 hours.
    """

    id: int
    account_id: int | None
    campaign_key: str | None
    campaign_id: int | None
    campaign_status: str | None
    cv_id: int | None
    contact_id: int | None
    source: str | None
    idempotency_key: str | None
    requested_by: str | None
    conversation_ref: str | None
    vars: dict[str, object] | None
    vars_ok: bool
    start_at: Instant | None
    quote_id: str | None
    inserted_at: Instant | None = None
    account_status: str = "active"
    subscribed: bool = True
    email: str | None = None
    phone: str | None = None
    timezone: str | None = None
    attrs: dict[str, object] = field(default_factory=dict)
    owner: str | None = None
    email_suppressed: bool = False
    phone_suppressed: bool = False
    on_board: bool = True
    busy: Mapping[str, str] = field(default_factory=dict)
    """exclusive scope -> key of the campaign in which a live run holds it."""
    runs: int = 0
    live: int = 0
    unreset: int = 0
    runs_today: int = 0
    last_ended_at: Instant | None = None
    last_run_no: int = 0
    alone: bool = False
    """One of them, which has ended, was to be the contact's only one."""
    entry: str = ""
    """The sequence in which an event lets it begin; "" = the first."""
    duplicate_of: int | None = None
    """Enrollment of the first request with this idempotency key, 0 where that was refused."""
    prices: Mapping[str, object] = field(default_factory=dict)
    """The account's price list. Where it is empty nothing is charged, and `attrs` and what
    follows are read only for a version that maps addresses."""
    quote: Quote | None = None
    requester_role: str | None = None
    """What `requested_by` is in the account, "" = no operator; None: nobody has to be asked."""
    campaign_owner: str | None = None
    service_owner: str | None = None
    contact_external_id: str | None = None
    company: dict[str, object] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()


@dataclass(slots=True)
class Accept:
    """Start a run. `reentry` and `exclusive` are what the unique indexes judge."""

    request: RequestRow
    cv_id: int
    started_at: Instant
    due_at: Instant
    lane: LaneKey
    step_no: int = 0
    reentry: int | None = 1
    exclusive: str | None = None
    owner: str | None = None
    displaces: bool = False
    """The run that keeps the contact busy elsewhere ends, moved here."""
    resets: bool = False
    """The contact's earlier runs here no longer count: they are reset first."""
    yields: bool = False
    """An earlier run that was to be the only one keeps nobody out by now."""
    end: End | None = None
    """Where the version has no step to perform: the run ends as it begins."""
    charge: Decimal = FREE
    """What the run costs now; the balance decides whether it begins."""
    paid: Mapping[str, object] | None = None
    """What each message of it was charged; None where the version charges nothing."""
    frozen: Mapping[str, object] | None = None
    """The texts as they stood when they were charged, under `freeze: at_enroll`."""
    doubt: str = ""
    """What the journal notes of it besides."""

    def claims(self) -> tuple[int | None, str | None]:
        """The re-entry and the scope that its run takes. One that ends as it begins keeps nobody
        out, except where a contact has one run alone."""
        if self.end is None:
            return self.reentry, self.exclusive
        return (1 if self.reentry == 1 else None), None

    def lock_order(self) -> tuple[int, str, int, int]:
        """Batches insert their keys in one order, else they deadlock."""
        one = self.request
        return (
            one.account_id or 0,
            self.exclusive or "",
            one.campaign_id or 0,
            one.contact_id or 0,
        )


@dataclass(slots=True)
class Reject:
    request: RequestRow
    reason: str
    enrollment_id: int | None = None

    def told(self) -> dict[str, object]:
        """What the journal says of it: the campaign only where there is one of that name."""
        told: dict[str, object] = {"request_id": self.request.id, "reason": self.reason}
        if self.reason != "unknown_campaign":
            told["campaign"] = self.request.campaign_key
        return told


@dataclass(slots=True)
class Leave:
    """Stay pending: its turn comes after what stands before it in the batch, or, where it is
    `queued_in` an exclusive scope, once the contact's run there has ended."""

    request: RequestRow
    queued_in: str = ""


Decision: TypeAlias = Accept | Reject | Leave


def first_of_each_key(asked: Iterable[tuple[int, int | None, str | None]]) -> list[int]:
    """Of requests, as (id, account, idempotency key), those to decide now: of one key only the
    first; the others' turn comes after it."""
    seen: set[tuple[int | None, str]] = set()
    first = []
    for request_id, account_id, key in asked:
        if key:
            if (account_id, key) in seen:
                continue
            seen.add((account_id, key))
        first.append(request_id)
    return first


def rejections(
    decisions: Sequence[Decision],
    begun: Container[int],
    broke: Container[int],
    has_lost: Callable[[int], bool],
) -> list[Reject]:
    """The requests that are rejected: by *decisions*, for want of balance (*broke*), or because
    they have lost their place to others too often, which *has_lost* is asked of each that has
    neither *begun* nor been too dear."""
    found = [one for one in decisions if isinstance(one, Reject)]
    for one in decisions:
        if isinstance(one, Accept) and one.request.id not in begun:
            if one.request.id in broke:
                found.append(Reject(one.request, "insufficient_balance"))
            elif has_lost(one.request.id):
                found.append(Reject(one.request, "already_ran"))
    return found
