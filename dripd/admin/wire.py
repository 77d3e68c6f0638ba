"""Which bytes travel over the admin socket: JSON-RPC 2.0, one object per line, sans I/O.

The trio server and the blocking client share this file, so it knows neither. A `Decoder`
turns bytes into messages however they were split; what breaks the protocol becomes a
`WireFault`, a value, for the reader alone decides whether to answer it or to hang up.
Errors of dripd cross the wire whole: `pack_error` and `unpack_error` keep class, code word,
message, path, hint, faults and thereby the exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias, assert_never

import orjson

from dripd.errors import (
    BadRequest,
    Busy,
    ConfigError,
    Conflict,
    DefinitionError,
    DripdError,
    Fault,
    InDoubt,
    NotFound,
    NotPermitted,
    OwnWireError,
    PeerWireError,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
    TemplateError,
    TimedOut,
    Unreachable,
    WireError,
)

PROTO: Final = (1, 0)
"""Major and minor version: the same major is required, a minor only adds."""

MAX_LINE: Final = 1024 * 1024
"""Most bytes of a line, without its newline; the limit holds in both directions."""

MAX_DEPTH: Final = 16
"""Most arrays and objects inside each other, the message itself counted."""

MAX_NUMBER: Final = 2**53 - 1
"""Numbers beyond it in either direction are refused: not every peer can hold them."""

DUMP: Final = orjson.OPT_UTC_Z | orjson.OPT_STRICT_INTEGER

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
UNKNOWN_METHOD: Final = -32601
BAD_PARAMS: Final = -32602
INTERNAL: Final = -32603
FAILED: Final = -32000
DENIED: Final = -32001
NOT_FOUND: Final = -32002
CONFLICT: Final = -32003
PLAN: Final = -32004
BUSY: Final = -32005
TIMED_OUT: Final = -32006

KINDS: Final[Mapping[str, tuple[type[DripdError], int]]] = {
    "failed": (DripdError, FAILED),
    "bad_request": (BadRequest, BAD_PARAMS),
    "busy": (Busy, BUSY),
    "config": (ConfigError, FAILED),
    "conflict": (Conflict, CONFLICT),
    "definition": (DefinitionError, FAILED),
    "in_doubt": (InDoubt, FAILED),
    "not_found": (NotFound, NOT_FOUND),
    "not_permitted": (NotPermitted, DENIED),
    "own_wire": (OwnWireError, INTERNAL),
    "peer_wire": (PeerWireError, INVALID_REQUEST),
    "schema": (SchemaMismatch, FAILED),
    "store": (StoreError, FAILED),
    "store_unavailable": (StoreUnavailable, FAILED),
    "template": (TemplateError, FAILED),
    "timed_out": (TimedOut, TIMED_OUT),
    "unreachable": (Unreachable, FAILED),
    "wire": (WireError, INTERNAL),
}
"""Every class that crosses the wire, by its name there, with its JSON-RPC error code."""

KIND_OF: Final = {cls: kind for kind, (cls, _) in KINDS.items()}

MessageId: TypeAlias = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call that wants an answer."""

    id: MessageId
    method: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message that wants none: `hello`, `client.hello`, `cancel`, `ping`, `bye`."""

    method: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a request; an `orjson.Fragment` as result travels as it stands."""

    id: MessageId
    result: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The answer to a request that failed; `id` is None where it could not be read."""

    id: MessageId | None
    code: int
    message: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFault:
    """What the peer sent is no message; after a `fatal` one nothing more can be read."""

    code: int
    message: str
    id: MessageId | None = None
    fatal: bool = False


Message: TypeAlias = Request | Notice | Reply | Failure


class Decoder:
    """Bytes in, messages out; any split of the bytes gives the same messages.

    Holds at most one unfinished line of `limit` bytes. A longer one is refused as soon as it
    is known to be longer, fatally, since there is no telling where the next one begins.
    """

    __slots__ = ("_broken", "_buffer", "_limit", "_scanned")

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._broken = False

    def feed(self, data: bytes) -> list[Message | WireFault]:
        """All messages that *data* completes, in order; nothing after a fatal fault."""
        found: list[Message | WireFault] = []
        if self._broken:
            return found
        self._buffer += data
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._scanned))) >= 0:
            if end - start > self._limit:
                return [*found, self._give_up()]
            found += read_line(bytes(self._buffer[start:end]))
            start = end + 1
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        return [*found, self._give_up()] if self._scanned > self._limit else found

    def _give_up(self) -> WireFault:
        self._broken = True
        self._buffer.clear()
        return WireFault(
            code=INVALID_REQUEST,
            message=f"a line is longer than {self._limit} bytes; send it in pieces",
            fatal=True,
        )


def read_line(line: bytes) -> list[Message | WireFault]:
    """The message on *line*, or the fault in it; nothing for an empty line."""
    if not line.strip():
        return []
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return [WireFault(code=PARSE_ERROR, message=f"not one JSON object a line: {error}")]
    if wrong := outside_limits(value):
        return [WireFault(code=INVALID_REQUEST, message=wrong, id=id_of(value))]
    return [classify(value)]


def outside_limits(value: object) -> str:
    """What breaks the limits on depth and numbers, or an empty string."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[object] = []
        for item in level:
            if isinstance(item, dict):
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
            elif isinstance(item, int | float) and not -MAX_NUMBER <= item <= MAX_NUMBER:
                return "a number lies beyond 2^53; send it as a string"
        if not deeper:
            return ""
        level = deeper
    return f"nested deeper than {MAX_DEPTH}"


