"""What is a call, and what answers it: the types between the socket and the handlers.

A `Spec` says what a method takes and who may call it, a `Method` adds the handler, a `Call`
is one use of it. The table of methods is an explicit mapping; no name that a client sends is
ever looked up anywhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec
import msgspec.inspect

from dripd.admin.roles import Role
from dripd.errors import BadRequest, near

ENVELOPE: Final = ("request_id", "reason", "dry_run", "yes", "as", "expect", "plan_id")
"""Keys of `params` that belong to every call and to no method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a plan said would be touched: how many things, and the digest of which."""

    n: int
    digest: str


def digest(ids: Iterable[int | str]) -> str:
    """One word for a set of things, whatever their order."""
    return sha256("\n".join(sorted(map(str, ids))).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls what, and how it is meant.

    `request_id` makes a repeated mutating call have one effect; `dry_run` forbids any effect;
    `yes` confirms; `as_name` is the operator for whom an admin acts. `expect` says what must
    still stand before the change, `promise` what exactly it may touch: else nothing is done.
    """

    method: str
    uid: int
    pid: int
    user: str
    role: Role
    why: str
    as_name: str | None = None
    request_id: str | None = None
    reason: str = ""
    dry_run: bool = False
    yes: bool = False
    expect: Mapping[str, object] | None = None
    promise: Promise | None = None

    @property
    def actor(self) -> str:
        """The name under which this is done."""
        return self.as_name or self.user


Handler: TypeAlias = Callable[[Call, Any], Awaitable[object]]
"""Performs a call; answers with JSON values or raises a `DripdError`.

Its second parameter is the method's own params struct: `Any`, since a table of handlers of
different structs has no narrower type.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a method takes, from which role on it may be called, whether it changes anything.

    `view`: its answer can be kept up to date; its items are known by these columns, a record
    has none (an empty tuple). None: it is only asked once. `personal`: its answer may hold
    values of contacts, which not everybody sees.
    """

    name: str
    params: type[msgspec.Struct]
    role: Role
    mutating: bool = False
    dry_run: bool = False
    view: tuple[str, ...] | None = None
    personal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method with what performs it."""

    spec: Spec
    handler: Handler


Table: TypeAlias = Mapping[str, Method]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys that belong to every call; `reason` has at most 1000 characters."""

    request_id: str | None = None
    reason: str = ""
    dry_run: bool = False
    yes: bool = False
    as_name: str | None = msgspec.field(default=None, name="as")
    expect: dict[str, object] | None = None
    plan_id: str | None = None


def split(params: Mapping[str, object]) -> tuple[Envelope, dict[str, object]]:
    """Part the envelope from the method's own arguments.

    Raises `BadRequest` with the path of a value of the wrong type.
    """
    outer = {key: params[key] for key in ENVELOPE if key in params}
    inner = {key: value for key, value in params.items() if key not in ENVELOPE}
    return decode(Envelope, outer), inner


_MISSING = "Object missing required field"


def decode(kind: type[Any], params: Mapping[str, object]) -> Any:
    """*params* as the struct *kind*; raises `BadRequest` that says which key is wrong."""
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in params:
        if key not in known:
            hint = near(key, known, f"known: {', '.join(known) or 'none'}")
            raise BadRequest(f"unknown argument {key!r}", path=key, hint=hint)
    try:
        return msgspec.convert(dict(params), kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        where = path.split("`")[-2].removeprefix("$").removeprefix(".") if path else ""
        if text.startswith(_MISSING):
            lacking = text.split("`")[1]
            where = f"{where}.{lacking}" if where else lacking
            raise BadRequest(
                f"{lacking} is missing", path=where, hint=f"give {where}"
            ) from error
        if text.endswith("of length >= 1"):
            raise BadRequest("must not be empty", path=where, hint=f"give {where}") from error
        words = choices(kind, where) if text.startswith("Invalid enum value") else ()
        hint = f"known: {', '.join(words)}" if words else ""
        raise BadRequest(text, path=where, hint=hint) from error


def choices(kind: type[Any], path: str) -> tuple[str, ...]:
    """The words of the argument at *path*, where it takes some words alone."""
    name = path.partition(".")[0].partition("[")[0]
    field = next((one for one in msgspec.structs.fields(kind) if one.encode_name == name), None)
    return () if field is None else tuple(_words(msgspec.inspect.type_info(field.type)))


def _words(info: object) -> Iterator[str]:
    match info:
        case msgspec.inspect.LiteralType(values=values):
            yield from map(str, values)
        case msgspec.inspect.UnionType(types=types):
            for one in types:
                yield from _words(one)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            yield from _words(key)
            yield from _words(value)
        case (
            msgspec.inspect.ListType(item_type=item)
            | msgspec.inspect.VarTupleType(item_type=item)
        ):
            yield from _words(item)
