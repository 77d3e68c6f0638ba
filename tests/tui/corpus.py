"""What a hostile contact, campaign or provider may be called."""

from __future__ import annotations

CORPUS = (
    "[/nope]",
    "[@click=app.quit]click me[/]",
    "[red]not red[/red]",
    "\x1b]52;c;cHduZWQ=\x07",
    "\x1b]0;owned\x1b\\",
    "\x1b[2J\x1b[H\x1b[31mred",
    "\x9b31mC1",
    "\x90q\x9c",
    "\u202eevil\u202c \u2066iso\u2069",
    "zero\u200bwidth\ufeff \xad",
    "two\nlines\r\tand a tab\x00\x08\x7f",
    "\ud800 lone",
    "{not: a format} %s {0} $(id) `id`",
    "e" + "\u0301" * 60,
    "日本語 wide 🇩🇪 👨\u200d👩\u200d👧",
    "=cmd|' /C calc'!A0",
    "x" * 10_000,
)
"""Markup, escapes of clipboard and title, C1, bidi, invisible, surrogates, piles, wide, long."""
