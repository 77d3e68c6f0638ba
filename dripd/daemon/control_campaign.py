"""Campaigns over the socket: life-cycle, triggers, show, diff, export."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.campaigns.definition import Match
from dripd.campaigns.parse import read
from dripd.campaigns.reader import Section
from dripd.campaigns.settings import read_match
from dripd.clock import format_instant
from dripd.daemon.control_diff import diff
from dripd.daemon.control_file import FileControl
from dripd.daemon.control_room import Room, away
from dripd.daemon.control_text import show_policy, to_yaml
from dripd.errors import BadRequest, Fault
from dripd.policy.visibility import addresses_of, sees
from dripd.store.desk_campaign import (
    Turn,
    Verb,
    add_trigger,
    list_campaigns,
    list_triggers,
    read_pair,
    remove_trigger,
    show_campaign,
    turn_campaign,
)
from dripd.store.desk_deed import Deed, Result
from dripd.store.desk_estimate import figures_of
from dripd.store.desk_file import Raw, read_sides
from dripd.store.desk_role import Forbidden, note_forbidden, read_automator
from dripd.store.desk_template import (
    list_templates,
    remove_template,
    set_template,
    show_template,
)


class CampaignControl:
    """The handlers of `campaign.*` (but those of files) and `list.trigger_*`."""

    def __init__(self, room: Room, files: FileControl) -> None:
        self._room = room
        self._files = files

    def handlers(self) -> Mapping[str, Handler]:
        room = self._room
        return {
            "campaign.resume": self._turning("resume"),
            "campaign.drain": self._turning("drain"),
            "campaign.archive": self._turning("archive"),
            "campaign.deactivate": self._turning("deactivate"),
            "campaign.pause": self._turning("pause"),
            "campaign.list": self.list,
            "campaign.show": self.show,
            "campaign.diff": self.diff,
            "campaign.stats": partial(room.hooks.stats, room.desk),
            "campaign.export": self.export,
            "campaign.trigger_add": self._triggering(add_trigger),
            "campaign.trigger_remove": self._triggering(remove_trigger),
            "campaign.trigger_list": room.reading(list_triggers),
            "campaign.template_set": room.changing(set_template),
            "campaign.template_remove": room.changing(remove_template),
            "campaign.template_list": room.reading(list_templates),
            "campaign.template_show": room.reading(show_template),
            "list.trigger_add": self._triggering(add_trigger),
            "list.trigger_remove": self._triggering(remove_trigger),
        }

    async def list(self, call: Call, args: p.CampaignList) -> object:
        found: Any = await self._room.reading_as(list_campaigns)(call, args)
        if not args.figures:
            return found
        about, _ = await self._room.hooks.campaigns()
        items = [
            {**row, "figures": figures_of(about, (row["account_id"], row["id"]))}
            for row in found["items"]
        ]
        return {**found, "items": items, "as_of": _as_of(about)}

    def _turning(self, verb: Verb) -> Handler:
        async def handle(call: Call, args: p.CampaignKey) -> Result:
            mode = args.mode if isinstance(args, p.CampaignStop | p.CampaignResume) else None
            turn = await self._turn(verb, args, mode)
            return await self._room.perform(turn_campaign, call, turn, wide=True)

        return handle

    async def _turn(self, verb: Verb, args: p.CampaignKey, mode: str | None) -> Turn:
        """The change with what the live version's policy says where the call does not."""
        if verb == "pause" and mode == "drain":
            raise BadRequest(
                "a pause holds runs or removes them", code="unknown_option", path="mode",
                hint="dripd campaign drain KEY",
            )  # fmt: skip
        sides = await self._room.desk.run(read_sides, args.key, args.account)
        if sides.live is None or verb in {"drain", "archive"}:
            return Turn(key=args.key, account=args.account, verb=verb)
        policy = await self._files.policy(sides.live)
        usual = policy.pause if verb == "pause" else policy.deactivate
        return Turn(
            key=args.key,
            account=args.account,
            verb=verb,
            mode=(mode or usual) if verb in {"pause", "deactivate"} else "hold",
            shift=verb == "resume" and (mode or policy.on_resume) == "shift",
        )

    async def show(self, _call: Call, args: p.CampaignShow) -> Result:
        found = await self._room.desk.run(show_campaign, args)
        if args.policy and isinstance(found["definition"], Mapping):
            found["policy"] = await away(_policy, found["definition"])
        return found

    async def diff(self, _call: Call, args: p.CampaignDiff) -> Result:
        old, new = await self._room.desk.run(read_pair, args)
        return {"campaign": args.key, "changes": diff(old, new)}

    async def export(self, _call: Call, args: p.CampaignExport) -> Result:
        found = await self._room.desk.run(show_campaign, args)
        definition: Any = found["definition"] or {}
        return {
            "campaign": args.key,
            "version": found["version"],
            "definition": definition,
            "text": await away(to_yaml, definition),
        }

    def _triggering(self, unit: Any) -> Handler:
        async def handle(call: Call, args: p.CampaignTrigger | p.ListTrigger) -> Result:
            if unit is add_trigger:
                await self._refuse_unseen(call, args.campaign, args.account)
            return await self._room.perform(
                _trigger, call, unit, args.campaign, args.account, match_of(args)
            )

        return handle

    async def _refuse_unseen(self, call: Call, key: str, account: str | None) -> None:
        """An automation needs an address of one's own, or one shared with the whole account.

        Raises `Forbidden` `not_visible`.
        """
        sides = await self._room.desk.run(read_sides, key, account)
        row: Any = sides.row
        role, senders = await self._room.desk.run(read_automator, call, row["account_id"])
        raw = sides.live or sides.draft
        if role in {None, "admin"} or raw is None:
            return
        definition, _ = await away(read, raw)
        addresses = addresses_of(definition, senders)
        if not sees(call.actor, row["owner"], addresses, automation=True):
            error = Forbidden(
                f"{call.actor} may not automate campaign {key!r}: its address is not shared "
                "with the whole account",
                account_id=row["account_id"], target=key, code="not_visible",
                hint="dripd sender set ADDRESS --shared account",
            )  # fmt: skip
            await self._room.desk.run(note_forbidden, call, error)
            raise error


async def _trigger(conn: Any, call: Call, unit: Any, *args: object) -> Deed:
    found: Deed = await unit(conn, call, *args)
    return found


def _policy(raw: Raw) -> dict[str, object]:
    definition, _ = read(raw)
    return show_policy(definition.policy)


def match_of(args: p.CampaignTrigger | p.ListTrigger) -> Match:
    """The trigger that a command describes, read as a file's. Raises `BadRequest`."""
    if isinstance(args, p.ListTrigger):
        if args.on not in {"list_added", "list_removed"}:
            raise BadRequest(
                f"a list does not say {args.on!r}", path="on", hint="list_added or list_removed"
            )
        given: dict[str, object] = {"on": args.on, "list": args.list_key}
    else:
        given = {
            "on": args.on, "list": args.list_key, "tag": args.tag, "field": args.field_,
            "to": args.to, "from": args.from_, "board": args.board, "form": args.form,
            "link": args.link, "step": args.step,
        }  # fmt: skip
    faults: list[Fault] = []
    section = Section({k: v for k, v in given.items() if v is not None}, "", faults)
    match = read_match(section)
    section.finish()
    if match is None or faults:
        first = faults[0]
        raise BadRequest(first.message, path=first.path, hint=first.hint)
    return match


def _as_of(about: Mapping[str, Any]) -> str | None:
    """As of when the estimate holds, if there is one."""
    return format_instant(about["as_of_at"]) if "as_of_at" in about else None
