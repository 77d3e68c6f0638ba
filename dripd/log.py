"""What does dripd say about itself, and where? The catalogue of events, and the set-up.

Events are `noun.participle` from `EVENTS`; nothing is interpolated, everything that varies is
a key. Never an address, a body or a token: ids, words and numbers only. JSON lines go to
stderr, or a console rendering where stderr is a terminal.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, Literal, TypeAlias

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dripd.errors import ConfigError

EVENTS: Final[dict[str, str]] = {
    "account.unreadable": "an account's zone, window or rate cannot be read: its messages wait",
    "admit.delayed": "requests could not be decided now; they wait",
    "admin.called": "a mutating method was performed for somebody",
    "admin.dropped": "an admin connection was closed by the daemon, and why",
    "admin.failed": "a handler raised what it should not; log_id is in the answer",
    "admin.listening": "the admin socket takes connections",
    "admin.refused": "a call or a connection was refused for want of a role",
    "sender.stopped": "too much of what it sent came back: it is paused until somebody resumes it",
    "breaker.opened": "a provider fails: nothing is leased for it until a probe passes",
    "call.failed": "an outside server did not take a call; it is made again, or given up",
    "channel.failed": "an adapter broke its promise; what it had not settled is unknown",
    "config.refused": "a reload found faults; the old configuration stays in force",
    "config.reloaded": "the configuration was read again, and what of it is new in force",
    "config.waiting": "what of the configuration that was read again needs a restart",
    "config.loaded": "a configuration was read and is in force",
    "daemon.barred": "nothing is leased or sent, for a reason that somebody must remove",
    "daemon.buried": "other daemons had declared this one dead; it stops and must start anew",
    "daemon.drained": "an operator drained this daemon: it leases nothing more",
    "daemon.undrained": "an operator put this daemon back to work",
    "daemon.draining": "no new leases; what is in flight may end",
    "daemon.failing": "a failpoint was set, and this daemon breaks on purpose",
    "daemon.traced": "what its tasks are doing, asked for by SIGUSR2",
    "daemon.hurried": "it was told to end a second time; what is in flight is unknown",
    "daemon.started": "the daemon is ready",
    "daemon.stopped": "the daemon has ended",
    "event.lost": "an open or a click could not be kept; its reader was served all the same",
    "gateway.failed": "a request met a fault of ours and was answered 500",
    "gateway.private": "no public_url: links work on this machine alone, mail leaves without",
    "gateway.listening": "HTTP is answered, and where",
    "hook.confirmed": "a provider's subscription to our address was confirmed",
    "hook.ended": "a provider's subscription to our address was ended: nothing comes from it any more",
    "hook.tried": "a provider tried our address with a message that is no event",
    "hook.parked": "a provider told of messages that we do not know yet; it is tried again",
    "hook.unread": "the headers of an inbound mail could not be asked for; its subject must do",
    "hook.refused": "what came in at a provider's address was not signed, or not readable",
    "admit.refused": "a batch of requests breaks whoever reads it; it is tried in halves",
    "request.refused": "a request that nobody can read was rejected",
    "inbox.refused": "a batch of events breaks whoever reads it; it is tried in halves",
    "event.refused": "an event cannot be read; it takes effect without its payload, or has none",
    "inbox.delayed": "events could not be digested now; they wait",
    "witness.unwritable": "what is committed is remembered in memory alone",
    "journal.refused": "the intent journal takes nothing; nothing is leased until it does",
    "lease.swept": "the leases of a dead daemon were taken back",
    "library.logged": "a library wrote to the standard logging",
    "metrics.listening": "the thread for /metrics, /livez and /readyz takes connections",
    "process.died": "a daemon of `--processes` ended by itself; it is started anew",
    "pulse": "once a second: what was done, and how late",
    "campaign.failing": "of a campaign's first steps more than 5 % failed: it is paused",
    "record.refused": "the database refused a batch of results; it is tried in halves",
    "record.lost": "one result cannot be written in any form; its step stays leased",
    "record.unfollowed": "results are on record, and what follows from them was broken off",
    "lease.refused": "the database refuses to lease a step; it was set aside",
    "step.failed": "a step broke on its own data and was quarantined",
    "forecast.failed": "what a run would do could not be played; its windows and delays alone are told",
    "partitions.held": "partitions could not be made or dropped: somebody reads them",
    "standstill.noted": "nobody was at work for long; what came due meanwhile goes out paced",
    "store.lost": "the database is away",
    "store.regained": "the database answers again, and takes writes",
    "template.unfit": "a template of an account cannot be sent; the words as published go on",
    "version.not_followed": "runs in flight stay on the version before: the new one would send again",
    "version.unreadable": "a campaign version cannot be read by this dripd",
}
"""Every event that dripd logs, with its meaning. A test compares it with the code."""

LEVELS: Final[Mapping[str, int]] = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "error": 40,
    "critical": 50,
}

JOURNAL_PRIORITY: Final[Mapping[str, str]] = {
    "debug": "<7>",
    "info": "<6>",
    "warning": "<4>",
    "error": "<3>",
    "critical": "<2>",
}
"""What journald takes as the priority of a line."""

Format = Literal["auto", "json", "console"]


class Threshold:
    """The level below which nothing is written; switched while the daemon runs."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = LEVELS["info"]


