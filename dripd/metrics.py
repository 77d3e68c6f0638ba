"""What can be counted? The catalogue of metrics, and the registry that one daemon fills.

Every metric is declared in `METRICS` with its labels, whose values come only from closed sets
and from the configuration: never a contact, an enrollment, an error's text or an address. A
registry holds at most `SERIES_MOST` series; what would be one more goes to the series `other`
of its metric. Counting costs a dictionary's look-up; hot paths count once a batch.

`render` may run in another thread than the one that counts: it copies before it reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]

SERIES_MOST: Final = 5_000
"""Series of one daemon, histogram buckets counted: what a scrape may cost."""

OTHER: Final = "other"

QUICK: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SLOW: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LATE: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    5.0,
    15.0,
    60.0,
    600.0,
    3600.0,
)

MISSED: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 16 * 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: what it is, the names of its labels, and a histogram's upper bounds."""

    kind: Kind
    doc: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()


def counter(doc: str, *labels: str) -> Family:
    return Family(kind="counter", doc=doc, labels=labels)


def gauge(doc: str, *labels: str) -> Family:
    return Family(kind="gauge", doc=doc, labels=labels)


def histogram(doc: str, buckets: tuple[float, ...], *labels: str) -> Family:
    return Family(kind="histogram", doc=doc, labels=labels, buckets=buckets)


