"""`dripd alert`."""

from __future__ import annotations

import click

from dripd.cli.asking import Ask, changing, reading


@click.group()
def alert() -> None:
    """What somebody should look at."""


@alert.command("list")
@reading
def list_alerts(ask: Ask) -> int:
    """As the console's overview: the worst first, what is snoozed last."""
    shown = ("level", "what", "where", "detail", "snoozed_until", "snoozed_by")
    return ask.show("alert.list", *shown)


@alert.command("snooze")
@click.argument("what")
@click.argument("where", default="")
@click.option(
    "--for", "lasts", default="1h", show_default=True, metavar="DURATION", help="How long."
)
@click.option("--until", metavar="T", help="Instead: an instant.")
@changing
def snooze(ask: Ask, **given: object) -> int:
    """Let an alert rest, for everybody; it wakes before if it grows worse."""
    return ask.show("alert.snooze", **given)


@alert.command("wake")
@click.argument("what")
@click.argument("where", default="")
@changing
def wake(ask: Ask, **given: object) -> int:
    """Let a snoozed alert be seen again."""
    return ask.show("alert.wake", **given)
