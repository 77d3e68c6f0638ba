"""What does one published version of a campaign ask of the engine? Compiled once, then cached.

Templates are compiled here, and for every step it is known which events the lease must not
overlook, which facts it must bring, and in which lane the step waits.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from dripd.campaigns.address import address_form
from dripd.campaigns.condition import Condition
from dripd.campaigns.definition import Definition, Frequency, Step
from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    FLAG_APPROVED,
    LaneClass,
    LaneKey,
    Needs,
)
from dripd.campaigns.flow import successors
from dripd.campaigns.policies import MANUAL_KINDS
from dripd.campaigns.template import Kind, Template, compile_template, normalise
from dripd.campaigns.tracking import (
    LINK_SLOT,
    OPEN_SLOT,
    OURS,
    Body,
    Link,
    plain,
    tracked,
    with_footer,
)
from dripd.campaigns.window import WindowSpec
from dripd.campaigns.wording import COLUMNS, USUAL_FIELDS

RESET = "reset"
"""What dripd tells itself when a run resets another campaign for its contact."""

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
    RESET: 32768,
}
"""`event_in.kind_bit` of the schema. What ends a run from inside is one bit."""

TASK_CLOSED = "task_closed"
"""What dripd tells itself when a task that a run waits for is closed."""

ENTER = "enter"
"""What dripd tells itself when an event came before the steps that a run has just begun with."""

COMPANY_CHANGED = "company_changed"
"""What dripd tells itself when a company changes: its contacts' runs may be held for that."""

INTERNAL_KINDS = frozenset({TASK_CLOSED, RESET, ENTER, COMPANY_CHANGED})
"""Kinds that concern a contact whatever anybody listens to."""

OWN_KINDS = INTERNAL_KINDS | {"contact_erased"}
"""Kinds that dripd alone tells of."""

KNOWN_KINDS = KIND_BITS.keys() | OWN_KINDS


def is_unknown(kind: str | None, *, internal: bool) -> bool:
    """Is it no kind of event, or one of dripd's own that somebody else tells of?"""
    return kind not in KNOWN_KINDS or (kind in OWN_KINDS and not internal)


ALWAYS = KIND_BITS["reply"] | KIND_BITS["unsubscribe"] | KIND_BITS["complaint"]
ALWAYS |= KIND_BITS["bounce"] | KIND_BITS["contact_erased"]
"""Kinds that no lease passes, whatever the version says."""

CONDITION_NEEDS: Mapping[str, Needs] = {
    "company": Needs.COMPANY,
    "tags": Needs.TAGS,
    "lists": Needs.LISTS,
    "events": Needs.EVENTS,
}


STEP_NEEDS: Mapping[str, Needs] = {
    "tag_add": Needs.TAGS,
    "tag_remove": Needs.TAGS,
    "list_add": Needs.LISTS,
    "list_remove": Needs.LISTS,
    **dict.fromkeys(MANUAL_KINDS, Needs.START),
    "wait_for": Needs.RECENT,
}

LEASED_ALONE = frozenset({"wait_for", "date_timer"})
"""Kinds that wait for what others do: what comes while they are leased is seen for itself."""


CHANGED = KIND_BITS["status_changed"] | KIND_BITS["field_changed"]


def kind_bit(kind: str) -> int:
    """The bits of an event kind; a changed status and a changed field are one event."""
    bit = KIND_BITS.get(kind, 0)
    return CHANGED if bit & CHANGED else bit


@dataclass(frozen=True, slots=True)
class Content:
    """The compiled templates of a step.

    `links` are what its slots `dripd.link.N` stand for; `asks_ours`: some tag is ours to
    fill. `tracked` is the same content as it is watched, None where nothing is.
    """

    subject: Template
    text: Template
    html: Template
    title: Template
    to: Template
    links: tuple[Link, ...] = ()
    asks_ours: bool = False
    tracked: Content | None = None

    def tags(self) -> Iterable[str]:
        """The normalised names that any of them reads."""
        targets = (link.target for link in self.links)
        for template in (self.subject, self.text, self.html, self.title, self.to, *targets):
            yield from (slot.name for slot in template.slots)


