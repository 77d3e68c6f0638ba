"""What does `/` understand? `key=value key=value word`, with completion.

A filter is evaluated by the daemon, by an index; so each screen names its keys, and one that
it does not know is refused with the place where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dripd.errors import near

MOST: Final = 8
"""Most completions that are offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a screen's filter: the parameter that it becomes, its words, what it is for."""

    param: str
    help: str
    values: tuple[str, ...] = ()
    number: bool = False
    flag: bool = False
    negated: bool = False
    """Whether `key!=value` is understood as well, and several values: `key=one,other`."""
    named: bool = False
    """Whether a value may name something behind a colon: `missing_tag:First Name`."""
    ordered: bool = False
    """Whether `key>=value` is: that one of `values` or one behind it."""


class BadFilter(Exception):
    """What is wrong, and at which character."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """`key` "" is a bare word."""

    key: str
    value: str
    at: int
    negated: bool = False
    least: bool = False


def parse(text: str, keys: Mapping[str, Key], bare: str = "") -> dict[str, object]:
    """The parameters that *text* stands for; a bare word is the value of the key *bare*.

    Raises `BadFilter`.
    """
    found: dict[str, object] = {}
    for token in tokens(text):
        name = token.key or bare
        if not name:
            raise BadFilter(f"{token.value!r} needs a key: {', '.join(keys)}", token.at)
        key = keys.get(name)
        if key is None:
            raise BadFilter(unknown(name, keys), token.at)
        if key.param in found:
            raise BadFilter(f"{name} is given twice", token.at)
        found[key.param] = value_of(name, key, token)
    return found


def written(**wanted: object) -> str:
    """The filter that stands for these keys and values."""
    words = {key: str(value).replace('"', "") for key, value in wanted.items()}
    return " ".join(f'{k}="{v}"' if " " in v else f"{k}={v}" for k, v in words.items())


def unknown(name: str, keys: Mapping[str, Key]) -> str:
    hint = near(name, keys, f"known: {', '.join(keys) or 'none'}")
    return f"unknown key {name!r}; {hint}"


def value_of(name: str, key: Key, token: Token) -> object:
    """What a token says, as its parameter takes it."""
    if token.negated and not key.negated:
        raise BadFilter(f"{name} cannot be negated", token.at)
    if token.least and not key.ordered:
        raise BadFilter(f"{name} has no order: {name}=", token.at)
    if not token.value:
        raise BadFilter(f"{name} needs a value", token.at)
    if token.value[0] in "=!":
        sign = "=" if token.value[0] == "=" else "!="
        raise BadFilter(f"write {name}{sign}{token.value.lstrip('=!')}", token.at)
    if key.flag:
        if token.value not in {"yes", "no"}:
            raise BadFilter(f"{name} is yes or no", token.at)
        return token.value == "yes"
    if key.number:
        digits = token.value.removeprefix("#")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 17):
            raise BadFilter(f"{name} is a number", token.at)
        return int(digits)
    if key.negated and "," in token.value and not token.least:
        return _several(name, key, token)
    word = token.value.partition(":")[0] if key.named else token.value
    if key.values and word not in key.values:
        raise BadFilter(f"{name} is one of {', '.join(key.values)}", token.at)
    if token.least:
        return list(key.values[key.values.index(token.value) :])
    return f"!{token.value}" if token.negated else token.value


def _several(name: str, key: Key, token: Token) -> list[object]:
    """The values of `key=one,other`."""
    if token.negated:
        raise BadFilter(f"{name}!= takes one value", token.at)
    parts = [one for one in token.value.split(",") if one]
    return [value_of(name, key, replace(token, value=one)) for one in parts]


def tokens(text: str) -> list[Token]:
    """The tokens of *text*; a value may stand in double quotes. Raises `BadFilter`."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        word, end = _word(text, at)
        found.append(_token(word, at))
        at = end
    return found


def _word(text: str, start: int) -> tuple[str, int]:
    quoted, at, found = False, start, ""
    while at < len(text) and (quoted or text[at] != " "):
        if text[at] == '"':
            quoted = not quoted
        else:
            found += text[at]
        at += 1
    if quoted:
        raise BadFilter("a quote is not closed", start)
    return found, at


def _token(word: str, at: int) -> Token:
    key, equals, value = word.partition("=")
    if not equals:
        return Token(key="", value=word, at=at)
    negated, least = key.endswith("!"), key.endswith(">")
    return Token(key=key.rstrip("!>"), value=value, at=at, negated=negated, least=least)


def complete(
    text: str, keys: Mapping[str, Key], seen: Callable[[str], Sequence[str]] = lambda _: ()
) -> list[str]:
    """What *text* could go on to be: whole texts, the likeliest first.

    *seen*: names for a parameter whose words are not closed.
    """
    head, _, last = text.rpartition(" ")
    begin = f"{head} " if head else ""
    name, equals, part = last.partition("=")
    if not equals:
        fresh = [key for key in keys if key.startswith(last) and f"{key}=" not in head]
        return [f"{begin}{key}=" for key in fresh][:MOST]
    key = keys.get(name.rstrip("!>"))
    if key is None:
        return []
    words = ("yes", "no") if key.flag else key.values or seen(key.param)
    head, comma, part = part.rpartition(",") if key.negated else ("", "", part)
    chosen = head.split(",")
    found = [one for one in words if one.startswith(part.lstrip('"')) and one not in chosen][
        :MOST
    ]
    begin = f"{begin}{name}={head}{comma}"
    return [f'{begin}"{one}"' if " " in one else f"{begin}{one}" for one in found]
