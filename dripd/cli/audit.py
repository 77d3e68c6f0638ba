"""`dripd audit`."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, paged, reading


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
