"""`dripd contact`: the people that campaigns reach."""

from __future__ import annotations

import click

from dripd.admin.closed import Channel, words
from dripd.admin.rows import read_rows
from dripd.cli import asking
from dripd.cli.asking import Ask, Command, changing, in_pieces, paged, reading
from dripd.cli.rows import fold, pairs, read_object, typed

COLUMNS = frozenset(
    {"external_id", "email", "phone", "timezone", "owner", "service_owner", "tags"}
)


@click.group()
def contact() -> None:
    """The people that campaigns reach."""


def columns(command: Command) -> Command:
    for name in ("email", "phone", "timezone", "owner", "service-owner"):
        command = click.option(f"--{name}")(command)
    return command


@contact.command("add")
@click.argument("external_id")
@asking.account
@columns
@click.option("--attr", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@click.option("--attrs", metavar="JSON", help="An object.")
@click.option("--tag", "tags", multiple=True)
@changing
def add(ask: Ask, attr: tuple[str, ...], attrs: str | None, **given: object) -> int:
    """Make a contact, or change the one with this external id."""
    found = read_object(attrs, path="--attrs") | typed(pairs(attr, path="--attr"))
    return ask.show("contact.add", attrs=found, **given)


@contact.command("import")
@click.argument("file")
@asking.account
@changing
def import_(ask: Ask, file: str, account: str | None) -> int:
    """Contacts from CSV, JSON or JSON lines; columns that are none of theirs become attrs."""
    rows = [shape(row) for row in read_rows(file)]
    return ask.answer(in_pieces(ask, "contact.import", "rows", rows, account=account))


def shape(row: dict[str, object]) -> dict[str, object]:
    found = fold(row, COLUMNS, "attrs")
    tags = found.get("tags")
    if isinstance(tags, str):
        found["tags"] = [tag.strip() for tag in tags.split(";") if tag.strip()]
    return found


@contact.command("list")
@asking.account
@click.option("--tag")
@click.option("--list", "list_")
@click.option("--where", metavar="EXPR", help="Such as attrs.tier == 'gold'.")
@paged
@reading
def list_contacts(ask: Ask, **given: object) -> int:
    """Contacts, by their id."""
    shown = ("account_key", "id", "external_id", "email", "phone", "timezone", "tags")
    return ask.show("contact.list", *shown, **given)


@contact.command("show")
@click.argument("contact")
@asking.account
@reading
def show(ask: Ask, **given: object) -> int:
    """One contact with its tags, lists and live runs."""
    return ask.show("contact.show", **given)


@contact.command("timeline")
@click.argument("contact")
@asking.account
@click.option("--enrollment", type=int)
@paged
@reading
def timeline(ask: Ask, **given: object) -> int:
    """What happened to a contact, oldest first."""
    shown = ("at", "kind", "campaign_key", "enrollment_id", "step_key", "detail")
    return ask.show("contact.timeline", *shown, **given)


@contact.command("explain")
@click.argument("contact")
@asking.account
@reading
def explain(ask: Ask, **given: object) -> int:
    """What each of a contact's runs waits for, and when it goes on."""
    return ask.explain("contact.explain", **given)


@contact.command("update")
@click.argument("contact")
@asking.account
@columns
@click.option("--op", "ops", multiple=True, metavar='"FIELD OP VALUE"', help="Repeatable.")
@changing
def update(ask: Ask, **given: object) -> int:
    """Change fields, all or nothing: --op "city set Oslo"."""
    return ask.show("contact.update", **given)


@contact.command("tag")
@click.argument("contact")
@click.argument("tags", nargs=-1, required=True)
@asking.account
@changing
def tag(ask: Ask, **given: object) -> int:
    """Give a contact tags."""
    return ask.show("contact.tag", **given)


@contact.command("untag")
@click.argument("contact")
@click.argument("tags", nargs=-1, required=True)
@asking.account
@changing
def untag(ask: Ask, **given: object) -> int:
    """Take tags from a contact."""
    return ask.show("contact.untag", **given)


@contact.command("send")
@click.argument("contact")
@asking.account
@click.option("--channel", type=click.Choice(words(Channel)))
@click.option("--sender")
@click.option("--subject")
@click.option("--text", required=True)
@click.option("--html")
@changing
def send(ask: Ask, **given: object) -> int:
    """Send one individual message."""
    return ask.show("contact.send", **given)


@contact.command("unmask")
@click.argument("contact")
@asking.account
@changing
def unmask(ask: Ask, **given: object) -> int:
    """Address, number and fields of one contact; the audit keeps who asked, and why."""
    return ask.show("contact.unmask", **given)


@contact.command("erase")
@click.argument("contact")
@asking.account
@changing
def erase(ask: Ask, **given: object) -> int:
    """Forget a contact for good; what was done stays without its data."""
    return ask.show("contact.erase", **given)
