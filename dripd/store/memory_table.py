"""How does memory keep rows? Tables with indexes, and an undo log for units of work.

Nothing here knows what the rows mean. A unit that fails is rolled back by playing its undo
log backwards, so that it takes effect as a whole or not at all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

SLACK = 64
"""How many dropped entries at the head of a shelf are kept before it is cut."""


class UndoLog:
    """What must be played backwards to roll the unit under way back."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def note(self, undo: Callable[..., Any], *args: Any) -> None:
        self._steps.append((undo, args))

    def forget(self) -> None:
        """Commit: what was done stays."""
        self._steps.clear()

    def mark(self) -> int:
        """Where the unit stands, to roll back to."""
        return len(self._steps)

    def roll_back(self, mark: int = 0) -> None:
        while len(self._steps) > mark:
            undo, args = self._steps.pop()
            undo(*args)


class AnyIndex(Protocol):
    """What a table keeps up to date. `of` gives a row's entry, None where it has none."""

    def of(self, key: Any, row: Any) -> Any: ...
    def enter(self, entry: Any, key: Any) -> None: ...
    def leave(self, entry: Any, key: Any) -> None: ...


class Groups(Generic[K, R]):
    """Keys by some hashable of the row."""

    def __init__(self, of: Callable[[R], Hashable | None]) -> None:
        self._of = of
        self._keys: dict[Hashable, set[K]] = {}

    def of(self, key: K, row: R) -> Hashable | None:
        return self._of(row)

    def enter(self, entry: Hashable, key: K) -> None:
        self._keys.setdefault(entry, set()).add(key)

    def leave(self, entry: Hashable, key: K) -> None:
        keys = self._keys[entry]
        keys.discard(key)
        if not keys:
            del self._keys[entry]

    def at(self, entry: Hashable) -> list[K]:
        """The keys of *entry*, sorted."""
        return sorted(self._keys.get(entry, ()))  # type: ignore[type-var]  # ids or tuples

    def keys(self, entry: Hashable) -> Collection[K]:
        """The keys of *entry* in no order, uncopied: for a look that changes nothing."""
        return self._keys.get(entry, ())

    def has(self, entry: Hashable) -> bool:
        return entry in self._keys


class Shelf:
    """Sorted tuples; the head may be dropped again and again without moving the rest."""

    __slots__ = ("_items", "_start")

    def __init__(self) -> None:
        self._items: list[tuple[Any, ...]] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self._items[i] for i in range(self._start, len(self._items)))

    def after(self, item: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """What stands after *item*, in order."""
        first = bisect_right(self._items, item, lo=self._start)
        return (self._items[i] for i in range(first, len(self._items)))

    def add(self, item: tuple[Any, ...]) -> None:
        insort(self._items, item, lo=self._start)

    def drop(self, item: tuple[Any, ...]) -> None:
        at = bisect_left(self._items, item, lo=self._start)
        if at > self._start:
            del self._items[at]
            return
        self._start += 1
        if self._start > SLACK and self._start * 2 > len(self._items):
            del self._items[: self._start]
            self._start = 0


class Shelves(Generic[K, R]):
    """Sorted entries in shelves: `of` gives (shelf, what to sort by)."""

    def __init__(self, of: Callable[[R], tuple[Hashable, tuple[Any, ...]] | None]) -> None:
        self._of = of
        self._shelves: dict[Hashable, Shelf] = {}

    def of(self, key: K, row: R) -> tuple[Hashable, tuple[Any, ...]] | None:
        return self._of(row)

    def enter(self, entry: tuple[Hashable, tuple[Any, ...]], key: K) -> None:
        self._shelves.setdefault(entry[0], Shelf()).add(entry[1])

    def leave(self, entry: tuple[Hashable, tuple[Any, ...]], key: K) -> None:
        shelf = self._shelves[entry[0]]
        shelf.drop(entry[1])
        if not shelf:
            del self._shelves[entry[0]]

    def at(self, name: Hashable) -> Shelf:
        """The shelf called *name*; an empty one where there is none."""
        return self._shelves.get(name) or Shelf()

    def names(self) -> list[Any]:
        """The shelves that hold anything."""
        return list(self._shelves)


class Table(Generic[K, R]):
    """Rows by primary key. Every change goes through it, so that it can be undone."""

    def __init__(self, undo: UndoLog, *indexes: AnyIndex) -> None:
        self._rows: dict[K, R] = {}
        self._undo = undo
        self._indexes = indexes

    def __contains__(self, key: K) -> bool:
        return key in self._rows

    def __getitem__(self, key: K) -> R:
        return self._rows[key]

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> list[tuple[K, R]]:
        """Keys and rows as they stand now."""
        return list(self._rows.items())

    def get(self, key: K) -> R | None:
        return self._rows.get(key)

    def add(self, key: K, row: R) -> R:
        """Insert. Raises `KeyError` if the key is there: callers look first."""
        if key in self._rows:
            raise KeyError(key)
        self._put(key, row)
        self._undo.note(self._take, key)
        return row

    def drop(self, key: K) -> R:
        """Delete, and return what was deleted. Raises `KeyError`."""
        row = self._take(key)
        self._undo.note(self._put, key, row)
        return row

    def change(self, key: K, **values: object) -> R:
        """Set columns of a row that is there. Raises `KeyError`."""
        row = self._rows[key]
        before = {name: getattr(row, name) for name in values}
        self._set(key, values)
        self._undo.note(self._set, key, before)
        return row

    def _put(self, key: K, row: R) -> None:
        self._rows[key] = row
        for index in self._indexes:
            entry = index.of(key, row)
            if entry is not None:
                index.enter(entry, key)

    def _take(self, key: K) -> R:
        row = self._rows.pop(key)
        for index in self._indexes:
            entry = index.of(key, row)
            if entry is not None:
                index.leave(entry, key)
        return row

    def _set(self, key: K, values: dict[str, object]) -> None:
        row = self._rows[key]
        before = [index.of(key, row) for index in self._indexes]
        for name, value in values.items():
            setattr(row, name, value)
        for index, old in zip(self._indexes, before, strict=True):
            new = index.of(key, row)
            if new == old:
                continue
            if old is not None:
                index.leave(old, key)
            if new is not None:
                index.enter(new, key)
