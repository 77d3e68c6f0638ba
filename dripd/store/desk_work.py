"""What waits for a person, and what was sent: tasks, notices, deliveries, dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.enrollment import RunStatus
from dripd.campaigns.parse import read
from dripd.campaigns.sms import segments
from dripd.campaigns.template import Kind, compile_template
from dripd.errors import BadRequest, Conflict, NotFound, TemplateError
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, cursor_of, page, read_cursor, shown
from dripd.store.desk_find import account_id, find_campaign
from dripd.store.desk_pick import confirm
from dripd.store.desk_run import Judge, release, stop_rows
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


LOOKED = 500
"""Held runs that a console's groups are made of, the latest ones: some 40 ms."""

DRAFTED = frozenset({"approval", "manual_email"})
"""Tasks whose payload is a draft."""

KINDS: Mapping[str, Kind] = {"subject": "header", "text": "text", "html": "html"}
"""What each part of a draft is."""


async def edit_task(conn: Conn, call: Call, args: p.TaskEdit) -> Deed:
    """Change the draft of an open task; the template stays as it is.

    New text without html of its own goes alone: most readers would be shown the old words.
    """
    old = await _lock_task(conn, args.id)
    if old["state"] != "open":
        raise Conflict(f"task {args.id} is {old['state']}", hint="only an open one is edited")
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
    old = await _lock_task(conn, args.id)
    if old["state"] != "open":
        raise Conflict(f"task {args.id} is {old['state']}", hint="only an open one is assigned")
    changed = old["assignee"] != args.to
    row = await conn.fetchrow(sql("assign_task"), old["account_id"], args.id, args.to)
    return _task_deed(row, old, changed=changed)


async def _lock_task(conn: Conn, task: int) -> Row:
    row: Row | None = await conn.fetchrow(sql("lock_task"), task)
    if row is None:
        raise NotFound(f"there is no task {task}", hint="dripd task list")
    return row


def _task_deed(row: Row, old: Row, *, changed: bool) -> Deed:
    """*old* is what `expect` is held to: the state, the assignee, the draft's digest."""
    return Deed(
        before={name: old[name] for name in ("state", "assignee", "draft")},
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


async def list_dead(conn: Conn, args: p.DeadList) -> Result:
    """Groups of runs that are held by themselves and wait for somebody, the largest first."""
    (start,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    campaign = None
    if args.campaign is not None:
        campaign = (await find_campaign(conn, args.campaign, args.account))["id"]
    looked = LOOKED if args.quick else 1_000_000
    rows = await conn.fetch(sql("list_dead"), account, campaign, start, args.limit + 1, looked)
    groups, more = rows[: args.limit], rows[args.limit :]
    following = cursor_of({"n": start + args.limit}, ("n",)) if more else None
    some = [(row["account_id"], one) for row in groups for one in row["sample"]]
    told = await conn.fetch(
        sql("sample_dead"), [account for account, _ in some], [one for _, one in some]
    )
    known = {row["enrollment_id"]: shown(row) for row in told}
    return {
        "items": [
            {**shown(row), "sample": [known[one] for one in row["sample"] if one in known]}
            for row in groups
        ],
        "next": following,
    }


async def dead_versions(conn: Conn, args: p.DeadPick) -> list[int]:
    """The versions of the runs that are meant: what a `Judge` must know."""
    return sorted({row["cv_id"] for row in await _dead(conn, args)})


async def retry_dead(conn: Conn, call: Call, args: p.DeadRetry, judge: Judge) -> Deed:
    """Let held steps come up again now, with a fresh count of attempts."""
    rows = await _dead(conn, args)
    if args.safe:
        rows = _safe(rows)
    confirm(call, len(rows), "steps would be tried again")
    answers = await release(conn, rows, judge, call.actor)
    items: list[Result] = [
        {"enrollment_id": row["id"], "ok": True, **answer} for row, answer in answers
    ]
    changed = sum(answer["changed"] for _, answer in answers)
    await conn.execute(sql("look_again"), _accounts(rows))
    return _dead_deed(args, rows, changed, items)


async def discard_dead(conn: Conn, call: Call, args: p.DeadPick) -> Deed:
    """End held runs as terminated, `stopped`."""
    rows = await _dead(conn, args)
    confirm(call, len(rows), "runs would be ended")
    ended = await stop_rows(conn, rows, RunStatus.TERMINATED, "stopped", call.actor)
    items: list[Result] = [
        {"enrollment_id": row["id"], "ok": row["id"] in ended} for row in rows
    ]
    return _dead_deed(args, rows, len(ended), items)


async def _dead(conn: Conn, args: p.DeadPick) -> list[Row]:
    if (args.group is None) == (not args.enrollment):
        raise BadRequest("name a group, or --enrollment ENR", path="group")
    account = await account_id(conn, args.account)
    rows: list[Row] = await conn.fetch(
        sql("pick_dead"), account, args.group, list(args.enrollment) or None
    )
    if not rows:
        raise NotFound("nothing of that is held", hint="dripd dead list")
    return rows


def _safe(rows: Sequence[Row]) -> list[Row]:
    """Those of *rows* that nobody can have received. Raises `Conflict` if there is none."""
    found = [row for row in rows if row["retry"] == "safe"]
    if found:
        return found
    if any(row["retry"] == "unsafe" for row in rows):
        raise Conflict(
            "it may have been delivered: a retry may reach them twice",
            hint="look at the deliveries first; without --safe it is tried all the same",
        )
    raise Conflict(
        "a retry will fail again until its cause is mended",
        hint="mend it; without --safe it is tried all the same",
    )


def _accounts(rows: Sequence[Row]) -> list[int]:
    return sorted({row["account_id"] for row in rows})


def _dead_deed(
    args: p.DeadPick, rows: Sequence[Row], changed: int, items: list[Result]
) -> Deed:
    absent = sorted(set(args.enrollment) - {row["id"] for row in rows})
    items += [
        {"enrollment_id": one, "ok": False, "code": "not_found", "message": "it is not held"}
        for one in absent
    ]
    return Deed(
        result={"changed": changed, "items": items[:1000]},
        accounts=tuple(_accounts(rows)),
        target=args.group or "enrollments",
        detail={"n": changed},
        ids=[row["id"] for row in rows],
    )
