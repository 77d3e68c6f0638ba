"""The commands of the contract, walked one by one against a real daemon.

A row is a line, its exit code, and the keys that its JSON must have; of a list, those of an
item. Rows run in their order, on one daemon and one database.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dripd.cli.main import main
from tests.stories.world import World
from tests.support.postgres import Databases

WELCOME = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: "Hi {First Name}", text: Hello}
  - {key: call, do: custom_task, title: Call, assignee: ann}
  - {key: nudge, do: email, delay: 3d, subject: Still there?, text: We are.}
"""

RUN = (
    "id account_id campaign_key version contact_id run_no status end_reason step_key due_at"
    " hold_reason release_at started_at ended_at reset_at owner conversation_ref"
)
STEP = "enrollment_id seq step_key kind outcome reason started_at finished_at"
DELIVERY = (
    "id account_id enrollment_id step_key run_no channel sender_id to_address idempotency_key"
    " state attempt provider provider_id segments subject leased_at sent_at accepted_at reason"
)
TASK = (
    "id account_id enrollment_id step_key kind title assignee due_at state payload closed_by"
    " closed_at campaign_key category reminder_at"
)
ACCOUNT = (
    "key name plan timezone send_window rate subscription_active status postal_address writer"
)

EXPLAIN = (
    "enrollments.enrollment_id enrollments.campaign_key enrollments.status enrollments.step.key"
    " enrollments.step.index enrollments.step.of enrollments.due_at enrollments.hold_reason"
    " enrollments.release_at enrollments.chain.gate enrollments.chain.until"
    " enrollments.chain.detail enrollments.ready_at"
)

ERROR = ["error.code", "error.message", "error.path", "error.hint", "error.faults"]

Row = tuple[str, int, str]

