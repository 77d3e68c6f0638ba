"""How are figures, instants and states written? The same way on every screen.

Every state has a glyph and a word; its colour only adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dripd.admin.holds import find_hold
from dripd.clock import parse_instant
from dripd.tui.draw import Cell

STATES: Final = {
    "active": ("ok", "ok"),
    "accepted": ("ok", "ok"),
    "running": ("ok", "ok"),
    "done": ("ok", "ok"),
    "completed": ("ok", "ok"),
    "executing": (">>", "ok"),
    "leased": (">>", "ok"),
    "waiting": (" .", ""),
    "starting": (" .", ""),
    "open": (" ?", "warn"),
    "draft": (" .", "dim"),
    "held": ("||", "warn"),
    "paused": ("||", "warn"),
    "draining": ("||", "warn"),
    "retry": (" !", "warn"),
    "inactive": ("--", "dim"),
    "archived": ("--", "dim"),
    "closed": ("--", "dim"),
    "removed": ("--", "dim"),
    "cancelled": ("--", "dim"),
    "terminated": ("--", "dim"),
    "unknown": ("!?", "bad"),
    "failed": ("!!", "bad"),
    "dead": ("!!", "bad"),
}
"""State to glyph and style."""

BOUND: Final = 1_000
"""Where counts of what may be much stop: the daemon then says one more."""

SPANS: Final = (("min", 60), ("h", 3_600), ("d", 86_400))

LEVELS: Final = {
    "debug": "dim",
    "info": "",
    "warning": "warn",
    "error": "bad",
    "critical": "bad",
}


def hint(reason: str) -> str:
    """What to do about a hold (`bad_date:birthday`), `-` where nobody can say."""
    found = find_hold(reason)
    return "-" if found is None else found.todo


def count(n: object, *, more: bool = False) -> str:
    """A number with its thousands apart, `-` for none; `+` where counting stopped."""
    if not isinstance(n, int | float) or isinstance(n, bool):
        return "-"
    shown = f"{n:,.1f}" if isinstance(n, float) and n % 1 else f"{int(n):,}"
    return shown.replace(",", " ") + ("+" if more else "")


def bounded(n: object) -> str:
    """A count that stops at `BOUND`: `1 000+` beyond it."""
    stopped = isinstance(n, int) and n > BOUND
    return count(BOUND if stopped else n, more=stopped)


def many(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def undecided(overview: Mapping[str, Any]) -> int:
    """How many deliveries of unknown outcome somebody still waits for."""
    unknown = overview.get("unknown") or {}
    return int(unknown.get("n", 0)) - int(unknown.get("presumed", 0))


def awake(overview: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alerts that nobody has snoozed."""
    return [one for one in overview.get("alerts", []) if one.get("snoozed_until") is None]


def about(n: object, least: object) -> str:
    """An estimate: `~812 004`, where a sampled row stands for *least*; `<500` for none met."""
    if not isinstance(least, int) or least <= 1:
        return count(n)
    return f"~{count(n)}" if n else f"<{count(least)}"


def pace(per_s: object) -> str:
    """So many a second; what is slower by the minute, hour or day: `812`, `9.8`, `30/min`, `-`."""
    if not isinstance(per_s, int | float):
        return "-"
    if per_s >= 1 or not per_s:
        return count(round(per_s, 1) if per_s < 100 else round(per_s))
    for unit, seconds in SPANS:
        if per_s * seconds >= 1:
            return f"{count(round(per_s * seconds, 1))}/{unit}"
    return "<1/d"


def percent(share: object) -> str:
    """A share of 1 as `60%`, `-` for none."""
    return f"{share:.0%}" if isinstance(share, int | float) else "-"


def span(ms: float) -> str:
    """A duration in its two largest units: `48s`, `3h12m`, `2d02h`."""
    s = int(abs(ms) // 1000)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02}s"
    if s < 86_400:
        return f"{s // 3600}h{s % 3600 // 60:02}m"
    return f"{s // 86_400}d{s % 86_400 // 3600:02}h"


def instant(text: object) -> int | None:
    """Milliseconds of an RFC 3339 instant, None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        return None


def since(text: object, now_ms: int) -> str:
    """How long ago, or `in` how long: `3h12m`, `in 48s`, `-`; also while *now_ms* is unknown (0)."""
    at = instant(text)
    if at is None or not now_ms:
        return "-"
    return f"in {span(at - now_ms)}" if at > now_ms + 999 else span(now_ms - at)


def clock(text: object, *, day: bool = False) -> str:
    """The time of day in UTC, `12:00:01Z`; with the *day* `11-22 12:00Z`."""
    at = instant(text)
    if at is None:
        return "-"
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.strftime("%m-%d %H:%MZ" if day else "%H:%M:%SZ")


def state(word: object) -> Cell:
    """A state as glyph and word."""
    text = str(word) if word else "-"
    glyph, style = STATES.get(text, ("  ", ""))
    return Cell(f"{glyph} {text}", style)


def glyph(word: object) -> Cell:
    """The glyph of a state alone, where its word stands beside it."""
    mark, style = STATES.get(str(word), ("  ", ""))
    return Cell(mark, style)


def text(value: object) -> str:
    """Any value in a few words; nothing is `-`."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{key}={text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(text(item) for item in value) or "-"
    return str(value)
