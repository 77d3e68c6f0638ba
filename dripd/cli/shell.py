"""`dripd call`, `dripd completion`."""

from __future__ import annotations

from dataclasses import replace

import click
from click.shell_completion import get_completion_class

from dripd.admin.catalogue import SPECS
from dripd.cli.asking import Ask, changing
from dripd.cli.output import print_json
from dripd.cli.rows import read_object


@click.command()
@click.argument("method")
@click.argument("params", default="{}", metavar="JSON")
@changing
def call(ask: Ask, method: str, params: str) -> int:
    """One raw call of the admin protocol; prints its result as JSON."""
    spec = SPECS.get(method)
    asking = replace(ask, changing=spec is not None and spec.mutating)
    print_json(asking.call(method, **read_object(params, path="JSON")))
    return 0


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print what SHELL must read: eval "$(dripd completion bash)".

    Names of accounts, campaigns, lists, senders and daemons are asked of the daemon.
    """
    kind = get_completion_class(shell)
    root = context.find_root().command
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(root, {}, "dripd", "_DRIPD_COMPLETE").source())
    return 0
