"""The triggers of the proof see what becomes of rows, and only they call it broken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from dripd.proof import witness
from tests.support.control import Control, open_control

LOGGED = """
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq, step_no, run_no,
    channel, state, attempt)
SELECT d.enrollment_id, 1, dripd.now(), dripd.now(), d.account_id, d.cv_id, 1, 0, 1, 1, 3, 1 FROM dripd.due_step AS d
"""

TAKE = "UPDATE dripd.due_step SET claim_id = {}"
END = "UPDATE dripd.run SET status = {}, ended_at = dripd.now()"

CHANGES = [
    ((TAKE.format(5), TAKE.format("NULL"), TAKE.format(6), END.format(3)), None),
    ((TAKE.format(5), TAKE.format("NULL"), TAKE.format(5)), "leased 2 times under claim 5"),
    ((LOGGED, "UPDATE dripd.step_log SET state = 1"), None),
    ((LOGGED, "UPDATE dripd.step_log SET reason = 'presumed_sent'"), None),
    ((LOGGED, "UPDATE dripd.step_log SET state = 4"), "went from 3 to 4"),
    ((LOGGED, "UPDATE dripd.step_log SET state = 1", "UPDATE dripd.step_log SET state = 3"),
     "went from 1 to 3"),
    ((LOGGED, "DELETE FROM dripd.step_log"), "went from 3 to "),
    ((END.format(3), END.format(4)), "went from 3 to 4"),
]  # fmt: skip

INSTANTS = [
    ("SELECT", None),
    ("UPDATE dripd.run SET status = 3, ended_at = dripd.now()", "1 due steps, 0 of them"),
    ("UPDATE dripd.run SET status = 3, ended_at = dripd.now(); "
     "UPDATE dripd.due_step SET attempt = -1, claim_id = 1", None),
    ("DELETE FROM dripd.due_step", "has no due step"),
    ("DELETE FROM dripd.run", "1 due steps"),
]  # fmt: skip


def watched(pg_dsn: str, play: Callable[[Control], Awaitable[None]], look: str) -> list[str]:
    """What *look* says after *play* in a database with one live run."""
    found: list[str] = []

    async def main() -> None:
        async with open_control(pg_dsn) as control:
            await control.furnish("c1")
            await control.start("c1")
            await control.desk.run(lambda conn: conn.execute(witness.SET_UP))
            await play(control)
            found.extend(row["found"] for row in await control.rows(look))

    trio.run(main)
    return found


@pytest.mark.parametrize(("statements", "told"), CHANGES)
def test_a_change_that_must_not_be_is_seen(
    pg_dsn: str, statements: tuple[str, ...], told: str | None
) -> None:
    async def play(control: Control) -> None:
        for statement in statements:
            await control.desk.run(lambda conn, text=statement: conn.execute(text))

    found = watched(pg_dsn, play, witness.BROKEN)

    assert ([] if told is None else [True]) == [told in one for one in found]


@pytest.mark.parametrize(("statement", "told"), INSTANTS)
def test_what_must_not_be_at_any_instant_is_seen(
    pg_dsn: str, statement: str, told: str | None
) -> None:
    async def play(control: Control) -> None:
        await control.desk.run(lambda conn: conn.execute(statement))

    found = watched(pg_dsn, play, witness.LIVE)

    assert ([] if told is None else [True]) == [told in one for one in found]
