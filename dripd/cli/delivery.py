"""`dripd delivery`, `dripd dead`."""

from __future__ import annotations

import click

from dripd.admin.closed import Channel, DeliveryState, Evidence, words
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def delivery() -> None:
    """Messages and what became of them."""


@delivery.command("list")
@asking.account
@click.option("--state", type=click.Choice(words(DeliveryState)))
@click.option("--channel", type=click.Choice(words(Channel)))
@click.option("--campaign")
@click.option("--contact")
@click.option("--enrollment", type=int)
@paged
@reading
def list_deliveries(ask: Ask, **given: object) -> int:
    """Deliveries, newest first."""
    shown = (
        "id",
        "step_key",
        "to_address",
        "state",
        "attempt",
        "provider",
        "reason",
        "sent_at",
    )
    return ask.show("delivery.list", *shown, **given)


@delivery.command("show")
@click.argument("delivery_id", metavar="ID")
@reading
def show(ask: Ask, delivery_id: str) -> int:
    """One delivery."""
    return ask.show("delivery.show", id=delivery_id)


@delivery.command("resolve")
@click.argument("delivery_id", metavar="ID")
@click.argument("state", type=click.Choice(words(Evidence)))
@changing
def resolve(ask: Ask, delivery_id: str, state: str) -> int:
    """Say what became of a message of unknown outcome; a failed one gives cap and money back."""
    return ask.show("delivery.resolve", id=delivery_id, state=state)


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
    return click.argument("group", required=False)(asking.account(command))


@dead.command("retry")
@picked
@click.option("--safe", is_flag=True, help="Only those that nobody can have received.")
@changing
def retry(ask: Ask, **given: object) -> int:
    """Try a GROUP, or single runs of it, again."""
    return ask.show("dead.retry", **given)


@dead.command("discard")
@picked
@changing
def discard(ask: Ask, **given: object) -> int:
    """Give a GROUP, or single runs of it, up."""
    return ask.show("dead.discard", **given)
