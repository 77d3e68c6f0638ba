"""Whom a provider's event concerns: by our key, by its id and the address, by account and sender."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dripd.channels.happening import Happened
from dripd.store import desk_gateway
from dripd.store.desk_gateway import keep_happenings, match_parked
from tests.support.control import Control, open_control

pytestmark = pytest.mark.trio

SENT = """
INSERT INTO dripd.step_log (account_id, enrollment_id, claim_id, leased_at, at, cv_id, seq, step_no,
    run_no, channel, state, attempt, to_address, provider_id)
SELECT account_id, id, 1, dripd.now(), dripd.now(), cv_id, 1, 0, run_no, 1, $2::int2, 1,
    'ann@x.test', 'pid-1'
FROM dripd.run WHERE id = $1::int8 RETURNING enrollment_id
"""


@pytest.fixture
async def control(pg_dsn: str) -> AsyncIterator[Control]:
    async with open_control(pg_dsn) as control:
        await control.furnish("ann", "bob")
        yield control


async def sent(control: Control, *, state: int = 1) -> int:
    enrollment = await control.start("ann")
    await control.one(SENT, enrollment, state)
    return enrollment


async def keep(control: Control, *told: Happened) -> int:
    deployment = await control.one("SELECT id FROM dripd.deployment")
    return await control.desk.run(keep_happenings, "sink", deployment, told)


async def events(control: Control) -> list[tuple[Any, ...]]:
    rows = await control.rows(
        "SELECT kind, delivery_id, address, conversation_ref, dedup_key FROM dripd.event_in "
        "WHERE kind IN ('reply', 'bounce', 'open', 'complaint') ORDER BY id"
    )
    return [tuple(row.values()) for row in rows]


async def test_our_key_finds_the_delivery(control: Control) -> None:
    enrollment = await sent(control)
    deployment = await control.one("SELECT id FROM dripd.deployment")
    good = f"dripd:{deployment}:{enrollment}:1:hello"
    wrong = [good.replace(deployment, "other"), good.replace(":1:", ":2:"), good + "x", "dripd"]
    told = [Happened(kind="open", id=str(n), key=key) for n, key in enumerate([good, *wrong])]

    assert 4 == await keep(control, *told)
    assert [("open", f"{enrollment}-1", None, None, "sink:0")] == await events(control)


async def test_the_providers_id_counts_only_for_what_went_to_that_address(
    control: Control,
) -> None:
    enrollment = await sent(control)
    told = [
        Happened(kind="open", id="1", provider_id="pid-1", address="ANN@x.test"),
        Happened(kind="open", id="2", provider_id="pid-1", address="bob@x.test"),
        Happened(kind="open", id="3", provider_id="pid-2", address="ann@x.test"),
    ]

    assert 2 == await keep(control, *told)
    assert [("open", f"{enrollment}-1", None, None, "sink:1")] == await events(control)


async def test_an_address_alone_can_only_end_sending(control: Control) -> None:
    told = [
        Happened(kind=kind, id=kind, address="ann@x.test")  # type: ignore[arg-type]  # words
        for kind in ("complaint", "open", "reply")
    ]

    assert 2 == await keep(control, *told)
    assert [("complaint", None, "ann@x.test", None, "sink:complaint")] == await events(control)


async def test_a_reply_to_our_address_concerns_who_wrote_it(control: Control) -> None:
    one = Happened(kind="reply", id="1", address="ann@x.test", sender="SALES@acme.test")

    assert 0 == await keep(control, one)
    assert [("reply", None, "ann@x.test", None, "sink:1")] == await events(control)


async def test_who_was_written_to_is_the_whole_address(control: Control) -> None:
    """What is inside <> is compared by its form; nothing in it stands for anything else."""
    await control.rows("UPDATE dripd.sender SET address = 'Sales <Sales@acme.test>'")
    told = [
        Happened(kind="reply", id=sender, address="ann@x.test", sender=sender)
        for sender in ("sales@ACME.test", "%@acme.test", "s_les@acme.test", "x<sales@acme.test")
    ]
    await keep(control, *told)

    assert ["sink:sales@ACME.test"] == [event[-1] for event in await events(control)]


async def test_a_system_of_ones_own_names_account_and_conversation(control: Control) -> None:
    told = [
        Happened(kind="reply", id="1", account="acme", conversation_ref="chat"),
        Happened(kind="bounce", id="2", account="acme", delivery_id="7-1"),
        Happened(kind="reply", id="3", account="nobody", conversation_ref="chat"),
    ]

    assert 1 == await keep(control, *told)
    assert [
        ("reply", None, None, "chat", "sink:1"),
        ("bounce", "7-1", None, None, "sink:2"),
    ] == await events(control)


@pytest.mark.parametrize(("kind", "state"), [("delivered", "accepted"), ("failed", "failed")])
async def test_a_provider_proves_what_became_of_an_unknown_message(
    control: Control, kind: Any, state: str
) -> None:
    enrollment = await sent(control, state=3)
    deployment = await control.one("SELECT id FROM dripd.deployment")
    key = f"dripd:{deployment}:{enrollment}:1:hello"

    assert 0 == await keep(control, Happened(kind=kind, id="1", key=key))
    assert state == await control.one("SELECT state FROM dripd.delivery")
    other = "failed" if kind == "delivered" else "delivered"
    await keep(control, Happened(kind=other, id="2", key=key))  # type: ignore[arg-type]  # a word
    assert state == await control.one("SELECT state FROM dripd.delivery")


@pytest.mark.parametrize(
    ("answer", "state"), [(None, "failed"), (1, "accepted")], ids=["unknown again", "accepted"]
)
async def test_proof_against_a_message_that_is_being_sent_again_waits_for_its_answer(
    control: Control, answer: int | None, state: str
) -> None:
    """It gave cap and charge back, said `failed`, and the run went on as if it had been sent."""
    enrollment = await sent(control, state=3)
    deployment = await control.one("SELECT id FROM dripd.deployment")
    lease = "UPDATE dripd.due_step SET seq = 1, flags = flags | 2, claim_id = $2 WHERE enrollment_id = $1 RETURNING seq"
    await control.one(lease, enrollment, 7)
    key = f"dripd:{deployment}:{enrollment}:1:hello"

    assert 1 == await keep(control, Happened(kind="failed", id="1", key=key))
    assert "unknown" == await control.one("SELECT state FROM dripd.delivery")
    assert 0 == await control.desk.run(match_parked, deployment)

    await control.one(lease, enrollment, None)
    if answer is not None:
        await control.one("UPDATE dripd.step_log SET state = $1 RETURNING state", answer)
    assert 1 == await control.desk.run(match_parked, deployment)
    assert state == await control.one("SELECT state FROM dripd.delivery")
    assert 0 == await control.one("SELECT count(*) FROM dripd.event_parked")


async def test_parked_events_are_capped_and_kept_once(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_gateway, "PARKED_MOST", 3)
    for n in (1, 1, 2, 3, 4, 5):
        await keep(control, Happened(kind="open", id=str(n)))
    rows = await control.rows("SELECT event_key FROM dripd.event_parked ORDER BY parked_at")

    assert ["2", "3", "4", "5"] == [row["event_key"] for row in rows]


async def test_deliveries_that_are_none_are_parked_or_passed_over(control: Control) -> None:
    ids = ["9x", "-1", "i-", "i-x", "99999999999999999999-1", "1-99999999999", "1-1"]
    told = [
        Happened(kind="delivered", id=text, account="acme", delivery_id=text) for text in ids
    ]

    assert 0 == await keep(control, *told)
    assert 1 == await keep(control, Happened(kind="delivered", id="none", account="acme"))


async def test_a_message_that_never_left_gives_its_place_in_the_day_back(
    control: Control,
) -> None:
    enrollment = await sent(control, state=3)
    await control.one(
        "INSERT INTO dripd.account_day (account_id, local_date, cap, used, starts_at, ends_at) "
        "SELECT account_id, current_date, 10, 4, dripd.now() - interval '1 day', "
        "dripd.now() + interval '1 day' FROM dripd.run WHERE id = $1 RETURNING used",
        enrollment,
    )
    told = Happened(kind="failed", id="1", account="acme", delivery_id=f"{enrollment}-1")

    assert 0 == await keep(control, told)
    assert 3 == await control.one("SELECT used FROM dripd.account_day")
    assert "failed" == await control.one("SELECT state FROM dripd.delivery")
