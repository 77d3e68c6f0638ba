"""Campaign files over the socket: validate, plan, apply, publish, activate.

A file is read and judged in a thread, against what the account has; what was judged is then
stored under the campaign's row lock, and judged again if it was replaced meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import msgspec
import trio

from dripd.admin import params as p
from dripd.admin.closed import Inflight
from dripd.admin.messages import Call, Handler
from dripd.campaigns.attached import pinned
from dripd.campaigns.definition import Content, Definition, Policy
from dripd.campaigns.document import load_documents
from dripd.campaigns.known import Known
from dripd.campaigns.migration import Migration
from dripd.campaigns.parse import read
from dripd.campaigns.validate import Report, check
from dripd.campaigns.version import Version
from dripd.daemon.control_diff import diff
from dripd.daemon.control_room import Room, away
from dripd.daemon.passing import migration_to
from dripd.engine.calendars import known_zones
from dripd.errors import BadRequest, Conflict, DefinitionError, Fault, NotFound
from dripd.store.desk_attach import attach
from dripd.store.desk_campaign import Turn, turn_campaign
from dripd.store.desk_deed import Result, Row
from dripd.store.desk_file import (
    Outdated,
    Publication,
    Raw,
    Sides,
    Words,
    keeps_words,
    locked_by,
    migrate_rest,
    next_draft,
    publish,
    publish_nothing,
    read_known,
    read_sides,
    refuse_author,
    shared_of,
    store_drafts,
)
from dripd.store.desk_find import find_account
from dripd.store.desk_migrate import foresee_runs

REST_TRIES, REST_S = 40, 0.05
"""How often, and how far apart, runs in flight at a switch are looked at again."""

TRIES = 5
"""Drafts that may be replaced under us before we say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One document of a call: what it says, and everything that is wrong with it."""

    filename: str
    campaign: str | None = None
    account: str | None = None
    definition: Definition | None = None
    report: Report = field(default_factory=Report)


class FileControl:
    """The handlers of `campaign.attach validate plan apply publish activate`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "campaign.attach": self._room.changing(attach),
            "campaign.validate": self.validate,
            "campaign.plan": self.plan,
            "campaign.apply": self.apply,
            "campaign.publish": self.publish,
            "campaign.activate": self.activate,
        }

    async def validate(self, _call: Call, args: p.CampaignDocuments) -> Result:
        """Every fault and warning of every document; settings that lack are faults here."""
        judged = await self._judge(args.documents, args.account)
        items = [await self._item(one) for one in judged]
        return {"ok": all(item["ok"] for item in items), "items": items}

    async def apply(self, call: Call, args: p.CampaignDocuments) -> Result:
        """Store each document as a draft, all or none. Raises `DefinitionError`."""
        judged = [
            replace(one, report=one.report.as_draft())
            for one in await self._judge(args.documents, args.account)
        ]
        judged = _refuse_twins(judged)
        for one in judged:
            if one.report.faults and one.account is not None:
                await self._refuse_author(call, one.account, one.campaign)
        refuse_faults(judged)
        for key in sorted({one.account for one in judged if one.account}):
            await self._room.desk.run(find_account, key)
        wanted = [(one.definition, shown_faults(one.report.warnings)) for one in judged]
        return await self._room.perform(store_drafts, call, wanted)

    async def plan(self, _call: Call, args: p.CampaignPlan) -> Result:
        """What publishing would change, and what would refuse it; changes nothing."""
        if (args.key is None) == (not args.documents):
            raise BadRequest("name a campaign, or give one file", path="key")
        if args.key is not None:
            sides = await self._room.desk.run(read_sides, args.key, args.account)
            new, key = sides.draft or sides.live, args.key
            known = str((sides.row or {})["account_key"])
            definition = None if new is None else (await self._check(new, known))[0]
        else:
            sides, definition = await self._plan_document(args)
            new, key = definition.raw, definition.campaign
        policy = None if sides.live is None else await self.policy(sides.live)
        mode = _inflight(args, policy, sides, definition)
        changes = _changes(sides, new, definition)
        n_live = sides.n_live if changes else 0
        inflight = {"pin": 0, "terminate": 0, "migrate": 0, mode: n_live}
        moves: list[Result] = []
        faults: list[Result] = []
        if n_live and policy is not None and policy.edit_active == "locked":
            faults.append(_refusal(locked_by(key, n_live)))
        if mode == "migrate" and n_live and definition is not None:
            row = cast("Row", sides.row)
            migration = _migration(row, definition, args.map)
            moves, refused = await self._room.desk.run(foresee_runs, row, migration)
            faults += map(_refusal, refused)
        return {
            "campaign": key,
            "changes": changes,
            "live": sides.n_live,
            "inflight": inflight,
            "moves": moves,
            "confirm": mode != "pin" and n_live > 0,
            "faults": faults,
        }

    async def _plan_document(self, args: p.CampaignPlan) -> tuple[Sides, Definition]:
        judged = await self._judge(args.documents, args.account)
        if len(judged) != 1:
            raise BadRequest("the file holds several campaigns", path="documents")
        one = replace(judged[0], report=judged[0].report.as_draft())
        refuse_faults([one])
        definition = cast("Definition", one.definition)
        return await self._sides(one), definition

    async def publish(self, call: Call, args: p.CampaignPublish) -> Result:
        """Make the draft the next version. Raises `DefinitionError`, `Conflict`."""
        if args.map and args.inflight not in {None, "migrate"}:
            raise BadRequest(
                "a map is for runs that migrate", path="map", hint="--inflight migrate"
            )
        return await self._publish(call, args, activate=False)

    async def activate(self, call: Call, args: p.CampaignResume) -> Result:
        """Publish the draft where there is no version yet; then take enrollments."""
        sides = await self._room.desk.run(read_sides, args.key, args.account)
        row = sides.row or {}
        if sides.live is None and sides.draft is not None and row["status"] == "draft":
            wanted = p.CampaignPublish(key=args.key, account=args.account)
            done = await self._publish(call, wanted, activate=True)
            return {**done, "status": "active", "live": 0}
        if sides.live is not None and row["status"] in {"draft", "inactive"}:
            await self._refuse_author(call, str(row["account_key"]), args.key)
            await self._refuse_lacking(args.key, sides)
        turn = Turn(key=args.key, account=args.account, verb="activate")
        shift = await self.shifts(sides) if args.mode is None else args.mode == "shift"
        turn = replace(turn, shift=shift)
        return await self._room.perform(turn_campaign, call, turn, wide=True)

    async def shifts(self, sides: Sides) -> bool:
        """Does the live version ask that its steps keep what remained of their delay?"""
        if sides.live is None:
            return False
        return (await self.policy(sides.live)).on_resume == "shift"

    async def policy(self, raw: Raw) -> Policy:
        """The policy of a stored definition."""
        definition, _ = await away(read, raw)
        return definition.policy

    async def _publish(self, call: Call, args: p.CampaignPublish, *, activate: bool) -> Result:
        for _ in range(TRIES):
            sides = await self._room.desk.run(read_sides, args.key, args.account)
            if sides.draft is None:
                return await self._room.perform(publish_nothing, call, sides)
            plan = await self._publication(call, args, sides, activate=activate)
            try:
                result = await self._room.perform(publish, call, plan, wide=True)
            except Outdated:
                continue
            if plan.migration is not None and not call.dry_run:
                await self._migrate_rest(sides.row or {}, plan.migration, result)
            return result
        raise Conflict("the draft keeps being replaced", hint="publish when others have done")

    async def _publication(
        self, call: Call, args: p.CampaignPublish, sides: Sides, *, activate: bool
    ) -> Publication:
        row, draft = sides.row or {}, cast("Raw", sides.draft)
        account = str(row["account_key"])
        await self._refuse_author(call, account, args.key)
        definition, report = await self._check(draft, account)
        if definition is None or not report.ok:
            raise DefinitionError(
                f"campaign {args.key!r} is not fit to run", faults=report.faults
            )
        policy = definition.policy if sides.live is None else await self.policy(sides.live)
        mode = _inflight(args, policy, sides, definition)
        return Publication(
            key=args.key,
            account=account,
            raw=draft,
            definition=definition,
            inflight=mode,
            migration=_migration(row, definition, args.map) if mode == "migrate" else None,
            locked=policy.edit_active == "locked",
            activate=activate,
            warnings=shown_faults(report.warnings),
        )

    async def _migrate_rest(self, row: Row, migration: Migration, result: Result) -> None:
        """Steps that were in flight at the switch: their runs follow once they are recorded;
        `passing` sees to those that take longer.

        Those that may not follow, for they would be sent something again, stay where they are.
        """
        where = (row["account_id"], row["id"], result["version"])
        for _ in range(REST_TRIES):
            left, refused = await self._room.desk.run_wide(migrate_rest, *where, migration)
            if refused is not None:
                warnings = cast("list[Result]", result["warnings"])
                result["warnings"] = [*warnings, _refusal(refused)]
            if not left:
                return
            await trio.sleep(REST_S)  # noqa: TID251 - a record in flight, in real time

    async def _refuse_author(self, call: Call, account: str, campaign: str | None) -> None:
        """Rights come before faults. Raises `Forbidden`."""
        await self._room.permitted(call, refuse_author, call, account, campaign)

    async def _refuse_lacking(self, key: str, sides: Sides) -> None:
        """The live version is judged with the shared words that it keeps."""
        row, live = sides.row or {}, cast("Raw", sides.live)
        _, report = await self._check(live, str(row["account_key"]), kept=sides.shared)
        if not report.ok:
            raise DefinitionError(f"campaign {key!r} is not fit to run", faults=report.faults)

    async def _check(
        self, raw: Raw, account: str, kept: Words | None = None
    ) -> tuple[Definition | None, Report]:
        known = await self._known([account])
        own = _without(known.get(account), str(raw.get("campaign", "")))
        if own is not None and kept:
            words = {name: Content(**one) for name, one in kept.items()}
            own = replace(own, templates={**(own.templates or {}), **words})
        return await away(_check, raw, own, account)

    async def _known(self, accounts: Sequence[str]) -> dict[str, Known]:
        found = await self._room.desk.run(read_known, accounts)
        hooks = self._room.hooks
        calendars = await away(hooks.calendars)
        return {
            key: replace(
                known,
                zones=known_zones(),
                calendars=calendars,
                scripts=hooks.scripts,
                unlinked=frozenset(
                    address
                    for address, provider in (known.providers or {}).items()
                    if not hooks.is_linked(provider)
                ),
            )
            for key, known in found.items()
        }

    async def _judge(
        self, documents: Sequence[p.Document], account: str | None
    ) -> list[Judged]:
        loaded = await away(_load, list(documents))
        accounts = sorted({name for _, raw, _ in loaded if (name := _account(raw, account))})
        known = await self._known(accounts)
        return await away(_judge_all, loaded, known, account)

    async def _sides(self, one: Judged) -> Sides:
        return await self._room.desk.run(read_sides, one.campaign, one.account, must=False)

    async def _item(self, one: Judged) -> Result:
        """A document as `validate` shows it."""
        empty = Sides(row=None, live=None, draft=None, n_live=0)
        known = one.campaign and one.account
        sides = await self._sides(one) if known else empty
        changed = False
        if one.definition is not None:
            _, changed = next_draft(sides, one.definition)
        return {
            "filename": one.filename,
            "ok": one.report.ok,
            "campaign": one.campaign,
            "account": one.account,
            "version": None if sides.row is None else sides.row["live_version"],
            "draft": sides.draft is not None,
            "changed": changed,
            "faults": shown_faults(one.report.faults),
            "warnings": shown_faults(
                (*one.report.warnings, *await self._no_account(one.account))
            ),
        }

    async def _no_account(self, key: str | None) -> tuple[Fault, ...]:
        """An account may be set up later than its file is written; to store it, it must be there."""
        try:
            if key is not None:
                await self._room.desk.run(find_account, key)
        except NotFound as error:
            return (
                Fault(code=error.code, path="account", message=error.message, hint=error.hint),
            )
        return ()