METRICS: Final[Mapping[str, Family]] = {
    "dripd_build_info": gauge("1; what runs", "version", "python", "compiled"),
    "dripd_tzdata_info": gauge("1; the time zone rules in force", "version"),
    "dripd_up_state": gauge("1 for the state the daemon is in, else 0", "state"),
    "dripd_send_attempts_total": counter(
        "tries at a delivery, by what they came to", "channel", "provider", "result"
    ),
    "dripd_send_errors_total": counter(
        "tries that failed, by the class of the cause", "channel", "provider", "class"
    ),
    "dripd_send_seconds": histogram("one call of a provider", SLOW, "channel", "provider"),
    "dripd_send_in_flight": gauge("messages leased and not yet sent", "provider"),
    "dripd_send_slots": gauge("calls of a provider at once", "provider"),
    "dripd_due_lag_seconds": histogram("from due to sent", LATE, "channel"),
    "dripd_window_missed_seconds": histogram(
        "how long the window of a message had closed when it came due", MISSED, "channel"
    ),
    "dripd_due_oldest_seconds": gauge("how long the oldest step in hand has been due"),
    "dripd_due_items": gauge("steps that are due and not held; counting stops at 1,000 a lane"),
    "dripd_held_items": gauge(
        "steps that are due and held; counting stops at 1,000 a lane", "reason"
    ),
    "dripd_enrollments": gauge("runs, beyond 10,000 as the planner knows them", "state"),
    "dripd_enrollments_total": counter("requests decided and runs ended", "event"),
    "dripd_steps_total": counter("steps performed", "kind", "outcome"),
    "dripd_campaign_steps_total": counter(
        "steps performed, of as many campaigns as [metrics] campaigns says",
        "campaign",
        "outcome",
    ),
    "dripd_late_results_total": counter("results that came after their claim was lost"),
    "dripd_regret_total": counter(
        "messages that left although what stops their run had happened by then"
    ),
    "dripd_provider_rate_limit": gauge("messages a second, as configured", "provider"),
    "dripd_provider_breaker_state": gauge("1 while a provider is not asked", "provider"),
    "dripd_sender_stops_total": counter(
        "senders and accounts paused for what came back", "reason"
    ),
    "dripd_accounts_parked": gauge("lanes and accounts that are held as a whole", "reason"),
    "dripd_retries_total": counter(
        "tries that will be followed by another", "channel", "class"
    ),
    "dripd_dead_letters_total": counter(
        "steps that began to wait for somebody to put something right", "channel", "reason"
    ),
    "dripd_dead_letters": gauge("steps that wait for somebody to put something right"),
    "dripd_unknown_deliveries": gauge("deliveries of which nobody knows whether they arrived"),
    "dripd_deliveries_in_doubt": gauge(
        "messages that may have left and are neither settled nor presumed sent", "provider"
    ),
    "dripd_events_ingested_total": counter("events digested", "kind"),
    "dripd_event_lag_seconds": histogram("from an event's instant to its effect", LATE),
    "dripd_suppressed_total": counter("steps skipped for a suppressed address", "channel"),
    "dripd_approvals_waiting": gauge("messages that wait for an approval"),
    "dripd_approval_oldest_seconds": gauge("how long the oldest of them has waited"),
    "dripd_tasks_waiting": gauge("open tasks; counting stops at 10,000", "kind"),
    "dripd_wheel_tick_seconds": histogram("one turn of the feed", QUICK),
    "dripd_wheel_late_ticks_total": counter("turns of the feed that began over 100 ms late"),
    "dripd_wheel_items": gauge("due steps in the wheel"),
    "dripd_ready_items": gauge("due steps that wait for a lease"),
    "dripd_unsent_items": gauge("leased steps without an answer on record"),
    "dripd_claims_open": gauge("claims that this daemon holds"),
    "dripd_claim_oldest_seconds": gauge("the age of the oldest claim of any daemon"),
    "dripd_claims_swept_total": counter("steps of dead daemons taken over"),
    "dripd_accounts_owned": gauge("accounts that this daemon serves"),
    "dripd_daemons": gauge("daemons on this database", "state"),
    "dripd_db_query_seconds": histogram(
        "one unit of work, waiting for it included", QUICK, "unit"
    ),
    "dripd_db_errors_total": counter("units of work that failed", "unit", "code"),
    "dripd_db_away_seconds": gauge("how long the database has been away; 0: it answers"),
    "dripd_db_pool_connections": gauge("connections to the database", "pool", "state"),
    "dripd_db_pool_wait_seconds": histogram(
        "until a unit of work had a connection", QUICK, "pool"
    ),
    "dripd_loop_lag_seconds": histogram("how late the event loop wakes a sleeper", QUICK),
    "dripd_tasks": gauge("tasks of the event loop"),
    "dripd_admin_connections": gauge("clients on the admin socket"),
    "dripd_admin_calls_total": counter("admin calls", "method", "role", "result"),
    "dripd_admin_seconds_total": counter("processor time of everything that admins ask for"),
    "dripd_admin_slice_seconds": histogram(
        "the loop kept by admin work without a pause", QUICK
    ),
    "dripd_admin_dropped_total": counter("admin connections closed by the daemon", "reason"),
    "dripd_config_reload_success": gauge("1 if the last reload took effect, else 0"),
    "dripd_config_generation": gauge("how many configurations have been in force"),
    "dripd_config_last_reload_timestamp_seconds": gauge("when the configuration was last read"),
    "dripd_metrics_series": gauge("series of this page"),
    "process_cpu_seconds_total": counter("processor time of the process"),
    "process_resident_memory_bytes": gauge("memory of the process"),
    "process_virtual_memory_bytes": gauge("address space of the process"),
    "process_start_time_seconds": gauge("when the process was started"),
    "process_open_fds": gauge("open file descriptors"),
    "process_max_fds": gauge("most file descriptors"),
    "python_gc_collections_total": counter("garbage collections", "generation"),
    "python_gc_objects_collected_total": counter("objects they freed", "generation"),
}
"""Every metric, with its meaning. Names are those of the contract; they change by addition."""


class Series:
    """The values of one metric, by their labels."""

    __slots__ = ("_registry", "family", "values")

    def __init__(self, family: Family, registry: Registry) -> None:
        self.family = family
        self.values: dict[Labels, float] = {}
        self._registry = registry

    def add(self, *labels: str, n: float = 1) -> None:
        """Count *n* more."""
        try:
            self.values[labels] += n
        except KeyError:
            labels = self._admit(labels)
            self.values[labels] = self.values.get(labels, 0) + n

    def set(self, value: float, *labels: str) -> None:
        """A gauge's value now."""
        if labels not in self.values:
            labels = self._admit(labels)
        self.values[labels] = value

    def replace(self, values: Mapping[Labels, float]) -> None:
        """All values of a gauge at once: labels that are no more go."""
        self.values = {}
        for labels, value in values.items():
            self.set(value, *labels)

    def _admit(self, labels: Labels) -> Labels:
        if len(labels) != len(self.family.labels):
            raise ValueError(f"{labels!r} are not the labels {self.family.labels!r}")
        return labels if self._registry.has_room(1) else (OTHER,) * len(labels)


