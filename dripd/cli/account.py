"""`dripd account`."""

from __future__ import annotations

import click

from dripd.admin.closed import AccountStatus, words
from dripd.cli.asking import Ask, changing, paged, reading
from dripd.cli.rows import pairs


@click.group()
def account() -> None:
    """Tenants: their plan, zone, window and rate."""


@account.command("set")
@click.argument("key")
@click.option("--name")
@click.option("--plan", help="professional, accelerator, enterprise, unlimited, ...")
@click.option("--timezone", help="IANA name.")
@click.option("--window", metavar="YAML", help="{days, from, to, holidays}, or off.")
@click.option("--rate", help='Such as "20/s" or "100/min burst 10".')
@click.option("--subscription", type=click.Choice(["on", "off"]))
@click.option("--postal-address")
@click.option("--writer", help="The database role that may write its rows.")
@click.option(
    "--price",
    multiple=True,
    metavar="CHANNEL=AMOUNT",
    help="Such as sms=0.01, per segment, or email=0, per message; repeatable.",
)
@changing
def set_account(
    ask: Ask, subscription: str | None, price: tuple[str, ...], **given: str | None
) -> int:
    """Make or change an account; what is not given stays."""
    active = None if subscription is None else subscription == "on"
    prices = pairs(price, path="--price")
    return ask.show("account.set", subscription=active, prices=prices, **given)


@account.command("deposit")
@click.argument("key")
@click.argument("amount")
@changing
def deposit(ask: Ask, key: str, amount: str) -> int:
    """Put money into an account; charges draw on it."""
    return ask.show("account.deposit", key=key, amount=amount)


@account.command("list")
@click.option("--status", type=click.Choice(words(AccountStatus)))
@click.option("--figures", is_flag=True, help="And their day, backlog and window.")
@paged
@reading
def list_accounts(ask: Ask, *, figures: bool, **given: object) -> int:
    """All accounts."""
    columns = ("key", "name", "plan", "timezone", "status", "rate")
    more = ("used", "cap", "backlog", "window", "opens_at") if figures else ()
    return ask.show("account.list", *columns, *more, figures=figures or None, **given)


@account.command("show")
@click.argument("key")
@reading
def show_account(ask: Ask, key: str) -> int:
    """One account, its cap today and what is held."""
    return ask.show("account.show", key=key)


@account.command("pause")
@click.argument("key")
@changing
def pause_account(ask: Ask, key: str) -> int:
    """Hold all that is due in an account."""
    return ask.show("account.pause", key=key)


@account.command("resume")
@click.argument("key")
@changing
def resume_account(ask: Ask, key: str) -> int:
    """Let an account go on."""
    return ask.show("account.resume", key=key)
