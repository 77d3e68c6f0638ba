"""In what order do steps follow each other? The paths from the first step to the ends.

A skipped step goes on like a performed one. Only `branch` and `wait_for` have several
successors; the whole is a graph without cycles, so a run always comes to an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dripd.campaigns.definition import Definition, Step
from dripd.campaigns.reader import suggest
from dripd.clock import DAY
from dripd.errors import Fault
from dripd.scheduler.due import Delay


def targets(step: Step) -> Iterator[tuple[str, str]]:
    """The keys that lead on from *step* with what they name, a key or `end`."""
    for index, case in enumerate(step.cases):
        yield f"cases[{index}].then", case.then
    named = (("then", step.then), ("else", step.otherwise), ("next", step.next))
    yield from ((key, target) for key, target in named if target is not None)


def goes_below(step: Step) -> bool:
    """May the run go on to the step below?"""
    if step.next is not None or (step.kind == "end" and step.when is None):
        return False
    decides = {"branch": (step.otherwise,), "wait_for": (step.then, step.otherwise)}
    if step.when is not None:
        return True
    return any(target is None for target in decides.get(step.kind, (None,)))


def successors(steps: Sequence[Step]) -> list[tuple[int, ...]]:
    """For each step those that may follow it; dangling ones are left out."""
    places = places_of(steps)
    return [_successors(index, steps, places) for index in range(len(steps))]


def places_of(steps: Sequence[Step]) -> dict[str, int]:
    """The index of each key."""
    return {step.key: index for index, step in enumerate(steps)}


def _successors(
    index: int, steps: Sequence[Step], places: Mapping[str, int]
) -> tuple[int, ...]:
    step = steps[index]
    found = [places[target] for _, target in targets(step) if target in places]
    if goes_below(step) and index + 1 < len(steps):
        found.append(index + 1)
    return tuple(dict.fromkeys(found))


def order_of(steps: Sequence[Step], starts: Sequence[int] = (0,)) -> list[int]:
    """The steps that are reached, each before those that follow it.

    Where there is a cycle, the edge that closes it is left out.
    """
    follows = successors(steps)
    done: list[int] = []
    seen: set[int] = set()
    stack: list[tuple[int, int]] = [(start, 0) for start in starts if start < len(steps)]
    while stack:
        index, n = stack.pop()
        if n == 0 and index in seen:
            continue
        seen.add(index)
        ahead = next((i for i, to in enumerate(follows[index][n:], n) if to not in seen), None)
        if ahead is None:
            done.append(index)
        else:
            stack += [(index, ahead + 1), (follows[index][ahead], 0)]
    return done[::-1]


def faults_of(definition: Definition) -> Iterator[Fault]:
    """Yield a `dangling` for every target that is no step, a `cycle` for every loop.

    A move into the campaign itself is a loop too.
    """
    steps = definition.steps
    places = places_of(steps)
    for index, step in enumerate(steps):
        for key, target in targets(step):
            if target != "end" and target not in places:
                yield Fault(
                    code="dangling",
                    path=f"{definition.step_path(index)}.{key}",
                    message=f"step {step.key!r} goes on to {target!r}, which is no step",
                    hint=suggest(target, (key for key in places if "[" not in key))
                    or "name a step's key, or `end`",
                )
        if step.kind == "move" and step.campaign and step.campaign == definition.campaign:
            yield Fault(
                code="cycle",
                path=f"{definition.step_path(index)}.campaign",
                message=f"step {step.key!r} moves into its own campaign",
                hint="a run must end; let an event start the next one, or `reset_campaign`",
            )
    for index in _closing(successors(steps)):
        yield Fault(
            code="cycle",
            path=f"{definition.step_path(index)}.next",
            message=f"step {steps[index].key!r} leads back to itself",
            hint="a run must end; let an event start the next one",
        )


def _closing(follows: Sequence[Sequence[int]]) -> Iterator[int]:
    """The steps whose edge closes a loop, found by walking from every step once."""
    on_path: set[int] = set()
    done: set[int] = set()
    for start in range(len(follows)):
        stack: list[tuple[int, int]] = [] if start in done else [(start, 0)]
        while stack:
            index, n = stack.pop()
            on_path.add(index)
            if n == len(follows[index]):
                on_path.discard(index)
                done.add(index)
                continue
            stack.append((index, n + 1))
            to = follows[index][n]
            if to in on_path:
                yield index
            elif to not in done:
                stack.append((to, 0))


def moved_by_delays(steps: Sequence[Step], starts: Sequence[int] = (0,)) -> tuple[Step, ...]:
    """Under `anchor: after_start`, let each `delay` step move all that follow it.

    The delay step itself counts from the step before it. A day number moves by whole days,
    what is left of a day counting as one. Where paths meet, the longest shift counts.
    """
    if all(step.timing.anchor != "after_start" for step in steps):
        return tuple(steps)
    moved = list(steps)
    shifts: dict[int, Delay] = {}
    follows = successors(steps)
    for index in order_of(steps, starts):
        step, shift = steps[index], shifts.get(index, Delay())
        if step.timing.anchor == "after_start":
            timing = step.timing
            if step.kind == "delay":
                timing = replace(timing, anchor="after_previous")
                shift = _sum(shift, step.timing.delay)
            elif timing.day is not None:
                timing = replace(timing, day=timing.day + _whole_days(shift))
            else:
                timing = replace(timing, delay=_sum(shift, timing.delay))
            moved[index] = replace(step, timing=timing)
        for to in follows[index]:
            shifts[to] = max(shifts.get(to, Delay()), shift, key=_length)
    return tuple(moved)


def _sum(one: Delay, other: Delay) -> Delay:
    return Delay(
        days=one.days + other.days,
        business_days=one.business_days + other.business_days,
        ms=one.ms + other.ms,
    )


def _length(shift: Delay) -> int:
    return (shift.days + shift.business_days) * DAY + shift.ms


def _whole_days(shift: Delay) -> int:
    return shift.days + shift.business_days - (-shift.ms // DAY)
