"""Contacts and lists over the admin methods."""

from __future__ import annotations

import pytest

from dripd.errors import BadRequest, Conflict, NotFound
from tests.support.control import open_control

pytestmark = pytest.mark.trio


async def test_contact_add_merges_into_one_that_is_there(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        made = await control.do(
            "contact.add",
            external_id="c1",
            email="a@x.test",
            attrs={"city": "Oslo"},
            tags=["new"],
        )
        more = await control.do("contact.add", external_id="c1", attrs={"tier": "gold"})
        same = await control.do("contact.add", external_id="c1", tags=["new"])
        shown = await control.do("contact.show", contact=f"#{made['id']}")

        assert (made["created"], more["created"], same["changed"]) == (True, False, False)
        assert shown["attrs"] == {"city": "Oslo", "tier": "gold"}
        assert (shown["email"], shown["tags"], shown["lists"]) == ("a@x.test", ["new"], [])


async def test_import_refuses_bad_rows_alone(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        rows = [
            {"external_id": "c1", "email": " a@x.test "},
            {"external_id": "c2", "email": "no address"},
            {"external_id": "c3", "colour": "red"},
            {"external_id": "c4", "attrs": {"x": "\x00"}},
            {"external_id": "c5", "email": None, "timezone": "Mars/Base"},
            {"external_id": "c6"},
        ]
        done = await control.do("contact.import", account="acme", rows=rows)

        assert [item["ok"] for item in done["items"]] == [
            True,
            False,
            False,
            False,
            False,
            True,
        ]
        assert done["changed"] == 2
        assert "a@x.test" == (await control.do("contact.show", contact="c1"))["email"]
        assert {item["code"] for item in done["items"] if not item["ok"]} == {
            "bad_value",
            "bad_request",
        }
        assert ("email", "NAME@DOMAIN") == tuple(
            done["items"][1][part] for part in ("path", "hint")
        )


async def test_update_is_all_or_nothing(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("contact.add", external_id="c1", attrs={"score": 1, "city": "Oslo"})
        ops = ["score increment 4", "city clear", "tags_liked add red", "owner set ann"]
        done = await control.do("contact.update", contact="c1", ops=ops)
        with pytest.raises(BadRequest) as refused:
            await control.do("contact.update", contact="c1", ops=["a set 1", "owner increment"])

        assert done["attrs"] == {"score": 5, "tags_liked": ["red"]}
        assert done["owner"] == "ann"
        assert (refused.value.code, refused.value.path) == ("bad_op", "ops[1]")
        assert (await control.do("contact.show", contact="c1"))["attrs"] == done["attrs"]


@pytest.mark.feature("F16")
async def test_now_in_a_date_is_the_day_where_the_contact_is(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme", timezone="Pacific/Kiritimati")
        await control.rows(
            "INSERT INTO dripd.field SELECT id, 'since', 'date' FROM dripd.account"
        )
        await control.do("contact.add", external_id="east")
        await control.do("contact.add", external_id="west", timezone="Pacific/Niue")
        await control.rows("INSERT INTO dripd.clock (at) VALUES ('2026-01-06T10:30:00Z')")
        days = {
            name: (await control.do("contact.update", contact=name, ops=["since now"]))["attrs"]
            for name in ("east", "west")
        }

        assert days == {"east": {"since": "2026-01-07"}, "west": {"since": "2026-01-05"}}


async def test_contact_list_filters_by_tag_list_and_condition(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("list.set", key="leads")
        for n in range(6):
            tier = "gold" if n % 2 else "tin"
            await control.do("contact.add", external_id=f"c{n}", attrs={"tier": tier, "n": n})
        await control.do("contact.tag", contact="c1", tags=["vip"])
        await control.do("list.add", key="leads", contacts=["c1", "c3"])

        async def names(**params: object) -> list[str]:
            found = await control.do("contact.list", **params)
            return [row["external_id"] for row in found["items"]]

        assert await names(tag="vip") == ["c1"]
        assert await names(list_="leads") == ["c1", "c3"]
        assert await names(where="attrs.tier == 'gold' and not 'vip' in tags") == ["c3", "c5"]
        assert await names(where="'leads' in lists") == ["c1", "c3"]
        with pytest.raises(BadRequest):
            await names(where="attrs.tier =")


async def test_conditions_page_without_gap(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        rows = [{"external_id": f"c{n}", "attrs": {"n": n}} for n in range(20)]
        await control.do("contact.import", rows=rows)
        seen, after = [], None
        while True:
            page = await control.do("contact.list", where="attrs.n > 4", limit=4, after=after)
            seen += [row["external_id"] for row in page["items"]]
            after = page["next"]
            if after is None:
                break

        assert seen == [f"c{n}" for n in range(5, 20)]


async def test_members_come_and_go_with_events(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("list.set", key="leads")
        await control.do("contact.add", external_id="c1")
        added = await control.do("list.add", key="leads", contacts=["c1", "ghost"])
        again = await control.do("list.add", key="leads", contacts=["c1"])
        gone = await control.do("list.remove", key="leads", contacts=["c1"])

        assert (added["changed"], again["changed"], gone["changed"]) == (1, 0, 1)
        assert [item["ok"] for item in added["items"]] == [True, False]
        kinds = await control.rows("SELECT kind FROM dripd.event_in ORDER BY id")
        assert [row["kind"] for row in kinds] == [
            "contact_created", "list_added", "list_removed",
        ]  # fmt: skip


async def test_dynamic_list_takes_nobody_by_hand(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("list.set", key="hot", dynamic=True)
        await control.do("contact.add", external_id="c1")
        with pytest.raises(Conflict) as refused:
            await control.do("list.add", key="hot", contacts=["c1"])

        assert refused.value.code == "not_static"


async def test_erasure_needs_a_yes_and_empties(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        made = await control.do("contact.add", external_id="c1", email="a@x.test")
        with pytest.raises(Conflict):
            await control.do("contact.erase", contact="c1")
        await control.do("contact.erase", contact="c1", yes=True)
        shown = await control.do("contact.show", contact=f"#{made['id']}")

        assert (shown["email"], shown["external_id"]) == (None, None)
        with pytest.raises(NotFound):
            await control.do("contact.show", contact="c1")
        await control.one("UPDATE dripd.contact SET email = 'a@x.test' RETURNING id")
        for method, more in (
            ("contact.tag", {"tags": ["new"]}),
            ("contact.send", {"text": "Hi"}),
        ):
            with pytest.raises(Conflict, match="has been erased"):
                await control.do(method, contact=f"#{made['id']}", **more)


async def test_individual_message_is_audited_before_it_is_sent(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("contact.add", external_id="c1", email="a@x.test")
        wish = {"contact": "c1", "text": "Hi {First Name}"}
        tried = await control.do("contact.send", **wish, dry_run=True)
        assert (tried["text"], control.seen["sent"]) == ("Hi Ann", [])
        sent = await control.do("contact.send", **wish, user="ann")

        assert sent == {
            "delivery_id": "i-1", "state": "accepted", "reason": None, "warning": None,
        }  # fmt: skip
        assert control.seen["sent"][0].requested_by == "ann"
        assert len((await control.do("audit.list", method="contact.send"))["items"]) == 1


async def test_suppression_is_prolonged_never_shortened(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")

        async def add(**params: object) -> int:
            done = await control.do("suppress.add", addresses=["A@x.test"], **params)
            return int(done["changed"])

        assert await add(expires_at="2999-01-01T00:00:00Z", reason="asked") == 1
        assert await add(expires_at="2998-01-01T00:00:00Z") == 0
        assert await add() == 1
        assert await add(expires_at="2999-01-01T00:00:00Z") == 0
        found = await control.do("suppress.check", address="a@X.test")
        assert found["suppressed"] is True
        assert found["entries"][0]["scope"] == "everywhere"
        assert found["entries"][0]["expires_at"] is None


async def test_a_suppression_tells_who_made_it(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        role = await control.one(
            "INSERT INTO dripd.suppression (channel, address) VALUES ('email', 'b@x.test') "
            "RETURNING session_user::text"
        )
        for address in ("a@x.test", "b@x.test"):
            await control.do("suppress.add", addresses=[address], user="ann")
        rows = (await control.do("suppress.export"))["items"]
        (entry,) = (await control.do("suppress.check", address="a@x.test"))["entries"]

    by = {row["address"]: row["created_by"] for row in rows}
    assert by == {"a@x.test": "ann", "b@x.test": role}
    assert entry["created_by"] == "ann"


async def test_suppressions_are_exported_and_removed(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        rows = [
            {"address": "a@x.test"},
            {"address": "+4930"},
            {"address": "b@x.test", "why": 1},
        ]
        done = await control.do("suppress.import", rows=rows, account="acme")
        first = await control.do("suppress.export", limit=1)
        rest = await control.do("suppress.export", limit=1, after=first["next"])
        with pytest.raises(Conflict):
            await control.do("suppress.remove", addresses=["a@x.test"], account="acme")
        gone = await control.do(
            "suppress.remove", addresses=["a@x.test", "z@x.test"], account="acme", yes=True
        )

        assert [item["ok"] for item in done["items"]] == [True, True, False]
        found = [*first["items"], *rest["items"]]
        addresses = {row["address"] for row in found}
        assert len({row["id"] for row in found}) == 2
        assert addresses == {"a@x.test", "+4930"}
        assert rest["next"] is None
        assert [item["ok"] for item in gone["items"]] == [True, False]


async def test_a_page_of_suppressions_tells_about_how_many_there_are(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        addresses = [f"a{n}@x.test" for n in range(30)]
        await control.do("suppress.add", addresses=addresses)
        unknown = await control.do("suppress.export", limit=10)
        await control.one("ANALYZE dripd.suppression")
        known = await control.do("suppress.export", limit=10)
        whole = await control.do("suppress.export", limit=100)
        own = await control.do("suppress.export", limit=10, account="acme")

    assert (unknown["about"], known["about"]) == (None, 30)
    assert "about" not in whole
    assert "about" not in own


async def test_what_is_no_address_is_not_suppressed(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        rows = [
            {"address": "unknown"},
            {"address": "ann.x.test", "channel": "email"},
            {"address": "+49 30"},
        ]
        done = await control.do("suppress.import", rows=rows)
        added = await control.do("suppress.add", addresses=["n/a"])

    assert [item["ok"] for item in done["items"]] == [False, False, True]
    assert done["items"][0]["message"] == "an address has an @, a number has digits"
    assert added["changed"] == 0


async def test_an_export_of_suppressions_can_be_imported(pg_dsn: str) -> None:
    """Each where it held; its columns named no account, and an import refused one of them."""
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("account.set", key="base")
        await control.do("suppress.add", addresses=["a@x.test"])
        await control.do("suppress.add", addresses=["b@x.test", "+4930"], account="acme")
        rows = (await control.do("suppress.export"))["items"]
        await control.rows("DELETE FROM dripd.suppression RETURNING address")
        wrong = await control.do("suppress.import", rows=rows, account="base")
        done = await control.do("suppress.import", rows=rows)
        again = (await control.do("suppress.export"))["items"]

    assert [item.get("code") for item in wrong["items"]] == ["bad_value"] * 3
    assert done["changed"] == 3
    assert {(row["scope"], row["address"]) for row in again} == {
        ("everywhere", "a@x.test"), ("acme", "b@x.test"), ("acme", "+4930"),
    }  # fmt: skip


async def test_a_tail_of_what_cannot_come_is_refused(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        with pytest.raises(NotFound, match="there is no account 'acne'"):
            await control.do("event.tail", account="acne")
        with pytest.raises(BadRequest, match="unknown event 'replay'") as found:
            await control.do("event.tail", kind="replay")

        assert found.value.hint == "did you mean 'reply'?"
        assert (await control.do("event.tail", account="acme", kind="reply"))["items"] == []


async def test_event_finds_its_account_by_what_it_names(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        by_address = await control.do("event.add", kind="reply", address="C1@x.test")
        by_delivery = await control.do("event.add", kind="open", delivery=f"{run}-1")
        await control.do("contact.update", contact="c1", phone="+1 (555) 000-1111")
        by_number = await control.do("event.add", kind="reply", address=" +1-555-0001111")
        with pytest.raises(NotFound):
            await control.do("event.add", kind="reply", address="who@x.test")
        with pytest.raises(BadRequest, match="repply"):
            await control.do("event.add", kind="repply", address="c1@x.test")

        rows = await control.rows(
            "SELECT account_id, kind FROM dripd.event_in WHERE id = ANY ($1)",
            [by_address["id"], by_delivery["id"], by_number["id"]],
        )
        assert [row["account_id"] for row in rows] == [1, 1, 1]
