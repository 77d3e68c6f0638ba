"""The mail that answers a form or a click: one message to one contact, outside every run.

It is never written twice: an attempt whose end nobody recorded may have left, so the next one
says so instead of sending.
"""

from __future__ import annotations

from collections.abc import Mapping

from dripd.campaigns.event import Done, Held, Rejected
from dripd.channels.base import Channel
from dripd.engine.individual import send_individual
from dripd.engine.outbox import CallAnswer
from dripd.engine.pipeline import Pipeline
from dripd.errors import Conflict, NotFound
from dripd.policy.reactions import facts_of
from dripd.policy.rooms import MissingVersion
from dripd.policy.watching import render_words
from dripd.store.protocol import CallRow


async def respond(
    pipe: Pipeline, channels: Mapping[str, Channel], deployment: str, call: CallRow
) -> CallAnswer:
    """Send what the action says now; suppression is asked in the same moment."""
    if call.attempt > 1 or call.step_no is None:
        return Rejected(reason="in_doubt")
    await pipe.directory.load_versions([call.cv_id])
    rows = await pipe.store.read_contacts(call.account_id, [call.contact_id])
    try:
        version = pipe.directory.version(call.cv_id).reactions
    except MissingVersion:
        return Rejected(reason="version_unreadable")
    if not rows:
        return Rejected(reason="unknown_contact")
    now, action = pipe.clock.now(), version.steps[call.step_no]
    leased = facts_of(rows[0], version, call.step_no, now)
    words = render_words(leased, version, now, pipe.directory, None)
    if isinstance(words, Held):
        return Rejected(reason=words.reason)
    subject, text, html = words
    try:
        sent = await send_individual(
            pipe, channels, deployment, account_id=call.account_id, contact_id=call.contact_id,
            channel="email", sender=action.sender or None, subject=subject, text=text, html=html,
            requested_by=f"campaign:{call.campaign_key}",
        )  # fmt: skip
    except (NotFound, Conflict) as error:
        return Rejected(reason=error.code)
    if sent["state"] == "accepted":
        return Done()
    return Rejected(reason=str(sent["reason"] or sent["state"]))
