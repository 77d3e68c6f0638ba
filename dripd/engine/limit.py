"""How many messages a second may leave here at most, by every rate that is set?

For those who look on; nothing is taken. A few accounts are looked at a second, so that an
estate of any size costs the loop nothing: the figure is as old as the last whole pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import inf
from typing import Any, Final

from dripd.engine.directory import Account
from dripd.engine.pipeline import Pipeline
from dripd.ratelimit.bucket import parse_rate
from dripd.ratelimit.gap import parse_gap

AT_ONCE: Final = 200
"""Accounts that are looked at in one go: a fraction of a millisecond."""


class Limit:
    """What the rates of accounts, senders and providers come to, of the accounts served here."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._left: Iterator[int] = iter(())
        self._sums: dict[str, float] | None = None
        self.per_s: float | None = None
        """None: nothing bounds it, or no pass has ended yet."""

    def look(self) -> None:
        """Go on with the pass; a new one begins after the last account."""
        if self._sums is None:
            self._left, self._sums = iter(list(self._pipe.owned)), {}
        for _ in range(AT_ONCE):
            account_id = next(self._left, None)
            if account_id is None:
                self.per_s, self._sums = _total(self._pipe, self._sums), None
                return
            account = self._pipe.directory.accounts.get(account_id)
            if account is not None and account.row.status == "active":
                for provider, per_s in most_per_s(account).items():
                    self._sums[provider] = self._sums.get(provider, 0.0) + per_s


def most_of(pipe: Pipeline, account_id: int) -> float | None:
    """What may leave of an account a second; None: nothing bounds it, or it is served elsewhere."""
    account = pipe.directory.accounts.get(account_id)
    if account is None or account_id not in pipe.owned:
        return None
    return _total(pipe, most_per_s(account))


def _total(pipe: Pipeline, by_provider: Mapping[str, float]) -> float | None:
    """What may leave a second through the providers that are served here; None: no bound."""
    lines = pipe.flow.providers
    total = sum(
        min(per_s, _per_s(lines[provider].rate))
        for provider, per_s in by_provider.items()
        if provider in lines
    )
    return None if total == inf else total


def most_per_s(account: Account) -> dict[str, float]:
    """What may leave of *account* a second, by the providers of its active senders.

    The rate of the account is divided among several providers as their senders may use it.
    """
    found: dict[str, float] = {}
    for sender in account.row.senders:
        if sender.status == "active":
            own = _per_s(sender.rate)
            found[sender.provider] = found.get(sender.provider, 0.0) + own
    most, wanted = _per_s(account.row.rate), sum(found.values())
    if most >= wanted:
        return found
    if wanted == inf:
        boundless = [provider for provider, per_s in found.items() if per_s == inf]
        return {provider: most / len(boundless) for provider in boundless}
    return {provider: per_s * most / wanted for provider, per_s in found.items()}


def sender_most(pipe: Pipeline, row: Mapping[str, Any]) -> float | None:
    """How many messages a second may leave from a sender at most: by its rate, its account's,
    its provider's here, and its gap at its mean. None: nothing bounds it."""
    line = pipe.flow.providers.get(row["provider"])
    rates = (row["rate"], row["account_rate"], None if line is None else line.rate)
    most = min(*map(_per_s, rates), _by_gap(row["gap"]))
    return None if most == inf else float(f"{most:.4g}")


def _by_gap(text: str | None) -> float:
    if not text:
        return inf
    gap = parse_gap(text)
    return 2000 / (gap.least_ms + gap.most_ms)


@lru_cache(maxsize=1024)
def _per_s(rate: str | None) -> float:
    if not rate:
        return inf
    found = parse_rate(rate)
    return 1000 * found.n / found.per_ms
