"""Scripts, connectors, followers: what outside servers are told, and what happens if they fail."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dripd.channels.signing import sign_standard
from dripd.errors import DripdError
from tests.stories.world import World, until

WHSEC = "whsec_" + b64encode(b"o" * 32).decode()


class Outside:
    """An HTTP server of somebody else's; `asked` is what it got: path, headers, body."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.release = threading.Event()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outside.asked.append((self.path, dict(self.headers), json.loads(body)))
                is_first = len(outside.to(self.path)) == 1
                if self.path == "/hang" or (self.path == "/once" and is_first):
                    outside.release.wait(60)
                planned = outside.answers.get(self.path)
                status, answer = planned.pop(0) if planned else (200, b"{}")
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def to(self, path: str) -> list[dict[str, Any]]:
        """The bodies of what was asked at *path*."""
        return [body for where, _, body in self.asked if where == path]

    def keys(self, path: str) -> list[str]:
        return [headers["Idempotency-Key"] for where, headers, _ in self.asked if where == path]


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    server = Outside()
    yield server
    server.close()


@pytest.fixture(scope="module")
def base(pg_databases: Any, outside: Outside) -> Iterator[World]:
    """One daemon for all stories here."""
    with (
        pytest.MonkeyPatch.context() as environment,
        pg_databases.fresh() as dsn,
        TemporaryDirectory(prefix="dripd-") as state,
    ):
        environment.setenv("STORY_SECRET", WHSEC)
        environment.setenv("DRIPD_NET__ALLOW", "127.0.0.1")
        for name in ("score", "hang", "broken"):
            environment.setenv(f"DRIPD_SCRIPT__{name.upper()}__URL", f"{outside.url}/{name}")
            patience = "300ms" if name == "hang" else "30s"
            environment.setenv(f"DRIPD_SCRIPT__{name.upper()}__TIMEOUT", patience)
        environment.setenv("DRIPD_SCRIPT__ONCE__URL", f"{outside.url}/once")
        environment.setenv("DRIPD_SCRIPT__SCORE__SECRET", "env:STORY_SECRET")
        with World(dsn, Path(state)) as world:
            yield world


def run(world: World, key: str, step: str, **columns: Any) -> None:
    """Contact *key* goes through a campaign *key*: one step of the outside, then a tag."""
    world.contact(key, **columns)
    world.apply(
        f"{{campaign: {key}, account: acme, name: {key}, steps: [{{key: out, {step}}}, "
        f"{{key: after, do: tag_add, tag: after-{key}}}]}}"
    )
    world.enroll(key, key)
    world.tick()


def outcomes(world: World, contact: str) -> list[tuple[str, str | None]]:
    return [(row["outcome"], row["reason"]) for row in world.steps(contact)]


@pytest.mark.feature("F34")
def test_a_script_is_called_once_with_who_it_is_about(base: World, outside: Outside) -> None:
    run(base, "scored", "do: script, script: score")

    (body,) = outside.to("/score")
    assert body["contact"]["external_id"] == "scored"
    assert body["contact"]["attrs"] == {"first_name": "Ann"}
    assert (body["enrollment"]["campaign"], body["enrollment"]["run_no"]) == ("scored", 1)
    assert body["step"] == {"key": "out", "kind": "script"}
    _, headers, _ = next(one for one in outside.asked if one[0] == "/score")
    raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    assert headers["webhook-signature"] == sign_standard(
        WHSEC, headers["webhook-id"], headers["webhook-timestamp"], raw
    )
    assert outcomes(base, "scored") == [("done", None), ("done", None)]
    with pytest.raises(DripdError) as caught:
        base.apply(
            "{campaign: x, account: acme, name: x, "
            "steps: [{key: a, do: script, script: teleport}]}"
        )
    assert "unknown_script" in str(getattr(caught.value, "faults", caught.value))


