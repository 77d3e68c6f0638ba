"""Which options are there? Every key of the configuration, with its bounds and its meaning.

Checking, `config show` and the JSON schema all read the two tables here, so that none of
them can know an option which the others do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

from dripd.admin.roles import Roster
from dripd.channels.base import ProviderSettings
from dripd.channels.reach import Reach
from dripd.clock import Millis
from dripd.engine.tuning import Tuning
from dripd.errors import near
from dripd.log import LEVELS
from dripd.ratelimit.bucket import parse_rate
from dripd.ratelimit.reputation import Guard

ENGINE: Final = Tuning()
GUARD: Final = Guard()
GIVEN: Final = ProviderSettings(name="", kind="")

UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Parse: TypeAlias = Callable[[object], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One key: how its value is read (raising `ValueError`), its default, what it is for."""

    parse: Parse
    default: object
    doc: str
    schema: Mapping[str, object]
    reference: bool = False
    secret: bool = False
    """Only a reference is taken; a value written inline is a fault."""
    least: int = 0
    """Characters that a secret has at least, where there is one."""
    live: bool = False
    """A running daemon takes it in when it reads its configuration again."""


def text(default: str, doc: str, *, reference: bool = False) -> Option:
    def parse(value: object) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError("must be a string")
        return value

    return Option(
        parse=parse, default=default, doc=doc, schema={"type": "string"}, reference=reference
    )


def secret(doc: str, *, least: int = 0) -> Option:
    """A reference to a secret of *least* characters, or nothing."""
    return replace(text("", doc, reference=True), secret=True, least=least)


def live(option: Option) -> Option:
    """*option*, taken in by a running daemon too."""
    return replace(option, live=True)


def place(default: str, doc: str) -> Option:
    """`HOST:PORT`, or "" for none."""

    def parse(value: object) -> str:
        match = re.fullmatch(r"(\S+):(\d{1,5})", value) if isinstance(value, str) else None
        if value != "" and (match is None or int(match[2]) > 65_535):
            raise ValueError('must be HOST:PORT such as "127.0.0.1:8025", or ""')
        return str(value)

    return Option(parse=parse, default=default, doc=doc, schema={"type": "string"})


def url(doc: str, *, bare: bool = True) -> Option:
    """An http(s) address, or "" for none; a *bare* one has no query and no slash at its end."""

    def parse(value: object) -> str:
        parts = urlsplit(value) if isinstance(value, str) and value.isprintable() else None
        if parts is None or (
            value and (parts.scheme not in {"http", "https"} or not parts.hostname)
        ):
            raise ValueError('must be an address such as "https://mail.example.com"')
        if parts.fragment or parts.username or " " in str(value) or (bare and parts.query):
            raise ValueError("must have no user, fragment or space, nor here a query")
        return str(value).rstrip("/") if bare else str(value)

    return Option(parse=parse, default="", doc=doc, schema={"type": "string"})


def word(default: str, words: tuple[str, ...], doc: str) -> Option:
    def parse(value: object) -> str:
        if value not in words:
            hint = near(str(value), words)
            raise ValueError(f"must be one of {', '.join(words)}" + (hint and f"; {hint}"))
        return str(value)

    return Option(parse=parse, default=default, doc=doc, schema={"enum": list(words)})


def number(default: int, low: int, high: int, doc: str) -> Option:
    """A whole number within [low, high]."""

    def parse(value: object) -> int:
        found = int(value) if isinstance(value, str) and value.isdecimal() else value
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return found

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Option(parse=parse, default=default, doc=doc, schema=schema)


def duration(default: int, low: int, high: int, doc: str) -> Option:
    """Text such as `25s`, as milliseconds within [low, high]."""

    def parse(value: object) -> Millis:
        match = (
            re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", value) if isinstance(value, str) else None
        )
        if match is None:
            raise ValueError('must be a duration such as "25s" (ms, s, m, h, d)')
        found = int(match[1]) * UNITS[match[2]]
        if not low <= found <= high:
            raise ValueError(f"must lie between {low} ms and {high} ms")
        return Millis(found)

    schema = {"type": "string", "pattern": r"^\d+(ms|s|m|h|d)$"}
    return Option(parse=parse, default=Millis(default), doc=doc, schema=schema)


def optional(option: Option) -> Option:
    """*option*, or "" for none, which is its default."""

    def parse(value: object) -> object:
        return None if value == "" else option.parse(value)

    pattern = str(option.schema["pattern"])
    schema = {"type": "string", "pattern": f"^$|{pattern}"}
    return replace(option, parse=parse, default=None, schema=schema)


