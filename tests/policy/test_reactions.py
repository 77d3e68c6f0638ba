"""Actions on clicks and forms: whose they are, on what facts, and how often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dripd.campaigns.action import AddTag, Note, UpdateContact
from dripd.policy.inbox import digest
from dripd.policy.inbox_rows import Act, ContactRow, EventRow, RunRow
from dripd.policy.reactions import MissingContacts
from tests.support.rooms import CONTACT, NOW, World, event, run, tag

ANN = ContactRow(
    id=CONTACT, external_id="ann", email="ann@x.test", phone=None, timezone=None, owner=None,
    service_owner=None, attrs={"score": 1}, company={}, tags=frozenset(), lists=frozenset({"l"}),
)  # fmt: skip

CLICK: dict[str, Any] = {"link": "offer", "do": "tag_add", "tag": "hot"}


def acts(
    *events: EventRow, world: World, runs: tuple[RunRow, ...] = (), facts: Any = None
) -> list[Act]:
    found = digest(events, runs, NOW, world, {CONTACT: ANN} if facts is None else facts)
    return [effect for effect in found if isinstance(effect, Act)]


def clicked(link: str = "offer", **keys: Any) -> EventRow:
    payload = {"link": link, **keys.pop("payload", {})}
    return event("click", payload=payload, **keys)


def reacting(**top: Any) -> World:
    world = World()
    world.add(tag(), **top)
    return world


def test_a_click_on_the_link_does_what_its_handler_says() -> None:
    world = reacting(on_click=[CLICK])

    (act,) = acts(clicked(), world=world)
    assert act.effects == [AddTag(tag="hot")]
    assert (act.campaign_id, act.once, act.leased.contact_id) == (10, None, CONTACT)
    assert acts(clicked("other"), world=world) == []
    assert acts(event("open", payload={"link": "offer"}), world=world) == []


def test_a_machine_that_follows_a_link_sets_nothing_in_motion() -> None:
    machine = clicked(payload={"machine": True})

    assert acts(machine, world=reacting(on_click=[CLICK])) == []
    counted = reacting(on_click=[CLICK], policy={"machine_opens": "count"})
    assert len(acts(machine, world=counted)) == 1


def test_a_form_is_named_by_its_event() -> None:
    form = {"form": "signup", "do": "update", "ops": ["score increment 2", "city set Oslo"]}
    world = reacting(on_form=[form])
    row = event("form", payload={"form": "signup"})

    (act,) = acts(row, world=world)
    assert act.effects == [UpdateContact(attrs={"score": 3, "city": "Oslo"})]
    assert ANN.attrs == {"score": 1}


def test_what_an_action_did_is_seen_by_the_next() -> None:
    form = {"form": "f", "do": "update", "ops": ["score increment 1"]}
    add = {"form": "f", "do": "list_add", "list": "l"}
    world = reacting(on_form=[form, form, add])

    found = acts(event("form", payload={"form": "f"}), world=world)
    assert [act.effects for act in found] == [
        [UpdateContact(attrs={"score": 2})],
        [UpdateContact(attrs={"score": 3})],
        [],
    ]


def test_a_delivery_says_whose_click_it_is() -> None:
    world = reacting(on_click=[CLICK])
    world.add(tag(), cv_id=2, on_click=[{**CLICK, "tag": "two"}])

    assert [a.campaign_id for a in acts(clicked(campaign_id=20), world=world)] == [20]
    assert [a.campaign_id for a in acts(clicked(), world=world)] == [10, 20]
    mine = acts(clicked(), world=world, runs=(run(cv_id=1, campaign_id=10),))
    assert [a.campaign_id for a in mine] == [10]


def test_once_per_contact_is_kept_by_what_is_done_not_by_its_place() -> None:
    once = {**CLICK, "once_per": "contact"}
    (act,) = acts(clicked(), world=reacting(on_click=[once]))
    (moved,) = acts(clicked(), world=reacting(on_click=[{**CLICK, "link": "x"}, once]))

    assert act.once == moved.once == "click:offer:tag_add:hot"


def test_contacts_are_asked_for_and_those_that_are_gone_passed_over() -> None:
    world = reacting(on_click=[CLICK])
    with pytest.raises(MissingContacts) as caught:
        acts(clicked(), world=world, facts={})

    assert caught.value.ids == (CONTACT,)
    assert acts(clicked(), world=world, facts={CONTACT: None}) == []


def test_what_cannot_be_done_is_noted() -> None:
    broken = {"link": "offer", "do": "update", "ops": ["score increment 1"]}
    row = replace(ANN, attrs={"score": "high"})
    (act,) = acts(clicked(), world=reacting(on_click=[broken]), facts={CONTACT: row})

    assert [type(effect) for effect in act.effects] == [Note]
