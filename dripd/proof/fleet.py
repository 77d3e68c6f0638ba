"""What is put under stress? An embedded Postgres, the sink, and several daemons, as processes.

They are started as an operator would start them, and end by their process id alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import asyncpg

from dripd.store import embedded, embedded_place, migrate

DRIPD: Final = (sys.executable, "-m", "dripd.cli.main")

CONFIG: Final = """
[engine]
node_timeout = "{limit}"
send_timeout = "10s"
in_flight = 400

[gateway]
listen = "{gateway}"

[metrics]
listen = ""

[provider.keyless]
kind = "sendgrid"
base_url = "{url}/plain"
api_key = "env:CHAOS_KEY"
timeout = "2s"
max_connections = 16
unknown_after = "5s"

[provider.keyed]
kind = "resend"
base_url = "{url}/keyed"
api_key = "env:CHAOS_KEY"
timeout = "2s"
max_connections = 16
unknown_after = "90s"

[provider.told]
kind = "postmark"
base_url = "{url}/plain"
server_token = "env:CHAOS_KEY"
webhook_secret = "env:CHAOS_KEY"
"""

TELLS: Final = "told"
"""The provider of `CONFIG` that sends nothing: it tells of events."""

SECRET: Final = "not-a-secret"

STOP_S: Final = 30

START_S: Final = 180
"""What a process may take on a busy machine until it serves."""

RAISED: Final = re.compile(r"[A-Za-z_.]+(Error|Exception|Group|Unavailable|Closed|Doubt)\b")

VARYING: Final = re.compile(r',"(incarnation|ts)":"?[^,}]*"?')

GOODBYES: Final = ("daemon.draining", "daemon.stopped", "pulse")


class Database:
    """The Postgres under stress, and statements to it; one that fails for its absence says so.

    It is made by `with`, and gone afterwards, also where making it was cut short.
    """

    dsn: str

    def __init__(self, state: Path) -> None:
        self._state = state

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(embedded.destroy, self._state)
            self.dsn = embedded.up(self._state)
            migrate.migrate(self.dsn)
            self._runner = opened.enter_context(asyncio.Runner())
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        place = self._place()
        return place.socket / ".s.PGSQL.5432"

    def dsn_at(self, port: int) -> str:
        """Its DSN by way of 127.0.0.1:*port*."""
        return (
            f"{self.dsn.partition('?')[0].replace('@/', f'@127.0.0.1:{port}/')}?sslmode=disable"
        )

    def _place(self) -> embedded_place.Place:
        place = embedded_place.find_place(self._state)
        if place is None:
            raise RuntimeError("the database of the proof is gone")
        return place

    def fetch(self, text: str, *args: Any) -> list[Any]:
        """One statement in its own transaction. Raises `OSError` or asyncpg's errors."""
        return self._runner.run(self._fetch(text, args))

    def execute(self, text: str) -> None:
        """Statements in one transaction."""
        self._runner.run(self._execute(text))

    async def _execute(self, text: str) -> None:
        conn = await asyncpg.connect(self.dsn, timeout=5, command_timeout=30)
        try:
            await conn.execute(text)
        finally:
            await conn.close(timeout=5)

    async def _fetch(self, text: str, args: Sequence[Any]) -> list[Any]:
        conn = await asyncpg.connect(self.dsn, timeout=5, command_timeout=30)
        try:
            found: list[Any] = await conn.fetch(text, *args)
            return found
        finally:
            await conn.close(timeout=5)

    def crash(self) -> None:
        """Stop at once, as `pg_ctl stop -m immediate`, and start again."""
        pid = int((self._place().home / "data" / "postmaster.pid").read_text().split("\n")[0])
        os.kill(pid, signal.SIGQUIT)
        self._up_again()

    def restart(self) -> None:
        """Stop in order and start again."""
        embedded.down(self._state)
        self._up_again()

    def _up_again(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                embedded.up(self._state)
                return
            except Exception:  # it may still be stopping
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class End:
    """A daemon's own end: its exit code and the last word of its log that tells why."""

    code: int
    why: str


class Process:
    """One process of the fleet, started anew whenever it is asked for and has ended; `with` it,
    it has ended in order afterwards."""

    def __init__(
        self, command: Sequence[str], env: dict[str, str], log: Path, gateway: str = ""
    ) -> None:
        self.gateway = gateway
        self.socket = Path(env.get("DRIPD_SOCKET", ""))
        self._command = command
        self._env = env
        self._log = log
        self.ends: list[End] = []
        """How it ended without being told to, each time."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=log, stderr=log
            )

    def keep(self) -> None:
        """Start it if it has ended by itself: a service manager would."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self.ends.append(End(code, last_word(self._log)))
            self._process = None
        if self._process is None:
            self.start()

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> int | None:
        """End it in order; its exit code, None if it had none."""
        if self._process is None:
            return None
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def last_word(log: Path) -> str:
    """Why the daemon that wrote *log* ended: its innermost exception, or its last line that is
    no goodbye, without what differs every time."""
    lines = [line.strip(" |+") for line in log.read_text(errors="replace").splitlines()[-200:]]
    told = [line for line in lines if line.strip("-") and not any(w in line for w in GOODBYES)]
    raised = [line for line in told if RAISED.match(line)]
    if not told or told[-1].startswith("{") or not raised:
        return VARYING.sub("", told[-1])[:300] if told else ""
    return raised[-1][:300]


@contextmanager
def running_sink(
    folder: Path, *, faults: float, seed: int
) -> Iterator[tuple[Process, str, Path]]:
    """The sink, its URL and its log."""
    log, ports = folder / "sink.jsonl", folder / "sink.ports"
    command = [
        *DRIPD, "sink", "--log", str(log), "--port", "0", "--smtp-port", "0", "--ports", str(ports),
        "--faults", str(faults), "--seed", str(seed),
    ]  # fmt: skip
    with Process(command, dict(os.environ), folder / "sink.log") as sink:
        sink.start()
        end = time.monotonic() + START_S
        while not ports.exists() or not ports.read_text().endswith("\n"):
            if time.monotonic() > end:
                said = (folder / "sink.log").read_text()
                raise RuntimeError(f"the sink did not start: {said}")
            time.sleep(0.05)
        yield sink, f"http://127.0.0.1:{ports.read_text().split()[0]}", log


def daemon(  # noqa: PLR0913 - the words of one process
    folder: Path,
    no: int,
    dsn: str,
    url: str,
    *,
    limit: str = "1s",
    env: Mapping[str, str] = MappingProxyType({}),
    skew: Path | None = None,
    gateway: str = "",
    args: Sequence[str] = (),
) -> Process:
    """The daemon `dNO`, not started; daemons of a *folder* share it as their state directory.

    *limit*: how long without a heartbeat until it counts as dead. *skew*: a file that holds
    milliseconds by which its host's wall clock is ahead. *gateway*: where it listens for
    what providers tell; "" nowhere. *args*: more words of `dripd run`.
    """
    config = folder / f"d{no}.toml"
    config.write_text(CONFIG.format(url=url, limit=limit, gateway=gateway))
    own = {key: value for key, value in os.environ.items() if not key.startswith("DRIPD_")}
    own |= {
        "DRIPD_DSN": dsn,
        "DRIPD_STATE": str(folder),
        "DRIPD_SOCKET": str(folder / f"d{no}.sock"),
        "DRIPD_DAEMON__NODE": f"d{no}",
        "CHAOS_KEY": SECRET,
        **env,
    }
    program = DRIPD if skew is None else (sys.executable, "-m", "dripd.proof.skewed", str(skew))
    log = folder / f"d{no}.log"
    return Process([*program, "run", "--config", str(config), *args], own, log, gateway)


def free_address() -> str:
    """An address on this machine that nobody listens at just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"