THRESHOLD: Final = Threshold()

KEPT: Final = 2_000
"""Lines that `dripd logs tail` can look back: about a megabyte."""


Line: TypeAlias = dict[str, object]


class Ring:
    """The last lines, numbered from 1 in the order of writing, as the JSON rendering has them.

    A processor that hands its line on unchanged. Readers in other threads see whole lines.
    """

    def __init__(self, most: int = KEPT) -> None:
        self._lines: deque[tuple[int, Line]] = deque(maxlen=most)
        self._n = 0

    def __call__(self, logger: WrappedLogger, name: str, keys: EventDict) -> EventDict:
        line = structlog.processors.format_exc_info(logger, name, dict(keys))
        self._n += 1
        self._lines.append((self._n, dict(line)))
        return keys

    @property
    def n(self) -> int:
        """How many lines were written so far."""
        return self._n

    def since(
        self, after: int | None, most: int, wanted: Callable[[Line], bool] = bool
    ) -> tuple[list[Line], int, int]:
        """The *wanted* lines behind number *after*, where to go on, and how many are lost.

        At most *most* of them: the first ones, but the newest for None. Each carries its
        number as `seq`. Lost are those behind *after* that had made room for later ones.
        """
        lines, end = list(self._lines), self._n
        found = [
            (seq, line)
            for seq, line in lines
            if (after is None or seq > after) and wanted(line)
        ]
        chosen = found[-most:] if after is None else found[:most]
        whole = after is None or len(found) <= most
        first = lines[0][0] if lines else end + 1
        lost = 0 if after is None else max(0, first - 1 - after)
        return [{"seq": n, **line} for n, line in chosen], end if whole else chosen[-1][0], lost


RING: Final = Ring()
"""The lines of this process."""


FOLD_S: Final = 60.0
"""How long a line that says the same again is only counted."""

FOLDED: Final = 256
"""Different lines that are watched for repeats."""


