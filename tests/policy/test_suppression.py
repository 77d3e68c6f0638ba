"""What forbids an address, and on which channel."""

from __future__ import annotations

import pytest

from dripd.policy.inbox_rows import Suppress
from dripd.policy.suppression import all_suppressed, channel_of, suppressions_of
from tests.support.rooms import event

ANN, PHONE = "ann@example.test", "+15551234"


@pytest.mark.parametrize(
    ("kind", "payload", "forbidden"),
    [
        ("unsubscribe", {}, True),
        ("complaint", {}, True),
        ("bounce", {}, True),
        ("bounce", {"type": "hard"}, True),
        ("bounce", {"type": None}, True),
        ("bounce", {"type": "soft"}, False),
        ("reply", {}, False),
        ("open", {}, False),
    ],
)
def test_consent_and_hard_bounces_forbid_the_address(
    kind: str,
    payload: dict[str, object],
    forbidden: bool,
) -> None:
    found = suppressions_of(event(kind, payload=payload, address=ANN))

    assert found == ([Suppress("email", ANN, kind)] if forbidden else [])


def test_what_is_no_address_is_not_suppressed() -> None:
    assert suppressions_of(event("unsubscribe", address=" - ")) == []
    assert suppressions_of(event("unsubscribe", own=(ANN, "()"))) == [
        Suppress("email", ANN, "unsubscribe")
    ]


def test_the_channel_is_the_deliverys_else_the_addresss() -> None:
    assert channel_of(event("reply", address=ANN)) == "email"
    assert channel_of(event("reply", address=PHONE)) == "sms"
    assert channel_of(event("reply", address=ANN, channel="sms")) == "sms"
    assert channel_of(event("reply")) is None


def test_without_an_address_there_is_nothing_to_suppress() -> None:
    assert suppressions_of(event("unsubscribe")) == []


def test_a_contact_is_out_of_reach_when_every_channel_is_suppressed() -> None:
    both = {"email_suppressed": True, "phone_suppressed": True}
    mail = {"email_suppressed": True, "phone_suppressed": False}

    assert all_suppressed({"email"}, **mail)
    assert not all_suppressed({"email", "sms"}, **mail)
    assert all_suppressed({"email", "sms"}, **both)
    assert not all_suppressed(set(), **both)
