"""Campaign files at the desk: what the account knows, drafts, versions.

Reading and judging a file takes long and is done elsewhere (`dripd.daemon.control_file`);
what stands here runs under the campaign's row lock and only compares and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dripd.admin.messages import Call
from dripd.campaigns.definition import Content, Definition, Match
from dripd.campaigns.enrollment import RunStatus
from dripd.campaigns.known import Known
from dripd.campaigns.migration import Migration, read_map
from dripd.campaigns.settings import parse_window
from dripd.campaigns.window import WindowSpec
from dripd.errors import Conflict, DefinitionError, DripdError
from dripd.store.connect import Conn
from dripd.store.desk_attach import refuse_unattached
from dripd.store.desk_deed import Deed, Result, Row
from dripd.store.desk_find import find_account, find_campaign, lock_campaign
from dripd.store.desk_migrate import migrate_runs
from dripd.store.desk_pick import Picked
from dripd.store.desk_role import refuse_stranger, refuse_viewer
from dripd.store.desk_run import stop_rows
from dripd.store.statements import sql

Raw = Mapping[str, object]
Words = Mapping[str, Mapping[str, str]]

FIELD_ROUNDS = 60
"""Looks at contacts for attrs keys not seen yet; each brings the keys of 200 contacts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A campaign with its live definition and its draft; None where there is none.

    `shared` are the account's templates as the live version keeps them.
    """

    row: Row | None
    live: Raw | None
    draft: Raw | None
    n_live: int
    shared: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A draft that has been judged: what becomes the next version, and how.

    `raw` is the draft that was judged; another one in its place refuses, as `Outdated`.
    `locked`: live runs forbid it. `warnings` are handed through to the reply.
    """

    key: str
    account: str
    raw: Raw
    definition: Definition
    inflight: Literal["pin", "terminate", "migrate"]
    locked: bool
    migration: Migration | None = None
    activate: bool = False
    warnings: Sequence[Result] = ()


class Outdated(DripdError):
    """The draft was replaced while it was judged; judge again."""

    code = "outdated"


async def read_known(conn: Conn, keys: Sequence[str]) -> dict[str, Known]:
    """What the accounts *keys* have, for `validate`; an account that is not there is left out."""
    found: dict[str, Known] = {}
    for key in keys:
        account = await conn.fetchrow(sql("find_account"), key)
        if account is not None:
            found[key] = await _known(conn, account)
    return found


async def _known(conn: Conn, account: Row) -> Known:
    facts = await conn.fetchrow(sql("read_known"), account["id"])
    features = facts["features"]
    return Known(
        fields=frozenset(await read_fields(conn, account["id"])),
        field_types=facts["fields"],
        lists=facts["lists"],
        senders=facts["senders"],
        providers=facts["providers"],
        features=None if features is None else frozenset(features),
        campaigns=facts["campaigns"],
        closed=facts["closed"],
        movers=facts["movers"],
        postal_address=bool(account["postal_address"]),
        connectors=frozenset(facts["connectors"]),
        templates={key: Content(**one) for key, one in facts["templates"].items()},
        window=_window(account["send_window"]),
    )


async def read_fields(conn: Conn, account: int) -> set[str]:
    """Every attrs key that a contact of the account carries, without reading them all twice."""
    seen: set[str] = set()
    for _ in range(FIELD_ROUNDS):
        rows = await conn.fetch(sql("find_more_fields"), account, sorted(seen))
        if not rows:
            break
        seen.update(row["key"] for row in rows)
    return seen


def _window(value: object) -> WindowSpec | None:
    if not isinstance(value, Mapping):
        return None
    try:
        found = parse_window(value)
    except DefinitionError:
        return None  # the account's own fault; the daemon says so
    return None if found == "off" else found


async def read_sides(conn: Conn, key: str, account: str | None, *, must: bool = True) -> Sides:
    """The campaign *key* with both definitions. Raises `NotFound` unless *must* is false."""
    if not must:
        owner = None if account is None else await conn.fetchrow(sql("find_account"), account)
        if owner is None or not await conn.fetch(sql("find_campaigns"), key, owner["id"]):
            return Sides(row=None, live=None, draft=None, n_live=0)
    row = await find_campaign(conn, key, account)
    return await _sides(conn, row)


