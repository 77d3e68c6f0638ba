"""How much processor time does a command take that only asks the socket?

`python bench/command.py [RUNS]`: a daemon's socket is answered by a real admin server in a
process of its own; each run is a fresh process, its time user and system together.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from dripd import log
from dripd.admin.catalogue import SPECS, bind
from dripd.admin.messages import Call
from dripd.admin.roles import Peer, Role
from dripd.admin.server import serve
from dripd.admin.session import Info

LINES = ("status --json", "account list", "campaign list --json", "enroll stop --contact c1")

ADMIN = Peer(uid=0, pid=1, user="root", role=Role.ADMIN, why="a benchmark")


def run(n: int | None = None) -> dict[str, object]:
    """*n* runs of each command (20): the median and the least, in ms of processor time."""
    with tempfile.TemporaryDirectory(prefix="dripd-") as folder:
        path = Path(folder) / "d.sock"
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(path)])
        try:
            while not path.exists():
                server.poll()
            return {line: measure(line, path, n or 20) for line in LINES}
        finally:
            server.kill()
            server.wait()


def measure(line: str, path: Path, n: int) -> dict[str, float]:
    command = [sys.executable, "-m", "dripd.cli.main", *line.split()]
    times = []
    for _ in range(n + 1):
        before = os.times()
        environment = {**os.environ, "DRIPD_SOCKET": str(path)}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        spent = after.children_user - before.children_user
        times.append(1000 * (spent + after.children_system - before.children_system))
    return {"p50_ms": statistics.median(times[1:]), "least_ms": min(times[1:])}


async def answer(path: Path) -> None:
    async def handle(_call: Call, _args: object) -> object:
        return {"state": "running", "items": [], "next": None, "changed": 0}

    log.configure(level="critical")
    methods = bind(dict.fromkeys(SPECS, handle))
    info = Info(server="0", env="bench", node="bench")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, path, methods, identity=lambda _: ADMIN, info=info))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        trio.run(answer, Path(sys.argv[2]))
    else:
        print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
