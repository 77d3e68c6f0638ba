from __future__ import annotations

import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import policy

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Unknown
from dripd.channels.base import Attachment, Channel, Dials, ProviderSettings, Resources, Secret
from dripd.channels.registry import build
from dripd.clock import Millis, SystemClock
from dripd.errors import ConfigError
from tests.channels.contract import Bench, MailContract, Outcomes
from tests.channels.test_dkim import check
from tests.support.smtp_server import Mailroom, Rules, smtp_server
from tests.support.tls import HERE

NAMES = {"accepted": "x", "permanent": "r550", "temporary": "r450", "ambiguous": "lost"}
CA = str(HERE / "cert.pem")


def address(fate: str, i: int) -> str:
    return f"{NAMES.get(fate, fate)}-{i}@post.example"


def channel_of(url: str, **changes: object) -> Channel:
    values: dict[str, object] = {
        "name": "it",
        "kind": "smtp",
        "base_url": url,
        "timeout_ms": Millis(2_000),
        "max_connections": 2,
        "options": {"helo": "us.example"},
    }
    settings = ProviderSettings(**{**values, **changes})  # type: ignore[arg-type]  # its fields
    return build(settings, Resources(clock=SystemClock()))


@asynccontextmanager
async def open_bench(
    rules: Rules, *, is_tls: bool = False, **changes: object
) -> AsyncIterator[tuple[Bench, Mailroom]]:
    async with smtp_server(rules, is_tls=is_tls) as room:
        scheme = "smtps" if is_tls else "smtp"
        channel = channel_of(f"{scheme}://localhost:{room.port}", **changes)
        bench = Bench(
            channel=channel,
            address=address,
            received=lambda: [taken.recipient for taken in room.taken],
        )
        try:
            yield bench, room
        finally:
            await channel.aclose()


class TestSmtpContract(MailContract):
    rules = Rules()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        async with open_bench(self.rules, batch=4) as (bench, _):
            yield bench


class TestSmtpWithoutPipeliningContract(TestSmtpContract):
    rules = Rules(offers=())


class TestSmtpOverStarttlsContract(TestSmtpContract):
    rules = Rules(offers=("PIPELINING", "STARTTLS", "AUTH PLAIN"), user=("ann", "s3cret"))
    cancel_range = range(0, 120, 3)  # a handshake each time

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        options = {"helo": "us", "username": "ann", "ca_file": CA, "starttls": "require"}
        secrets = {"password": Secret("s3cret")}
        async with open_bench(self.rules, batch=2, options=options, secrets=secrets) as (
            bench,
            _,
        ):
            yield bench


async def send(bench: Bench, *fates: str, **changes: object) -> list[Outcome | None]:
    messages = [bench.message(fate, i, **changes) for i, fate in enumerate(fates)]
    settle = Outcomes()
    await bench.channel.send(messages, settle)
    return [settle[message] for message in messages]


@pytest.mark.trio
async def test_mail_arrives_as_it_was_written() -> None:
    async with open_bench(Rules()) as (bench, room):
        text = ".\n..x\nGr\u00fc\u00dfe\n"
        await send(bench, "accepted", text=text, subject="Gr\u00fc\u00dfe", html="<p>\u00e9")
    read = email.message_from_bytes(room.taken[0].data, policy=policy.default)

    assert "Gr\u00fc\u00dfe" == read["Subject"]
    assert "x-0@post.example" == read["To"]
    assert room.taken[0].was_8bit
    assert b".\r\n..x\r\n" in room.taken[0].data
    assert "ann@acme.example" == room.taken[0].sender


@pytest.mark.trio
async def test_server_without_8bitmime_gets_ascii() -> None:
    async with open_bench(Rules(offers=())) as (bench, room):
        await send(bench, "accepted", text="Gr\u00fc\u00dfe")

    assert room.taken[0].data.isascii()


@pytest.mark.trio
async def test_session_is_used_again() -> None:
    async with open_bench(Rules()) as (bench, room):
        for _ in range(3):
            await send(bench, "accepted", "permanent")

        assert room.n_sessions == 1
        assert len(room.taken) == 3


