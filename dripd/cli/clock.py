"""`dripd clock`: the manual clock."""

from __future__ import annotations

import click

from dripd.cli.asking import Ask, changing, reading


@click.group()
def clock() -> None:
    """The manual clock."""


@clock.command("show")
@reading
def show(ask: Ask) -> int:
    """The deployment's instant, and whether it moves by itself."""
    return ask.show("clock.show")


@clock.command("set")
@click.argument("to", metavar="INSTANT")
@changing
def set_(ask: Ask, to: str) -> int:
    """Go forward to INSTANT, settling all that comes due on the way."""
    return ask.patient().show("clock.set", to=to)


@clock.command("advance")
@click.argument("by", metavar="DURATION")
@changing
def advance(ask: Ask, by: str) -> int:
    """Go forward by DURATION, such as 3d."""
    return ask.patient().show("clock.advance", by=by)