ROWS: list[Row] = [
    ("version", 0, "version daemon"),
    ("whoami", 0, "uid user role why operator"),
    ("ready", 0, "ready checks.name checks.ok checks.detail checks.hint"),
    (
        "status",
        0,
        "state version deployment clock.mode clock.now db.ok daemons.node daemons.incarnation daemons.heartbeat_at daemons.accounts due_now held unknown gateway.url",
    ),
    ("clock show", 0, "mode now"),
    ("clock set 2026-01-05T09:00:00Z", 0, "now"),
    ("clock set 2025-01-01T00:00:00Z", 6, ""),
    ("account set beta --name Beta --plan professional --timezone Europe/Oslo", 0, "changed"),
    ('account set beta --window \'{days: [mon], from: "09:00", to: "17:00"}\'', 0, ""),
    ("account set beta --rate 20/s --subscription off --postal-address Street", 0, ""),
    ("account set beta --timezone Europe/Olso", 2, ""),
    ("account list", 0, ACCOUNT),
    (
        "account show beta",
        0,
        f"{ACCOUNT} balance cap.limit cap.used cap.left cap.local_date holds",
    ),
    ("account set beta --price sms=0.01 --price email=0", 0, "changed"),
    ("account set beta --price sms=dear", 2, ""),
    ("account deposit beta 0.10 --reason test", 0, "changed balance"),
    ("account show nobody", 3, ""),
    ("account set 'Bad Key'", 2, ""),
    ("account deposit beta 25.00 --reason test", 0, "changed"),
    ("account deposit beta nothing", 2, ""),
    ("account pause beta --reason test", 0, "changed"),
    ("account resume beta", 0, "changed"),
    (
        "sender set sales@beta.test --account beta --channel email --provider sink"
        " --owner ann --shared account --rate 5/s --daily-limit 9",
        0,
        "changed",
    ),
    (
        "sender list",
        0,
        "id account_id address channel provider owner shared rate daily_limit status",
    ),
    ("sender show sales@beta.test", 0, "address provider"),
    ("sender pause sales@beta.test", 0, "changed"),
    ("sender resume sales@beta.test", 0, "changed"),
    ("sender limit sales@beta.test 4", 0, "changed"),
    ("sender limit nobody@beta.test 4", 3, ""),
    ("sender test sales@beta.test --to me@x.test", 0, "state reason"),
    ("operator set ann --account beta --role member --board leads", 0, "changed"),
    ("operator list", 0, "account_id name role boards"),
    ("operator remove ann --account beta", 0, "changed"),
    ("connector set crm --account beta --url https://crm.test/hook --secret env:HOME", 0, ""),
    ("connector list", 0, "account_id key url secret"),
    ("connector remove crm --account beta", 0, "changed"),
    ("campaign library list", 0, "key name preset steps description"),
    (
        "campaign template set bye --account acme --subject Bye --text {Nope}",
        0,
        "changed created warnings.code warnings.path warnings.message warnings.hint",
    ),
    ("campaign template list", 0, "account_key key subject updated_at"),
    ("campaign template show bye --account acme", 0, "account_key key subject text html"),
    ("campaign template show by --account acme", 3, ""),
    ("campaign template remove bye --account acme", 0, "changed campaigns"),
    ("campaign template remove bye --account acme", 3, ""),
    ("list set vip --account acme --kind bucket", 0, "changed"),
    (
        "contact add c1 --account acme --email c1@x.test --phone +4930123 --attr tier=gold --attr first_name=Ann",
        0,
        "",
    ),
    (
        'contact add c2 --account acme --email c2@x.test --tag hot --attrs \'{"first_name": "Bo"}\'',
        0,
        "changed",
    ),
    ("list add vip c1 c2 --account acme", 0, "changed items"),
    ("list remove vip c2 --account acme", 0, "changed items"),
    ("list show vip --account acme", 0, "contact_id external_id added_at"),
    ("list list --account acme", 0, "account_id key kind is_static"),
    ("contact list --account acme --where \"attrs.tier == 'gold'\"", 0, "id external_id email"),
    ("contact show c1", 0, "external_id email phone timezone owner service_owner attrs tags"),
    ("contact update c1 --op 'city set Oslo'", 0, "changed"),
    ("contact tag c1 warm", 0, "changed"),
    ("contact untag c1 warm", 0, "changed"),
    ("contact import {c.csv} --account acme", 0, "changed items"),
    (
        "campaign validate {welcome.yaml}",
        0,
        "ok campaign version draft changed faults warnings",
    ),
    (
        "campaign plan {welcome.yaml}",
        10,
        "changes.op changes.step changes.path changes.old changes.new live inflight confirm",
    ),
    ("campaign apply {welcome.yaml}", 0, "ok campaign version draft changed faults warnings"),
    (
        "campaign publish welcome --yes",
        0,
        "ok campaign version changed faults warnings inflight.pin inflight.terminate inflight.migrate",
    ),
    ("campaign plan welcome", 0, "changes live inflight confirm"),
    (
        "campaign quote welcome --contact c1",
        0,
        "quote_id total ends_at messages.step_key messages.channel messages.segments"
        " messages.price messages.at messages.missed_s missed.up_to_s missed.n",
    ),
    ("campaign activate welcome", 0, "changed"),
    ("campaign quote welcome --contact c1", 0, "quote_id total ends_at messages"),
    ("campaign library list", 0, "key name preset steps description"),
    ("campaign library show trial", 0, "key name preset steps description"),
    ("campaign library import trial --as mine --account acme", 0, "changed"),
    ("campaign library import nothing --as mine --account acme", 3, ""),
    ("campaign list", 0, "account_id key name status live_version has_draft owner board"),
    (
        "campaign show welcome --policy",
        0,
        "definition status live_version has_draft triggers policy.reentry.value policy.reentry.from",
    ),
    ("campaign list --board nowhere", 3, ""),
    ("campaign list --status living", 2, ""),
    ("campaign export welcome", 0, ""),
    ("campaign diff welcome", 0, ""),
    ("campaign trigger add welcome --on list_added --list vip", 0, "changed"),
    ("list trigger remove vip welcome", 0, "changed"),
    ("enroll add welcome c1 --key k1", 0, "items"),
    ("enroll add welcome nobody", 3, "items"),
    ("enroll add welcome c1", 6, "items"),
    ("enroll add welcome --backfill vip --dry-run", 0, "requested sample"),
    ("enroll add welcome c2 nobody", 8, "items"),
    ("enroll add nothing c1", 3, ""),
    ("enroll import welcome {e.csv}", 0, "items"),
    ("clock advance 1h", 0, "now"),
    ("enroll list --campaign welcome", 0, RUN),
    ("enroll list --hold lunch", 2, ""),
    ('call enroll.list \'{"status": "living"}\'', 2, ""),
    ("enroll show 1", 0, f"{RUN} steps.step_key steps.kind steps.outcome steps.seq"),
    ("enroll show 999999", 3, ""),
    ("enroll explain 1", 0, EXPLAIN),
    (
        "enroll simulate 1",
        0,
        "enrollment_id campaign_key as_of whole status end_reason step_key due_at hold_reason",
    ),
    ("enroll simulate 999999", 3, ""),
    ("contact explain c1", 0, EXPLAIN),
    ("contact timeline c1", 0, "at kind campaign_key enrollment_id step_key detail"),
    (
        "campaign stats welcome",
        0,
        "enrolled active completed removed terminated goal sent goal_text steps.step_key steps.at steps.done steps.skipped steps.failed steps.sent",
    ),
    ("delivery list", 0, DELIVERY),
    ("delivery show 1-1", 0, DELIVERY),
    ("delivery show 9-9", 3, ""),
    ("delivery resolve 1-1 failed", 6, ""),
    ("task list --kind custom --assignee ann", 0, TASK),
    ("task list --kind bogus", 2, ""),
    ("task list --campaign nothing", 3, ""),
    ("task assign 1 --to bob", 0, "changed"),
    ("task edit 1 --subject nothing", 6, ""),
    ("task approve 1", 6, ""),
    ("task done 1 --text ok", 0, "changed"),
    ("task cancel 2", 0, "changed"),
    ("notification list", 0, ""),
    ("enroll reset --enrollment 1", 0, "changed items"),
    ("enroll due-now --contact c2", 0, "changed items"),
    ("enroll skip --contact c1", 0, "changed items"),
    ("enroll stop --contact c1 --contact c2 --dry-run", 0, "changed items"),
    ("enroll stop --campaign welcome --yes", 0, "changed items"),
    ("enroll stop --enrollment 999999 --yes", 3, ""),
    ("dead list", 0, ""),
    ("suppress add x@x.test --reason asked", 0, "changed items"),
    (
        "suppress check x@x.test",
        0,
        "suppressed entries.scope entries.channel entries.reason entries.expires_at",
    ),
    ("suppress import {s.csv}", 0, "changed items"),
    ("suppress export", 0, "channel address reason expires_at"),
    ("suppress remove x@x.test --yes", 0, "changed items"),
    ("suppress remove x@x.test --yes", 3, ""),
    ("event add reply --contact c1 --dedup-key d1", 0, ""),
    ("event tail", 0, "next"),
    ("clock advance 1m", 0, "now"),
    ("event tail --kind reply", 0, "at kind account id contact_id enrollment_id"),
    ("contact send c1 --subject Hi --text 'Hello {First Name}'", 0, ""),
    ("contact send c1 --text 'Hello {First Name}' --dry-run", 0, "text"),
    ("contact send c1 --subject Hi --text 'Hello {Shoe Size}'", 6, ""),
    ("contact send c1 --text 'Hello {Shoe Size}' --dry-run", 6, ""),
    ("contact send c1 --subject Hi --text ''", 2, ""),
    ("campaign pause welcome --yes --reason test", 0, "changed"),
    ("campaign resume welcome", 0, "changed"),
    ("campaign deactivate welcome --yes", 0, "changed"),
    ("campaign archive welcome --yes", 0, "changed"),
    ("pause --all --dry-run --yes", 0, ""),
    ("pause --all", 6, ""),
    ("pause --all --yes --reason test", 0, "changed"),
    ("resume --all", 0, "changed"),
    ("contact unmask c2", 2, ""),
    ("contact unmask c2 --reason asked", 0, "changed email attrs"),
    ("contact erase c2 --yes", 0, "changed"),
    ("config reload", 0, "changed generation in_force needs_restart"),
    ("logs level", 0, "level"),
    ("logs level debug", 0, "level before changed"),
    ("logs level info", 0, "level before changed"),
    ("logs tail --limit 5", 0, "seq ts level event"),
    ("node list", 0, "node incarnation heartbeat_at accounts"),
    ("node drain nowhere", 3, ""),
    ("node trace", 0, "node tasks wheel ready unsent"),
    ("audit list --since 1d", 0, "id at node uid user role method target reason result"),
    ("audit verify", 0, "ok accounts checks"),
    ("audit verify --account nobody", 3, ""),
    ("call daemon.status", 0, "state"),
    ("call no.such", 1, ""),
    ("account nonsense", 2, ""),
]

