"""How many steps a second with one POST each? The engine, and a server in its own process.

As `engine`, with a provider of kind `sendgrid` pointed at `bench/server.py` over 64
connections, one message a request, a body of about 1 KB. Checked as there, and that the
server has accepted exactly as many. The server's CPU is `cpu_us_helpers`.
"""

from __future__ import annotations

from functools import partial

import trio

from bench.engine import DUE
from bench.field import check, daemon, ground, lay, runs, until_sent
from bench.herd import drain
from bench.meter import Meter, own_peak_mb, postmaster_of
from bench.server import Server, serving
from dripd.channels.base import ProviderSettings, Secret
from dripd.config import Config

CONNECTIONS = 64


def run(
    config: Config, dsn: str, n: int | None, processes: int | None = None
) -> dict[str, object]:
    """One drain of *n* steps (default 20,000) on the fresh database of *dsn*, by a daemon in
    this process or by as many *processes*."""
    wanted = n or 20_000
    if processes is not None:
        with serving() as server:
            settings = settings_of(server.url)
            return drain(dsn, wanted, processes, settings, server.pid, server.accepted)
    lay(dsn, ground(provider="post"), runs(1, wanted, DUE))
    with serving() as server:
        return trio.run(partial(_measure, config, dsn, wanted, server))


def settings_of(url: str) -> ProviderSettings:
    """One message a request to the server at *url*."""
    return ProviderSettings(
        name="post",
        kind="sendgrid",
        base_url=url,
        max_connections=CONNECTIONS,
        batch=1,
        secrets={"api_key": Secret("bench")},
    )


async def _measure(config: Config, dsn: str, n: int, server: Server) -> dict[str, object]:
    meter = Meter(await trio.to_thread.run_sync(postmaster_of, dsn), helpers=[server.pid])
    async with daemon(config, dsn, settings_of(server.url)) as running:
        await until_sent(running, n, 300)
        figures = meter.read(n)
    await check(dsn, n)
    accepted = await trio.to_thread.run_sync(server.accepted)
    if accepted != n:
        raise AssertionError(f"the server accepted {accepted}, not {n}")
    return {"n": n, **figures, "rss_mb": round(own_peak_mb())}
