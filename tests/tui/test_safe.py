"""Nothing that data holds reaches a terminal as anything but visible text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.admin.safe import MOST, clean, safe
from tests.tui.corpus import CORPUS

OBEYED = {"Cc", "Cs", "Zl", "Zp"}
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_harmless(text: str) -> bool:
    """No control, surrogate, line separator, bidi control, or invisible format character."""
    return not any(
        unicodedata.category(char) in OBEYED or unicodedata.bidirectional(char) in BIDI
        for char in text
    )


@given(st.text(alphabet=st.characters(codec=None)))
def test_whatever_it_is_becomes_harmless(text: str) -> None:
    shown = safe(text)

    assert is_harmless(shown)
    assert shown == safe(shown)


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert text == safe(text)


@pytest.mark.parametrize("text", CORPUS, ids=lambda text: ascii(text)[:30])
def test_the_corpus_becomes_harmless(text: str) -> None:
    assert is_harmless(safe(text))


def test_what_was_there_is_seen() -> None:
    assert "a␛]52;c;␇b⏎c" == safe("a\x1b]52;c;\x07b\nc")


def test_everything_in_a_message_is_cleaned_and_bounded() -> None:
    found = clean({"a\x1b": ["\x9b31m", {"b": "x" * (MOST + 5)}], "n": 1, "t": True, "z": None})

    assert isinstance(found, dict)
    assert list(found) == ["a␛", "n", "t", "z"]
    assert found["a␛"][0] == "�31m"
    assert len(found["a␛"][1]["b"]) == MOST + 1


@pytest.mark.parametrize("mark", "\u0300\u0488\u0e49\u1dc4\u20d0\ufe20\u1161\u0903", ids=ascii)
def test_combining_marks_do_not_pile_up(mark: str) -> None:
    assert "a" + mark * 3 + "b" + mark == safe("a" + mark * 50 + "b" + mark)


def test_what_terminals_do_not_agree_about_has_one_width() -> None:
    assert "DE 👍�" == safe("🇩🇪 👍🏽")
