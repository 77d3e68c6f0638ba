"""Whose messages does a simulation play? An account as the seed drew it, and its campaigns.

`TRAITS` are what campaigns can have that touches sending: each is drawn by itself, so that any
of them meets any other, and every fault.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, Final

import orjson

from dripd.campaigns.definition import Definition
from dripd.campaigns.parse import parse
from dripd.clock import DAY, HOUR, Instant

TRAITS: Final = (
    "approval", "exclusive", "frequency", "goal", "lists", "limit", "mapped", "money", "moves",
    "pool", "ramp", "resets", "texts", "upfront", "waits",
)  # fmt: skip

SHARE: Final = 0.12
"""Of the accounts that have a trait: one in seven has none, one in four three or more."""

SEQUEL: Final = frozenset({"exclusive", "frequency", "moves"})
"""Traits that want a second campaign for the same contacts."""

WELCOME: Final = "welcome"

FREQUENCY: Final = (2, DAY)
"""So many messages to a contact in so long."""

LIMIT: Final = 3
"""What a sender may send in a day."""

RAMP: Final = (2, 1)
"""What a new sender may send on its first day, and how much more on each after it."""

POOL: Final = ("sales", "hello", "team")

PRICE: Final = "0.01"

MAIL: Final = {"do": "email", "subject": "Hi {First Name|there}"}

TEXT: Final = "two"
"""The message that goes by text where an account sends any."""

Mails = tuple[tuple[str, int], ...]
"""The keys of a campaign's mails in their order, each with its delay after the one before."""

MODES: Final = ("pin", "pin", "terminate", "migrate", "migrate")
"""What becomes of live runs when a version is published."""


@dataclass(frozen=True)
class Edition:
    """A version of a campaign, when it was published, and whether runs passed to it."""

    mails: Mails
    at: Instant
    mode: str

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.mails]


def words(version: int, key: str) -> str:
    """What the mail *key* of a version says."""
    return f"Hello {version} {key}"


def read_words(body: str) -> tuple[int, str]:
    """The version and the key of a mail that says *body*."""
    version, key = body.rpartition("Hello ")[2].split()[:2]
    return int(version), key


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
    editions: dict[str, list[Edition]] = field(default_factory=dict)
    """Of its campaigns, the versions in their order."""
    senders: list[int] = field(default_factory=list)
    """Those that its mails leave from."""
    began: date = date.min
    """The local day on which its senders were new."""
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

    @property
    def sales(self) -> list[str]:
        """The addresses that its mails leave from."""
        names = POOL if "pool" in self.traits else POOL[:1]
        return [f"{name}@{self.key}.test" for name in names]

    def most(self, day: date) -> int | None:
        """What one of its senders may send on a local day."""
        first, more = RAMP
        wanted = [LIMIT] if "limit" in self.traits else []
        if "ramp" in self.traits:
            wanted.append(first + more * max(0, (day - self.began).days))
        return min(wanted, default=None)

    def phone(self, name: str) -> str:
        return f"+49151{self.id}{name.rpartition('c')[2]:0>6}"

    def address(self, name: str) -> str:
        """Where its messages to a contact go."""
        return f"{name}@{'work' if 'mapped' in self.traits else 'x'}.test"

    @property
    def mails(self) -> Mails:
        """With what its campaigns begin."""
        one, two = self.delays_ms
        return (("one", 0), ("two", one), ("three", two))

    def definition(self, campaign: str, mails: Mails) -> Definition:
        """The next version of a campaign: *mails* for its contacts."""
        version = len(self.editions.get(campaign, ())) + 1
        return _definition(orjson.dumps(self._document(campaign, version, mails)))

    def _document(self, key: str, version: int, mails: Mails) -> dict[str, Any]:
        document: dict[str, Any] = {
            "campaign": key, "account": self.key, "name": key,
            "sender": ",".join(self.sales),
            "window": self.window or "off",
            "exit_rules": [{"on": "reply"}],
            "policy": {}, "steps": self._steps(key, version, mails),
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

    def _steps(self, key: str, version: int, mails: Mails) -> list[dict[str, Any]]:
        sent = [self._mail(version, *one) for one in mails]
        steps = [{"key": "mark", "do": "tag_add", "tag": "in"}, sent[0]]
        if "waits" in self.traits and len(sent) > 1:
            after = sent[1]["key"]
            steps.append({
                "key": "wait", "do": "wait_for", "on": "click", "timeout": "3h",
                "then": after, "else": after,
            })  # fmt: skip
        over = {"key": "over", "do": "list_add", "list": "done", "create_if_missing": True}
        if "moves" in self.traits and key == WELCOME:
            over = {"key": "over", "do": "move", "campaign": self.campaigns[-1]}
        return [*steps, *sent[1:], over]

    def _mail(self, version: int, key: str, delay_ms: int) -> dict[str, Any]:
        mail: dict[str, Any] = {
            "key": key,
            "delay": f"{delay_ms // HOUR}h",
            "text": words(version, key),
            **MAIL,
        }
        if "texts" in self.traits and key == TEXT:
            mail = {**mail, "do": "sms"}
            del mail["subject"]
        if "approval" in self.traits and key != "one":
            mail["require_approval"] = True
        if "resets" in self.traits and key == "two":
            mail["reset_on_interaction"] = True
        return mail


@cache
def _definition(document: bytes) -> Definition:
    return parse(orjson.loads(document))


def draw_traits(dice: random.Random) -> frozenset[str]:
    """The traits of one account; no two contradict each other."""
    drawn = {trait for trait in TRAITS if dice.random() < SHARE}
    return frozenset(drawn - ({"money"} if "upfront" in drawn else set()))


def draw_mails(dice: random.Random, mails: Mails) -> Mails:
    """*mails* as somebody edits them: delays change, one goes, one comes, two change places."""
    edited = list(mails)
    at = dice.randrange(len(edited))
    match dice.choice(("words", "delay", "drop", "add", "swap")):
        case "delay":
            edited[at] = (edited[at][0], dice.randint(1, 40) * HOUR)
        case "drop" if len(edited) > 1:
            del edited[at]
        case "add" if "four" not in dict(edited):
            edited.insert(at, ("four", dice.randint(0, 40) * HOUR))
        case "swap":
            edited[at], edited[-1] = edited[-1], edited[at]
    return tuple(edited)
