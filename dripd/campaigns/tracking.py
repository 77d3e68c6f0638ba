"""How is a message watched? Templates rewritten once a version, filled once a message.

Each http(s) link of a tracked body becomes the slot `{dripd.link.N}`, the pixel the slot
`{dripd.open}`; who renders fills them with signed addresses. Untracked bodies keep their
links as they were written. A link's id is its `data-link` attribute in html and the word in
`[ID](url)` in text, where the notation itself never reaches a reader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

from dripd.campaigns.template import Template, compile_template, normalise
from dripd.errors import TemplateError

UNSUBSCRIBE = "unsubscribe_link"
POSTAL = "postal_address"
OURS = frozenset({UNSUBSCRIBE, POSTAL})
"""Merge tags that we fill, in any message: `{Unsubscribe link}`, `{Postal address}`."""

OPEN_SLOT = "dripd.open"
LINK_SLOT = "dripd.link."

PIXEL = '<img src="{dripd.open}" alt="" width="1" height="1" style="display:block;border:0">'

TEXT_FOOTER = "\n\n-- \n{Postal address}\nUnsubscribe: {Unsubscribe link}\n"
HTML_FOOTER = (
    '<p style="font-size:12px;color:#666">{Postal address}<br>'
    '<a href="{Unsubscribe link}">Unsubscribe</a></p>'
)

_ANCHOR = re.compile(r"""<a(?:rea)?\s(?:[^>"']|"[^"]*"|'[^']*')*>""", re.IGNORECASE)
_ATTRIBUTE = r"""(?<![\w-])%s\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))"""
_HREF = re.compile(_ATTRIBUTE % "href", re.IGNORECASE)
_ID = re.compile(_ATTRIBUTE % "data-link", re.IGNORECASE)
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_MERGE = r"\{[^{}\n]*\}"
_NAMED = re.compile(
    r"\[([A-Za-z0-9][\w.-]{0,63})\]"
    rf"\(((?:https?://|{_MERGE})(?:{_MERGE}|[^\s<>\"(){{}}])*)\)"
)
_BARE = rf"https?://(?:{_MERGE}|[^\s<>\"{{}}])*(?:{_MERGE}|[^\s<>\"{{}}.,;:!?')\]])"
_NAMED_OR_BARE = re.compile(rf"{_NAMED.pattern}|({_BARE})")
_ONE_TAG = re.compile(r"\{([^{}|:]+)\}")
_HTTP = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """A tracked link: its id in the file, "" for none, and where it leads."""

    id: str
    target: Template


@dataclass(frozen=True, slots=True)
class Body:
    """The text and html sources of a message, and the links that their slots stand for."""

    text: str
    html: str
    links: tuple[Link, ...] = ()


def plain(text: str, html: str) -> Body:
    """The sources as they are read: `[ID](url)` is the url."""
    return Body(text=_NAMED.sub(r"\2", text) if "](" in text else text, html=html)


def tracked(text: str, html: str, *, opens: bool, clicks: bool) -> Body:
    """The sources with their links and, at the end of html, a pixel made into slots."""
    links: list[Link] = []
    if clicks:
        text = _NAMED_OR_BARE.sub(lambda found: _text_link(found, links), text)
        html = _ANCHOR.sub(lambda found: _anchor(found, links), html)
    text = _NAMED.sub(r"\2", text)
    if opens and html:
        html = before_end(html, PIXEL)
    return Body(text=text, html=html, links=tuple(links))


def with_footer(text: str, html: str) -> tuple[str, str]:
    """The sources with what marketing must say, where they do not say it themselves."""
    if text and not _says(text):
        text = text.rstrip() + TEXT_FOOTER
    if html and not _says(html):
        html = before_end(html, HTML_FOOTER)
    return text, html


def before_end(html: str, part: str) -> str:
    """*part* put before the end of the body, or last."""
    ends = list(_BODY_END.finditer(html))
    at = ends[-1].start() if ends else len(html)
    return html[:at] + part + html[at:]


def is_web(target: str) -> bool:
    """May a click be led to *target*? Only http and https, on one line."""
    return bool(_HTTP.match(target)) and target.isprintable()


def _says(source: str) -> bool:
    named = {normalise(name) for name in _ONE_TAG.findall(source)}
    return named >= OURS


def _anchor(found: re.Match[str], links: list[Link]) -> str:
    tag = found[0]
    href = _HREF.search(tag)
    if href is None:
        return tag
    target = unescape(_value(href)).strip()
    if not _trackable(target):
        return tag
    own = _ID.search(tag)
    slot = _slot(links, unescape(_value(own)).strip() if own else "", target)
    return tag if slot is None else f'{tag[: href.start()]}href="{slot}"{tag[href.end() :]}'


def _text_link(found: re.Match[str], links: list[Link]) -> str:
    name, target = found[1] or "", found[2] or found[3]
    slot = _slot(links, name, target) if _trackable(target) else None
    return target if slot is None else slot


def _slot(links: list[Link], name: str, target: str) -> str | None:
    """A slot for *target*; None where braces in it make it no template of its own."""
    try:
        links.append(Link(name, compile_template(target, kind="text")))
    except TemplateError:
        return None
    return f"{{{LINK_SLOT}{len(links) - 1}}}"


def _trackable(target: str) -> bool:
    """A web address, or a merge tag that may turn out to be one; never our own link."""
    named = _ONE_TAG.match(target)
    if named is not None:
        return normalise(named[1]) not in OURS
    return bool(_HTTP.match(target)) or target.startswith("{")


def _value(found: re.Match[str]) -> str:
    return next((part for part in found.groups() if part is not None), "")


def slot_number(name: str) -> int | None:
    """N of the normalised name `dripd.link.N`, None for any other."""
    number = name.removeprefix(LINK_SLOT)
    return int(number) if number != name and number.isdecimal() else None
