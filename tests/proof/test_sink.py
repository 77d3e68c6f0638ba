"""The test provider: what it logs is what it did, before anybody was told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from dripd.campaigns.event import Accepted, Outcome, Unknown
from dripd.channels import registry
from dripd.channels.base import Message, ProviderSettings, Resources, Secret
from dripd.clock import SystemClock
from dripd.proof.faults import COMMON, HTTP, SMTP, Faults, Rule
from dripd.proof.sink import serve

NEVER_WHOLE = ("stall", "slow", "drip_head", "drip_body", "continue", "endless")
"""Shapes of which a client that gives up within two seconds does not see the end."""


@asynccontextmanager
async def sink(log: Path, faults: Faults | None = None) -> AsyncIterator[tuple[str, int]]:
    """A sink; its URL and its SMTP port."""
    bound = partial(serve, log, port=0, smtp_port=0, faults=faults or Faults(0, 1))
    async with trio.open_nursery() as nursery:
        http, smtp = await nursery.start(bound)
        yield f"http://127.0.0.1:{http}", smtp
        nursery.cancel_scope.cancel()


async def post(
    url: str, key: str, *, body: bytes = b"{}", fault: str = "", patience_s: float = 30
) -> str:
    """The status that is answered, or the name of the error that the client meets."""
    headers = {"Idempotency-Key": key, "X-Sink-Fault": fault}
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=patience_s) as client:
        try:
            with trio.fail_after(2 * patience_s):
                asked = client.build_request("POST", url, content=body, headers=headers)
                answer = await client.send(asked, stream=True)
                async for _ in answer.aiter_raw():
                    pass
        except (httpx.TransportError, trio.TooSlowError) as error:
            return type(error).__name__
    return str(answer.status_code)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every entry that was finished, in order."""
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def told(log: Path) -> list[tuple[str, bool]]:
    return [(entry["key"], entry["accepted"]) for entry in read_log(log)]


async def told_of(log: Path, n: int) -> list[tuple[str, bool]]:
    """The same, once there are *n*: who gives up may do so before the line is on disk."""
    with trio.fail_after(30):
        while len(found := told(log)) < n:  # noqa: ASYNC110 - it is a file
            await trio.sleep(0.01)
    return found


@pytest.mark.trio
async def test_a_key_is_accepted_once_where_keys_are_honoured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sink(log) as (url, _):
        for path in ("keyed", "keyed", "plain", "plain"):
            assert "200" == await post(f"{url}/{path}/emails", f"k-{path}")
    said = [(e["key"], e["accepted"], e["repeat"]) for e in read_log(log)]

    assert [
        ("k-keyed", True, False),
        ("k-keyed", False, True),
        ("k-plain", True, False),
        ("k-plain", True, False),
    ] == said


