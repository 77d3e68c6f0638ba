"""Signed links: what we made is read back, and nothing else."""

from __future__ import annotations

import string
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.links import (
    MAX_TOKEN,
    Links,
    Told,
    Use,
    make_token,
    read_token,
    signing_key,
)
from dripd.clock import Instant

KEY = b"k" * 32
TOLD = Told(3, 70, 2, Instant(1_772_445_600_000))

ids = st.integers(0, 2**63 - 1)
told = st.builds(
    Told,
    ids,
    ids,
    st.integers(0, 2**31),
    st.integers(0, 4_733_510_400).map(lambda s: Instant(s * 1000)),
)


@given(told, st.text())
def test_what_we_made_is_read_back(what: Told, target: str) -> None:
    token = make_token(KEY, "click", what, target)

    assert what == read_token(KEY, "click", token, target)
    assert len(token) <= MAX_TOKEN


@given(st.integers(0, 34), st.sampled_from(string.ascii_lowercase + string.digits + "._-"))
def test_a_token_with_another_character_is_none(at: int, char: str) -> None:
    token = make_token(KEY, "open", TOLD)
    at %= len(token)
    forged = token[:at] + char + token[at + 1 :]

    assert (forged == token) == (read_token(KEY, "open", forged) is not None)


@pytest.mark.parametrize("use", ["click", "unsubscribe"])
def test_a_token_serves_one_use_only(use: Use) -> None:
    assert read_token(KEY, use, make_token(KEY, "open", TOLD)) is None


def test_a_click_leads_only_where_the_message_said() -> None:
    token = make_token(KEY, "click", TOLD, "", "https://acme.test/")

    assert read_token(KEY, "click", token, "", "https://evil.test/") is None
    assert read_token(KEY, "click", token, "offer", "https://acme.test/") is None
    assert read_token(b"another key", "click", token, "", "https://acme.test/") is None


@pytest.mark.parametrize("token", ["", ".", "1.2.3.4", "1.2.3.4.ä", "x" * 10_000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert read_token(KEY, "open", token) is None


def test_links_hold_ids_and_the_address_of_the_gateway() -> None:
    links = Links("https://m.acme.test/drip", KEY)
    click = urlsplit(links.click_url(TOLD, "https://acme.test/?a=1&b=ü", "offer"))

    assert links.open_url(TOLD).startswith("https://m.acme.test/drip/o/3.70.2.1772445600.")
    assert links.unsubscribe_url(*TOLD[:3]).startswith("https://m.acme.test/drip/u/3.70.2.0.")
    assert {"l": ["offer"], "u": ["https://acme.test/?a=1&b=ü"]} == parse_qs(click.query)
    assert "l" not in parse_qs(urlsplit(links.click_url(TOLD, "https://a.test", "")).query)


def test_an_unsubscribe_link_is_read_back_for_ever() -> None:
    token = Links("", KEY).unsubscribe_url(*TOLD[:3]).removeprefix("/u/")

    assert TOLD._replace(at=Instant(0)) == read_token(KEY, "unsubscribe", token)
    assert token == make_token(KEY, "unsubscribe", TOLD._replace(at=Instant(0)))


def test_a_secret_of_any_length_is_a_key() -> None:
    assert {32} == {len(signing_key(text)) for text in ("short", "ü" * 500)}