def test_a_call_that_a_daemon_died_over_is_made_again_under_its_key(
    base: World, outside: Outside
) -> None:
    """At least once: nobody knows whether the server has heard, and the key tells it."""
    base.contact("once")
    base.apply(
        "{campaign: once, account: acme, name: once, "
        "steps: [{key: out, do: script, script: once}]}"
    )
    base.enroll("once", "once")
    until(lambda: outside.keys("/once"))
    base.kill9()
    base.start()
    assert 1 == base.one("SELECT count(*) FROM dripd.outbox WHERE target = 'once'")
    until(lambda: len(outside.keys("/once")) == 2)
    base.tick()

    first, second = outside.keys("/once")
    assert first == second
    assert 0 == base.one("SELECT count(*) FROM dripd.outbox WHERE target = 'once'")


@pytest.mark.feature("F35")
@pytest.mark.parametrize(("name", "status"), [("hang", None), ("broken", 500)])
def test_the_run_waits_for_no_script(
    base: World, outside: Outside, name: str, status: int | None
) -> None:
    if status is not None:
        outside.answers[f"/{name}"] = [(status, b"")] * 99
    base.contact(name)
    base.apply(
        f"{{campaign: {name}, account: acme, name: {name}, steps: "
        f"[{{key: out, do: script, script: {name}}}, {{key: b, do: tag_add, tag: {name}}}]}}"
    )
    base.enroll(name, name)
    until(lambda: outside.to(f"/{name}"))
    base.tick()
    rows = base.steps(name)
    assert [row["outcome"] for row in rows] == ["done", "done"]
    assert rows[0]["finished_at"] == rows[1]["finished_at"]
    assert base.run(name, name)["status"] == "completed"
    base.advance("3h")
    ours = f'"enrollment_id":{base.run(name, name)["id"]},'
    tries = [one for one in base.log().splitlines() if '"call.failed"' in one and ours in one]
    assert len(tries) == 6
    assert status is None or len(outside.to(f"/{name}")) == 6  # none may come in 300 ms
    assert len(set(outside.keys(f"/{name}"))) == 1
    assert base.one("SELECT count(*) FROM dripd.outbox") == 0
    noted = (
        "SELECT detail ->> 'reason' FROM dripd.journal WHERE kind = 'call_failed' ORDER BY at"
    )
    assert base.column(noted)[-1] == ("timeout" if status is None else "http_500")
    assert base.run(name, name)["end_reason"] == "completed"


@pytest.mark.feature("C33")
def test_a_connector_is_told_until_it_has_taken_it(base: World, outside: Outside) -> None:
    base.call("connector.set", name="ml", account="acme", url=f"{outside.url}/ml")
    outside.answers["/ml"] = [(500, b""), (503, b"")]
    run(base, "synced", "do: sync, connector: ml")

    assert outcomes(base, "synced") == []
    assert base.run("synced", "synced")["status"] == "waiting"
    base.advance("1h")
    assert len(outside.to("/ml")) == 3
    key = base.one("SELECT id FROM dripd.deployment")
    enrollment = base.run("synced", "synced")["id"]
    assert set(outside.keys("/ml")) == {f"dripd:{key}:{enrollment}:1:out"}
    assert outside.to("/ml")[0]["contact"]["email"] == "synced@x.test"
    assert outcomes(base, "synced") == [("done", None), ("done", None)]


def test_what_a_connector_refuses_for_good_is_held_and_may_be_tried_again(
    base: World, outside: Outside
) -> None:
    base.call("connector.set", name="picky", account="acme", url=f"{outside.url}/picky")
    outside.answers["/picky"] = [(400, b"")]
    run(base, "refused", "do: sync, connector: picky")

    assert base.run("refused", "refused")["hold_reason"] == "step_failed"
    base.call("enroll.due_now", account="acme", campaign=["refused"], yes=True)
    base.tick()
    assert len(outside.to("/picky")) == 2
    told = base.sql(
        "SELECT kind FROM dripd.journal WHERE detail ->> 'reason' = 'step_failed' ORDER BY kind"
    )
    assert [kind for (kind,) in told] == ["held", "released"]
    assert outcomes(base, "refused") == [("done", None), ("done", None)]


