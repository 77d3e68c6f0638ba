"""How is this daemon doing? Headline figures, once a second, and the last ten minutes in parts.

They come from what the stages count anyway; nothing is paid per step. Each daemon writes its
own into its node row with its heartbeat, so that any daemon can show all of them.
"""

from __future__ import annotations

import os
import resource
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trio

from dripd.campaigns.enrollment import Change, Leased
from dripd.clock import Instant
from dripd.daemon.gauges import oldest
from dripd.engine.limit import Limit
from dripd.engine.pipeline import Pipeline
from dripd.metrics import METRICS, quantile

SECOND_S: Final = 1.0
MEAN_OVER: Final = 10
"""Seconds that a rate is the mean of,"""

MINUTE: Final = 60
"""and that shares and lags are taken from."""

RESULTS: Final = ("accepted", "retry", "failed", "unknown")

PART: Final = 10
"""Seconds of the past that are kept as one, at their highest,"""

PARTS: Final = 60
"""and how many of them: what a console opened during an incident can show."""

SAMPLED: Final = 200
"""Most steps of a second whose lag, and whose provider's time, is looked at."""

QUERY: Final = "dripd_db_query_seconds"

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Figures:
    """Samples of the counters, and what follows from them."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._counts: deque[tuple[float, int, int, float]] = deque(maxlen=MEAN_OVER + 1)
        self._lags: deque[list[int]] = deque(maxlen=MINUTE)
        self._took: deque[list[int]] = deque(maxlen=MINUTE)
        self._attempts: deque[Mapping[str, float]] = deque(maxlen=MINUTE + 1)
        self._queries: deque[list[int]] = deque(maxlen=MINUTE + 1)
        self._limit = Limit(pipe)
        self._seen = 0
        self._n = 0
        self.history: deque[dict[str, float | int]] = deque(maxlen=PARTS)

    def sample(self) -> None:
        """Take one sample; called once a second."""
        pipe, spent = self._pipe, resource.getrusage(resource.RUSAGE_SELF)
        counters = pipe.counters
        cpu = spent.ru_utime + spent.ru_stime
        self._counts.append((trio.current_time(), counters.accepted, counters.recorded, cpu))
        self._look_at_fresh()
        self._attempts.append(self._results())
        self._queries.append(self._timed())
        self._limit.look()
        self._remember()

    def _remember(self) -> None:
        """The figures as they stand, in the part of the past that is now."""
        shown = self.shown()
        now = {name: shown[name] for name in ("sent_per_s", "lag_ms", "unsent", "ready")}
        if self._n % PART == 0:
            self.history.append(now)
        else:
            part = self.history[-1]
            self.history[-1] = {name: max(part[name], value) for name, value in now.items()}
        self._n += 1

    def shown(self) -> dict[str, float | int]:
        """The figures as they stand; without `limit_per_s` where nothing bounds what may leave."""
        pipe = self._pipe
        sent, recorded, busy = self._rates()
        return {
            "sent_per_s": sent,
            "steps_per_s": recorded,
            "lag_ms": self._lag(0.99),
            "lag_p50_ms": self._lag(0.50),
            "oldest_ms": round(1000 * oldest(pipe)),
            "unsent": pipe.unsent,
            "in_flight": pipe.tuning.in_flight,
            "ready": len(pipe.ready),
            "wheel": len(pipe.wheel),
            "parked": pipe.lanes.n_parked,
            "accepted": pipe.counters.accepted,
            "late": pipe.counters.late,
            "db_p99_ms": self._db_p99_ms(),
            "cpu_percent": busy,
            "rss_mb": resident_mb(),
            **self._latency(),
            **{f"{name}_1m": n for name, n in self._minute().items()},
            **({} if (most := self._limit.per_s) is None else {"limit_per_s": most}),
        }

    def _results(self) -> Mapping[str, float]:
        """How often each result came of an attempt since the start."""
        found = dict.fromkeys(RESULTS, 0.0)
        for (_, _, result), n in self._pipe.metrics["dripd_send_attempts_total"].values.items():
            if result in found:
                found[result] += n
        return found

    def _timed(self) -> list[int]:
        """How many units of work took how long since the start, by the bounds of their metric."""
        timed = dict(self._pipe.metrics.timing(QUERY).values)  # others observe meanwhile
        none = [0] * (len(METRICS[QUERY].buckets) + 1)
        return [
            sum(ns) for ns in zip(none, *(counts for counts, _ in timed.values()), strict=True)
        ]

    def _db_p99_ms(self) -> float:
        """What 99 of 100 units of work took at most in the last minute."""
        if not self._queries:
            return 0.0
        counts = [b - a for a, b in zip(self._queries[0], self._queries[-1], strict=True)]
        found = quantile(counts, METRICS[QUERY].buckets, 0.99)
        return 0.0 if found is None else round(1000 * found, 1)

    def _minute(self) -> dict[str, int]:
        """How often in the last minute."""
        if not self._attempts:
            return dict.fromkeys(RESULTS, 0)
        first, last = self._attempts[0], self._attempts[-1]
        return {name: int(last[name] - first[name]) for name in RESULTS}

    def _rates(self) -> tuple[float, float, int]:
        if len(self._counts) < 2:
            return 0.0, 0.0, 0
        first, last = self._counts[0], self._counts[-1]
        span = max(0.001, last[0] - first[0])
        sent, steps, cpu = (last[n] - first[n] for n in (1, 2, 3))
        return round(sent / span, 1), round(steps / span, 1), round(100 * cpu / span)

    def _look_at_fresh(self) -> None:
        """How late steps recorded since the last sample were leased, and how long providers took
        to answer, in ms."""
        ring = self._pipe.lately.recorded
        changes, _ = ring.since(self._seen, SAMPLED)
        self._seen = ring.n
        self._lags.append([self._late(change.leased) for change in changes])
        self._took.append([ms for change in changes if (ms := took_ms(change)) is not None])

    def _latency(self) -> dict[str, int]:
        """What half, 95 and 99 % of the attempts of the last minute took at most; nothing where
        there was none."""
        took = sorted(ms for second in self._took for ms in second)
        shares = ((50, 0.50), (95, 0.95), (99, 0.99))
        return {
            f"took_p{name}_ms": took[min(len(took) - 1, int(len(took) * share))]
            for name, share in shares
            if took
        }

    def _late(self, leased: Leased) -> int:
        # counted from their due, or from the opening of the lane that held them
        lane = self._pipe.lanes.get(leased.account_id, leased.lane)
        opened = Instant(0) if lane is None else lane.opened_at
        return max(0, leased.leased_at - max(leased.due_at, opened))

    def _lag(self, share: float) -> int:
        lags = sorted(lag for second in self._lags for lag in second)
        return lags[min(len(lags) - 1, int(len(lags) * share))] if lags else 0


def took_ms(change: Change) -> int | None:
    """From the first byte to the provider's answer; None where nothing was sent."""
    sent = ((row.at, row.sent_at) for row in change.log if row.channel)
    return next((max(0, at - sent_at) for at, sent_at in sent if sent_at is not None), None)


def resident_mb() -> int:
    """Memory of this process in MB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * PAGE // 1_000_000
