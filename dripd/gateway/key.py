"""Where is the key that signs links? Named in the configuration, else made once and kept.

Daemons on several machines must share one: give `[gateway] secret` there. The key is never
logged, and no database or backup of one holds it.
"""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex

from dripd.channels.base import Secret
from dripd.errors import FULL, ConfigError

FILE = "gateway.key"


def load_key(secret: Secret | None, state: Path) -> Secret:
    """The signing key: *secret*, else that of the state directory, made where there is none.

    Raises `ConfigError` for a directory that cannot be written, `OSError` where its disk is full.
    """
    if secret is not None:
        return secret
    try:
        return Secret(_kept(state / FILE))
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(state / FILE)) from error
        raise ConfigError(
            f"gateway.secret: {state / FILE} cannot be read or made: {error.strerror}",
            hint="make the state directory writable, or give [gateway] secret",
        ) from error


def _kept(path: Path) -> str:
    """The content of *path*; made whole before it is there, so that no two daemons differ."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{FILE}.{os.getpid()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, token_hex(32).encode())
            os.fsync(handle)
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another daemon was faster: its key is the one
        finally:
            os.close(handle)
            fresh.unlink()
    return path.read_text().strip()
