"""What does a message say to this contact? Merge tags, compiled once to one `%` format.

A tag is `{Name}`, `{Name|fallback}`, `{name:%d %b %H:%M}` or `{name:%d %b|fallback}`. A name
begins with a letter, digit or underscore and goes on with those, spaces, dots and dashes;
case and spaces do not matter (`normalise`, `bare`). What else has a brace:

| written | text, header | html |
|---|---|---|
| `{{`, `{%` (another system's tags) | refused | refused |
| `{color:red}`, `{a,b}` (begins like a name, is no tag) | refused | stays as it is (CSS) |
| `{` and a name, never closed | refused | refused |
| `{"x"}`, `:-{`, `}` | stays as it is | stays as it is |

So nothing that was meant as a tag leaves raw. A value that is null, empty or blank counts as
missing. In html, values are escaped once; a fallback is the author's own html and is not.
A fallback that is written is always used, without the spaces around it; the policy
`missing_tag` decides about the others.
What compiles always renders: to text, to `Missing` or to `Unrenderable`, never to an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import lru_cache
from html import escape
from typing import Literal, TypeAlias

from dripd.clock import Instant, from_datetime
from dripd.errors import TemplateError

Kind: TypeAlias = Literal["text", "html", "header"]
Lookup: TypeAlias = Callable[[str], object | None]
"""Gives the value of a normalised name, None if there is none."""

MAX_SOURCE = 524_288
"""Characters of a template: half a MiB, many times what mail clients show."""

SHORT = 4_096
"""Characters of a template up to which it is compiled once for all that say the same."""

MAX_RENDERED = 1_048_576
"""Characters of a rendered template; a value that takes it further is refused."""

MAX_BITS = 1024
"""Python refuses to write integers of more than 4300 digits; nobody reads one of 309."""

DIRECTIVES = frozenset("aAbBdHIjmMpSuUVGWyYzZ%")
"""What may follow `%` in a date format: these answer alike everywhere; `%-d` has no zero."""

_SPACES = re.compile(r"[\s_]+")
_TAG = re.compile(
    r"\{[ \t\xa0]*(?P<name>\w(?:[\w .\-\t\xa0]*[\w.\-])?)[ \t\xa0]*"
    r"(?::(?P<format>%[^{}|]*))?(?:\|[ \t\xa0]*(?P<fallback>[^{}]*?)[ \t\xa0]*)?\}"
)
_LIKE_A_TAG = re.compile(r"\{[ \t\xa0]*\w")
_DIRECTIVE = re.compile(r"%(-?)(.?)", re.DOTALL)
_NO_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_BREAKS = re.compile("[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_NO_BODY = re.compile(r"[\x00\ud800-\udfff]")
_MARKUP = re.compile("[&<>\"']")


@dataclass(frozen=True, slots=True)
class Missing:
    """A tag, as written, whose value is missing: the step is held `missing_tag:TAG`."""

    tag: str


@dataclass(frozen=True, slots=True)
class Unrenderable:
    """Why this contact's values do not fit: `bad_date:FIELD`, `bad_char:FIELD`, `too_long`.

    FIELD is the name as written. `bad_char`: NUL or half a surrogate pair anywhere, a line
    break or another control character in a header.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Slot:
    """One tag: its normalised name, as it was written, its date format and fallback."""

    name: str
    written: str
    format: str | None
    fallback: str | None


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template; `tags` are its normalised names in order, with repeats.

    `percent` takes the values of `slots` by `%`; where there are none it is the words themselves.
    """

    source: str
    kind: Kind
    tags: tuple[str, ...]
    slots: tuple[Slot, ...]
    percent: str

    @property
    def unfilled(self) -> str:
        """Its words with nothing in its slots."""
        return self.percent % (("",) * len(self.slots)) if self.slots else self.percent


@lru_cache(maxsize=4096)
def normalise(name: str) -> str:
    """`" First  Name "`, `first_name` and `FIRST_NAME` are all `first_name`."""
    return _SPACES.sub("_", name.strip()).lower()


def bare(name: str) -> str:
    """A normalised name without separators, by which `{FirstName}` is `first_name`."""
    return name.replace("_", "")


def compile_template(source: str, *, kind: Kind) -> Template:
    """Compile *source*. A header loses its line end.

    Raises `TemplateError` saying where (a column counted from 1) and what to write instead.
    """
    return (_compile_short if len(source) <= SHORT else _compile)(source, kind)


def _compile(source: str, kind: Kind) -> Template:
    if kind == "header":
        source = source.rstrip("\r\n")
    _refuse_unfit(source, kind)
    parts: list[str] = []
    slots: list[Slot] = []
    start = 0
    while (at := source.find("{", start)) >= 0:
        parts.append(source[start:at].replace("%", "%%"))
        found = _TAG.match(source, at)
        if found is None:
            _refuse_near_tag(source, at, kind)
            parts.append("{")
            start = at + 1
        else:
            slots.append(_slot(found, at))
            parts.append("%s")
            start = found.end()
    parts.append(source[start:].replace("%", "%%"))
    tags = tuple(slot.name for slot in slots)
    return Template(source, kind, tags, tuple(slots), "".join(parts) if slots else source)


_compile_short = lru_cache(maxsize=4_096)(_compile)
"""Campaigns of a preset say the same in thousands of accounts, and no text most often."""


def render(
    template: Template,
    lookup: Lookup,
    zone: tzinfo,
    *,
    missing: Literal["block", "empty", "fallback"] = "block",
) -> str | Missing | Unrenderable:
    """Fill in one contact's values; dates are shown in *zone*.

    *missing* is the policy `missing_tag`: a tag without value and without fallback is
    `Missing`, but nothing at all under `empty`. `fallback` differs from `block` only
    for `validate`, which then asks every tag for one.
    """
    if not template.slots:
        return template.percent
    values: list[str] = []
    for slot in template.slots:
        value = _fill(slot, lookup(slot.name), template.kind, zone)
        if value is None:
            if missing != "empty":
                return Missing(slot.written)
            value = ""
        elif isinstance(value, Unrenderable):
            return value
        values.append(value)
    rendered = template.percent % tuple(values)
    return rendered if len(rendered) <= MAX_RENDERED else Unrenderable("too_long")


def _refuse_unfit(source: str, kind: Kind) -> None:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"a template has at most {MAX_SOURCE} characters")
    unfit = (_NO_HEADER if kind == "header" else _NO_BODY).search(source)
    if unfit is not None:
        raise TemplateError(
            f"column {unfit.start() + 1}: the character {unfit[0]!r} cannot be sent",
            hint="a subject is one line" if kind == "header" else "take it out",
        )


def _refuse_near_tag(source: str, at: int, kind: Kind) -> None:
    """Raise for a brace at *at* that was meant as a tag; see the table above."""
    where = f"column {at + 1}: "
    hint = "write {Name}, {Name|fallback} or {name:%d %b}"
    if source[at : at + 2] in {"{{", "{%"}:
        raise TemplateError(where + f"{source[at : at + 2]!r} begins no tag", hint=hint)
    if _LIKE_A_TAG.match(source, at) is None:
        return
    close, other = source.find("}", at), source.find("{", at + 1)
    if close < 0 or (kind != "html" and 0 <= other < close):
        raise TemplateError(where + f"{source[at : at + 20]!r} is never closed", hint=hint)
    if kind != "html":
        raise TemplateError(where + f"{source[at : close + 1]!r} is no merge tag", hint=hint)


def _slot(found: re.Match[str], at: int) -> Slot:
    layout = found["format"]
    for flag, directive in _DIRECTIVE.findall(layout or ""):
        if directive not in DIRECTIVES or (flag and directive == "%"):
            raise TemplateError(
                f"column {at + 1}: `%{flag}{directive}` is no date directive",
                hint="such as %d %b %Y %H:%M",
            )
    name = found["name"]
    return Slot(normalise(name), " ".join(name.split()), layout, found["fallback"])


def _fill(slot: Slot, value: object, kind: Kind, zone: tzinfo) -> str | Unrenderable | None:
    """The text for one tag, None if it is missing."""
    text = value if type(value) is str else _text(value, zone)
    if not text or text.isspace():
        return slot.fallback
    if slot.format is not None:
        return _dated(slot, value, zone)
    if not text.isprintable():
        if kind == "header":  # a value of several lines: no line of it begins a header
            text = _BREAKS.sub(" ", text)
        unfit = _NO_HEADER if kind == "header" else _NO_BODY
        if unfit.search(text) is not None:
            return Unrenderable(f"bad_char:{slot.written}")
    if kind == "html" and _MARKUP.search(text) is not None:
        return escape(text)
    return text


def instant_of(value: object, zone: tzinfo) -> Instant | None:
    """The instant that a field's value names; without offset it is meant in *zone*."""
    local = _local(value, zone)
    return None if local is None else from_datetime(local)


