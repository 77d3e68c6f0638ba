"""No secret of the configuration is to be found anywhere but in its own file.

Every kind of provider is met with failures of every sort, at log level debug; then all that
dripd has written, said or answered is searched for every secret, in every form in which it
travels.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from dripd.errors import DripdError
from tests.stories.test_erasure import COLUMNS
from tests.stories.test_in_doubt import Sink, sink
from tests.stories.world import World, until

__all__ = ["sink"]  # a fixture

KINDS: dict[str, dict[str, str]] = {
    "smtp": {"password": "secret", "username": "user", "starttls": "never"},
    "sendgrid": {"api_key": "secret"},
    "ses": {
        "access_key": "secret",
        "secret_key": "secret",
        "session_token": "secret",
        "region": "eu-central-1",
    },
    "postmark": {"server_token": "secret"},
    "mailgun": {"api_key": "secret", "domain": "acme.test"},
    "resend": {"api_key": "secret"},
    "twilio": {"auth_token": "secret", "account_sid": "AC1"},
    "webhook": {"signing_secret": "secret"},
    "slack": {"bot_token": "secret", "channel": "#sales"},
}
"""Options of each kind; `secret` stands for one that is made for it."""

FAILURES = {
    "refused": "{url}/plain/@refuse_401",
    "broken": "{url}/plain/@accept_500",
    "garbage": "{url}/plain/@accept_garbage",
    "closed": "{url}/plain/@accept_close",
    "moved": "{url}/plain/@refuse_301",
    "unreachable": "http://127.0.0.1:9",
    "no_tls": "{tls}",
}

SMTP_FAILURES = {
    "refused": "smtp://127.0.0.1:{smtp}",  # it does not know AUTH
    "unreachable": "smtp://127.0.0.1:9",
    "no_tls": "smtps://127.0.0.1:{smtp}",
}


class Vault:
    """Secrets in files of their own, each another word."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.words: dict[str, str] = {}

    def keep(self, name: str, before: str = "") -> str:
        """A reference to a new secret."""
        word = f"canary+{len(self.words):03}+{name.replace('_', '').replace('.', ''):x<16}"
        made = before + (b64encode(word.encode()).decode() if before else word)
        self.words[name] = made.removeprefix(before)
        path = self._folder / name
        path.write_text(made)
        path.chmod(0o600)
        return f"file:{path}"

    def found_in(self, text: str) -> set[str]:
        """The names of those that *text* holds, plainly or as they travel."""
        return {
            name for name, word in self.words.items() if any(f in text for f in forms(word))
        }


def forms(word: str) -> set[str]:
    """*word* as it is, quoted for an address, and within base64 at each of three places."""
    encoded = {b64encode(b"x" * n + word.encode()).decode()[4:-4] for n in range(3)}
    return {word, quote(word), quote(word, safe=""), *encoded}


def configuration(vault: Vault, sink: Sink) -> str:
    """Every kind of provider at every place where it fails, and all else that has secrets."""
    port, smtp = (sink.log.parent / "ports").read_text().split()
    lines = ["[log]", 'level = "debug"', "[gateway]", f'secret = "{vault.keep("gateway")}"']
    lines += ["[script.crm]", f'url = "{sink.url}/plain/@refuse_401"']
    lines += [f'secret = "{vault.keep("script", "whsec_")}"']
    for kind, options in KINDS.items():
        failures = SMTP_FAILURES if kind == "smtp" else FAILURES
        for failure, address in failures.items():
            name = f"{kind}_{failure}"
            url = address.format(url=sink.url, tls=f"https://127.0.0.1:{port}", smtp=smtp)
            lines += [f"[provider.{name}]", f'kind = "{kind}"', f'base_url = "{url}"']
            lines += ['timeout = "2s"', 'unknown_after = "1s"']
            lines += [f'webhook_secret = "{vault.keep(f"{name}.hook", "whsec_")}"']
            for option, value in options.items():
                before = "whsec_" if option == "signing_secret" else ""
                reference = vault.keep(f"{name}.{option}", before)
                lines.append(f'{option} = "{reference if value == "secret" else value}"')
    return "\n".join(lines) + "\n"


