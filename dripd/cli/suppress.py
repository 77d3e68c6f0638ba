"""`dripd suppress`."""

from __future__ import annotations

import csv
import sys
from itertools import chain

import click

from dripd.admin.closed import Channel, words
from dripd.admin.rows import read_rows
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, in_pieces, pages, reading
from dripd.cli.output import Row, print_json, rows_of

COLUMNS = ("address", "channel", "reason", "expires_at", "scope")
CHANNEL = click.Choice(words(Channel))


@click.group()
def suppress() -> None:
    """Addresses never to be reached."""


@suppress.command("add")
@click.argument("addresses", nargs=-1, required=True)
@click.option("--account", metavar="KEY", help="Only there; by default everywhere.")
@click.option("--channel", type=CHANNEL, help="By default as the address looks.")
@click.option(
    "--expires-at", metavar="T", help="Then it may be reached again; for ever without."
)
@changing
def add(ask: Ask, addresses: tuple[str, ...], **given: object) -> int:
    """Never reach these addresses again; --reason says why."""
    return ask.answer(in_pieces(ask, "suppress.add", "addresses", addresses, **given))


@suppress.command("remove")
@click.argument("addresses", nargs=-1, required=True)
@click.option("--account", metavar="KEY", help="Only there; by default everywhere.")
@click.option("--channel", type=CHANNEL)
@changing
def remove(ask: Ask, addresses: tuple[str, ...], **given: object) -> int:
    """Allow these addresses again."""
    return ask.answer(in_pieces(ask, "suppress.remove", "addresses", addresses, **given))


@suppress.command("check")
@click.argument("address")
@asking.account
@reading
def check(ask: Ask, **given: object) -> int:
    """Whether an address is suppressed, and where."""
    return ask.show("suppress.check", **given)


@suppress.command("import")
@click.argument("file")
@click.option("--account", metavar="KEY", help="Only there; by default everywhere.")
@changing
def import_(ask: Ask, file: str, account: str | None) -> int:
    """Rows of address, channel, reason, expires_at, scope from CSV, JSON or JSON lines.

    The scope is an account's key, or `everywhere`: what `suppress export` writes can be read.
    """
    rows = read_rows(file)
    return ask.answer(in_pieces(ask, "suppress.import", "rows", rows, account=account))


@suppress.command("export")
@asking.account
@reading
def export(ask: Ask, account: str | None) -> int:
    """Every suppression, as CSV that `suppress import` reads."""
    answers = pages(ask, "suppress.export", account=account)
    first = next(answers)  # a refusal leaves no file that looks like an empty list
    found = (item for page in chain([first], answers) for item in rows_of(page.get("items")))
    if ask.as_json:
        print_json({"items": list(found), "next": None})
        return 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(line(item) for item in found)
    return 0


def line(item: Row) -> list[object]:
    return [item.get(name) if item.get(name) is not None else "" for name in COLUMNS]
