"""What do the metrics ask of SQL? Counts that are bounded however large the tables are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dripd.campaigns.enrollment import BROKEN
from dripd.store.connect import Conn
from dripd.store.desk_deployment import read_status
from dripd.store.statements import sql

EXACT = 10_000
"""Up to so many rows are counted; beyond, the planner's estimate has to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """`claim_s` and the ages of tasks are seconds."""

    due: int
    held: Mapping[str, int]
    unknown: int
    in_doubt: Mapping[str, int]
    live: int
    ended: int
    claim_s: float
    tasks: Mapping[str, int]
    approval_s: float
    daemons: Mapping[str, int]

    @property
    def dead(self) -> int:
        return sum(n for reason, n in self.held.items() if reason in BROKEN)


async def read_gauges(conn: Conn) -> Gauges:
    """A sample of what the database holds."""
    status = await read_status(conn)
    row = await conn.fetchrow(sql("read_gauges"))
    tasks = {task["kind"]: task for task in await conn.fetch(sql("count_open_tasks"))}
    live = row["live"] if row["live"] <= EXACT else row["live_estimate"]
    runs = row["runs"] if row["runs"] <= EXACT else row["runs_estimate"]
    approval = tasks.get("approval")
    waited_ms = 0 if approval is None else row["now"] - approval["oldest_at"]
    return Gauges(
        due=int(str(status["due_now"])),
        held=by_word(status["held"]),
        unknown=int(str(status["unknown"])),
        in_doubt={one["provider"]: one["n"] for one in await conn.fetch(sql("count_in_doubt"))},
        live=live,
        ended=max(0, runs - live),
        claim_s=row["claim_s"] or 0.0,
        tasks={kind: task["n"] for kind, task in tasks.items()},
        approval_s=max(0.0, waited_ms / 1000),
        daemons=by_state(status["daemons"]),
    )


def by_word(held: object) -> dict[str, int]:
    """Held steps by the word of their reason, without the name behind its colon."""
    found: dict[str, int] = {}
    for reason, n in held.items() if isinstance(held, dict) else ():
        word = str(reason).partition(":")[0]
        found[word] = found.get(word, 0) + n
    return found


def by_state(daemons: object) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in daemons if isinstance(daemons, list) else ():
        state = str(one["state"])
        found[state] = found.get(state, 0) + 1
    return found
