"""The mails that a click or a form asks for: an answer to the contact, a notice to the house.

One message outside every run, never written twice. Its row is the mark of its departure: of an
attempt whose end nobody recorded the next one asks what became of its message. What may have
left is in doubt and stays so; what provably did not leave is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping

from dripd.campaigns.event import Accepted, Done, Held, Rejected, Retryable, Skipped
from dripd.channels.base import Channel
from dripd.engine.files import read_files
from dripd.engine.individual import Wish, send_individual, state_of
from dripd.engine.outbox import SLOW, CallAnswer
from dripd.engine.pipeline import Pipeline
from dripd.errors import Conflict, NotFound
from dripd.policy.perform import notice_to
from dripd.policy.reactions import facts_of
from dripd.policy.rooms import MissingVersion
from dripd.policy.watching import render_words
from dripd.store.protocol import CallRow


async def respond(
    pipe: Pipeline, channels: Mapping[str, Channel], deployment: str, call: CallRow
) -> CallAnswer:
    """Send what the action says now; suppression is asked in the same moment."""
    if call.attempt > 1:
        known = _known(await pipe.store.last_of_call(call.account_id, call.id))
        if known is not None:
            return known
    try:
        wish = await _wish(pipe, call)
        if not isinstance(wish, Wish):
            return wish
        _, outcome = await send_individual(pipe, channels, deployment, wish)
    except (NotFound, Conflict) as error:
        if error.code == "fenced":
            return Retryable(reason=error.code)  # by whoever has it now
        return Rejected(reason=error.code)
    if isinstance(outcome, Accepted):
        return Done()
    if isinstance(outcome, Retryable):
        return outcome
    state, _, reason = state_of(outcome)
    return Rejected(reason=reason or state)


def _known(state: str | None) -> CallAnswer | None:
    """What the message of the last attempt comes to; None: none has left."""
    match state:
        case "accepted":
            return Done()
        case "unknown":
            return Rejected(reason="in_doubt")
        case "leased":
            return Retryable(reason=SLOW)
        case _:
            return None


async def _wish(pipe: Pipeline, call: CallRow) -> Wish | Skipped | Rejected:
    """The message, on the contact's facts of this moment, or why there is none."""
    await pipe.directory.load_accounts([call.account_id])
    await pipe.directory.load_versions([call.cv_id])
    rows = await pipe.store.read_contacts(call.account_id, [call.contact_id])
    try:
        version = pipe.directory.version(call.cv_id).reactions
    except MissingVersion:
        return Rejected(reason="version_unreadable")
    if not rows or call.step_no is None:
        return Rejected(reason="unknown_contact")
    now, action = pipe.clock.now(), version.steps[call.step_no]
    leased = facts_of(rows[0], version, call.step_no, now)
    to = notice_to(leased, version, action, pipe.directory) if action.is_notice else None
    if isinstance(to, Skipped | Rejected):
        return to
    if isinstance(to, Held):
        return Rejected(reason=to.reason)
    words = render_words(leased, version, now, pipe.directory, None)
    if isinstance(words, Held):
        return Rejected(reason=words.reason)
    try:
        files = await read_files(pipe.directory.files, call.account_id, action.attachments)
    except LookupError:
        return Rejected(reason="file_missing")
    subject, text, html = words
    return Wish(
        account_id=call.account_id, contact_id=call.contact_id, channel=action.channel,
        sender=action.sender, subject=subject, text=text, html=html, to=to, files=files,
        requested_by=f"campaign:{call.campaign_key}", call=call,
    )  # fmt: skip