def _changes(sides: Sides, new: Raw | None, definition: Definition | None) -> list[Result]:
    """What *new* says otherwise than the live version, also by templates of the account."""
    if definition is None or keeps_words(sides, definition):
        return [] if new == sides.live else diff(sides.live, new)
    shared = shared_of(definition)
    return diff(_worded(sides.live, sides.shared), _worded(definition.raw, shared))


def _worded(raw: Raw | None, shared: Words) -> Raw | None:
    """A definition as if the account's templates that it uses were its own."""
    if raw is None or not shared:
        return raw
    own = raw.get("templates")
    return {**raw, "templates": {**shared, **(own if isinstance(own, Mapping) else {})}}


def _inflight(
    args: p.CampaignPublish | p.CampaignPlan,
    policy: Policy | None,
    sides: Sides,
    definition: Definition | None,
) -> Inflight:
    """What becomes of live runs: what is asked for, else what *policy* says of an edit.

    What enrolls is no step: where nothing but triggers changes, runs go on.
    """
    if args.inflight or args.map:
        return args.inflight or "migrate"
    if policy is None or definition is None or sides.live is None:
        return policy.edit_inflight if policy else "pin"
    bare = [{**raw, "triggers": None} for raw in (sides.live, definition.raw)]
    same = bare[0] == bare[1] and keeps_words(sides, definition)
    return "pin" if same else policy.edit_inflight