class Histogram:
    """How often a value was at most each of the bounds, by labels; and their sum."""

    __slots__ = ("_registry", "family", "values")

    def __init__(self, family: Family, registry: Registry) -> None:
        self.family = family
        self.values: dict[Labels, tuple[list[int], list[float]]] = {}
        self._registry = registry

    def observe(self, value: float, *labels: str) -> None:
        """One value, in seconds."""
        self.observe_all((value,), *labels)

    def observe_all(self, values: Iterable[float], *labels: str) -> None:
        """Many values with the same labels."""
        found = self.values.get(labels)
        if found is None:
            found = self._admit(labels)
        counts, total = found
        bounds = self.family.buckets
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total[0] += value

    def _admit(self, labels: Labels) -> tuple[list[int], list[float]]:
        if len(labels) != len(self.family.labels):
            raise ValueError(f"{labels!r} are not the labels {self.family.labels!r}")
        n = len(self.family.buckets) + 3
        if not self._registry.has_room(n):
            labels = (OTHER,) * len(labels)
        return self.values.setdefault(labels, ([0] * (n - 2), [0.0]))


class Registry:
    """All metrics of one daemon. Asking for one that is not in the catalogue is a `KeyError`."""

    def __init__(self, campaigns: int = 0) -> None:
        self.campaigns = campaigns
        """Campaigns that have series of their own; those met later are `other`."""
        self._series = {
            name: Series(family, self)
            for name, family in METRICS.items()
            if family.kind != "histogram"
        }
        self._histograms = {
            name: Histogram(family, self)
            for name, family in METRICS.items()
            if family.kind == "histogram"
        }

    def __getitem__(self, name: str) -> Series:
        return self._series[name]

    def timing(self, name: str) -> Histogram:
        """The histogram *name*."""
        return self._histograms[name]

    def n_series(self) -> int:
        n_plain = sum(len(one.values) for one in self._series.values())
        n_timed = sum(
            len(one.values) * (len(one.family.buckets) + 3) for one in self._histograms.values()
        )
        return n_plain + n_timed

    def has_room(self, n: int) -> bool:
        return self.n_series() + n <= SERIES_MOST - len(METRICS)

    def render(self) -> str:
        """The page: Prometheus's text format 0.0.4, in the order of the catalogue."""
        self["dripd_metrics_series"].set(self.n_series())
        lines: list[str] = []
        for name, family in METRICS.items():
            lines.append(f"# HELP {name} {family.doc}")
            lines.append(f"# TYPE {name} {family.kind}")
            if family.kind == "histogram":
                lines += self._buckets(name)
            else:
                lines += [
                    f"{name}{written(family.labels, labels)} {number(value)}"
                    for labels, value in dict(self._series[name].values).items()
                ]
        return "\n".join(lines) + "\n"

    def _buckets(self, name: str) -> list[str]:
        lines: list[str] = []
        one = self._histograms[name]
        names = one.family.labels
        for labels, (counts, total) in dict(one.values).items():
            so_far = 0
            for bound, n in zip((*one.family.buckets, None), tuple(counts), strict=True):
                so_far += n
                above = "+Inf" if bound is None else number(bound)
                lines.append(
                    f"{name}_bucket{written((*names, 'le'), (*labels, above))} {so_far}"
                )
            lines.append(f"{name}_sum{written(names, labels)} {number(total[0])}")
            lines.append(f"{name}_count{written(names, labels)} {so_far}")
        return lines


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Where *share* of what a histogram has counted is reached, as if what is between two of its
    bounds lay evenly; what is beyond the last lies on it. None: it has counted nothing."""
    wanted, so_far, below = share * sum(counts), 0, 0.0
    if not wanted:
        return None
    for bound, n in zip(bounds, counts, strict=False):  # one count more: of what is beyond
        if so_far + n >= wanted:
            return below + (bound - below) * (wanted - so_far) / n
        so_far, below = so_far + n, bound
    return below


def written(names: Sequence[str], values: Sequence[str]) -> str:
    """`{name="value",...}`, or nothing where there are no labels."""
    if not names:
        return ""
    inner = ",".join(
        f'{name}="{escaped(value)}"' for name, value in zip(names, values, strict=True)
    )
    return f"{{{inner}}}"


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def number(value: float) -> str:
    """Shortest form; whole numbers without a point."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
