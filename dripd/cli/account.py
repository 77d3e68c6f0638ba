"""`dripd account`, `dripd sender`, `dripd operator`."""

from __future__ import annotations

import click

from dripd.admin.closed import AccountStatus, Channel, OperatorRole, words
from dripd.cli import asking
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
@paged
@reading
def list_accounts(ask: Ask, **given: object) -> int:
    """All accounts."""
    columns = ("key", "name", "plan", "timezone", "status", "rate")
    return ask.show("account.list", *columns, **given)


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


@click.group()
def sender() -> None:
    """Addresses and numbers to send from."""


@sender.command("set")
@click.argument("address")
@asking.account
@click.option("--channel", type=click.Choice(words(Channel)))
@click.option("--provider", help="A [provider.NAME] of the configuration.")
@click.option("--owner")
@click.option("--shared", help="account, or names with commas between.")
@click.option("--rate")
@click.option("--daily-limit", type=click.IntRange(0), help="0 takes the limit away.")
@click.option("--warmup", help="20 +10/d: 20 today, 10 more each day, up to the daily limit.")
@click.option("--weight", type=click.IntRange(1, 1000), help="Its share of a pool: 1.")
@click.option("--gap", help="60s-120s: the rest between two messages; off takes it away.")
@changing
def set_sender(ask: Ask, **given: object) -> int:
    """Make or change a sender; what is not given stays."""
    return ask.show("sender.set", **given)


@sender.command("limit")
@click.argument("address")
@click.argument("daily_limit", metavar="N", type=click.IntRange(0))
@asking.account
@changing
def limit_sender(ask: Ask, **given: object) -> int:
    """Let at most N messages a local day leave from an address; 0 takes the limit away."""
    return ask.show("sender.limit", **given)


@sender.command("test")
@click.argument("address")
@click.option("--to", required=True, help="Where the test message goes: yours.")
@asking.account
@changing
def try_sender(ask: Ask, **given: object) -> int:
    """Send one test message, and say what the provider answered."""
    result = ask.call("sender.test", **given)
    ask.answer(result)
    return 0 if result.get("state", "accepted") == "accepted" else asking.FAILED


@sender.command("probe")
@click.argument("address")
@asking.account
@changing
def probe_sender(ask: Ask, **given: object) -> int:
    """Have a provider that fails tried now; where a message passes, all that waits for it goes."""
    return ask.show("sender.probe", **given)


@sender.command("list")
@asking.account
@click.option("--channel", type=click.Choice(words(Channel)))
@paged
@reading
def list_senders(ask: Ask, **given: object) -> int:
    """The senders of an account, or of all."""
    columns = ("account_key", "address", "channel", "provider", "owner", "rate", "status")
    return ask.show("sender.list", *columns, **given)


@sender.command("show")
@click.argument("address")
@asking.account
@reading
def show_sender(ask: Ask, **given: object) -> int:
    """One sender."""
    return ask.show("sender.show", **given)


@sender.command("pause")
@click.argument("address")
@asking.account
@changing
def pause_sender(ask: Ask, **given: object) -> int:
    """Send nothing more from an address."""
    return ask.show("sender.pause", **given)


@sender.command("resume")
@click.argument("address")
@asking.account
@changing
def resume_sender(ask: Ask, **given: object) -> int:
    """Send from an address again."""
    return ask.show("sender.resume", **given)


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
