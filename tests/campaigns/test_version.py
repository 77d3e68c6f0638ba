"""A compiled version knows what its leases must ask for, and where its steps wait."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dripd.campaigns.enrollment import LaneClass, LaneKey, Needs
from dripd.campaigns.version import ALWAYS, CHANGED, KIND_BITS, kind_bit
from tests.support.rooms import BERLIN, email, make_version, sms, tag

ZONES = frozenset({"UTC", BERLIN})
READS = Needs.COMPANY | Needs.TAGS | Needs.LISTS | Needs.EVENTS | Needs.START


def test_kind_bits_are_those_of_the_schema() -> None:
    schema = Path("sql/schema.sql").read_text(encoding="utf-8")
    written = {kind: int(bit) for kind, bit in re.findall(r"WHEN '(\w+)' THEN (\d+)\n", schema)}

    assert written.items() >= KIND_BITS.items()
    assert f"kind_bit & {ALWAYS} <> 0" in schema


def test_a_changed_status_and_a_changed_field_are_one_event() -> None:
    assert kind_bit("status_changed") == kind_bit("field_changed") == CHANGED
    assert kind_bit("reply") == 1
    assert kind_bit("teleport") == 0


def test_no_lease_passes_a_reply_whatever_the_version_says() -> None:
    quiet = make_version(email(), exit_rules=[{"on": "reply", "enabled": False}])

    assert quiet.mask("email") & ALWAYS == ALWAYS


@pytest.mark.parametrize(
    ("top", "bits"),
    [
        ({"exit_rules": [{"on": "open"}]}, KIND_BITS["open"]),
        ({"exit_rules": [{"on": "open", "enabled": False}]}, 0),
        ({"exit_rules": [{"on": "field_changed", "field": "x"}]}, CHANGED),
        ({"goal": {"on": "tag_added", "tag": "T"}}, KIND_BITS["tag_added"]),
        ({"policy": {"on_list_leave": "remove"}}, KIND_BITS["list_removed"]),
        ({"policy": {"on_list_leave": "ignore"}}, 0),
    ],
)
def test_what_ends_a_run_is_in_the_mask(top: dict[str, Any], bits: int) -> None:
    base = {"policy": {"on_list_leave": "ignore"}}
    version = make_version(email(), **{**base, **top})

    assert version.mask("email") & 0xFFFF == ALWAYS | bits
    assert version.mask("") & 0xFFFF == version.mask("email") & 0xFFFF


def test_an_interaction_is_waited_for_where_a_step_restarts_on_it() -> None:
    version = make_version(email(delay="3d", reset_on_interaction=True))

    assert version.mask("email") & KIND_BITS["interaction"]
    assert version.listens("interaction")
    assert not make_version(email()).listens("interaction")


def test_a_condition_on_events_asks_for_the_kinds_that_it_names() -> None:
    version = make_version(email(), email(when="'click' in events and not 'open' in events"))

    assert version.asks_of == KIND_BITS["click"] | KIND_BITS["open"]
    assert version.mask("email") & Needs.EVENTS
    assert version.listens("click")


@pytest.mark.parametrize(
    ("step", "needs"),
    [
        (email(), 0),
        (email(text="at {company}, {city}, {attrs.plan}, {email}"), 0),
        (email(text="for {company.industry}"), Needs.COMPANY),
        (email(text="for {industry}"), Needs.COMPANY),
        (email(when="company.size > 5"), Needs.COMPANY),
        (email(when="'a' in tags or 'b' in lists"), Needs.TAGS | Needs.LISTS),
    ],
)
def test_a_lease_reads_only_the_facts_that_steps_of_its_channel_use(
    step: dict[str, Any], needs: int
) -> None:
    version = make_version(step, sms())

    assert version.mask("email") & READS == needs
    assert version.mask("sms") & READS == 0


def test_internal_steps_read_what_tells_a_noop() -> None:
    version = make_version(
        tag(),
        {"do": "list_add", "list": "l"},
        {"do": "update", "target": "company", "ops": ["size set 5"]},
        email(),
    )

    assert version.mask("") & READS == Needs.TAGS | Needs.LISTS | Needs.COMPANY
    assert version.mask("email") & READS == 0


def test_the_start_is_read_where_the_next_step_counts_from_it() -> None:
    assert make_version(email(), email(day=3)).mask("email") & Needs.START
    assert make_version(tag(), email(day=3)).mask("") & Needs.START
    assert not make_version(tag(), email(), email(day=3)).mask("") & Needs.START
    late = make_version(email(), sms(delay="2d"), policy={"anchor": "after_start"})
    assert late.mask("email") & Needs.START
    assert not late.mask("sms") & Needs.START


def test_mail_counts_against_the_plan_and_texts_do_not() -> None:
    both = make_version(email(), sms())
    free = make_version(email(), policy={"cap": "none"})
    klass: dict[str, Any] = {"class": "transactional"}
    urgent = make_version(email(), **klass)

    assert both.mask("email") & (Needs.COUNTED | Needs.EMAIL) == Needs.COUNTED | Needs.EMAIL
    assert both.mask("sms") & (Needs.COUNTED | Needs.SMS) == Needs.SMS
    assert not free.mask("email") & Needs.COUNTED
    assert urgent.mask("email") & Needs.COUNTED


def test_lanes_part_internal_first_and_later_messages() -> None:
    version = make_version(tag(), email(), sms(), tag(), email())

    lanes = [version.lane_key(no, None, ZONES) for no in range(5)]

    assert [lane.kind for lane in lanes] == [
        LaneClass.INTERNAL,
        LaneClass.FIRST,
        LaneClass.FOLLOW_UP,
        LaneClass.INTERNAL,
        LaneClass.FOLLOW_UP,
    ]
    assert [lane.channel for lane in lanes] == ["", "email", "sms", "", "email"]
    assert lanes[0] == LaneKey(10, 0, "", "", "account")


def test_the_zone_of_a_lane_is_the_contacts_only_if_it_exists() -> None:
    window = {"from": "09:00", "to": "17:00"}
    version = make_version(email(), timezone="contact", window=window)

    zones = [version.lane_key(0, zone, ZONES).zone for zone in (BERLIN, "Mars/Olympus", None)]

    assert zones == [BERLIN, "account", "account"]
    assert version.lane_key(0, BERLIN, ZONES).calendar.startswith('{"days":["mon"')


def test_steps_that_are_always_open_share_a_lane_whatever_their_zone() -> None:
    version = make_version(email(), timezone=BERLIN, window="off")

    assert version.lane_key(0, BERLIN, ZONES) == LaneKey(10, 1, "email", "", "account")


def test_without_a_window_of_its_own_a_message_has_the_accounts() -> None:
    version = make_version(email(), timezone=BERLIN)

    assert version.lane_key(0, None, ZONES) == LaneKey(10, 1, "email", "account", BERLIN)