@pytest.mark.trio
async def test_sessions_can_be_opened_before_they_are_needed() -> None:
    async with open_bench(Rules()) as (bench, room):
        assert isinstance(bench.channel, Dials)
        await bench.channel.dial()
        opened = room.n_sessions
        await send(bench, "accepted")
        await bench.channel.dial()

        assert opened == room.n_sessions == bench.channel.concurrency


@pytest.mark.trio
async def test_session_kept_after_a_refusal_begins_afresh() -> None:
    async with open_bench(Rules(offers=("PIPELINING", "LETS_DATA_THROUGH"))) as (bench, room):
        assert [Rejected(reason="smtp_550")] == await send(bench, "permanent")
        assert isinstance((await send(bench, "accepted"))[0], Accepted)
        assert room.n_sessions == 1


@pytest.mark.trio
@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_limit_of_letters_per_session_stops_nobody(offers: tuple[str, ...]) -> None:
    """listmonk#2313: a 421 after N letters is the session's limit, not the campaign's."""
    async with open_bench(Rules(offers=offers, letters_per_session=2)) as (bench, room):
        outcomes = await send(bench, *["accepted"] * 7)

        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert len({taken.recipient for taken in room.taken}) == len(room.taken) == 7
        assert room.n_sessions == 4


@pytest.mark.trio
async def test_server_that_takes_nothing_is_not_asked_for_ever() -> None:
    async with open_bench(Rules(letters_per_session=0)) as (bench, room):
        assert [Retryable(reason="smtp_421")] * 2 == await send(bench, "accepted", "accepted")
        assert room.n_sessions == 1


@pytest.mark.trio
async def test_letter_lost_after_its_dot_is_not_sent_again() -> None:
    async with open_bench(Rules()) as (bench, room):
        outcomes = await send(bench, "accepted", "lost", "accepted")

        assert Unknown(reason="lost") == outcomes[1]
        assert isinstance(outcomes[2], Accepted)
        assert len(room.taken) == 3


@pytest.mark.trio
async def test_letter_lost_before_its_dot_is_provably_unsent() -> None:
    """A large body cannot have left in full when the server hung up after 354."""
    async with open_bench(Rules(offers=())) as (bench, room):
        outcomes = await send(bench, "cut", text=f"{'x' * 900}\n" * 9_000)

        assert [Retryable(reason="lost")] == outcomes
        assert not room.taken


@pytest.mark.trio
async def test_idle_session_that_went_stale_is_replaced_unnoticed() -> None:
    async with open_bench(Rules(letters_per_session=1)) as (bench, room):
        for _ in range(3):
            assert isinstance((await send(bench, "accepted"))[0], Accepted)

        assert room.n_sessions == 3


@pytest.mark.trio
async def test_silent_server_costs_one_deadline() -> None:
    async with open_bench(Rules(), timeout_ms=Millis(40)) as (bench, room):
        outcomes = await send(bench, "accepted", "stall", "accepted")

        assert [Unknown(reason="timeout"), Retryable(reason="timeout")] == outcomes[1:]
        assert room.n_sessions == 1


@pytest.mark.trio
async def test_server_that_is_away_costs_nothing() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    channel = channel_of(f"smtp://127.0.0.1:{port}")
    bench = Bench(channel=channel, address=address, received=list)

    assert [Retryable(reason="connect")] * 2 == await send(bench, "accepted", "accepted")


@pytest.mark.trio
async def test_server_that_never_greets_is_provably_unsent() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, silent, listeners)
        channel = channel_of(f"smtp://127.0.0.1:{port}", timeout_ms=Millis(30))
        bench = Bench(channel=channel, address=address, received=list)

        assert [Retryable(reason="connect_timeout")] == await send(bench, "accepted")
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_refusing_greeting_is_provably_unsent() -> None:
    async with open_bench(Rules(greeting="554 go away")) as (bench, _):
        assert [Retryable(reason="smtp_554")] == await send(bench, "accepted")


