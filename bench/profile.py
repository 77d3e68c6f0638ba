"""Where does a step's time go? The CPU of the event loop's thread, divided by stage.

A timer of this process's CPU time interrupts the thread a thousand times a second; what the
thread spent since the last time goes to the innermost function on its stack that belongs to a
stage. So system calls count where they are made, and waiting counts nowhere. What other
threads spend (asyncpg's) is the rest of the process's time. Sampling itself costs some 3 %.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

TICK_S: Final = 0.001

ROOT: Final = str(Path(__file__).resolve().parents[1]) + "/dripd/"

DATABASE: Final = "database thread"
LOOP: Final = "event loop"

STAGES: Final = {
    "start": """
        engine/look engine/directory campaigns daemon config policy/compile
        policy/watching:watched
    """,
    "feed and pick": "engine/feed engine/lanes scheduler",
    "lease": "engine/lease engine/flow ratelimit engine/send:dispatch engine/send:_shut",
    "judge": "policy engine/send:judge engine/send:_gate engine/send:_pull scheduler/calendar",
    "render": "campaigns/template campaigns/sms policy/perform:_render policy/watching:render_words",
    "request": """
        channels engine/send:_message engine/send:_headers channels/http:_requests
        channels/http:part channels/http:request channels/http:job
    """,
    "wire": """
        channels/drive channels/reply channels/wire channels/transport channels/answer
        channels/smtp channels/dialogue channels/http engine/send
    """,
    "answer": """
        channels/http:answered channels/http:_outcomes channels/http:all_accepted
        channels/status channels/sendgrid:accepted channels/postmark:accepted
        policy/advance engine/send:_answer engine/send:_settle engine/pipeline
    """,
    "journal": "daemon/journal",
    "record": "engine/record engine/tally metrics ring engine/send:_count",
    "crossing to the database": "store",
}
"""Packages, modules and functions of dripd: the narrowest name that fits counts."""


class Sampler:
    """Samples the main thread from `start` to `stop`; one at a time."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._known: dict[tuple[str, str], str] = {}
        self._stages = {
            name: stage for stage, names in STAGES.items() for name in names.split()
        }

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._tick)
        self._last = time.thread_time()
        self._whole = -time.process_time()
        signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        self._whole += time.process_time()

    def per_step_us(self, n: int) -> dict[str, float]:
        """Microseconds for each of *n* steps by stage, the largest first."""
        found = self._seconds + Counter({DATABASE: self._whole - self._seconds.total()})
        return {stage: round(spent / n * 1e6, 1) for stage, spent in found.most_common()}

    def _tick(self, _number: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        spent, self._last = now - self._last, now
        stage = ""
        while frame is not None and not stage:
            stage = self._stage_of(frame.f_code.co_filename, frame.f_code.co_name)
            frame = frame.f_back
        self._seconds[stage or LOOP] += spent

    def _stage_of(self, path: str, function: str) -> str:
        """Empty for what belongs to no stage: its caller counts."""
        found = self._known.get((path, function))
        if found is None:
            found = self._known[path, function] = self._look_up(path, function)
        return found

    def _look_up(self, path: str, function: str) -> str:
        if not path.startswith(ROOT):
            return ""
        name = path.removeprefix(ROOT).removesuffix(".py")
        names = (f"{name}:{function}", name, name.partition("/")[0])
        return next((self._stages[one] for one in names if one in self._stages), "")


class Switch:
    """Whether meters sample as well, and the one that does."""

    is_on = False
    sampler: Sampler | None = None


def switch_on() -> None:
    """Let the meters of this process sample as well."""
    Switch.is_on = True


def begin() -> None:
    """A meter starts to count."""
    if Switch.is_on:
        Switch.sampler = Sampler()
        Switch.sampler.start()


def end(n: int) -> dict[str, dict[str, float]]:
    """A meter is read after *n* steps: `where_us`, where that was asked for."""
    sampler, Switch.sampler = Switch.sampler, None
    if sampler is None:
        return {}
    sampler.stop()
    return {"where_us": sampler.per_step_us(n)}
