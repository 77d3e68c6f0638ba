"""`dripd status ready whoami version pause resume adopt`: the deployment as a whole."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, changing, reading
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
