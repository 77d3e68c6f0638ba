"""Which daemon serves an account? Rendezvous hashing: a change of daemons moves only what it must.

Correctness does not rest on it - leases alone decide - but token buckets and fair share are
local because of it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from hashlib import blake2b


def owner_of(account_id: int, alive: Sequence[int]) -> int:
    """The incarnation among *alive* that serves the account. Raises `ValueError` if none is."""
    return max(
        alive, key=lambda node: blake2b(f"{node}:{account_id}".encode(), digest_size=8).digest()
    )


def server_of(account_id: int, at_work: Set[int], own: int, *, drained: bool) -> int:
    """Who serves the account, as a daemon sees it that counts itself among those *at_work* even
    where it is *drained*: then any other does."""
    others = at_work - {own} if drained else at_work
    return owner_of(account_id, sorted(others or {own}))
