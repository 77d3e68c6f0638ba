"""How is the daemon? Stamps that its tasks leave, and what follows from them.

The stamps are written by the event loop and read by the thread that answers HTTP, which
judges them by their age: a loop that is stuck leaves none, and is seen as stuck.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LIVE_S: Final = 10.0
"""Older than this, the loop's stamp says that the loop is stuck."""

FRESH_S: Final = 5.0
"""A heartbeat is due every two seconds; two in a row may be late."""

TURN_S: Final = 10.0
"""A turn of the wheel is due every second; one that loads much from a slow database takes long."""


@dataclass(slots=True)
class Vitals:
    """Instants are seconds of the monotonic clock; 0.0 is never.

    `state` is one of `starting running paused draining`, `drained` if an operator asked for it.
    """

    node: str
    state: str = "starting"
    drained: bool = False
    looped_at: float = 0.0
    beaten_at: float = 0.0
    """When the database last took the heartbeat."""
    turned_at: float = 0.0
    """When the wheel was last turned."""
    db_error: str = ""
    journal_error: str = ""
    """Why the intent journal takes nothing, so that nothing is leased."""
    copy_error: str = ""
    """Why this database is taken for a copy that nobody has adopted."""

    def is_live(self) -> bool:
        """Whether the loop runs; a database that is away is no reason to start anew."""
        return age(self.looped_at) < LIVE_S

    def is_ready(self) -> bool:
        return all(check["ok"] for check in self.checks())

    def checks(self) -> list[Mapping[str, object]]:
        """What readiness is made of, each with what to do where it is not so."""
        running = self.state in ("running", "paused")
        undo = "dripd node undrain" if self.drained else "it is starting, or being stopped"
        db_hint = "dripd doctor; the daemon goes on by itself when the database is back"
        beaten = self.beaten_at > 0 and age(self.beaten_at) < FRESH_S
        answered = beaten and not self.db_error
        return [
            shown(
                "loop", self.is_live(), f"last seen {ago(self.looped_at)}", "dripd node trace"
            ),
            shown("running", running, f"{self.node} is {self.state}", undo),
            shown("database", answered, self.db_error or "answers", db_hint),
            shown("heartbeat", beaten, f"written {ago(self.beaten_at)}", db_hint),
            shown(
                "wheel",
                age(self.turned_at) < TURN_S,
                f"turned {ago(self.turned_at)}",
                "dripd node trace",
            ),
            shown(
                "journal",
                not self.journal_error,
                self.journal_error or "takes intents",
                "make room for it; nothing is sent until it can be written, nothing is lost",
            ),
            shown(
                "original",
                not self.copy_error,
                self.copy_error or "this database was begun or adopted here, and is whole",
                "suppress what was sent since, stop the other one, then dripd adopt",
            ),
        ]

    def report(self) -> Mapping[str, object]:
        """The answer of `dripd ready` and of `/readyz`."""
        return {"ready": self.is_ready(), "checks": self.checks()}


def shown(name: str, ok: bool, detail: str, hint: str) -> Mapping[str, object]:
    return {"name": name, "ok": ok, "detail": detail, "hint": "" if ok else hint}


def age(at: float) -> float:
    return time.monotonic() - at


def ago(at: float) -> str:
    return "never" if not at else f"{age(at):.1f} s ago"
