"""Segments are what a carrier counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.sms import GSM_BASIC, GSM_EXTENSION, Segments, segments, truncate

ALPHABETS = st.one_of(
    st.text(GSM_BASIC, max_size=500),
    st.text(GSM_BASIC + GSM_EXTENSION, max_size=500),
    st.text("ab😀é\u2019", max_size=400),
)


def test_gsm_tables_have_the_size_of_the_standard() -> None:
    assert len(set(GSM_BASIC)) == len(GSM_BASIC) == 127  # 128 places, one of them the escape
    assert len(set(GSM_EXTENSION)) == 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Segments(1, "gsm7", 0)),
        ("a" * 160, Segments(1, "gsm7", 160)),
        ("a" * 161, Segments(2, "gsm7", 161)),
        ("a" * 306, Segments(2, "gsm7", 306)),
        ("a" * 307, Segments(3, "gsm7", 307)),
        ("€" * 80, Segments(1, "gsm7", 160)),
        ("€" * 81, Segments(2, "gsm7", 162)),
        ("\u2019" * 70, Segments(1, "ucs2", 70)),
        ("\u2019" * 71, Segments(2, "ucs2", 71)),
        ("x" * 132 + "😀", Segments(2, "ucs2", 134)),
        ("x" * 133 + "😀", Segments(3, "ucs2", 135)),
    ],
)
def test_segments_of_known_texts(text: str, expected: Segments) -> None:
    assert expected == segments(text)


def test_an_extension_character_is_never_parted() -> None:
    text = "a" * 152 + "€" + "a" * 152

    assert Segments(3, "gsm7", 306) == segments(text)


def test_an_emoji_is_never_parted() -> None:
    text = "x" * 66 + "😀" + "y" * 66

    assert Segments(3, "ucs2", 134) == segments(text)


@given(ALPHABETS)
def test_segments_agree_with_cutting_the_text_by_hand(text: str) -> None:
    counted = segments(text)
    alone, joined = (160, 153) if counted.encoding == "gsm7" else (70, 67)
    pieces, used, units = 1, 0, 0
    for char in text:
        if counted.encoding == "gsm7":
            width = 2 if char in GSM_EXTENSION else 1
        else:
            width = len(char.encode("utf-16-le")) // 2
        units += width
        if used + width > joined:
            pieces, used = pieces + 1, 0
        used += width

    assert counted.units == units
    assert counted.n == (1 if units <= alone else pieces)


def test_truncate_cuts_no_emoji_and_may_win_room_by_losing_it() -> None:
    assert truncate("x" * 69 + "😀", 1) == "x" * 69
    assert truncate("x" * 160 + "😀", 1) == "x" * 160
    assert truncate("short", 1) == "short"


@given(ALPHABETS.map(lambda text: text * 5), st.integers(1, 3))
def test_truncate_is_the_longest_beginning_that_fits(text: str, most: int) -> None:
    short = truncate(text, most)

    assert text.startswith(short)
    assert segments(short).n <= most
    assert short == text or segments(text[: len(short) + 1]).n > most
