"""What the comparison needs, installed into a folder of its own: nothing of it is dripd's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

PYTHON = (
    "pgqueuer[asyncpg]==1.6.0",
    "procrastinate==3.10.0",
    "psycopg[binary,pool]",
    "aiohttp",
    "httpx",
    "sniffio",
    "uvloop",
)

NODE = {
    "node": "22.23.3",
    "graphile-worker": "0.18.0",
    "pg-boss": "12.38.0",
    "pg": "8",
    "undici": "7",
}
"""Both JavaScript peers want Node 22 or newer, so the kit brings its own."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One queue: what it does of what dripd does, and what it does that dripd does not."""

    name: str
    version: str
    script: str
    less: str
    share: float = 1.0
    """How much of the work it is given: the slow ones are not waited for."""
    only: tuple[str, ...] = ()
    """The scenarios in which it differs from another; empty: it does them all."""
    folder: str = ""
    """Of the checkout, in which it is started."""


COMPILED = "build/compiled"

PEERS = (
    Peer("dripd", "this checkout", "dripd_worker.py", ""),
    Peer(
        "dripd, 2 processes", "this checkout", "dripd_herd_worker.py",
        "two daemons with half of the accounts and of the connections each",
        only=("noop", "post"),
    ),
    Peer(
        "dripd, compiled", "this checkout", "dripd_worker.py",
        "what a step passes through is C, by `make compiled`",
        only=("noop", "post"), folder=COMPILED,
    ),
    Peer(
        "dripd, compiled, 2 processes", "this checkout", "dripd_herd_worker.py",
        "both of it",
        only=("noop", "post"), folder=COMPILED,
    ),
    Peer(
        "graphile-worker", "0.18.0", "graphile_worker.mjs",
        "deletes the job when it is done; no caps, windows, delivery row, rendering or stop",
    ),
    Peer(
        "pg-boss", "12.38.0", "pgboss_worker.mjs",
        "keeps the job row as completed; no caps, windows, rendering or stop",
    ),
    Peer(
        "pgqueuer", "1.6.0", "pgqueuer_worker.py",
        "writes a log row a job, as dripd a delivery; no caps, windows, rendering or stop",
    ),
    Peer(
        "pgqueuer + httpx", "1.6.0", "pgqueuer_httpx_worker.py",
        "as pgqueuer, its requests by httpx instead of aiohttp",
        0.05, ("post",),
    ),
    Peer(
        "procrastinate", "3.10.0", "procrastinate_worker.py",
        "keeps every job with its events, locks by name; no caps, windows, rendering or stop",
        0.05,
    ),
)  # fmt: skip


def install(folder: Path) -> dict[str, str]:
    """Install what is missing; peers that cannot run here, with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    python(folder)
    missing = {
        peer.name: "`make compiled` was not run"
        for peer in PEERS
        if not (HERE.parents[1] / peer.folder).is_dir()
    }
    if shutil.which("npm") is None:
        why = "there is no npm to install Node 22 with"
        return missing | dict.fromkeys(("graphile-worker", "pg-boss"), why)
    node(folder)
    return missing


def python(folder: Path) -> None:
    stamp = folder / "python.json"
    if stamp.exists() and json.loads(stamp.read_text()) == list(PYTHON):
        return
    run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run([*pip, "--disable-pip-version-check", *PYTHON])
    stamp.write_text(json.dumps(list(PYTHON)))


def node(folder: Path) -> None:
    place = folder / "node"
    place.mkdir(exist_ok=True)
    for script in HERE.glob("*.mjs"):  # they find their packages beside them
        shutil.copy(script, place)
    stamp = place / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == NODE:
        return
    package = {"private": True, "type": "module", "dependencies": NODE}
    (place / "package.json").write_text(json.dumps(package))
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place)])
    stamp.write_text(json.dumps(NODE))


def command(folder: Path, peer: Peer) -> list[str]:
    """The words that start a worker of *peer*."""
    if peer.version == "this checkout":
        return [sys.executable, "-m", f"bench.peers.{Path(peer.script).stem}"]
    if peer.script.endswith(".mjs"):
        place = folder / "node"
        return [str(place / "node_modules" / "node" / "bin" / "node"), str(place / peer.script)]
    return [str(folder / "venv" / "bin" / "python"), str(HERE / peer.script)]


def run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
