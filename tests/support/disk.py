"""A disk that is really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, size: str = "64k") -> Iterator[None]:
    """A file system of its own at *place*, of that *size*; skips where one cannot be had."""
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nobody but root may mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
