"""Bodies as they are watched: links and a pixel become slots, everything else stays."""

from __future__ import annotations

import pytest

from dripd.campaigns.tracking import (
    PIXEL,
    Body,
    is_web,
    plain,
    slot_number,
    tracked,
    with_footer,
)


def clicks(text: str = "", html: str = "") -> Body:
    return tracked(text, html, opens=False, clicks=True)


def links(body: Body) -> list[tuple[str, str]]:
    return [(link.id, link.target.source) for link in body.links]


def test_links_of_html_become_slots_and_keep_everything_else() -> None:
    body = clicks(
        html='<a class="x" href="https://a.test/?q=1&amp;r=2" data-link="offer">Go</a>'
    )

    assert body.html == '<a class="x" href="{dripd.link.0}" data-link="offer">Go</a>'
    assert links(body) == [("offer", "https://a.test/?q=1&r=2")]


@pytest.mark.parametrize(
    "html",
    [
        '<a href="mailto:a@b.test">',
        '<a href="tel:+1555">',
        '<a href="#top">',
        '<a name="top">',
        '<a href="{Unsubscribe link}">',
        '<a href="{unsubscribe_link}">',
        '<a data-href="https://a.test">',
        '<abbr href="https://a.test">',
        '<link href="https://a.test/x.css">',
        '<img src="https://a.test/x.png">',
    ],
)
def test_what_leads_to_no_web_page_is_left_alone(html: str) -> None:
    assert clicks(html=html) == Body(text="", html=html)


@pytest.mark.parametrize(
    "html",
    [
        "<A HREF='https://a.test/'>x</A>",
        "<a href=https://a.test/>x</a>",
        '<a title="a > b" href="https://a.test/">x</a>',
        '<area href = "https://a.test/">',
        '<a\n  href="https://a.test/">x</a>',
    ],
)
def test_links_are_found_however_they_are_written(html: str) -> None:
    assert links(clicks(html=html)) == [("", "https://a.test/")]


def test_a_link_may_hold_merge_tags_or_be_one() -> None:
    body = clicks(html='<a href="https://a.test/?c={City}">x</a><a href="{booking}">y</a>')

    assert links(body) == [("", "https://a.test/?c={City}"), ("", "{booking}")]


def test_a_link_with_braces_that_are_no_tag_is_left_alone() -> None:
    html = '<a href="https://a.test/{a,b}">x</a>'

    assert clicks(html=html) == Body(text="", html=html)


def test_links_of_text_become_slots_and_the_full_stop_stays() -> None:
    body = clicks("See https://a.test/x. (Or https://b.test/?q={First Name}!)")

    assert body.text == "See {dripd.link.0}. (Or {dripd.link.1}!)"
    assert links(body) == [("", "https://a.test/x"), ("", "https://b.test/?q={First Name}")]


def test_named_links_of_text_have_ids() -> None:
    body = clicks("[offer](https://a.test/x), [more]({page}) and [9](https://c.test)")

    assert body.text == "{dripd.link.0}, {dripd.link.1} and {dripd.link.2}"
    assert links(body) == [
        ("offer", "https://a.test/x"),
        ("more", "{page}"),
        ("9", "https://c.test"),
    ]


def test_untracked_text_shows_the_address_alone() -> None:
    text, html = "[offer](https://a.test/x) (see [1] (p. 3))", '<a href="https://a.test">x</a>'

    assert plain(text, html) == Body("https://a.test/x (see [1] (p. 3))", html)
    assert tracked(text, "", opens=True, clicks=False).text == plain(text, "").text


def test_the_pixel_stands_last_in_the_body() -> None:
    html = "<body><p>Hi</p></BODY ></html>"

    assert tracked("t", html, opens=True, clicks=False).html == (
        f"<body><p>Hi</p>{PIXEL}</BODY ></html>"
    )
    assert tracked("t", "<p>Hi", opens=True, clicks=False).html == f"<p>Hi{PIXEL}"
    assert tracked("t", "", opens=True, clicks=False) == Body("t", "")


def test_a_footer_is_added_unless_the_author_wrote_both_parts() -> None:
    text, html = with_footer("Hi", "<body>Hi</body>")

    assert text.startswith("Hi\n\n-- \n{Postal address}\nUnsubscribe: {Unsubscribe link}")
    assert html.endswith("</p></body>")
    own = "Hi {postal address}, {Unsubscribe  Link}"
    assert with_footer(own, own) == (own, own)
    assert with_footer("", "") == ("", "")


@pytest.mark.parametrize(
    ("target", "web"),
    [
        ("https://a.test/", True),
        ("HTTP://a.test", True),
        ("javascript:alert(1)", False),
        ("//a.test", False),
        ("https://a.test/\r\nX: y", False),
        ("https://a.test/ b", True),
        ("", False),
    ],
)
def test_clicks_lead_to_web_pages_only(target: str, web: bool) -> None:
    assert is_web(target) is web


def test_slots_are_told_from_other_names() -> None:
    assert [0, 12, None, None] == [
        slot_number(name) for name in ("dripd.link.0", "dripd.link.12", "dripd.link.x", "city")
    ]
