"""How does a run end by an event? By a rule, by consent, by its goal, or for it has left a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dripd.campaigns.definition import ExitRule, Match
from dripd.campaigns.enrollment import RunStatus
from dripd.campaigns.version import RESET, Version
from dripd.policy.entries import InboxRooms
from dripd.policy.inbox_rows import EndRun, EventRow, RunRow
from dripd.policy.suppression import FORBIDDING, channel_of


def end_of(
    event: EventRow,
    run: RunRow,
    version: Version,
    *,
    softs: int = 0,
    campaign_id: int | None = None,
) -> EndRun | None:
    """How the run ends by the event, if it does: erased, by a rule, by consent, by the goal.

    A rule that the file does not give, but its preset, yields to a goal of the same event.
    *softs*: soft bounces since the run began, this one among them. *campaign_id*: that of the
    delivery which the event names, None where it names none.
    """
    if event.kind == "contact_erased":
        return _end(run, RunStatus.REMOVED, "contact_erased")
    if event.kind == RESET:
        ours = event.payload.get("campaign") == version.campaign_key
        return _end(run, RunStatus.TERMINATED, "reset") if ours else None
    seen = _Seen(event, version, softs, campaign_id in {None, run.campaign_id})
    goals = [goal for goal in _goals(run, version) if seen.ours and seen.fits(goal)]
    for rule in version.definition.exit_rules:
        if not rule.enabled or (goals and not rule.path):
            continue
        if (seen.ours or rule.scope == "any") and seen.fits(rule.match):
            return _by_rule(rule, run, version)
    if event.kind in FORBIDDING and channel_of(event) in {None, *version.message_channels}:
        return _end(run, RunStatus.REMOVED, event.kind)
    return _end(run, RunStatus.COMPLETED, f"goal:{goals[0].goal_word()}") if goals else None


def _goals(run: RunRow, version: Version) -> Iterator[Match]:
    """The campaign's goal, and that of the sequence in which the run stands."""
    definition = version.definition
    if definition.goal is not None:
        yield definition.goal
    if definition.sequences:
        goal = definition.sequences[definition.sequence_at(run.step_no)].goal
        if goal is not None:
            yield goal


@dataclass(slots=True)
class _Seen:
    """An event as the rules of one version see it."""

    event: EventRow
    version: Version
    softs: int
    ours: bool
    """It names no delivery of another campaign."""

    def fits(self, match: Match) -> bool:
        """Does *match* want the event? Enough soft bounces are a hard one."""
        payload = self.event.payload
        policy = self.version.definition.policy
        soft = self.event.kind == "bounce" and payload.get("type") == "soft"
        if soft and "type" not in match.params and self.softs >= policy.soft_bounces:
            payload = {**payload, "type": "hard"}
        return match.matches(
            self.event.kind,
            payload,
            step_key=self.event.step_key,
            machine_opens=policy.machine_opens == "count",
        )


def _end(run: RunRow, status: RunStatus, reason: str) -> EndRun:
    return EndRun(run.enrollment_id, run.contact_id, status, reason)


def _by_rule(rule: ExitRule, run: RunRow, version: Version) -> EndRun:
    """Removed by a rule, with what it sets; engagement is told where the campaign asks for it."""
    notify, kind = version.definition.notify, rule.match.kind
    end = _end(run, RunStatus.REMOVED, kind)
    end.set = rule.set
    if rule.notify or (notify.ended and kind in {"reply", "open"}):
        person = run.attrs.get(notify.field) if notify.field else None
        end.notify = (str(person or version.owner), version.campaign_key)
    return end


def left_list(
    event: EventRow, run: RunRow, version: Version, rooms: InboxRooms
) -> EndRun | None:
    """Leaving a list that is attached as trigger, by the file or by a command, ends the run."""
    if event.kind != "list_removed" or version.definition.policy.on_list_leave != "remove":
        return None
    left = event.payload.get("list")
    attached: set[object] = {*version.definition.attached_lists()}
    attached |= {
        trigger.match.params.get("list")
        for trigger in rooms.triggers(run.account_id)
        if trigger.campaign_key == version.campaign_key and trigger.match.kind == "list_added"
    }
    if not isinstance(left, str) or left not in attached:
        return None
    return _end(run, RunStatus.REMOVED, f"left_list:{left}")
