"""What does a step ask of an outside server? A call in the outbox; some wait for its answer.

A script is told and forgotten: the run goes on at once, whatever becomes of the call. `sync`
and `social_follow` are done when the connector has taken them, so their run waits, beside all
lanes, until the outbox says how it came out (`Leased.asked`).
"""

from __future__ import annotations

from dripd.campaigns.action import CallOut
from dripd.campaigns.definition import Step
from dripd.campaigns.event import Held, Skipped
from dripd.policy.performance import NOTHING, Pass, Performed, Verdict, Waiting


def script(here: Pass, step: Step, step_no: int) -> Performed:
    here.effects.append(_call(here, step, awaited=False))
    return NOTHING


def respond(here: Pass, step: Step, step_no: int) -> Performed:
    """The mail that a form or a click asks for: written when it leaves, soon after."""
    target = step.sender.partition(",")[0] or step.channel
    here.effects.append(CallOut(seq=here.seq, step_key=step.key, kind=step.kind, target=target))
    return NOTHING


def connect(here: Pass, step: Step, step_no: int) -> Verdict:
    """A call to a connector; it is waited for, and what it refuses for good holds the run."""
    if here.resumes(step_no):
        return _answered(here)
    if not here.rooms.has_connector(here.leased.account_id, step.called):
        if step.kind == "social_follow" and not here.leased.attrs.get(step.called):
            return Skipped(reason="no_handle")  # nor is there anybody who could find one
        return Held(reason="connector_missing")
    here.effects.append(_call(here, step, awaited=True))
    return Waiting(None)


def _answered(here: Pass) -> Verdict:
    """How the call came out: `open` until there is an answer."""
    asked = here.leased.asked
    if asked is None or asked.state == "open":
        return Waiting(None)
    reason = str(asked.payload.get("reason") or "")
    match asked.state:
        case "done":
            return NOTHING
        case "skipped":
            return Skipped(reason=reason)
    return Held(reason="connector_missing" if reason == "connector_missing" else "step_failed")


def _call(here: Pass, step: Step, *, awaited: bool) -> CallOut:
    return CallOut(
        seq=here.seq, step_key=step.key, kind=step.kind, target=step.called, awaited=awaited
    )
