"""`dripd logs`: the daemon's own last lines, and from which level on it writes."""

from __future__ import annotations

from dataclasses import replace

import click

from dripd.admin.closed import LogLevel, words
from dripd.cli.asking import Ask, changing, reading
from dripd.cli.following import followed, show_tail
from dripd.cli.output import Row, cell

LEVELS = click.Choice(words(LogLevel))
FIRST = ("seq", "ts", "level", "event", "stage")


@click.group()
def logs() -> None:
    """The daemon's own log."""


@logs.command("tail")
@click.option("--level", type=LEVELS, help="Only from this level on.")
@click.option("--event", help="Only events that begin so, such as admin.")
@followed
@reading
def tail(ask: Ask, *, follow: bool, **given: object) -> int:
    """The last lines that the daemon kept in memory; with --follow --json, a line each."""
    return show_tail(ask, "logs.tail", readable, follow=follow, **given)


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