class Fold:
    """Lets a warning or an error that repeats itself word for word through once a minute.

    The next one that passes says in `repeated` how many were left out before it. What differs
    in any key is another line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def __call__(self, _: WrappedLogger, __: str, keys: EventDict) -> EventDict:
        if LEVELS[str(keys["level"])] < LEVELS["warning"] or "exc_info" in keys:
            return keys
        same = repr(sorted((name, repr(value)) for name, value in keys.items()))
        now = self._clock()
        since, n = self._seen.get(same, (-FOLD_S, 0))
        if now - since < FOLD_S:
            self._seen[same] = (since, n + 1)
            raise structlog.DropEvent
        if len(self._seen) >= FOLDED:
            self._seen.clear()
        self._seen[same] = (now, 0)
        return {**keys, "repeated": n} if n else keys


class Logger(structlog.BoundLoggerBase):
    """Writes events at a level; below the threshold a call costs one comparison."""

    def debug(self, event: str, **keys: object) -> None:
        self._write("debug", event, keys)

    def info(self, event: str, **keys: object) -> None:
        self._write("info", event, keys)

    def warning(self, event: str, **keys: object) -> None:
        self._write("warning", event, keys)

    def error(self, event: str, **keys: object) -> None:
        self._write("error", event, keys)

    def exception(self, event: str, **keys: object) -> None:
        """An error with the traceback of the exception being handled."""
        self._write("error", event, {"exc_info": True, **keys})

    def _write(self, level: str, event: str, keys: dict[str, Any]) -> None:
        if LEVELS[level] >= THRESHOLD.at:
            self._proxy_to_logger(level, event, **keys)


class LineWriter:
    """Puts each rendered line on a stream, in one write."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def _line(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info = warning = error = critical = _line


class Forward(logging.Handler):
    """Leads what libraries write to the standard logging into ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log, keys = get("library"), {"logger": record.name, "message": record.getMessage()}
        if record.levelno >= logging.ERROR:
            log.error("library.logged", exc_info=record.exc_info, **keys)
        else:
            log.warning("library.logged", exc_info=record.exc_info, **keys)


def configure(
    *, level: str = "info", form: Format = "auto", stream: IO[str] | None = None
) -> None:
    """Set up logging for this process; *stream* defaults to stderr.

    `auto` renders for people where the stream is a terminal, else one JSON object a line.
    Raises `ConfigError` for an unknown level.
    """
    out = stream or sys.stderr
    set_level(level)
    structlog.configure(
        processors=processors(form, out),
        wrapper_class=Logger,
        logger_factory=lambda *_: LineWriter(out),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [Forward()]
    root.setLevel(logging.WARNING)


def processors(form: Format, out: IO[str]) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
    first: list[Processor] = [structlog.processors.add_log_level, Fold(), stamp, RING]
    if form == "console" or (form == "auto" and out.isatty()):
        return [*first, structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=out.isatty())]
    prefixed = in_journal(out)
    return [
        *first,
        structlog.processors.format_exc_info,
        render_for_journal if prefixed else render,
    ]


def render(_: WrappedLogger, __: str, keys: EventDict) -> str:
    return orjson.dumps(keys, default=str).decode()


def render_for_journal(logger: WrappedLogger, name: str, keys: EventDict) -> str:
    return JOURNAL_PRIORITY[str(keys["level"])] + render(logger, name, keys)


def in_journal(out: IO[str]) -> bool:
    """Whether systemd's journal reads *out*: `JOURNAL_STREAM` names its device and inode."""
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        stat = os.fstat(out.fileno())
    except OSError:
        return False
    return named == f"{stat.st_dev}:{stat.st_ino}"


def set_level(level: str) -> None:
    """Write from *level* on: debug, info, warning, error or critical; at once, everywhere."""
    if level not in LEVELS:
        raise ConfigError(f"log level {level!r} is unknown", hint=f"one of {', '.join(LEVELS)}")
    THRESHOLD.at = LEVELS[level]


def level() -> str:
    """From which level on lines are written."""
    return next(name for name, number in LEVELS.items() if number == THRESHOLD.at)


def get(stage: str) -> Logger:
    """A logger that says which stage writes; before `configure`, to whatever stderr is then."""
    if not structlog.is_configured():
        structlog.configure(
            processors=processors("json", sys.stderr),
            wrapper_class=Logger,
            logger_factory=lambda *_: LineWriter(sys.stderr),
        )
    logger: Logger = structlog.get_logger(stage=stage)
    return logger
