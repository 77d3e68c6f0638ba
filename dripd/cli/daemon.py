"""`dripd run`: the daemon in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dripd import log
from dripd.clock import Instant, parse_instant
from dripd.config import Config, load
from dripd.daemon.parent import supervise
from dripd.daemon.run import main, open_database

FIRST = "2026-01-01T00:00:00Z"
"""Where a manual clock starts unless told, or unless the database has an instant already."""


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML (/etc/dripd).")
@click.option("--dsn", help="The database (DRIPD_DSN); by default an embedded one.")
@click.option("--socket", help="Where to listen (DRIPD_SOCKET).")
@click.option(
    "--processes", type=click.IntRange(1, 64), default=1, help="Daemons under one parent (1)."
)
@click.option(
    "--clock",
    type=click.Choice(["system", "manual"]),
    default="system",
    help="manual: time moves by `dripd clock` alone.",
)
@click.option("--at", metavar="INSTANT", help=f"Where a manual clock starts ({FIRST}).")
def run(
    file: Path | None,
    dsn: str | None,
    socket: str | None,
    processes: int,
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
    if processes > 1:
        return supervise(command(file, dsn, clock, at), config, processes, shared(config))
    return main(config, manual_clock=manual, at=start)


def command(file: Path | None, dsn: str | None, clock: str, at: str | None) -> list[str]:
    """How each of several daemons is started; its socket comes by the environment."""
    given = {"--config": file, "--dsn": dsn, "--clock": clock, "--at": at}
    options = [str(part) for pair in given.items() if pair[1] for part in pair]
    return [sys.executable, "-m", "dripd.cli.main", "run", *options]


def shared(config: Config) -> dict[str, str]:
    """What must be there before several daemons start: the database, at the schema."""
    found = open_database(config)
    return {} if config.dsn is not None else {"DRIPD_DSN": found}


def instant(text: str) -> Instant:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error
