"""Runs over the socket: ask for them and wait for the answer, explain, release, skip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.clock import format_instant
from dripd.daemon.control_explain import explain
from dripd.daemon.control_room import Room
from dripd.daemon.control_sender import SHUT, why_shut
from dripd.engine.individual import Wish, state_of
from dripd.errors import Conflict
from dripd.forecast.play import Played, play
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, shown
from dripd.store.desk_enrollment import Holders, list_held, show_run
from dripd.store.desk_explain import read_busy, read_queued, read_timeline, read_waits
from dripd.store.desk_find import find_person, find_run
from dripd.store.desk_request import add_requests, import_requests, read_decisions
from dripd.store.desk_run import (
    move_runs,
    release_runs,
    reset_runs,
    skip_runs,
    stop_runs,
    waiting_versions,
)
from dripd.store.desk_snapshot import read_snapshot

PLAYED: Final = 5
"""Runs of a contact whose next step is played through; the others are told by their gates."""

PATIENCE_S: Final = 5
"""Real time that `enroll add` waits for decisions; what is undecided then is `pending`."""

STANDS: Final = (
    "status", "end_reason", "ended_at", "step_key", "due_at", "hold_reason", "release_at",
)  # fmt: skip
"""Columns of `enrollment` that tell how a run stands after it was played."""

LOOK_S: Final = 0.02
"""Between two looks at them: a hundredth of what a person notices, five of what admit takes."""


class RunControl:
    """The handlers of `enroll.*`, `contact.explain timeline send`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        room = self._room
        return {
            "enroll.add": self.add,
            "enroll.import": self.import_,
            "enroll.list": self.list,
            "enroll.show": room.reading(show_run),
            "enroll.explain": self.explain,
            "enroll.simulate": self.simulate,
            "enroll.stop": room.changing(stop_runs, wide=True),
            "enroll.reset": room.changing(reset_runs, wide=True),
            "enroll.move": room.changing(move_runs, wide=True),
            "enroll.skip": self.skip,
            "enroll.due_now": self.due_now,
            "contact.explain": self.explain,
            "contact.timeline": room.reading(read_timeline),
            "contact.send": self.send,
        }

    async def list(self, _call: Call, args: p.EnrollList) -> Result:
        """Runs with the `node` that has each one's step in hand, or serves its account."""
        found, holders = await self._room.desk.run(list_held, args)
        items: Any = found["items"]
        return {**found, "items": [{**row, "node": self._node(row, holders)} for row in items]}

    def _node(self, row: Row, holders: Holders) -> str | None:
        node = holders.of.get(row["id"])
        if node is None and row["ended_at"] is None:
            node = self._room.hooks.server_of(row["account_id"])
        return None if node is None else holders.names.get(node)

    async def add(self, call: Call, args: p.EnrollAdd) -> Result:
        wide = args.backfill is not None
        done = await self._room.perform(add_requests, call, args, wide=wide)
        return await self._decided(call, done)

    async def import_(self, call: Call, args: p.EnrollImport) -> Result:
        return await self._decided(call, await self._room.perform(import_requests, call, args))

    async def _decided(self, call: Call, result: Result) -> Result:
        """*result* once its requests are decided, or after `PATIENCE_S`."""
        items: Any = result["items"]
        waiting = {item["request_id"]: item for item in items if "request_id" in item}
        if call.dry_run:
            return result
        with trio.move_on_after(PATIENCE_S):
            while waiting:
                rows = await self._room.desk.run(read_decisions, list(waiting))
                for one, row in rows.items():
                    if row["status"] != "pending":
                        _settle(waiting.pop(one), row)
                if waiting:
                    await trio.sleep(LOOK_S)  # noqa: TID251 - the decision is a row, it cannot wake us
        if items:
            result["changed"] = sum(item["ok"] is True for item in items)
        return result

    async def explain(self, _call: Call, args: p.EnrollKey | p.ContactKey) -> Result:
        rows = await self._room.desk.run(read_waits, args)
        hooks = self._room.hooks
        found = [explain(row, hooks.holidays, hooks.margin()) for row in rows]
        for row, one in zip(rows, found, strict=True):
            await self._name_senders(row, one)
        for row, one in list(zip(rows, found, strict=True))[:PLAYED]:
            if one["chain"] and one["ready_at"] is not None:
                one["ready_at"] = await self._ready(row) or one["ready_at"]
        queued = await self._room.desk.run(read_queued, args)
        return {"enrollments": found, "queued": queued}

    async def _name_senders(self, row: Row, one: dict[str, Any]) -> None:
        """Say at the gates of senders which of them, and until when."""
        for gate in one["chain"]:
            if gate["gate"] in SHUT and row["channel"] is not None:
                gate["detail"] = await why_shut(self._room, row, gate["gate"])

    async def _ready(self, row: Row) -> str | None:
        """When the engine would perform the step, with all that competes for the day."""
        snapshot = await self._room.desk.run(
            read_snapshot, row["account_id"], row["contact_id"], row["enrollment_id"], []
        )
        if not snapshot.competes:
            return None
        played = await play(snapshot, row["enrollment_id"], margin=self._room.hooks.margin())
        return format_instant(played.steps[0].at) if played.steps else None

    async def simulate(self, _call: Call, args: p.EnrollKey) -> Result:
        """What the run would do from now on, if nobody answered and every provider accepted."""
        run = await self._room.desk.run(find_run, args.enrollment)
        snapshot = await self._room.desk.run(
            read_snapshot, run["account_id"], run["contact_id"], args.enrollment, []
        )
        played = Played()
        if run["ended_at"] is None:
            played = await play(snapshot, args.enrollment, margin=self._room.hooks.margin())
        stands = played.stands or run
        return {
            "enrollment_id": args.enrollment,
            "campaign_key": run["campaign_key"],
            "as_of": format_instant(snapshot.now),
            "whole": snapshot.whole,
            "steps": [
                {
                    "step_key": step.key, "kind": step.kind, "outcome": step.outcome,
                    "reason": step.reason, "at": format_instant(step.at), "sent": step.sent,
                }
                for step in played.steps
            ],
            **shown({name: stands[name] for name in STANDS}),
        }  # fmt: skip

    async def skip(self, call: Call, args: p.Selection) -> Result:
        cv_ids = await self._room.desk.run(waiting_versions, args)
        judge = await self._room.hooks.judge(cv_ids)
        return await self._room.perform(skip_runs, call, args, judge)

    async def due_now(self, call: Call, args: p.Selection) -> Result:
        cv_ids = await self._room.desk.run(waiting_versions, args)
        judge = await self._room.hooks.judge(cv_ids)
        return await self._room.perform(release_runs, call, args, judge)

    async def send(self, call: Call, args: p.ContactSend) -> Result:
        """One message by hand: first the audit row, then the message."""
        found: Any = await self._room.perform(_aim, call, args)
        wish = Wish(
            account_id=found["account_id"],
            contact_id=found["contact_id"],
            channel=args.channel,
            sender=args.sender or "",
            subject=args.subject,
            text=args.text,
            html=args.html,
            requested_by=call.actor,
        )
        filled = await self._room.hooks.fill_individual(wish)
        if call.dry_run:
            said = {name: getattr(filled, name) for name in ("subject", "text", "html")}
            return {"delivery_id": None, "warning": found["warning"], **said}
        delivery_id, outcome = await self._room.hooks.send_individual(filled)
        state, _, reason = state_of(outcome)
        return {
            "delivery_id": delivery_id,
            "state": state,
            "reason": reason,
            "warning": found["warning"],
        }


