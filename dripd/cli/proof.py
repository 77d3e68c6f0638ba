"""`dripd sink`, `dripd selftest`: the test provider, and the long proofs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio

from dripd.built import IS_COMPILED
from dripd.cli.output import print_json
from dripd.log import configure
from dripd.proof import chaos as proof
from dripd.proof import crash as crashes
from dripd.proof import defects as catalogue
from dripd.proof import foretell as foretelling
from dripd.proof import migrating, recovery
from dripd.proof import simulate as simulation
from dripd.proof.faults import ALL, COMMON, SESSION, SMTP, Faults, Rule
from dripd.proof.sink import serve
from dripd.proof.sink_http import PERSONALITIES

UNKNOWN_COMMIT = "unknown"

ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option(
    "--log",
    "log_file",
    type=click.Path(path_type=Path),
    default="sink.jsonl",
    show_default=True,
    help="What was received, a JSON object a line.",
)
@click.option(
    "--port", type=int, default=8025, show_default=True, help="HTTP; 0 takes a free one."
)
@click.option(
    "--smtp-port", type=int, default=2525, show_default=True, help="SMTP; 0 takes a free one."
)
@click.option(
    "--ports", "ports_file", type=click.Path(path_type=Path), help="Write both ports there."
)
@click.option(
    "--faults",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="The share of requests that something befalls.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(sorted(ALL)),
    metavar="FAULT",
    help="What is drawn, again and again; all that is common otherwise.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="MATCH=FAULT[*TIMES]",
    help="Requests that hold MATCH meet FAULT: an address, a subject, a path.",
)
@click.option("--list", "listed", is_flag=True, help="Name every fault and personality.")
def sink(
    log_file: Path,
    port: int,
    smtp_port: int,
    ports_file: Path | None,
    faults: float,
    seed: int,
    kinds: tuple[str, ...],
    rules: tuple[str, ...],
    listed: bool,
) -> int:
    """A provider that misbehaves on purpose, on 127.0.0.1, over HTTP and SMTP.

    Each line of its log is on disk before the answer leaves. The first part of a path is its
    personality (/keyed honours Idempotency-Key, /plain does not); a part @FAULT or the header
    X-Sink-Fault asks for a fault.
    """
    if listed:
        for name in (*(f"/{one}" for one in PERSONALITIES), *sorted(ALL)):
            click.echo(name)
        return 0

    def tell(http: int, smtp: int) -> None:
        click.echo(f"http 127.0.0.1:{http}  smtp 127.0.0.1:{smtp}  log {log_file}")
        if ports_file is not None:
            ports_file.write_text(f"{http} {smtp}\n")

    drawn = draw_from(faults, seed, kinds, rules)
    bound = partial(serve, log_file, port=port, smtp_port=smtp_port, faults=drawn)
    trio.run(_serve, bound, tell)
    return 0


def draw_from(
    share: float, seed: int, kinds: tuple[str, ...], rules: tuple[str, ...]
) -> Faults:
    """The faults as the flags name them. Raises `click.BadParameter`."""
    try:
        read = [Rule.parse(text) for text in rules]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rule") from error
    session = frozenset(kinds) & set(SESSION)
    return Faults(share, seed, kinds or (*COMMON, *SMTP), read, session)


async def _serve(
    bound: Callable[..., Awaitable[None]], tell: Callable[[int, int], None]
) -> None:
    async with trio.open_nursery() as nursery:
        tell(*await nursery.start(bound))


@click.group()
@click.pass_context
def selftest(context: click.Context) -> None:
    """The long proofs, on this machine."""
    context.with_resource(_ended_in_order())


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Who is told to end stops first what it has started, as after Ctrl-C: its Postgres and
    its daemons would outlive it."""
    with ExitStack() as restored:
        for number in ENDINGS:
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
                restored.callback(signal.signal, number, signal.SIG_DFL)
                signal.signal(number, signal.default_int_handler)
        yield


@selftest.command("chaos")
@click.option(
    "--minutes", type=float, default=10.0, show_default=True, help="How long the faults last."
)
@click.option("--steps", type=int, help="Messages in all; 10,000 a minute otherwise.")
@click.option(
    "--faults",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="The share of faulty answers.",
)
@click.option("--seed", type=int, help="Drawn otherwise, and said.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for all logs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def chaos(
    minutes: float,
    steps: int | None,
    faults: float,
    seed: int | None,
    keep: Path | None,
    as_json: bool,
) -> int:
    """Four daemons under kill -9, SIGSTOP, lost connections and Postgres restarts.

    Afterwards a checker that shares no code with them reads the sink's log and SQL. Exit 1
    if any promise was broken.
    """
    plan = proof.Plan(
        minutes=minutes,
        steps=steps or round(10_000 * minutes),
        faults=faults,
        seed=int.from_bytes(os.urandom(4), "big") if seed is None else seed,
        keep=keep,
    )
    click.echo(f"seed {plan.seed}", err=True)
    result = proof.run(plan, partial(click.echo, err=True))
    return tell(result, as_json=as_json)