def id_of(value: object) -> MessageId | None:
    """The usable id of a message that may be broken otherwise."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def classify(value: object) -> Message | WireFault:
    """Tell requests, notices, replies and failures apart."""
    if isinstance(value, list):
        return WireFault(code=INVALID_REQUEST, message="batches are not spoken; one a line")
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        return WireFault(
            code=INVALID_REQUEST, message='no JSON-RPC 2.0 object ("jsonrpc": "2.0")'
        )
    if "method" in value:
        return classify_call(value)
    return classify_answer(value)


def classify_call(value: dict[str, object]) -> Message | WireFault:
    method, params, call_id = value["method"], value.get("params", {}), id_of(value)
    if not isinstance(method, str) or not isinstance(params, dict):
        return WireFault(
            code=INVALID_REQUEST,
            message="method must be a string and params an object",
            id=call_id,
        )
    if "id" not in value:
        return Notice(method=method, params=params)
    if call_id is None:
        return WireFault(code=INVALID_REQUEST, message="id must be a string or an integer")
    return Request(id=call_id, method=method, params=params)


def classify_answer(value: dict[str, object]) -> Message | WireFault:
    call_id, error = id_of(value), value.get("error")
    if "result" in value and "error" not in value and call_id is not None:
        return Reply(id=call_id, result=value["result"])
    if isinstance(error, dict) and "result" not in value:
        code, message, data = error.get("code"), error.get("message"), error.get("data", {})
        if isinstance(code, int) and isinstance(message, str) and isinstance(data, dict):
            return Failure(id=call_id, code=code, message=message, data=data)
    return WireFault(code=INVALID_REQUEST, message="neither a call nor an answer", id=call_id)


def encode(message: Message) -> bytes:
    """One line, newline included.

    Raises `OwnWireError` if a value is none that JSON can carry or the line is too long
    (code `too_large`).
    """
    line = dump(shape(message))
    if len(line) > MAX_LINE:
        raise OwnWireError(
            f"the message has {len(line)} bytes, {MAX_LINE} is the most",
            code="too_large",
            hint="ask for fewer (--limit) or send in pieces",
        )
    return line + b"\n"


def shape(message: Message) -> dict[str, object]:
    head: dict[str, object] = {"jsonrpc": "2.0"}
    match message:
        case Request(id=call_id, method=method, params=params):
            return {**head, "id": call_id, "method": method, "params": params}
        case Notice(method=method, params=params):
            return {**head, "method": method, "params": params}
        case Reply(id=call_id, result=result):
            return {**head, "id": call_id, "result": result}
        case Failure():
            error = {"code": message.code, "message": message.message, "data": message.data}
            return {**head, "id": message.id, "error": error}
        case _:
            assert_never(message)


def portable(value: object) -> object:
    """*value* with every whole number beyond 2^53 as text: what a result may carry."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) > MAX_NUMBER else value


def dump(value: object) -> bytes:
    """Compact JSON; a `Decimal` becomes a string, an aware datetime RFC 3339 with a `Z`.

    Raises `OwnWireError` for what JSON cannot carry, whole numbers beyond 2^53 among it.
    """
    try:
        return orjson.dumps(value, default=plain, option=DUMP)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise OwnWireError(f"a value cannot be sent: {error}", code="internal") from error


def plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def pack_error(call_id: MessageId | None, error: DripdError) -> Failure:
    """The failure that carries *error*; a class the wire does not know goes as its base."""
    kind = next(KIND_OF[cls] for cls in type(error).__mro__ if cls in KIND_OF)
    faults = [
        {"code": f.code, "path": f.path, "message": f.message, "hint": f.hint}
        for f in faults_of(error)
    ]
    data: dict[str, object] = {
        "kind": kind,
        "reason": error.code,
        "path": error.path,
        "hint": error.hint,
        "faults": faults,
    }
    return Failure(id=call_id, code=number_of(error, kind), message=error.message, data=data)


def number_of(error: DripdError, kind: str) -> int:
    """The JSON-RPC code: by what went wrong where that has one of its own, else by the class."""
    if error.code == "unknown_method":
        return UNKNOWN_METHOD
    return PLAN if error.code.startswith("plan_") else KINDS[kind][1]


def unpack_error(failure: Failure) -> DripdError:
    """The error that *failure* carries, of the class it had; of a stranger, `DripdError`."""
    data = failure.data
    cls, _ = KINDS.get(text_of(data, "kind"), (DripdError, FAILED))
    faults = tuple(read_faults(data.get("faults")))
    error = build(cls, failure.message, faults)
    error.code = text_of(data, "reason") or cls.code
    error.path, error.hint = text_of(data, "path"), text_of(data, "hint")
    return error


def build(cls: type[DripdError], message: str, faults: tuple[Fault, ...]) -> DripdError:
    if issubclass(cls, ConfigError | DefinitionError):
        return cls(message, faults=faults)
    return cls(message)


def faults_of(error: DripdError) -> tuple[Fault, ...]:
    """The faults that *error* lists; most kinds list none."""
    return error.faults if isinstance(error, ConfigError | DefinitionError) else ()


def read_faults(value: object) -> list[Fault]:
    rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    return [
        Fault(
            code=text_of(row, "code"),
            path=text_of(row, "path"),
            message=text_of(row, "message"),
            hint=text_of(row, "hint"),
        )
        for row in rows
    ]


def text_of(data: Mapping[str, object], key: str) -> str:
    found = data.get(key, "")
    return found if isinstance(found, str) else ""
