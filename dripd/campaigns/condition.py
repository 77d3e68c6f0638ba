"""Does a step's `when:` hold? A small language of facts, compiled once to closures.

Grammar, loosest first: `or`, `and`, `not`, one comparison
(`== != < <= > >= in`, `not in`), and as operands facts, literals (`'x' "x" 5 -1.5 true false
null [..]`) and parentheses. Facts: `attrs.x contact.x company.x vars.x`, deeper by more dots,
any key by `attrs['First Name']`; `tags lists events` as collections.

A missing fact is null. Null equals only null, and is neither less nor greater than anything
nor in anything (but a list that spells it). Values of different types are never equal and
never ordered: `attrs.n == '5'` is false for the number 5. A fact alone asks whether it is
neither null, false, 0 nor empty. Nothing here can raise once compiled.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

MAX_CHARS = 4096
"""Longer than any condition somebody can still read."""

MAX_DEPTH = 32
"""Parentheses, lists and `not` may nest so deep: far below Python's own recursion limit."""

MAPPINGS = frozenset({"attrs", "contact", "company", "vars"})
COLLECTIONS = frozenset({"tags", "lists", "events"})
CONSTANTS: Mapping[str, object] = {"true": True, "false": False, "null": None}
ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Facts: TypeAlias = Mapping[str, object]
Reading: TypeAlias = Callable[[Facts], object]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?)
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>==|!=|<=|>=|[<>()\[\],.\-])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; two are equal if their texts are.

    `needs` names the facts it reads among `attrs contact company vars tags lists events`.
    """

    text: str
    needs: frozenset[str] = field(compare=False)
    reading: Reading = field(compare=False, repr=False)

    def __call__(self, facts: Facts) -> bool:
        """Judge *facts*; a key that is absent reads as null, or as an empty collection."""
        return bool(self.reading(facts))


def compile_condition(text: str) -> Condition:
    """Compile *text*. Raises `ValueError`, naming the column (from 1) where it goes wrong."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"a condition has at most {MAX_CHARS} characters")
    parser = _Parser(text)
    reading = parser.either()
    if parser.kind != "end":
        raise parser.wrong("the end, `and` or `or`")
    return Condition(text, frozenset(parser.needs), reading)


