"""How do campaigns go, about? Samples of pages, whatever the tables hold; exact while they are small.

Of `due_step` and `run` pages are taken at random. `step_log` is written in the order of time, but
for what vacuum made room for: where the last day begins in a large one is found by halving, and
pages are taken evenly from there on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from dripd.clock import Instant
from dripd.store.connect import Conn
from dripd.store.desk_console import percent_of
from dripd.store.desk_deed import Result, read_now
from dripd.store.statements import sql

DAY_MS: Final = 24 * 3_600_000

LOG_PAGES: Final = 100
"""Pages of a part of the log that are looked at: some 6,000 rows."""

FEW: Final = 30
"""Of fewer sampled runs no share is told."""

Place: TypeAlias = tuple[int, int]
"""An account and a campaign."""

Figures: TypeAlias = dict[str, float | None]


async def read_campaigns(conn: Conn) -> Result:
    """`figures` of every campaign that a sample has met, by account and campaign.

    `active` runs, messages `sent_24h` and `failed_24h`, and the shares of runs that have `ended`
    and that a reply has ended (`replied`). `least` is how many a single row of each sample stands for: 1 = counted.
    """
    now = await read_now(conn)
    found: dict[Place, Figures] = {}
    least = {
        "active": await _active(conn, found),
        "sent_24h": await _sent(conn, found, Instant(now - DAY_MS)),
        "replied": await _replied(conn, found),
    }
    return {"as_of_at": now, "figures": found, "least": least}


def figures_of(estimate: Mapping[str, object], place: Place) -> Result:
    """What *estimate* says of the campaign at *place*: nothing, where no sample has met it."""
    found = estimate.get("figures", {})
    own = found.get(place, {}) if isinstance(found, dict) else {}
    shares: Figures = {"replied": None, "ended": None}
    nothing: Figures = {"active": 0, "sent_24h": 0, "failed_24h": 0, **shares}
    return {**nothing, **own, "least": estimate.get("least", {})}


async def _active(conn: Conn, found: dict[Place, Figures]) -> int:
    percent = await percent_of(conn, "dripd.due_step")
    for row in await conn.fetch(sql("sample_active"), percent):
        _of(found, row)["active"] = round(row["active"] * 100 / percent)
    return round(100 / percent)


async def _replied(conn: Conn, found: dict[Place, Figures]) -> int:
    percent = await percent_of(conn, "dripd.run")
    for row in await conn.fetch(sql("sample_replied"), percent):
        if percent == 100 or row["runs"] >= FEW:
            for name in ("replied", "ended"):
                _of(found, row)[name] = round(row[name] / row["runs"], 4)
    return round(100 / percent)


async def _sent(conn: Conn, found: dict[Place, Figures], since: Instant) -> int:
    """Add the messages since *since*; how many a row stands for, at most."""
    least = 1
    for n, part in enumerate(await conn.fetch(sql("list_log_parts"))):
        first, end = 0, part["pages"]
        if end > LOG_PAGES:  # of a small one all is looked at: vacuum lets late rows in early
            first = await _page_since(conn, part["part"], end, since)
        if first == end:
            break  # the parts before it are older
        step = max(1, -(-(end - first) // LOG_PAGES))
        pages = range(first + step // 2, end, step)
        times = (end - first) / len(pages)
        rows = await conn.fetch(sql("sample_sent"), part["part"], list(pages), since)
        for row in rows:
            own = _of(found, row)
            for name in ("sent", "failed"):
                before = own.get(f"{name}_24h") or 0
                own[f"{name}_24h"] = before + round(row[name] * times)
        least = max(least, round(times))
        if first > 0 or (n and not rows):
            break  # a month may have begun today: one part without a message says nothing
    return least


async def _page_since(conn: Conn, part: int, pages: int, since: Instant) -> int:
    """The first page of a part of the log that holds anything later than *since*."""
    low, high = 0, pages
    while low < high:
        middle = (low + high) // 2
        at = await conn.fetchval(sql("last_of_page"), part, middle)
        low, high = (middle + 1, high) if at is None or at <= since else (low, middle)
    return low


def _of(found: dict[Place, Figures], row: Mapping[str, int]) -> Figures:
    return found.setdefault((row["account_id"], row["campaign_id"]), {})