@pytest.fixture
def told(
    pg_dsn: str, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, Vault]]:
    """A daemon whose configuration is full of secrets; its database has a password too."""
    with (
        TemporaryDirectory(prefix="dripd-") as state,
        TemporaryDirectory(prefix="dripd-") as folder,
    ):
        vault = Vault(Path(folder))
        file = Path(folder) / "dripd.toml"
        file.write_text(configuration(vault, sink))
        monkeypatch.setenv("DRIPD_CONFIG", str(file))
        vault.keep("dsn")
        dsn = pg_dsn.replace("dripd@", f"dripd:{quote(vault.words['dsn'], safe='')}@", 1)
        with World(dsn, Path(state)) as world:
            yield world, vault


def fail_everywhere(world: World) -> list[object]:
    """Send by every provider; all that is answered."""
    heard: list[object] = []
    names = [
        f"{kind}_{failure}"
        for kind in KINDS
        for failure in (SMTP_FAILURES if kind == "smtp" else FAILURES)
    ]
    world.contact("c1")
    for n, name in enumerate(names):
        channel = "sms" if name.startswith("twilio") else "email"
        address = f"+1555000{n:04}" if channel == "sms" else f"{name}@acme.test"
        heard.append(ask(world, "sender.set", address=address, account="acme", channel=channel,
                         provider=name))  # fmt: skip
        to = "+4930123456" if channel == "sms" else "t@x.test"
        heard.append(ask(world, "sender.test", sender=address, account="acme", to=to))
        heard.append(ask(world, "contact.send", contact="c1", account="acme", channel=channel,
                         sender=address, subject="Hi", text="Hello"))  # fmt: skip
    return heard


def ask(world: World, method: str, **params: Any) -> object:
    """The answer, or all that there is of the error."""
    try:
        return world.call(method, **params)
    except DripdError as error:
        return [repr(error), error.message, vars(error)]


def run_through(world: World) -> None:
    """A campaign whose messages and calls fail too."""
    steps = [f"  - {{key: s{n}, do: email, sender: {name}@acme.test, subject: A, text: B}}"
             for n, name in enumerate(("sendgrid_garbage", "resend_broken", "webhook_closed",
                                       "smtp_refused", "mailgun_refused"))]  # fmt: skip
    text = "campaign: all\naccount: acme\nname: All\nsender: hello@acme.test\nsteps:\n"
    world.apply("\n".join([text + "  - {key: call, do: script, script: crm}", *steps, ""]))
    world.enroll("all", "c1")
    world.advance("5m")


READINGS = (
    "account.list", "sender.list", "delivery.list", "dead.list", "daemon.status",
    "daemon.overview", "daemon.ready", "node.list", "node.trace", "audit.list", "audit.verify",
    "enroll.list", "event.tail", "notification.list", "connector.list",
)  # fmt: skip


def all_answers(world: World) -> str:
    answers = [ask(world, method) for method in READINGS]
    answers += [ask(world, "logs.tail", limit=500)]
    answers += [ask(world, "contact.timeline", contact="c1", account="acme")]
    return json.dumps(answers, default=str)


def all_commands(world: World) -> str:
    """What commands print that read the configuration or the database themselves."""
    environment = {**os.environ, "DRIPD_DSN": world.dsn, "DRIPD_STATE": str(world.state)}
    said = ""
    for words in ("config show --json", "config show", "config check", "config schema --json",
                  "doctor --json", "db status", "status --json"):  # fmt: skip
        command = [sys.executable, "-m", "dripd.cli.main", *words.split()]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        said += done.stdout + done.stderr
    assert "provider.resend_refused.api_key" in said
    return said


