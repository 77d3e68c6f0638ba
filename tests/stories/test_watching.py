"""Stories of messages that somebody watches: opened, or never answered."""

from __future__ import annotations

import pytest

from tests.stories.test_tasks import campaign, notices, play
from tests.stories.world import World


def tell(world: World, kind: str, contact: str, payload: str = "{}") -> None:
    """Something that the contact did to its first message."""
    world.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind, payload) "
        "SELECT d.account_id, d.id, $2, $3::text::jsonb FROM dripd.delivery AS d "
        "JOIN dripd.enrollment AS e ON e.account_id = d.account_id AND e.id = d.enrollment_id "
        "JOIN dripd.contact AS c ON c.account_id = e.account_id AND c.id = e.contact_id "
        "WHERE c.external_id = $1",
        *(contact, kind, payload),
    )
    world.tick()


@pytest.mark.feature("C26")
def test_the_first_opening_by_a_person_is_told_once(world: World) -> None:
    world.contact("c1", attrs='{"rep": "ann"}')
    hi = "{key: hi, do: email, subject: S, text: T, track: {notify_if_opened: FLAG}}"
    play(
        world,
        campaign("seen", hi.replace("FLAG", "true"), more="notify: {field: rep}"),
        *("c1", "c2"),
    )
    play(world, campaign("unseen", hi.replace("FLAG", "false")), "c3")
    tell(world, "open", "c1", '{"machine": true}')
    assert notices(world, "opened") == []
    for contact in ("c1", "c1", "c1", "c2", "c3"):
        tell(world, "open", contact)
    assert notices(world, "opened") == ["ann", "boss"]


@pytest.mark.feature("C23")
def test_who_waits_for_a_reply_is_told_when_none_comes(world: World) -> None:
    hi = "{key: hi, do: email, subject: S, text: T, track: {no_reply_after: AFTER}}"
    play(world, campaign("ask", hi.replace("AFTER", "3d")), "c1", "c2", "c3")
    play(world, campaign("default", hi.replace("AFTER", "true")), "c4")
    play(world, campaign("never", hi.replace("AFTER", "false")), "c5")
    world.advance("2d")
    tell(world, "reply", "c2")
    tell(world, "reply", "c3", '{"auto": true}')
    world.at("2026-01-08T08:59:59Z")
    assert notices(world, "no_reply") == []
    world.restart()
    world.advance("1s")
    assert notices(world, "no_reply") == ["boss"] * 3
    told = world.column(
        "SELECT c.external_id FROM dripd.notification AS n JOIN dripd.run AS r "
        "ON r.account_id = n.account_id AND r.id = n.enrollment_id JOIN dripd.contact AS c "
        "ON c.account_id = r.account_id AND c.id = r.contact_id ORDER BY 1"
    )
    assert told == ["c1", "c3", "c4"]
    world.advance("9d")
    assert len(notices(world, "no_reply")) == 3