def words(default: tuple[str, ...], doc: str) -> Option:
    """A list of strings; in the environment, words with commas between."""

    def parse(value: object) -> tuple[str, ...]:
        found = [w.strip() for w in value.split(",")] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(w, str) and w for w in found):
            raise ValueError('must be a list of strings such as ["@dripd", "ann"]')
        return tuple(found)

    schema = {"type": "array", "items": {"type": "string"}}
    return Option(parse=parse, default=default, doc=doc, schema=schema)


def reachable(doc: str) -> Option:
    """A list of networks and of hosts, each by its full name."""
    option = words((), doc)

    def parse(value: object) -> tuple[str, ...]:
        found = cast("tuple[str, ...]", option.parse(value))
        Reach(found)
        return found

    return replace(option, parse=parse)


def rate(doc: str, default: str = "") -> Option:
    """A rate; where there is one by *default*, "" means none."""

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError('must be a rate such as "20/s"')
        if value or not default:
            parse_rate(value)
        return value

    return Option(parse=parse, default=default, doc=doc, schema={"type": "string"})


def rates(doc: str) -> Option:
    """A table of rates."""

    def parse(value: object) -> Mapping[str, str]:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise ValueError('must be a table of rates such as {"x.test" = "5/s"}')
        for one in value.values():
            parse_rate(one)
        return dict(value)

    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    return Option(parse=parse, default={}, doc=doc, schema=schema)


SECTIONS: Final[Mapping[str, Mapping[str, Option]]] = {
    "postgres": {
        "dsn": text("", "the database; empty: an embedded one", reference=True),
        "patience": duration(
            15_000, 1_000, 600_000, "how long a statement may take, and an answer be waited for"
        ),
    },
    "admin.roles": {
        "viewer": live(words(Roster().viewer, "users and @groups who may look")),
        "member": live(
            words(Roster().member, "users and @groups who may act on what they own")
        ),
        "admin": live(words(Roster().admin, "users and @groups who may do everything")),
    },
    "daemon": {
        "env": text("", "the deployment's name, shown to operators, such as prod-eu"),
        "node": text("", "this daemon's name; empty: the host's"),
        "drain_timeout": live(duration(25_000, 0, 600_000, "how long in-flight work may end")),
    },
    "log": {
        "level": live(word("info", tuple(LEVELS), "what is written")),
        "format": word("auto", ("auto", "json", "console"), "auto: console on a terminal"),
    },
    "gateway": {
        "listen": place(
            "127.0.0.1:0", "where HTTP is answered; port 0: a free one; empty: nowhere"
        ),
        "public_url": url("the address at which recipients and providers reach the gateway"),
        "secret": secret("signs links; empty: a key kept in the state directory", least=24),
    },
    "metrics": {
        "listen": place(
            "127.0.0.1:9464",
            "where /metrics, /livez and /readyz are answered; unless set, a free port where "
            "this one is in use; empty: nowhere",
        ),
        "campaigns": number(
            0,
            0,
            50,
            "campaigns that have series of their own; the others are counted as `other`",
        ),
    },
    "journal": {
        "fsync": word(
            "off",
            ("off", "batch", "always"),
            "when the intent journal is on the disk: as the system likes, five times a second, or "
            "before each message leaves; it matters for a power cut alone",
        ),
    },
    "net": {
        "allow": reachable("networks and hosts, not public, that connectors may reach"),
    },
    "engine": {
        name: live(option)
        for name, option in {
            "horizon": duration(
                ENGINE.horizon_ms, 1_000, 3_600_000, "how far ahead the wheel is loaded"
            ),
            "keys": number(
                ENGINE.keys, 1_000, 10_000_000, "keys in memory up to which lanes are filled"
            ),
            "batch": number(ENGINE.batch, 1, 5_000, "most steps of one lease or record"),
            "in_flight": number(
                ENGINE.in_flight, 1, 100_000, "most leased and unanswered steps"
            ),
            "lease_ahead": duration(
                ENGINE.lease_ahead_ms, 0, 1_000, "how long before its due a step is leased"
            ),
            "coalesce": duration(
                ENGINE.coalesce_ms, 0, 1_000, "how long a quiet lease waits for company"
            ),
            "poll": duration(ENGINE.poll_ms, 10, 60_000, "how often new work is looked for"),
            "relearn": duration(
                ENGINE.relearn_ms,
                1_000,
                3_600_000,
                "within what time each account is read anew",
            ),
            "admit_batch": number(
                ENGINE.admit_batch, 1, 10_000, "most requests decided in one transaction"
            ),
            "window_margin": duration(
                ENGINE.window_margin_ms,
                0,
                30_000,  # less than the shortest window, which would never be open
                "how long before its window closes no message is let go any more",
            ),
            "send_timeout": duration(
                ENGINE.send_timeout_ms,
                1_000,
                600_000,
                "most time one call of a channel may take",
            ),
            "node_timeout": duration(
                ENGINE.node_timeout_ms,
                1_000,
                600_000,
                "without a heartbeat for this long a daemon counts as dead",
            ),
            "catchup_rate": rate(
                "how fast an account's steps go that came due while no daemon was at work, while "
                "they were paused, or while their provider failed; empty: like all others",
                ENGINE.catchup_rate,
            ),
            "catchup_after": duration(
                ENGINE.catchup_after_ms,
                60_000,
                30 * 86_400_000,
                "without a daemon, paused or without a provider for longer than this, what came "
                "due is paced",
            ),
            "retention_days": number(
                ENGINE.retention_days, 0, 36_500, "days until partitions go; 0: never"
            ),
        }.items()
    },
    "reputation": {
        name: live(option)
        for name, option in {
            "most_bounces": number(
                GUARD.bounces_permille,
                0,
                1_000,
                "a sender of which more in a thousand bounce is paused; 0: none is",
            ),
            "most_complaints": number(
                GUARD.complaints_permille,
                0,
                1_000,
                "a sender of which more in a thousand are complained of is paused; 0: none is",
            ),
            "least": number(
                GUARD.least, 1, 1_000_000, "messages below which a sender is not judged"
            ),
            "window": duration(
                GUARD.window_ms, 60_000, 90 * 86_400_000, "the time over which it is"
            ),
        }.items()
    },
}
"""Every section with fixed keys; `[provider.NAME]` has `PROVIDER` and its kind's own."""