@pytest.mark.feature("C34")
def test_a_connector_in_use_is_not_removed_but_by_force(base: World, outside: Outside) -> None:
    base.call("connector.set", name="crm", account="acme", url=f"{outside.url}/crm")
    run(base, "crm-user", "do: sync, connector: crm, delay: 1d")
    with pytest.raises(DripdError) as caught:
        base.call("connector.remove", name="crm", account="acme")
    assert caught.value.code == "in_use"
    assert "crm-user" in str(caught.value)
    answer = base.call("connector.remove", name="crm", account="acme", force=True)
    assert answer["campaigns"] == ["crm-user"]
    base.advance("1d")
    held = base.run("crm-user", "crm-user")
    assert (held["status"], held["hold_reason"]) == ("held", "connector_missing")
    assert outside.to("/crm") == []
    base.call("connector.set", name="crm", account="acme", url=f"{outside.url}/crm")
    base.tick()
    assert len(outside.to("/crm")) == 1
    assert base.run("crm-user", "crm-user")["status"] == "completed"


@pytest.mark.feature("C32")
def test_whoever_has_a_handle_is_followed(base: World, outside: Outside) -> None:
    base.call("connector.set", name="twitter", account="acme", url=f"{outside.url}/twitter")
    follow = "do: social_follow, network: twitter"
    run(base, "known", follow, attrs='{"first_name": "Ann", "twitter": "@ann"}')

    (body,) = outside.to("/twitter")
    assert (body["action"], body["handle"]) == ("follow", "@ann")
    assert outcomes(base, "known") == [("done", None), ("done", None)]
    outside.answers["/twitter"] = [(404, b"")]
    run(base, "unfound", follow)
    assert outside.to("/twitter")[-1]["action"] == "lookup"
    assert outcomes(base, "unfound") == [("skipped", "no_handle"), ("done", None)]
    outside.answers["/twitter"] = [(200, b'{"handle": "@found"}')]
    run(base, "found", follow)
    assert [body["action"] for body in outside.to("/twitter")[-2:]] == ["lookup", "follow"]
    assert outside.to("/twitter")[-1]["handle"] == "@found"
    assert outcomes(base, "found") == [("done", None), ("done", None)]


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/",
        "https://169.254.169.254/",
        "https://10.0.0.1/",
        "https://localhost:22/",
    ],
)
def test_an_address_that_is_not_public_is_no_connector(base: World, url: str) -> None:
    with pytest.raises(DripdError) as caught:
        base.call("connector.set", name="evil", account="acme", url=url)
    assert caught.value.exit_code == 2
    with pytest.raises(DripdError, match="no reference"):
        base.call(
            "connector.set",
            name="evil",
            account="acme",
            url="https://crm.example.com/",
            secret="inline",
        )


def test_a_name_that_leads_inside_is_never_called(base: World, outside: Outside) -> None:
    before = len(outside.asked)
    port = outside.url.rpartition(":")[2]
    base.sql(
        "INSERT INTO dripd.connector SELECT id, 'inside', $1 FROM dripd.account WHERE key = 'acme'",
        f"https://localhost:{port}/inside",
    )
    run(base, "inside", "do: sync, connector: inside")
    assert base.run("inside", "inside")["hold_reason"] == "step_failed"
    assert len(outside.asked) == before


def test_a_step_that_calls_nothing_known_is_a_fault(base: World) -> None:
    text = "{campaign: x, account: acme, name: x, steps: [{key: a, do: sync, connector: teleport}]}"
    answer = base.call("campaign.validate", documents=[{"filename": "a", "text": text}])
    assert [fault["code"] for fault in answer["items"][0]["faults"]] == ["unknown_connector"]
