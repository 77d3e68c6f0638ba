"""What stands in this text? Campaign files as plain values, strictly read.

YAML without its traps: a key given twice, an alias, a tag, a NUL or half a surrogate pair is
a fault; only `true`, `false`, `null`, `~`, decimal numbers and nothing are not text, so that
`on`, `no`, `09:00` and `2026-01-01` stay what is written. JSON is read as the subset it is.
Built from the parser's events, without recursion, so that no file can exhaust the stack.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import yaml

from dripd.errors import DefinitionError, Fault

MAX_CHARS = 1_048_576
"""A MiB: room for some ten thousand steps."""

MAX_DEPTH = 32
"""Levels of nesting; a campaign file needs seven."""

MAX_INTEGER = 2**53 - 1
"""Beyond it JSON readers disagree."""

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTANTS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")
UNFIT = re.compile(r"[\x00\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[\w-]+")


_WANTED = "a campaign file is a mapping that begins with `campaign: KEY`"


def load_documents(
    text: str, *, filename: str = "", what: str = "campaign", wanted: str = _WANTED
) -> list[dict[str, Value]]:
    """Read every document of *text*, mappings that hold a *what*; empty ones are passed over.

    *wanted* says what to write where one is no mapping. Raises `DefinitionError` with every
    fault; its paths lead into the document, and its messages name *filename* and the line where
    the text itself is wrong.
    """
    where = filename or "the text"
    if len(text) > MAX_CHARS:
        long = Fault(code="bad_value", message=f"more than {MAX_CHARS} chars", hint=_SPLIT)
        raise _refusal(where, [long])
    faults: list[Fault] = []
    documents = _from_json(text, faults)
    if documents is None:
        documents = _from_yaml(text, where, faults)
    for document in documents:
        faults.extend(examine(document))
    found = [document for document in documents if isinstance(document, dict)]
    if len(found) < len(documents) or not (found or faults):
        faults.append(Fault(code="bad_value", message=f"{where} holds no {what}", hint=wanted))
    if faults:
        raise _refusal(where, faults)
    return found


_SPLIT = "make it two: a `move` goes on to another campaign"
_YAML = "indent by spaces, and put text that holds `: ` or ` #` in quotes"
_FLAT = "flatten it"
_OUT = "take it out"


def _refusal(where: str, faults: list[Fault]) -> DefinitionError:
    return DefinitionError(f"{where} cannot be read", faults=tuple(faults))


def member(path: str, key: str) -> str:
    """The path of *key* in the mapping at *path*: `a.b`, or `a["b c"]` for an odd key."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def examine(document: object) -> Iterator[Fault]:
    """Yield what makes *document* unfit to be stored: depth, NUL, huge numbers, odd types."""
    waiting: list[tuple[str, object, int]] = [("", document, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            yield Fault(
                code="bad_value",
                path=path,
                message=f"deeper than {MAX_DEPTH} levels",
                hint=_FLAT,
            )
        elif isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str) or UNFIT.search(key):
                    yield Fault(
                        code="bad_value", path=path, message=f"unfit key {key!r}", hint=_OUT
                    )
                else:
                    waiting.append((member(path, key), inner, depth + 1))
        elif isinstance(value, list):
            waiting.extend((f"{path}[{i}]", item, depth + 1) for i, item in enumerate(value))
        elif problem := _unfit(value):
            yield Fault(code="bad_value", path=path, message=problem, hint=_OUT)


def _unfit(value: object) -> str:
    match value:
        case str():
            found = UNFIT.search(value)
            return f"the character {found[0]!r} cannot be stored" if found else ""
        case bool() | None:
            return ""
        case int():
            return "" if abs(value) <= MAX_INTEGER else "the number is too large"
        case float():
            return "" if math.isfinite(value) else "the number is too large"
    return f"a {type(value).__name__} has no place in a campaign file"


def _from_json(text: str, faults: list[Fault]) -> list[Value] | None:
    """The document if *text* is JSON, else None."""

    def pairs(items: list[tuple[str, Value]]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, value in items:
            if key in found:
                faults.append(_twice("", key, ""))
            found[key] = value
        return found

    if not text.lstrip().startswith("{"):
        return None
    try:
        return [json.loads(text, object_pairs_hook=pairs)]
    except json.JSONDecodeError:
        faults.clear()
        return None
    except (RecursionError, ValueError):
        faults.append(
            Fault(code="bad_value", message="nested too deep or a number too long", hint=_FLAT)
        )
        return []


def _twice(path: str, key: str, line: str) -> Fault:
    message = f"{key!r} is given twice{line}"
    return Fault(code="bad_value", path=path, message=message, hint="keep one of them")


@dataclass(slots=True)
class _Frame:
    """A collection that is still open, and the key that waits for its value."""

    path: str
    into: dict[str, Value] | list[Value]
    key: str | None = None

    def here(self) -> str:
        if isinstance(self.into, list):
            return f"{self.path}[{len(self.into)}]"
        return self.path if self.key is None else member(self.path, self.key)

    def wants_key(self) -> bool:
        return isinstance(self.into, dict) and self.key is None

    def put(self, value: Value) -> None:
        if isinstance(self.into, list):
            self.into.append(value)
        elif self.key is not None:
            self.into[self.key] = value
            self.key = None


class _Stop(Exception):
    """The rest of the text cannot be made sense of."""


def _from_yaml(text: str, where: str, faults: list[Fault]) -> list[Value]:
    builder = _Builder(where, faults)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it is no YAML"
        faults.append(
            Fault(code="bad_value", message=f"{where}{_at(mark)}: {problem}", hint=_YAML)
        )
    except (yaml.YAMLError, UnicodeError) as error:
        line = str(error).partition("\n")[0]
        faults.append(Fault(code="bad_value", message=f"{where}: {line}", hint=_YAML))
    except _Stop:
        return []
    return [document for document in builder.documents if document is not None]


class _Mark(Protocol):
    """Where an event stands; the two parsers of PyYAML have one each."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def _at(mark: _Mark | None) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"


@dataclass(slots=True)
class _Builder:
    where: str
    faults: list[Fault]
    documents: list[Value] = field(default_factory=list)
    open: list[_Frame] = field(default_factory=list)

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                self.fault(event, "an alias (`*name`) is not read", "write the value out")
                self.put("", event)
            case yaml.ScalarEvent():
                self.scalar(event)
            case yaml.SequenceStartEvent():
                self.enter([], event)
            case yaml.MappingStartEvent():
                self.enter({}, event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self.open.pop()

    def fault(self, event: yaml.Event, message: str, hint: str) -> None:
        path = self.open[-1].here() if self.open else ""
        where = f"{self.where}{_at(event.start_mark)}"
        self.faults.append(
            Fault(code="bad_value", path=path, message=f"{where}: {message}", hint=hint)
        )

    def enter(
        self, collection: dict[str, Value] | list[Value], event: yaml.CollectionStartEvent
    ) -> None:
        if len(self.open) >= MAX_DEPTH:
            self.fault(event, f"nested deeper than {MAX_DEPTH} levels", _FLAT)
            raise _Stop
        if self.open and self.open[-1].wants_key():
            self.fault(event, "a key must be a word", "quote it if it is meant as text")
            raise _Stop
        self.refuse_tag(event)
        path = self.open[-1].here() if self.open else ""
        self.put(collection, event)
        self.open.append(_Frame(path, collection))

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self.refuse_tag(event)
        plain = event.implicit[0] and event.tag is None
        if self.open and self.open[-1].wants_key():
            self.put(event.value, event)
        else:
            self.put(_resolve(event.value) if plain else event.value, event)

    def refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag not in {None, "!"}:
            self.fault(event, f"the tag {event.tag!r} is not read", _OUT)

    def put(self, value: Value, event: yaml.Event) -> None:
        if not self.open:
            self.documents.append(value)
            return
        frame = self.open[-1]
        if not (frame.wants_key() and isinstance(frame.into, dict)):
            frame.put(value)
            return
        key = str(value)
        if key in frame.into:
            line = f" ({self.where}{_at(event.start_mark)})"
            self.faults.append(_twice(member(frame.path, key), key, line))
        frame.key = key


def _resolve(word: str) -> Value:
    """What a word without quotes stands for; YAML 1.2 without octals and `.inf`."""
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word
