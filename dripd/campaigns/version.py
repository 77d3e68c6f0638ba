"""What does one published version of a campaign ask of the engine? Compiled once, then cached.

Templates are compiled here, and for every step it is known which events the lease must not
overlook, which facts it must bring, and in which lane the step waits.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from dripd.campaigns.definition import Definition, Step, WindowSpec
from dripd.campaigns.enrollment import LaneClass, LaneKey, Needs
from dripd.campaigns.template import Template, compile_template

KIND_BITS: Mapping[str, int] = {
    "reply": 1,
    "open": 2,
    "click": 4,
    "bounce": 8,
    "unsubscribe": 16,
    "complaint": 32,
    "interaction": 64,
    "form": 128,
    "status_changed": 256,
    "tag_added": 512,
    "tag_removed": 1024,
    "list_added": 2048,
    "list_removed": 4096,
    "contact_created": 8192,
    "field_changed": 16384,
    "contact_erased": 32768,
}
"""`event_in.kind_bit` of the schema."""

ALWAYS = KIND_BITS["reply"] | KIND_BITS["unsubscribe"] | KIND_BITS["complaint"]
ALWAYS |= KIND_BITS["bounce"] | KIND_BITS["contact_erased"]
"""Kinds that no lease passes, whatever the version says."""

CONDITION_NEEDS: Mapping[str, Needs] = {
    "company": Needs.COMPANY,
    "tags": Needs.TAGS,
    "lists": Needs.LISTS,
    "events": Needs.EVENTS,
}


def kind_bit(kind: str) -> int:
    """The bit of an event kind; a changed status and a changed field are one event."""
    if kind == "status_changed":
        return KIND_BITS["status_changed"] | KIND_BITS["field_changed"]
    return KIND_BITS.get(kind, 0)


@dataclass(frozen=True, slots=True)
class Content:
    """The compiled templates of a step."""

    subject: Template
    text: Template
    html: Template
    title: Template

    def tags(self) -> Iterable[str]:
        """The normalised names that any of them reads."""
        for template in (self.subject, self.text, self.html, self.title):
            yield from (slot.name for slot in template.slots)


class Version:
    """An immutable version, with everything that can be known before a contact is."""

    def __init__(
        self,
        *,
        cv_id: int,
        account_id: int,
        campaign_id: int,
        campaign_key: str,
        owner: str,
        definition: Definition,
    ) -> None:
        self.cv_id = cv_id
        self.account_id = account_id
        self.campaign_id = campaign_id
        self.campaign_key = campaign_key
        self.owner = owner
        self.definition = definition
        self.steps: tuple[Step, ...] = definition.steps
        self.contents = tuple(_compile(step) for step in self.steps)
        self._masks = tuple(self._mask(no) for no in range(len(self.steps)))
        self._calendars = tuple(self._calendar(step) for step in self.steps)

    def mask(self, step_no: int) -> int:
        """Event kinds that the lease of this step must not pass, and `Needs` above them."""
        return self._masks[step_no]

    @cached_property
    def stops_on(self) -> int:
        """The kinds that can end or move a run of this version."""
        bits = ALWAYS
        definition = self.definition
        for rule in definition.exit_rules:
            if rule.enabled:
                bits |= kind_bit(rule.match.kind)
        if definition.goal is not None:
            bits |= kind_bit(definition.goal.kind)
        if definition.policy.on_list_leave == "remove":
            bits |= KIND_BITS["list_removed"]
        if any(step.reset_on_interaction for step in self.steps):
            bits |= KIND_BITS["interaction"]
        return bits

    @cached_property
    def message_channels(self) -> frozenset[str]:
        """Which of email and sms its messages use."""
        return frozenset(step.kind for step in self.steps if step.is_message)

    @cached_property
    def first_message(self) -> int:
        """The index of the first message step, or the number of steps."""
        numbers = (no for no, step in enumerate(self.steps) if step.is_message)
        return next(numbers, len(self.steps))

    def lane_key(
        self, step_no: int, contact_zone: str | None, zones: Container[str]
    ) -> LaneKey:
        """The lane in which a step waits. *zones*: the IANA names that exist."""
        step = self.steps[step_no]
        kind = LaneClass.INTERNAL
        if step.is_message:
            first = step_no <= self.first_message
            kind = LaneClass.FIRST if first else LaneClass.FOLLOW_UP
        calendar = self._calendars[step_no]
        zone = "account" if not calendar else self._zone(contact_zone, zones)
        return LaneKey(
            self.campaign_id, int(kind), step.kind if step.is_message else "", calendar, zone
        )

    def zone_name(self, contact_zone: str | None, zones: Container[str]) -> str:
        """The zone in which this version reads times of day, "account" for the account's."""
        return self._zone(contact_zone, zones)

    def _zone(self, contact_zone: str | None, zones: Container[str]) -> str:
        if self.definition.timezone == "contact":
            known = contact_zone is not None and contact_zone in zones
            return str(contact_zone) if known else "account"
        return self.definition.timezone

    def _calendar(self, step: Step) -> str:
        window = self.definition.window_of(step)
        if isinstance(window, WindowSpec):
            return window.to_text()
        return window or ""

    def _mask(self, step_no: int) -> int:
        step = self.steps[step_no]
        bits = self.stops_on | Needs.START
        for slot in self.contents[step_no].tags():
            if slot.startswith("company"):
                bits |= Needs.COMPANY
        bits |= self._chain_needs(step_no)
        if step.kind == "email":
            bits |= Needs.EMAIL
            if self.definition.policy.cap == "plan":
                bits |= Needs.COUNTED
        if step.kind == "sms":
            bits |= Needs.SMS
        return bits

    def _chain_needs(self, step_no: int) -> int:
        """Facts that this step, or internal ones performed in one pass with it, read."""
        bits = 0
        index: int | None = step_no
        for _ in self.steps:
            if index is None:
                break
            step = self.steps[index]
            if step.when is not None:
                for need in step.when.needs:
                    bits |= CONDITION_NEEDS.get(need, 0)
            if step.kind in {"tag_add", "tag_remove"}:
                bits |= Needs.TAGS
            if step.kind in {"list_add", "list_remove"}:
                bits |= Needs.LISTS
            if step.kind == "update" and step.target == "company":
                bits |= Needs.COMPANY
            if step.is_message and index != step_no:
                break
            index = self.definition.next_index(index)
        return bits


def _compile(step: Step) -> Content:
    header = "header" if step.kind == "email" else "text"
    return Content(
        subject=compile_template(step.content.subject, kind=header),  # type: ignore[arg-type]  # one of its Kind words
        text=compile_template(step.content.text or step.text, kind="text"),
        html=compile_template(step.content.html, kind="html"),
        title=compile_template(step.title, kind="text"),
    )
