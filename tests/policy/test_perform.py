"""A leased message is rendered and addressed, or it is said why not, in one order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.event import Held, Rejected, Skipped, Stopped
from dripd.clock import DAY, HOUR, Instant
from dripd.policy.perform import Rendered, Verdict, perform
from tests.support.rooms import BERLIN, NOW, World, email, leased, make_version, sms

OPEN = {"window": "off"}


def judged(step: dict[str, Any], world: World | None = None, **keys: Any) -> Verdict:
    top, now = keys.pop("top", {}), keys.pop("now", NOW)
    return perform(leased(**keys), make_version(step, **top), now, world or World())


def test_a_message_is_rendered_for_its_contact() -> None:
    ready = judged(email(subject="Hi {First Name}", html="<b>{FIRST  name}</b>"),
                   attrs={"First Name": "A & B"})  # fmt: skip

    assert isinstance(ready, Rendered)
    assert (ready.subject, ready.text, ready.html) == ("Hi A & B", "Hello", "<b>A &amp; B</b>")
    assert (ready.to, ready.sender.address, ready.channel) == (
        "ann@example.test",
        "sales@acme.test",
        "email",
    )
    assert ready.segments is None


def test_a_missing_value_holds_the_step_and_names_the_tag() -> None:
    step = email(text="{First  Name}")

    assert judged(step, attrs={}) == Held(reason="missing_tag:First Name")
    assert isinstance(
        judged(step, attrs={}, top={"policy": {"missing_tag": "empty"}}), Rendered
    )


def test_values_that_no_message_can_carry_hold_the_step() -> None:
    bad_date = judged(email(text="{when:%d %b}"), attrs={"when": "soon"})
    bad_char = judged(email(subject="{who}"), attrs={"who": "Ann\x1bBcc"})

    assert bad_date == Held(reason="bad_date:when")
    assert bad_char == Held(reason="quarantined", failed="bad_char:who")


def test_dates_are_shown_in_the_zone_of_the_campaign() -> None:
    ready = judged(
        email(text="{at:%H:%M}"),
        attrs={"at": "2026-03-02T10:00:00Z"},
        top={"timezone": BERLIN},
    )

    assert isinstance(ready, Rendered)
    assert ready.text == "11:00"


def test_a_step_whose_condition_is_false_is_skipped() -> None:
    step = email(when="attrs.tier == 'gold'")

    assert judged(step, attrs={"tier": "tin"}) == Skipped(reason="condition_false")
    assert isinstance(judged(step, attrs={"tier": "gold"}), Rendered)


def test_conditions_read_tags_lists_events_and_vars() -> None:
    step = sms(when="'a' in tags and 'b' in lists and 'click' in events and vars.n == 1")
    facts: dict[str, Any] = {
        "tags": frozenset("a"),
        "lists": frozenset("b"),
        "events": frozenset({"click"}),
        "vars": {"n": 1},
    }

    assert isinstance(judged(step, **facts), Rendered)
    for name, value in facts.items():
        assert judged(step, **{**facts, name: type(value)()}) == Skipped(
            reason="condition_false"
        )


def test_a_step_that_comes_too_late_is_skipped() -> None:
    late: dict[str, Any] = {"due_at": Instant(NOW - HOUR)}

    assert judged(email(expires_after="59m"), **late) == Skipped(reason="expired")
    assert isinstance(judged(email(expires_after="1h"), **late), Rendered)
    skip, send = ({"after": "30m", "then": then} for then in ("skip", "send"))
    assert judged(email(max_lateness=skip), **late) == Skipped(reason="expired")
    assert isinstance(judged(email(max_lateness=send), **late), Rendered)


def test_a_suppressed_address_ends_the_run_unless_the_step_may_be_skipped() -> None:
    stopped = Stopped(status="removed", reason="suppressed")
    skipped = Skipped(reason="suppressed")

    assert judged(email(), suppressed=True) == stopped
    assert judged(email(on_unable="skip"), suppressed=True) == skipped
    assert judged(sms(), suppressed=True) == skipped
    assert judged(sms(on_unable="exit"), suppressed=True) == stopped


def test_what_is_not_to_be_performed_is_not_judged_further() -> None:
    step = email(when="attrs.tier == 'gold'")

    assert judged(step, suppressed=True, email=None) == Skipped(reason="condition_false")


def test_no_address_holds_a_mail_until_there_is_one() -> None:
    assert judged(email(), email=None) == Held(reason="no_address")
    assert judged(email(), email="  ") == Held(reason="no_address")


@pytest.mark.feature("F12")
def test_without_a_phone_a_text_is_skipped_or_ends_the_run() -> None:
    assert judged(sms(), phone=None) == Skipped(reason="no_phone")
    assert judged(sms(on_no_phone="skip"), phone="") == Skipped(reason="no_phone")
    assert judged(sms(on_no_phone="exit"), phone=None) == Stopped(
        status="removed", reason="no_phone"
    )


@pytest.mark.parametrize(
    "address", ["ann", "@acme.test", "ann@", "a b@c.test", "a@b.t\r\nBcc: x"]
)
def test_what_cannot_be_an_address_is_refused_before_a_byte_leaves(address: str) -> None:
    assert judged(email(), email=address) == Rejected(reason="invalid_address")


@pytest.mark.parametrize("number", ["none", "+1555\n1234", "\ud800" + "1"])
def test_what_cannot_be_a_number_is_refused_before_a_byte_leaves(number: str) -> None:
    assert judged(sms(), phone=number) == Rejected(reason="invalid_address")


@pytest.mark.feature("M24")
def test_the_file_may_say_where_the_address_stands() -> None:
    top = {"field_map": {"email": "attrs.work", "phone": "attrs.mobile"}}

    ready = judged(email(), attrs={"work": "w@acme.test"}, top=top)

    assert isinstance(ready, Rendered)
    assert ready.to == "w@acme.test"
    assert judged(email(), attrs={}, top=top) == Held(reason="no_address")
    number = judged(sms(), attrs={"mobile": 4915112345}, top=top)
    assert isinstance(number, Rendered)
    assert number.to == "4915112345"
    assert judged(email(), attrs={"work": ["x"]}, top=top) == Held(reason="no_address")


def test_without_a_sender_the_step_is_held() -> None:
    assert judged(email(), World(senders={})) == Held(reason="no_sender")


@pytest.mark.parametrize(("overflow", "n"), [("hold", None), ("truncate", 2), ("send", 3)])
def test_a_text_that_is_too_long_does_as_the_policy_says(overflow: str, n: int | None) -> None:
    top = {"policy": {"limits": {"max_sms_segments": 2}, "sms_overflow": overflow}}

    verdict = judged(sms(text="{word}"), attrs={"word": "x" * 400}, top=top)

    if n is None:
        assert verdict == Held(reason="too_long")
    else:
        assert isinstance(verdict, Rendered)
        assert verdict.segments == n


values = st.text(max_size=30) | st.none() | st.integers() | st.floats() | st.booleans()


@given(
    attrs=st.dictionaries(st.sampled_from(["first_name", "when", "tier"]), values),
    address=st.none() | st.text(max_size=20) | st.just("ann@example.test"),
    late=st.integers(0, 10 * DAY),
    suppressed=st.booleans(),
    kind=st.sampled_from(["email", "sms"]),
)
def test_perform_is_total_and_a_suppression_never_clears(
    attrs: dict[str, object], address: str | None, late: int, suppressed: bool, kind: str
) -> None:
    make = email if kind == "email" else sms
    version = make_version(
        make(text="{First Name} {when:%d}", when="attrs.tier != 'x'", expires_after="5d")
    )
    row = leased(attrs=attrs, email=address, phone=address, suppressed=suppressed)

    verdict = perform(row, version, Instant(NOW + late), World())

    assert isinstance(verdict, Rendered | Skipped | Held | Stopped | Rejected)
    if suppressed or not address:
        assert not isinstance(verdict, Rendered)
    if isinstance(verdict, Rendered):
        assert "{" not in verdict.text
