"""Which campaigns does an operator see, to enroll contacts into them?

Those that the operator owns, and those connected to an address that is the operator's, or is
shared with the operator or with the whole account. Automations are narrower: an address that
is shared only with somebody does not count (behaviours M40, M43).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dripd.campaigns.address import meant
from dripd.campaigns.definition import Definition


class Address(Protocol):
    """A sender, with whose it is and with whom it is shared: `account`, or names."""

    @property
    def address(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def shared(self) -> str | None: ...


def addresses_of(definition: Definition, senders: Iterable[Address]) -> list[Address]:
    """The senders that the campaign is connected to: those that it names, else those of the
    pool that its texts are sent from."""
    kept = list(senders)
    addresses = [one.address for one in kept]
    pools = {definition.sender, *(step.sender for step in definition.steps)}
    named = {address for pool in pools for address in meant(pool, addresses)}
    pool = any(step.kind == "sms" and not step.sender for step in definition.steps)
    return [one for one in kept if one.address in named or (pool and one.channel == "sms")]


def sees(
    who: str, owner: str | None, addresses: Iterable[Address], *, automation: bool = False
) -> bool:
    """May *who* enroll into a campaign of *owner*; a campaign without an address is open."""
    known = list(addresses)
    if who == owner or not known:
        return True
    return any(_reaches(who, one, automation=automation) for one in known)


def _reaches(who: str, one: Address, *, automation: bool) -> bool:
    shared = {name.strip() for name in (one.shared or "").split(",")}
    return one.owner == who or "account" in shared or (not automation and who in shared)
