"""What has become of the daemons under one parent? A file that it writes, and each of them reads.

The parent has no socket: whoever asks a daemon for its status is told of the others through it,
of one that is dead and not yet started anew above all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

FILE: Final = "DRIPD_FAMILY"
"""In the environment of a daemon: where its parent writes."""


@dataclass(slots=True)
class Member:
    """One daemon: `starting running dead`. Instants are RFC 3339, of the machine's clock."""

    node: str
    state: str = "starting"
    pid: int | None = None
    deaths: int = 0
    died_at: str | None = None
    code: int | None = None
    """How it ended the last time; below zero, by which signal."""
    again_at: str | None = None
    """When it is started anew, while it is dead."""


def write(place: Path, members: Sequence[Member]) -> None:
    """Tell the daemons; a reader finds all of it or all of what was there before."""
    unseen = place.with_suffix(".new")
    unseen.write_bytes(orjson.dumps([asdict(one) for one in members]))
    unseen.rename(place)


def read() -> list[Mapping[str, Any]]:
    """The daemons under this one's parent, itself among them; none without a parent."""
    place = os.environ.get(FILE)
    if not place:
        return []
    try:
        found: list[Mapping[str, Any]] = orjson.loads(Path(place).read_bytes())
    except FileNotFoundError:  # the parent is gone, and soon this daemon
        return []
    return found
