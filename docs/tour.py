"""How does the console look? Runs it over a small deployment and writes `guide/tour.rst`.

`python docs/tour.py` in a checkout: an embedded Postgres, a daemon on the manual clock, three
accounts with replies, bounces and addresses that fail; the real program in a terminal emulator
of 80x24, for some screens of 100x30. It records `tour.drec` on the way.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dripd.daemon.demo import ACCOUNTS, REMINDER, TROUBLE, WELCOME  # noqa: E402
from dripd.store import embedded, migrate  # noqa: E402
from tests.stories.world import World  # noqa: E402
from tests.tui.terminal import Terminal  # noqa: E402

PAGE = ROOT / "docs" / "guide" / "tour.rst"
TAPE = ROOT / "docs" / "tour.drec"

SMALL, LARGE = (80, 24), (100, 30)

HEAD = """\
The console, a tour
===================

``dripd console`` talks to the daemon's socket and nothing else, so it needs no secrets and works
over ssh. It only looks until ``ctrl+w``; ``?`` explains every key and every figure of a screen.
The pictures are of the real program, made by ``docs/tour.py``; ``dripd console --replay
docs/tour.drec`` shows some of them moving; REC says that the console was recorded meanwhile.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A picture of the tour: the keys that lead there from the one before, and what then stands
    on the screen."""

    title: str
    said: str
    keys: str
    wanted: str
    sizes: tuple[tuple[int, int], ...] = (SMALL,)


STOPS = (
    Stop(
        title="Overview", keys="1", wanted="WHAT IS HOLDING MAIL BACK", sizes=(SMALL, LARGE),
        said="How much leaves, how late, and what holds the rest back, with what to do about it. "
        "Enter lists whom a hold concerns; s lets an alert rest; P pauses all sending, by a plan.",
    ),
    Stop(
        title="Accounts", keys="2", wanted="today 2026", sizes=(SMALL, LARGE),
        said="Tenants with what has left today of how much may, and what holds most of the rest; Tab "
        "shows their senders. p pauses or resumes the one under the cursor, z undoes it.",
    ),
    Stop(
        title="Senders", keys="\t", wanted="leaves for welcome", sizes=(SMALL, LARGE),
        said="The other tab of accounts: how fast each goes of how fast it may, what it has left of its day, "
        "how much of it failed within the hour, and what holds it and until when: a gap, a breaker, too many "
        "bounces. Beneath, what waits for it and what went wrong last. x has a provider whose breaker is open "
        "tried at once.",
    ),
    Stop(
        title="Campaigns", keys="3", wanted="FUNNEL welcome", sizes=(SMALL, LARGE),
        said="Every campaign, and the funnel of the one under the cursor: who stands at each step "
        "now, who has moved on, what was skipped, failed, sent. v turns from all versions to each, "
        "Enter lists who is at a step.",
    ),
    Stop(
        title="Enrollments", keys="4/account=zen status=waiting\r", wanted="|| due",
        said="Where everybody stands. Beneath the list: every gate before the next step, and when "
        "it will go; i plays the run on. / filters, Tab completes.",
    ),
    Stop(
        title="A contact's timeline", keys="\r", wanted="step_done",
        said="What happened, and what came in. Esc goes back.",
    ),
    Stop(
        title="Inbox", keys="\x1b5", wanted="custom", sizes=(SMALL, LARGE),
        said="Tasks and approvals that wait for a person, what waits for each, and how late the oldest "
        "is; n lets one rest until somebody can do it. Tab shows notifications with their read state, the "
        "same as in SQL.",
    ),
    Stop(
        title="Deliveries", keys="6", wanted="RESULT 1m", sizes=(SMALL, LARGE),
        said="The live tail of attempts, how much of them it shows, how quick providers are and what they "
        "answered in the last minute. Space freezes it and counts what comes meanwhile; f shows only what "
        "was not accepted.",
    ),
    Stop(
        title="Failures", keys="7", wanted="reaches them once",
        said="What waits for somebody, by cause. What was refused before it was accepted is safe to "
        "retry, and r retries nothing else; what may have been delivered is UNSAFE, and only by typing that. "
        "Space marks several groups for one plan.",
    ),
    Stop(
        title="Nodes", keys="8", wanted="next 48 h", sizes=(SMALL, LARGE),
        said="The daemons on this database, their clocks and connections, what comes up in the next "
        "minute, hour and two days, and what befell their leases: late heartbeats, accounts that moved, steps "
        "of dead daemons that were taken over.",
    ),
    Stop(
        title="Events", keys="9", wanted="KIND",
        said="What contacts did, as it comes in, what was changed by hand and which calls were refused; a "
        "shows the audit alone, of everything that was ever changed by hand.",
    ),
    Stop(
        title="Suppressions", keys="0", wanted="bounce",
        said="Whom nobody may reach. = looks up one address exactly, i imports a file after saying what "
        "of it is new; w writes any list to a file.",
    ),
    Stop(title="Logs", keys="L", wanted="EVENT", said="The daemon's last lines; + shows only worse, m marks one to find it again."),
    Stop(
        title="Pausing everything", keys="1\x17P", wanted="PAUSE ALL SENDING on",
        said="A wide action is bound to a plan that the daemon made: it touches exactly what is "
        "shown, within 120 seconds, and needs a reason and the deployment's name. The focus is on "
        "Cancel.",
    ),
    Stop(
        title="Commands by name", keys="\x1b:", wanted="screen 1",
        said="Everything has a name; what cannot be done now says why.",
    ),
    Stop(title="Help", keys="\x1b?", wanted="keys here", said="Every key and every figure of the screen."),
)  # fmt: skip


def main() -> None:
    os.environ |= {"DRIPD_DAEMON__ENV": "prod-eu", "DRIPD_DAEMON__NODE": "mail-1"}
    with tempfile.TemporaryDirectory(prefix="dripd-tour-") as folder:
        state = Path(folder)
        dsn = embedded.up(state)
        try:
            migrate.migrate(dsn)
            with World(dsn, state) as world:
                furnish(world)
                TAPE.unlink(missing_ok=True)
                PAGE.write_text(HEAD + pictures(world), encoding="utf-8")
        finally:
            embedded.destroy(state)


def furnish(world: World) -> None:
    """Three accounts, three days: what `dripd demo` tells, told to the same words every time."""
    world.sql(TROUBLE)
    for key, plan, zone, n in ACCOUNTS:
        if key != "acme":
            world.account(key, zone=zone, plan=plan)
        world.sql("UPDATE dripd.account SET plan = $2 WHERE key = $1", key, plan)
        world.bucket("trial", account=key)
        for text in (WELCOME, REMINDER):
            world.apply(text.format(account=key), key)
        names = [f"c{one}" for one in range(n)]
        world.sql(
            "INSERT INTO dripd.contact (account_id, external_id, email, phone, attrs) "
            "SELECT id, c, c || '@' || $1 || '.test', '+4930' || lpad(n::text, 6, '0'), "
            """jsonb_build_object('first_name', (ARRAY['Ann','Ben','Cem','Dora','Eve'])[1 + n % 5]) """
            "FROM dripd.account, unnest($2::text[]) WITH ORDINALITY AS u (c, n) WHERE key = $1",
            *(key, names),
        )
        world.enroll("welcome", *names, account=key)
    world.advance("1d")
    world.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind) "
        "SELECT account_id, id, CASE WHEN enrollment_id % 27 = 0 THEN 'bounce' ELSE 'reply' END "
        "FROM dripd.delivery WHERE enrollment_id % 9 = 0 AND state = 'accepted' AND channel = 'email'"
    )
    world.advance("2d")
    world.call("account.pause", key="brew")
    world.at("2026-01-08T12:30:00Z")


def pictures(world: World) -> str:
    text = ""
    with console(world, SMALL, "--record", str(TAPE)) as small, console(world, LARGE) as large:
        for stop in STOPS:
            text += f"{stop.title}\n{'-' * len(stop.title)}\n\n{stop.said}\n\n"
            for size, terminal in ((SMALL, small), (LARGE, large)):
                shown = picture(terminal, stop)
                if size in stop.sizes:
                    text += (
                        f".. code-block:: text\n   :caption: {size[0]}x{size[1]}\n\n{shown}\n\n"
                    )
        small.key("\x11")
        small.end()
    return text


def console(world: World, size: tuple[int, int], *args: str) -> Terminal:
    return Terminal(["console", "--socket", str(world.socket), *args], size)


def picture(terminal: Terminal, stop: Stop) -> str:
    """The screen after the keys of *stop*, as an indented block."""
    terminal.until("LIVE")
    for part in stop.keys:
        terminal.send(part.encode())
        terminal.read(0.3)
    terminal.until(stop.wanted)
    terminal.read(1.5)
    return "\n".join(f"   {row}".rstrip() for row in terminal.text.split("\n"))


if __name__ == "__main__":
    main()