async def _sides(conn: Conn, row: Row) -> Sides:
    found = None
    if row["live_cv_id"] is not None:
        found = await conn.fetchrow(
            sql("read_definition"), row["account_id"], row["id"], row["live_version"]
        )
    return Sides(
        row=dict(row), live=found and found["definition"], draft=row["draft"],
        n_live=await count_live(conn, row), shared=found["shared"] if found else {},
    )  # fmt: skip


async def count_live(conn: Conn, row: Row) -> int:
    """The live runs of a campaign."""
    return int(await conn.fetchval(sql("count_live_runs"), row["account_id"], row["id"]))


async def store_drafts(
    conn: Conn, call: Call, wanted: Sequence[tuple[Definition, Sequence[Result]]]
) -> Deed:
    """Store each definition as its campaign's draft, all of them; with the warnings of each."""
    items: dict[int, Result] = {}
    accounts: set[int] = set()
    order = sorted(
        range(len(wanted)), key=lambda i: (wanted[i][0].account, wanted[i][0].campaign)
    )
    for index in order:
        definition, warnings = wanted[index]
        account = await find_account(conn, definition.account)
        accounts.add(account["id"])
        if not call.dry_run:
            await refuse_unattached(conn, account, definition)
        stored = await _store(conn, call, account, definition)
        items[index] = {"ok": True, **stored, "faults": [], "warnings": list(warnings)}
    ordered = [items[index] for index in range(len(wanted))]
    return Deed(
        result={
            "ok": True,
            "changed": sum(bool(item["changed"]) for item in ordered),
            "items": ordered,
        },
        accounts=tuple(sorted(accounts)),
        target=", ".join(str(item["campaign"]) for item in ordered)[:200],
    )


async def _store(conn: Conn, call: Call, account: Row, definition: Definition) -> Result:
    await conn.execute(sql("lock_key"), f"campaign {account['id']} {definition.campaign}")
    known = await conn.fetch(sql("find_campaigns"), definition.campaign, account["id"])
    if known:
        row = await lock_campaign(conn, definition.campaign, account["key"])
        await refuse_stranger(conn, call, [row["id"]])
        sides = await _sides(conn, row)
        draft, changed = next_draft(sides, definition)
        if changed:
            await conn.execute(
                sql("put_draft"), row["account_id"], row["id"], draft, definition.name,
                definition.goal_text or None, definition.owner or row["owner"],
                definition.board or None,
            )  # fmt: skip
        version = row["live_version"]
    else:
        draft, changed, version = definition.raw, True, None
        await conn.execute(
            sql("make_campaign"), account["id"], definition.campaign, definition.name,
            definition.goal_text or None, definition.owner or call.actor,
            definition.board or None, dict(definition.raw),
        )  # fmt: skip
    return {
        "campaign": definition.campaign,
        "account": account["key"],
        "version": version,
        "draft": draft is not None,
        "changed": changed,
    }


async def refuse_author(conn: Conn, call: Call, key: str, campaign: str | None) -> None:
    """Raise `Forbidden` where the actor may not change *campaign* of the account *key*, or make
    it: whoever may not is not told what is wrong with it."""
    account = await conn.fetchrow(sql("find_account"), key)
    if account is None:
        return
    await refuse_viewer(conn, call, [account["id"]])
    if campaign is not None:
        found = await conn.fetch(sql("find_campaigns"), campaign, account["id"])
        await refuse_stranger(conn, call, [row["id"] for row in found])


def next_draft(sides: Sides, definition: Definition) -> tuple[Raw | None, bool]:
    """The draft after *definition* is applied, and whether that changes anything.

    What says the same as the live version needs no draft.
    """
    raw = definition.raw
    is_live = raw == sides.live and keeps_words(sides, definition)
    draft = None if is_live else dict(raw)
    return draft, draft != sides.draft


