"""`dripd event`."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, changing, reading
from dripd.cli.following import followed, show_tail
from dripd.cli.output import Row, cell
from dripd.cli.rows import read_object


@click.group()
def event() -> None:
    """Something that a contact did."""


@event.command("add")
@click.argument("kind")
@asking.account
@click.option("--contact")
@click.option("--delivery", metavar="ID")
@click.option("--conversation-ref")
@click.option("--address")
@click.option("--payload", metavar="JSON", help='Such as {"type": "hard"} of a bounce.')
@click.option("--at", metavar="T", help="When it happened (now).")
@click.option("--dedup-key", help="A second one with it has no effect.")
@changing
def add_event(ask: Ask, payload: str | None, **given: object) -> int:
    """Tell dripd of a reply, bounce, unsubscribe, click ..."""
    found = read_object(payload, path="--payload")
    return ask.show("event.add", payload=found, **given)


@event.command("tail")
@asking.account
@click.option("--kind", help="Only events of this kind.")
@followed
@reading
def tail_events(ask: Ask, *, follow: bool, **given: object) -> int:
    """The events that the daemon which answers has digested lately."""
    return show_tail(ask, "event.tail", readable, follow=follow, **given)


def readable(row: Row) -> str:
    """When, what, whose; then its keys."""
    first = ("at", "kind", "account")
    rest = " ".join(f"{k}={cell(v)}" for k, v in row.items() if k not in first and v)
    return f"{' '.join(cell(row.get(name)) for name in first)} {rest}".rstrip()
