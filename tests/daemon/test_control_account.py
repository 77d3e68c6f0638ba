"""Accounts, senders, operators, and what holds for every changing call."""

from __future__ import annotations

import pytest

from dripd.admin.roles import Role
from dripd.errors import BadRequest, Conflict, DefinitionError, NotFound, NotPermitted
from dripd.store.desk_account import read_window
from tests.support.control import open_control

pytestmark = pytest.mark.trio


async def test_account_set_makes_then_changes_then_does_nothing(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        made = await control.do("account.set", key="acme", plan="professional", rate="20/s")
        same = await control.do("account.set", key="acme", plan="professional")
        moved = await control.do("account.set", key="acme", timezone="Europe/Berlin")

        assert (made["changed"], made["created"], made["plan"]) == (True, True, "professional")
        assert (same["changed"], same["created"], same["rate"]) == (False, False, "20/s")
        assert (moved["changed"], moved["timezone"]) == (True, "Europe/Berlin")


async def test_account_window_is_stored_canonically_and_taken_off(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        window = '{days: [fri, mon], from: "9:00", to: "17:00", holidays: DE-BE}'
        made = await control.do("account.set", key="acme", window=window)
        off = await control.do("account.set", key="acme", window="off")

        assert {
            "days": ["mon", "fri"],
            "from": "09:00",
            "holidays": ["DE-BE"],
            "to": "17:00",
        } == made["send_window"]
        assert off["send_window"] is None


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"timezone": "Europe/Pariss"}, BadRequest),
        ({"rate": "fast"}, BadRequest),
        ({"plan": "acelerator"}, NotFound),
        ({"window": "{days: [funday]}"}, DefinitionError),
        ({"window": "{holidays: [DE, DE-XX]}"}, BadRequest),
        ({"name": "nul \x00"}, BadRequest),
    ],
)
async def test_account_set_refuses_what_makes_no_sense(
    pg_dsn: str, params: dict[str, str], error: type[Exception]
) -> None:
    async with open_control(pg_dsn) as control:
        with pytest.raises(error):
            await control.do("account.set", key="acme", **params)

        assert (await control.do("account.list"))["items"] == []


async def test_a_window_that_is_none_is_told_how_one_is_written() -> None:
    with pytest.raises(DefinitionError) as refused:
        read_window("weekdays", None)

    (fault,) = refused.value.faults
    assert "--window holds no window" == fault.message
    assert "{days: [mon, fri]" in fault.hint


