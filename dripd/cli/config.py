"""`dripd config`: check and show the configuration; works without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dripd.cli.asking import Ask, changing
from dripd.cli.output import print_items, print_json
from dripd.config import load
from dripd.options import schema

FILE = click.argument("file", required=False, type=click.Path(path_type=Path))
NAMED = click.option(
    "--config", "named", type=click.Path(path_type=Path), help="The same file."
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command("check")
@FILE
@NAMED
@JSON
def check(file: Path | None, named: Path | None, *, as_json: bool) -> int:
    """Exit 78 if the configuration has faults, and list them all."""
    found = load(file or named)
    files = [str(path) for path in found.files]
    if as_json:
        print_json({"ok": True, "files": files, "faults": []})
    else:
        click.echo(f"ok: {', '.join(files) or 'no file, defaults only'}")
    return 0


@config.command("show")
@FILE
@NAMED
@JSON
def show(file: Path | None, named: Path | None, *, as_json: bool) -> int:
    """Every value and where it comes from; secrets as ***."""
    shown = load(file or named).shown
    items = [{"key": s.key, "value": s.value, "origin": s.origin} for s in shown]
    if as_json:
        print_json({"items": items, "next": None})
    else:
        print_items(items)
    return 0


@config.command("reload")
@changing
def reload(ask: Ask) -> int:
    """Let the running daemon read its configuration again, and say what needs a restart."""
    return ask.show("config.reload")


@config.command("schema")
@click.option("--json", "as_json", is_flag=True, help="The same; it is JSON anyway.")
def print_schema(*, as_json: bool) -> int:
    """The JSON Schema of a configuration file."""
    if as_json:
        print_json(schema())
    else:
        click.echo(json.dumps(schema(), indent=2))
    return 0