def keeps_words(sides: Sides, definition: Definition) -> bool:
    """Would a version of *definition* use the account's templates as the live one does?"""
    follows = definition.policy.content == "live"
    return follows or shared_of(definition) == sides.shared


def shared_of(definition: Definition) -> dict[str, dict[str, str]]:
    """The account's templates that *definition* uses, as a version keeps them."""
    return {key: content.as_raw() for key, content in definition.shared.items()}


async def publish(conn: Conn, call: Call, plan: Publication) -> Deed:
    """Make the draft the next version in one switch.

    Raises `Outdated`, `Conflict` `active` and `confirm:N`.
    """
    row = await lock_campaign(conn, plan.key, plan.account)
    await refuse_stranger(conn, call, [row["id"]])
    sides = await _sides(conn, row)
    if sides.draft is None or sides.draft != plan.raw:
        raise Outdated("the draft was replaced meanwhile")
    if sides.draft == sides.live and keeps_words(sides, plan.definition):
        await conn.execute(sql("drop_draft"), row["account_id"], row["id"])
        return _published(plan, row, row["live_version"], 0, changed=False)
    touched = 0 if plan.inflight == "pin" else sides.n_live
    if plan.migration is not None:
        keys = await conn.fetchval(sql("live_step_keys"), row["account_id"], row["id"])
        read_map(plan.migration.map, keys, plan.definition)
    _refuse(call, plan, sides.n_live, touched)
    version, cv_id = await _switch(conn, call, plan, row)
    if touched and plan.migration is not None:
        if await migrate_runs(conn, row, cv_id, plan.migration):
            await _let_follow(conn, row, plan.migration.map)
    elif touched:
        await _terminate(conn, call, row, version, touched)
    return _published(plan, row, version, sides.n_live, changed=True, kind=plan.inflight)


async def publish_nothing(conn: Conn, call: Call, sides: Sides) -> Deed:
    """The reply to publishing a campaign without a draft. Raises `Conflict` if it has no version."""
    row = sides.row or {}
    await refuse_stranger(conn, call, [row["id"]])
    if sides.live is None:
        raise Conflict(
            f"campaign {row['key']!r} has no draft", hint="dripd campaign apply FILE"
        )
    version = row["live_version"]
    return Deed(
        result={
            "ok": True,
            "campaign": row["key"],
            "account": row["account_key"],
            "version": version,
            "draft": False,
            "changed": False,
            "faults": [],
            "warnings": [],
            "inflight": {"pin": 0, "terminate": 0, "migrate": 0},
        },
        accounts=(row["account_id"],),
        target=row["key"],
        detail={"version": version, "n": 0, "inflight": "pin"},
    )


async def list_following(conn: Conn) -> list[Row]:
    """Campaigns whose live version runs that were in flight at the switch are to pass to."""
    rows: list[Row] = await conn.fetch(sql("list_following"))
    return rows


async def migrate_rest(
    conn: Conn, account: int, campaign: int, version: int, migration: Migration
) -> tuple[int, Conflict | None]:
    """Move the runs that were in flight when *version* was published: how many still are, and
    why those that are left stay where they are for good.

    None is moved once another version has been published.
    """
    row = await conn.fetchrow(sql("lock_campaign"), account, campaign)
    if row is None or row["live_version"] != version:
        return 0, None
    left, refused = 0, None
    try:
        async with conn.transaction():
            left = await migrate_runs(conn, row, row["live_cv_id"], migration)
    except Conflict as error:
        refused = error
    if not left:
        await _let_follow(conn, row, None)
    return left, refused


async def _let_follow(conn: Conn, row: Row, by: Mapping[str, str] | None) -> None:
    await conn.execute(sql("let_follow"), row["account_id"], row["id"], by)


def locked_by(key: str, n_live: int) -> Conflict:
    """Why a campaign that its policy locks cannot be edited now."""
    return Conflict(
        f"campaign {key!r} is locked while it has live runs ({n_live})",
        code="active",
        hint=f"dripd campaign pause {key}",
    )