async def test_dry_run_says_and_leaves_nothing(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        said = await control.do("account.set", key="acme", dry_run=True)

        assert said["created"] is True
        assert await control.one("SELECT count(*) FROM dripd.account") == 0
        assert await control.one("SELECT count(*) FROM dripd.admin_audit") == 0
        assert control.seen["kick"] == []


async def test_every_change_is_audited_with_who_and_why(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme", reason="a new customer", request_id="r1")
        await control.do("account.pause", key="acme", **{"as": "ann"})
        audit = (await control.do("audit.list"))["items"]

        assert [row["method"] for row in audit] == ["account.pause", "account.set"]
        assert audit[1]["reason"] == "a new customer"
        assert audit[1]["request_id"] == "r1"
        assert audit[0]["as_name"] == "ann"
        assert audit[0]["account_key"] == "acme"
        assert len((await control.do("audit.list", who="ann"))["items"]) == 1
        assert len((await control.do("audit.list", since="1h"))["items"]) == 2
        assert (await control.do("audit.list", method="dead.retry"))["items"] == []
        with pytest.raises(BadRequest, match="no method that changes"):
            await control.do("audit.list", method="enroll.list")


async def test_viewer_of_an_account_may_not_change_it(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("operator.set", name="vic", role="viewer")
        with pytest.raises(NotPermitted):
            await control.do("contact.add", external_id="c1", user="vic", role_=Role.MEMBER)

        assert await control.one("SELECT count(*) FROM dripd.contact") == 0


async def test_account_show_has_cap_and_holds(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        await control.do("account.set", key="acme", plan="professional")
        await control.start("c1", lane=-1, hold="too_long")
        shown = await control.do("account.show", key="acme")

        assert shown["cap"] | {"local_date": ""} == {
            "limit": 300,
            "used": 0,
            "left": 300,
            "local_date": "",
        }
        assert shown["holds"] == [{"reason": "too_long", "count": 1, "release_at": None}]
        assert shown["balance"] == "0"


async def test_pause_of_everything_asks_first(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="a")
        await control.do("account.set", key="b")
        with pytest.raises(Conflict) as refused:
            await control.do("daemon.pause", all=True)

        assert refused.value.code == "confirm:2"
        assert (await control.do("daemon.pause", all=True, yes=True))["changed"] == 2
        assert (await control.do("daemon.resume", all=True))["changed"] == 2
        assert (
            await control.one("SELECT count(*) FROM dripd.journal_log WHERE kind = 'paused'")
            == 2
        )


async def test_a_sender_is_one_however_it_is_written(pg_dsn: str) -> None:
    """A second one in other letters had a day's limit of its own."""
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        for written, other in (("Sales@acme.test", "sales@ACME.test"), ("+4930 12", "+493012")):
            await control.do("sender.set", address=written, daily_limit=5)
            again = await control.do("sender.set", address=other, daily_limit=7)
            assert (again["address"], again["daily_limit"]) == (written, 7)
            paused = await control.do("sender.pause", address=other)
            assert paused["address"] == written
        assert 2 == await control.one("SELECT count(*) FROM dripd.sender")
        await control.rows(
            "INSERT INTO dripd.sender (account_id, address) VALUES (1, 'sales@acme.test')"
        )
        exact = await control.do("sender.set", address="sales@acme.test", daily_limit=9)
        assert (exact["address"], exact["daily_limit"]) == ("sales@acme.test", 9)


async def test_sender_channel_follows_from_its_address(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        mail = await control.do("sender.set", address="a@x.test", daily_limit=5)
        text = await control.do("sender.set", address="+4930123")
        free = await control.do("sender.set", address="a@x.test", daily_limit=0)
        paused = await control.do("sender.pause", address="a@x.test")

        assert (mail["channel"], mail["daily_limit"]) == ("email", 5)
        assert text["channel"] == "sms"
        assert (free["changed"], free["daily_limit"]) == (True, None)
        assert (paused["changed"], paused["status"]) == (True, "paused")
        assert (await control.do("sender.pause", address="a@x.test"))["changed"] is False
        with pytest.raises(Conflict, match="is paused"):
            await control.do("sender.probe", address="a@x.test")
        assert (await control.do("sender.probe", address="+4930123"))["changed"]
        assert await control.one("SELECT probes FROM dripd.sender WHERE channel = 'sms'") == 1
        assert len((await control.do("sender.list", channel="sms"))["items"]) == 1


async def test_pages_meet_without_gap_or_overlap(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        for n in range(5):
            await control.do("account.set", key=f"a{n}")
        first = await control.do("account.list", limit=2)
        second = await control.do("account.list", limit=2, after=first["next"])
        third = await control.do("account.list", limit=2, after=second["next"])

        keys = [row["key"] for page in (first, second, third) for row in page["items"]]
        assert keys == ["a0", "a1", "a2", "a3", "a4"]
        assert third["next"] is None
        with pytest.raises(BadRequest):
            await control.do("account.list", after="nonsense")


async def test_key_in_two_accounts_is_ambiguous(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        for key in ("a", "b"):
            await control.do("account.set", key=key)
            await control.do("list.set", key="leads", account=key)
        with pytest.raises(Conflict) as refused:
            await control.do("list.show", key="leads")

        assert refused.value.code == "ambiguous"
        assert (await control.do("list.show", key="leads", account="b"))["account_key"] == "b"
        with pytest.raises(NotFound, match="leeds"):
            await control.do("list.show", key="leeds")


async def test_whoami_tells_the_operator(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("operator.set", name="ann", boards=["leads"])
        me = await control.do("daemon.whoami", user="ann", account="acme")

        assert me["operator"]["role"] == "member"
        assert me["operator"]["boards"] == ["leads"]
        assert (await control.do("daemon.whoami"))["operator"] is None


async def test_a_writer_is_a_role_that_exists(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        with pytest.raises(NotFound, match="'dripd_writter'") as caught:
            await control.do("account.set", key="acme", writer="dripd_writter")
        made = await control.do("account.set", key="acme", writer="dripd_writer")
        freed = await control.do("account.set", key="acme", writer="")

    assert (caught.value.path, bool(caught.value.hint)) == ("writer", True)
    assert (made["created"], made["writer"], freed["writer"]) == (True, "dripd_writer", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE dripd.campaign SET status = 'paused'", "paused"),
        ("UPDATE dripd.campaign SET status = 'inactive'", "inactive"),
        ("UPDATE dripd.account SET status = 'paused'", "account_paused"),
        ("UPDATE dripd.account SET subscription_active = false", "no_subscription"),
        ("SELECT", "cap"),
    ],
)
async def test_status_says_by_what_due_steps_are_held_once(
    pg_dsn: str, change: str, reason: str
) -> None:
    """Whatever parks their lane besides."""
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        await control.rows(
            "INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone)"
            " SELECT account_id, n, id, 1, n::text, '', 'UTC'"
            " FROM dripd.campaign, generate_series(1, 2) AS n WHERE key = 'welcome'"
        )
        await control.rows(
            "INSERT INTO dripd.park (account_id, lane, reason)"
            " SELECT id, n, r FROM dripd.account,"
            " (VALUES (1, 'window'), (-1, 'cap')) AS k (n, r) WHERE key = 'acme'"
        )
        await control.start("c1", lane=1, due_in="-1 hour")
        await control.start("c2", lane=2, due_in="-1 hour")
        await control.start("c3", lane=2)
        await control.rows(change)

        assert (await control.do("daemon.status"))["held"] == {reason: 2}


async def test_status_merges_what_daemon_and_database_know(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        await control.start("c1", lane=-1, hold="step_failed")
        await control.rows(
            "INSERT INTO dripd.node (incarnation, name) VALUES ($1, 'n1')", 2**62
        )
        status = await control.do("daemon.status")

        assert status["state"] == "running"
        assert [(one["node"], one["incarnation"]) for one in status["daemons"]] == [
            ("n1", str(2**62))
        ]
        assert status["db"] == {"ok": True, "error": None}
        assert status["held"] == {"step_failed": 1}
        assert (status["due_now"], status["unknown"]) == (0, 0)
        assert status["queues"] == [{"account": "acme", "requests": 0, "events": 3}]
        assert status["zones_differ"] == []
        assert status["clock"]["mode"] == "system"


async def test_clock_that_is_not_manual_is_not_set(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        with pytest.raises(Conflict) as refused:
            await control.do("clock.advance", by="3d")

        assert refused.value.code == "not_manual"


async def test_manual_clock_moves_only_forward(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.rows("INSERT INTO dripd.clock (at) VALUES ('2026-01-01T00:00:00Z')")
        await control.do("clock.advance", by="1d12h")
        with pytest.raises(Conflict):
            await control.do("clock.set", to="2025-12-31T00:00:00Z")

        assert control.seen["clock"] == [1_767_225_600_000 + 36 * 3_600_000]
        assert await control.do("clock.show") == {
            "mode": "manual",
            "now": "2026-01-01T00:00:00Z",
        }
