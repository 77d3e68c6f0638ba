"""`dripd sender`."""

from __future__ import annotations

import click

from dripd.admin.closed import Channel, words
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


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
@click.option("--rate", help="Such as 20/s or 100/min burst 10.")
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
    columns = (
        "account_key", "address", "channel", "provider", "owner", "rate", "status", "sent_per_s",
        "limit_per_s", "tried_1h", "failed_1h", "p95_ms",
    )  # fmt: skip
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
