"""Which policies come to nothing, for another one decides? Warnings, each with what to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dripd.campaigns.definition import Definition, Policy, Reentry
from dripd.campaigns.known import Known, steps_of
from dripd.campaigns.presets import preset_of
from dripd.errors import Fault


class _Idle(NamedTuple):
    key: str
    why: str
    hint: str


def idle_policies(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Values that somebody gave, and that the value beside them leaves without effect."""
    for rule in (_runs, _changes, _money, _messages):
        for key, why, hint in rule(definition):
            yield _fault(f"policy.{key}", why, hint)


def idle_waits(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Nobody waits for a task that does not block, nor for ever for one without a timeout."""
    for path, step in steps_of(definition):
        is_asked = step.blocking or step.require_approval or step.kind == "wait_for"
        if step.timeout_ms is not None and not is_asked:
            why = f"step {step.key!r} does not block: the run never waits for it"
            yield _fault(f"{path}.timeout", why, "blocking: true")
        elif step.on_timeout == "exit" and step.timeout_ms is None:
            why = f"step {step.key!r} has no timeout: it waits until the task is closed"
            yield _fault(f"{path}.on_timeout", why, "timeout: 3d")


def _fault(path: str, why: str, hint: str) -> Fault:
    return Fault(code="no_effect", path=path, message=f"it has no effect: {why}", hint=hint)


def _runs(definition: Definition) -> Iterator[_Idle]:
    """How often a contact runs, and what else it may be busy with."""
    reentry, exclusivity = definition.policy.reentry, definition.policy.exclusivity
    many = reentry.max_runs is not None and reentry.max_runs > 1
    daily = reentry.max_runs_per_day != Reentry().max_runs_per_day
    resets = any(definition.resets_itself(n) for n in range(len(definition.sequences)))
    if reentry.mode == "once" and not resets:
        given = {"max_runs": many, "max_runs_per_day": daily, "min_gap": reentry.min_gap_ms > 0}
        for name in (one for one, is_given in given.items() if is_given):
            why = "`mode: once` lets nobody run again before the run is reset"
            yield _Idle(f"reentry.{name}", why, "mode: after_end")
    elif (
        daily and reentry.max_runs is not None and reentry.max_runs <= reentry.max_runs_per_day
    ):
        why = f"max_runs ({reentry.max_runs}) comes first"
        yield _Idle("reentry.max_runs_per_day", why, "leave one of them out")
    if exclusivity.scope == "none" and exclusivity.on_busy != "reject":
        why = "`scope: none` takes everybody for free"
        yield _Idle("exclusivity.on_busy", why, "scope: account, or group:NAME")


def _changes(definition: Definition) -> Iterator[_Idle]:
    """What becomes of live runs when the campaign is changed, or rests."""
    policy = definition.policy
    edit = preset_of(definition.preset).policy.get("edit")
    by_preset = edit.get("inflight") if isinstance(edit, dict) else None
    if policy.edit_active == "locked" and policy.edit_inflight not in {"pin", by_preset}:
        why = "`active: locked` refuses what would touch live runs"
        yield _Idle("edit.inflight", why, "active: allow")
    if policy.pause == "remove_all" and policy.on_resume != "keep":
        yield _Idle("on_resume", "`pause: remove_all` leaves nothing to resume", "pause: hold")


def _money(definition: Definition) -> Iterator[_Idle]:
    """What is charged, given back and frozen."""
    policy = definition.policy
    if policy.billing == "none" and policy.refund_on is not None:
        why = "`billing: none` charges nothing that could be given back"
        yield _Idle("refund_on", why, "billing: upfront, or per_send")
    if policy.freeze is not None and policy.billing != "upfront":
        why = f"`billing: {policy.billing}` charges no texts ahead that could be kept"
        yield _Idle("freeze", why, "billing: upfront")
    elif policy.freeze is not None and policy.content == "live":
        why = "`freeze: at_enroll` keeps the texts as they stood when the run began"
        yield _Idle("content", why, "freeze: false")


def _messages(definition: Definition) -> Iterator[_Idle]:
    """How long a text may be, how often one may come."""
    policy = definition.policy
    if policy.sms_overflow != "hold" and policy.limits.max_sms_segments is None:
        why = "no text is too long without `limits: {max_sms_segments: N}`"
        yield _Idle("sms_overflow", why, "limits: {max_sms_segments: 2}")
    if policy.frequency is not None and definition.klass == "transactional":
        yield _Idle("frequency", "`class: transactional` is exempt", "class: personal")
    if _is_given(policy, "soft_bounces") and not _ends_on_bounce(definition):
        why = "no exit rule is on hard bounces"
        yield _Idle("soft_bounces", why, "exit_rules: [{on: bounce}]")


def _is_given(policy: Policy, key: str) -> bool:
    return policy.origins.get(key) == "file"


def _ends_on_bounce(definition: Definition) -> bool:
    return any(
        rule.enabled and rule.match.kind == "bounce" and "type" not in rule.match.params
        for rule in definition.exit_rules
    )
