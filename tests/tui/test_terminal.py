"""The console as it runs: on a pty, against a real daemon, with signals and hostile data."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.world import World
from tests.tui.corpus import CORPUS
from tests.tui.terminal import PATIENCE_S, Terminal

ESCAPES = re.compile(r"\x1b\](?!22;)[^\x07\x1b]*|\x1b[PX^_]|[\x80-\x9f]")
"""Commands beyond colours and places: titles, clipboard, device control, C1; but for the
pointer's shape (22), which Textual sets itself."""


def start(
    world: World,
    *args: str,
    size: tuple[int, int] = (80, 24),
    controls: bool = True,
    **environment: str,
) -> Terminal:
    args = ("console", "--socket", str(world.socket), *args)
    return Terminal(args, size, environment, controls=controls)


def test_it_shows_the_deployment_and_leaves_the_terminal_as_it_was(world: World) -> None:
    with start(world) as terminal:
        shown = terminal.until("WHAT IS HOLDING MAIL BACK")
        assert "|RUN|1 node|" in shown
        terminal.key("4")
        terminal.until("waiting")
        terminal.key("q")
        terminal.key("q")

        assert terminal.end() == 0
        assert terminal.is_whole


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_the_terminal_whole(
    world: World, how: signal.Signals
) -> None:
    with start(world) as terminal:
        terminal.until("SENT/s")

        assert terminal.end(how) == 128 + how
        assert terminal.is_whole


def test_a_closed_ssh_ends_it(world: World) -> None:
    with start(world) as terminal:
        terminal.until("SENT/s")
        terminal.hang_up()

        assert terminal.end() == 128 + signal.SIGHUP


def test_a_terminal_that_is_gone_without_a_word_ends_it(world: World) -> None:
    with start(world, controls=False) as terminal:
        terminal.until("SENT/s")
        terminal.hang_up()

        assert terminal.end() == 128 + signal.SIGHUP


def test_a_terminal_that_nobody_reads_does_not_keep_it(world: World) -> None:
    with start(world) as terminal:
        terminal.until("SENT/s")
        terminal.fill("31")
        terminal.process.send_signal(signal.SIGTERM)

        assert terminal.process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_ctrl_c_twice_leaves(world: World) -> None:
    with start(world) as terminal:
        terminal.until("SENT/s")
        terminal.send(b"\x03")
        terminal.until("leaves the console")
        terminal.send(b"\x03")

        assert terminal.end() == 0


def test_it_follows_the_size_of_the_terminal(world: World) -> None:
    with start(world) as terminal:
        terminal.until("SENT/s")
        terminal.resize((40, 10))
        terminal.until("terminal too small")
        terminal.resize((120, 40))
        assert " | 1 node | " in terminal.until(
            "WHAT TO DO" if "window" in terminal.text else "1 Over"
        )


def test_a_size_of_another_moment_is_not_believed(world: World) -> None:
    with start(world, COLUMNS="200", LINES="60") as terminal:
        assert "1Ov 2Ac" in terminal.until("SENT/s")
        terminal.resize((120, 40))
        terminal.until("1 Over 2 Acct")


def test_without_colours_there_are_none(world: World) -> None:
    with start(world, NO_COLOR="1") as terminal:
        terminal.until("SENT/s")
        terminal.key("4")
        terminal.until("waiting")
        colours = re.findall(
            rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|4[0-7]|38|48|9[0-7])(?:;[0-9;]*)?m", terminal.raw
        )

        assert colours == []