def _refuse(call: Call, plan: Publication, n_live: int, touched: int) -> None:
    if plan.locked and n_live:
        raise locked_by(plan.key, n_live)
    if touched and not call.yes and not call.dry_run:
        raise Conflict(
            f"{touched} live runs would {plan.inflight}", code=f"confirm:{touched}",
            hint="repeat with --yes, or --inflight pin",
        )  # fmt: skip


async def _switch(conn: Conn, call: Call, plan: Publication, row: Row) -> tuple[int, int]:
    """Insert the version and let the campaign point to it; its number and its id."""
    account, definition = row["account_id"], plan.definition
    made = await conn.fetchrow(
        sql("make_version"), account, row["id"], row["key"], dict(plan.raw), call.actor,
        shared_of(definition),
    )  # fmt: skip
    steps = definition.steps
    await conn.execute(
        sql("make_version_steps"), account, made["id"], [step.key for step in steps],
        [step.kind for step in steps], [step.name or None for step in steps],
    )  # fmt: skip
    fields = definition.fields
    if fields:
        await conn.execute(sql("declare_fields"), account, [*fields], [*fields.values()])
    await conn.execute(
        sql("switch_version"), account, row["id"], made["version"], made["id"],
        definition.name, definition.goal_text or None, definition.owner or row["owner"],
        definition.board or None, plan.activate,
    )  # fmt: skip
    await _replace_triggers(conn, row, definition.entries(), call.actor)
    detail = {"campaign": row["key"], "version": made["version"]}
    await conn.execute(sql("note_campaign"), account, call.actor, "edited", detail)
    if plan.activate:
        await conn.execute(sql("note_campaign"), account, call.actor, "activated", detail)
    return int(made["version"]), int(made["id"])


async def _replace_triggers(
    conn: Conn, row: Row, triggers: Sequence[Match], actor: str
) -> None:
    """Those of the file: one that stays the same keeps its place in time (forward only)."""
    kinds = [trigger.kind for trigger in triggers]
    matches = [dict(trigger.params) for trigger in triggers]
    await conn.execute(sql("drop_file_triggers"), row["account_id"], row["id"], kinds, matches)
    for kind, match in zip(kinds, matches, strict=True):
        await conn.fetchrow(
            sql("make_trigger"), row["account_id"], row["id"], row["key"], kind, match, "file",
            actor,
        )  # fmt: skip


async def _terminate(conn: Conn, call: Call, row: Row, version: int, touched: int) -> None:
    await end_all(conn, row, RunStatus.TERMINATED, "edited", call.actor)
    await conn.execute(
        sql("notify_editors"), row["account_id"], row["owner"],
        {
            "actor": call.actor,
            "count": touched,
            "campaign": row["key"],
            "version": version,
        },
    )  # fmt: skip


async def end_all(conn: Conn, row: Row, status: RunStatus, reason: str, actor: str) -> int:
    """End every live run of a campaign whose row is locked; how many."""
    everyone = Picked(
        account=row["account_id"], enrollments=None, contacts=None, campaigns=[row["id"]],
        lists=None, tags=None, where=None, not_started=False, ended=False,
    )  # fmt: skip
    ended = 0
    async for rows in everyone.chunks(conn):
        ended += len(await stop_rows(conn, rows, status, reason, actor))
    return ended


def _published(
    plan: Publication, row: Row, version: int, n_live: int, *, changed: bool, kind: str = "pin"
) -> Deed:
    inflight = {"pin": 0, "terminate": 0, "migrate": 0}
    inflight[kind] = n_live
    return Deed(
        result={
            "ok": True,
            "campaign": row["key"],
            "account": row["account_key"],
            "version": version,
            "draft": False,
            "changed": changed,
            "faults": [],
            "warnings": list(plan.warnings),
            "inflight": inflight,
        },
        accounts=(row["account_id"],),
        target=row["key"],
        detail={"version": version, "n": n_live, "inflight": kind},
        scope=(n_live if kind != "pin" else 0, (row["live_version"], kind, plan.raw)),
    )
