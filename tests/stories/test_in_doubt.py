"""Messages that may have left, seen from outside: a real daemon, the test provider as a process
of its own, and what dripd says of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.stories.world import World, until

CAMPAIGN = """
campaign: {key}
account: acme
name: {key}
sender: {provider}@acme.test
steps:
  - {{key: one, do: email, subject: "Hi {{First Name|there}}", text: One}}
  - {{key: two, do: email, delay: 2h, subject: Two, text: Two}}
"""

RULES = (
    "lost-taken@=accept_close*3",  # taken, and thrice no answer
    "lost-away@=refuse_close*2",  # twice not taken, and no answer
    "lost-once@=accept_close*1",
    "lost-never@=refuse_close*1",
    "lost-told@=accept_close*1",
    "lost-ask@=accept_close*1",
    "lost-deny@=refuse_close*1",
    "lost-long@=refuse_close*40",
    "lost-slow@=accept_slow*1",
    "lost-count=accept_close",
)

PROVIDERS = {
    "keyed": {"kind": "resend", "base_url": "{url}/keyed", "api_key": "env:STORY_KEY"},
    "plain": {"kind": "sendgrid", "base_url": "{url}/plain", "api_key": "env:STORY_KEY"},
    "asking": {"kind": "sendgrid", "base_url": "{url}/plain", "api_key": "env:STORY_KEY",
               "unknown": "ask"},
    "told": {"kind": "postmark", "base_url": "{url}/plain", "server_token": "env:STORY_KEY",
             "webhook_secret": "env:STORY_KEY"},
}  # fmt: skip


@dataclass
class Sink:
    """The test provider; `log` is what it took, on disk before each answer."""

    url: str
    log: Path

    def requests(self, key: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().split("\n")[:-1]
        return [one for one in map(json.loads, lines) if one["key"] == key]


@contextmanager
def running_sink(*rules: str) -> Iterator[Sink]:
    """The test provider under *rules*, `RULES` where none are given."""
    with TemporaryDirectory(prefix="dripd-") as folder:
        log, ports = Path(folder) / "sink.jsonl", Path(folder) / "ports"
        command = [sys.executable, "-m", "dripd.cli.main", "sink", "--log", str(log)]
        command += ["--port", "0", "--smtp-port", "0", "--ports", str(ports)]
        for rule in rules or RULES:
            command += ["--rule", rule]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            until(lambda: ports.exists() and ports.read_text().endswith("\n"), 60)
            yield Sink(f"http://127.0.0.1:{ports.read_text().split()[0]}", log)
            process.terminate()


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


def configure(environment: pytest.MonkeyPatch, sink: Sink) -> None:
    environment.setenv("STORY_KEY", "story-secret")
    for name, options in PROVIDERS.items():
        for option, value in options.items():
            place = f"DRIPD_PROVIDER__{name.upper()}__{option.upper()}"
            environment.setenv(place, value.format(url=sink.url))


@pytest.fixture(scope="module")
def base(pg_databases: Any, sink: Sink) -> Iterator[World]:
    """One daemon for the stories here; each has a campaign and a contact of its own."""
    with (
        pytest.MonkeyPatch.context() as environment,
        pg_databases.fresh() as dsn,
        TemporaryDirectory(prefix="dripd-") as state,
    ):
        configure(environment, sink)
        with World(dsn, Path(state)) as world:
            add_senders(world)
            yield world


def add_senders(world: World) -> None:
    for provider in PROVIDERS:
        world.sql(
            "INSERT INTO dripd.sender (account_id, address, provider) "
            "SELECT id, $1 || '@acme.test', $1 FROM dripd.account WHERE key = 'acme'",
            provider,
        )


def begin(world: World, name: str, provider: str) -> Any:
    """A run of contact *name*, its first mail on the way; what `delivery.show` says of that."""
    world.contact(name)
    world.apply(CAMPAIGN.format(key=name, provider=provider))
    world.enroll(name, name)
    world.tick()
    return show(world, name)


def show(world: World, name: str, step: str = "one") -> Any:
    run = world.run(name, name)["id"]
    key = world.one(
        "SELECT id FROM dripd.delivery WHERE enrollment_id = $1 AND step_key = $2 "
        "ORDER BY leased_at DESC LIMIT 1",
        *(run, step),
    )
    return world.call("delivery.show", id=key)


def gate(world: World, name: str) -> Any:
    """What `enroll explain` says of the message that the run waits to know of."""
    run = world.run(name, name)["id"]
    (told,) = world.call("enroll.explain", enrollment=run)["enrollments"]
    return next(one for one in told["chain"] if one["gate"] == "unknown")


def later(world: World, by: str) -> str:
    """The instant that is *by* from now."""
    return str(
        world.one(
            "SELECT to_char((dripd.now() + $1::text::interval) AT TIME ZONE 'UTC', "
            '\'YYYY-MM-DD"T"HH24:MI:SS"Z"\')',
            by,
        )
    )


@pytest.mark.parametrize(("name", "n"), [("lost-taken", 4), ("lost-away", 3)])
def test_under_a_key_the_same_is_sent_again_and_taken_once(
    base: World, sink: Sink, name: str, n: int
) -> None:
    over = later(base, "19 hours 12 minutes")  # 0.8 of the day that resend keeps a key
    message = begin(base, name, "keyed")
    assert ("unknown", "lost") == (message["state"], message["reason"])
    told = gate(base, name)
    assert told["until"] < later(base, "5 minutes")
    for words in (message["doubt"], told["detail"]):
        assert "may have left through keyed" in words
        assert "sent again under its key, the same to the byte, next at" in words
        assert f"at {over} it is presumed sent" in words
    base.sql(
        'UPDATE dripd.contact SET attrs = \'{"first_name": "Someone Else"}\' '
        "WHERE external_id = $1",
        name,
    )
    base.advance("1h")

    asked = sink.requests(message["idempotency_key"])
    assert n == len(asked)
    assert 1 == sum(one["accepted"] for one in asked)
    assert 1 == len({one["sha"] for one in asked})
    settled = show(base, name)
    assert ("accepted", n) == (settled["state"], settled["attempt"])
    assert "doubt" not in settled
    base.advance("2h")
    assert "completed" == base.run(name, name)["status"]
    assert 1 == sum(one["accepted"] for one in sink.requests(message["idempotency_key"]))


def test_a_key_is_used_no_longer_than_it_surely_lives(base: World, sink: Sink) -> None:
    begin(base, "lost-long", "keyed")
    base.advance("19h11m")
    assert "unknown" == base.run("lost-long", "lost-long")["hold_reason"]
    base.advance("1m")
    message = show(base, "lost-long")
    n = len(sink.requests(message["idempotency_key"]))

    assert ("unknown", "presumed_sent") == (message["state"], message["reason"])
    assert "it is presumed sent" in message["doubt"]
    assert n > 5
    base.advance("3d")
    assert n == len(sink.requests(message["idempotency_key"]))
    assert "completed" == base.run("lost-long", "lost-long")["status"]


@pytest.mark.parametrize("name", ["lost-once", "lost-never"])
def test_without_a_key_nothing_is_sent_twice(base: World, sink: Sink, name: str) -> None:
    over = later(base, "1 hour")
    message = begin(base, name, "plain")
    told = gate(base, name)

    assert over == told["until"]
    for words in (message["doubt"], told["detail"]):
        assert "may have left through plain (lost)" in words
        assert f"not sent again: at {over} it is presumed sent, the run goes on" in words
    lines = base.call("contact.timeline", contact=name)["items"]
    (line,) = [one for one in lines if one["step_key"] == "one"]
    assert message["doubt"] == line["detail"]["doubt"]
    base.advance("59m")
    assert "held" == base.run(name, name)["status"]
    base.advance("1m")
    assert "waiting" == base.run(name, name)["status"]
    assert "presumed_sent" == show(base, name)["reason"]
    base.advance("5d")

    assert 1 == len(sink.requests(message["idempotency_key"]))
    assert "completed" == base.run(name, name)["status"]
    assert "accepted" == show(base, name, "two")["state"]


@pytest.mark.parametrize(
    ("name", "found", "requests"), [("lost-ask", "accepted", 1), ("lost-deny", "failed", 2)]
)
def test_who_wants_to_be_asked_is_waited_for(
    base: World, sink: Sink, name: str, found: str, requests: int
) -> None:
    message = begin(base, name, "asking")
    base.advance("30d")
    told = gate(base, name)
    assert told["until"] is None
    assert (
        f"waits for: dripd delivery resolve {message['id']} accepted|failed" in told["detail"]
    )
    assert 1 == len(sink.requests(message["idempotency_key"]))

    assert base.call("delivery.resolve", id=message["id"], state=found)["changed"]
    base.advance("1m")
    assert requests == len(sink.requests(message["idempotency_key"]))
    assert "accepted" == show(base, name)["state"]
    base.advance("2h")
    assert "completed" == base.run(name, name)["status"]
    assert 1 == sum(one["accepted"] for one in sink.requests(message["idempotency_key"]))


def test_an_event_of_the_provider_settles_it(base: World, sink: Sink) -> None:
    message = begin(base, "lost-told", "told")
    assert "unknown" == message["state"]
    gateway = base.call("daemon.status")["gateway"]["url"]
    body = {
        "RecordType": "Delivery", "ID": 1, "MessageID": "m",
        "Metadata": {"dripd_key": message["idempotency_key"]},
    }  # fmt: skip
    answer = httpx.post(
        f"{gateway}/hooks/told", json=body, auth=("x", "story-secret"), trust_env=False
    )
    assert 200 == answer.status_code

    until(lambda: show(base, "lost-told")["state"] == "accepted")
    until(lambda: base.tick() or base.run("lost-told", "lost-told")["status"] == "waiting")
    base.advance("2h")
    assert "completed" == base.run("lost-told", "lost-told")["status"]


def test_what_is_in_doubt_is_counted_by_provider(base: World) -> None:
    for provider in ("plain", "asking"):
        begin(base, f"lost-count-{provider}", provider)
    url = base.call("daemon.status")["metrics"]["url"]

    def page() -> str:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            found: str = answer.read().decode()
        return found

    lines = [
        f'dripd_deliveries_in_doubt{{provider="{one}"}} 1\n' for one in ("plain", "asking")
    ]
    until(lambda: all(line in page() for line in lines), 60)  # a sample every 15 s


def test_an_answer_that_comes_late_settles_it(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon that sent it slept until others had taken over, and finds the answer waiting.

    A sink of its own: copies of one template have one deployment's keys.
    """
    monkeypatch.setenv("DRIPD_ENGINE__NODE_TIMEOUT", "2s")
    monkeypatch.setenv("DRIPD_DAEMON__NODE", "awake")
    with (
        running_sink() as sink,
        TemporaryDirectory(prefix="dripd-") as here,
        TemporaryDirectory(prefix="dripd-") as there,
    ):
        configure(monkeypatch, sink)
        play_late_answer(pg_dsn, sink, Path(here), Path(there), monkeypatch)


