"""Every screen, every key: what is shown, what is done, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dripd.admin.catalogue import SPECS
from dripd.admin.roles import Role
from dripd.errors import Conflict, DripdError, TimedOut, Unreachable
from dripd.tui.dialog import Confirm, Menu, Question
from dripd.tui.draw import plain, width_of
from dripd.tui.options import Options
from dripd.tui.pages import PAGES
from dripd.tui.pages import TABS as TABS_BY_NAME
from dripd.tui.screens.failures import lasting
from tests.tui.corpus import CORPUS
from tests.tui.fake import ANSWERS, NOW, OVERVIEW, FakeDaemon, Rig

ROWS = Path(__file__).parent / "rows.csv"
"""A file to import: an address, and a row without one."""

SIZES = [(80, 24), (100, 30), (60, 15), (40, 10), (200, 60)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", PAGES)
def test_every_screen_fills_every_size_exactly(name: str, size: tuple[int, int]) -> None:
    rig = Rig(size=size)
    rig.console.go(name)

    assert len(rig.lines()) == size[1]
    assert {width_of(one) for one in rig.lines()} == {size[0]}


@pytest.mark.parametrize("name", PAGES)
def test_every_screen_is_a_key_away_and_shows_its_data(name: str) -> None:
    rig = Rig()
    shown = rig.press(PAGES[name].digit)

    assert f"-- {PAGES[name].digit} {PAGES[name].title} " in shown
    assert not re.search("waiting for the daemon|nothing here", shown)


def test_a_small_terminal_still_says_how_it_is() -> None:
    shown = Rig(size=(40, 10)).text()

    assert "terminal too small (have 40x10, need\n60x15)" in re.sub(" +\n", "\n", shown)
    assert "RUN 2 nodes lag 0.4s 812/s !1" in shown


def test_a_low_terminal_still_shows_a_hold_and_an_alert() -> None:
    shown = Rig(size=(60, 15)).text()

    assert "window" in shown
    assert "!  step_failed      acme/welcome" in shown


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        (
            "campaigns",
            ("spring-appeal", "HELD BY", "removed 7   terminated 0", "SHARE", " 96%"),
        ),
        ("failures", ("503 upstream", "RETRY?")),
        ("nodes", ("LAG ms  CPU%",)),
    ],
)
def test_a_small_terminal_cuts_no_name_and_no_figure(name: str, whole: tuple[str, ...]) -> None:
    rows = [{**ANSWERS["campaign.list"]["items"][0], "key": "spring-appeal"}]
    stats = {**ANSWERS["campaign.stats"], "campaign_key": "spring-appeal"}
    answers = {"campaign.list": {"items": rows}, "campaign.stats": stats}
    rig = Rig(FakeDaemon(answers=answers), size=(60, 15))
    rig.console.go(name)

    for text in whole:
        assert text in rig.text()


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (100, 30)])
@pytest.mark.parametrize("name", [*PAGES, *TABS_BY_NAME])
def test_no_long_value_takes_a_column_its_place(name: str, size: tuple[int, int]) -> None:
    long = {of: poisoned(answer, "w" * 60) for of, answer in ANSWERS.items()}
    rig = Rig(FakeDaemon(answers=long), size=size)
    rig.console.go(name)
    rig.text()
    table = rig.console.page.table
    assert table is not None
    titles = [column.title for column in table._shown(size[0]) if column.title]
    (head,) = [one for one in rig.lines() if all(title in one for title in titles)]

    assert len(head.split()) >= len(titles)


def test_a_small_timeline_tells_its_details_beneath() -> None:
    rig = Rig(size=(60, 15))
    rig.press("4", "enter")
    rows = [line for line in rig.lines() if "accepted" in line or "run_no=1" in line]

    assert [line.strip() for line in rows] == [
        "03-02 12:00Z  accepted        welcome",
        "run_no=1",
    ]


def test_nothing_is_done_unseen() -> None:
    rig = Rig()
    rig.press("2", "ctrl+w")
    rig.size = (50, 12)
    rig.text()
    shown = rig.press("p", ":", "4")
    assert "nothing is done unseen" in shown
    rig.size = (80, 24)
    rig.text()

    assert rig.changed == []
    assert "2 Accounts" in rig.text()


@pytest.mark.parametrize("name", PAGES)
def test_every_key_in_the_footer_does_something_or_says_why_not(name: str) -> None:
    for key in [action.key for action in Rig().console.pages.get(name, _page(name)).actions()]:
        rig = Rig()
        rig.console.go(name)
        before = rig.text()
        rig.press(key)
        said = rig.console.toast is not None or bool(rig.console.dialogs)

        assert said or before != rig.text(), (name, key)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_changes_without_write_mode(name: str) -> None:
    rig = Rig()
    rig.console.go(name)
    for action in rig.console.page.actions():
        if action.changes:
            rig.press(action.key)
            assert "write mode" in rig.footer, action.key
    assert rig.changed == []


@pytest.mark.parametrize("name", PAGES)
def test_a_viewer_is_refused_every_changing_key(name: str) -> None:
    rig = Rig(FakeDaemon(Role.VIEWER))
    rig.console.go(name)
    rig.write_mode()
    assert "viewer" in rig.footer
    for action in rig.console.page.actions():
        if action.changes:
            rig.press(action.key)
            assert "is not for the role viewer" in rig.footer, action.key
    assert rig.changed == []


@pytest.mark.parametrize("name", PAGES)
def test_changing_keys_ask_first_with_the_focus_on_cancel(name: str) -> None:
    """Tier 1, reversible and of one thing, acts at once and can be undone."""
    for key in [a.key for a in _page(name).actions() if a.changes]:
        rig = Rig()
        rig.console.go(name)
        rig.write_mode()
        rig.press(key)
        if rig.changed:
            assert "z undoes it" in rig.footer or "is read" in rig.footer, (name, key)
            continue
        if not rig.console.dialogs:
            continue
        is_menu = isinstance(rig.console.dialogs[-1], Menu)  # it only chooses
        assert is_menu or "Cancel" in rig.text() or "Esc cancels" in rig.text()
        rig.press("escape")
        assert rig.changed == []


TABS = [
    (name, tabs)
    for name in PAGES
    for tabs in ((), ("tab",), ("a",))
    if tabs != ("a",) or name == "events"
]


@pytest.mark.parametrize(("name", "tabs"), TABS)
def test_every_change_is_one_that_the_daemon_takes(name: str, tabs: tuple[str, ...]) -> None:
    """Every changing key, its dialog filled in and confirmed: the fake refuses odd arguments."""
    for key in [a.key for a in _page(name, *tabs).actions() if a.changes]:
        rig = Rig()
        rig.console.go(name)
        rig.press(*tabs)
        rig.write_mode()
        rig.press(key)
        if not (rig.changed or rig.console.dialogs):
            rig.press("G", key)  # the last row is of another kind
        for _ in range(4):
            fill_in(rig)

        assert rig.changed, (name, tabs, key, rig.text())
        assert rig.daemon.refused == [], (name, tabs, key)


def fill_in(rig: Rig) -> None:
    """Answer the dialog that stands open."""
    if not rig.console.dialogs:
        return
    dialog = rig.console.dialogs[-1]
    if isinstance(dialog, Menu):
        rig.press("enter")
        return
    if not isinstance(dialog, Confirm | Question):
        rig.press("escape")
        return
    for blank in dialog.blanks:
        typed = "7" if "imit" in blank.label else str(ROWS) if blank.name == "file" else "word"
        blank.field.set(blank.must_be or typed)
    dialog.focus = (
        len(dialog.blanks) + 1 if isinstance(dialog, Confirm) else len(dialog.blanks) - 1
    )
    rig.press("enter")


@pytest.mark.parametrize("name", PAGES)
def test_methods_of_every_screen_exist_and_change_what_they_say(name: str) -> None:
    for action in _page(name).actions():
        if action.method:
            assert action.method in SPECS, action.method
            assert action.changes == SPECS[action.method].mutating, action.method


@pytest.mark.parametrize("name", PAGES)
def test_help_explains_every_key_and_every_figure(name: str) -> None:
    rig = Rig(size=(100, 60))
    rig.console.go(name)
    rig.press("?")
    shown = rig.text() + rig.press("G")

    for action in rig.console.page.actions():
        assert action.label in shown
    for figure, _ in rig.console.page.figures:
        assert figure in shown


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("text", CORPUS, ids=lambda text: ascii(text)[:30])
def test_hostile_text_is_shown_and_nothing_else(name: str, text: str) -> None:
    rig = Rig(
        FakeDaemon(answers={of: poisoned(answer, text) for of, answer in ANSWERS.items()}),
        size=(100, 30),
    )
    rig.console.go(name)
    shown = rig.text() + rig.press("enter") + rig.press("?")

    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]", shown
    )
    assert {width_of(one) for one in rig.lines()} == {100}


def poisoned(answer: Any, text: str) -> Any:
    """*answer* with *text* in place of every text that is no instant, state or key."""
    kept = {
        "state",
        "env",
        "now",
        "as_of",
        "mode",
        "group",
        "incarnation",
        "status",
        "retry",
        "level",
    }
    if isinstance(answer, dict):
        return {k: v if k in kept else poisoned(v, text) for k, v in answer.items()}
    if isinstance(answer, list):
        return [poisoned(one, text) for one in answer]
    return text if isinstance(answer, str) else answer


def test_pausing_an_account_is_one_key_and_one_to_undo() -> None:
    rig = Rig()
    rig.press("2")
    rig.write_mode()
    rig.press("p")
    assert rig.changed == [("account.pause", {"key": "acct-1", "expect": {"status": "active"}})]
    rig.press("z")

    assert rig.changed[1] == (
        "account.resume",
        {"key": "acct-1", "expect": {"status": "paused"}},
    )


def test_undo_is_refused_by_the_daemon_once_somebody_has_changed_it() -> None:
    rig = Rig()
    rig.press("2")
    rig.write_mode()
    rig.press("p")
    rig.daemon.failing["account.resume"] = Conflict("status is 'active' by now", code="expect")
    rig.press("z")
    assert "[expect] status is 'active' by now" in rig.footer

    rig.press("z")
    assert "nothing to undo" in rig.footer


def test_pause_all_needs_a_reason_and_the_name_of_the_deployment() -> None:
    rig = Rig()
    rig.write_mode()
    shown = rig.press("P")
    assert "PAUSE ALL SENDING on prod-eu" in shown
    assert "212 in flight will finish" in shown
    rig.press("enter")
    assert rig.changed == []

    rig.press("P", "tab")
    rig.type("typo in the text")
    rig.press("tab")
    rig.type("prod-us")
    rig.press("tab", "enter")
    assert rig.changed == []
    rig.press("shift+tab", "backspace", "backspace", "e", "u", "tab", "enter")

    assert rig.changed == [
        ("daemon.pause", {"all": True, "plan_id": "p1", "reason": "typo in the text"})
    ]


def test_marked_runs_are_stopped_by_a_plan_with_its_two_options() -> None:
    rig = Rig()
    rig.press("4")
    rig.write_mode()
    rig.press("space", "space", "K")
    assert "stop, reset contacts" in rig.text()
    assert "stop, reset statistics" in rig.text()
    rig.press("down", "enter")
    planned = [call for call in rig.daemon.calls if call[0] == "plan.make"]
    assert planned == [
        (
            "plan.make",
            {"method": "enroll.stop", "params": {"enrollment": [1, 2], "reset": True}},
        )
    ]
    rig.press("tab")
    rig.type("left")
    rig.press("tab", "enter")

    assert rig.changed == [
        (
            "enroll.stop",
            {"enrollment": [1, 2], "reset": True, "plan_id": "p1", "reason": "left"},
        )
    ]


def test_a_plan_that_no_longer_holds_is_told_and_nothing_is_repeated() -> None:
    rig = Rig()
    rig.press("7")
    rig.write_mode()
    rig.daemon.failing["dead.retry"] = Conflict(
        "changed: was 3, now 4", code="plan_changed", hint="look again"
    )
    rig.press("R", "tab", "o", "k", "tab", "enter")

    assert len(rig.changed) == 1
    assert "[plan_changed] changed: was 3, now 4 - look again" in rig.footer


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("the connection broke twice; the change may have been made", hint="look before you repeat it"),
        TimedOut("dead.retry was not answered within 30 s", hint="it may still take effect"),
        DripdError("this daemon (0.0.9) knows no method 'dead.retry'", code="unknown_method", hint="the older package wants an upgrade"),
    ],
    ids=["lost", "slow", "older"],
)  # fmt: skip
def test_what_went_wrong_while_acting_is_told_and_nothing_is_done_twice(
    error: DripdError,
) -> None:
    rig = Rig(size=(120, 30))
    rig.press("7")
    rig.write_mode()
    rig.daemon.failing["dead.retry"] = error
    rig.press("R", "tab", "o", "k", "tab", "enter", "enter", "enter")

    assert len(rig.changed) == 1
    assert error.message in rig.footer
    assert error.hint in rig.footer


def test_a_method_that_an_older_daemon_lacks_is_named_and_never_called() -> None:
    rig = Rig()
    rig.daemon.hello["methods"].remove("enroll.skip")
    rig.press("4")
    rig.write_mode()
    rig.press("S")

    assert "this daemon (0.1.0) does not know enroll.skip" in rig.footer
    assert "the older package wants an upgrade" in rig.footer
    assert rig.daemon.calls == []


def test_a_recording_is_not_written_to() -> None:
    rig = Rig()
    rig.daemon.is_past = True
    rig.press("5", "ctrl+w")
    assert "this is a recording: nothing can be changed in it" in rig.footer
    rig.now += 10
    rig.press("n")

    assert "snooze: this is a recording" in rig.footer
    assert not rig.console.dialogs
    assert "[WRITE" not in rig.lines()[0]


def test_tasks_and_steps_are_acted_on_as_they_are_shown() -> None:
    rig = Rig()
    rig.press("5")
    rig.write_mode()
    rig.press("a", "tab")
    rig.type("fine")
    rig.press("tab", "enter")
    rig.press("4", "S")

    assert rig.changed == [
        ("task.approve", {"id": 1, "expect": {"state": "open", "draft": "d1"}, "reason": "fine", "yes": True})
    ]  # fmt: skip
    assert rig.daemon.calls[-1][1]["params"] == {
        "enrollment": [1],
        "expect": {"step_key": "nudge"},
    }


def test_what_may_have_been_delivered_is_retried_only_by_typing_that() -> None:
    rig = Rig()
    rig.press("7", "down")
    rig.write_mode()
    shown = rig.press("R")

    assert "may have been delivered" in shown
    assert "Type unsafe 3 to confirm" in shown


def test_marked_groups_are_retried_by_one_plan_that_tells_safe_from_unsafe() -> None:
    plan = {
        **ANSWERS["plan.make"],
        "n": 9921,
        "would": {"parts": {"safe": 9200, "unsafe": 721}},
    }
    rig = Rig(FakeDaemon(answers={"plan.make": plan}), size=(100, 30))
    rig.press("7")
    rig.write_mode()
    rig.press("space", "space")
    assert "2 marked" in rig.text()
    shown = rig.press("R")
    assert "RETRY 9 921 of 2 groups" in shown
    assert "9 200 safe: the provider refused it" in shown
    assert "721 UNSAFE: may have been delivered" in shown
    assert "Type unsafe 721 to confirm" in shown
    fill_in(rig)
    assert rig.changed == [
        ("dead.retry", {"groups": ["g1", "g2"], "plan_id": "p1", "reason": "word"})
    ]
    assert "2 marked" in rig.text()
    rig.press("r")
    fill_in(rig)
    rig.press("D")
    fill_in(rig)

    assert [(name, params["groups"], params.get("safe")) for name, params in rig.changed[1:]] == [
        ("dead.retry", ["g1", "g2"], True), ("dead.discard", ["g1", "g2"], None),
    ]  # fmt: skip


def test_groups_that_are_gone_are_marked_no_more() -> None:
    rig = Rig()
    rig.press("7", "space", "space")
    rig.write_mode()
    rig.daemon.tell("dead.list", "view.delta", {"order": ["g2"]})
    assert "1 marked" in rig.text()
    rig.press("D")
    assert rig.daemon.calls[-1][1]["params"] == {"group": "g2"}
    rig.press("escape")
    rig.daemon.tell("dead.list", "view.delta", {"order": []})
    shown = rig.text()

    assert "marked" not in shown
    assert " DEAD 0   RETRYING" in shown


def test_failures_tell_how_many_there_are_and_how_long_a_retry_lasts() -> None:
    shown = Rig(size=(100, 30)).press("7")

    assert "DEAD 9 921 in 2 groups   safe 9 120  UNSAFE 801   RETRYING ~1 204" in shown
    assert "retry all = 9 120 sends at 20/s = 7m36s" in shown


def test_groups_of_several_accounts_are_retried_side_by_side() -> None:
    rows = [
        {"account_key": "a", "count": 600, "per_s": 10.0}, {"account_key": "b", "count": 100, "per_s": 1.0},
    ]  # fmt: skip

    assert lasting(rows, 700) == "700 sends at 11/s = 1m40s"
    assert lasting(rows[:1], 30) == "30 sends at 10/s = 3s"
    assert lasting([*rows, {"account_key": "c", "count": 1, "per_s": None}], 701) == ""


def test_a_group_tells_since_when_it_fails() -> None:
    group = {**ANSWERS["dead.list"]["items"][0], "first_at": "2026-03-02T09:00:00Z"}
    rig = Rig(FakeDaemon(answers={"dead.list": {"items": [group]}}), size=(100, 30))
    rig.press("7")
    head, row = (next(one for one in rig.lines() if text in one) for text in ("FIRST", ">  "))

    assert row[head.index("FIRST") :].startswith("3h00m")


def test_of_a_group_only_what_is_safe_is_retried_by_the_small_key() -> None:
    group = {**ANSWERS["dead.list"]["items"][0], "group": "g3", "retry": "fix"}
    groups = {"items": [*ANSWERS["dead.list"]["items"], group]}
    rig = Rig(FakeDaemon(answers={"dead.list": groups}))
    shown = rig.press("7")
    rig.write_mode()
    rig.press("r")
    fill_in(rig)
    assert "such as run 41 of c41   attempt 4" in shown
    assert rig.changed == [
        ("dead.retry", {"group": "g1", "safe": True, "plan_id": "p1", "reason": "word"})
    ]
    rig.daemon.failing["plan.make"] = Conflict("it may have been delivered")
    rig.press("down", "r")
    assert "it may have been delivered" in rig.footer
    rig.press("down", "r")

    assert "mend the cause first" in rig.footer
    assert len(rig.changed) == 1


def test_the_key_that_opened_a_dialog_cannot_confirm_it() -> None:
    rig = Rig()
    rig.press("3")
    rig.write_mode()
    rig.press("a")
    rig.press("y", after=0.1)
    assert rig.changed == []
    rig.press("y")

    assert rig.changed == [
        ("campaign.activate", {"key": "camp-1", "account": "acme", "yes": True})
    ]


def test_the_funnel_leads_to_the_enrollments_at_a_step() -> None:
    rig = Rig()
    rig.press("3")
    shown = rig.press("enter")
    assert "all steps" in shown
    assert "4 at it now" in shown
    shown = rig.press("down", "enter")

    assert "filter: account=acme campaign=camp-1 step=hello" in shown
    assert rig.console.page.wanted == {"account": "acme", "campaign": "camp-1", "step": "hello"}
    uncounted = Rig(
        FakeDaemon(answers={"campaign.stats": {"campaign_key": "camp-1", "enrolled": None}})
    )
    assert "filter: account=acme campaign=camp-1 " in uncounted.press("3", "enter")


def test_the_funnel_of_a_large_campaign_says_how_old_it_is() -> None:
    stats = {**ANSWERS["campaign.stats"], "as_of": "2026-03-02T11:57:00Z"}
    uncounted = {**stats, "enrolled": None, "as_of": None}
    shown = [
        Rig(FakeDaemon(answers={"campaign.stats": one})).press("3")
        for one in (stats, uncounted, ANSWERS["campaign.stats"])
    ]

    assert "as of 3m" in shown[0]
    assert "large, being counted" in shown[1]
    assert "as of" not in shown[2].split("FUNNEL")[1]


def test_a_campaign_tells_its_progress_and_its_draft() -> None:
    rows = ANSWERS["campaign.list"]["items"]
    bare = {**rows[1], "has_draft": False, "figures": {}}
    rig = Rig(FakeDaemon(answers={"campaign.list": {"items": [rows[0], bare]}}), size=(100, 30))
    rig.press("3")
    drafted, other = (line for line in rig.lines() if " ok active" in line)

    assert " v2+ " in drafted
    assert "████░ 71%" in drafted
    assert " v2 " in other
    assert "░" not in other


def test_the_funnel_turns_from_all_versions_to_each_and_back() -> None:
    one = {**ANSWERS["campaign.stats"], "version": 1, "entered": 60}
    rig = Rig()
    assert "FUNNEL camp-1 v2, all versions" in rig.press("3")
    rig.daemon.answers["campaign.stats"] = one
    shown = rig.press("v")
    assert "FUNNEL camp-1 v1 alone" in shown
    assert "entered 60" in shown
    asked = [watch.params for watch in rig.daemon.watched if watch.of == "campaign.stats"]
    assert asked == [{"key": "camp-1", "account": "acme", "quick": True, "version": 1}]
    rig.daemon.answers["campaign.stats"] = {**one, "version": 2}
    assert "v2 alone" in rig.press("v")
    rig.daemon.answers["campaign.stats"] = ANSWERS["campaign.stats"]
    assert "all versions" in rig.press("v")
    rig.press("v", "j")

    assert "version" not in rig.daemon.watched[-1].params


def test_what_a_run_would_do_next_is_told() -> None:
    shown = Rig(size=(100, 30)).press("4", "i")

    assert "next: run 1 of c1" in shown
    assert "03-02 13:30Z  in 1h30m  nudge            email         sent" in shown
    assert "vip              email         skipped condition_false" in shown
    assert "then it waits at call: task" in shown
    assert "it may be later" in shown


class Late(FakeDaemon):
    """Answers once its user has gone on to another screen."""

    rig: Rig

    async def call(self, method: str, *args: Any, **more: Any) -> Any:
        answer = await super().call(method, *args, **more)
        self.rig.console.go("nodes")
        return answer


def test_an_answer_that_comes_late_disturbs_nobody_on_another_screen() -> None:
    daemon = Late()
    daemon.rig = Rig(daemon)
    daemon.rig.press("4", "i")

    assert [name for name, _ in daemon.calls] == ["enroll.simulate"]
    assert not daemon.rig.console.dialogs


def test_a_run_that_is_over_has_no_next() -> None:
    over = {"items": [{**ANSWERS["enroll.list"]["items"][0], "ended_at": NOW}]}
    rig = Rig(FakeDaemon(answers={"enroll.list": over}))

    assert "the run is over" in rig.press("4", "i")
    assert not rig.daemon.calls


def test_one_contact_is_unmasked_for_a_reason() -> None:
    rig = Rig()
    rig.press("4")
    rig.write_mode()
    shown = rig.press("u")
    assert ("UNMASK c1" in shown, rig.changed) == (True, [])
    rig.press("tab")
    rig.type("asked by phone")
    shown = rig.press("enter", "enter")

    ((method, params),) = rig.changed
    assert (method, params["contact"], params["reason"]) == (
        "contact.unmask",
        "#1001",
        "asked by phone",
    )
    assert "ann@acme.test" in shown
    assert "gold" in shown


def test_enrolling_many_goes_through_a_plan() -> None:
    rig = Rig()
    rig.press("4")
    rig.write_mode()
    rig.press("a")
    rig.type("welcome")
    rig.press("tab", "tab")
    rig.type("c1 c2 #9")
    rig.press("enter", "tab")
    rig.type("asked")
    rig.press("tab", "enter")

    assert rig.changed == [
        ("enroll.add", {"campaign": "welcome", "contacts": ["c1", "c2", "#9"], "source": "console",
                        "plan_id": "p1", "reason": "asked"}),
    ]  # fmt: skip


def test_notices_are_read_here_and_in_sql() -> None:
    rig = Rig()
    shown = rig.press("5", "tab")
    assert "> ?" in shown.replace("> ", "> ", 1) or "?" in shown
    rig.write_mode()
    rig.press("m")

    assert rig.changed == [("notification.read", {"id": 1})]


def test_the_filter_is_asked_of_the_daemon() -> None:
    rig = Rig()
    rig.press("4", "/")
    rig.type("campaign=win-back status=held")
    rig.press("enter")
    asked = [watch.params for watch in rig.daemon.watched if watch.of == "enroll.list"]

    assert asked == [{"quick": True, "campaign": "win-back", "status": "held", "limit": 60}]


@pytest.mark.parametrize(
    ("keys", "typed", "offers"),
    [
        ("4", "campaign=", ["welcome"]),
        ("24", "account=ac", ["acct-1", "acct-2", "acct-3", "acme"]),
        ("34", "account=acme campaign=ca", ["camp-1", "camp-2", "camp-3"]),
        ("5", "assignee=", ["ann"]),
        ("9a", "who=c", ["carol"]),
    ],
)  # fmt: skip
def test_a_filter_offers_the_names_that_were_seen(
    keys: str, typed: str, offers: list[str]
) -> None:
    rig = Rig()
    rig.press(*keys, "/")
    rig.type(typed)

    assert [one for one in offers if one not in rig.footer] == []
    rig.press("tab")
    assert offers[0] in rig.footer


def test_a_list_does_not_jump_when_details_come_and_go() -> None:
    rows = [
        {**one, "ended_at": NOW if one["id"] > 1 else None}
        for one in ANSWERS["enroll.list"]["items"]
    ]
    rig = Rig(FakeDaemon(answers={"enroll.list": {"items": rows}}))
    first, second = rig.press("4"), rig.press("j")

    assert "|| window" in first
    assert "|| window" not in second
    assert [n for n, line in enumerate(first.splitlines()) if line[3:].startswith("14 ")] == [
        n for n, line in enumerate(second.splitlines()) if line[3:].startswith("14 ")
    ]


def test_a_bad_filter_says_where_and_keeps_the_old_one() -> None:
    rig = Rig()
    rig.press("4", "/")
    rig.type("status=hold")
    rig.press("enter")

    assert "filter, at 1: status is one of" in rig.footer
    assert "filter: -" in rig.text()


def test_enter_on_a_hold_lists_whom_it_holds() -> None:
    rig = Rig()
    shown = rig.press("enter")

    assert "Enrollments" in shown
    assert "filter: account=acme campaign=welcome hold=window" in shown


def overview(**changes: Any) -> FakeDaemon:
    return FakeDaemon(answers={"daemon.overview": {**OVERVIEW, **changes}})


def test_all_sending_can_be_paused_until_every_account_is() -> None:
    """An incident: an account is paused already, and nothing else is held."""
    held = [{**OVERVIEW["holding"][0], "reason": "account_paused"}]
    some = Rig(overview(holding=held))
    every = Rig(overview(holding=[], accounts={"active": False, "paused": True}))

    assert "P PAUSE ALL SENDING" in some.footer
    assert "P RESUME ALL SENDING" in every.footer


def test_deliveries_of_unknown_outcome_are_counted_where_one_looks_first() -> None:
    shown = Rig(overview(unknown={"n": 7, "presumed": 2}), size=(80, 30)).text()
    assert "!? unknown          7 deliveries, 2 presumed sent  -> unknown" in shown
    assert "7Fa(17)" in shown
    many = Rig(overview(unknown={"n": 1001, "presumed": 0}), size=(80, 30)).text()
    assert "1 000+ deliveries  -> unknown" in many
    assert "7Fa(1 013+)" in many

    assert "unknown  " not in Rig(overview(unknown={"n": 0, "presumed": 0})).text()


def test_each_of_several_alerts_leads_to_what_it_is_about() -> None:
    alerts = [
        {"level": "!!", "what": "node silent", "where": "mail-2", "detail": "no heartbeat", "screen": "nodes", "of": {}},
        {"level": "!", "what": "no_sender", "where": "acme/welcome", "detail": "12 held", "screen": "enrollments",
         "of": {"account": "acme", "campaign": "welcome", "hold": "no_sender"}},
    ]  # fmt: skip
    rig = Rig(overview(alerts=alerts))
    shown = rig.press("a")
    assert "no_sender acme/welcome" in shown
    shown = rig.press("down", "enter")

    assert "filter: account=acme campaign=welcome hold=no_sender" in shown


def test_an_alert_is_snoozed_and_undone() -> None:
    rig = Rig()
    rig.write_mode()
    shown = rig.press("s")
    assert "step_failed acme/welcome" in shown
    assert "until 03-02 16:00Z, or until it grows worse" in rig.press("enter", "down")
    rig.press("enter")
    assert "snoozed step_failed acme/welcome - z undoes it" in rig.footer
    rig.press("z")

    of = {"what": "step_failed", "where": "acme/welcome"}
    until = "2026-03-02T16:00:00Z"
    assert rig.changed == [
        ("alert.snooze", {**of, "until": until, "expect": {"snoozed_until": None}}),
        ("alert.wake", {**of, "expect": {"snoozed_until": until}}),
    ]


def test_an_alert_that_is_snoozed_calls_nobody_and_can_be_woken() -> None:
    rests = {"snoozed_until": "2026-03-02T16:00:00Z", "snoozed_by": "ann"}
    overview = {**OVERVIEW, "alerts": [{**OVERVIEW["alerts"][0], **rests}]}
    rig = Rig(FakeDaemon(answers={"daemon.overview": overview}))
    rig.write_mode()

    assert "|!0|" in rig.lines()[0]
    assert " zz step_failed" in rig.text()
    assert "until 03-02 16:00Z by ann" in rig.text()
    rig.press("s", "enter")
    assert [name for name, _ in rig.changed] == ["alert.wake"]


def test_the_last_ten_minutes_are_drawn_at_their_highest() -> None:
    history = [
        {"sent_per_s": 100.0 if n == 1 else 1.0, "lag_ms": 0, "unsent": 0} for n in range(60)
    ]
    trend = Rig(overview(history=history)).lines()[5]

    assert trend.strip().startswith("█▁▁")


def test_words_alone_are_looked_for_where_no_word_is_a_filter() -> None:
    rig = Rig()
    rig.press("3", "/")
    assert "Enter looks for it" in rig.type("CAMP-3")
    shown = rig.press("enter")
    assert rig.console.page.table is not None
    assert rig.console.page.table.cursor == "acme/camp-3"
    assert "filter: -" in shown
    rig.press("4", "/")
    rig.type("c7")

    assert "filter: c7" in rig.press("enter")


@pytest.mark.parametrize(
    ("name", "keys"),
    [("enrollments", ("u unmask", "K STOP", "/ filter")), ("campaigns", ("D DRAIN", "d diff"))],
)
def test_a_narrow_footer_still_has_every_key_of_the_screen(
    name: str, keys: tuple[str, ...]
) -> None:
    rig = Rig()
    rig.console.go(name)

    assert [key for key in (*keys, "? help", "q back") if key not in rig.footer] == []


def test_the_footer_says_where_q_leads() -> None:
    rig = Rig()

    assert "q quit" in rig.footer
    rig.console.go("accounts")
    assert "q back" in rig.footer
    rig.press("tab")
    rig.press("q")
    assert "q back" in rig.footer  # the other list of the same screen was left
    rig.press("q")
    assert "q quit" in rig.footer


def test_the_smallest_footer_still_has_the_key_that_pauses_everything() -> None:
    assert "P PAUSE ALL " in Rig(size=(60, 15)).footer


def test_what_a_daemon_is_doing_can_be_read() -> None:
    shown = Rig().press("8", "t")

    assert "trace of mail-1" in shown
    assert "  feed.feed  feed:40" in shown


def test_a_node_tells_its_hosts_clock_and_its_pool() -> None:
    assert "clock +0.0 s  pool 3/8 busy" in Rig().press("8")
    (node,) = ANSWERS["node.list"]["items"]
    skewed = {**node, "skew_ms": 2_500, "figures": {"pool": {"used": 8, "size": 8}}}
    older = {**node, "incarnation": "78", "skew_ms": None, "figures": {}}
    rig = Rig(FakeDaemon(answers={"node.list": {"items": [skewed, older]}}))

    assert "clock +2.5 s  pool 8/8 busy" in rig.press("8")
    assert "clock -  pool -" in rig.press("down")


def test_the_inbox_is_narrowed_to_what_is_ones_own() -> None:
    rig = Rig()
    assert "filter: kind=approval assignee=alice" in rig.press(
        "5", "/", *"kind=approval", "enter", "f"
    )
    assert rig.daemon.watched[-1].params["assignee"] == "alice"
    assert "filter: kind=approval  " in rig.press("f")
    assert "filter: recipient=alice" in rig.press("tab", "f")
    assert rig.daemon.refused == []


def test_the_inbox_tells_what_each_blocks_and_how_late_the_oldest_is() -> None:
    shown = Rig(size=(100, 30)).press("5")
    assert "APPROVALS 3  TASKS 4  OVERDUE 1  SNOOZED 2  UNREAD 1" in shown
    assert "oldest waiting 3h12m (SLA 4h00m !)" in shown
    (head, row) = (
        next(one for one in shown.splitlines() if word in one) for word in ("BLOCKS", "> ")
    )
    assert row[head.index("DUE") :].startswith("!1h00m")
    assert row[: head.index("BLOCKS") + 6].endswith(" 3")
    assert row[head.index("EXPIRES") :].startswith("1d00h")
    assert "run 9 waits for it until 03-03 12:00Z, 2 requests behind it" in shown
    early = {**OVERVIEW["inbox"], "oldest_due_at": "2026-03-03T12:00:00Z"}
    none = {**OVERVIEW["inbox"], "oldest_due_at": None}

    assert "(SLA 1d03h)" in Rig(overview(inbox=early)).press("5")
    assert "SLA" not in Rig(overview(inbox=none)).press("5")


def test_a_task_without_a_due_of_its_own_is_never_late() -> None:
    row = {
        **ANSWERS["task.list"]["items"][0],
        "due_at": NOW,
        "created_at": NOW,
        "blocks": 0,
        "expires_at": None,
    }
    shown = Rig(FakeDaemon(answers={"task.list": {"items": [row]}}), size=(100, 30)).press("5")
    (head, told) = (
        next(one for one in shown.splitlines() if word in one) for word in ("BLOCKS", "> ")
    )

    assert told[head.index("DUE") :].split()[:3] == ["-", "-", "-"]


def test_a_task_is_snoozed_and_undone() -> None:
    until = "2026-03-02T16:00:00Z"
    rig = Rig(FakeDaemon(answers={"task.snooze": {"changed": True, "snoozed_until": until}}))
    rig.press("5")
    rig.write_mode()
    shown = rig.press("n")
    assert "snooze task 1: Send this?" in shown
    assert "until 03-02 16:00Z; then ann is told" in rig.press("down")
    rig.press("enter")
    assert "snoozed task 1 - z undoes it" in rig.footer
    rig.press("z")

    assert rig.changed == [
        ("task.snooze", {"id": 1, "until": until, "expect": {"state": "open", "snoozed_until": None}}),
        ("task.wake", {"id": 1, "expect": {"snoozed_until": until}}),
    ]  # fmt: skip


def test_a_task_is_snoozed_for_any_time_but_not_beyond_its_expiry() -> None:
    rig = Rig()
    rig.press("5")
    rig.write_mode()
    rig.press("n")
    assert "its run waits only until 03-03 12:00Z" in rig.type("7 days")
    rig.press("enter")
    assert rig.changed == []
    rig.press("escape", "n")
    rig.type("other")
    rig.press("enter")
    rig.type("90m")
    rig.press("enter", "n")
    rig.type("other")
    rig.press("enter")
    rig.type("2026-03-03T09:00:00Z")
    rig.press("enter")

    given = [
        {k: v for k, v in params.items() if k in {"lasts", "until"}}
        for _, params in rig.changed
    ]
    assert given == [{"lasts": "90m"}, {"until": "2026-03-03T09:00:00Z"}]


def test_what_is_snoozed_is_out_of_the_inbox_until_it_is_asked_for() -> None:
    rows = ANSWERS["task.list"]["items"]
    rests = {
        **rows[0],
        "title": "Later",
        "snoozed_until": "2026-03-02T16:00:00Z",
        "snoozed_by": "bob",
    }
    rig = Rig(FakeDaemon(answers={"task.list": {"items": [rests, rows[1]]}}))
    assert "Later" not in rig.press("5")
    assert rig.daemon.watched[-1].params == {"state": "open", "limit": 60}
    rig.press("/")
    rig.type("snoozed=yes")
    shown = rig.press("enter")
    assert rig.daemon.watched[-1].params["snoozed"] is True
    assert "zz until 03-02 16:00Z by bob" in shown
    rig.write_mode()
    assert "wake: out of the inbox" in " ".join(rig.press("?").split())
    rig.press("escape", "n", "z")

    until = "2026-03-02T16:00:00Z"
    assert rig.changed == [
        ("task.wake", {"id": 1, "expect": {"state": "open", "snoozed_until": until}}),
        ("task.snooze", {"id": 1, "until": until, "expect": {"snoozed_until": None}}),
    ]


@pytest.mark.parametrize(
    ("changes", "key", "why"),
    [
        ({"kind": "call"}, "a", "it is a task of kind call: d closes it"),
        ({}, "d", "it is an approval: a lets the message go"),
        ({"assignee": "alice"}, "c", "it is yours already"),
        *(({"state": "done"}, key, "it is done: it stays closed") for key in "axdctn"),
    ],
)
def test_a_key_of_a_task_says_why_it_does_nothing(
    changes: dict[str, Any], key: str, why: str
) -> None:
    row = {**ANSWERS["task.list"]["items"][0], **changes}
    rig = Rig(FakeDaemon(answers={"task.list": {"items": [row]}}))
    rig.press("5")
    rig.write_mode()
    rig.press(key)

    assert why in rig.footer
    assert rig.changed == []


def test_while_something_is_looked_for_n_goes_on_and_esc_ends_that() -> None:
    rig = Rig()
    rig.press("5")
    rig.write_mode()
    rig.press("/")
    rig.type("send")
    rig.press("enter", "n")
    assert not rig.console.dialogs
    rig.press("escape")
    assert "'send' is looked for no more" in rig.footer

    assert "snooze task" in rig.press("n")


def test_a_task_is_claimed_and_given_back() -> None:
    rig = Rig()
    rig.press("5")
    rig.write_mode()
    rig.press("c", "z")

    assert rig.changed == [
        ("task.assign", {"id": 1, "to": "alice", "expect": {"state": "open", "assignee": "ann"}}),
        ("task.assign", {"id": 1, "to": "ann", "expect": {"assignee": "alice"}}),
    ]  # fmt: skip


def test_a_marked_line_of_logs_is_found_again_while_the_tail_goes_on() -> None:
    rig = Rig()
    assert "1 marked" in rig.press("L", "m")
    marked = rig.console.page.table.cursor  # type: ignore[union-attr]
    fresh = {"ts": NOW, "level": "info", "stage": "send", "event": "pulse"}
    rig.daemon.tell("logs", "tail.rows", {"rows": [fresh, fresh], "n": 4, "gap": 0})

    table = rig.console.page.table
    assert table is not None
    assert table.order[2] == marked
    assert table.cursor == table.order[0]
    assert "FROZEN" not in rig.text()
    assert any(line.startswith(" *") for line in rig.lines())

    rig.press("n")
    assert table.cursor == marked
    assert "marked" not in rig.press("m")


def test_logs_tell_the_time_between_lines() -> None:
    rig = Rig()
    shown = rig.press("L", "t")
    assert "+1.500" in shown

    assert "12:00:01Z" in rig.press("t")


def test_a_file_of_suppressions_is_counted_before_it_is_imported() -> None:
    rig = Rig()
    rig.press("0")
    rig.write_mode()
    rig.press("i")
    fill_in(rig)
    shown = rig.text()
    assert "IMPORT rows.csv" in shown
    assert "2 rows: 1 new, 0 already, 1 bad." in shown
    assert "row 2: an address is missing" in shown
    fill_in(rig)
    rows = [{"address": "a@x.test", "reason": "asked"}, {"reason": "nothing"}]

    assert rig.changed == [
        ("suppress.import", {"account": "word", "rows": rows, "dry_run": True}),
        ("suppress.import", {"account": "word", "rows": rows, "reason": "word", "yes": True}),
    ]
    assert "imported (1 changed); 1 not: an address is missing" in rig.footer


def test_a_long_list_of_suppressions_tells_about_how_many_there_are() -> None:
    entry = ANSWERS["suppress.export"]["items"][0]
    page = {
        "items": [{**entry, "id": str(n)} for n in range(60)],
        "next": "n",
        "about": 402_118,
    }
    rig = Rig(FakeDaemon(answers={"suppress.export": page}))

    assert "~402 118 entries   60 rows, more follow" in rig.press("0")
    rig.press("G")
    assert "~402 118 entries" in rig.text()
    assert "~" not in Rig().press("0")


def test_a_file_that_is_not_there_is_told() -> None:
    rig = Rig(size=(120, 30))
    rig.press("0")
    rig.write_mode()
    rig.press("i")
    rig.type("/nowhere/x.csv")
    rig.press("tab", "enter")

    assert "cannot be read: No such file or directory" in rig.footer
    assert rig.changed == []


def test_holds_that_do_not_fit_are_counted() -> None:
    holds = [{**OVERVIEW["holding"][0], "campaign_key": f"c{n}"} for n in range(30)]
    rig = Rig(FakeDaemon(answers={"daemon.overview": {**OVERVIEW, "holding": holds}}))
    shown = rig.text()
    seen = sum(f"acme/c{n} " in shown for n in range(30))

    assert 0 < seen < 30
    assert f"{30 - seen} more below" in shown


def test_the_timeline_is_a_crumb_deep() -> None:
    rig = Rig()
    shown = rig.press("4", "enter")
    assert "Enrollments > 1 c1" in shown
    assert "step_done" in shown
    assert "|| window" in shown

    assert "Enrollments ---" in rig.press("escape")


def test_further_pages_are_loaded_as_one_goes_down() -> None:
    daemon = FakeDaemon()
    daemon.answers["enroll.list"] = {**ANSWERS["enroll.list"], "next": "c1"}
    rig = Rig(daemon)
    rig.press("4", "G")
    asked = [watch.params.get("after") for watch in daemon.watched if watch.of == "enroll.list"]

    assert asked == ["c1"]


def test_the_last_picture_stays_when_the_daemon_is_away() -> None:
    rig = Rig()
    rig.press("4")
    rig.daemon.up, rig.daemon.lost_at = False, rig.now
    rig.daemon.trouble = Unreachable("the daemon hung up", hint="it may be restarting")
    rig.now += 12
    shown = rig.text()

    assert "NO DAEMON, stale 12s: the daemon hung up" in shown
    assert "c1" in shown
    assert rig.footer.strip() == "it may be restarting; q quit"


def test_what_is_told_is_told_in_full() -> None:
    rig = Rig(options=Options(screen="overvew"))
    shown = rig.text()
    told = " ".join(shown.split())
    assert "no screen 'overvew'; there are overview, accounts," in told
    assert "unknown, audit" in told
    assert len(rig.lines()) == 24
    rig.now += 19
    assert "overvew" in rig.text()
    rig.now += 2

    assert "? help" in rig.footer


def test_what_was_done_is_told_for_a_moment_and_gone_with_the_next_key() -> None:
    rig = Rig()
    rig.press("2")
    rig.write_mode()
    rig.press("p")
    assert "z undoes it" in rig.footer
    rig.press("j", after=0.2)
    assert "z undoes it" in rig.footer, "nobody has read it yet"
    rig.press("j", after=1.0)
    assert "? help" in rig.footer
    rig.press("p")
    rig.now += 3.1

    assert "? help" in rig.footer


def test_what_went_wrong_stands_until_it_was_seen_and_esc_does_nothing_else() -> None:
    rig = Rig(size=(80, 24))
    rig.press("4", "/")
    rig.type("status=hold")
    rig.press("enter")
    rig.press("j", after=1.0)
    assert "filter, at 1" in rig.footer
    shown = rig.press("escape", after=0.1)
    assert "? help" in rig.footer
    assert "4 Enrollments" in shown
    assert "filter, at 1: status is one of" in rig.press("!")

    assert "1 Overview" in rig.press("escape", "escape")


def test_a_long_message_hides_no_row_that_one_works_on() -> None:
    rig = Rig()
    rig.press("4", "G")
    rig.console.tell("what went wrong takes more than one line to tell " * 4, "bad")
    shown = rig.lines()

    assert len(shown) == 24
    assert any(one.startswith(">") for one in shown)


def test_keys_that_come_too_fast_are_a_paste_gone_astray() -> None:
    rig = Rig()
    rig.write_mode()
    for key in "KD4pzSRa":
        rig.console.key(key, key)
    assert "too many keys at once" in rig.footer
    rig.console.paste("KKK")

    assert "ignored" in rig.footer
    assert rig.changed == []


def test_a_tail_that_is_frozen_counts_what_comes() -> None:
    rig = Rig()
    rig.press("6", "space")
    row = {**ANSWERS["deliveries"]["rows"][0], "id": "99-1"}
    rig.daemon.tell("deliveries", "tail.rows", {"rows": [row], "gap": 7, "n": 38})
    shown = rig.text()
    assert "FROZEN, 1 new" in shown
    assert "7 not shown" in shown

    assert "99-1" in rig.press("space")


def test_deliveries_tell_what_part_is_shown_and_how_the_last_minute_was() -> None:
    rig = Rig(size=(100, 30))
    shown = rig.press("6")
    assert "2 nodes, 0 not shown" in shown
    assert "812/s   LATENCY ms p50 91  p95 240  p99 1 210" in shown
    assert "RESULT 1m ok 48 310  retry 201  fail 290  unknown 2" in shown
    row = ANSWERS["deliveries"]["rows"][0]
    rig.daemon.tell("deliveries", "tail.rows", {"rows": [row, row], "gap": 78, "n": 110})
    assert "showing 1 in 40, 78 not shown" in rig.text()
    older = {k: v for k, v in OVERVIEW["figures"].items() if not k.startswith("took")}

    assert "LATENCY ms -" in Rig(overview(figures=older), size=(100, 30)).press("6")


def test_events_tell_of_changes_by_hand_and_of_calls_that_were_refused() -> None:
    nothing = dict.fromkeys(("id", "contact_id", "enrollment_id"))
    rows = [
        {**nothing, "at": NOW, "kind": "refused", "account": None, "source": "ses", "detail": "bad signature (3 in 1 min) from 10.0.0.8"},
        {**nothing, "at": NOW, "kind": "admin", "account": "acme", "source": "socket", "detail": "campaign.pause welcome by carol: typo"},
    ]  # fmt: skip
    rig = Rig(FakeDaemon(answers={"events": {"rows": rows, "n": 2}}), size=(100, 30))
    shown = rig.press("9")
    assert "bad signature (3 in 1 min)" in shown
    assert "campaign.pause welcome by carol: typo" in shown
    rig.press("e")
    assert "it concerns no contact" in rig.footer

    assert "+- admin -" in rig.press("enter")


def test_a_tail_says_whose_it_is_where_there_are_others() -> None:
    alone = {**ANSWERS["daemon.overview"], "nodes": ANSWERS["daemon.overview"]["nodes"][:1]}

    assert "mail-1 alone of 2 nodes" in Rig().press("9")
    assert "alone" not in Rig(FakeDaemon(answers={"daemon.overview": alone})).press("6")


def test_copy_and_export() -> None:
    rig = Rig()
    rig.press("4", "y", "Y", "w", "enter", "w", "n", "d", "j", "enter")

    assert rig.copied[0] == "1"
    assert '"external_id": "c1"' in rig.copied[1]
    (name, table), (other, lines) = rig.saved
    assert (name, other) == ("enrollments.csv", "enrollments.ndjson")
    assert table.splitlines()[0].startswith("id,external_id,contact_id")
    assert len(table.splitlines()) == 61
    assert [json.loads(one)["id"] for one in lines.splitlines()] == list(range(1, 61))


def test_a_second_list_is_written_under_its_own_name() -> None:
    rig = Rig()
    rig.press("9", "a", "w", "enter")

    assert rig.saved[0][0] == "audit.csv"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_a_campaign_is_written_as_its_file_by_every_role(role: Role) -> None:
    rig = Rig(FakeDaemon(role, answers={"campaign.export": {"text": "campaign: camp-1\n"}}))
    rig.press("3", "w", "y", "a", "m", "enter")

    assert rig.saved == [("camp-1.yaml", "campaign: camp-1\n")]
    assert "written: camp-1.yaml" in rig.footer


def test_what_is_not_loaded_is_not_written() -> None:
    rig = Rig(FakeDaemon(answers={"enroll.list": {"items": []}}))

    assert "nothing is loaded" in rig.press("4", "w", "enter")
    assert not rig.saved


def test_ctrl_c_alone_only_says_how_to_leave() -> None:
    rig = Rig()
    rig.press("ctrl+c")
    assert not rig.left
    assert "leaves the console" in rig.footer
    rig.press("ctrl+c")

    assert rig.left


def test_write_mode_ends_by_itself() -> None:
    rig = Rig()
    rig.write_mode()
    assert "[WRITE 15m]" in rig.lines()[0]
    rig.now += 15 * 60 + 1

    assert "[WRITE" not in rig.lines()[0]


def test_read_only_is_read_only() -> None:
    rig = Rig(options=Options(read_only=True))
    rig.press("2", "ctrl+w", "p")

    assert "read-only" in rig.footer
    assert "[READ ONLY]" in rig.lines()[0]
    assert rig.changed == []


def test_the_palette_finds_commands_and_says_what_cannot_be_done() -> None:
    rig = Rig()
    rig.press(":")
    shown = rig.type("pause")
    assert "pause all sending" in shown
    assert "ctrl+w turns write mode on first" in shown
    rig.press("escape", ":")
    rig.type("nodes")

    assert "-- 8 Nodes" in rig.press("enter")


def test_low_bandwidth_asks_seldom_and_draws_no_trends() -> None:
    rig = Rig(options=Options(low_bandwidth=True))
    rig.press("6")
    paces = {watch.of: watch.hz for watch in rig.daemon.watched}

    assert paces["daemon.overview"] == 0.5
    assert paces["deliveries"] == 1.0
    assert rig.console.overview.params == {"brief": True}


def test_states_are_told_by_glyph_and_word() -> None:
    for one in Rig(size=(100, 30)).console.frame(100, 30):
        assert "ok" not in {cell.style for cell in one if not cell.text.strip()}
    assert "|| held" in Rig().press("4")
    assert "? approvals" in Rig(size=(80, 30)).text()


SENDER = {
    "account_id": 1, "id": 1, "account_key": "acme", "address": "a@acme.test", "channel": "email", "provider": "ses",
    "status": "active", "weight": 3, "share": 0.6, "limit_today": 20, "used_today": 7, "warmup": "20 +10/d from 2026-03-02",
    "rate": "20/min", "gap": "60s-120s",
    "standing": {"tokens": 4, "burst": 20, "breakers": [], "rests_until": None, "unknown_provider": False},
}  # fmt: skip


def sender(**changes: Any) -> str:
    """The screen of one sender that stands so; `standing` is changed key by key."""
    standing = {**SENDER["standing"], **changes.pop("standing", {})}  # type: ignore[dict-item]  # a mapping
    row = {**SENDER, "standing": standing, **changes}
    shown = {
        **row,
        "pools": [{"campaign_key": "welcome", "share": 0.75}],
        "reputation": {"bounced": 9, "complained": 0},
        "waiting": {"due": 71, "next_hour": 1_001},
        "warmup_day": 9,
        "limit_tomorrow": 110,
    }
    answers = {"sender.list": {"items": [row]}, "sender.show": shown}
    rig = Rig(FakeDaemon(answers=answers), size=(100, 30))
    return rig.press("2", "tab")


def test_a_sender_shows_its_day_rate_gap_and_share() -> None:
    shown = sender()

    assert "7/20" in shown
    assert "warm-up 20 +10/d from 2026-03-02" in shown
    assert "20/min, 4/20 tokens" in shown
    assert "weight 3, 60%" in shown
    assert "leaves for welcome 75%" in shown
    assert "came back in 7 d: 9 bounces, 0 complaints" in shown
    assert "held by nothing" in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "paused", "pause_reason": "bounce_rate"}, "paused: bounce_rate"),
        ({"status": "paused", "pause_reason": None}, "paused: by hand"),
        ({"used_today": 20}, "cap: day is spent"),
        ({"next_at": "2026-03-02T12:01:07Z"}, "gap 12:01:07Z"),
        ({"standing": {"tokens": 0}}, "held by rate"),
        ({"standing": {"rests_until": "2026-03-02T12:00:09Z"}}, "throttled 12:00:09Z"),
        ({"standing": {"unknown_provider": True}}, "provider unknown"),
        ({"standing": {"breakers": [{"of": "provider ses", "probe_at": "2026-03-02T12:00:30Z"}]}}, "breaker 12:00:30Z provider ses"),
        ({"standing": {"breakers": [{"of": "sender", "probe_at": None}]}}, "breaker probes sender"),
    ],
)  # fmt: skip
def test_a_sender_says_what_holds_it_and_until_when(changes: dict[str, Any], said: str) -> None:
    assert said in sender(**changes)


def test_a_provider_that_fails_is_tried_by_a_key_where_a_breaker_is_open() -> None:
    shut = {"breakers": [{"of": "provider ses", "probe_at": "2026-03-02T12:00:30Z"}]}
    rows = [{**SENDER, "standing": {**SENDER["standing"], **shut}}, {**SENDER, "id": 2}]
    rig = Rig(FakeDaemon(answers={"sender.list": {"items": rows}}))
    rig.press("2", "tab")
    rig.write_mode()
    assert "The next message through" in rig.press("x")
    rig.press("y")
    rig.press("down", "x")

    assert [method for method, _ in rig.changed] == ["sender.probe"]
    assert "no breaker of it is open" in rig.footer


def test_a_sender_of_another_daemon_says_whom_to_ask() -> None:
    answers = {"sender.list": {"items": [{**SENDER, "standing": None}]}}
    rig = Rig(FakeDaemon(answers=answers), size=(100, 30))

    assert "another daemon serves its account" in rig.press("2", "tab")


def columns_of(shown: str) -> dict[str, str]:
    """The first row of the table of *shown* by its titles, which stand over their columns."""
    lines = shown.splitlines()
    at = next(n for n, one in enumerate(lines) if " ST " in one)
    starts = [
        found.end() for found in re.finditer(r"NOW/s|LIM/s|TODAY|FAIL1h|p95 ms", lines[at])
    ]
    titles = ["NOW/s", "LIM/s", "TODAY", "FAIL1h", "p95 ms"]
    return {
        title: lines[at + 1][:end].rsplit(" ", 1)[-1]
        for title, end in zip(titles, starts, strict=False)
    }


def test_a_sender_shows_how_fast_it_goes_and_how_much_of_it_fails() -> None:
    shown = sender(
        sent_per_s=9.84, limit_per_s=1 / 90, tried_1h=1000, failed_1h=3, p95_ms=210,
        last_error={"reason": "http_503", "at": "2026-03-02T11:59:12Z"},
    )  # fmt: skip

    assert columns_of(shown) == {
        "NOW/s": "9.8", "LIM/s": "40/h", "TODAY": "7/20", "FAIL1h": "0.3%", "p95 ms": "210",
    }  # fmt: skip
    assert "3 of 1 000 failed within the hour" in shown
    assert "last error http_503 at 03-02 11:59Z" in shown
    assert "day 9, 110 tomorrow" in shown
    assert "waiting on it 71 due, 1 000+ next hour" in shown


def test_a_sender_that_nobody_tried_shows_neither_rate_nor_share() -> None:
    shown = sender()

    assert columns_of(shown)["FAIL1h"] == "-"
    assert "failed within" not in shown
    assert "last error" not in shown


@pytest.mark.parametrize(("failed", "sign"), [(0, "ok"), (49, "ok"), (50, "!")])
def test_a_sender_of_which_much_fails_is_marked(failed: int, sign: str) -> None:
    shown = sender(tried_1h=1000, failed_1h=failed)
    row = next(one for one in shown.splitlines() if one.startswith("> "))

    assert row.split()[1] == sign


def test_a_narrow_screen_of_senders_keeps_the_address_what_fails_and_what_holds() -> None:
    shown = Rig(size=(60, 15)).press("2", "tab")

    assert "s1@acme.test" in shown
    assert all(title in shown for title in ("NOW/s", "FAIL1h", "HELD BY"))
    assert not any(title in shown for title in ("LIM/s", "TODAY"))


def test_the_senders_are_told_by_how_they_are() -> None:
    rows = [
        {**SENDER, "id": 1},
        {**SENDER, "id": 2, "status": "paused"},
        {**SENDER, "id": 3, "tried_1h": 100, "failed_1h": 50},
        {**SENDER, "id": 4, "used_today": 20},
        {**SENDER, "id": 5},
    ]
    rig = Rig(FakeDaemon(answers={"sender.list": {"items": rows}}))

    assert "5 rows  2 ok, 1 held, 1 failing, 1 paused" in rig.press("2", "tab")


def test_help_explains_the_figures_of_the_tab_that_is_shown() -> None:
    rig = Rig(size=(100, 60))
    rig.press("2", "tab", "?")
    assert "FAIL1h" in rig.text()
    assert "BACKLOG" not in rig.text()


def test_a_breaker_says_since_when_and_how_often() -> None:
    since = {"since": "2026-03-02T11:59:12Z"}
    shut = {"of": "provider ses", **since, "probe_at": "2026-03-02T12:00:30Z"}
    shown = sender(standing={"breakers": [shut], "trips_today": 3})
    assert (
        "provider ses fails since 11:59:12Z, tried again 12:00:30Z, opened 3 times today"
        in shown
    )
    once = sender(standing={"breakers": [{**shut, "probe_at": None}], "trips_today": 1})

    assert "fails since 11:59:12Z, the next message tries it" in once
    assert "times today" not in once


def test_enrollments_name_the_daemon_where_there_is_room() -> None:
    assert "NODE" not in Rig().press("4")
    wide = Rig(size=(100, 30)).press("4").splitlines()
    at = next(n for n, one in enumerate(wide) if " NODE" in one)

    assert wide[at + 1].split()[-1] == "mail-1"


def test_nodes_show_what_befell_leases_and_who_crowds_the_doors() -> None:
    shown = Rig().press("8")

    assert "lease events  12:00:00Z mail-2  heartbeat 6.1 s after the one before" in shown
    assert "12:00:00Z mail-1  took over 17 steps that dead daemons held" in shown
    assert "doors         acme 900 requests, 12 events" in shown
    assert "zones differ" not in shown
    assert "4.1" in Rig(size=(100, 30)).press("8")


def test_nodes_say_where_zones_differ_and_why_a_daemon_leases_nothing() -> None:
    answers = copy.deepcopy({name: ANSWERS[name] for name in ("daemon.overview", "node.list")})
    answers["daemon.overview"]["zones_differ"] = ["mail-1 abc", "mail-2 abd"]
    answers["daemon.overview"]["queues"] = []
    (node,) = answers["node.list"]["items"]
    node["figures"]["barred"] = {"adopt": "this is a copy"}
    answers["node.list"]["leases"] = []
    shown = Rig(FakeDaemon(answers=answers)).press("8")

    assert "leases nothing: this is a copy; dripd ready says what to do" in shown
    assert "zones differ  mail-1 abc, mail-2 abd" in shown
    assert "no lease events" in shown
    assert "doors" not in shown


def test_the_overview_shows_what_is_in_flight_of_how_much_and_what_is_tried_again() -> None:
    shown = Rig().text()

    assert "212 / 8 000" in shown
    assert "retry ~1 204 ready 40" in shown
    narrow = Rig(size=(60, 15)).text()
    assert "retry ~1 204 " in narrow
    assert "…" not in narrow.splitlines()[6]


@pytest.mark.parametrize("name", TABS_BY_NAME)
def test_the_second_list_of_a_screen_has_a_name_of_its_own(name: str) -> None:
    rig = Rig(options=Options(screen=name))
    assert f"> {name.capitalize()} " in rig.text()
    rig = Rig()
    rig.press(":")
    rig.type(name)

    assert f"> {name.capitalize()} " in rig.press("enter")


def test_an_odd_screen_is_told_before_its_filter() -> None:
    rig = Rig(options=Options(screen="nosuch", filter="x=1"))

    assert "no screen 'nosuch'" in rig.footer


def test_an_odd_screen_is_told_and_the_overview_is_shown() -> None:
    rig = Rig(options=Options(screen="overvew"))

    assert "no screen 'overvew'; there are overview" in rig.footer
    assert "1 Overview" in rig.text()


def test_within_a_timeline_keys_move_through_it_and_the_run_stays() -> None:
    entries = [
        {"at": "2026-03-02T12:00:00Z", "kind": f"kind{n}", "detail": {"n": n}}
        for n in range(60)
    ]
    rig = Rig(FakeDaemon(answers={"contact.timeline": {"items": entries}}))
    shown = rig.press("4", "space", "space", "enter")
    assert "Enrollments > 3 c3" in shown
    assert "kind59" in shown
    assert "lines above, 0 below" in shown
    shown = rig.press("g")
    assert "kind0 " in shown
    assert "kind59" not in shown
    shown = rig.press("j", "k", "G")
    assert "kind59" in shown
    assert "3 c3" in shown
    rig.write_mode()
    rig.press("S")

    assert rig.daemon.calls[-1] == (
        "plan.make",
        {
            "method": "enroll.skip",
            "params": {"enrollment": [3], "expect": {"step_key": "nudge"}},
        },
    )


def test_rows_are_marked_only_where_a_key_works_on_them() -> None:
    rig = Rig()
    rig.press("0", "space")
    assert "no key of this screen works on marked rows" in rig.footer
    rig.press("4", "space")

    assert "1 marked" in rig.text()


def test_the_level_of_logs_is_a_filter_that_can_be_edited() -> None:
    rig = Rig(size=(100, 30))
    assert "filter: level>=info" in rig.press("L", "+")
    rig.press("/", "enter")
    assert "filter: level>=info" in rig.text()
    shown = rig.press("+", "+", "+")
    assert "filter: level>=critical" in shown
    assert rig.console.page.wanted == {"level": ["critical"]}

    assert "filter: level>=error" in rig.press("_")


def test_a_menu_tells_all_of_the_choice_and_when_nothing_fits() -> None:
    rig = Rig()
    rig.press("4")
    rig.write_mode()
    shown = rig.press("K", "down")
    assert "| runs end, and their contacts may run again as if they never had " in shown
    shown = rig.type("because")

    assert "nothing is called so" in shown


def test_a_draft_is_read_in_full_and_in_the_order_of_a_message() -> None:
    words = " ".join(f"word{n}" for n in range(60))
    payload = {"html": None, "text": words, "subject": "Hi"}
    task = {**ANSWERS["task.list"]["items"][0], "payload": payload}
    rig = Rig(FakeDaemon(answers={"task.list": {"items": [task]}}))
    shown = rig.press("5", "enter")

    assert rig.daemon.calls[-1] == ("task.list", {"id": 1})
    assert "html" not in shown
    assert shown.index("subject") < shown.index("| text ")
    assert all(f"word{n} " in shown for n in range(60))


def test_a_timeline_that_is_read_goes_on() -> None:
    rig = Rig()
    rig.press("4", "enter")
    before = [one for one in rig.daemon.calls if one[0] == "contact.timeline"]
    row = {**rig.console.page.table.rows["1"], "step_key": "last"}  # type: ignore[union-attr]  # a list
    rig.daemon.tell("enroll.list", "view.delta", {"rows": [["1", row, True]]})
    rig.daemon.tell("enroll.list", "view.delta", {"rows": [["1", row, True]]})
    rig.press("ctrl+r")
    asked = [one for one in rig.daemon.calls if one[0] == "contact.timeline"]

    assert len(before) == 1
    assert len(asked) == 3


def test_the_palette_finds_what_other_screens_can_do() -> None:
    rig = Rig()
    rig.press(":")
    assert "enrollments: stop" in rig.type("stop")

    assert "-- 4 Enrollments" in rig.press("enter")


def test_lists_say_what_holds_most_of_each_campaign_and_account() -> None:
    held = [
        {**ANSWERS["daemon.overview"]["holding"][0], "campaign_key": key, "reason": reason, "count": n}
        for key, reason, n in (("camp-1", "window", 3), ("camp-1", "breaker", 9), ("camp-2", "cap", 1))
    ]  # fmt: skip
    overview = {**ANSWERS["daemon.overview"], "holding": held}
    rows = [
        line
        for line in Rig(FakeDaemon(answers={"daemon.overview": overview}))
        .press("3")
        .splitlines()
        if "camp-" in line
    ]

    assert ["breaker" in rows[0], "cap" in rows[1], rows[2].rstrip().endswith("-")] == [
        True
    ] * 3


def test_clicks_choose_screens_and_rows() -> None:
    rig = Rig()
    at = rig.lines()[1].index("4En")
    rig.console.click(at, 1, again=False)
    rig.lines()
    rig.console.click(5, 3 + 1 + 2, again=False)
    table = rig.console.page.table

    assert table is not None
    assert table.cursor == "2"


@pytest.mark.parametrize("size", [(80, 24), (60, 15)])
@pytest.mark.parametrize("name", ["overview", "campaigns", "inbox"])
def test_a_click_chooses_the_row_that_it_is_on(name: str, size: tuple[int, int]) -> None:
    rig = Rig(size=size)
    rig.console.go(name)
    rig.lines()
    table = rig.console.page.table
    assert table is not None
    for key in table.order[:2]:
        word = {
            "overview": key.split("/")[0],
            "campaigns": key.split("/")[-1],
            "inbox": "approval",
        }[name]
        at = [n for n, one in enumerate(rig.lines()) if word in one and n > 3]
        rig.console.click(5, at[table.order.index(key) if name == "inbox" else 0], again=False)

        assert table.cursor == key


def _page(name: str, *tabs: str) -> Any:
    rig = Rig()
    rig.console.go(name)
    rig.press(*tabs)
    return rig.console.page


def test_frames_hold_cells_only() -> None:
    for one in Rig().console.frame(80, 24):
        assert isinstance(plain(one), str)


@pytest.mark.parametrize("name", ["overview", "campaigns", "inbox"])
def test_what_cannot_be_read_anew_stays_and_says_why(name: str) -> None:
    rig = Rig(options=Options(screen=name))
    of = {"overview": "daemon.overview", "campaigns": "campaign.list", "inbox": "task.list"}[
        name
    ]
    before = rig.lines()
    data = {"hint": "ask for less"}
    rig.daemon.tell(of, "view.error", {"sub": 1, "message": "took too long", "data": data})
    shown = rig.text()

    assert "as it was: took too long (ask for less)" in shown
    assert before[-4].strip() in shown
