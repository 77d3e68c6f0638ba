"""`dripd list`: named sets of contacts."""

from __future__ import annotations

import click

from dripd.admin.closed import ListKind, words
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, in_pieces, paged, reading

RUNS = ("live", "completed", "removed", "terminated")


@click.group("list")
def lists() -> None:
    """Named sets of contacts."""


@lists.command("set")
@click.argument("key")
@asking.account
@click.option("--kind", type=click.Choice(words(ListKind)))
@click.option("--dynamic", is_flag=True, help="Its members come and go by rules elsewhere.")
@changing
def set_list(ask: Ask, **given: object) -> int:
    """Make or change a list."""
    return ask.show("list.set", **given)


@lists.command("list")
@asking.account
@click.option("--kind", type=click.Choice(words(ListKind)))
@paged
@reading
def list_lists(ask: Ask, **given: object) -> int:
    """The lists of an account, or of all."""
    return ask.show("list.list", "account_key", "key", "kind", "is_static", "members", **given)


@lists.command("show")
@click.argument("key")
@asking.account
@paged
@reading
def show_list(ask: Ask, **given: object) -> int:
    """A list and its members, and how the runs of the first thousand stand."""
    found = ask.call("list.show", **given)
    runs = found.get("runs")
    if isinstance(runs, dict) and not ask.as_json:
        told = ", ".join(f"{runs[word]} {word}" for word in RUNS)
        more = "+" if runs["more"] else ""
        click.echo(f"runs of {runs['members']}{more} members: {told}", err=True)
    return ask.answer(found, ("contact_id", "external_id", "added_at"))


@lists.command("add")
@click.argument("key")
@click.argument("contacts", nargs=-1, required=True)
@asking.account
@changing
def add_members(ask: Ask, contacts: tuple[str, ...], **given: object) -> int:
    """Put contacts on a list."""
    return ask.answer(in_pieces(ask, "list.add", "contacts", contacts, **given))


@lists.command("remove")
@click.argument("key")
@click.argument("contacts", nargs=-1, required=True)
@asking.account
@changing
def remove_members(ask: Ask, contacts: tuple[str, ...], **given: object) -> int:
    """Take contacts off a list."""
    return ask.answer(in_pieces(ask, "list.remove", "contacts", contacts, **given))


@lists.group()
def trigger() -> None:
    """Which campaigns a list starts."""


@trigger.command("add")
@click.argument("list_", metavar="LIST")
@click.argument("campaign")
@asking.account
@click.option("--on", type=click.Choice(["list_added", "list_removed"]))
@changing
def add_trigger(ask: Ask, **given: object) -> int:
    """Enroll in CAMPAIGN whoever comes onto LIST."""
    return ask.show("list.trigger_add", **given)


@trigger.command("remove")
@click.argument("list_", metavar="LIST")
@click.argument("campaign")
@asking.account
@click.option("--on", type=click.Choice(["list_added", "list_removed"]))
@changing
def remove_trigger(ask: Ask, **given: object) -> int:
    """Enroll nobody in CAMPAIGN by LIST any more."""
    return ask.show("list.trigger_remove", **given)
