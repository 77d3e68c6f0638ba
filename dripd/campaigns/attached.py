"""Which files go with a mail? Their names in a campaign file, and what a name is pinned to.

A file says `attachments: [terms.pdf]`. Applying it replaces each name by what stood beside the
file then, `{name, sha256, size}`, so that a version keeps its bytes whatever becomes of the
file. An exported campaign has that form, and can be applied again without its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dripd.campaigns.reader import BadValue, Section, shown, whole

MOST_BYTES = 25 * 1024 * 1024
"""Raw bytes that the attachments of one step have together at most."""

PART_BYTES = 512 * 1024
"""A file is kept, and handed over, in parts of this size; the last may be shorter."""

SHA256 = r"[0-9a-f]{64}"

PLACES = ("steps", "on_click", "on_form")
"""Where a document has what may attach files."""

Pin: TypeAlias = Mapping[str, object]
"""`{sha256, size}` of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A file by its name; `sha256` is "" where nobody has said what it holds."""

    name: str
    sha256: str = ""
    size: int = 0


def read_attached(section: Section) -> tuple[Attached, ...]:
    """The step's `attachments`; more than 25 MiB together are a fault."""
    found = tuple(_each(section))
    total = sum(one.size for one in found)
    if total > MOST_BYTES:
        section.fault(
            "attachments_too_big",
            section.path_of("attachments"),
            f"the attachments have {total} bytes together, {MOST_BYTES} are the most",
            "link to what is larger",
        )
    return found


def _each(section: Section) -> Iterator[Attached]:
    """What can be read of them; each of the others is a fault of its own."""
    if not section.given("attachments"):
        return
    value, path = section.values["attachments"], section.path_of("attachments")
    several = isinstance(value, list)
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        try:
            yield _one(item)
        except BadValue as bad:
            where = f"{path}[{index}]" if several else path
            section.fault(bad.code, where, bad.message, bad.hint)


def _one(value: object) -> Attached:
    if isinstance(value, str):
        return Attached(name=_name(value))
    if not isinstance(value, Mapping) or set(value) != {"name", "sha256", "size"}:
        raise BadValue(f"{shown(value)} is no file", hint="attachments: [terms.pdf]")
    sha256 = value["sha256"]
    if not isinstance(sha256, str) or not re.fullmatch(SHA256, sha256):
        raise BadValue(f"{shown(sha256)} is no SHA-256", hint="64 digits, 0-9 and a-f")
    return Attached(name=_name(value["name"]), sha256=sha256, size=whole(0)(value["size"]))


def _name(value: object) -> str:
    """A name without a folder: what is attached stands beside the campaign file."""
    if not isinstance(value, str) or not is_plain(value):
        raise BadValue(
            f"{shown(value)} is no name of a file beside this one",
            hint="no folder, at most 255 characters",
        )
    return value


def is_plain(name: str) -> bool:
    return (
        0 < len(name) <= 255
        and name.isprintable()
        and not re.search(r'[/\\"]', name)
        and name not in {".", ".."}
    )


def names(document: Mapping[str, object]) -> Iterator[list[str]]:
    """For each step and action with attachments, the names that are not pinned yet."""
    for step in _steps(document):
        given = step.get("attachments")
        items = given if isinstance(given, list) else [given]
        found = [item for item in items if isinstance(item, str) and is_plain(item)]
        if found:
            yield found


def pinned(document: Mapping[str, object], files: Mapping[str, Pin]) -> dict[str, object]:
    """*document* with each name that *files* know replaced by what it is pinned to."""
    found = dict(document)
    if not files:
        return found
    for place in PLACES:
        if isinstance(steps := document.get(place), list):
            found[place] = [_pin_step(step, files) for step in steps]
    if isinstance(parts := document.get("sequences"), list):
        found["sequences"] = [
            pinned(part, files) if isinstance(part, Mapping) else part for part in parts
        ]
    return found


def _pin_step(step: object, files: Mapping[str, Pin]) -> object:
    if not isinstance(step, Mapping) or step.get("attachments") is None:
        return step
    given = step["attachments"]
    items = given if isinstance(given, list) else [given]
    return {**step, "attachments": [_pin(item, files) for item in items]}


def _pin(item: object, files: Mapping[str, Pin]) -> object:
    if not isinstance(item, str) or item not in files:
        return item
    return {"name": item, "sha256": files[item]["sha256"], "size": files[item]["size"]}


def _steps(document: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    parts = document.get("sequences")
    for part in (document, *(parts if isinstance(parts, list) else ())):
        for place in PLACES:
            steps = part.get(place) if isinstance(part, Mapping) else None
            for step in steps if isinstance(steps, list) else ():
                if isinstance(step, Mapping):
                    yield step
