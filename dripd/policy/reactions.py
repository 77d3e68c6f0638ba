"""What do a click and a form set in motion beside the flow? The campaigns' `on_click`, `on_form`.

An event that names a delivery concerns that campaign; one that names none those in which the
contact has a live run, else every campaign that has a handler of that name. The actions are
performed as the steps of their kind are, on facts that are read once a batch and kept in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from dripd.campaigns.action import Note
from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Held, Skipped
from dripd.campaigns.version import Version
from dripd.clock import Instant
from dripd.policy.calls import respond
from dripd.policy.deeds import PERFORMERS
from dripd.policy.inbox_rows import Act, ContactRow, EventRow, RunRow
from dripd.policy.performance import Pass
from dripd.policy.rooms import Rooms

KINDS = frozenset({"click", "form"})

MOST = 64
"""Actions of one event that are told apart; more share the number of a task."""


NO_RUN = 0
"""What an action writes belongs to the contact and to no run (`Leased.run_id`)."""


class MissingContacts(KeyError):
    """Contacts whose facts have not been read: read them, then decide again."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__(*ids)
        self.ids = tuple(ids)


def reactions(
    event: EventRow,
    runs: Mapping[int, Sequence[RunRow]],
    now: Instant,
    rooms: Rooms,
    versions: Sequence[Version],
    facts: Mapping[int, ContactRow | None],
) -> list[Act]:
    """What the handlers of *versions* do about *event*. Raises `MissingContacts`."""
    if event.kind not in KINDS:
        return []
    found: list[Act] = []
    for contact_id in event.contact_ids:
        home = _homes(event, runs.get(contact_id, ()))
        for version, no in _handlers(event, home, versions):
            if contact_id not in facts:
                raise MissingContacts(event.contact_ids)
            row = facts[contact_id]
            if row is not None:
                seq = (event.id * MOST + len(found)) % 2**31
                found.append(_act(event, version, no, row, seq, now, rooms))
    return found


def _homes(event: EventRow, runs: Sequence[RunRow]) -> frozenset[int]:
    """The campaigns that the event is about; none = any."""
    if event.campaign_id is not None:
        return frozenset({event.campaign_id})
    return frozenset(run.campaign_id for run in runs if event.kind == "click")


def _handlers(
    event: EventRow, homes: frozenset[int], versions: Sequence[Version]
) -> Iterator[tuple[Version, int]]:
    named = event.payload.get("link" if event.kind == "click" else "form")
    machine = event.payload.get("machine") is True
    for version in versions:
        definition = version.definition
        if homes and version.campaign_id not in homes:
            continue
        if machine and definition.policy.machine_opens != "count":
            continue
        for no, handler in enumerate(definition.handlers):
            if handler.on == event.kind and handler.id == named:
                yield version, no


def _act(
    event: EventRow,
    version: Version,
    no: int,
    row: ContactRow,
    seq: int,
    now: Instant,
    rooms: Rooms,
) -> Act:
    """Perform one action; what cannot be done is noted, and done by nobody later."""
    handler = version.definition.handlers[no]
    leased = _facts(event, version, no, row, seq, now)
    here = Pass(leased, version.reactions, now, rooms, [], [], seq)
    perform = respond if handler.action.channel else PERFORMERS[handler.action.kind]
    outcome = perform(here, handler.action, no)
    row.tags, row.lists = leased.tags, leased.lists
    if isinstance(outcome, Held | Skipped):
        detail = {"handler": handler.path, "reason": outcome.reason}
        here.effects.append(Note(kind="action_failed", detail=detail))
    return Act(
        leased=leased,
        campaign_id=version.campaign_id,
        once=handler.key if handler.once_per == "contact" else None,
        effects=here.effects,
    )


def _facts(
    event: EventRow, version: Version, no: int, row: ContactRow, seq: int, now: Instant
) -> Leased:
    """The contact as a step would find it, with the form's fields as vars."""
    found = facts_of(row, version, no, now)
    found.seq, found.vars = seq, dict(event.payload)
    return found


def facts_of(row: ContactRow, version: Version, no: int, now: Instant) -> Leased:
    """What an action of *version* may look at: no run, no claim, no cap."""
    return Leased(
        account_id=version.account_id,
        lane=0,
        due_at=now,
        enrollment_id=NO_RUN,
        contact_id=row.id,
        cv_id=version.cv_id,
        seq=0,
        step_no=no,
        run_no=0,
        attempt=0,
        flags=0,
        claim_id=0,
        leased_at=now,
        counted=False,
        local_date=date.min,
        email=row.email,
        phone=row.phone,
        timezone=row.timezone,
        attrs=row.attrs,
        owner=row.owner,
        service_owner=row.service_owner,
        external_id=row.external_id,
        company=row.company,
        tags=row.tags,
        lists=row.lists,
    )
