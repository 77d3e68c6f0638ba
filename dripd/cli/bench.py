"""`dripd bench`: what is said to be fast, shown on this machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from dripd.admin.place import state_dir
from dripd.admin.rows import read_text
from dripd.built import IS_COMPILED
from dripd.cli.output import print_items, print_json
from dripd.config import load
from dripd.errors import BadRequest, NotFound
from dripd.log import configure
from dripd.store import embedded, migrate

ON_POSTGRES = (
    "engine",
    "http",
    "batch",
    "smtp",
    "lateness",
    "immediate",
    "admit",
    "backlog",
    "replies",
    "console",
    "fair",
    "long",
    "clock",
)
ALONE = ("wheel", "bucket", "transport")
DIVIDED = ("http", "batch", "smtp")
"""Those that `--processes` divides."""

LATENESS = ("lateness", "immediate", "backlog")

FIGURES = (
    "n",
    "seconds",
    "per_s",
    "cpu_us_daemon",
    "cpu_us_postgres",
    "other_cpu",
    "p50_ms",
    "p99_ms",
    "rss_mb",
    "floor_per_s",
)
"""What every benchmark answers, null where it does not apply; some have more to say."""

ROOT = Path(__file__).resolve().parents[2]

KEPT = ROOT / "build/bench"
"""Where `make bench` keeps the answers."""


@click.group()
def bench() -> None:
    """Benchmarks."""
    # SIGTERM as ctrl+c, also where a shell ignores that: daemons, consoles and Postgres end too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@bench.command("run")
@click.argument("name")
@click.option("--n", type=int, help="How many; the benchmark's own number otherwise.")
@click.option("--runs", type=int, default=1, show_default=True, help="The best one counts.")
@click.option("--profile", is_flag=True, help="Say where the daemon's CPU went, by stage.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="By `dripd run` with so many (http, batch, smtp); in one process otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def run(
    name: str, n: int | None, runs: int, profile: bool, processes: int | None, as_json: bool
) -> None:
    """Run the benchmark NAME: engine, http, batch, smtp, lateness, immediate, admit, backlog, replies, console, fair, long, clock,
    wheel, bucket or transport."""
    configure(level="warning")
    module = _module(name)
    if processes is not None and (profile or name not in DIVIDED):
        raise click.UsageError(f"--processes is for {', '.join(DIVIDED)}, without --profile")
    if profile and IS_COMPILED:
        raise click.UsageError("this dripd is compiled: nobody sees where its time goes")
    if profile:
        import_module("bench.profile").switch_on()
    answer = summary(name, [_once(module, name, n, processes) for _ in range(max(1, runs))])
    if as_json:
        print_json(answer)
        return
    for key, value in answer.items():
        if value is not None and key != "runs":
            click.echo(f"{key:16} {value}")


def summary(name: str, results: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The best of *results*: of those that measure how late a step is the least late."""
    if name in LATENESS:
        best = min(results, key=lambda result: float(str(result["p99_ms"])))
    elif name == "console":
        best = min(results, key=lambda result: float(str(result["key_p95_ms"])))
    else:
        best = max(results, key=lambda result: float(str(result["per_s"])))
    return {
        "bench": name,
        **dict.fromkeys(FIGURES),
        **best,
        "runs": list(results),
        "machine": f"{platform.machine()} x{os.cpu_count()}",
        "commit": _commit(),
        "compiled": IS_COMPILED,
    }


def _commit() -> str | None:
    """The commit of the checkout; None where there is none."""
    git = shutil.which("git")
    if git is None:
        return None
    words = [git, "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


@bench.command("compare")
@click.option("--scenario", "scenarios", multiple=True, help="noop, post, lateness, backlog.")
@click.option("--peer", "peers", multiple=True, help="Some of the peers only; dripd is one.")
@click.option("--rounds", type=int, default=1, show_default=True, help="Interleaved turns.")
@click.option("--n", type=int, help="Jobs of a drain, instead of the scenario's own number.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the peers are installed."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the table as an SVG.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def compare(
    scenarios: tuple[str, ...],
    peers: tuple[str, ...],
    rounds: int,
    n: int | None,
    folder: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Run dripd beside pgqueuer, procrastinate, graphile-worker and pg-boss.

    Installs them into a folder of their own. See bench/README.md for what is fair about it.
    """
    configure(level="error")
    sys.path.insert(0, str(ROOT))
    comparison, drawing = import_module("bench.compare"), import_module("bench.plot")
    chosen = comparison.chosen(scenarios, n)
    place = folder or state_dir() / "bench-peers"
    with _database() as dsn:
        found = comparison.run(dsn, place, chosen, peers, rounds, partial(click.echo, err=True))
    found |= {"machine": f"{platform.machine()} x{os.cpu_count()}", "commit": _commit()}
    found["compiled"] = IS_COMPILED
    if plot is not None:
        plot.write_text(drawing.svg(found["table"]))
    if as_json:
        print_json(found)
    else:
        click.echo(drawing.markdown(found["table"]))


@bench.command("report")
@click.argument("files", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def report(files: tuple[str, ...], as_json: bool) -> None:
    """Lay the answers of `run --json` in FILES beside each other, or those that `make bench` kept."""
    kept = [str(path) for path in sorted(KEPT.glob("*.json"))]
    found = [_told(file) for file in files or kept]
    if not found:
        raise NotFound(f"no answer is kept in {KEPT}", hint="make bench, or name files")
    if as_json:
        print_json({"items": found, "next": None})
    else:
        print_items(found, ("bench", *FIGURES, "machine", "commit"))


def _told(file: str) -> dict[str, object]:
    """What `run --json` told in *file*. Raises `BadRequest` for anything else."""
    try:
        told = json.loads(read_text(file))
    except ValueError as error:
        raise BadRequest(f"no JSON: {error}", path=file) from error
    if not isinstance(told, dict) or "bench" not in told:
        raise BadRequest(
            "no answer of a benchmark", path=file, hint="dripd bench run NAME --json"
        )
    return {name: value for name, value in told.items() if name != "schema"}


def _module(name: str) -> ModuleType:
    """The benchmark's module: `bench/` of the checkout."""
    if name not in ON_POSTGRES + ALONE:
        known = ", ".join(ON_POSTGRES + ALONE)
        raise NotFound(f"there is no benchmark {name!r}", hint=f"one of {known}")
    sys.path.insert(0, str(ROOT))
    return import_module(f"bench.{name}")


def _once(
    module: ModuleType, name: str, n: int | None, processes: int | None
) -> dict[str, object]:
    if name in ALONE:
        found: dict[str, object] = module.run(n)
        return found
    with _database() as dsn:
        more = {} if processes is None else {"processes": processes}
        result: dict[str, object] = module.run(load(None), dsn, n, **more)
        return result


@contextmanager
def _database() -> Iterator[str]:
    """A Postgres of its own with dripd's schema, thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="dripd-bench-") as folder:
        os.environ["DRIPD_STATE"] = folder
        os.environ.pop("DRIPD_SOCKET", None)
        dsn = embedded.up(Path(folder))
        try:
            migrate.migrate(dsn)
            yield dsn
        finally:
            embedded.destroy(Path(folder))