@pytest.mark.trio
async def test_wrong_password_costs_no_letter() -> None:
    rules = Rules(offers=("AUTH PLAIN",), user=("ann", "other"))
    login = {"username": "ann"}
    secrets = {"password": Secret("s3cret")}
    async with open_bench(rules, options=login, secrets=secrets) as (bench, room):
        assert [Retryable(reason="auth")] == await send(bench, "accepted")
        assert not room.taken


@pytest.mark.trio
async def test_mail_goes_over_tls_from_the_first_byte() -> None:
    async with open_bench(Rules(), is_tls=True, options={"ca_file": CA}) as (bench, room):
        outcomes = await send(bench, "accepted", "accepted", text="x\n" * 50_000)

        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert len(room.taken) == 2


@pytest.mark.trio
@pytest.mark.parametrize("is_tls", [True, False])
async def test_untrusted_certificate_is_provably_unsent(is_tls: bool) -> None:
    rules = Rules(offers=("STARTTLS",))
    async with open_bench(rules, is_tls=is_tls) as (bench, room):
        assert [Retryable(reason="tls")] == await send(bench, "accepted")
        assert not room.taken


@pytest.mark.trio
@pytest.mark.parametrize(
    "changes", [{"to": "nobody"}, {"subject": "a\nb"}, {"text": "\ud800"}, {"sender": "x"}]
)
async def test_what_no_mail_can_carry_never_leaves(changes: dict[str, object]) -> None:
    async with open_bench(Rules()) as (bench, room):
        assert [Rejected(reason="malformed")] == await send(bench, "accepted", **changes)
        assert not room.taken


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"url": ""}, "provider.it.base_url"),
        ({"url": "http://x"}, "provider.it.base_url"),
        ({"url": "smtp://"}, "provider.it.base_url"),
        ({"url": "smtp://x:99999"}, "provider.it.base_url"),
        ({"url": "smtp://u:p@x"}, "provider.it.base_url"),
        ({"options": {"username": "ann"}}, "provider.it.username"),
        ({"secrets": {"password": Secret("x")}}, "provider.it.username"),
        ({"options": {"starttls": "maybe"}}, "provider.it.starttls"),
        ({"options": {"helo": "a\r\nQUIT"}}, "provider.it.helo"),
        ({"options": {"ca_file": 3}}, "provider.it.ca_file"),
        ({"options": {"user": "ann"}}, "provider.it.user"),
    ],
)
def test_smtp_refuses_settings_with_their_path(changes: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        channel_of(**{"url": "smtp://x", **changes})  # type: ignore[arg-type]  # its fields

    assert [path] == [fault.path for fault in caught.value.faults]


@pytest.mark.trio
async def test_mail_of_the_domain_is_signed_and_no_other() -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    options = {"helo": "us", "dkim_domain": "acme.example", "dkim_selector": "s1"}
    secrets = {"dkim_key": Secret(pem)}
    async with open_bench(Rules(), options=options, secrets=secrets) as (bench, room):
        await send(bench, "accepted")
        await send(bench, "accepted", sender="ann@else.example")
    signed, other = (taken.data for taken in room.taken)

    check(signed, key)
    assert b"DKIM-Signature" not in other


def test_a_key_without_its_domain_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        channel_of("smtp://x", secrets={"dkim_key": Secret("no key")})

    assert ["provider.it.dkim_key"] == [fault.path for fault in caught.value.faults]


@pytest.mark.trio
async def test_files_go_with_the_mail() -> None:
    file = Attachment(
        name="Gr\u00fc\u00dfe.pdf", media_type="application/pdf", data=b"%PDF" * 99
    )
    async with open_bench(Rules()) as (bench, room):
        await send(bench, "accepted", html="<p>Hi", attachments=(file,))
    read = email.message_from_bytes(room.taken[0].data, policy=policy.default)
    (part,) = read.iter_attachments()

    assert ("Gr\u00fc\u00dfe.pdf", b"%PDF" * 99) == (part.get_filename(), part.get_content())
    body = read.get_body(("html",))
    assert body is not None
    assert body.get_content().startswith("<p>Hi")
