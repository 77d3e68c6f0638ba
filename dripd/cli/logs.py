"""`dripd logs`: the daemon's own last lines, and from which level on it writes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import click

from dripd.cli.asking import Ask, changing, reading
from dripd.cli.output import Row, cell, print_json, rows_of

LEVELS = click.Choice(["debug", "info", "warning", "error", "critical"])
FIRST = ("seq", "ts", "level", "event", "stage")
FOLLOW_S = 0.5


@click.group()
def logs() -> None:
    """The daemon's own log."""


@logs.command("tail")
@click.option("--level", type=LEVELS, help="Only from this level on.")
@click.option("--event", help="Only events that begin so, such as admin.")
@click.option("--limit", type=click.IntRange(1, 1000), help="Most lines (100).")
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="Only later lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@reading
def tail(ask: Ask, *, follow: bool, **given: object) -> int:
    """The last lines that the daemon kept in memory; with --follow --json, a line each."""
    if follow:
        for page in pages(ask, **given):
            for line in rows_of(page.get("items")):
                click.echo(json.dumps(line) if ask.as_json else readable(line))
    found = ask.call("logs.tail", **given)
    if ask.as_json:
        print_json(found)
    else:
        for line in rows_of(found.get("items")):
            click.echo(readable(line))
    return 0


def pages(ask: Ask, **given: object) -> Iterator[Row]:
    """Answers for ever; what was lost between two of them is said on stderr."""
    with ask.connect() as client:
        while True:
            page = ask.use(client, "logs.tail", **given)
            if page.get("lost"):
                click.echo(f"{page['lost']} lines are lost", err=True)
            yield page
            given["after"] = int(str(page["next"]))
            if not page.get("items"):
                time.sleep(FOLLOW_S)


def readable(line: Row) -> str:
    """When, how grave, what; then its keys."""
    rest = " ".join(f"{key}={cell(value)}" for key, value in line.items() if key not in FIRST)
    head = f"{cell(line.get('ts'))} {cell(line.get('level')):8} {cell(line.get('event'))}"
    return f"{head} {rest}".rstrip()


@logs.command("level")
@click.argument("level", required=False, type=LEVELS)
@changing
def level(ask: Ask, level: str | None) -> int:
    """Write from LEVEL on, until told otherwise or restarted; without it, say which it is."""
    asking = ask if level else replace(ask, changing=False)
    return asking.show("logs.level", level=level)