def is_mere_date(value: object) -> bool:
    """Does a field's value name a day, and no time of it?"""
    if not isinstance(value, str):
        return isinstance(value, date) and not isinstance(value, datetime)
    try:
        date.fromisoformat(value.strip())
    except ValueError:
        return False
    return True


def _text(value: object, zone: tzinfo) -> str:
    """How another value reads: a list with commas, a mapping not at all."""
    match value:
        case str():
            return str(value)
        case int() | float():
            return _number(value)
        case datetime():
            local = _local(value, zone)
            return "" if local is None else local.strftime("%Y-%m-%d %H:%M")
        case date():
            return value.isoformat()
        case list() | tuple():
            flat = (item for item in value if not isinstance(item, list | tuple))
            return ", ".join(filter(None, (_text(item, zone) for item in flat)))
    return ""


def _number(value: int | float) -> str:
    """`true`, 5 and 5.0 as 5."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= MAX_BITS else ""
    return str(value).removesuffix(".0")


def _dated(slot: Slot, value: object, zone: tzinfo) -> str | Unrenderable:
    local = _local(value, zone)
    if local is None or slot.format is None:
        return Unrenderable(f"bad_date:{slot.written}")
    return local.strftime(slot.format)


def _local(value: object, zone: tzinfo) -> datetime | None:
    """*value* as wall time in *zone*; one without offset, or a mere date, is meant there."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - meant in zone
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=zone) if value.tzinfo is None else value.astimezone(zone)
    except (ValueError, OverflowError):
        return None
