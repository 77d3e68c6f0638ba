"""What is ours in a message: tracked links, the pixel, how to unsubscribe, the address."""

from __future__ import annotations

import re
from typing import Any

from dripd.campaigns.event import Held
from dripd.campaigns.links import Links, Told, read_token
from dripd.clock import Instant
from dripd.policy.perform import Rendered, Verdict, perform
from tests.support.rooms import ACCOUNT, NOW, RUN, World, email, leased, make_version, sms

KEY = b"k" * 32
BASE = "https://m.acme.test"
TOLD = Told(ACCOUNT, RUN, 1, NOW)


def linked(**keys: Any) -> World:
    return World(linked=Links(BASE, KEY), **keys)


def judged(step: dict[str, Any], world: World, *, top: Any = None, **keys: Any) -> Verdict:
    return perform(leased(**keys), make_version(step, **(top or {})), NOW, world)


def ready(step: dict[str, Any], world: World, *, top: Any = None, **keys: Any) -> Rendered:
    verdict = judged(step, world, top=top, **keys)
    assert isinstance(verdict, Rendered)
    return verdict


TRACKED = email(
    text="[offer](https://a.test/x)",
    html='<body><a data-link="offer" href="https://a.test/?c={City}&amp;x=1">x</a></body>',
    track={"open": True, "click": True},
)


def test_a_tracked_body_has_signed_links_and_a_pixel() -> None:
    found = ready(TRACKED, linked(), attrs={"city": "Bad Ems"})

    link, pixel = re.findall(r'(?:href|src)="([^"]*)"', found.html)
    token = link.split("/c/")[1].split("?")[0]
    assert link.endswith("?l=offer&amp;u=https%3A%2F%2Fa.test%2F%3Fc%3DBad%20Ems%26x%3D1")
    assert read_token(KEY, "click", token, "offer", "https://a.test/?c=Bad Ems&x=1") == TOLD
    assert read_token(KEY, "open", pixel.removeprefix(f"{BASE}/o/")) == TOLD
    assert found.text.startswith(f"{BASE}/c/")


def test_without_anybody_to_follow_links_a_body_is_as_it_was_written() -> None:
    found = ready(TRACKED, World(), attrs={"city": "Ems"})

    assert found.html == (
        '<body><a data-link="offer" href="https://a.test/?c=Ems&amp;x=1">x</a></body>'
    )
    assert found.text == "https://a.test/x"


def test_a_tag_inside_a_link_is_missed_by_its_name() -> None:
    assert judged(TRACKED, linked(), attrs={}) == Held(reason="missing_tag:City")


def test_a_link_that_turns_out_to_lead_elsewhere_is_not_tracked() -> None:
    step = email(html='<a href="{booking}">x</a>', track={"click": True})

    assert 'href="tel:+1"' in ready(step, linked(), attrs={"booking": "tel:+1"}).html
    assert f'href="{BASE}/c/' in ready(step, linked(), attrs={"booking": "https://b.test"}).html


def test_personal_and_marketing_mail_can_be_ended_and_transactional_owes_nothing() -> None:
    world = linked(postal="Acme, Main St 1, 12345 Town")
    found = {
        klass: ready(email(), world, top={"class": klass}).unsubscribe
        for klass in ("personal", "marketing", "transactional")
    }

    assert found["transactional"] == ""
    assert found["personal"] == found["marketing"]
    token = found["personal"].removeprefix(f"{BASE}/u/")
    assert read_token(KEY, "unsubscribe", token) == TOLD._replace(at=Instant(0))
    assert ready(sms(), world).unsubscribe == ""


def test_marketing_mail_says_who_sends_it_and_how_to_end_it() -> None:
    world = linked(postal="Acme & Co, Main St 1")
    found = ready(email(html="<p>Hi</p>"), world, top={"class": "marketing"})

    assert found.text == (
        f"Hello\n\n-- \nAcme & Co, Main St 1\nUnsubscribe: {found.unsubscribe}\n"
    )
    assert "Acme &amp; Co, Main St 1<br>" in found.html
    assert f'<a href="{found.unsubscribe}">Unsubscribe</a>' in found.html


def test_marketing_mail_that_nobody_could_end_does_not_leave() -> None:
    top = {"class": "marketing", "policy": {"missing_tag": "empty"}}

    assert judged(email(), World(postal="Acme"), top=top) == Held(
        reason="missing_tag:Unsubscribe link"
    )


def test_our_tags_may_stand_in_any_message() -> None:
    world = linked(postal="Main St 1")
    step = email(subject="Hi", text="{Postal address} {unsubscribe_link} {Who|you}")
    found = ready(step, world)

    assert found.text == f"Main St 1 {found.unsubscribe} you"
    assert judged(step, World()) == Held(reason="missing_tag:Postal address")
