"""Stories of lists: joining one starts a campaign, leaving it ends the run."""

from __future__ import annotations

import pytest

from tests.stories.world import World

CALM = """
campaign: calm
account: acme
name: Calm
triggers:
  - {on: list_added, list: B}
steps:
  - {key: first, do: tag_add, tag: first}
  - {key: second, do: tag_add, tag: second, delay: 3d}
"""

RUNS = """SELECT c.external_id FROM dripd.enrollment AS e
    JOIN dripd.contact AS c ON c.account_id = e.account_id AND c.id = e.contact_id
    WHERE e.campaign_key = $1 ORDER BY 1"""

MEMBERS = """SELECT c.external_id FROM dripd.list_member AS m
    JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
    JOIN dripd.contact AS c ON c.account_id = m.account_id AND c.id = m.contact_id
    WHERE l.key = $1 ORDER BY 1"""


@pytest.mark.feature("C8")
def test_joining_the_list_enrolls(world: World) -> None:
    world.contact("c1")
    world.bucket("B")
    world.apply(CALM)
    world.bucket("B", "c1")
    world.tick()
    assert world.column(RUNS, "calm") == ["c1"]
    assert world.column("SELECT source FROM dripd.enroll_request") == ["trigger:list_added"]


@pytest.mark.feature("C9")
def test_only_those_who_join_later_are_enrolled(world: World) -> None:
    old = [f"c{n}" for n in range(1, 6)]
    for key in (*old, "c6"):
        world.contact(key)
    world.bucket("B", *old)
    world.apply(CALM)
    world.bucket("B", "c6")
    world.tick()
    assert world.column(RUNS, "calm") == ["c6"]
    world.restart()
    world.bucket("B", "c1", "c6")
    world.tick()
    assert world.column(RUNS, "calm") == ["c6"]


@pytest.mark.feature("C27")
def test_a_step_adds_to_a_list_once(world: World) -> None:
    world.contact("old")
    world.contact("new")
    world.bucket("B", "old")
    world.apply(CALM)
    world.apply("""
campaign: join
account: acme
name: Join
steps:
  - {key: in, do: list_add, list: B}
""")
    world.enroll("join", "old", "new")
    world.tick()
    assert world.column(MEMBERS, "B") == ["new", "old"]
    assert world.column(RUNS, "calm") == ["new"]
    assert world.run("old", "join")["status"] == "completed"
    assert world.steps("old")[0]["outcome"] == "done"


@pytest.mark.feature("C28")
def test_a_step_removes_from_a_list(world: World) -> None:
    world.contact("in")
    world.contact("out")
    world.bucket("B", "in")
    world.apply("""
campaign: leave
account: acme
name: Leave
steps:
  - {key: gone, do: list_remove, list: B}
""")
    world.enroll("leave", "in", "out")
    world.tick()
    assert world.column(MEMBERS, "B") == []
    assert [(s["outcome"], s["reason"]) for s in world.steps("in")] == [("done", None)]
    assert [(s["outcome"], s["reason"]) for s in world.steps("out")] == [("done", "noop")]


@pytest.mark.feature("C29")
def test_leaving_the_list_ends_the_run(world: World) -> None:
    leavers = ("by_sql", "by_call", "by_step")
    for key in leavers:
        world.contact(key)
    world.bucket("B")
    world.apply(CALM)
    world.apply("""
campaign: leave
account: acme
name: Leave
steps:
  - {key: gone, do: list_remove, list: B}
""")
    world.bucket("B", *leavers)
    world.tick()
    assert {world.run(key, "calm")["step_key"] for key in leavers} == {"second"}
    world.sql(
        "DELETE FROM dripd.list_member WHERE contact_id = "
        "(SELECT id FROM dripd.contact WHERE external_id = 'by_sql')"
    )
    world.call("list.remove", key="B", contacts=["by_call"], account="acme")
    world.enroll("leave", "by_step")
    world.tick()
    for key in leavers:
        run = world.run(key, "calm")
        assert (run["status"], run["end_reason"]) == ("removed", "left_list:B"), key
    world.advance("10d")
    assert world.one("SELECT count(*) FROM dripd.step_run WHERE step_key = 'second'") == 0


@pytest.mark.feature("C29")
def test_who_leaves_before_dripd_looks_is_not_written_to(world: World) -> None:
    world.contact("left")
    world.contact("stays")
    world.apply(CALM)
    world.stop()
    world.bucket("B", "left", "stays")
    world.sql(
        "DELETE FROM dripd.list_member WHERE contact_id = "
        "(SELECT id FROM dripd.contact WHERE external_id = 'left')"
    )
    world.start()
    world.tick()
    assert [row[0] for row in world.sql(RUNS, "calm")] == ["stays"]


@pytest.mark.feature("C31")
def test_leaving_the_list_last_completes_the_run(world: World) -> None:
    world.contact("c1")
    world.bucket("B")
    world.apply(CALM + "  - {key: gone, do: list_remove, list: B}\n")
    world.bucket("B", "c1")
    world.tick()
    world.advance("3d")
    run = world.run("c1", "calm")
    assert (run["status"], run["end_reason"]) == ("completed", "completed:left_list")
    stats = world.sql("SELECT completed, removed FROM dripd.campaign_stats")
    assert [tuple(row) for row in stats] == [(1, 0)]
