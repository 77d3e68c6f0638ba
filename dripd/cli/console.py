"""`dripd console`: the operator's console, over the socket and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dripd.admin.place import socket_path
from dripd.errors import BadRequest


@click.command()
@click.option(
    "--screen", default="overview", metavar="NAME", help="The first screen (overview)."
)
@click.option(
    "--filter", "filter_", default="", metavar="Q", help="Its filter, such as hold=cap."
)
@click.option("--read-only", is_flag=True, help="Nothing can be changed from this console.")
@click.option(
    "--plain", is_flag=True, help="One line a change, no screen: for screen readers and pipes."
)
@click.option("--low-bandwidth", is_flag=True, help="Ask and draw seldom, no trends.")
@click.option("--record", type=click.Path(path_type=Path), help="Write what is seen to a file.")
@click.option(
    "--replay", type=click.Path(path_type=Path, exists=True), help="Show a recording."
)
@click.option("--socket", help="The daemon's socket.")
def console(
    screen: str,
    filter_: str,
    read_only: bool,
    plain: bool,
    low_bandwidth: bool,
    record: Path | None,
    replay: Path | None,
    socket: str | None,
) -> int:
    """Supervise the deployment from a terminal.

    It needs the socket and no secrets. Nothing changes before ctrl+w; ? explains every key and
    every figure.
    """
    try:
        from dripd.tui import start  # noqa: PLC0415 - an extra, and not for other commands
    except ImportError as error:
        raise BadRequest(
            f"the console is not installed: {error}", hint="pip install 'dripd[console]'"
        ) from error
    if record is not None and replay is not None:
        raise BadRequest("a recording cannot be recorded", hint="--record or --replay")
    inherited = click.get_current_context().find_root().params.get("socket")
    return start.run(
        start.Wishes(
            socket=socket_path(socket or inherited),
            screen=screen,
            filter=filter_,
            read_only=read_only,
            plain=plain,
            low_bandwidth=low_bandwidth,
            record=record,
            replay=replay,
        ),
        os.environ,
    )
