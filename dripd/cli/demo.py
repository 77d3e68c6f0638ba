"""`dripd demo`: the product, telling its own story."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Final

import click
import trio

from dripd.admin.place import socket_path
from dripd.config import load
from dripd.daemon.demo import play
from dripd.errors import DripdError
from dripd.log import configure
from dripd.store import embedded

HOUR_S: Final = 0.5
"""Real time that an hour of the story takes under the console: a day in twelve seconds."""

PATIENCE_S: Final = 60
ENDING_S: Final = 30


@click.command()
@click.option(
    "--console/--no-console", default=None, help="Show the console; in a terminal it does."
)
@click.option("--behind", type=click.Path(path_type=Path), hidden=True)
def demo(console: bool | None, behind: Path | None) -> int:
    """An embedded Postgres, sample accounts and campaigns, replies, and time running fast.

    In a terminal the console shows it, day after day, until it is left; elsewhere twelve days
    are told and it ends.
    """
    if behind is not None:
        Thread(target=_end_with_front, daemon=True).start()
        try:
            return _tell(behind, endless=True)
        finally:
            shutil.rmtree(behind, ignore_errors=True)  # whoever made it may be gone
    with tempfile.TemporaryDirectory(prefix="dripd-demo-") as folder:
        shown = sys.stdin.isatty() and sys.stdout.isatty() if console is None else console
        return _show(Path(folder)) if shown else _tell(Path(folder), endless=False)


def _tell(state: Path, *, endless: bool) -> int:
    """Play the story in *state*, which is then empty again."""
    configure(level="error" if endless else "warning")
    os.environ["DRIPD_STATE"] = str(state)
    os.environ.pop("DRIPD_SOCKET", None)
    config = load(None)
    rest_s = HOUR_S if endless else None
    try:
        trio.run(partial(play, config, partial(click.echo, color=False), rest_s=rest_s))
    except* KeyboardInterrupt:
        click.echo("stopped")
    finally:
        embedded.destroy(state)
    return 0


def _end_with_front() -> None:
    """End in order once nobody can see the story any more, however the console came to its end."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)


def _show(state: Path) -> int:
    """The story in a process of its own, the console in this one. It ends with its input."""
    from dripd.tui import start  # noqa: PLC0415 - an extra, and not for other commands

    told = state / "story"
    command = [sys.executable, "-m", "dripd.cli.main", "demo", "--behind", str(state)]
    with told.open("wb") as out:
        story = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
    try:
        os.environ["DRIPD_STATE"] = str(state)
        os.environ.pop("DRIPD_SOCKET", None)
        _wait_for(story, told)
        return start.run(start.Wishes(socket=socket_path()), os.environ)
    finally:
        with suppress(OSError):  # the terminal may be gone
            click.echo("stopping the daemon and its Postgres ...")
        try:
            story.communicate(timeout=ENDING_S)
        except subprocess.TimeoutExpired:
            story.kill()


def _wait_for(story: subprocess.Popen[bytes], told: Path) -> None:
    """Repeat what the story tells until its first day begins. Raises `DripdError`."""
    until = time.monotonic() + PATIENCE_S
    said = ""
    click.echo("starting an embedded Postgres and a daemon ...")
    while "campaigns welcome and reminder" not in said:
        fresh = told.read_text(encoding="utf-8", errors="replace")
        click.echo(fresh[len(said) :], nl=False)
        said = fresh
        if story.poll() is not None or time.monotonic() > until:
            raise DripdError("the demo did not start", hint="dripd demo --no-console says why")
        time.sleep(0.1)
