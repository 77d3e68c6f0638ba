"""`dripd operator`."""

from __future__ import annotations

import click

from dripd.admin.closed import OperatorRole, words
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def operator() -> None:
    """Who may act in an account."""


@operator.command("set")
@click.argument("name")
@asking.account
@click.option("--role", type=click.Choice(words(OperatorRole)))
@click.option("--board", "boards", multiple=True, help="A list of kind board; repeatable.")
@changing
def set_operator(ask: Ask, **given: object) -> int:
    """Make or change an operator."""
    return ask.show("operator.set", **given)


@operator.command("list")
@asking.account
@paged
@reading
def list_operators(ask: Ask, **given: object) -> int:
    """The operators of an account, or of all."""
    return ask.show("operator.list", **given)


@operator.command("remove")
@click.argument("name")
@asking.account
@changing
def remove_operator(ask: Ask, **given: object) -> int:
    """Take an operator out of an account."""
    return ask.show("operator.remove", **given)
