"""An erasure that meets a message on its way: nothing of the address comes to stand again, and
nothing more is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.test_erasure import EMAIL, MARK, PHONE, files, standing
from tests.stories.test_in_doubt import Sink, add_senders, configure, running_sink
from tests.stories.world import World, until

CAMPAIGN = """
campaign: hello
account: acme
name: Hello
sender: {provider}@acme.test
steps:
  - {{key: one, do: email, subject: "For {{Email}}", text: "Dear {{Email}}, {{Phone}}"}}
  - {{key: call, do: call_task, title: "Call {{Email}}"}}
  - {{key: two, do: email, delay: 1h, subject: "{{Email}}", text: "{{Email}}"}}
"""

Begin = Callable[[str, str], tuple[World, Sink, int]]


@pytest.fixture
def begin(pg_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """A run whose first message goes to *provider* and meets *fault*, once it is there."""
    with contextmanager(play)(pg_dsn, monkeypatch) as started:
        yield started


def play(pg_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    rules = [f"plain{MARK}=accept_slow*1", f"keyed{MARK}=accept_close*9"]
    with running_sink(*rules) as sink, TemporaryDirectory(prefix="dripd-") as state:
        configure(monkeypatch, sink)
        with World(pg_dsn, Path(state)) as world:

            def started(provider: str, fault: str) -> tuple[World, Sink, int]:
                add_senders(world)
                contact = world.contact(MARK, email=f"{provider}{EMAIL}", phone=PHONE)
                world.apply(CAMPAIGN.format(provider=provider))
                world.enroll("hello", MARK)
                until(lambda: sink.log.exists() and fault in sink.log.read_text(), 60)
                return world, sink, contact

            yield started


def told(world: World) -> list[tuple[str, object]]:
    rows = world.sql("SELECT state, to_address FROM dripd.delivery ORDER BY id")
    return [(row["state"], row["to_address"]) for row in rows]


def is_forgotten(world: World, sink: Sink, contact: int) -> None:
    """Nothing was sent since, nothing stands anywhere, and the run is over."""
    world.advance("3d")
    assert 1 == len(sink.log.read_text().splitlines())
    assert set() == standing(world)
    assert [] == files(world)
    ends = world.column("SELECT end_reason FROM dripd.run WHERE contact_id = $1", contact)
    assert ["contact_erased"] == ends
    assert 0 == world.one("SELECT count(*) FROM dripd.task")


def test_a_message_in_flight_is_recorded_without_its_address(begin: Begin) -> None:
    world, sink, contact = begin("plain", "accept_slow")
    world.sql("SELECT dripd.erase_contact($1)", contact)
    assert set() == standing(world)
    until(lambda: told(world) and told(world)[0][0] != "leased", 60)

    assert [("accepted", None)] == told(world)
    is_forgotten(world, sink, contact)


def test_a_message_in_doubt_is_not_sent_again(begin: Begin) -> None:
    world, sink, contact = begin("keyed", "accept_close")
    until(lambda: [state for state, _ in told(world)] == ["unknown"], 60)
    assert standing(world)
    world.sql("SELECT dripd.erase_contact($1)", contact)

    assert set() == standing(world)
    is_forgotten(world, sink, contact)
    assert [("unknown", None)] == told(world)


def test_what_only_a_journal_knows_is_not_sent_again(begin: Begin) -> None:
    world, sink, contact = begin("plain", "accept_slow")
    world.kill9()
    journals = list((world.state / "journal").iterdir())
    assert any(path.read_text().count("\ni ") for path in journals)
    world.sql("SELECT dripd.erase_contact($1)", contact)
    assert set() == standing(world)
    assert [] == files(world)
    world.start()
    until(lambda: world.tick() or told(world) == [("unknown", None)], 60)

    is_forgotten(world, sink, contact)