def test_nothing_in_the_data_is_obeyed_by_the_terminal(world: World) -> None:
    usable = [text.encode("utf-8", "replace").decode() for text in CORPUS]
    world.account("evil")
    names = [text.replace("\0", "")[:200] for text in usable]
    world.sql(
        "INSERT INTO dripd.contact (account_id, external_id, email) "
        "SELECT a.id, k.n || k.name, k.n || '@x.test' FROM dripd.account AS a, "
        "unnest($1::text[]) WITH ORDINALITY AS k (name, n) WHERE a.key = 'evil'",
        names,
    )
    world.sql(
        "INSERT INTO dripd.task (account_id, kind, title, assignee, payload) "
        "SELECT a.id, 'general', n, n, jsonb_build_object('text', n) "
        "FROM dripd.account AS a, unnest($1::text[]) AS n WHERE a.key = 'evil'",
        names,
    )
    world.sql(
        "INSERT INTO dripd.notification (account_id, kind, recipient) "
        "SELECT a.id, 'opened', n FROM dripd.account AS a, unnest($1::text[]) AS n "
        "WHERE a.key = 'evil'",
        names,
    )
    world.sql(
        "INSERT INTO dripd.suppression (channel, address, reason) "
        "SELECT 'email', k.n || '@x.test' || left(k.name, 40), k.name "
        "FROM unnest($1::text[]) WITH ORDINALITY AS k (name, n)",
        names,
    )
    with start(world, size=(120, 40)) as terminal:
        for screen, wanted in (("5", "general"), ("0", "everywhere"), ("4", "waiting")):
            terminal.key(screen)
            terminal.until(wanted)
        terminal.key("5")
        terminal.until("general")
        for _ in CORPUS:
            terminal.send(b"\x1b[B")
            terminal.read(0.03)
            terminal.until_one_column_of("evil", right_of=100)
        terminal.key("\r")
        terminal.until("Esc goes back")
        terminal.send(b"\x1b")
        terminal.read(0.3)
        terminal.key("\t")
        terminal.until("opened")
        terminal.until("[red]not red")
        for _ in CORPUS:
            terminal.send(b"\x1b[B")
            terminal.read(0.03)
            terminal.until_one_column_of("evil", right_of=100)
        terminal.key("G")
        terminal.until("DEFRD flags")

        assert [] == ESCAPES.findall(terminal.raw.decode("utf-8", "replace"))
        assert terminal.process.poll() is None


@pytest.mark.feature("F42")
def test_what_is_unread_on_screen_is_unread_in_sql(world: World) -> None:
    world.sql(
        "INSERT INTO dripd.notification (account_id, kind, recipient) "
        "SELECT id, 'opened', 'ann' FROM dripd.account, generate_series(1, 3) "
        "WHERE key = 'acme'"
    )
    unread = "SELECT count(*) FROM dripd.notification WHERE read_at IS NULL"
    with start(world, "--screen", "inbox", size=(100, 30)) as terminal:
        terminal.until(f"UNREAD {world.one(unread)} ")
        terminal.key("\t")
        terminal.until("Notifications")
        terminal.key("/recipient=ann\r")
        terminal.until("recipient=ann")
        terminal.until("3 rows")
        terminal.send(b"\x17")
        terminal.until("[WRITE")
        terminal.key("m")
        terminal.until("is read")
        left = world.one(unread)
        terminal.until(f"UNREAD {left} " if left else "UNREAD 0")

        assert (
            world.one(
                "SELECT count(*) FROM dripd.notification WHERE recipient = 'ann' AND kind = 'opened' AND read_at IS NULL"
            )
            == 2
        )


def test_marked_contacts_are_stopped_by_a_plan(world: World) -> None:
    stopped = "SELECT count(*) FROM dripd.enrollment WHERE end_reason = 'stopped'"
    with start(
        world, "--screen", "enrollments", "--filter", "campaign=welcome status=waiting"
    ) as terminal:
        terminal.until("10 rows")
        terminal.send(b"\x17")
        terminal.until("[WRITE")
        terminal.key("  K")
        terminal.until("stop, reset contacts")
        terminal.key("\r")
        terminal.until("2 runs end as terminated")
        terminal.key("\tleft us\t")
        terminal.read(0.5)  # a dialog is deaf to what may have been typed before it was seen
        terminal.key("\r")
        terminal.until("2 changed")

        assert world.one(stopped) == 2
        assert (
            world.sql(
                "SELECT reason, result FROM dripd.admin_audit WHERE method = 'enroll.stop'"
            )[0]["reason"]
            == "left us"
        )


