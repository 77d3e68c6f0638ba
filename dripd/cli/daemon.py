"""`dripd run`: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from dripd import log
from dripd.clock import Instant, parse_instant
from dripd.config import load
from dripd.daemon.run import main

FIRST = "2026-01-01T00:00:00Z"
"""Where a manual clock starts unless told, or unless the database has an instant already."""


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML (/etc/dripd).")
@click.option("--dsn", help="The database (DRIPD_DSN); by default an embedded one.")
@click.option("--socket", help="Where to listen (DRIPD_SOCKET).")
@click.option("--clock", type=click.Choice(["system", "manual"]), default="system")
@click.option("--at", metavar="INSTANT", help=f"Where a manual clock starts ({FIRST}).")
def run(
    file: Path | None,
    dsn: str | None,
    socket: str | None,
    clock: str,
    at: str | None,
) -> int:
    """Run the daemon until SIGTERM."""
    manual = clock == "manual"
    if at and not manual:
        raise click.UsageError("--at needs --clock manual")
    start = instant(at or FIRST) if manual else None
    config = load(file, dsn=dsn, socket=socket)
    log.configure(level=config.log.level, form=config.log.format)
    log.get("daemon").info("config.loaded", files=[str(path) for path in config.files])
    return main(config, manual_clock=manual, at=start)


def instant(text: str) -> Instant:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error
