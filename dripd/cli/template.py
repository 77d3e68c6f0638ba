"""`dripd campaign template`: words that the campaigns of an account share."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def template() -> None:
    """Words that campaigns share."""


@template.command("set")
@click.argument("key")
@asking.account
@click.option("--subject")
@click.option("--text")
@click.option("--html")
@changing
def set_template(ask: Ask, **given: object) -> int:
    """Make or change a template; what is not given stays."""
    return ask.show("campaign.template_set", **given)


@template.command("list")
@asking.account
@paged
@reading
def list_templates(ask: Ask, **given: object) -> int:
    """The templates of an account, or of all."""
    return ask.show(
        "campaign.template_list", "account_key", "key", "subject", "updated_at", **given
    )


@template.command("show")
@click.argument("key")
@asking.account
@reading
def show_template(ask: Ask, **given: object) -> int:
    """A template, whole."""
    return ask.show("campaign.template_show", **given)


@template.command("remove")
@click.argument("key")
@asking.account
@click.option(
    "--force",
    is_flag=True,
    help="Although campaigns use it: what is published keeps its words.",
)
@changing
def remove_template(ask: Ask, **given: object) -> int:
    """Take a template away; refused while a campaign uses it."""
    return ask.show("campaign.template_remove", **given)
