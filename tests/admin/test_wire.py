"""The codec: what is sent arrives, however it is split; what breaks the rules is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dripd.admin import wire
from dripd.errors import (
    ConfigError,
    Conflict,
    DefinitionError,
    DripdError,
    Fault,
    NotFound,
    OwnWireError,
    SchemaMismatch,
    StoreUnavailable,
    Unreachable,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-wire.MAX_NUMBER, wire.MAX_NUMBER)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
PARAMS = st.dictionaries(TEXT, JSON, max_size=4)
IDS = NUMBERS | TEXT
MESSAGES = st.one_of(
    st.builds(wire.Request, id=IDS, method=TEXT, params=PARAMS),
    st.builds(wire.Notice, method=TEXT, params=PARAMS),
    st.builds(wire.Reply, id=IDS, result=JSON),
    st.builds(wire.Failure, id=st.none() | IDS, code=NUMBERS, message=TEXT, data=PARAMS),
)


@given(st.lists(MESSAGES, max_size=5), st.data())
def test_any_split_of_the_bytes_gives_the_messages_that_were_encoded(
    messages: list[wire.Message], data: st.DataObject
) -> None:
    stream = b"".join(map(wire.encode, messages))
    decoder, found = wire.Decoder(), []
    while stream:
        n = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:n])
        stream = stream[n:]

    assert messages == found


@given(st.lists(st.binary(max_size=60), max_size=6))
@example([b"[" * 60, b"\n"])
@example([b'{"jsonrpc":"2.0","id":1,"method":2}\n'])
@example([b'{"jsonrpc":"2.0","id":true,"method":"x"}\n', b"\xff\xfe\n", b"null\n"])
def test_garbage_is_a_value_never_an_exception(chunks: list[bytes]) -> None:
    split, whole = wire.Decoder(limit=40), wire.Decoder(limit=40)

    assert whole.feed(b"".join(chunks)) == [m for c in chunks for m in split.feed(c)]


def test_a_line_is_refused_as_soon_as_it_is_too_long() -> None:
    decoder = wire.Decoder(limit=10)

    assert decoder.feed(b"x" * 10) == []
    (fault,) = decoder.feed(b"x")
    assert isinstance(fault, wire.WireFault)
    assert fault.fatal
    assert decoder.feed(b'\n{"jsonrpc":"2.0","method":"ping"}\n') == []


def nested(depth: int) -> bytes:
    return (
        b'{"jsonrpc":"2.0","id":7,"method":"x","params":'
        + b'{"a":' * (depth - 1)
        + b"1"
        + b"}" * depth
        + b"\n"
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'[{"jsonrpc":"2.0","id":1,"method":"x"}]\n', wire.INVALID_REQUEST),
        (b"{]\n", wire.PARSE_ERROR),
        (b'{"a":"\xff"}\n', wire.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}\n', wire.INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"x"}\n', wire.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}\n', wire.INVALID_REQUEST),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"n":9007199254740993}}\n',
            wire.INVALID_REQUEST,
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"n":99999999999999999999}}\n',
            wire.INVALID_REQUEST,
        ),
        (b'{"jsonrpc":"2.0","id":1,"result":1,"error":{}}\n', wire.INVALID_REQUEST),
        (nested(17), wire.INVALID_REQUEST),
        (b"[" * 5000 + b"]" * 5000 + b"\n", wire.PARSE_ERROR),
    ],
)
def test_what_breaks_the_rules_is_a_fault_of_the_right_code(line: bytes, code: int) -> None:
    (fault,) = wire.Decoder().feed(line)

    assert isinstance(fault, wire.WireFault)
    assert code == fault.code
    assert not fault.fatal


def test_sixteen_levels_pass_and_a_fault_keeps_the_id() -> None:
    (message,) = wire.Decoder().feed(nested(16))
    (fault,) = wire.Decoder().feed(nested(17))

    assert isinstance(message, wire.Request)
    assert isinstance(fault, wire.WireFault)
    assert fault.id == 7


@pytest.mark.parametrize(
    "error",
    [
        DripdError("m", code="odd", path="a.b", hint="h"),
        NotFound("no campaign", path="key"),
        Conflict("20 live runs", code="confirm:20", hint="repeat with --yes"),
        ConfigError("bad", faults=(Fault(code="bad_value", path="x", hint="y"),), hint="z"),
        DefinitionError("bad", faults=(Fault(code="cycle", message="m"),)),
        StoreUnavailable("away"),
        SchemaMismatch("old"),
        Unreachable("nobody"),
    ],
)
def test_an_error_survives_the_trip(error: DripdError) -> None:
    (failure,) = wire.Decoder().feed(wire.encode(wire.pack_error(3, error)))
    assert isinstance(failure, wire.Failure)

    found = wire.unpack_error(failure)

    assert type(error) is type(found)
    assert vars(error) == vars(found)
    assert error.exit_code == found.exit_code


@given(PARAMS, st.integers(-40000, 0), TEXT)
def test_a_stranger_s_error_is_still_an_error(
    data: dict[str, object], code: int, message: str
) -> None:
    found = wire.unpack_error(wire.Failure(id=1, code=code, message=message, data=data))

    assert isinstance(found, DripdError)


def test_an_unknown_subclass_goes_as_its_base() -> None:
    class Vanished(NotFound):
        """A class that the wire has never heard of."""

    found = wire.unpack_error(wire.pack_error(1, Vanished("gone")))

    assert type(found) is NotFound


@pytest.mark.parametrize("value", [object(), "\ud800", {1: 2}, 2**53, 2**70])
def test_what_json_cannot_carry_is_our_own_fault(value: object) -> None:
    with pytest.raises(OwnWireError):
        wire.encode(wire.Reply(id=1, result=value))


def test_a_number_beyond_2_53_in_a_result_becomes_text() -> None:
    assert wire.portable({"a": [2**53 - 1, 2**62, True], "b": (-(2**60),)}) == {
        "a": [2**53 - 1, "4611686018427387904", True],
        "b": ["-1152921504606846976"],
    }


def test_an_answer_longer_than_a_line_is_not_sent() -> None:
    with pytest.raises(OwnWireError) as caught:
        wire.encode(wire.Reply(id=1, result="x" * wire.MAX_LINE))

    assert caught.value.code == "too_large"
