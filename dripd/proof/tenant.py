"""Whose messages does a simulation play? An account as the seed drew it, and its campaigns.

`TRAITS` are what campaigns can have that touches sending: each is drawn by itself, so that any
of them meets any other, and every fault.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import orjson

from dripd.campaigns.definition import Definition
from dripd.campaigns.parse import parse
from dripd.clock import DAY, HOUR, Instant

TRAITS: Final = (
    "approval", "exclusive", "frequency", "goal", "lists", "limit", "mapped", "money", "moves",
    "resets", "upfront", "waits",
)  # fmt: skip

SHARE: Final = 0.12
"""Of the accounts that have a trait: one in five has none, one in six three or more."""

SEQUEL: Final = frozenset({"exclusive", "frequency", "moves"})
"""Traits that want a second campaign for the same contacts."""

WELCOME: Final = "welcome"

FREQUENCY: Final = (2, DAY)
"""So many messages to a contact in so long."""

LIMIT: Final = 3
"""What a sender may send in a day."""

PRICE: Final = "0.01"

MAIL: Final = {"do": "email", "subject": "Hi {First Name|there}", "text": "Hello"}


@dataclass
class Tenant:
    """One account as the seed drew it; `caps`: each cap with the instant it began."""

    id: int
    key: str
    zone: str
    window: dict[str, Any] | None
    provider: str
    caps: list[tuple[Instant, int]] = field(default_factory=list)
    delays_ms: tuple[int, int] = (0, 0)
    """From the first mail to the second, and from that to the third."""
    contacts: dict[str, int] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    ids: dict[str, int] = field(default_factory=dict)
    """Of its campaigns."""
    sender: int = 0
    n_contacts: int = 0
    """How many it has ever had."""
    limited_until: Instant | None = None
    on_busy: str = "reject"

    @property
    def sells(self) -> bool:
        return not self.traits.isdisjoint({"money", "upfront"})

    @property
    def campaigns(self) -> tuple[str, ...]:
        return (WELCOME,) if self.traits.isdisjoint(SEQUEL) else (WELCOME, "sequel")

    def address(self, name: str) -> str:
        """Where its messages to a contact go."""
        return f"{name}@{'work' if 'mapped' in self.traits else 'x'}.test"

    def definitions(self, text: str) -> Iterator[Definition]:
        """Three mails for its contacts, by each of its campaigns; *text* is what they say."""
        for key in self.campaigns:
            yield _definition(orjson.dumps(self._document(key, text)))

    def _document(self, key: str, text: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "campaign": key, "account": self.key, "name": key,
            "sender": f"sales@{self.key}.test",
            "window": self.window or "off",
            "exit_rules": [{"on": "reply"}],
            "policy": {}, "steps": self._steps(key, text),
        }  # fmt: skip
        policy = document["policy"]
        for trait in sorted(self.traits):
            match trait:
                case "exclusive":
                    policy["exclusivity"] = {"scope": "account", "on_busy": self.on_busy}
                case "frequency":
                    policy["frequency"] = {"per_contact": f"{FREQUENCY[0]}/1d"}
                case "goal":
                    document["goal"] = {"on": "tag_added", "tag": "won"}
                case "lists":
                    document["triggers"] = [{"on": "list_added", "list": "leads"}]
                case "mapped":
                    document["field_map"] = {"email": "attrs.work"}
                    document["fields"] = {"work": "text"}
                case "money":
                    policy["billing"] = "per_send"
                case "upfront":
                    policy["billing"] = "upfront"
        return document

    def _steps(self, key: str, text: str) -> list[dict[str, Any]]:
        one, two = self.delays_ms
        mail = {**MAIL, "text": text}
        second: dict[str, Any] = {"key": "two", "delay": f"{one // HOUR}h", **mail}
        if "approval" in self.traits:
            second["require_approval"] = True
        if "resets" in self.traits:
            second["reset_on_interaction"] = True
        wait = {
            "key": "wait", "do": "wait_for", "on": "click", "timeout": "3h", "then": "two",
            "else": "two",
        }  # fmt: skip
        over = {"key": "over", "do": "list_add", "list": "done", "create_if_missing": True}
        if "moves" in self.traits and key == WELCOME:
            over = {"key": "over", "do": "move", "campaign": self.campaigns[-1]}
        return [
            {"key": "mark", "do": "tag_add", "tag": "in"},
            {"key": "one", **mail},
            *([wait] if "waits" in self.traits else []),
            second,
            {"key": "three", "delay": f"{two // DAY}d", **mail},
            over,
        ]


@cache
def _definition(document: bytes) -> Definition:
    return parse(orjson.loads(document))


def draw_traits(dice: random.Random) -> frozenset[str]:
    """The traits of one account; no two contradict each other."""
    drawn = {trait for trait in TRAITS if dice.random() < SHARE}
    return frozenset(drawn - ({"money"} if "upfront" in drawn else set()))
