"""Each command asks its method, with its arguments, of a real server."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dripd import cli
from dripd.admin.catalogue import SPECS
from dripd.cli import following
from dripd.cli.main import COMMANDS, main
from dripd.errors import Conflict, DefinitionError, Fault, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon

LINES = [
    (
        "account set acme --name Acme --plan unlimited --timezone Europe/Berlin --rate 20/s"
        " --window off --subscription on --postal-address Street",
        "account.set",
        {
            "key": "acme",
            "name": "Acme",
            "plan": "unlimited",
            "timezone": "Europe/Berlin",
            "rate": "20/s",
            "window": "off",
            "subscription": True,
            "postal_address": "Street",
        },
    ),
    (
        "account list --status active --limit 5",
        "account.list",
        {"status": "active", "limit": 5},
    ),
    ("account show acme", "account.show", {"key": "acme"}),
    (
        "account set acme --price sms=0.01 --price email=0",
        "account.set",
        {"key": "acme", "prices": {"sms": "0.01", "email": "0"}},
    ),
    ("account deposit acme 25", "account.deposit", {"key": "acme", "amount": "25"}),
    ("campaign library list", "campaign.library_list", {}),
    (
        "campaign template set hello --account acme --subject Hi --text Hello --html <p>",
        "campaign.template_set",
        {"key": "hello", "account": "acme", "subject": "Hi", "text": "Hello", "html": "<p>"},
    ),
    ("campaign template list", "campaign.template_list", {"limit": 100}),
    ("campaign template show hello", "campaign.template_show", {"key": "hello"}),
    (
        "campaign template remove hello --force",
        "campaign.template_remove",
        {"key": "hello", "force": True},
    ),
    ("campaign library show trial", "campaign.library_show", {"item": "trial"}),
    (
        "campaign library import trial --as mine --account acme",
        "campaign.library_import",
        {"item": "trial", "as_key": "mine", "account": "acme"},
    ),
    (
        "campaign quote welcome --contact ann",
        "campaign.quote",
        {"key": "welcome", "contact": "ann"},
    ),
    ("account pause acme", "account.pause", {"key": "acme"}),
    ("account resume acme", "account.resume", {"key": "acme"}),
    (
        "sender set a@b.c --account acme --channel email --provider sink --daily-limit 5"
        " --shared account --owner ann --rate 1/s",
        "sender.set",
        {
            "address": "a@b.c",
            "account": "acme",
            "channel": "email",
            "provider": "sink",
            "daily_limit": 5,
            "shared": "account",
            "owner": "ann",
            "rate": "1/s",
        },
    ),
    ("sender list --channel sms", "sender.list", {"channel": "sms", "limit": 100}),
    ("sender show a@b.c", "sender.show", {"address": "a@b.c"}),
    ("sender limit a@b.c 7", "sender.limit", {"address": "a@b.c", "daily_limit": 7}),
    ("sender test a@b.c --to me@b.c", "sender.test", {"address": "a@b.c", "to": "me@b.c"}),
    ("sender pause a@b.c", "sender.pause", {"address": "a@b.c"}),
    ("sender probe a@b.c", "sender.probe", {"address": "a@b.c"}),
    ("sender resume a@b.c", "sender.resume", {"address": "a@b.c"}),
    (
        "operator set ann --account acme --role member --board leads --board deals",
        "operator.set",
        {"name": "ann", "account": "acme", "role": "member", "boards": ["leads", "deals"]},
    ),
    ("operator list", "operator.list", {"limit": 100}),
    ("operator remove ann", "operator.remove", {"name": "ann"}),
    (
        "list set vip --account acme --kind bucket --dynamic",
        "list.set",
        {"key": "vip", "account": "acme", "kind": "bucket", "dynamic": True},
    ),
    ("list list --kind board", "list.list", {"kind": "board", "limit": 100}),
    ("list show vip", "list.show", {"key": "vip", "limit": 100}),
    ("list add vip c1 c2", "list.add", {"key": "vip", "contacts": ["c1", "c2"]}),
    ("list remove vip '#7'", "list.remove", {"key": "vip", "contacts": ["#7"]}),
    (
        "list trigger add vip welcome",
        "list.trigger_add",
        {"list": "vip", "campaign": "welcome", "on": "list_added"},
    ),
    (
        "list trigger remove vip welcome --on list_removed",
        "list.trigger_remove",
        {"list": "vip", "campaign": "welcome", "on": "list_removed"},
    ),
    (
        "contact add c1 --account acme --email a@b.c --phone +49 --attr tier=gold --attr n=3"
        """ --attrs '{"x": [1]}' --tag hot""",
        "contact.add",
        {
            "external_id": "c1",
            "account": "acme",
            "email": "a@b.c",
            "phone": "+49",
            "attrs": {"tier": "gold", "n": 3, "x": [1]},
            "tags": ["hot"],
        },
    ),
    (
        "contact list --tag hot --list vip --where 'attrs.n > 3'",
        "contact.list",
        {"tag": "hot", "list": "vip", "where": "attrs.n > 3", "limit": 100},
    ),
    ("contact show c1", "contact.show", {"contact": "c1"}),
    (
        "contact timeline c1 --enrollment 7",
        "contact.timeline",
        {"contact": "c1", "enrollment": 7, "limit": 100},
    ),
    ("contact explain c1", "contact.explain", {"contact": "c1"}),
    (
        "contact update c1 --op 'city set Oslo' --op 'n increment 1' --email x@y.z",
        "contact.update",
        {"contact": "c1", "ops": ["city set Oslo", "n increment 1"], "email": "x@y.z"},
    ),
    ("contact tag c1 hot", "contact.tag", {"contact": "c1", "tags": ["hot"]}),
    ("contact untag c1 hot", "contact.untag", {"contact": "c1", "tags": ["hot"]}),
    (
        "contact send c1 --subject Hi --text Body --sender s@b.c",
        "contact.send",
        {
            "contact": "c1",
            "channel": "email",
            "subject": "Hi",
            "text": "Body",
            "sender": "s@b.c",
        },
    ),
    ("contact erase c1 --yes", "contact.erase", {"contact": "c1"}),
    ("contact unmask c1 --reason asked", "contact.unmask", {"contact": "c1"}),
    (
        "campaign publish welcome --inflight pin --map a=b",
        "campaign.publish",
        {"key": "welcome", "inflight": "pin", "map": {"a": "b"}},
    ),
    ("campaign plan welcome", "campaign.plan", {"key": "welcome"}),
    (
        "campaign activate welcome --account acme",
        "campaign.activate",
        {"key": "welcome", "account": "acme"},
    ),
    (
        "campaign pause welcome --mode hold",
        "campaign.pause",
        {"key": "welcome", "mode": "hold"},
    ),
    (
        "campaign deactivate welcome --mode drain",
        "campaign.deactivate",
        {"key": "welcome", "mode": "drain"},
    ),
    ("campaign resume welcome", "campaign.resume", {"key": "welcome"}),
    ("campaign drain welcome", "campaign.drain", {"key": "welcome"}),
    ("campaign archive welcome", "campaign.archive", {"key": "welcome"}),
    (
        "campaign list --account acme --board leads",
        "campaign.list",
        {"account": "acme", "board": "leads", "limit": 100},
    ),
    ("campaign show welcome --policy", "campaign.show", {"key": "welcome", "policy": True}),
    (
        "campaign diff welcome --from 1 --to 2",
        "campaign.diff",
        {"key": "welcome", "from": 1, "to": 2},
    ),
    ("campaign stats welcome", "campaign.stats", {"key": "welcome"}),
    (
        "campaign export welcome --version 2",
        "campaign.export",
        {"key": "welcome", "version": 2},
    ),
    (
        "campaign trigger add welcome --on status_changed --field status --from a --to b",
        "campaign.trigger_add",
        {
            "campaign": "welcome",
            "on": "status_changed",
            "field": "status",
            "from": "a",
            "to": "b",
        },
    ),
    (
        "campaign trigger remove welcome --on list_added --list vip",
        "campaign.trigger_remove",
        {"campaign": "welcome", "on": "list_added", "list": "vip"},
    ),
    ("campaign trigger list welcome", "campaign.trigger_list", {"campaign": "welcome"}),
    (
        """enroll add welcome c1 c2 --key k --start-at 2026-01-01T00:00:00Z --vars '{"a": 1}'""",
        "enroll.add",
        {
            "campaign": "welcome",
            "contacts": ["c1", "c2"],
            "key": "k",
            "start_at": "2026-01-01T00:00:00Z",
            "source": "cli",
            "vars": {"a": 1},
        },
    ),
    (
        "enroll add welcome --backfill vip",
        "enroll.add",
        {"campaign": "welcome", "backfill": "vip", "source": "cli"},
    ),
    (
        "enroll list --campaign welcome --status held --hold cap --step hello",
        "enroll.list",
        {"campaign": "welcome", "status": "held", "hold": "cap", "step": "hello", "limit": 100},
    ),
    ("enroll show 7", "enroll.show", {"enrollment": 7}),
    ("enroll explain 7", "enroll.explain", {"enrollment": 7}),
    ("enroll simulate 7", "enroll.simulate", {"enrollment": 7}),
    ("account list --figures", "account.list", {"figures": True, "limit": 100}),
    ("campaign list --figures", "campaign.list", {"figures": True, "limit": 100}),
    ("alert list", "alert.list", {}),
    (
        "alert snooze step_failed acme/welcome --for 4h",
        "alert.snooze",
        {"what": "step_failed", "where": "acme/welcome", "lasts": "4h"},
    ),
    ("alert wake step_failed", "alert.wake", {"what": "step_failed"}),
    (
        "enroll stop --enrollment 7 --enrollment 8 --contact c1 --campaign w --list vip --tag t"
        " --where 'attrs.n == 1' --not-started --reset --reset-stats",
        "enroll.stop",
        {
            "enrollment": [7, 8],
            "contact": ["c1"],
            "campaign": ["w"],
            "list": ["vip"],
            "tag": ["t"],
            "where": "attrs.n == 1",
            "not_started": True,
            "reset": True,
            "reset_stats": True,
        },
    ),
    ("enroll reset --contact c1", "enroll.reset", {"contact": ["c1"]}),
    ("enroll move --contact c1 --to other", "enroll.move", {"contact": ["c1"], "to": "other"}),
    ("enroll skip --enrollment 7", "enroll.skip", {"enrollment": [7]}),
    ("enroll due-now --enrollment 7", "enroll.due_now", {"enrollment": [7]}),
    (
        "task list --kind call --assignee ann --campaign w --state open",
        "task.list",
        {"kind": "call", "assignee": "ann", "campaign": "w", "state": "open", "limit": 100},
    ),
    ("task done 7 --text ok", "task.done", {"id": 7, "text": "ok"}),
    ("task approve 7", "task.approve", {"id": 7}),
    (
        "task edit 7 --subject Hi --text Hello",
        "task.edit",
        {"id": 7, "subject": "Hi", "text": "Hello"},
    ),
    ("task cancel 7", "task.cancel", {"id": 7}),
    ("task assign 7 --to bob", "task.assign", {"id": 7, "to": "bob"}),
    ("task snooze 7 --for 3d", "task.snooze", {"id": 7, "lasts": "3d"}),
    ("task wake 7", "task.wake", {"id": 7}),
    ("task list --snoozed", "task.list", {"snoozed": True, "limit": 100}),
    (
        "notification list --recipient ann --unread",
        "notification.list",
        {"recipient": "ann", "unread": True, "limit": 100},
    ),
    ("notification read 7", "notification.read", {"id": 7}),
    (
        "delivery list --state unknown --channel email --enrollment 7",
        "delivery.list",
        {"state": "unknown", "channel": "email", "enrollment": 7, "limit": 100},
    ),
    ("delivery show 7-1", "delivery.show", {"id": "7-1"}),
    (
        "delivery resolve 7-1 failed",
        "delivery.resolve",
        {"id": "7-1", "state": "failed"},
    ),
    ("dead list --campaign w", "dead.list", {"campaign": "w", "limit": 100}),
    ("dead retry g1", "dead.retry", {"group": "g1"}),
    ("dead retry g1 --safe", "dead.retry", {"group": "g1", "safe": True}),
    ("dead retry g1 g2", "dead.retry", {"groups": ["g1", "g2"]}),
    ("dead discard --enrollment 7", "dead.discard", {"enrollment": [7]}),
    (
        "suppress add a@b.c d@e.f --channel email --expires-at 2027-01-01T00:00:00Z",
        "suppress.add",
        {
            "addresses": ["a@b.c", "d@e.f"],
            "channel": "email",
            "expires_at": "2027-01-01T00:00:00Z",
        },
    ),
    ("suppress remove a@b.c --yes", "suppress.remove", {"addresses": ["a@b.c"]}),
    ("suppress check a@b.c", "suppress.check", {"address": "a@b.c"}),
    ("suppress export --account acme", "suppress.export", {"account": "acme", "limit": 1000}),
    (
        """event add bounce --contact c1 --payload '{"type": "hard"}' --dedup-key d""",
        "event.add",
        {
            "kind": "bounce",
            "contact": "c1",
            "payload": {"type": "hard"},
            "dedup_key": "d",
        },
    ),
    (
        "event tail --account acme --kind reply --after 3",
        "event.tail",
        {"account": "acme", "kind": "reply", "after": 3, "limit": 100},
    ),
    ("clock show", "clock.show", {}),
    ("clock set 2026-01-02T00:00:00Z", "clock.set", {"to": "2026-01-02T00:00:00Z"}),
    ("clock advance 3d", "clock.advance", {"by": "3d"}),
    ("pause --all --yes", "daemon.pause", {"all": True}),
    ("pause --yes", "daemon.pause", {"all": True}),
    ("resume", "daemon.resume", {"all": True}),
    ("resume --all", "daemon.resume", {"all": True}),
    ("status", "daemon.status", {}),
    ("status --overview", "daemon.overview", {}),
    ("whoami --account acme", "daemon.whoami", {"account": "acme"}),
    (
        "logs tail --level warning --event admin --after 3",
        "logs.tail",
        {"level": "warning", "event": "admin", "after": 3, "limit": 100},
    ),
    ("logs level debug", "logs.level", {"level": "debug"}),
    ("config reload", "config.reload", {}),
    ("node list", "node.list", {}),
    ("node drain n1", "node.drain", {"node": "n1"}),
    ("node undrain n1", "node.undrain", {"node": "n1"}),
    ("node trace", "node.trace", {}),
    (
        "audit list --who ann --since 1d --method campaign.pause --target w",
        "audit.list",
        {
            "who": "ann",
            "since": "1d",
            "method": "campaign.pause",
            "target": "w",
            "limit": 100,
        },
    ),
    ("""call task.cancel '{"id": 7}'""", "task.cancel", {"id": 7}),
]


@pytest.mark.parametrize(("line", "method", "params"), LINES, ids=[line[0] for line in LINES])
def test_a_command_asks_its_method_with_its_arguments(
    daemon: Daemon, line: str, method: str, params: dict[str, object]
) -> None:
    code = main(shlex.split(line))

    ((call, asked),) = daemon.calls
    assert method == call.method
    assert params == asked
    assert SPECS[method].mutating == (call.request_id is not None)
    assert code == 0


def test_every_method_has_a_command() -> None:
    folder = Path(cli.__file__).parent
    asked = {
        node.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert set() == set(SPECS) - asked


def test_every_command_can_be_loaded_and_explains_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
    assert main(["--help"]) == 0

    assert "Tenants" in capsys.readouterr().out


def test_what_belongs_to_every_call_travels_with_it(daemon: Daemon) -> None:
    line = "campaign pause w --yes --reason 'too many' --dry-run --as bob"
    assert main(shlex.split(line)) == 0

    ((call, _),) = daemon.calls
    assert (call.reason, call.actor, call.user) == ("too many", "bob", "ann")
    assert call.yes
    assert call.dry_run


def test_a_change_that_was_broken_off_is_repeated_under_its_name(
    daemon: Daemon, tmp_path: Path
) -> None:
    """A deposit counts once, and an import goes on where it was."""
    file = tmp_path / "c.json"
    file.write_text(json.dumps([{"external_id": f"c{n}"} for n in range(501)]))
    done = Conflict("request inv-17 was carried out before", code="done_before")

    assert 0 == main(shlex.split("account deposit acme 25 --request-id inv-17"))
    daemon.answers = [done]
    assert 6 == main(shlex.split("account deposit acme 25 --request-id inv-17"))
    daemon.answers = [done, {"changed": 1, "items": []}]
    assert 0 == main(["contact", "import", str(file), "--request-id", "week 3"])

    named = [call.request_id for call, _ in daemon.calls]
    assert named == ["inv-17", "inv-17", "week 3", "week 3:2"]


def test_json_is_one_object_with_its_schema(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [{"items": [{"key": "a"}], "next": "c"}, {"key": "a", "status": "active"}]

    assert main(["account", "list", "--json"]) == 0
    assert main(["account", "show", "a", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"schema": 1, "items": [{"key": "a"}], "next": "c"}
    assert second == {"schema": 1, "key": "a", "status": "active"}


def test_a_table_is_aligned_and_cannot_write_to_the_terminal(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "\x1b]52;c;evil\x07\n\u202e\x9b"
    daemon.answers = [{"items": [{"key": "a", "name": name}, {"key": "long"}], "next": None}]

    assert main(["account", "list"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["KEY", "NAME", "PLAN", "TIMEZONE", "STATUS", "RATE"]
    assert first.index("␛") == second.index("-")
    assert not set(first) & set("\x1b\x07\x9b\u202e")


def test_a_value_within_a_value_is_said_in_words(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [
        {
            "clock": {"mode": "manual", "now": None, "at": [1, {"x": True}]},
            "policy": {"cap": {"value": "plan", "from": "default"}},
            "barred": {},
        }
    ]

    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "clock   mode=manual, at=(1, (x=yes))",
        "barred  -",
        "",
        "policy:",
        "NAME  VALUE  FROM",
        "cap   plan   default",
    ]


def test_a_run_is_explained_in_sentences(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = [
        {
            "gate": "window",
            "until": "2026-01-05T09:00:00Z",
            "detail": "closed until then in UTC",
        },
        {"gate": "paused", "until": None, "detail": "the campaign is \x1b[2Jpaused"},
    ]
    run = {
        "enrollment_id": 7,
        "campaign_key": "welcome",
        "status": "held",
        "end_reason": None,
        "step": {"key": "hello", "index": 1, "of": 2},
        "due_at": "2026-01-04T09:00:00Z",
        "chain": gates,
        "ready_at": None,
    }
    ended = {**run, "enrollment_id": 8, "status": "completed", "step": None, "chain": []}
    asked = {"request_id": 9, "campaign_key": "next", "asked_at": "2026-01-03T09:00:00Z"}
    queued = [{**asked, "behind": [7]}, {**asked, "behind": []}]
    runs = [run, {**ended, "end_reason": "goal:tag:booked"}]
    daemon.answers = [{"enrollments": runs, "queued": queued}]

    assert main(["contact", "explain", "c1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "welcome (enrollment 7): held at hello, step 1 of 2, due 2026-01-04T09:00:00Z",
        "  window until 2026-01-05T09:00:00Z: closed until then in UTC",
        "  paused until somebody acts: the campaign is ␛[2Jpaused",
        "  goes on once somebody has acted",
        "welcome (enrollment 8): completed, goal:tag:booked",
        "next (request 9): queued since 2026-01-03T09:00:00Z",
        "  begins once enrollment 7 ends",
        "next (request 9): queued since 2026-01-03T09:00:00Z",
        "  begins once the run that keeps its contact busy ends",
    ]


def test_whoever_has_no_live_run_is_told_where_those_before_are(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [{"enrollments": []}]

    assert main(["contact", "explain", "c1"]) == 0
    assert "no run is live; dripd contact timeline CONTACT" in capsys.readouterr().err


def test_what_a_run_would_do_is_a_table_and_how_it_stands_then(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    step = {
        "step_key": "hello",
        "kind": "email",
        "outcome": "done",
        "at": "2026-01-04T09:00:00Z",
    }
    daemon.answers = [
        {"enrollment_id": 7, "steps": [step], "status": "held", "hold_reason": "task"}
    ]

    assert main(["enroll", "simulate", "7"]) == 0
    shown = capsys.readouterr().out
    assert "2026-01-04T09:00:00Z  hello" in shown
    assert "hold_reason" in shown
    assert "task" in shown


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("no campaign 'w'", path="key", hint="see campaign list"), 3),
        (Conflict("20 live runs", code="confirm:20", hint="repeat with --yes"), 6),
        (StoreUnavailable("the database is away"), 75),
    ],
)
def test_a_refusal_names_its_code_and_exits_as_its_class(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], error: Conflict, code: int
) -> None:
    daemon.answers = [error, error]

    assert main(["campaign", "publish", "w"]) == code
    assert capsys.readouterr().err.startswith(f"[{error.code}] ")
    assert main(["campaign", "publish", "w", "--json"]) == code
    assert json.loads(capsys.readouterr().err) == {
        "schema": 1,
        "error": {
            "code": error.code,
            "message": error.message,
            "path": error.path,
            "hint": error.hint,
            "faults": [],
        },
    }


@pytest.mark.parametrize(
    ("oks", "code"), [([True, True], 0), ([True, False], 8), ([False, False], 1), ([], 0)]
)
def test_partly_done_exits_8_and_not_at_all_exits_1(
    daemon: Daemon, oks: list[bool], code: int
) -> None:
    daemon.answers = [{"changed": sum(oks), "items": [{"ok": ok} for ok in oks]}]

    assert main(["enroll", "add", "w", "c1", "--json"]) == code


def test_plan_exits_10_when_something_would_change(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"op": "~", "step": "hello", "path": "delay", "old": "1d", "new": "2d"}
    daemon.answers = [{"changes": [change], "live": 3, "inflight": {"pin": 3}}, {"changes": []}]
    file = tmp_path / "w.yaml"
    file.write_text("campaign: w")

    assert main(["campaign", "plan", str(file)]) == 10
    assert main(["campaign", "plan", "w"]) == 0
    assert "~ hello.delay: 1d -> 2d" in capsys.readouterr().out
    document = {"filename": "w.yaml", "text": "campaign: w", "files": {}}
    assert daemon.calls[0][1] == {"documents": [document]}


def test_faults_of_apply_are_told_on_both_streams(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("campaign: w")
    fault = Fault(code="cycle", path="steps[1].next", message="goes back", hint="use end")
    daemon.answers = [DefinitionError("1 fault", faults=(fault,))] * 2

    assert main(["campaign", "apply", str(file), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["faults"] == json.loads(err)["error"]["faults"]
    error = json.loads(err)["error"]
    assert ("cycle", "steps[1].next", "use end") == tuple(
        error[part] for part in ("code", "path", "hint")
    )
    assert json.loads(out)["ok"] is False
    assert json.loads(out)["campaign"] == "w"
    assert main(["campaign", "apply", str(file)]) == 1
    assert capsys.readouterr().err == (
        "[cycle] 1 fault\n[cycle] steps[1].next: goes back (use end)\n"
    )


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("quote_stale", "dripd campaign quote KEY --contact CONTACT"),
        ("already_in:welcome", "dripd enroll stop --contact CONTACT --campaign KEY"),
        ("missing:phone", "dripd contact add CONTACT --email ADDRESS --phone NUMBER"),
    ],
)
def test_who_is_not_enrolled_is_told_what_to_do(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], code: str, hint: str
) -> None:
    daemon.answers = [{"items": [{"contact": "c1", "ok": False, "code": code}]}]

    assert main(["enroll", "add", "w", "c1", "--json"]) != 0
    error = json.loads(capsys.readouterr().err)["error"]
    assert (code, hint) == (error["code"], error["hint"])


def test_a_mistyped_command_says_where_and_what_helps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["task", "list", "--state", "lost", "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert ("usage", "--state", "dripd task list --help") == tuple(
        error[part] for part in ("code", "path", "hint")
    )
    assert main(["nope", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["hint"] == "dripd --help"


def test_faults_of_publish_come_with_the_fields_of_its_answer(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(code="missing:sender", path="steps[0]", message="no address", hint="")
    daemon.answers = [DefinitionError("1 fault", faults=(fault,))]

    assert main(["campaign", "publish", "w", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["campaign"]) == (False, "w")
    assert answer["inflight"] == {"pin": 0, "terminate": 0, "migrate": 0}


def test_one_documents_answer_stands_at_the_top(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("campaign: w")
    item = {"ok": True, "campaign": "w", "changed": True, "faults": [], "warnings": []}
    daemon.answers = [{"ok": True, "items": [item]}]

    assert main(["campaign", "apply", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, **item}


def test_rows_of_a_file_become_contacts_in_pieces(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    lines = [f"c{n},c{n}@b.c,hot;new,Oslo" for n in range(700)]
    file.write_text("\n".join(["external_id,email,tags,city", *lines]))

    assert main(["contact", "import", str(file), "--account", "acme"]) == 0
    rows = [row for _, params in daemon.calls for row in rows_in(params)]
    assert [len(rows_in(params)) for _, params in daemon.calls] == [500, 200]
    assert rows[699] == {
        "external_id": "c699",
        "email": "c699@b.c",
        "tags": ["hot", "new"],
        "attrs": {"city": "Oslo"},
    }


def test_rows_of_an_enrollment_file_carry_vars(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    file.write_text('{"external_id": "c1", "key": "k", "size": 3}\n{"contact": "c2"}\n')

    assert main(["enroll", "import", "w", str(file)]) == 0
    assert daemon.calls[0][1] == {
        "campaign": "w",
        "rows": [{"contact": "c1", "key": "k", "vars": {"size": 3}}, {"contact": "c2"}],
    }


def test_suppressions_are_imported_and_exported_page_by_page(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.json"
    file.write_text('[{"address": "a@b.c", "reason": "asked"}]')
    assert main(["suppress", "import", str(file)]) == 0
    capsys.readouterr()
    row = {"address": "a@b.c", "channel": "email", "reason": "x,y", "scope": "acme"}
    daemon.answers = [{"items": [row], "next": "n"}, {"items": [row], "next": None}]

    assert main(["suppress", "export"]) == 0
    head, *rest = capsys.readouterr().out.splitlines()
    assert head == "address,channel,reason,expires_at,scope"
    assert rest == ['a@b.c,email,"x,y",,acme'] * 2
    assert [params.get("after") for _, params in daemon.calls] == [None, None, "n"]


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ("dead list", "group count account_key campaign_key step_key last_at code error retry"),
        ("node list", "node incarnation version state drain accounts claims silent_s skew_ms"),
    ],
)
def test_what_is_looked_at_in_trouble_has_columns_that_say_which(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], line: str, columns: str
) -> None:
    names = columns.split()
    row = {name: f"a {name}" for name in names}
    daemon.answers = [{"items": [{**row, "figures": {"n": 1}, "sample": [1]}], "next": None}]

    assert main(shlex.split(line)) == 0
    head, shown = capsys.readouterr().out.splitlines()
    assert head.split() == [name.upper() for name in names]
    assert re.split(" {2,}", shown) == list(row.values())


def test_a_tail_ends_with_who_reads_it(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(following, "OUT", writer)
    monkeypatch.setattr(following, "FOLLOW_S", 0)
    os.close(reader)
    daemon.answers = [{"items": [], "next": "7", "lost": 0}]

    assert main(["logs", "tail", "-f"]) == 0
    os.close(writer)
    assert len(daemon.calls) == 1


def test_an_export_that_is_refused_leaves_no_list_that_looks_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRIPD_SOCKET", "/nowhere/d.sock")

    assert main(["suppress", "export"]) == 5
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("state", "code"), [(True, 0), (False, 1)])
def test_ready_answers_by_its_exit_code(daemon: Daemon, state: bool, code: int) -> None:
    daemon.answers = [{"ready": state, "checks": []}]

    assert main(["ready", "--json"]) == code


@pytest.mark.parametrize(
    ("codes", "exits"),
    [
        (["not_visible"], 4),
        (["unknown_contact"], 3),
        (["already_in:welcome", "already_ran"], 6),
        (["bad_request:vars"], 2),
        (["missing:phone"], 1),
        (["not_visible", "already_ran"], 1),
        (["not_visible", None], 8),
    ],
)
def test_refused_contacts_exit_as_their_reason_says(
    daemon: Daemon, codes: list[str | None], exits: int
) -> None:
    items = [{"contact": "c", "ok": code is None, "code": code} for code in codes]
    daemon.answers = [{"changed": 0, "items": items}]

    assert main(["enroll", "add", "welcome", "c", "--json"]) == exits


def test_version_needs_no_daemon(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["daemon"]["server"] == "9.9"
    monkeypatch.setenv("DRIPD_SOCKET", "/nowhere/d.sock")
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["daemon"] is None


@pytest.mark.parametrize(
    "line",
    [
        "campaign publsh w",
        "task list --kind phone",
        "enroll add w",
        "enroll add w c1 --backfill l",
        "event add reply --payload 3",
        "event add reply --payload {",
        "contact add c1 --attr novalue",
        "contact import /nowhere/at/all.csv",
        "call task.cancel '{\"idd\": 1}'",
        "account list --limit 0",
    ],
)
def test_what_makes_no_sense_exits_2(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main(shlex.split(line)) == 2
    assert capsys.readouterr().err
    assert main([*shlex.split(line), "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["schema"] == 1


def test_an_unknown_method_is_told(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "no.such"]) == 1
    assert capsys.readouterr().err.startswith("[unknown_method] ")


def test_no_daemon_exits_5_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--socket", str(tmp_path / "no.sock")]) == 5
    err = capsys.readouterr().err
    assert err.startswith("[unreachable] ")
    assert "dripd run" in err


def test_completion_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0

    assert "_DRIPD_COMPLETE" in capsys.readouterr().out


def rows_in(params: dict[str, object]) -> list[object]:
    rows = params["rows"]
    assert isinstance(rows, list)
    return rows
