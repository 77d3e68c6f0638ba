"""What did a provider tell us? One value for the events of all of them.

It names its delivery by what we gave the provider (our key, our Message-ID) or by what the
provider gave us (its id, the address); finding the delivery is the store's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import orjson

from dripd.campaigns.document import UNFIT
from dripd.channels.mime import own_message_id
from dripd.clock import Instant

Kind: TypeAlias = Literal[
    "delivered", "failed", "open", "click", "bounce", "complaint", "unsubscribe", "reply",
    "interaction", "form",
]  # fmt: skip
"""`delivered` and `failed` say what became of a message; the others are events of `event_in`."""

KINDS = frozenset(get_args(Kind))

_KEY = re.compile(
    r"dripd:([^:]+):(?:([0-9]{1,18}):([0-9]{1,9}):([A-Za-z0-9_-]{1,63})|i-([0-9]{1,18}))"
)


class Key(NamedTuple):
    """An idempotency key, taken apart; `individual` is that of a message sent by hand."""

    enrollment_id: int | None
    run_no: int | None
    step_key: str | None
    individual: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One event. `id` is the provider's own, or made of all that it said.

    `key` is our idempotency key as it came back. `sender` is our own address or number,
    where the event came in by it. `account` is an account's key, `conversation_ref`
    a conversation: what an integration of one's own may name instead.
    """

    kind: Kind
    id: str
    at: Instant | None = None
    key: str = ""
    provider_id: str = ""
    address: str = ""
    sender: str = ""
    account: str = ""
    delivery_id: str = ""
    conversation_ref: str = ""
    payload: Mapping[str, object] = field(default_factory=dict)


TOLD = tuple(one.name for one in fields(Happened) if one.name not in {"kind", "at"})


def storable(one: Happened) -> Happened:
    """*one* without what Postgres cannot hold: NUL, half a surrogate pair. Anybody may write
    them into a mail or a form, and the provider would send them again and again."""
    told = {name: getattr(one, name) for name in TOLD}
    return replace(one, **{name: _clean(value) for name, value in told.items()})


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return UNFIT.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value


def read_key(key: str, deployment: str) -> Key | None:
    """The parts of an idempotency key; None where it is none of this deployment."""
    found = _KEY.fullmatch(key)
    if found is None or found[1] != deployment:
        return None
    if found[5]:
        return Key(None, None, None, int(found[5]))
    return Key(int(found[2]), int(found[3]), found[4])


def key_of_reply(references: Iterable[str], deployment: str) -> str:
    """The key of the newest of our messages among *references*, "" where there is none.

    *references* are Message-IDs, the newest first.
    """
    for message_id in references:
        key = own_message_id(message_id, deployment)
        if key:
            return key
    return ""


def id_of(*parts: object) -> str:
    """An id made of *parts*, for a provider that gives none: the same for the same event."""
    return sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
