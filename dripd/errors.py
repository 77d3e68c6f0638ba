"""What can go wrong, by whose fault: the exception tree.

What a campaign expects (a refused address, a closed window) is a value, never an exception.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk that has no room left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a document or a request.

    `code` is a stable word, `path` leads into the document
    (`steps[2].window.days`), `hint` says what to do.
    """

    code: str
    path: str = ""
    message: str = ""
    hint: str = ""


def near(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint: `did you mean 'x'?` where a known word is near *word*, else *otherwise*."""
    import difflib  # noqa: PLC0415 - only who mistypes pays for it

    found = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else otherwise


class DripdError(Exception):
    """Base of all. Carries what, where and what to do, and the exit code."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, *, code: str = "", path: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.path = path
        self.hint = hint


class ConfigError(DripdError):
    """The configuration is unusable; `faults` lists everything that is wrong with it."""

    exit_code = 78
    code = "bad_config"

    def __init__(self, message: str, *, faults: tuple[Fault, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.faults = faults


class DefinitionError(DripdError):
    """A campaign file has faults; `faults` lists every one.

    Code, path and hint are those of the first.
    """

    code = "invalid"

    def __init__(self, message: str, *, faults: tuple[Fault, ...]) -> None:
        first = faults[0] if faults else Fault(code="")
        super().__init__(message, code=first.code, path=first.path, hint=first.hint)
        self.faults = faults


class TemplateError(DripdError):
    """A template cannot be compiled: of a file that is validated, of a message by hand."""

    code = "bad_value"


class StoreError(DripdError):
    """The database broke a promise."""


class StoreUnavailable(StoreError):
    """The database is away; what was asked may be asked again."""

    exit_code = 75
    code = "db_unavailable"


class StoreBusy(StoreUnavailable):
    """The database is there, but cannot do this now: a lock, a time limit, a full disk."""

    code = "db_busy"


class StoreLocked(StoreBusy):
    """Somebody holds rows that are needed, for longer than is waited."""


class StoreRefused(StoreUnavailable):
    """The server is there and does not let us in: to be put right before a start."""

    exit_code = 78
    code = "db_refused"


class InDoubt(StoreUnavailable):
    """The connection was lost around a commit: it may or may not have happened."""

    code = "in_doubt"


class SchemaMismatch(StoreError):
    """The schema is older or newer than this dripd, or the server is too old; refuse to start."""

    exit_code = 78
    code = "schema_mismatch"


class OutOfSpace(DripdError):
    """The machine has no room left; the same may be tried again when it has."""

    exit_code = 75
    code = "disk_full"


class WireError(DripdError):
    """Somebody broke the admin protocol."""


class PeerWireError(WireError):
    """The other side did."""


class OwnWireError(WireError):
    """We did."""


class NotFound(DripdError):
    """What was named does not exist."""

    exit_code = 3
    code = "not_found"


class NotPermitted(DripdError):
    """Who asks may not do it."""

    exit_code = 4
    code = "forbidden"


class Unreachable(DripdError):
    """No daemon answers on the socket."""

    exit_code = 5
    code = "unreachable"


class Conflict(DripdError):
    """The state of things forbids it now."""

    exit_code = 6
    code = "conflict"


class TimedOut(DripdError):
    """It took too long."""

    exit_code = 7
    code = "timeout"


class BadRequest(DripdError):
    """The arguments make no sense, whatever the state of things."""

    exit_code = 2
    code = "bad_request"


class Busy(DripdError):
    """Not now: a limit of the daemon is reached; the same may be asked again."""

    exit_code = 75
    code = "busy"
