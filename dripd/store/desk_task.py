"""What waits for a person, and what were people told? Tasks and notices at the desk."""

from __future__ import annotations

from collections.abc import Mapping

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.parse import read
from dripd.campaigns.sms import segments
from dripd.campaigns.template import Kind, compile_template
from dripd.clock import Instant, format_instant
from dripd.errors import BadRequest, Conflict, NotFound, TemplateError
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Deed,
    Result,
    Row,
    page,
    read_cursor,
    read_duration,
    read_instant,
    read_now,
    shown,
)
from dripd.store.desk_find import account_id, find_campaign
from dripd.store.statements import sql


async def list_tasks(conn: Conn, args: p.TaskList) -> Result:
    (after,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    if args.campaign is not None:
        account = (await find_campaign(conn, args.campaign, args.account))["account_id"]
    if args.id is not None:
        after = max(after, args.id - 1)
    most = args.limit + 1 if args.id is None else 1
    rows = await conn.fetch(
        sql("list_tasks"),
        account,
        args.kind,
        args.assignee,
        args.campaign,
        args.state,
        after,
        most,
        args.snoozed,
    )
    if args.id is not None:
        rows = [row for row in rows if row["id"] == args.id]
    return page(rows, args.limit, "id")


async def finish_task(conn: Conn, call: Call, args: p.TaskDone) -> Deed:
    """The task is done; `text` is what was said or written."""
    return await _close_task(conn, call, args.id, "done", args.text)


async def approve_task(conn: Conn, call: Call, args: p.TaskKey) -> Deed:
    """The message leaves as its draft now stands."""
    old = await _lock_task(conn, args.id)
    if old["kind"] != "approval":
        raise Conflict(
            f"task {args.id} is no approval but {old['kind']}", hint="dripd task done closes it"
        )
    return await _close_task(conn, call, args.id, "done", None)


DRAFTED = frozenset({"approval", "manual_email"})
"""Tasks whose payload is a draft."""

KINDS: Mapping[str, Kind] = {"subject": "header", "text": "text", "html": "html"}
"""What each part of a draft is."""


async def edit_task(conn: Conn, call: Call, args: p.TaskEdit) -> Deed:
    """Change the draft of an open task; the template stays as it is.

    New text without html of its own goes alone: most readers would be shown the old words.
    """
    old = await _lock_open(conn, args.id, "edited")
    if old["kind"] not in DRAFTED:
        raise Conflict(f"task {args.id} has no draft to edit", hint="it is no message")
    given = {"subject": args.subject, "text": args.text, "html": args.html}
    edited = {name: value for name, value in given.items() if value is not None}
    for name, value in edited.items() if old["kind"] == "approval" else ():
        _refuse_tags(name, value)
    if args.text is not None and args.html is None and old["payload"].get("html"):
        edited["html"] = ""
    _refuse_blank(old["payload"], {**old["payload"], **edited})
    if old["kind"] == "approval" and args.text is not None:
        await _refuse_overlong(conn, old, args.text)
    changed = any(old["payload"].get(name) != value for name, value in edited.items())
    row = await conn.fetchrow(sql("edit_task"), old["account_id"], args.id, edited)
    return _task_deed(row, old, changed=changed)


def _refuse_tags(name: str, value: str) -> None:
    """A draft is filled already: a tag in it would leave as it is written."""
    try:
        slots = compile_template(value, kind=KINDS[name]).slots
    except TemplateError as error:
        raise BadRequest(error.message, path=name, hint=error.hint) from error
    if slots:
        raise BadRequest(f"{{{slots[0].written}}} would leave as it is written", path=name,
            hint="write what is to stand there: tags were filled when the draft was made")  # fmt: skip


def _refuse_blank(old: Mapping[str, object], new: Mapping[str, object]) -> None:
    """What is approved leaves as it stands: nobody is to get a message that says nothing."""
    for path, names in (("subject", ("subject",)), ("text", ("text", "html"))):
        said, says = (
            any(str(draft.get(name) or "").strip() for name in names) for draft in (old, new)
        )
        if said and not says:
            raise BadRequest(
                f"the draft would have no {path}",
                path=path,
                hint="write one, or cancel the task",
            )


async def _refuse_overlong(conn: Conn, task: Row, text: str) -> None:
    """What is approved is not edited any more: a text that would be held could only be skipped."""
    document = await conn.fetchval(
        sql("definition_of_run"), task["account_id"], task["enrollment_id"]
    )
    definition, _ = read(document)
    policy, n = definition.policy, segments(text).n
    most = policy.limits.max_sms_segments
    kinds = {step.key: step.kind for step in definition.steps}
    if kinds.get(task["step_key"]) != "sms" or policy.sms_overflow != "hold":
        return
    if most is not None and n > most:
        raise BadRequest(
            f"max_sms_segments {n}>{most}", code="max_sms_segments", path="text",
            hint="shorten the text; one emoji or curly quote halves the room",
        )  # fmt: skip


async def cancel_task(conn: Conn, call: Call, args: p.TaskKey) -> Deed:
    return await _close_task(conn, call, args.id, "cancelled", None)


async def _close_task(conn: Conn, call: Call, task: int, state: str, text: str | None) -> Deed:
    old = await _lock_task(conn, task)
    if old["state"] not in {"open", state}:
        raise Conflict(f"task {task} is {old['state']}", hint="only an open one can be closed")
    changed = old["state"] == "open"
    row = old
    if changed:
        word = "final_body" if old["kind"] == "manual_email" else "text"
        more = {} if text is None else {word: text}
        row = await conn.fetchrow(
            sql("close_task"), old["account_id"], task, state, call.actor, more
        )
    return _task_deed(row, old, changed=changed)


async def assign_task(conn: Conn, call: Call, args: p.TaskAssign) -> Deed:
    old = await _lock_open(conn, args.id, "assigned")
    changed = old["assignee"] != args.to
    row = await conn.fetchrow(sql("assign_task"), old["account_id"], args.id, args.to)
    return _task_deed(row, old, changed=changed)


async def snooze_task(conn: Conn, call: Call, args: p.TaskSnooze) -> Deed:
    """Nobody needs to look at an open task, nor is told of it, until then, or for so long.

    Raises `BadRequest` for an instant that is over, or by which its run will have gone on without it.
    """
    old = await _lock_open(conn, args.id, "snoozed")
    now = await read_now(conn)
    until = Instant(now + read_duration(args.lasts, "lasts"))
    if args.until is not None:
        until = read_instant(args.until, "until")
    if until <= now:
        raise BadRequest(f"it is {format_instant(now)} already", path="until")
    ends = await conn.fetchval(sql("wait_of_task"), old["account_id"], args.id)
    if ends is not None and until >= ends:
        raise BadRequest(
            f"its run waits for it only until {format_instant(ends)}", path="until",
            hint="an earlier instant, or decide it now",
        )  # fmt: skip
    return await _rest(conn, old, until, call.actor)


async def wake_task(conn: Conn, _call: Call, args: p.TaskKey) -> Deed:
    """Let a snoozed task be seen again."""
    old = await _lock_open(conn, args.id, "woken")
    return await _rest(conn, old, None, None)


async def _rest(conn: Conn, old: Row, until: Instant | None, by: str | None) -> Deed:
    changed = old["snoozed_until"] != until
    row = await conn.fetchrow(sql("snooze_task"), old["account_id"], old["id"], until, by)
    return _task_deed(row, old, changed=changed)


async def _lock_open(conn: Conn, task: int, done: str) -> Row:
    """An open task, locked. Raises `Conflict`: only such a one is *done*."""
    old = await _lock_task(conn, task)
    if old["state"] != "open":
        raise Conflict(f"task {task} is {old['state']}", hint=f"only an open one is {done}")
    return old


async def _lock_task(conn: Conn, task: int) -> Row:
    row: Row | None = await conn.fetchrow(sql("lock_task"), task)
    if row is None:
        raise NotFound(f"there is no task {task}", hint="dripd task list")
    return row


def _task_deed(row: Row, old: Row, *, changed: bool) -> Deed:
    """*old* is what `expect` is held to: the state, the assignee, the draft's digest, the snooze."""
    until = old["snoozed_until"]
    return Deed(
        before={
            **{name: old[name] for name in ("state", "assignee", "draft")},
            "snoozed_until": None if until is None else format_instant(until),
        },
        result={"changed": changed, **shown(row)},
        accounts=(row["account_id"],),
        target=f"task {row['id']}",
    )


async def list_notifications(conn: Conn, args: p.NotificationList) -> Result:
    (after,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    rows = await conn.fetch(
        sql("list_notifications"), account, args.recipient, args.unread, after, args.limit + 1
    )
    return page(rows, args.limit, "id")


async def read_notification(conn: Conn, call: Call, args: p.TaskKey) -> Deed:
    row = await conn.fetchrow(sql("read_notification"), args.id)
    if row is None:
        raise NotFound(f"there is no notification {args.id}", hint="dripd notification list")
    return Deed(
        result={"changed": row["changed"], "id": args.id},
        accounts=(row["account_id"],),
        target=f"notification {args.id}",
    )