FILES = {
    "welcome.yaml": WELCOME,
    "c.csv": "external_id,email,tags,city\nc3,c3@x.test,hot;new,Oslo\nc4,c4@x.test,,\n",
    "e.csv": "external_id,size\nc3,3\nc4,4\n",
    "s.csv": "address,channel,reason\na@x.test,email,asked\n+4912,sms,asked\n",
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short path: a socket's has 107 bytes at most."""
    with TemporaryDirectory(prefix="dripd-") as folder:
        for name, text in FILES.items():
            (Path(folder) / name).write_text(text)
        yield Path(folder)


@pytest.fixture(scope="module")
def world(pg_databases: Databases, place: Path) -> Iterator[World]:
    with pg_databases.fresh() as dsn, World(dsn, place) as world:
        yield world


def test_every_command_of_the_contract(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRIPD_SOCKET", str(world.socket))

    wrong = {}
    for line, code, keys in ROWS:
        words = shlex.split(line)
        for name in FILES:
            words = [word.replace(f"{{{name}}}", str(world.state / name)) for word in words]
        found = main([*words, "--json"])
        out, err = capsys.readouterr()
        if found != code:
            wrong[line] = f"{found}, not {code}: {err or out}"
        elif lacking := lacks(code, keys.split(), out, err):
            wrong[line] = f"lacks {lacking} in {out or err}"
    assert wrong == {}


def lacks(code: int, keys: list[str], out: str, err: str) -> list[str]:
    """The keys that a command's JSON must have and has not."""
    lacking = []
    if code not in {0, 10}:
        failure = json.loads(err)
        lacking += [key for key in ERROR if not has(failure, key)]
        lacking += ["schema 1"] if failure["schema"] != 1 else []
    if out:
        answer = json.loads(out)
        if "items" in answer and not all(has(answer, key) for key in keys):
            keys = ["next", *(f"items.{key}" for key in keys)]
        lacking += [key for key in keys if not has(answer, key)]
        lacking += ["schema 1"] if answer["schema"] != 1 else []
    return lacking


def has(answer: object, key: str) -> bool:
    """Whether *answer* has *key*; `steps.kind` looks into the first of a list."""
    first, _, rest = key.partition(".")
    if isinstance(answer, list):
        return bool(answer) and has(answer[0], key)
    if not isinstance(answer, dict) or first not in answer:
        return False
    return not rest or has(answer[first], rest)
