"""`dripd status ready whoami version pause resume node audit`: the deployment as a whole."""

from __future__ import annotations

import click

from dripd.admin.safe import safe
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading
from dripd.cli.output import rows_of
from dripd.errors import DripdError


@click.command()
@click.option("--overview", is_flag=True, help="As the console's first screen: holds, alerts.")
@reading
def status(ask: Ask, overview: bool) -> int:
    """How the deployment is."""
    if overview:
        return ask.show("daemon.overview")
    return ask.show("daemon.status")


@click.command()
@reading
def ready(ask: Ask) -> int:
    """Exit 0 if the daemon is ready for work, 1 if not, 5 if none answers."""
    result = ask.call("daemon.ready")
    ask.answer(result)
    return 0 if result.get("ready") else 1


@click.command()
@asking.account
@reading
def whoami(ask: Ask, account: str | None) -> int:
    """Who you are to the daemon, and why."""
    return ask.show("daemon.whoami", account=account)


@click.command()
@reading
def version(ask: Ask) -> int:
    """The versions of this command and of the daemon, where one answers."""
    try:
        daemon: dict[str, object] | None = ask.call("daemon.version")
    except DripdError:
        daemon = None
    return ask.answer({"version": own_version(), "daemon": daemon})


def own_version() -> str:
    """The version of the installed package, or `0+unknown` where it is not installed."""
    from importlib import metadata  # noqa: PLC0415 - 20 ms that only `version` needs

    try:
        return metadata.version("dripd")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@click.command()
@click.option("--all", is_flag=True, expose_value=False, help="It means all, said or not.")
@changing
def pause(ask: Ask) -> int:
    """Hold every account."""
    return ask.show("daemon.pause", all=True)


@click.command()
@click.option("--all", is_flag=True, expose_value=False, help="It means all, said or not.")
@changing
def resume(ask: Ask) -> int:
    """Let every account go on."""
    return ask.show("daemon.resume", all=True)


@click.command()
@changing
def adopt(ask: Ask) -> int:
    """Let a restored copy of a database send again."""
    return ask.show("daemon.adopt")


@click.group()
def node() -> None:
    """The daemons on this database."""


@node.command("list")
@reading
def list_nodes(ask: Ask) -> int:
    """Live and dead daemons, with their accounts and open claims."""
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
    return ask.show("node.list", *shown)


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


@click.group()
def audit() -> None:
    """Who did what."""


@audit.command("list")
@click.option("--who")
@click.option("--method", "method_")
@click.option("--target")
@click.option("--since", metavar="T", help="An instant, or a duration back from now.")
@paged
@reading
def list_audit(ask: Ask, method_: str | None, **given: object) -> int:
    """Mutating calls, newest first."""
    shown = ("at", "user", "role", "method", "target", "reason", "result")
    return ask.show("audit.list", *shown, **{**given, "method_": method_})


@audit.command("verify")
@asking.account
@reading
def verify_audit(ask: Ask, account: str | None) -> int:
    """Hold the whole history against the promises: nothing twice, lost, out of order, unasked for, unexplained, over a cap."""
    result = ask.patient().call("audit.verify", account=account)
    ask.answer(result)
    return 0 if result.get("ok") else asking.FAILED
