"""Why does a daemon not start, or not go on? One error that says what to do.

Nurseries wrap what their tasks raise, and the operating system speaks in numbers; an operator
and systemd want one line and one exit code.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from dripd.errors import FULL, ConfigError, DripdError, OutOfSpace

CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(error: BaseException) -> DripdError | None:
    """The `DripdError` that *error* is, wraps or means; None for a bug."""
    for one in leaves(error):
        if isinstance(one, DripdError):
            return one
        if isinstance(one, OSError) and (found := of_system(one)) is not None:
            return found
    return None


def leaves(error: BaseException) -> Iterator[BaseException]:
    """*error*, or what the groups in it hold in the end."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from leaves(inner)


def of_system(error: OSError) -> DripdError | None:
    """What the operating system refused, where an operator can do something about it."""
    what = error.filename or "the state directory"
    if error.errno in FULL:
        return OutOfSpace(
            f"the disk is full: {what} cannot be written",
            hint="free space, or set DRIPD_STATE to a larger disk; it may be started again then",
        )
    if error.errno in CLOSED:
        return ConfigError(
            f"{what} cannot be used: {error.strerror}",
            hint="give it to the user that runs dripd, or set DRIPD_STATE",
        )
    if error.errno == errno.EMFILE:
        return OutOfSpace(
            "there are no file descriptors left", code="no_files", hint="raise LimitNOFILE"
        )
    return None