def has_unread(sink: Sink, sleeper: World) -> bool:
    """Whether bytes of the sink wait for a daemon that has not read them."""
    assert sleeper.process is not None
    lines = Path(f"/proc/{sleeper.process.pid}/net/tcp").read_text().splitlines()[1:]
    port = f":{int(sink.url.rpartition(':')[2]):04X}"
    links = [line.split() for line in lines]
    return any(one[2].endswith(port) and not one[4].endswith(":00000000") for one in links)


def play_late_answer(
    pg_dsn: str, sink: Sink, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(pg_dsn, here) as world:
        add_senders(world)
        sleeper = World(pg_dsn, there)
        monkeypatch.setenv("DRIPD_DAEMON__NODE", "sleeper")
        sleeper.start()
        assert sleeper.process is not None
        world.call("node.drain", node="awake")
        world.contact("lost-slow")
        world.apply(CAMPAIGN.format(key="late", provider="plain"))
        world.enroll("late", "lost-slow")
        until(lambda: sink.log.exists() and "accept_slow" in sink.log.read_text(), 60)
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        world.call("node.undrain", node="awake")
        state = "SELECT state FROM dripd.delivery WHERE step_key = 'one'"
        until(lambda: world.column(state) == ["unknown"], 60)
        until(lambda: has_unread(sink, sleeper))
        os.kill(sleeper.process.pid, signal.SIGCONT)

        until(lambda: world.column(state) == ["accepted"], 60)
        sleeper.process.wait(60)
        world.advance("3h")
        assert "completed" == world.run("lost-slow", "late")["status"]
        key = world.one(
            "SELECT DISTINCT idempotency_key FROM dripd.delivery WHERE step_key = 'one'"
        )
        assert 1 == len(sink.requests(key))
