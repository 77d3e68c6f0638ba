"""`dripd dead`."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def dead() -> None:
    """What failed for good."""


@dead.command("list")
@asking.account
@click.option("--campaign")
@paged
@reading
def list_dead(ask: Ask, **given: object) -> int:
    """Groups of failures that have one cause."""
    shown = (
        "group",
        "count",
        "account_key",
        "campaign_key",
        "step_key",
        "last_at",
        "code",
        "error",
        "retry",
    )
    return ask.show("dead.list", *shown, **given)


def picked(command: asking.Command) -> asking.Command:
    command = click.option("--enrollment", type=int, multiple=True, metavar="ENR")(command)
    return click.argument("groups", nargs=-1, metavar="[GROUP]...")(asking.account(command))


@dead.command("retry")
@picked
@click.option("--safe", is_flag=True, help="Only those that nobody can have received.")
@changing
def retry(ask: Ask, groups: tuple[str, ...], **given: object) -> int:
    """Try GROUPs, or single runs of them, again."""
    return ask.show("dead.retry", **named(groups), **given)


@dead.command("discard")
@picked
@changing
def discard(ask: Ask, groups: tuple[str, ...], **given: object) -> int:
    """Give GROUPs, or single runs of them, up."""
    return ask.show("dead.discard", **named(groups), **given)


def named(groups: tuple[str, ...]) -> dict[str, object]:
    """The groups as they are asked for: one alone also of a daemon that knows no others."""
    return {"group": groups[0]} if len(groups) == 1 else {"groups": groups}
