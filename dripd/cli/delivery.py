"""`dripd delivery`."""

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
