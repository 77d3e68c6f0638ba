"""What can a step do besides sending? The closed union of effects that `record` writes.

Effects are decided by `perform` on the facts of the lease and written in the transaction that
records the step. Each is idempotent: written twice it changes nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dripd.clock import Instant


@dataclass(slots=True, kw_only=True)
class AddTag:
    tag: str


@dataclass(slots=True, kw_only=True)
class RemoveTag:
    tag: str


@dataclass(slots=True, kw_only=True)
class AddToList:
    """`create`: make a static bucket of that key where there is none."""

    list_key: str
    create: bool = False


@dataclass(slots=True, kw_only=True)
class RemoveFromList:
    list_key: str


@dataclass(slots=True, kw_only=True)
class UpdateContact:
    """`attrs` to merge (None clears a key), `columns` of `contact` to set."""

    attrs: Mapping[str, object] = field(default_factory=dict)
    columns: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class UpdateCompany:
    """`attrs` of the contact's company to merge; None clears a key."""

    attrs: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Rota:
    """Whose turn it is: members with their weights, in the order in which ties are broken."""

    category: str
    members: Mapping[str, int]


@dataclass(slots=True, kw_only=True)
class Slot:
    """A time to reserve in the assignee's diary: the first that is free in `openings`."""

    openings: Sequence[tuple[Instant, Instant]]
    length_ms: int


@dataclass(slots=True, kw_only=True)
class MakeTask:
    """A task, and who is told of it: at `reminder_at`, or at once where there is none.

    `awaited`: the run waits for it, so its closing is told to the inbox. `assignee` None:
    nobody in particular; with `rota`, whoever's turn it is, and who is told under "" as well.
    With `slot` it is due at the time that is reserved.
    """

    seq: int
    step_key: str
    kind: str
    title: str
    assignee: str | None
    due_at: Instant | None
    reminder_at: Instant | None = None
    recipient: str | None = None
    awaited: bool = False
    category: str | None = None
    rota: Rota | None = None
    slot: Slot | None = None
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class CancelTask:
    """The task of the step *seq* is no longer waited for: its time is over."""

    seq: int


@dataclass(slots=True, kw_only=True)
class CallOut:
    """A call to an outside server: kept in the outbox, made soon after by whoever is free.

    `target` is a script or a connector by its `kind`. `awaited`: the run waits for the
    answer, which is told to the inbox.
    """

    seq: int
    step_key: str
    kind: str
    target: str
    awaited: bool = False


@dataclass(slots=True, kw_only=True)
class MoveTo:
    """End this run and start one of `campaign_key`, in one transaction."""

    campaign_key: str


@dataclass(slots=True, kw_only=True)
class ResetRuns:
    """Let the contact run `campaign_key` again: its runs end, `reset`, and count no more.

    `own`: the campaign of the run that performs it, which goes on.
    """

    campaign_key: str
    own: bool


@dataclass(slots=True, kw_only=True)
class WatchReply:
    """Tell `recipient` at `due_at`, unless the contact has replied by then."""

    seq: int
    step_key: str
    due_at: Instant
    recipient: str


@dataclass(slots=True, kw_only=True)
class CountNotice:
    """A message went to somebody of the house: counted as individual, never to the cap."""


@dataclass(slots=True, kw_only=True)
class Note:
    """A line of the journal that is not a step; `detail` holds ids, words and numbers only."""

    kind: str
    detail: Mapping[str, object] = field(default_factory=dict)


Effect: TypeAlias = (
    AddTag
    | RemoveTag
    | AddToList
    | RemoveFromList
    | UpdateContact
    | UpdateCompany
    | MakeTask
    | CancelTask
    | CallOut
    | MoveTo
    | ResetRuns
    | CountNotice
    | WatchReply
    | Note
)