def _settle(item: dict[str, object], row: Mapping[str, Any]) -> None:
    item |= {
        "status": row["status"],
        "reject_reason": row["reject_reason"],
        "enrollment_id": row["enrollment_id"],
        "ok": row["status"] == "accepted",
    }
    if row["status"] != "accepted":
        item["code"] = row["reject_reason"]


async def _aim(conn: Conn, _call: Call, args: p.ContactSend) -> Deed:
    """Whom an individual message is for, and whether a campaign writes to the contact too.

    Raises `Conflict` `already_in:KEY` where that campaign forbids it.
    """
    row = await find_person(conn, args.contact, args.account)
    busy = await read_busy(conn, row, args.channel)
    warning = None
    if busy is not None:
        warning = f"the contact is in campaign {busy['campaign_key']!r}"
        if busy["next_send_at"] is not None:
            warning += f", which comes up next at {format_instant(busy['next_send_at'])}"
        if busy["individual"] == "block":
            raise Conflict(warning, code=f"already_in:{busy['campaign_key']}",
                hint="its policy `individual: block` forbids it while the run lives")  # fmt: skip
    return Deed(
        result={"account_id": row["account_id"], "contact_id": row["id"], "warning": warning},
        accounts=(row["account_id"],),
        target=f"contact {row['id']}",
        detail={"channel": args.channel},
    )