@pytest.mark.trio
async def test_personalities_differ_in_what_they_make_of_a_key(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sink(log) as (url, _):
        compared = [
            await post(f"{url}/compared", "a"),
            await post(f"{url}/compared", "a", body=b"{1}"),
            await post(f"{url}/compared", "a"),
        ]
        kept = [await post(f"{url}/sticky", "b", fault="refuse_500")]
        kept += [await post(f"{url}/sticky", "b")]
        released = [await post(f"{url}/ignored", "c", fault="accept_500")]
        released += [await post(f"{url}/ignored", "c", body=b"{2}")]

    assert ["200", "409", "200"] == compared
    assert ["500", "500"] == kept
    assert ["500", "200"] == released
    once, never, twice = (
        [accepted for key, accepted in told(log) if key == name] for name in ("a", "b", "c")
    )
    assert ([True, False, False], [False, False], [True, True]) == (once, never, twice)


@pytest.mark.trio
async def test_a_key_in_flight_is_a_conflict(tmp_path: Path) -> None:
    answers: dict[str, str] = {}

    async def ask(name: str, fault: str) -> None:
        patience_s = 1 if fault else 30
        answers[name] = await post(f"{url}/compared", "k", fault=fault, patience_s=patience_s)

    log = tmp_path / "log"
    async with sink(log) as (url, _), trio.open_nursery() as nursery:
        nursery.start_soon(ask, "first", "accept_slow")
        while not read_log(log):  # noqa: ASYNC110 - it is a file
            await trio.sleep(0.01)
        await ask("second", "")

    assert "409" == answers["second"]
    assert [("k", True), ("k", False)] == told(log)


@pytest.mark.trio
async def test_each_fault_befalls_and_its_name_is_true(tmp_path: Path) -> None:
    log, answers = tmp_path / "log", dict[str, str]()

    async def ask(name: str) -> None:
        patience_s = 1 if HTTP[name].shape in NEVER_WHOLE else 30
        answers[name] = await post(f"{url}/plain", name, fault=name, patience_s=patience_s)

    async with sink(log) as (url, _):
        for at in range(0, len(HTTP), 8):
            async with trio.open_nursery() as nursery:
                for name in list(HTTP)[at : at + 8]:
                    nursery.start_soon(ask, name)
        accepted = dict(await told_of(log, len(HTTP)))

    assert {name: name.startswith("accept") for name in HTTP} == accepted
    plain = {name: fault for name, fault in HTTP.items() if fault.shape == "answer"}
    assert {name: str(fault.status) for name, fault in plain.items()} == {
        name: answers[name] for name in plain
    }
    for shape in ("close", "reset", "half_close", "half", "wrong_length", "garbage"):
        assert answers[f"accept_{shape}"].endswith("Error"), shape
    for shape in NEVER_WHOLE:
        assert answers[f"accept_{shape}"] in {"ReadTimeout", "TooSlowError"}, shape


@pytest.mark.trio
async def test_a_batch_has_a_line_and_a_result_for_each_message(tmp_path: Path) -> None:
    items = [{"headers": {"Message-ID": f"<{n}>"}} for n in range(3)]
    body = json.dumps(items).encode()
    log = tmp_path / "log"
    async with sink(log) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        mixed = {"X-Sink-Fault": "accept_mixed"}
        resend = await client.post(f"{url}/emails/batch", content=body, headers=mixed)
        postmark = await client.post(f"{url}/email/batch", content=body, headers=mixed)

    assert [{"index": 1, "message": "unfit"}] == resend.json()["errors"]
    assert 2 == len(resend.json()["data"])
    assert [0, 406, 0] == [one["ErrorCode"] for one in postmark.json()]
    assert [("<0>", True), ("<1>", False), ("<2>", True)] * 2 == told(log)


@pytest.mark.trio
async def test_the_same_seed_draws_the_same_faults(tmp_path: Path) -> None:
    drawn = []
    quick = [name for name in COMMON if HTTP[name].shape in {"answer", "close", "reset"}]
    for name in ("a", "b"):
        async with sink(tmp_path / name, Faults(0.5, 11, quick)) as (url, _):
            for n in range(8):
                await post(f"{url}/plain", f"k{n}")
        drawn.append([entry["fault"] for entry in read_log(tmp_path / name)])

    assert drawn[0] == drawn[1]
    assert {"", *drawn[0]} != {""}


@pytest.mark.trio
async def test_a_rule_meets_whom_it_names_as_often_as_it_says(tmp_path: Path) -> None:
    rules = [Rule.parse("acme.test=refuse_503*2"), Rule.parse("path9=refuse_422")]
    async with sink(tmp_path / "log", Faults(0, 1, rules=rules)) as (url, _):
        named = [await post(url + "/plain", "k", body=b"to a@acme.test") for _ in range(3)]
        others = [await post(f"{url}/plain/{path}", "k") for path in ("path9", "path8")]
        by_path = await post(f"{url}/keyed/@refuse_429/emails", "k")

    assert ["503", "503", "200"] == named
    assert ["422", "200"] == others
    assert "429" == by_path
    with pytest.raises(ValueError, match="expected MATCH=FAULT"):
        Rule.parse("acme=no_such_fault")


def message(n: int, to: str = "b@x.test") -> Message:
    return Message(
        ref=None, channel="email", account_id=1, enrollment_id=n, step_key="s", sender="a@x.test",
        to=to, subject="Hello", text="Hello", idempotency_key=f"k{n}",
    )  # fmt: skip


async def outcomes(kind: str, address: str, messages: Sequence[Message]) -> list[Outcome]:
    """What the adapter of *kind* makes of each of *messages*, sent one after the other."""
    settings = ProviderSettings(
        name="p", kind=kind, base_url=address, timeout_ms=3_000, max_connections=1,
        options={"starttls": "never"} if kind == "smtp" else {},
        secrets={} if kind == "smtp" else {"api_key": Secret("x")},
    )  # fmt: skip
    channel = registry.build(settings, Resources(clock=SystemClock(), sink_writer=None))
    found: list[Outcome] = []
    for one in messages:
        await channel.send([one], lambda _, outcome: found.append(outcome))
    await channel.aclose()
    return found


def assert_honest(fault: str, outcome: Outcome, taken: bool) -> None:
    """What is called accepted was, and what is called refused was not; all else is unknown."""
    if isinstance(outcome, Accepted):
        assert taken, (fault, outcome)
    elif not isinstance(outcome, Unknown):
        assert not taken, (fault, outcome)


@pytest.mark.trio
async def test_no_fault_makes_an_adapter_lie_over_http(tmp_path: Path) -> None:
    log, found = tmp_path / "log", dict[str, list[Outcome]]()
    names = [name for name in HTTP if HTTP[name].shape != "mixed"]

    async def ask(name: str, n: int) -> None:
        address = f"{url}/plain/@{name}"
        found[name] = await outcomes("resend", address, [message(n)])

    async with sink(log) as (url, _), trio.open_nursery() as nursery:
        for n, name in enumerate(names):
            nursery.start_soon(ask, name, n)
    taken = dict(told(log))

    assert set(names) == set(found)
    for n, name in enumerate(names):
        assert 1 == len(found[name])
        assert_honest(name, found[name][0], taken.get(f"k{n}", False))
    for name in ("accept_close", "accept_reset", "accept_stall", "accept_garbage"):
        assert isinstance(found[name][0], Unknown), name


@pytest.mark.trio
async def test_no_fault_makes_an_adapter_lie_over_smtp(tmp_path: Path) -> None:
    found: dict[str, list[Outcome]] = {}
    letters = [message(1), message(2)]

    async def ask(name: str) -> None:
        rules = [Rule.parse(f"MAIL={name}*1")]
        async with sink(tmp_path / name, Faults(0, 1, rules=rules)) as (_, port):
            found[name] = await outcomes("smtp", f"smtp://127.0.0.1:{port}", letters)

    async with trio.open_nursery() as nursery:
        for name in SMTP:
            nursery.start_soon(ask, name)

    for name in set(SMTP) - {"accept_451"}:  # such a server lies, and RFC 5321 believes it
        taken = [accepted for _, accepted in told(tmp_path / name) if accepted]
        accepted = [one for one in found[name] if isinstance(one, Accepted)]
        doubtful = [one for one in found[name] if isinstance(one, Unknown)]
        assert len(accepted) <= len(taken) <= len(accepted) + len(doubtful), (name, found[name])
    assert isinstance(found["accept_drop"][0], Unknown)
    assert not isinstance(found["refuse_greylist"][0], Accepted | Unknown)
    assert isinstance(found["refuse_greylist"][1], Accepted)


@pytest.mark.trio
async def test_a_mail_is_logged_before_its_answer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    faults = Faults(0, 1, session=frozenset({"no_8bitmime", "starttls_454"}))
    async with sink(log, faults) as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            said = b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"
            await stream.send_all(said + b"Message-ID: <k@x>\r\n\r\nHello\r\n.\r\nQUIT\r\n")
            answer = b""
            while b"221" not in answer:
                answer += await stream.receive_some()

    assert b"250 2.0.0 taken" in answer
    assert b"STARTTLS" in answer
    assert b"8BITMIME" not in answer
    assert [("<k@x>", True)] == told(log)
    assert json.loads(log.read_text())["path"] == "smtp"