@selftest.command("crash")
@click.option(
    "--sample", type=click.IntRange(0), default=0, help="Only so many, with every point."
)
@click.option("--seed", type=int, default=1, show_default=True, help="What the sample is.")
@click.option("--point", help="Only this one, such as K3.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def crash(sample: int, seed: int, point: str | None, as_json: bool) -> int:
    """A daemon broken at each of its crash points, in each of four ways.

    kill -9, SIGSTOP, connections cut, Postgres ended; the verdict of the checker on each.
    Exit 1 if a promise was broken or a point was not reached.
    """
    chosen = [one for one in crashes.cases(sample, seed) if point in {None, one.point}]
    if not chosen:
        raise click.BadParameter(f"one of {', '.join(crashes.POINTS)}", param_hint="--point")
    return tell(crashes.run(chosen, partial(click.echo, err=True)), as_json=as_json)


@selftest.command("recovery")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def recover(as_json: bool) -> int:
    """How soon a killed daemon's steps go again, with and without a restart.

    Exit 1 where half takes more than 5 s after a restart, or all more than 20 s.
    """
    return tell(recovery.run(partial(click.echo, err=True)), as_json=as_json)


@selftest.command("foretell")
@click.option("--rows", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def foretell(rows: int, seed: int, as_json: bool) -> int:
    """Waiting runs of many accounts are explained one by one, then time passes.

    Exit 1 if one of them did not go at the very instant that it was told.
    """
    return tell(foretelling.run(rows, seed, partial(click.echo, err=True)), as_json=as_json)


@selftest.command("migrate")
@click.option("--runs", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def migrate(runs: int, as_json: bool) -> int:
    """Live runs pass to a new version, while the daemon is killed over it again and again.

    Exit 1 if a run stood between versions, or lost or repeated a step.
    """
    return tell(migrating.run(runs, partial(click.echo, err=True)), as_json=as_json)


@selftest.command("simulate")
@click.option("--seeds", type=click.IntRange(1), default=20_000, show_default=True)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="The first one; the same is replayed.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="one a processor",
    help="Processes that share the seeds.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def simulate(seeds: int, seed: int, jobs: int, as_json: bool) -> int:
    """Several daemons in virtual time, on memory, under faults drawn from each seed.

    About five seeds a second and processor. A seed that breaks a promise is told, and plays again the same way. Exit 1 if any did.
    """
    _interpreted()
    configure(level="critical")
    told = partial(click.echo, err=True)
    result = simulation.run(range(seed, seed + seeds), told, jobs=jobs)
    return tell(result, as_json=as_json)


def tell(result: Mapping[str, object], *, as_json: bool) -> int:
    """Print what a proof came to; its exit code."""
    answer = {"commit": commit(), **result}
    if as_json:
        print_json(answer)
    else:
        for key, value in answer.items():
            click.echo(f"{key:20} {value}")
    return 0 if result["ok"] else 1


@selftest.command("defects")
@click.option(
    "--seeds", type=click.IntRange(1), default=300, show_default=True, help="Seeds each gets."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def defects(seeds: int, as_json: bool) -> int:
    """Does the proof bite? Known mistakes are made on purpose; the simulation must find each.

    Exit 1 if one escapes.
    """
    _interpreted()
    configure(level="critical")
    result = catalogue.table(range(1, seeds + 1), partial(click.echo, err=True))
    if as_json:
        print_json({"commit": commit(), **result})
    else:
        click.echo(f"{result['caught']} of {result['of']} caught")
    return 0 if result["ok"] else 1


def _interpreted() -> None:
    """Raises `UsageError` where dripd is compiled: its stages are not what a proof puts there."""
    if IS_COMPILED:
        raise click.UsageError(
            "this dripd is compiled: run one that is not, of the same commit"
        )


def commit() -> str:
    """The commit of this checkout; `unknown` where it is none."""
    here = Path(__file__).resolve().parent
    asked = ["git", "-C", str(here), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(asked, check=False, capture_output=True, text=True)
    except OSError:
        return UNKNOWN_COMMIT
    return done.stdout.strip() or UNKNOWN_COMMIT
