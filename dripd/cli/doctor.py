"""`dripd doctor`: what is wrong with an installation, and how it is mended."""

from __future__ import annotations

from pathlib import Path

import click

from dripd.admin.safe import safe
from dripd.cli.output import print_json
from dripd.config import load
from dripd.daemon.doctor import Check, diagnose, in_place
from dripd.errors import ConfigError


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML (/etc/dripd).")
@click.option("--dsn", help="The database; by default as configured, else the embedded.")
@click.option("--socket", help="The daemon's socket.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(file: Path | None, dsn: str | None, socket: str | None, *, as_json: bool) -> int:
    """Find what is wrong with an installation; exit 1 if anything is, 78 for its configuration."""
    try:
        checks, code = diagnose(in_place(load(file, dsn=dsn, socket=socket), socket)), 1
    except ConfigError as error:
        faults = [(fault.path, fault.message, fault.hint) for fault in error.faults]
        told = faults or [("", error.message, error.hint)]
        checks, code = [Check("config", False, f"{p} {m}".strip(), h) for p, m, h in told], 78
    well = all(check.ok for check in checks)
    if as_json:
        print_json({"ready": well, "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            click.echo(line(check))
    return 0 if well else code


def line(check: Check) -> str:
    """`ok` or `BAD`, the name, what was seen; on the next line what to do."""
    head = safe(f"{'ok ' if check.ok else 'BAD'}  {check.name:18} {check.detail}")
    return head if check.ok else f"{head}\n{'':23} {safe(check.hint)}"
