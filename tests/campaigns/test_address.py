"""Which address is meant, however it is written."""

from __future__ import annotations

import pytest

from dripd.campaigns.address import address_form, is_address, meant


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("+1 (555) 000-1111", "+15550001111"),
        ("030/123.45", "03012345"),
        ("\u202a+1\u00a0555\u2011000\u20111111\u202c", "+15550001111"),
        (" Ann.B-c@X.example\n", "ann.b-c@x.example"),
        ("JÖRG@X.example", "jörg@x.example"),
        ("BANK 24", "bank24"),
        (" (-) ", ""),
    ],
)
def test_an_address_has_one_form_however_it_is_written(written: str, form: str) -> None:
    assert form == address_form(written)
    assert form == address_form(form)


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("Sales@ACME.test", {"sales@acme.test"}),
        ("ann@acme.test", {"ann@acme.test"}),
        ("Ann@acme.test", {"Ann@acme.test"}),
        ("ANN@acme.test", {"ann@acme.test", "Ann@acme.test"}),
        ("sales@Acme.test, +1 (555) 000-1111", {"sales@acme.test", "+15550001111"}),
        ("eve@acme.test", set()),
        ("", set()),
        (" , ", set()),
    ],
)
def test_a_sender_is_known_in_any_writing_but_as_written_first(
    sender: str, found: set[str]
) -> None:
    kept = ["sales@acme.test", "ann@acme.test", "Ann@acme.test", "+15550001111", ""]

    assert found == meant(sender, kept[:4])


def test_what_could_be_an_address() -> None:
    assert is_address("ann@example.test", "email")
    assert is_address("jörg@müller.test", "email")
    assert is_address("+1 (555) 123", "sms")
    assert not is_address("ann", "email")
    assert not is_address("a\x00@b.test", "email")
    assert not is_address("call me", "sms")