def _migration(row: Row, definition: Definition, given: Mapping[str, str]) -> Migration:
    """How live runs pass to *definition*; lanes are told by a version that has no id yet."""
    version = Version(
        cv_id=0,
        account_id=row["account_id"],
        campaign_id=row["id"],
        campaign_key=row["key"],
        owner=row["owner"] or "",
        definition=definition,
    )
    return migration_to(version, given)


def _refusal(error: Conflict) -> Result:
    """Why a publication is refused, or leaves runs behind, as a fault is shown."""
    return {
        "code": error.code, "path": error.path, "message": error.message, "hint": error.hint
    }  # fmt: skip


Loaded = tuple[str, Raw, tuple[Fault, ...]]


def _load(documents: list[p.Document]) -> list[Loaded]:
    """Every document of every text; one that cannot be read stands with its faults."""
    found: list[Loaded] = []
    for document in documents:
        try:
            raws = load_documents(document.text, filename=document.filename)
        except DefinitionError as error:
            found.append((document.filename, {}, error.faults))
        else:
            files = {name: msgspec.to_builtins(pin) for name, pin in document.files.items()}
            found += [(document.filename, pinned(raw, files), ()) for raw in raws]
    return found


def _account(raw: Raw, account: str | None) -> str | None:
    own = raw.get("account")
    return own if isinstance(own, str) and "\x00" not in own else account