def test_a_sender_is_shown_by_its_address_and_paused_by_a_key(world: World) -> None:
    status = "SELECT status FROM dripd.sender WHERE address = 'hello@acme.test'"
    with start(world, "--screen", "senders", size=(100, 30)) as terminal:
        terminal.until("leaves for welcome 100%")
        terminal.send(b"\x17")
        terminal.until("[WRITE")
        terminal.key("p")
        terminal.until("held by paused: by hand")
        assert world.one(status) == "paused"
        terminal.key("z")
        terminal.until("undone: paused hello@acme.test")

    assert world.one(status) == "active"


def test_a_restart_of_the_daemon_is_survived(world: World) -> None:
    with start(world, "--screen", "nodes") as terminal:
        terminal.until("ok running")
        world.stop()
        terminal.until("NO DAEMON")
        terminal.until("running")
        world.start()
        terminal.until("LIVE")
        terminal.key("1")
        terminal.until("SENT/s")


def test_no_daemon_is_said_with_what_to_do(tmp_path: Path) -> None:
    with Terminal(["console", "--socket", str(tmp_path / "none.sock")]) as terminal:
        shown = terminal.until("dripd run")
        assert "no daemon answers on" in shown
        terminal.key("q")

        assert terminal.end() == 0


def test_what_is_no_daemon_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "odd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        with Terminal(["console", "--socket", str(path)]) as terminal:
            other, _ = listener.accept()
            other.sendall(
                b'{"jsonrpc":"2.0","method":"hello","params":{"proto":[9,0],"server":"9.9"}}\n'
            )
            shown = terminal.until("upgrade the console")

            assert "speaks protocol [9, 0]" in shown
            other.close()


def test_plain_says_what_changes_line_by_line(world: World) -> None:
    args = ["console", "--socket", str(world.socket), "--plain", "--screen", "campaigns"]
    with Terminal(args) as terminal:
        terminal.until("campaigns state ok active, campaign welcome")
        world.call("campaign.pause", key="welcome", account="acme", mode="hold")
        terminal.until("campaigns state || paused, campaign welcome")
        world.call("campaign.resume", key="welcome", account="acme")

        assert b"\x1b" not in terminal.raw
        assert terminal.end(signal.SIGINT) == 0


def test_plain_ends_with_who_reads_it(world: World) -> None:
    """Nothing changes here, so nothing is written that would fail."""
    command = [sys.executable, "-m", "dripd.cli.main", "console", "--socket", str(world.socket)]
    with subprocess.Popen(
        [*command, "--plain", "--screen", "nodes"], stdout=subprocess.PIPE
    ) as plain:
        assert plain.stdout is not None
        assert b"RUN" in plain.stdout.readline()
        plain.stdout.close()

        assert plain.wait(PATIENCE_S) == 0


def test_what_was_recorded_is_seen_again(world: World, tmp_path: Path) -> None:
    tape = tmp_path / "night.drec"
    with start(world, "--record", str(tape)) as terminal:
        terminal.until("SENT/s")
        terminal.key("3")
        terminal.until("FUNNEL welcome v1")
        terminal.until("entered 10 ")
        terminal.key("q")
        terminal.key("q")
        assert terminal.end() == 0

    with Terminal(["console", "--replay", str(tape)]) as terminal:
        terminal.until("SENT/s")
        terminal.key("3")
        terminal.until("FUNNEL welcome v1")
        terminal.until("entered 10 ")
        terminal.key("8")
        terminal.until("not on screen when it was recorded")
        terminal.key("\x17")

        assert "nothing can be changed" in terminal.until("this is a recording")


def test_a_broken_recording_is_refused(tmp_path: Path) -> None:
    odd = tmp_path / "x.drec"
    odd.write_bytes(b"no gzip")
    with Terminal(["console", "--replay", str(odd)]) as terminal:
        terminal.until("is no recording")

        assert terminal.end() != 0
