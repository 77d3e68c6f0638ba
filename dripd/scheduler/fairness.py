"""Whose turn is it? Fair share among accounts of the steps that are ready.

Wanted: the next few hundred steps, so that no account starves another, and within an account
the oldest due first, with a share kept for what must not wait behind a bulk of first messages.
Guarantees: nothing is lost or handed out twice; a lane keeps its order; while one account
waits in the ring, any other has at most three turns.
Method: deficit round robin. Accounts with something ready stand in a ring and take a quantum
a turn; a turn that a full batch cuts short goes on in the next pick. Who had nothing ready
and gets something goes to the front, once a round: a round is over when as many have had a
turn as stood in the ring when it began. Whoever comes again in the same round joins at the
end, so that a trickle of single steps cannot hold up the ring.
Cost: an entry costs a few moves in a deque, a change of lane a heap of the account's lanes; a
pick looks at no account but those that it serves and those that it passes over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import Final, Generic, TypeVar

from dripd.clock import Instant

T = TypeVar("T")

_END_OF_TIME: Final = (1 << 63, 0)


class _Account(Generic[T]):
    """The lanes of one account in which something stands, by the due instant of their heads."""

    __slots__ = ("credit", "id", "kept", "lanes", "later", "parked", "queued", "round", "soon")

    def __init__(self, account: int) -> None:
        self.id = account
        self.lanes: dict[int, deque[tuple[Instant, T]]] = {}
        self.soon: list[tuple[int, int]] = []
        self.later: list[tuple[int, int]] = []
        self.parked: set[int] = set()
        self.queued = False
        self.round = -1
        self.credit = 0
        self.kept = 0

    def extend(self, lane: int, entries: Iterable[tuple[Instant, T]], *, urgent: bool) -> int:
        """Append to *lane*; how many."""
        standing = self.lanes.get(lane)
        if standing is not None:
            before = len(standing)
            standing.extend(entries)
            return len(standing) - before
        standing = deque(entries)
        if standing:
            self.lanes[lane] = standing
            heappush(self.soon if urgent else self.later, (standing[0][0], lane))
        return len(standing)

    def put_back(self, lane: int, entries: Iterable[tuple[Instant, T]], *, urgent: bool) -> int:
        """As `extend`, before what stands in *lane*."""
        behind = self.close(lane)
        return self.extend(lane, chain(entries, behind), urgent=urgent) - len(behind)

    def close(self, lane: int) -> list[tuple[Instant, T]]:
        """Take out *lane* with all that stands in it."""
        entries = self.lanes.pop(lane, ())
        if entries:
            for heads in (self.soon, self.later):
                heads[:] = [head for head in heads if head[1] != lane]
                heapify(heads)
        return list(entries)

    def take(self, most: int) -> list[tuple[int, T]]:
        """Up to *most* entries: first what is kept for urgent lanes, then the oldest due."""
        taken: list[tuple[int, T]] = []
        self._drain(self.soon, min(most, self.kept), _END_OF_TIME, taken)
        self.kept -= len(taken)
        while len(taken) < most and self.lanes:
            soon = self.soon[0] if self.soon else _END_OF_TIME
            later = self.later[0] if self.later else _END_OF_TIME
            first = self.soon if soon <= later else self.later
            self._drain(first, most, max(soon, later), taken)
        self.credit -= len(taken)
        return taken

    def _drain(
        self,
        heads: list[tuple[int, int]],
        most: int,
        bound: tuple[int, int],
        taken: list[tuple[int, T]],
    ) -> None:
        """Move the oldest of *heads*, up to *bound*, to *taken* until it holds *most*."""
        while heads and len(taken) < most and heads[0] <= bound:
            _, lane = heappop(heads)
            until = min(heads[0], bound)[0] if heads else bound[0]
            entries = self.lanes[lane]
            while entries and len(taken) < most and entries[0][0] <= until:
                taken.append((lane, entries.popleft()[1]))
            if entries:
                heappush(heads, (entries[0][0], lane))
            else:
                del self.lanes[lane]


class Ready(Generic[T]):
    """What is due and waits for a lease: per account and lane, entries in due order.

    *quantum* is how many entries an account may take a turn, *reserve* the share of them that
    its urgent lanes have first. Raises `ValueError` unless quantum >= 1 and 0 <= reserve <= 1.
    """

    __slots__ = ("_accounts", "_front", "_kept", "_left", "_n", "_quantum", "_ring", "_round")

    def __init__(self, *, quantum: int = 25, reserve: float = 0.25) -> None:
        if quantum < 1 or not 0 <= reserve <= 1:
            raise ValueError(f"no fair share by a quantum of {quantum}, {reserve} reserved")
        self._quantum = quantum
        self._kept = int(quantum * reserve)
        self._accounts: dict[int, _Account[T]] = {}
        self._front: deque[_Account[T]] = deque()
        self._ring: deque[_Account[T]] = deque()
        self._round = 0
        self._left = 0
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def count(self, account: int, lane: int) -> int:
        """How many entries stand in *lane*."""
        known = self._accounts.get(account)
        return 0 if known is None else len(known.lanes.get(lane, ()))

    def lanes(self, account: int) -> list[int]:
        """The lanes of *account* in which something stands, ascending."""
        known = self._accounts.get(account)
        return [] if known is None else sorted(known.lanes)

    def is_parked(self, account: int, lane: int) -> bool:
        """Whether *lane* is parked, so that nothing may stand in it."""
        known = self._accounts.get(account)
        return known is not None and lane in known.parked

    def add(self, account: int, lane: int, due: Instant, entry: T, *, urgent: bool) -> bool:
        """Append one *entry* to *lane*; False if the lane is parked and keeps nothing."""
        return bool(self.extend(account, lane, ((due, entry),), urgent=urgent))

    def extend(
        self,
        account: int,
        lane: int,
        entries: Iterable[tuple[Instant, T]],
        *,
        urgent: bool,
        first: bool = False,
    ) -> int:
        """Append *entries*, in due order, to *lane*; how many were kept: none if it is parked.

        *first*: they were picked before, and go back to the head of the lane. A lane is *urgent*
        or not from its first entry until it is empty.
        """
        known = self._known(account)
        if lane in known.parked:
            return 0
        put = known.put_back if first else known.extend
        n = put(lane, entries, urgent=urgent)
        self._n += n
        if n and not known.queued:
            self._join(known)
        return n

    def park(self, account: int, lane: int) -> list[tuple[Instant, T]]:
        """Shut *lane*: drop and return what stands in it, and keep nothing until `unpark`."""
        known = self._known(account)
        known.parked.add(lane)
        dropped = known.close(lane)
        if not known.lanes:
            known.credit = 0  # its turn is over: what comes next does not hang on this one
        self._n -= len(dropped)
        return dropped

    def unpark(self, account: int, lane: int) -> None:
        """Let *lane* keep what is added from now on."""
        self._known(account).parked.discard(lane)

    def drop_account(self, account: int) -> int:
        """Forget *account*, its entries and what is parked of it; how many entries it had."""
        known = self._accounts.pop(account, None)
        if known is None:
            return 0
        n = sum(map(len, known.lanes.values()))
        known.lanes.clear()
        self._n -= n
        return n

    def pick(self, n: int, busy: Container[int]) -> list[tuple[int, list[tuple[int, T]]]]:
        """Take out up to *n* entries: accounts in order of their turns, `(lane, entry)` each.

        Within an account the oldest due of its lanes goes first, after what is reserved for
        urgent ones. Accounts in *busy* are passed over and keep their turn.
        """
        served: dict[int, list[tuple[int, T]]] = {}
        passed: list[tuple[deque[_Account[T]], _Account[T]]] = []
        space = n
        while space > 0:
            queue = self._next(busy, passed)
            if queue is None:
                break
            account = queue.popleft()
            taken = self._serve(account, queue, space)
            served.setdefault(account.id, []).extend(taken)
            space -= len(taken)
            self._n -= len(taken)
        for queue, account in reversed(passed):
            queue.appendleft(account)
        return list(served.items())

    def _known(self, account: int) -> _Account[T]:
        known = self._accounts.get(account)
        if known is None:
            known = self._accounts[account] = _Account(account)
        return known

    def _join(self, account: _Account[T]) -> None:
        """To the front, if it has not been there in this round; else to the end of the ring."""
        account.queued = True
        if account.round == self._round:
            self._ring.append(account)
        else:
            account.round = self._round
            self._front.append(account)

    def _next(
        self, busy: Container[int], passed: list[tuple[deque[_Account[T]], _Account[T]]]
    ) -> deque[_Account[T]] | None:
        """The queue at whose head stands whom to serve; who is busy moves to *passed*."""
        for queue in (self._front, self._ring):
            while queue:
                account = queue[0]
                if not account.lanes:
                    queue.popleft()
                    self._leave(account, queue)
                elif account.id in busy:
                    passed.append((queue, queue.popleft()))
                else:
                    return queue
        return None

    def _serve(
        self, account: _Account[T], queue: deque[_Account[T]], space: int
    ) -> list[tuple[int, T]]:
        """One turn, or as much of it as *space* allows."""
        if account.credit == 0:
            account.credit, account.kept = self._quantum, self._kept
        taken = account.take(min(space, account.credit))
        if not account.lanes:
            self._leave(account, queue)
        elif account.credit:
            queue.appendleft(account)
        else:
            self._ring.append(account)
            self._count_turn(queue)
        return taken

    def _leave(self, account: _Account[T], queue: deque[_Account[T]]) -> None:
        account.queued = False
        account.credit = 0
        self._count_turn(queue)

    def _count_turn(self, queue: deque[_Account[T]]) -> None:
        if queue is self._ring:
            self._left -= 1
            if self._left <= 0:
                self._round += 1
                self._left = len(self._ring)
