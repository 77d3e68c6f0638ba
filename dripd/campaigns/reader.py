"""How is one value of a campaign file read? Sections that collect faults, and small readers.

A reader takes a value as it stands in the file and returns what it means, or raises
`BadValue`; `Section` catches that, notes the fault under the value's path and goes on with the
default, so that one look at a file finds everything that is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from dripd.campaigns.address import address_form
from dripd.campaigns.document import member
from dripd.campaigns.window import parse_minute
from dripd.clock import DAY, Millis
from dripd.errors import Fault, near
from dripd.scheduler.due import Delay, parse_delay

T = TypeVar("T")
D = TypeVar("D")
Reader = Callable[[object], T]

KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
STEP_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

MAX_TEXT = 10_000
"""Characters of a text that is no message content: names, titles, conditions."""


class BadValue(ValueError):
    """A value that cannot be read; `hint` says what could."""

    def __init__(self, message: str, *, hint: str = "", code: str = "bad_value") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def suggest(word: str, choices: Iterable[str]) -> str:
    """`did you mean 'x'?`, or every choice where they are few and none is near."""
    known = sorted(choices)
    return near(word, known, f"one of: {' '.join(known)}" if 0 < len(known) <= 12 else "")


class Section:
    """One mapping of the file; whoever reads it takes its keys, and the rest are unknown."""

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        self.path = path
        self.faults = faults
        self.taken: set[str] = set()
        self.values: Mapping[str, object] = {}
        self.is_mapping = isinstance(value, Mapping)
        if isinstance(value, Mapping):
            self.values = {str(key): inner for key, inner in value.items()}
        else:
            message = f"{shown(value)} is no mapping"
            faults.append(
                Fault(code="bad_value", path=path, message=message, hint="write KEY: VALUE")
            )

    def fault(self, code: str, path: str, message: str, hint: str = "") -> None:
        """Something is wrong here; of what is no mapping that has been said."""
        if self.is_mapping:
            self.faults.append(Fault(code=code, path=path, message=message, hint=hint))

    def given(self, key: str) -> bool:
        """Is there a value? Null counts as none."""
        self.taken.add(key)
        return self.values.get(key) is not None

    def path_of(self, key: str) -> str:
        return member(self.path, key)

    def take(self, key: str, read: Reader[T], default: D) -> T | D:
        """Read the value of *key*, *default* if there is none or it is at fault."""
        if not self.given(key):
            return default
        try:
            return read(self.values[key])
        except BadValue as bad:
            self.fault(bad.code, self.path_of(key), bad.message, bad.hint)
            return default

    def section(self, key: str) -> Section | None:
        """The mapping under *key*, None if there is none; anything else is a fault."""
        if not self.given(key):
            return None
        return Section(self.values[key], self.path_of(key), self.faults)

    def items(self, key: str) -> Iterator[tuple[str, object]]:
        """Path and value of every item of the list under *key*."""
        if not self.given(key):
            return
        value, path = self.values[key], self.path_of(key)
        if not isinstance(value, list):
            self.fault("bad_value", path, f"{shown(value)} is no list", "write a list of items")
            return
        for index, item in enumerate(value):
            yield f"{path}[{index}]", item

    def finish(self) -> None:
        """Every key that nobody took is unknown."""
        for key in self.values:
            if key == "repeat" and key not in self.taken:
                self.fault(
                    "repeat_unsupported",
                    self.path_of(key),
                    "a campaign has an end; nothing repeats",
                    "hand over to a mailing service by a `sync` step for what recurs",
                )
            elif key not in self.taken:
                hint = suggest(key, self.taken) or "take it out"
                self.fault("unknown_option", self.path_of(key), f"unknown key {key!r}", hint)


def shown(value: object) -> str:
    """*value* for a message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def text(value: object) -> str:
    """Text; a whole number that stands without quotes is meant as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadValue(f"{shown(value)} is no text", hint="put it in quotes")
    if len(value) > MAX_TEXT:
        raise BadValue(f"longer than {MAX_TEXT} characters", hint="make it shorter")
    return value


def filled(value: object) -> str:
    """Text that is not blank."""
    found = text(value)
    if not found.strip():
        raise BadValue("it is empty", hint="fill it in, or leave the key out")
    return found


def named(value: object) -> str:
    """A name: a blank one is as good as none."""
    found = text(value)
    if not found.strip():
        raise BadValue("the name is empty", code="name_required", hint="add `name: ...`")
    return found


_POOL = "such as [a@acme.test, b@acme.test]"


def senders(value: object) -> str:
    """An address, or a pool of them: with commas between."""
    if not isinstance(value, list):
        return filled(value)
    found = [filled(one).strip() for one in value]
    if len(set(map(address_form, found))) < max(len(found), 2) or any(
        "," in one for one in found
    ):
        raise BadValue("a pool is two addresses or more, each once", hint=_POOL)
    return ",".join(found)


def content(value: object) -> str:
    """A template; its own bounds are the template compiler's."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadValue(f"{shown(value)} is no text", hint="put it in quotes")
    return value