def _judge_all(
    loaded: Sequence[Loaded], known: Mapping[str, Known], account: str | None
) -> list[Judged]:
    return [_judge_one(one, known, account) for one in loaded]


def _judge_one(one: Loaded, known: Mapping[str, Known], account: str | None) -> Judged:
    filename, raw, unread = one
    if unread:
        return Judged(filename=filename, report=Report(faults=unread))
    own, key = _account(raw, account), raw.get("campaign")
    campaign = key if isinstance(key, str) else None
    definition, report = _check(
        raw, _without(known.get(own or ""), campaign or ""), account or ""
    )
    return Judged(
        filename=filename, campaign=campaign, account=own, definition=definition, report=report
    )


def _check(raw: Raw, known: Known | None, account: str) -> tuple[Definition | None, Report]:
    return check(raw, known, account=account)


def _without(known: Known | None, campaign: str) -> Known | None:
    """What the account has besides the campaign itself."""
    if known is None or known.campaigns is None:
        return known
    others = {key: name for key, name in known.campaigns.items() if key != campaign}
    return replace(known, campaigns=others)


def _refuse_twins(judged: list[Judged]) -> list[Judged]:
    """A campaign given twice in one call is at fault the second time."""
    seen: set[tuple[str | None, str | None]] = set()
    found = []
    for one in judged:
        if one.definition is not None and (one.account, one.campaign) in seen:
            twin = Fault(
                code="bad_value", path="campaign",
                message=f"{one.campaign!r} is given twice in this call",
            )  # fmt: skip
            one = replace(one, report=Report(faults=(*one.report.faults, twin)))  # noqa: PLW2901 - the one that follows is the same document
        seen.add((one.account, one.campaign))
        found.append(one)
    return found


def refuse_faults(judged: Sequence[Judged]) -> None:
    """Raise `DefinitionError` with every fault, each path under its file where they are several."""
    faults = [
        replace(fault, path=f"{one.filename}: {fault.path}" if len(judged) > 1 else fault.path)
        for one in judged
        for fault in one.report.faults
    ]
    if faults:
        raise DefinitionError(
            f"{len(faults)} fault(s); nothing is stored", faults=tuple(faults)
        )


def shown_faults(faults: Sequence[Fault]) -> list[Result]:
    return [
        {"code": one.code, "path": one.path, "message": one.message, "hint": one.hint}
        for one in faults
    ]
