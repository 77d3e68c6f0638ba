from __future__ import annotations

import email
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dripd.channels import mime
from dripd.channels.base import Message
from dripd.channels.mime import Unsendable, address, build, message_id, own_message_id
from dripd.clock import parse_instant

DATE = parse_instant("2026-03-01T09:00:00Z")
KEY = "dripd:demo:17:1:hello"

bodies = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\r"),
        st.sampled_from(" .=\n\t-F"),
    ),
    max_size=300,
)
lines = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=200
)
ascii_lines = st.text(st.sampled_from('abc =?,.<>:"\\%  '), max_size=300)


def mail(**changes: object) -> Message:
    values: dict[str, object] = {
        "ref": None,
        "channel": "email",
        "account_id": 1,
        "enrollment_id": 17,
        "step_key": "hello",
        "sender": "Ann <ann@acme.example>",
        "to": "bob@post.example",
        "subject": "Hello",
        "text": "Hi Bob\n",
        "idempotency_key": KEY,
    }
    return Message(**{**values, **changes})  # type: ignore[arg-type]  # the fields of Message


def parsed(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=policy.default)


def content(part: EmailMessage | None) -> str:
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def raw_header(data: bytes, name: str) -> str:
    """As an old parser reads it: unfolded, then its encoded words decoded."""
    values = email.message_from_bytes(data, policy=policy.compat32).get_all(name)
    assert values is not None
    assert len(values) == 1
    return str(make_header(decode_header(str(values[0]).replace("\r\n", ""))))


def check_lines(data: bytes, limit: int = 998) -> None:
    for line in data.split(b"\r\n"):
        assert len(line) <= limit
        assert b"\r" not in line
        assert b"\n" not in line


def test_plain_mail_reads_back() -> None:
    read = parsed(build(mail(), date=DATE))

    assert "text/plain" == read.get_content_type()
    assert "Hi Bob\n" == content(read)
    assert "Ann <ann@acme.example>" == read["From"]
    assert "bob@post.example" == read["To"]
    assert "Hello" == read["Subject"]
    assert "Sun, 01 Mar 2026 09:00:00 +0000" == read["Date"]
    assert not read.defects


def test_html_and_text_make_alternatives_with_the_richer_last() -> None:
    read = parsed(build(mail(html='<a href="https://x.example">x</a>'), date=DATE))

    assert "multipart/alternative" == read.get_content_type()
    assert ["text/plain", "text/html"] == [
        part.get_content_type() for part in read.iter_parts()
    ]
    assert '<a href="https://x.example">x</a>' == content(read.get_body(("html",)))  # type: ignore[arg-type]


def test_html_alone_is_one_part() -> None:
    assert (
        "text/html" == parsed(build(mail(text="", html="<p>x"), date=DATE)).get_content_type()
    )


def test_message_id_is_the_same_at_every_attempt() -> None:
    first = parsed(build(mail(), date=DATE))["Message-ID"]
    again = parsed(build(mail(subject="other"), date=parse_instant("2027-01-01T00:00:00Z")))

    assert first == again["Message-ID"] == message_id(KEY, "ann@acme.example")
    assert first != message_id(KEY + "2", "ann@acme.example")
    assert first.endswith("@acme.example>")


def test_message_id_that_is_given_is_kept() -> None:
    assert (
        "<x@y.example>"
        == parsed(build(mail(message_id="<x@y.example>"), date=DATE))["Message-ID"]
    )


def test_unsubscribe_headers_pass_unencoded() -> None:
    value = f"<mailto:u@acme.example>, <https://acme.example/u/{'x' * 200}>"
    data = build(
        mail(
            headers={
                "List-Unsubscribe": value,
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            }
        ),
        date=DATE,
    )

    assert value == raw_header(data, "List-Unsubscribe")
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in data


@given(bodies, bodies, st.booleans())
@example("trailing space \n.\n..\nFrom x\n", "=\n\t", False)
@example("x" * 2_000, "\u00e9" * 700, True)
@example("nul \0 here", "a\u2028b\x0bc", True)
def test_bodies_read_back(text: str, html: str, allow_8bit: bool) -> None:
    data = build(mail(text=text, html=html), date=DATE, allow_8bit=allow_8bit)
    read = parsed(data)

    check_lines(data)
    assert allow_8bit or data.isascii()
    if not html:
        assert text == content(read)
        return
    parts = [cast("EmailMessage", part) for part in read.iter_parts()] or [read]
    assert [*([text] if text else []), html] == [content(part) for part in parts]


@given(lines | ascii_lines)
@example("=?utf-8?q?fake?=")
@example(" both ends ")
@example("a" * 600)
@example("word " * 60 + "end")
@example("\U0001f600" * 60)
def test_subject_reads_back(subject: str) -> None:
    data = build(mail(subject=subject), date=DATE)

    check_lines(data)
    assert data.isascii()
    assert subject == raw_header(data, "Subject")
    assert parsed(data)["From"] == "Ann <ann@acme.example>"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60))
