"""Themes are readable, and none tells a state by colour alone."""

from __future__ import annotations

from itertools import product

import pytest
from rich.color import Color

from dripd.tui.theme import NAMES, THEMES, choose, style
from dripd.tui.words import STATES

READABLE = 4.5
"""WCAG 2.1's contrast of text at level AA."""


def luminance(colour: Color) -> float:
    parts = [part / 255 for part in colour.get_truecolor()]
    red, green, blue = (
        p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_style_of_a_fixed_theme_is_readable(theme: str) -> None:
    for name in THEMES[theme]:
        look = style(theme, name)
        assert look.color is not None
        assert look.bgcolor is not None
        assert contrast(look.color, look.bgcolor) >= READABLE, (theme, name)


@pytest.mark.parametrize("name", NAMES)
def test_themes_name_the_same_styles(name: str) -> None:
    assert THEMES[name].keys() == THEMES["terminal"].keys()


def test_mono_uses_attributes_alone() -> None:
    for name in THEMES["mono"]:
        assert style("mono", name).color is None
        assert style("mono", name).bgcolor is None


def test_every_state_has_a_glyph_beside_its_word() -> None:
    worse = {"bad", "warn", "ok"}
    for one, other in product(STATES.values(), repeat=2):
        if one[0] == other[0] and {one[1], other[1]} <= worse:
            assert one[1] == other[1], (one, other)


@pytest.mark.parametrize(
    ("environment", "theme"),
    [
        ({"TERM": "xterm-256color"}, "terminal"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "mono"),
        ({"TERM": "vt220"}, "mono"),
        ({"TERM": "dumb"}, "mono"),
        ({}, "mono"),
    ],
)
def test_a_terminal_without_colours_gets_none(environment: dict[str, str], theme: str) -> None:
    assert theme == choose(environment)
