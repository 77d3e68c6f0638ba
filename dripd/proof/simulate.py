"""Do the promises hold under faults that only a simulation can play, and play again?

Several daemons' real stages on one `MemoryStore`, in virtual time and with a scheduler that
draws from the seed: the same seed is the same run, to the last switch of tasks. Daemons are
killed, frozen and cut off, acknowledgements lost before and after the commit, rows and days
locked, the database away, disks full and lost, providers ambiguous and late. Then all is
mended, two months pass, and the views are judged by `judge`, which knows nothing of how they
came about.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

import orjson
import trio
import trio.testing

from dripd.clock import parse_instant
from dripd.log import configure
from dripd.proof.judge import PROMISES, Broken, Record, Watch, judge
from dripd.proof.story import History, Story
from dripd.proof.troubled import Troubled
from dripd.proof.virtual import MONDAY

DAEMONS: Final = (1, 2, 2, 3)


STARTS: Final = (
    MONDAY, parse_instant("2026-03-06T12:00:00Z"), parse_instant("2026-10-30T12:00:00Z"),
)  # fmt: skip
"""Two of them shortly before the hours change, in New York this way and that."""


TELL_EVERY: Final = 1_000

STILL_S: Final = 120.0
"""A seed takes some tenth of a second; one that has not ended by then never will."""


def simulate(seed: int, focus: Collection[str] = ()) -> tuple[History, Broken]:
    """Play *seed*; what was done, and promise to what broke it (empty lists where it holds).

    *focus*: acts of `Story` that come more often.
    """
    scheduler = trio._core._run
    vars(scheduler)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    scheduler._r.seed(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(_play, seed, focus, clock=clock)


async def _play(seed: int, focus: Collection[str]) -> tuple[History, Broken]:
    dice, history = random.Random(seed), History(seed)
    async with trio.open_nursery() as nursery:
        world = Troubled(nursery, dice.choice(STARTS), dice)
        story = Story(world, dice, history, focus)
        story.set_up()
        watch = Watch(history)
        for _ in range(dice.choice(DAEMONS)):
            await world.start_somehow()
        await story.play(lambda: watch.look(Record.of(world)))
        await story.mend()
        record = Record.of(world)
        watch.look(record)
        world.is_over = True
        nursery.cancel_scope.cancel()
    broken = judge(record, history)
    for promise, told in watch.broken.items():
        broken[promise] += [one for one in told if one not in broken[promise]]
    return history, broken


def run(seeds: range, say: Callable[[str], None], *, jobs: int = 1) -> dict[str, object]:
    """Play every seed of *seeds*; sums, and the seeds that broke a promise, each told to *say*.

    *jobs* processes share the seeds: one event loop has the seed's dice to itself.
    """
    total: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failed: list[int] = []
    played = _in_processes(seeds, jobs, say) if jobs > 1 else _played(seeds)
    for n, (seed, befell, found) in enumerate(played, 1):
        faults += befell
        total.update({name: len(told) for name, told in found.items()})
        if found:
            failed.append(seed)
            say(f"seed {seed}: {found}")
        if n % TELL_EVERY == 0:
            say(f"{n} of {len(seeds)} seeds, {len(failed)} broke a promise")
    return {
        "seeds": len(seeds),
        "first_seed": seeds.start,
        "faults": dict(sorted(faults.items())),
        **{name: total[name] for name in PROMISES},
        "failed_seeds": sorted(failed),
        "ok": not failed,
    }


Played = tuple[int, Counter[str], dict[str, list[str]]]


def _played(seeds: range) -> Iterator[Played]:
    for seed in seeds:
        history, broken = simulate(seed)
        yield seed, history.faults, {name: told for name, told in broken.items() if told}


def _in_processes(seeds: range, jobs: int, say: Callable[[str], None]) -> Iterator[Played]:
    """The seeds in *jobs* processes, each with every so manieth: an answer a line."""
    command = [sys.executable, "-m", "dripd.proof.simulate"]
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    answers: SimpleQueue[bytes] = SimpleQueue()
    left = set(seeds)
    with ExitStack() as stack:
        running = []
        for n in range(min(jobs, len(seeds))):
            words = [str(seeds.start + n), str(seeds.stop), str(jobs)]
            one = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, env=env)
            stack.enter_context(one)
            stack.callback(one.kill)
            running.append(one)
            Thread(target=_listen, args=(one, answers), daemon=True).start()
        n_over = 0
        while n_over < len(running):
            try:
                line = answers.get(timeout=STILL_S)
            except Empty:
                say(f"for {STILL_S} s no seed has ended: {sorted(left)[:jobs]} stand still")
                continue
            if not line:
                n_over += 1
                continue
            seed, faults, found = orjson.loads(line)
            left.discard(seed)
            yield seed, Counter(faults), found
        for process in running:
            if process.wait() != 0:
                raise RuntimeError(f"a simulation ended with {process.returncode}")


def _listen(process: subprocess.Popen[bytes], answers: SimpleQueue[bytes]) -> None:
    """Pass on what *process* says, and nothing at its end: who is not heard would stand still."""
    for line in process.stdout or ():
        answers.put(line)
    answers.put(b"")


def main() -> None:
    """Play the seeds of the command line, from, to, step; an answer a line."""
    configure(level="critical")
    first, stop, step = (int(word) for word in sys.argv[1:])
    for played in _played(range(first, stop, step)):
        sys.stdout.buffer.write(orjson.dumps(played) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
