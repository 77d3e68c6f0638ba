"""What a hostile contact, campaign or provider may be called."""

from __future__ import annotations

MARKUP = (
    "[/nope]",
    "[@click=app.quit]click me[/]",
    "[red]not red[/red]",
    "[link='https://evil.test']here[/link] :skull: \\[bold]",
    "[@click='app.bell']x[/] $primary [$error on $panel]y",
    "{not: a format} %s {0} $(id) `id`",
    "=cmd|' /C calc'!A0",
)
"""Of Rich and Textual, of formats, shells and spreadsheets."""

ESCAPES = (
    "\x1b]52;c;cHduZWQ=\x07",
    "\x1b]52;p;!\x1b\\",
    "\x1b]0;owned\x1b\\",
    "\x1b]8;;https://evil.test\x1b\\ok\x1b]8;;\x1b\\",
    "\x1b]10;?\x07\x1b]1337;File=:AA==\x07",
    "\x1b[2J\x1b[H\x1b[31mred",
    "\x1b[?1049l\x1b[?25h\x1bc",
    "\x1b[6n\x1b[c\x1b[>c\x1b[?2026h",
    "\x1bP+q544e\x1b\\",
    "\x1bPq#0;2;0;0;0\x1b\\",
    "\x1b_Ga=T;AAAA\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\",
    "\x1b(0qqq\x0eqqq\x0f",
)
"""Clipboard, title, links, colours asked for, device control, other character sets."""

CONTROLS = (
    "\x9b31mC1",
    "\x9d52;c;cHduZWQ=\x9c",
    "\x90q\x9c\x9fapc\x9c\x85next",
    "two\nlines\r\tand a tab\x00\x08\x7f",
    "paid\rUNPAID\x08\x08\x08\x0b\x0c",
    "nul\x00like \u2400 \x1f\x1c \ufffe\uffff \U0010ffff",
    "\ud800 lone \udfff",
)

HIDDEN = (
    "\u202eevil\u202c \u2066iso\u2069",
    "invoice\u202egpj.exe\u200f\u061c\u2067x",
    "zero\u200bwidth\ufeff \xad",
    "a\u200d\u200cb\u2060c\u034fd\u180ee",
    "tag\U000e0041\U000e007f sep\u2028\u2029 fill\u3164\uffa0\u115f\u1160",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
)
"""Turned about, of no width, blank; and what is honestly written from right to left."""

PILES = (
    "e" + "\u0301" * 60,
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324" * 8,
    "x" + "\u1dc4" * 40 + "\ufe20" * 40,
    "\u0e01" + "\u0e49" * 60,
    "\u0434" + "\u0488\u0489" * 40,
    "\u1100" + "\u1161" * 40 + "\u11a8" * 40,
)

WIDE = (
    "日本語 wide 🇩🇪 👨\u200d👩\u200d👧",
    "🇩🇪🇫🇷🇩 flags",
    "👍🏽👋🏿 skins",
    "☎\ufe0f 1\ufe0f\u20e3 ❤\ufe0e 🏴\U000e0067\U000e0062\U000e007f",
    "\ufdfd 𒐫 \uff46\uff55\uff4c\uff4c ﾊﾝｶｸ 각",
)
"""Of a width that terminals do not agree about."""

LONG = ("x" * 10_000, "日" * 10_000, "e\u0301" * 5_000, "\x1b" * 10_000, " " * 500 + "far")

CORPUS = (*MARKUP, *ESCAPES, *CONTROLS, *HIDDEN, *PILES, *WIDE, *LONG)
