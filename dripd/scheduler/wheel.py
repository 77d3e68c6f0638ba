"""What comes up next, of millions? A hierarchical timer wheel of packed integers.

Wanted: insert one or a million records, cancel one, fire what is due, say how long to sleep.
Guarantees: nothing fires early; late by less than a tick; in due order; time may stand still
or jump by years in one turn.

| level | slot, at ticks of 1 ms | whole level |
|---|---|---|
| 0 | 1 ms    | 256 ms   |
| 1 | 256 ms  | 65.5 s   |
| 2 | 65.5 s  | 4.7 h    |
| 3 | 4.7 h   | 49.7 d   |
| 4 | 49.7 d  | 34.8 y   |
| 5 | 34.8 y  | 8,900 y  |
| 6, 7 | 8,900 y and 2.3 million y | the rest of 64 bits |

Method: a record stands at the level of the highest base-256 digit in which its tick differs
from the present one, in the slot of that digit. So all of a level comes before all of the
next, and whatever time does, a record's place is known from its due instant alone; the place
changes only when the slot that holds the present is reached and dealt out over the levels
below. Each level has one integer as a bit field of its occupied slots.
A slot is one `array('q')` of whole records, 8 bytes a word, and no Python object a record:
slots are sorted, cut and joined by columns. A turn costs by the slots that it reaches, not by
the ticks that have passed; a record is dealt out once a level, and not at all if time jumps
over it. `cancel` looks through one slot.

Source: the timer wheel of tokio (`tokio/src/runtime/time/wheel/mod.rs`, read at 090babc): its
levels by the highest differing digit, and its bit fields. The packed slots are our own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import le

from dripd.clock import Instant

BITS = 8
SLOTS = 1 << BITS
LEVELS = 8

_FEW = 16
"""Below this many records, one by one is quicker than sorting them."""


class Wheel:
    """Records of *width* signed 64-bit words in due order.

    The first word of a record is its due instant, the second an identity, the others are the
    caller's. Instants and *tick_ms* are not negative. *now* and `turn` may name an earlier
    instant than before: it is read as the last one.
    """

    __slots__ = (
        "_levels",
        "_n",
        "_now",
        "_occupied",
        "_overdue",
        "_tick",
        "_tick_ms",
        "_width",
    )

    def __init__(self, now: Instant, *, width: int = 4, tick_ms: int = 1) -> None:
        """An empty wheel; raises `ValueError` if *width* is below 2 or *tick_ms* below 1."""
        if now < 0 or width < 2 or tick_ms < 1:
            raise ValueError(f"no wheel at {now} of width {width} and tick {tick_ms} ms")
        self._width = width
        self._tick_ms = tick_ms
        self._now: int = now
        self._tick = now // tick_ms
        self._overdue = array("q")
        self._levels: list[dict[int, array[int]]] = [{} for _ in range(LEVELS)]
        self._occupied = [0] * LEVELS
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def insert(self, record: Sequence[int]) -> None:
        """Put in one *record*; one that is due already fires on the next turn. O(1).

        Raises `ValueError` if it has not `width` words.
        """
        if len(record) != self._width:
            raise ValueError(f"a record of {len(record)} words in a wheel of {self._width}")
        self._place(record[0]).extend(record)
        self._n += 1

    def insert_many(self, records: array[int]) -> None:
        """Put in a flat array of whole records, in any order; quickest in due order.

        Raises `ValueError` if the last record is not whole.
        """
        n, rest = divmod(len(records), self._width)
        if rest:
            raise ValueError(f"{len(records)} words are no records of {self._width}")
        self._deal(self._sorted(records))
        self._n += n

    def holds(self, due: Instant, identity: int) -> bool:
        """Whether a record of *identity* due at *due* stands in the wheel. Costs as `cancel`."""
        if due <= self._now and self._find(self._overdue, due, identity) is not None:
            return True
        tick = -(-due // self._tick_ms)
        if tick <= self._tick:
            return False
        level, slot = self._whereabouts(tick)
        held = self._levels[level].get(slot)
        return held is not None and self._find(held, due, identity) is not None

    def cancel(self, due: Instant, identity: int) -> bool:
        """Take out one record of *identity* due at *due*; whether there was one.

        Costs by the records in its slot, some 10 ns each.
        """
        if due <= self._now and self._remove(self._overdue, due, identity):
            return True
        tick = -(-due // self._tick_ms)
        if tick <= self._tick:
            return False
        level, slot = self._whereabouts(tick)
        held = self._levels[level].get(slot)
        if held is None or not self._remove(held, due, identity):
            return False
        if not held:
            self._vacate(level, slot)
        return True

    def turn(self, now: Instant) -> array[int]:
        """Move to *now* and take out all that is due: a flat array of records in due order.

        A record fires with the first tick that is not before its due instant.
        """
        now = max(Instant(self._now), now)
        tick = now // self._tick_ms
        fired = self._sorted(self._overdue)
        self._overdue = array("q")
        rest = array("q")
        for held in self._reached(tick):
            chunk = self._sorted(held)
            cut = bisect_right(chunk[:: self._width], tick * self._tick_ms) * self._width
            fired.extend(chunk[:cut])
            rest.extend(chunk[cut:])
        # What is due between this tick and now waits for its tick: only inserts are overdue.
        self._tick, self._now = tick, tick * self._tick_ms
        self._deal(rest)
        self._now = now
        self._n -= len(fired) // self._width
        return fired if self._tick_ms == 1 else self._sorted(fired)

    def next_at(self) -> Instant | None:
        """When to turn again: never after the first firing; `None` if the wheel is empty.

        May be earlier than that firing (the turn then deals out a slot, and the next answer
        is closer), but is always after the last turn, unless something is overdue. O(levels).
        """
        if self._overdue:
            return Instant(self._now)
        first = self._first()
        return None if first is None else Instant(first[2] * self._tick_ms)

    def _place(self, due: int) -> array[int]:
        """The slot for a record due at *due*, made if need be."""
        if due <= self._now:
            return self._overdue
        level, slot = self._whereabouts(-(-due // self._tick_ms))
        held = self._levels[level].get(slot)
        if held is None:
            held = self._levels[level][slot] = array("q")
            self._occupied[level] |= 1 << slot
        return held

    def _whereabouts(self, tick: int) -> tuple[int, int]:
        """Level and slot of a *tick* that is to come."""
        level = ((tick ^ self._tick).bit_length() - 1) // BITS
        return level, (tick >> level * BITS) & (SLOTS - 1)

    def _deal(self, records: array[int]) -> None:
        """Spread *records*, which are in due order, over the slots."""
        width = self._width
        if len(records) < _FEW * width:
            for i in range(0, len(records), width):
                self._place(records[i]).extend(records[i : i + width])
            return
        dues = records[::width]
        done = 0
        while done < len(dues):
            held = self._place(dues[done])
            until = bisect_right(dues, self._last_due(dues[done]), done)
            held.extend(records[done * width : until * width])
            done = until

    def _last_due(self, due: int) -> int:
        """The last due instant that shares its slot with *due*."""
        if due <= self._now:
            return self._now
        tick = -(-due // self._tick_ms)
        level, _ = self._whereabouts(tick)
        return (tick | ((1 << level * BITS) - 1)) * self._tick_ms

    def _first(self) -> tuple[int, int, int] | None:
        """Level, slot and first tick of the slot that is reached next."""
        for level, occupied in enumerate(self._occupied):
            if occupied:
                slot = (occupied & -occupied).bit_length() - 1
                above = self._tick >> (level + 1) * BITS
                return level, slot, (above << BITS | slot) << level * BITS
        return None

    def _reached(self, tick: int) -> Iterator[array[int]]:
        """Empty and yield the slots that begin at or before *tick*, in order."""
        while (first := self._first()) is not None and first[2] <= tick:
            yield self._vacate(first[0], first[1])

    def _vacate(self, level: int, slot: int) -> array[int]:
        self._occupied[level] &= ~(1 << slot)
        return self._levels[level].pop(slot)

    def _find(self, held: array[int], due: int, identity: int) -> int | None:
        """Which record of *held* it is."""
        width = self._width
        identities = held[1::width]
        found = 0
        while True:
            try:
                found = identities.index(identity, found)
            except ValueError:
                return None
            if held[found * width] == due:
                return found
            found += 1

    def _remove(self, held: array[int], due: int, identity: int) -> bool:
        """Swap a record of *held* with its last one, and drop it."""
        found = self._find(held, due, identity)
        if found is None:
            return False
        width = self._width
        held[found * width : (found + 1) * width] = held[-width:]
        del held[-width:]
        self._n -= 1
        return True

    def _sorted(self, records: array[int]) -> array[int]:
        """*records* in due order: themselves, or a copy gathered column by column."""
        width = self._width
        dues = records[::width]
        if all(map(le, dues, islice(dues, 1, None))):
            return records
        order = sorted(range(len(dues)), key=dues.__getitem__)
        ordered = array("q", bytes(len(records) * records.itemsize))
        for column in range(width):
            ordered[column::width] = array("q", map(records[column::width].__getitem__, order))
        return ordered
