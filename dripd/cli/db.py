"""`dripd db`: the embedded Postgres, and the schema."""

from __future__ import annotations

from pathlib import Path

import click

from dripd.cli.output import print_json, print_record
from dripd.config import Config, load
from dripd.store import embedded, migrate

CONFIG = click.option("--config", "file", type=click.Path(path_type=Path))
DSN = click.option("--dsn", help="The database; by default as configured, else the embedded.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def db() -> None:
    """The embedded Postgres, and the schema."""


@db.command("up")
@JSON
def up(*, as_json: bool) -> int:
    """Start the embedded Postgres, or find it running; print its DSN."""
    return show_dsn(embedded.up(load().state), as_json=as_json)


@db.command("down")
@JSON
def down(*, as_json: bool) -> int:
    """Stop the embedded Postgres."""
    embedded.down(load().state)
    if as_json:
        print_json({"state": "down"})
    return 0


@db.command("url")
@CONFIG
@DSN
@JSON
def url(file: Path | None, dsn: str | None, *, as_json: bool) -> int:
    """Print the DSN that a daemon would use."""
    config = load(file, dsn=dsn)
    found = config.dsn.reveal() if config.dsn else embedded.dsn(config.state)
    return show_dsn(found, as_json=as_json)


@db.command("migrate")
@CONFIG
@DSN
@JSON
def run_migrations(file: Path | None, dsn: str | None, *, as_json: bool) -> int:
    """Bring the schema up to this dripd."""
    applied = migrate.migrate(dsn_of(load(file, dsn=dsn)))
    if as_json:
        print_json({"changed": bool(applied), "applied": applied})
    else:
        click.echo("\n".join(applied) or "nothing to do")
    return 0


@db.command("status")
@CONFIG
@DSN
@JSON
def status(file: Path | None, dsn: str | None, *, as_json: bool) -> int:
    """How the server and the schema are."""
    found = examine(load(file, dsn=dsn))
    if as_json:
        print_json(found)
    else:
        print_record(found)
    return 0


def show_dsn(dsn: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"dsn": dsn})
    else:
        click.echo(dsn)
    return 0


def dsn_of(config: Config) -> str:
    """The configured database, or the embedded one, started."""
    return config.dsn.reveal() if config.dsn else embedded.up(config.state)


def examine(config: Config) -> dict[str, object]:
    if config.dsn is not None:
        return {"embedded": None, "migrations": schema_of(config.dsn.reveal())}
    server = embedded.status(config.state)
    shown = {"state": server.state, "version": server.version, "home": server.home}
    found = schema_of(server.dsn) if server.state == "up" else None
    return {"embedded": shown, "migrations": found}


def schema_of(dsn: str) -> dict[str, object]:
    found = migrate.status(dsn)
    return {
        "server": found.server,
        "applied": found.applied,
        "newest": found.newest,
        "pending": list(found.pending),
    }
