"""A copy of what one account has and what waits in it, small enough to be played through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from dripd.billing.price import FREE
from dripd.clock import Instant
from dripd.store.memory_rows import (
    Account,
    AccountDay,
    Campaign,
    CampaignVersion,
    Connector,
    Contact,
    ContactList,
    DueStep,
    Lane,
    Mark,
    Park,
    Run,
    SenderTurn,
    Suppression,
    Template,
)
from dripd.store.protocol import SenderRow


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """Rows as memory keeps them. `subject` is the contact that is asked about.

    `whole`: everything that competes with it for caps and rates is in it.
    """

    now: Instant
    account: Account
    cap: int | None
    quota: int | None
    subject: int
    whole: bool = False
    balance: Decimal = FREE
    senders: Sequence[SenderRow] = ()
    turns: Sequence[SenderTurn] = ()
    connectors: Sequence[Connector] = ()
    templates: Sequence[Template] = ()
    contacts: Sequence[Contact] = ()
    lists: Sequence[ContactList] = ()
    tags: Sequence[Mark] = ()
    places: Sequence[Mark] = ()
    suppressions: Sequence[Suppression] = ()
    campaigns: Sequence[Campaign] = ()
    versions: Sequence[CampaignVersion] = ()
    runs: Sequence[Run] = ()
    due: Sequence[DueStep] = ()
    days: Sequence[AccountDay] = ()
    lanes: Sequence[Lane] = ()
    parks: Sequence[Park] = ()

    @property
    def competes(self) -> bool:
        """Does anything beside windows and delays decide when a message goes?"""
        return self.whole and self.is_bounded

    @property
    def is_bounded(self) -> bool:
        """May but so many messages leave in a day, or at a time?"""
        return (
            self.cap is not None
            or self.account.rate is not None
            or any(
                one.rate or one.gap or one.warmup or one.daily_limit is not None
                for one in self.senders
            )
        )
