"""`dripd connector`: the outside servers that `sync` and `social_follow` steps call."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def connector() -> None:
    """Outside servers that steps call."""


@connector.command("set")
@click.argument("name")
@asking.account
@click.option("--url", help="Where it is called by POST; https, and public.")
@click.option(
    "--secret", metavar="REF", help="Signs the calls: file:PATH, env:NAME, cred:NAME."
)
@changing
def set_connector(ask: Ask, **given: object) -> int:
    """Make or change a connector; what is not given stays."""
    return ask.show("connector.set", **given)


@connector.command("list")
@asking.account
@paged
@reading
def list_connectors(ask: Ask, **given: object) -> int:
    """The connectors of an account, or of all."""
    return ask.show("connector.list", "account_key", "key", "url", **given)


@connector.command("remove")
@click.argument("name")
@asking.account
@click.option("--force", is_flag=True, help="Although campaigns use it: their steps are held.")
@changing
def remove_connector(ask: Ask, **given: object) -> int:
    """Take a connector away; refused while a campaign uses it."""
    return ask.show("connector.remove", **given)