class _Parser:
    """Recursive descent over tokens; stands on `kind` and `token`, which begins at `at`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.needs: set[str] = set()
        self.depth = 0
        self.stop = 0
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self.text, self.stop)
        if found is None:
            column = len(self.text) - len(self.text[self.stop :].lstrip()) + 1
            raise ValueError(f"column {column}: cannot read {self.text[column - 1 :][:12]!r}")
        self.kind = str(found.lastgroup)
        self.token = found[self.kind]
        self.at, self.stop = found.start(self.kind), found.end()

    def wrong(self, wanted: str) -> ValueError:
        seen = repr(self.token) if self.kind != "end" else "the end"
        return ValueError(f"column {self.at + 1}: expected {wanted}, found {seen}")

    def accept(self, token: str) -> bool:
        """Step over *token* if it stands here; text in quotes is never a token."""
        if self.kind == "text" or self.token != token or self.kind == "end":
            return False
        self.advance()
        return True

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise self.wrong(f"`{token}`")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError(f"column {self.at + 1}: nested deeper than {MAX_DEPTH}")

    def either(self) -> Reading:
        readings = [self.both()]
        while self.accept("or"):
            readings.append(self.both())
        return readings[0] if len(readings) == 1 else _any(readings)

    def both(self) -> Reading:
        readings = [self.negation()]
        while self.accept("and"):
            readings.append(self.negation())
        return readings[0] if len(readings) == 1 else _all(readings)

    def negation(self) -> Reading:
        if not self.accept("not"):
            return self.comparison()
        self.deeper()
        inner = self.negation()
        self.depth -= 1
        return lambda facts: not inner(facts)

    def comparison(self) -> Reading:
        left = self.operand()
        sign = self.token if self.kind in {"sign", "word"} else ""
        if sign in {"==", "!="}:
            self.advance()
            return _equality(left, self.operand(), wanted=sign == "==")
        if sign in ORDERS:
            self.advance()
            return _order(ORDERS[sign], left, self.operand())
        if sign == "in":
            self.advance()
            return _membership(left, self.operand(), wanted=True)
        if sign == "not":
            self.advance()
            self.expect("in")
            return _membership(left, self.operand(), wanted=False)
        return left

    def operand(self) -> Reading:
        match self.kind:
            case "number":
                return _constant(self.number())
            case "text":
                return _constant(self.quoted())
            case "word":
                return self.name()
        if self.accept("-"):
            if self.kind != "number":
                raise self.wrong("a number")
            return _constant(-self.number())
        if self.token == "(":
            return self.group()
        if self.token == "[":
            return self.items()
        raise self.wrong("a value")

    def number(self) -> int | float:
        token = self.token
        self.advance()
        return float(token) if "." in token else int(token)

    def quoted(self) -> str:
        token = self.token
        self.advance()
        return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)

    def group(self) -> Reading:
        self.deeper()
        self.advance()
        inner = self.either()
        self.expect(")")
        self.depth -= 1
        return inner

    def items(self) -> Reading:
        self.deeper()
        self.advance()
        readings: list[Reading] = []
        while not self.accept("]"):
            if readings:
                self.expect(",")
            readings.append(self.operand())
        self.depth -= 1
        return lambda facts: [reading(facts) for reading in readings]

    def name(self) -> Reading:
        word, at = self.token, self.at
        if word in CONSTANTS:
            self.advance()
            return _constant(CONSTANTS[word])
        if word not in MAPPINGS | COLLECTIONS:
            known = " ".join(sorted(MAPPINGS | COLLECTIONS))
            raise ValueError(f"column {at + 1}: unknown fact {word!r}; there are {known}")
        self.advance()
        self.needs.add(word)
        if word in COLLECTIONS:
            return lambda facts: facts.get(word, ())
        return _path(word, self.keys(word))

    def keys(self, word: str) -> tuple[str, ...]:
        keys: list[str] = []
        while self.kind == "sign" and self.token in {".", "["}:
            dotted = self.token == "."
            self.advance()
            if self.kind != ("word" if dotted else "text"):
                raise self.wrong("a name" if dotted else "a name in quotes")
            keys.append(self.token if dotted else self.quoted())
            if dotted:
                self.advance()
            else:
                self.expect("]")
        if not keys:
            raise self.wrong(f"`.` and a name after `{word}`")
        return tuple(keys)


def _constant(value: object) -> Reading:
    return lambda _facts: value


def _any(readings: list[Reading]) -> Reading:
    return lambda facts: any(reading(facts) for reading in readings)


def _all(readings: list[Reading]) -> Reading:
    return lambda facts: all(reading(facts) for reading in readings)


def _path(root: str, keys: tuple[str, ...]) -> Reading:
    def read(facts: Facts) -> object:
        value = facts.get(root)
        for key in keys:
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    return read


def _equality(left: Reading, right: Reading, *, wanted: bool) -> Reading:
    return lambda facts: _equal(left(facts), right(facts)) is wanted


def _order(order: Callable[[Any, Any], bool], left: Reading, right: Reading) -> Reading:
    def holds(facts: Facts) -> bool:
        one, other = left(facts), right(facts)
        return _type(one) == _type(other) in {"number", "text"} and order(one, other)

    return holds


def _membership(left: Reading, right: Reading, *, wanted: bool) -> Reading:
    return lambda facts: _contains(right(facts), left(facts)) is wanted


def _contains(container: object, value: object) -> bool:
    if isinstance(container, str):
        return isinstance(value, str) and value in container
    if isinstance(container, Mapping) or not isinstance(container, Collection):
        return False
    if isinstance(container, set | frozenset | dict) and isinstance(value, str):
        return value in container
    return any(_equal(item, value) for item in container)


def _equal(one: object, other: object) -> bool:
    return _type(one) == _type(other) and one == other


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__