class Version:
    """An immutable version, with everything that can be known before a contact is.

    *like*: one whose definition differs in account and sender alone, which compiled the rest.
    *types*: the fields that the account declares beside those of the file.
    """

    def __init__(
        self,
        *,
        cv_id: int,
        account_id: int,
        campaign_id: int,
        campaign_key: str,
        owner: str,
        definition: Definition,
        like: Version | None = None,
        types: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.cv_id = cv_id
        self.account_id = account_id
        self.campaign_id = campaign_id
        self.campaign_key = campaign_key
        self.owner = owner
        self.definition = definition
        self.types = {**types, **definition.fields}
        self.steps: tuple[Step, ...] = definition.steps
        policy = definition.policy
        self.metered = policy.meter == "actions"
        self.billed = policy.billing != "none"
        self.attaches = any(step.attachments for step in self.steps)
        self.contents: tuple[Content, ...] = like.contents if like else self._contents()
        self._follows: Sequence[tuple[int, ...]] = (
            like._follows if like else successors(self.steps)
        )
        self._calendars: tuple[str, ...] = (
            like._calendars if like else tuple(map(self._calendar, self.steps))
        )
        self._hours: tuple[str, ...] = (
            like._hours if like else tuple(map(self._hours_of, self.steps))
        )
        self._masks: Mapping[str, int] = (
            like._masks if like else {name: self._mask(name) for name in ("", "email", "sms")}
        )

    @property
    def frequency(self) -> Frequency | None:
        """How often a contact may be written to; transactional mail is not held to it."""
        is_exempt = self.definition.klass == "transactional"
        return None if is_exempt else self.definition.policy.frequency

    def mask(self, channel: str) -> int:
        """What the lease of a step in a lane of *channel* must know: the event kinds that it
        must not pass, and `Needs` above them. The wheel does not carry the step, so the facts
        are those that any step of that channel reads."""
        return self._masks[channel]

    def maps(self, channel: str) -> bool:
        """Does `field_map` say where *channel* reaches the contact, instead of its own column?"""
        mapped = self.definition.field_map.get("email" if channel == "email" else "phone", "")
        return channel in ("email", "sms") and mapped.startswith("attrs.")

    def is_notice(self, step_key: str | None) -> bool:
        """Does the step of this key tell somebody who is not the contact?"""
        return step_key is not None and step_key in self._notices

    @cached_property
    def _notices(self) -> frozenset[str]:
        return frozenset(step.key for step in self.steps if step.is_notice)

    def leased_alone(self, step_no: int) -> bool:
        """Does no pass perform the step behind another one?"""
        return self.steps[step_no].kind in LEASED_ALONE

    def listens(self, kind: str) -> bool:
        """Can an event of *kind* end or move a run of this version, or decide a `when`?"""
        return bool(kind_bit(kind) & (self.stops_on | self.asks_of))

    @cached_property
    def stops_on(self) -> int:
        """The kinds that can end or move a run of this version."""
        bits = ALWAYS
        definition = self.definition
        for rule in definition.exit_rules:
            if rule.enabled:
                bits |= kind_bit(rule.match.kind)
        goals = (definition.goal, *(one.goal for one in definition.sequences))
        entries = (match for one in definition.sequences for match in one.on)
        for match in (*goals, *entries):
            bits |= 0 if match is None else kind_bit(match.kind)
        if definition.policy.on_list_leave == "remove":
            bits |= KIND_BITS["list_removed"]
        if any(step.reset_on_interaction for step in self.steps):
            bits |= KIND_BITS["interaction"]
        for step in self.steps:
            if step.on is not None:
                bits |= kind_bit(step.on.kind)
            if step.kind == "date_timer":
                bits |= CHANGED
        return bits

    @cached_property
    def asks_of(self) -> int:
        """The kinds that conditions ask for, as in `'click' in events`."""
        bits = 0
        for condition in (one for step in self.steps for one in conditions_of(step)):
            if "events" in condition.needs:
                for kind in KIND_BITS:
                    named = f"'{kind}'" in condition.text or f'"{kind}"' in condition.text
                    bits |= kind_bit(kind) if named else 0
        return bits

    @cached_property
    def resets(self) -> frozenset[str]:
        """The other campaigns that some step resets."""
        named = {step.campaign for step in self.steps if step.kind == "reset_campaign"}
        return frozenset(named - {"", self.campaign_key})

    @cached_property
    def reactions(self) -> Version:
        """The actions of `on_click` and `on_form` as the steps of a version, in their order."""
        actions = tuple(handler.action for handler in self.definition.handlers)
        definition = replace(self.definition, steps=actions, sequences=(), handlers=())
        return Version(
            cv_id=self.cv_id,
            account_id=self.account_id,
            campaign_id=self.campaign_id,
            campaign_key=self.campaign_key,
            owner=self.owner,
            definition=definition,
            types=self.types,
        )

    @cached_property
    def message_channels(self) -> frozenset[str]:
        """Which of email and sms its messages use."""
        return frozenset(step.kind for step in self.steps if step.is_message)

    @cached_property
    def first_message(self) -> int:
        """The index of the first message step, or the number of steps."""
        numbers = (no for no, step in enumerate(self.steps) if step.is_message)
        return next(numbers, len(self.steps))

    def sole_sender(self, channel: str) -> str | None:
        """The address that every message of *channel* leaves from, "" for one of the account's
        pool; None where there are several, or no message."""
        return self._senders.get(channel)

    def is_sole(self, channel: str, address: str) -> bool:
        """Does every message of *channel* leave from *address*, however that is written?"""
        sole = self.sole_sender(channel)
        if not sole or sole == address or "," in sole:
            return sole == address
        return address_form(sole) == address_form(address)

    @cached_property
    def _senders(self) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {}
        for step in self.steps:
            if step.is_message:
                same = found.get(step.kind, step.sender) == step.sender
                found[step.kind] = step.sender if same else None
        return found

    def sends(self, step_no: int, flags: int = 0) -> bool:
        """Does the step send now? A message that a person must approve is a task until then."""
        step = self.steps[step_no]
        if step.is_notice:
            return True
        return step.is_message and (not step.require_approval or bool(flags & FLAG_APPROVED))

    def lane_key(
        self, step_no: int, contact_zone: str | None, zones: Container[str], flags: int = 0
    ) -> LaneKey:
        """The lane in which a step waits. *zones*: the IANA names that exist.

        Approval is asked for when the step is due, whatever the window of its message. What is
        in doubt is looked at in time, whatever is shut.
        """
        if not self.sends(step_no, flags) or self.steps[step_no].is_notice:
            calendar = "" if self.steps[step_no].is_message else self._calendars[step_no]
            kind, channel = LaneClass.INTERNAL, ""
        elif flags & FLAG_AMBIGUOUS:
            calendar, kind, channel = "", LaneClass.IN_DOUBT, self.steps[step_no].kind
        else:
            calendar = self._calendars[step_no]
            first = step_no <= self.first_message
            kind = LaneClass.FIRST if first else LaneClass.FOLLOW_UP
            channel = self.steps[step_no].kind
        zone = "account" if not calendar else self.zone_name(contact_zone, zones)
        return LaneKey(self.campaign_id, int(kind), channel, calendar, zone)

    def calendar(self, step_no: int) -> str:
        """The window that the step is held to, as a lane has it."""
        return self._calendars[step_no]

    def hours(self, step_no: int) -> str:
        """The window by which the days of the step count, as a lane would have it."""
        return self._hours[step_no]

    def zone_name(self, contact_zone: str | None, zones: Container[str]) -> str:
        """The zone in which this version reads times of day, "account" for the account's."""
        if self.definition.timezone == "contact":
            known = contact_zone is not None and contact_zone in zones
            return str(contact_zone) if known else "account"
        return self.definition.timezone

    def _mask(self, channel: str) -> int:
        bits = self.stops_on | self.asks_of
        for no, step in enumerate(self.steps):
            own = step.kind if step.is_message else ""
            if own == channel or (step.require_approval and not channel):
                bits |= self._needs(no)
        if channel == "email" and self.definition.policy.cap == "plan":
            bits |= Needs.COUNTED
        if channel and self.definition.policy.billing != "none":
            bits |= Needs.PAID
        if channel and self.frequency is not None:
            bits |= Needs.SENT
        if channel and not self.maps(channel):
            bits |= Needs.EMAIL if channel == "email" else Needs.SMS
        return bits

    def _needs(self, step_no: int) -> int:
        """The facts beyond the contact that a step reads, and the timing of the next one."""
        step = self.steps[step_no]
        bits = int(STEP_NEEDS.get(step.kind, 0))
        if step.require_approval or step.may_expire:
            bits |= Needs.START
        for condition in conditions_of(step):
            for need in condition.needs:
                bits |= CONDITION_NEEDS.get(need, 0)
        asks = any(self._is_company(tag) for tag in self.contents[step_no].tags())
        asks = asks or step.field.startswith("company.")
        if asks or step.target == "company":
            bits |= Needs.COMPANY
        followers = [self.steps[to] for to in self._follows[step_no]]
        if any(_counts_from_start(one) for one in followers):
            bits |= Needs.START
        has_gap = self.definition.policy.min_gap_ms and any(one.is_message for one in followers)
        if has_gap and _may_send_nothing(step):
            bits |= Needs.SENT
        return bits

    def _contents(self) -> tuple[Content, ...]:
        return tuple(_compile(step, self.definition.klass) for step in self.steps)

    def _is_company(self, tag: str) -> bool:
        """May the company alone have a value for *tag*? Fields of contacts are not asked of it."""
        scope, dot, _ = tag.partition(".")
        if dot and scope in {"vars", "contact", "attrs", "company"}:
            return scope == "company"
        return tag not in self._contact_fields

    @cached_property
    def _contact_fields(self) -> frozenset[str]:
        declared = frozenset(map(normalise, self.definition.fields))
        return COLUMNS | USUAL_FIELDS | OURS | declared

    def _calendar(self, step: Step) -> str:
        return _text_of(self.definition.window_of(step))

    def _hours_of(self, step: Step) -> str:
        return _text_of(self.definition.hours_of(step))


def _text_of(window: WindowSpec | Literal["account"] | None) -> str:
    return window.to_text() if isinstance(window, WindowSpec) else window or ""


def conditions_of(step: Step) -> Iterator[Condition]:
    """Everything that the step asks of the facts."""
    if step.when is not None:
        yield step.when
    yield from (case.when for case in step.cases)


def _may_send_nothing(step: Step) -> bool:
    """May the run go on behind the step without a message of it having left?"""
    passes = step.kind == "sms" and step.on_no_phone == "skip"
    return (
        not step.is_message
        or step.when is not None
        or step.may_expire
        or step.require_approval
        or passes
        or step.on_unable == "skip"
    )


def _counts_from_start(step: Step) -> bool:
    return step.timing.anchor == "after_start" or step.timing.day is not None


def _compile(step: Step, klass: str) -> Content:
    """Marketing mail says whom it is from and how to end it; what is tracked is so twice over."""
    text, html = step.content.text or step.text, step.content.html
    if not step.is_message:
        return _templates(step, Body(text, html))
    if klass == "marketing" and step.kind == "email":
        text, html = with_footer(text, html)
    content = _templates(step, plain(text, html))
    track = step.track
    if not (track.open or track.click):
        return content
    body = tracked(text, html, opens=track.open, clicks=track.click)
    return replace(content, tracked=_templates(step, body))


def _templates(step: Step, body: Body) -> Content:
    header: Kind = "header" if step.channel == "email" else "text"
    content = Content(
        subject=compile_template(step.content.subject, kind=header),
        text=compile_template(body.text, kind="text"),
        html=compile_template(body.html, kind="html"),
        title=compile_template(step.title, kind="text"),
        to=compile_template(step.to, kind="header"),
        links=body.links,
    )
    asks = any(tag in OURS or tag.startswith((LINK_SLOT, OPEN_SLOT)) for tag in content.tags())
    return replace(content, asks_ours=asks)
