"""`dripd node`."""

from __future__ import annotations

import click

from dripd.admin.safe import safe
from dripd.cli.asking import Ask, changing, reading
from dripd.cli.output import print_items, rows_of


@click.group()
def node() -> None:
    """The daemons on this database."""


@node.command("list")
@reading
def list_nodes(ask: Ask) -> int:
    """The daemons, with their accounts and open claims, and what befell these lately."""
    shown = (
        "node",
        "incarnation",
        "version",
        "state",
        "drain",
        "accounts",
        "claims",
        "silent_s",
        "skew_ms",
    )
    found = ask.call("node.list")
    code = ask.answer(found, shown)
    if not ask.as_json and (leases := rows_of(found.get("leases"))):
        click.echo()
        print_items(leases, ("at", "node", "what", "said"))
    return code


@node.command("drain")
@click.argument("node", metavar="NAME")
@changing
def drain(ask: Ask, node: str) -> int:
    """Let a daemon lease nothing more; the others serve its accounts meanwhile."""
    return ask.show("node.drain", node=node)


@node.command("undrain")
@click.argument("node", metavar="NAME")
@changing
def undrain(ask: Ask, node: str) -> int:
    """Put a daemon back to work."""
    return ask.show("node.undrain", node=node)


@node.command("trace")
@reading
def trace(ask: Ask) -> int:
    """What the tasks of the daemon that answers are doing."""
    found = ask.call("node.trace")
    if ask.as_json:
        return ask.answer(found)
    for task in rows_of(found.pop("tasks", [])):
        click.echo(
            f"{'  ' * int(str(task['depth']))}{safe(str(task['name']))}  {safe(str(task['at']))}"
        )
    return ask.answer(found)
