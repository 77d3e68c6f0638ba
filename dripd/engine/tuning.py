"""How large, how long, how often: `[engine]` of the configuration, with a reason for each default.

The configuration reads these very fields; a stage asks `pipe.tuning` each time it needs one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dripd.clock import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The engine's limits. `dripd.options` gives each its bounds."""

    horizon_ms: Millis = Millis(30_000)
    """How far ahead of now the wheel is loaded: a sweep over the lanes that come near costs
    by the lane, so seconds are enough, and what is loaded is memory."""

    keys: int = 100_000
    """Keys in the wheel and ready up to which lanes are filled: 300 bytes each. Every lane
    that comes up gets some all the same, else it could not have its turn."""

    batch: int = 500
    """Keys of a lease, changes of a record: from 100 to 500 the database does a fifth less for
    each step, beyond it only the wait grows."""

    in_flight: int = 2_000
    """Leased and unanswered steps at most: memory. What waits for a provider is counted in time
    (`engine.headway`), so that a step that comes due is not behind seconds of others."""

    lease_ahead_ms: Millis = Millis(50)
    """A lease made this much before its due hides the database's round trip: p50 0.65 ms
    instead of 3."""

    coalesce_ms: Millis = Millis(20)
    """A quiet lease waits this long for company, never longer than half of what it is ahead:
    40 % less Postgres a step at 200 a second."""

    poll_ms: Millis = Millis(50)
    """How often new work is looked for. One statement of index probes; what others insert is
    seen within this time."""

    relearn_ms: Millis = Millis(30_000)
    """Within this time every account is read anew, some at a time: the poll behind each nudge."""

    admit_batch: int = 1_000
    """Requests decided in one transaction."""

    window_margin_ms: Millis = Millis(2_000)
    """So long before its window closes no message is let go any more: it is judged here, and a
    provider that has to be dialled first has it a second later."""

    send_timeout_ms: Millis = Millis(60_000)
    """The most one call of a channel may take: what it has not settled then is unknown."""

    node_timeout_ms: Millis = Millis(10_000)
    """Without a heartbeat for this long a daemon counts as dead and is taken over; it beats
    five times in it, so that four may be late. A daemon that was wrongly called dead is safe,
    and starts anew."""

    catchup_rate: str = "2/s burst 20"
    """How fast an account's steps go that came due while nobody was at work; "" as all others.
    Beside what is due now: a person would write no faster, and no provider takes it for a burst.
    The burst is ten seconds' worth, for as long a lane rests at a time."""

    catchup_after_ms: Millis = Millis(600_000)
    """Nobody at work for so long is a standstill: a restart or a failover takes less."""

    retention_days: int = 0
    """Days until partitions go; 0 keeps everything."""

    def without_time(self) -> Tuning:
        """For a manual clock: no time passes between a lease and its instant."""
        none = Millis(0)
        return replace(self, lease_ahead_ms=none, coalesce_ms=none, window_margin_ms=none)

    @property
    def coalesce_s(self) -> float:
        """Real seconds that a quiet lease waits."""
        return min(self.coalesce_ms, self.lease_ahead_ms / 2) / 1000
