"""What differs between two definitions? For `plan` and `diff`, step by step.

Steps are known by their keys: a key that is new was added, one that is gone was removed, one
that stands elsewhere was moved, and of those that stay every differing value is said.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from dripd.campaigns.document import member

Raw = Mapping[str, object]
Change = dict[str, object]


def diff(old: Raw | None, new: Raw | None) -> list[Change]:
    """Each change from *old* to *new*: op (+ ~ -), step, path, old, new.

    `path` leads into *new*, of what was removed into *old*.
    """
    before, after = dict(old or {}), dict(new or {})
    changes = list(_mapping("", _without_steps(before), _without_steps(after), None))
    changes += _steps(_by_key(before), _by_key(after))
    return changes


def _without_steps(raw: Raw) -> Raw:
    return {key: value for key, value in raw.items() if key != "steps"}


def _by_key(raw: Raw) -> dict[str, tuple[int, Raw]]:
    parts = raw.get("sequences")
    flows = (
        [part.get("steps") for part in parts] if isinstance(parts, list) else [raw.get("steps")]
    )
    steps = [step for flow in flows for step in (flow if isinstance(flow, list) else [])]
    found: dict[str, tuple[int, Raw]] = {}
    for index, step in enumerate(steps):
        if isinstance(step, Mapping):
            found[str(step.get("key", f"#{index}"))] = (index, step)
    return found


def _change(op: str, step: str | None, path: str, old: object, new: object) -> Change:
    return {"op": op, "step": step, "path": path, "old": old, "new": new}


def _mapping(path: str, old: Raw, new: Raw, step: str | None) -> Iterator[Change]:
    for key in sorted({*old, *new}):
        here = member(path, key)
        one, other = old.get(key), new.get(key)
        if key not in old:
            yield _change("+", step, here, None, other)
        elif key not in new:
            yield _change("-", step, here, one, None)
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _mapping(here, one, other, step)
        elif one != other:
            yield _change("~", step, here, one, other)


def _steps(
    old: Mapping[str, tuple[int, Raw]], new: Mapping[str, tuple[int, Raw]]
) -> Iterator[Change]:
    for key, (index, step) in old.items():
        if key not in new:
            yield _change("-", key, f"steps[{index}]", step, None)
    moved = _moved([key for key in old if key in new], [key for key in new if key in old])
    for key, (index, step) in new.items():
        here = f"steps[{index}]"
        if key not in old:
            yield _change("+", key, here, None, step)
            continue
        if key in moved:
            yield _change("~", key, here, f"steps[{old[key][0]}]", here)
        yield from _mapping(here, old[key][1], step, key)


def _moved(old: list[str], new: list[str]) -> set[str]:
    """The keys that must move so that *old* stands as *new* does."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    stayed = {
        key for block in matcher.get_matching_blocks() for key in old[block.a :][: block.size]
    }
    return set(new) - stayed
