"""Where is the daemon's socket? The same rules for server and clients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RUN: Final = Path("/run/dripd/dripd.sock")
"""Where systemd's `RuntimeDirectory=dripd` puts it."""

UNIT_STATE: Final = Path("/var/lib/dripd")
UNIT_SECRETS: Final = Path("/run/credentials/dripd.service")
"""The places of the unit that is shipped: `StateDirectory=`, `LoadCredential=`."""


def state_dir() -> Path:
    """`DRIPD_STATE`, else the user's state directory of the XDG rules."""
    if named := os.environ.get("DRIPD_STATE"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "dripd"


def socket_path(given: str | None = None, *, serving: bool = False) -> Path:
    """Where the daemon listens (*serving*), or is to be found.

    In order: *given* (`--socket`), `DRIPD_SOCKET`, `$DRIPD_STATE/dripd.sock`, the one of
    systemd (a client takes it where it exists and the user has none of his own), the user's
    state directory.
    """
    if named := given or os.environ.get("DRIPD_SOCKET"):
        return Path(named)
    own = state_dir() / "dripd.sock"
    if os.environ.get("DRIPD_STATE"):
        return own
    if serving:
        return RUN if os.environ.get("RUNTIME_DIRECTORY") == str(RUN.parent) else own
    return RUN if stands(RUN) and not own.exists() else own


def stands(path: Path) -> bool:
    """Is it there, for all that can be seen? Who may not look is told so by the attempt."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True
