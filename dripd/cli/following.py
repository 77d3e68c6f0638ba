"""How does a command follow what a daemon keeps in memory? Page after page, until interrupted."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from typing import Final

import click

from dripd.cli.asking import Ask, Command
from dripd.cli.output import Row, print_json, rows_of

FOLLOW_S: Final = 0.5
OUT: Final = 1


def followed(command: Command) -> Command:
    """`--limit`, `--after` and `--follow`."""
    for option in (
        click.option("--limit", type=click.IntRange(1, 1000), help="Most lines (100)."),
        click.option("--after", type=click.IntRange(0), metavar="SEQ", help="Only later ones."),
        click.option("--follow", "-f", is_flag=True, help="Go on until interrupted."),
    ):
        command = option(command)
    return command


def show_tail(
    ask: Ask, method: str, readable: Callable[[Row], str], *, follow: bool, **given: object
) -> int:
    """Print what *method* has; following with `--json`, an object a line."""
    if follow:
        for page in pages(ask, method, **given):
            for row in rows_of(page.get("items")):
                click.echo(json.dumps(row) if ask.as_json else readable(row))
        return 0
    found = ask.call(method, **given)
    if ask.as_json:
        print_json(found)
    else:
        for row in rows_of(found.get("items")):
            click.echo(readable(row))
    return 0


def pages(ask: Ask, method: str, **given: object) -> Iterator[Row]:
    """Answers, until nobody reads them; what was lost between two of them is said on stderr."""
    with ask.connect() as client:
        while True:
            page = ask.use(client, method, **given)
            if page.get("lost"):
                click.echo(f"{page['lost']} are lost", err=True)
            yield page
            given["after"] = int(str(page["next"]))
            if not page.get("items"):
                time.sleep(FOLLOW_S)
                if not is_read():
                    return


def is_read() -> bool:
    """Whether somebody is still there at the other end of stdout."""
    end = select.poll()
    end.register(OUT, 0)  # POLLHUP and POLLERR are told unasked
    return not end.poll(0)
