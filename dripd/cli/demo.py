"""`dripd demo`: the product, telling its own story."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
import trio

from dripd.config import load
from dripd.daemon.demo import play
from dripd.log import configure
from dripd.store import embedded


@click.command()
def demo() -> None:
    """An embedded Postgres, sample accounts and campaigns, replies, and time running fast.

    In a terminal it goes on day by day until Ctrl-C; without one it runs to completion.
    """
    configure(level="warning")
    with tempfile.TemporaryDirectory(prefix="dripd-demo-") as folder:
        state = Path(folder)
        os.environ["DRIPD_STATE"] = folder
        os.environ.pop("DRIPD_SOCKET", None)
        config = load(None)
        endless = sys.stdout.isatty()
        try:
            trio.run(partial(play, config, click.echo, endless=endless))
        except* KeyboardInterrupt:
            click.echo("stopped")
        finally:
            embedded.destroy(state)