def key(value: object) -> str:
    """The key of an account, a campaign or a list made with it."""
    return _shaped(
        value, KEY, "a-z, 0-9, _ and -, at most 63, beginning with a letter or digit"
    )


def step_key(value: object) -> str:
    """A step's key; `end` is taken, since `next: end` means the end."""
    found = _shaped(value, STEP_KEY, "letters, digits, _ and -, at most 63")
    if found == "end":
        raise BadValue("`end` is no key of a step", hint="`next: end` means the end of the run")
    return found


def _shaped(value: object, shape: re.Pattern[str], hint: str) -> str:
    found = text(value)
    if not shape.fullmatch(found):
        raise BadValue(f"{shown(found)} is no key", hint=hint)
    return found


def flag(value: object) -> bool:
    """`true` or `false`, nothing else."""
    if not isinstance(value, bool):
        raise BadValue(
            f"{shown(value)} is neither true nor false",
            hint="write true or false, without quotes",
        )
    return value


def whole(low: int, high: int = 2**31 - 1) -> Reader[int]:
    """A whole number from *low* to *high*, both included."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            message = f"{shown(value)} is no whole number from {low} to {high}"
            raise BadValue(message, hint=f"such as {low}")
        return value

    return read


def word(*choices: str) -> Reader[str]:
    """One of *choices*."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            hint = near(str(value), choices, "write one of these")
            raise BadValue(f"{shown(value)} is not one of {' '.join(choices)}", hint=hint)
        return value

    return read


def words(read_one: Reader[str]) -> Reader[tuple[str, ...]]:
    """One word, or a list of them."""

    def read(value: object) -> tuple[str, ...]:
        return tuple(read_one(item) for item in (value if isinstance(value, list) else [value]))

    return read


def delay(value: object) -> Delay:
    """A duration such as `3d`, `1d12h` or `3bd`; 0 for none."""
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise BadValue(f"{shown(value)} is no duration", hint="such as 90s 15m 2h 3d 1w 3bd")
    try:
        return parse_delay(value)
    except ValueError as error:
        raise _advised(error) from error


def _advised(error: ValueError) -> BadValue:
    """What is wrong, and after a semicolon what to write instead."""
    message, _, hint = str(error).partition("; ")
    return BadValue(message, hint=hint)


def duration(value: object) -> Millis:
    """A duration in which a day is 24 hours; business days make no sense here."""
    found = delay(value)
    if found.business_days:
        raise BadValue("business days cannot be counted here", hint="write 3d")
    return Millis(found.days * DAY + found.ms)


def minute(value: object) -> int:
    """A time of day, `"00:00"` to `"23:59"`, as its minute."""
    found = closing_minute(value)
    if found >= 1440:
        raise BadValue(f"{shown(value)} is no time of day", hint='the day ends at "23:59"')
    return found


def closing_minute(value: object) -> int:
    """A time of day up to and with `"24:00"`."""
    if not isinstance(value, str):
        raise BadValue(f"{shown(value)} is no time of day", hint='such as "09:00"')
    try:
        return parse_minute(value)
    except ValueError as error:
        raise _advised(error) from error


def scalar(value: object) -> object:
    """A value that a field can have: text, a number, true or false, or a list of text."""
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise BadValue(f"{shown(value)} is no value for a field", hint="text, number, true, a list")


def as_fields(values: Mapping[str, object]) -> dict[str, Any]:
    """Words that a reader has checked, for a dataclass whose fields are literals."""
    return dict(values)