SCRIPT: Final[Mapping[str, Option]] = {
    "url": url("where the script is called by POST", bare=False),
    "secret": secret("signs the calls, as Standard Webhooks have it"),
    "timeout": duration(10_000, 100, 60_000, "deadline of one call"),
}
"""`[script.NAME]`: what a `script` step may call."""

PROVIDER: Final[Mapping[str, Option]] = {
    "kind": text("", "the adapter: sink, smtp, sendgrid ..."),
    "base_url": text("", "where the provider answers, instead of its usual address"),
    "timeout": duration(GIVEN.timeout_ms, 100, 600_000, "deadline of one request"),
    "max_connections": number(GIVEN.max_connections, 1, 1_000, "most connections at once"),
    "batch": number(GIVEN.batch, 0, 1_000, "messages a call; 0: as the adapter likes"),
    "rate": rate("most messages a time, such as 20/s"),
    "retry_share": number(GIVEN.retry_share, 0, 100, "retries, in percent of first tries"),
    "retry_floor": number(
        GIVEN.retry_floor, 1, 10_000, "retries a second that may go whatever the share"
    ),
    "webhook_secret": secret(
        "proves the provider's events at /hooks/NAME; empty: none come in"
    ),
    "webhook_topic": text("", "for ses: the ARN of the SNS topic whose events count"),
    "inbound_secret": secret(
        "for sendgrid: proves inbound mail, the password in the address that it calls or the "
        "verification key of its security policy"
    ),
    "inbound_topic": text("", "for ses: the ARN of the SNS topic of inbound mail"),
    "unknown": word(
        "",
        ("", "retry", "presume", "ask"),
        "what is done about a message that may have left: retry under the same key, presume it "
        "sent, or ask; empty: retry where the provider honours keys, else presume",
    ),
    "unknown_after": optional(
        duration(0, 0, 30 * UNITS["d"], "how long it stays in doubt before it is presumed sent")
    ),
    "domains": rates('rates by recipient domain, such as {"x.test" = "5/s", "*" = "50/s"}'),
}


def is_live(key: str) -> bool:
    """Whether a change of *key* (`engine.batch`) needs no restart."""
    section, _, name = key.rpartition(".")
    option = SECTIONS.get(section, {}).get(name)
    return option is not None and option.live


def schema() -> dict[str, object]:
    """The JSON Schema of a configuration file, for editors."""
    top: dict[str, object] = {name: table_schema(o) for name, o in SECTIONS.items()}
    roles = top.pop("admin.roles")
    top["admin"] = closed({"roles": roles})
    provider = {**table_schema(PROVIDER), "additionalProperties": True, "required": ["kind"]}
    script = {**table_schema(SCRIPT), "required": ["url"]}
    top["script"] = {"type": "object", "additionalProperties": script}
    top["provider"] = {"type": "object", "additionalProperties": provider}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **closed(top)}


def table_schema(options: Mapping[str, Option]) -> dict[str, object]:
    return closed({k: {**o.schema, "description": described(o)} for k, o in options.items()})


def described(option: Option) -> str:
    """What it is for, and whether a reload is enough for it."""
    return f"{option.doc} (reloadable)" if option.live else option.doc


def closed(properties: Mapping[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}
