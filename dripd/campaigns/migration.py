"""Where does a live run stand in the next version? By the key of the step that it waits at.

A key that the new version has too keeps its place, a map leads old keys to new ones. A step
that was taken out leads to the next of the old version that is left; where none is, the run
has nothing more to do and is completed. What a run was sent must not lie ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dripd.campaigns.definition import Definition
from dripd.campaigns.enrollment import LaneKey
from dripd.campaigns.flow import places_of, successors
from dripd.campaigns.reader import suggest
from dripd.errors import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """How live runs pass to *definition*: `map` leads old step keys to new ones, `lane` tells
    the lane of a step for a contact's zone and the flags of the due step."""

    definition: Definition
    map: Mapping[str, str]
    lane: Callable[[int, str | None, int], LaneKey]


class Place(NamedTuple):
    """A step of the new version, None = completed; `same`: it is the step waited at."""

    step_no: int | None
    same: bool


def read_map(
    given: Mapping[str, str], old_keys: Iterable[str], new: Definition
) -> Mapping[str, str]:
    """A `--map` whose keys exist. Raises `BadRequest`."""
    known, places = set(old_keys), places_of(new.steps)
    for old, target in given.items():
        if old not in known:
            raise BadRequest(
                f"no live run waits in a version that has a step {old!r}", path="map",
                hint=suggest(old, known),
            )  # fmt: skip
        if target not in places:
            raise BadRequest(
                f"the draft has no step {target!r}", path="map", hint=suggest(target, places)
            )
    return given


def place_of(
    old_keys: Sequence[str], step_no: int, new: Definition, given: Mapping[str, str]
) -> Place:
    """Where a run that waits at *step_no* of *old_keys* goes on."""
    places = places_of(new.steps)
    for at, key in enumerate(old_keys[step_no:]):
        target = given.get(key, key)
        if target in places:
            return Place(places[target], same=at == 0 and target == key)
    return Place(None, same=False)


def ahead(new: Definition, step_no: int) -> set[str]:
    """The keys of the messages that a run at *step_no* may still send."""
    follows = successors(new.steps)
    found: set[int] = set()
    open_ends = [step_no]
    while open_ends:
        at = open_ends.pop()
        if at in found:
            continue
        found.add(at)
        open_ends += follows[at]
    return {new.steps[at].key for at in found if new.steps[at].is_message}