@example('Mueller, "Jan" (x)')
@example("M\u00fcller, Jan")
@example("100 % real")
def test_sender_name_reads_back(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    data = build(mail(sender=f'"{quoted}" <ann@acme.example>'), date=DATE)
    (found,) = parsed(data)["From"].addresses

    check_lines(data)
    assert "ann@acme.example" == found.addr_spec
    if name.isprintable() and " ".join(name.split()) == name:
        raw = str(email.message_from_bytes(data, policy=policy.compat32)["From"])
        shown, _ = parseaddr(raw.replace("\r\n", ""))
        assert name == str(make_header(decode_header(shown)))


@pytest.mark.parametrize("bad", ["\r\nBcc: all@x.example", "\nX: y", "\r", "\0"])
@pytest.mark.parametrize("where", ["subject", "to", "sender", "message_id", "header", "name"])
def test_line_break_in_any_header_is_refused(bad: str, where: str) -> None:
    all_changes: dict[str, dict[str, object]] = {
        "subject": {"subject": f"Hi{bad}"},
        "to": {"to": f"bob@post.example{bad}"},
        "sender": {"sender": f"Ann{bad} <ann@acme.example>"},
        "message_id": {"message_id": f"<x{bad}@y>"},
        "header": {"headers": {"X-A": f"b{bad}"}},
        "name": {"headers": {f"X{bad}": "b"}},
    }
    changes = all_changes[where]
    with pytest.raises(Unsendable) as caught:
        build(mail(**changes), date=DATE)

    assert "Bcc" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"Bcc": "all@x.example"}},
        {"headers": {"content-type": "text/html"}},
        {"headers": {"X": "y" * 1_200}},
        {"headers": {"": "y"}},
        {"text": "\ud800"},
        {"subject": "\ud800"},
        {"idempotency_key": "\ud800"},
        {"message_id": "none"},
    ],
)
def test_what_is_no_mail_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Unsendable):
        build(mail(**changes), date=DATE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "bob@",
        "@x",
        "a@b@c",
        "a b@c",
        "a@b, c@d",
        "<a@b>, <c@d>",
        "a@b>",
        "\u00e9@x.example",
        "x" * 250 + "@y.example",
    ],
)
def test_what_is_not_one_address_is_refused(text: str) -> None:
    with pytest.raises(Unsendable):
        address(text)


def test_international_domain_goes_in_ascii() -> None:
    assert "bob@xn--mnchen-3ya.example" == address("bob@m\u00fcnchen.example")


@given(lines)
def test_whatever_stands_in_a_header_no_header_is_added(value: str) -> None:
    data = build(mail(subject=value, headers={"X-Y": value}), date=DATE)
    names = [name for name, _ in email.message_from_bytes(data).items()]

    assert names == [
        "From", "To", "Subject", "Date", "Message-ID", "X-Y", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding",
    ]  # fmt: skip


def test_boundary_that_a_contact_knows_opens_no_part() -> None:
    """Who got one mail knows the kept boundary, and could put it into his own name."""
    first = parsed(build(mail(html="<p>x"), date=DATE))
    boundary = first.get_boundary()
    attack = f"\n--{boundary}\nContent-Type: text/html\n\n<script>\n--{boundary}--\n"
    read = parsed(build(mail(text=attack, html="<p>x"), date=DATE))

    assert 2 == len(list(read.iter_parts()))
    assert attack == content(read.get_body(("plain",)))  # type: ignore[arg-type]


def test_skeleton_is_built_once_for_a_shape() -> None:
    mime._skeleton.cache_clear()
    for i in range(50):
        build(mail(to=f"c{i}@post.example", text=f"Hi {i}", html=f"<p>{i}"), date=DATE)

    assert 1 == mime._skeleton.cache_info().misses


def test_a_long_address_to_unsubscribe_stays_on_one_line() -> None:
    """Relays that fold it anew break its signature, and mail clients read one line."""
    url = "<https://mail.acme.test/drip/u/1.2n9c.1.t2f9k0." + "x" * 60 + ">"
    data = build(mail(headers={"List-Unsubscribe": url}), date=DATE)

    assert b"\r\nList-Unsubscribe: " + url.encode() + b"\r\n" in data


def test_a_message_id_is_known_again_in_its_own_deployment() -> None:
    for key in ("dripd:d3pl0y:70:2:hello-World_1", "dripd:d3pl0y:i-5"):
        own = message_id(key, "ann@acme.example")

        assert key == own_message_id(own, "d3pl0y")
        assert key == own_message_id(own.strip("<>"), "d3pl0y")
        assert "" == own_message_id(own, "another")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<x@y>",
        "<dripd.m.00000000000000000000@a.b>",
        "<dripd.70.2.hello.00000000000000000000@a.b>",
    ],
)
def test_a_foreign_message_id_is_nobodys(text: str) -> None:
    assert "" == own_message_id(text, "d3pl0y")
