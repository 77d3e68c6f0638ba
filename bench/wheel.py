"""How many records pass the timer wheel a second, and how much does one weigh?

`python bench/wheel.py [N]`: N records, due in no order within ten minutes, are inserted as
one array and fired by a turn every 10 ms.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from array import array
from pathlib import Path

from dripd.clock import Instant
from dripd.scheduler.wheel import Wheel

WIDTH = 4
SPAN_MS = 600_000
TURN_MS = 10
START = Instant(1_767_225_600_000)


def run(n: int | None = None) -> dict[str, float]:
    """Insert and fire *n* records (a million).

    `bytes_each` is what the process has grown by while the wheel holds them all,
    `peak_bytes_each` what it needed meanwhile; a warm process may hide part of the peak.
    """
    n = n or 1_000_000
    records = array("q", bytes(n * WIDTH * 8))
    records[::WIDTH] = array("q", (START + 1 + i * 7919 % SPAN_MS for i in range(n)))
    records[1::WIDTH] = array("q", range(n))
    before, peak_before = _resident(), _peak()
    began = time.perf_counter()
    wheel = Wheel(START, width=WIDTH)
    wheel.insert_many(records)
    inserted = time.perf_counter()
    grown, peak = _resident() - before, _peak() - peak_before
    out = sum(
        len(wheel.turn(Instant(now)))
        for now in range(START, START + SPAN_MS + TURN_MS, TURN_MS)
    )
    ended = time.perf_counter()
    if out != n * WIDTH or len(wheel):
        raise AssertionError(f"{out // WIDTH} of {n} records fired")
    return {
        "n": n,
        "seconds": ended - began,
        "per_s": n / (ended - began),
        "insert_us": (inserted - began) / n * 1e6,
        "turn_us": (ended - inserted) / n * 1e6,
        "bytes_each": grown / n,
        "peak_bytes_each": peak / n,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