def all_rows(world: World) -> str:
    """Every column of the database that holds words."""
    rows = ""
    for relation, name, binary in world.sql(COLUMNS):
        if not binary:
            found = world.column(f"SELECT string_agg({name}::text, ' ') FROM dripd.{relation}")
            rows += str(found[0] or "")
    return rows


def all_files(world: World) -> str:
    return "".join(
        one.read_text(errors="replace") for one in world.state.rglob("*") if one.is_file()
    )


def test_no_secret_is_in_any_log_answer_row_or_file(told: tuple[World, Vault]) -> None:
    world, vault = told
    heard = json.dumps(fail_everywhere(world), default=str)
    run_through(world)
    assert world.process is not None
    assert "debug" == world.call("logs.level")["level"]
    url = world.call("daemon.status")["gateway"]["url"]
    for name in ("resend_refused", "postmark_refused", "mailgun_refused", "twilio_refused"):
        answer = httpx.post(f"{url}/hooks/{name}", json={}, auth=("x", "y"), trust_env=False)
        assert 401 == answer.status_code
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        world.process.send_signal(number)
    for heard_of in ("daemon.traced", "config.reloaded"):
        until(lambda said=heard_of: said in world.log())
    metrics = world.call("daemon.status")["metrics"]["url"]
    with urllib.request.urlopen(f"{metrics}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    said = {
        "what calls answered": heard,
        "other answers": all_answers(world),
        "commands": all_commands(world),
        "the database": all_rows(world),
        "metrics": page,
        "the command line": Path(f"/proc/{world.process.pid}/cmdline").read_text(),
    }
    code = world.stop()
    said["files and logs"] = all_files(world)
    world.start()

    assert 0 == code
    assert {} == {
        place: found for place, text in said.items() if (found := vault.found_in(text))
    }
    reasons = heard + said["the database"]
    for proof in ("auth", "connect", "http_500", "lost", "redirected"):
        assert proof in reasons, proof
    assert len(vault.words) > 100


def test_a_secret_is_known_in_every_form_in_which_it_travels(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.keep("one")
    word = vault.words["one"]
    basic = b64encode(f"api:{word}".encode()).decode()
    plain = b64encode(f"\0user\0{word}".encode()).decode()

    for text in (word, basic, plain, f"postgresql://u:{quote(word, safe='')}@x"):
        assert {"one"} == vault.found_in(f"<{text}>")
    assert set() == vault.found_in("canary")


def test_a_start_that_fails_for_its_database_names_no_password(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "canary-of-the-dsn"
    for dsn in (
        f"postgresql://dripd:{word}@127.0.0.1:9/dripd",
        f"postgresql://dripd:{word}@127.0.0.1:notaport/dripd",
        f"postgresql://dripd:{word}@nowhere.invalid/dripd",
        f"postgresql://dripd:{word}@[::1/dripd",
        f"postgres//dripd:{word}@x/y",
        f"postgresql://dripd:{word}@127.0.0.1:9/dripd?sslmode=odd",
        f"postgresql://dripd@127.0.0.1:9/dripd?password={word}&connect_timeout=x",
        pg_dsn.replace("dripd@", f"nobody:{word}@", 1),
    ):
        with TemporaryDirectory(prefix="dripd-") as state:
            monkeypatch.setenv("DRIPD_STATE", state)
            monkeypatch.setenv("DRIPD_DSN", dsn)
            monkeypatch.setenv("DRIPD_LOG__LEVEL", "debug")
            for words in ("run", "doctor"):
                done = subprocess.run(
                    [sys.executable, "-m", "dripd.cli.main", *words.split()],
                    capture_output=True, text=True, check=False, timeout=120,
                )  # fmt: skip
                assert word not in done.stdout + done.stderr, (dsn, words)
                assert 0 != done.returncode
                assert "Traceback" not in done.stderr, (dsn, words, done.stderr)
