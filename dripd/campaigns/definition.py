"""What does a campaign say? The values that a campaign file is read into.

Everything here is resolved: policies and steps carry their final value, whether the file, the
preset or dripd's default gave it. Who reads files is `parse`; who judges them is `validate`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dripd.campaigns.attached import Attached
from dripd.campaigns.condition import Condition
from dripd.campaigns.window import WindowSpec
from dripd.clock import Millis
from dripd.scheduler.due import Delay, Timing

MESSAGE_KINDS = frozenset({"email", "sms"})
"""The step kinds that owe a delivery; every other kind is internal."""

NOTICE_CHANNELS: Mapping[str, str] = {"notify_email": "email", "notify_sms": "sms"}
"""The step kinds that tell somebody who is not the contact; they owe no delivery."""

AT_ONCE = Millis(0)

Origin: TypeAlias = Literal["file", "preset", "default"]
"""Who gave a policy its value."""

SkipOrExit: TypeAlias = Literal["skip", "exit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """`{on: KIND, ...}` of a trigger, an exit rule or a goal; `params` hold the match keys."""

    kind: str
    params: Mapping[str, object] = field(default_factory=dict)

    def matches(
        self,
        kind: str,
        payload: Mapping[str, object],
        *,
        step_key: str | None = None,
        lists: Container[str] = (),
        machine_opens: bool = False,
    ) -> bool:
        """Does an event of *kind* fit? A key that the rule does not name fits anything.

        *step_key* is the step whose delivery the event concerns, *lists* are the contact's
        lists (for `contact_created`), *machine_opens* the policy `machine_opens: count`.
        An automatic reply is no reply, a field that keeps its value has not changed; a bounce without `type` is a hard one, and a rule
        on `bounce` without `type` asks for a hard one (the engine counts soft ones and
        presents the last as hard).
        """
        if _event_word(kind) != _event_word(self.kind) or _is_noise(
            kind, payload, machine_opens=machine_opens
        ):
            return False
        if kind == "bounce" and "type" not in self.params:
            return (payload.get("type") or "hard") == "hard"
        return all(
            _fits(key, wanted, payload, step_key, lists) for key, wanted in self.params.items()
        )

    def goal_word(self) -> str:
        """`tag:T` or the kind: what follows `goal:` in an `end_reason`."""
        return f"tag:{self.params['tag']}" if "tag" in self.params else self.kind


def _event_word(kind: str) -> str:
    return "field_changed" if kind == "status_changed" else kind


def _is_noise(kind: str, payload: Mapping[str, object], *, machine_opens: bool) -> bool:
    if kind == "reply":
        return payload.get("auto") is True
    if kind in {"open", "click"} and not machine_opens:
        return payload.get("machine") is True
    if _event_word(kind) == "field_changed" and "from" in payload and "to" in payload:
        return payload["from"] == payload["to"]
    return False


def _fits(
    key: str,
    wanted: object,
    payload: Mapping[str, object],
    step_key: str | None,
    lists: Container[str],
) -> bool:
    match key:
        case "step":
            return wanted == step_key
        case "board":
            return wanted in lists
        case "type":
            return (payload.get("type") or "hard") == wanted
        case _:
            return _word(payload.get(key)) == _word(wanted)


def _word(value: object) -> object:
    """Files say `to: 5` where a payload may say `"5"` or 5.0; null equals only null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRule:
    """Ends a run when `match` fits; `set` is written to attrs in the same commit.

    `scope` `campaign` asks for an event that concerns this campaign, `any` for any.
    `path` is where the file has it, empty for a preset's.
    """

    match: Match
    enabled: bool = True
    scope: Literal["campaign", "any"] = "campaign"
    set: Mapping[str, object] = field(default_factory=dict)
    notify: bool = False
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Who hears of what; `field` is the attrs key of a person, None = the owner."""

    field: str | None = None
    task_due: bool = True
    ended: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusivity:
    """`scope`: `account`, `none` or `group:NAME`."""

    scope: str = "none"
    on_busy: Literal["reject", "queue", "move"] = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reentry:
    """Whether a contact may run again, and how soon and often; None = no limit."""

    mode: Literal["once", "after_end", "always"] = "once"
    min_gap_ms: Millis = AT_ONCE
    max_runs: int | None = None
    max_runs_per_day: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a definition may not exceed; None = no limit. Gaps are inclusive."""

    max_messages: int | None = None
    max_gap_days: int | None = None
    max_sms_segments: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frequency:
    """At most `n` messages to a contact in any `per_ms`, across campaigns."""

    n: int
    per_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every policy key, resolved from file, preset and default.

    `origins` maps the key as written in the file (`reentry`, `edit`, ...) to who gave it.
    """

    exclusivity: Exclusivity = field(default_factory=Exclusivity)
    reentry: Reentry = field(default_factory=Reentry)
    edit_active: Literal["allow", "locked"] = "allow"
    edit_inflight: Literal["pin", "terminate", "migrate"] = "pin"
    content: Literal["pinned", "live"] = "pinned"
    pause: Literal["hold", "remove_all"] = "hold"
    deactivate: Literal["hold", "drain", "remove_all"] = "hold"
    on_resume: Literal["keep", "shift"] = "keep"
    on_list_leave: Literal["remove", "ignore"] = "remove"
    require: tuple[str, ...] = ()
    on_no_phone: SkipOrExit = "skip"
    on_unable: SkipOrExit = "skip"
    limits: Limits = field(default_factory=Limits)
    anchor: Literal["after_previous", "after_start"] = "after_previous"
    day_base: int = 0
    delay_unit: Literal["elapsed", "calendar", "business"] = "elapsed"
    min_gap_ms: Millis = AT_ONCE
    billing: Literal["none", "upfront", "per_send"] = "none"
    refund_on: tuple[str, ...] | None = None
    freeze: Literal["at_enroll"] | None = None
    meter: Literal["none", "actions"] = "none"
    cap: Literal["plan", "none"] = "plan"
    missing_tag: Literal["block", "empty", "fallback"] = "block"
    sms_overflow: Literal["hold", "truncate", "send"] = "hold"
    approval_cancel: SkipOrExit = "skip"
    past: Literal["skip", "send_now", "exit"] = "skip"
    blocking: Mapping[str, bool] = field(default_factory=dict)
    soft_bounces: int = 3
    machine_opens: Literal["ignore", "count"] = "ignore"
    frequency: Frequency | None = None
    quiet_hours: Literal["off", "us_tcpa"] = "off"
    individual: Literal["warn", "block"] = "warn"
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxLateness:
    """What becomes of a step that comes more than `after_ms` after its due instant."""

    after_ms: Millis
    then: Literal["send", "skip"] = "send"


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """What is watched about a message; `no_reply_after_ms` None = nothing."""

    open: bool = False
    click: bool = False
    no_reply_after_ms: Millis | None = None
    notify_if_opened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One change of a field; a disabled one is kept for the file but never performed."""

    op: Literal["set", "clear", "add", "remove", "increment", "now"]
    field: str
    value: Any = None
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityType:
    """What a type of request or sale allows; the first word of each is its default.

    `words` by key: `status` and `priority` of a request, `stage` of a sale. `defaults` are
    what a step of the type has where it says nothing.
    """

    words: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What follow-ups, requests and sales say beside their task; all resolved.

    `fields` are further values for whoever takes it over. `slot_ms`: how long a time is to be
    reserved in the assignee's diary, None where none is.
    """

    type: str = ""
    category: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    slot_ms: Millis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case of a branch: the step to go on to where the condition holds."""

    when: Condition
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The templates of a message as written; "" where there is none."""

    subject: str = ""
    text: str = ""
    html: str = ""

    def as_raw(self) -> dict[str, str]:
        """What `Content(**raw)` makes again."""
        return {"subject": self.subject, "text": self.text, "html": self.html}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. Keys that its kind does not have keep their default.

    `timing` already holds the anchor, the unit and what `delay` steps ahead of it moved.
    `next` is a key, `end`, or None for the step below. `window`: None = inherit.
    `sender` is the step's or the campaign's, "" for none. `content` is resolved where the
    campaign owns `template`, or the account has it. `on_unable` and
    `on_no_phone` are resolved. `notify` None = as the campaign says.
    """

    key: str
    kind: str
    name: str = ""
    timing: Timing = field(default_factory=Timing)
    when: Condition | None = None
    next: str | None = None
    window: WindowSpec | Literal["off"] | None = None
    expires_after_ms: Millis | None = None
    max_lateness: MaxLateness | None = None
    reset_on_interaction: bool = False
    require_approval: bool = False
    sender: str = ""
    template: str = ""
    content: Content = field(default_factory=Content)
    attachments: tuple[Attached, ...] = ()
    track: Track = field(default_factory=Track)
    on_no_phone: SkipOrExit = "skip"
    on_unable: SkipOrExit = "skip"
    title: str = ""
    text: str = ""
    assignee: str = ""
    due_ms: Millis | None = None
    reminder_ms: Millis | None = None
    blocking: bool = False
    timeout_ms: Millis | None = None
    on_timeout: Literal["continue", "exit"] = "continue"
    notify: bool | None = None
    tag: str = ""
    lists: tuple[str, ...] = ()
    create_if_missing: bool = False
    target: Literal["contact", "company"] = "contact"
    ops: tuple[Op, ...] = ()
    campaign: str = ""
    to: str = ""
    offset: Delay = field(default_factory=Delay)
    past: Literal["skip", "send_now", "exit"] = "skip"
    on: Match | None = None
    then: str | None = None
    otherwise: str | None = None
    cases: tuple[Case, ...] = ()
    activity: Activity = field(default_factory=Activity)
    field: str = ""
    called: str = ""
    """The script, connector or network that the step calls."""

    @property
    def may_expire(self) -> bool:
        """Can it come too late to be performed?"""
        skips = self.max_lateness is not None and self.max_lateness.then == "skip"
        return skips or self.expires_after_ms is not None

    def expires(self, late: int) -> bool:
        """Is it skipped where it comes *late* by so many milliseconds?"""
        lateness = self.max_lateness
        if lateness is not None and lateness.then == "skip" and late > lateness.after_ms:
            return True
        return self.expires_after_ms is not None and late > self.expires_after_ms

    @property
    def is_message(self) -> bool:
        """Does this step owe a delivery?"""
        return self.kind in MESSAGE_KINDS

    @property
    def is_notice(self) -> bool:
        """Does it send to somebody who is not the contact?"""
        return self.kind in NOTICE_CHANNELS

    @property
    def channel(self) -> str:
        """email, sms, or "" where nothing is sent."""
        return self.kind if self.is_message else NOTICE_CHANNELS.get(self.kind, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A part of a campaign with its own entry: the steps from `start` up to before `stop`.

    An event that fits `on` moves a live run here, or starts one; `goal` ends a run here.
    """

    key: str
    start: int
    stop: int
    on: tuple[Match, ...] = ()
    goal: Match | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """`on_click` or `on_form`: what is done when the link or form *id* is used.

    `action` is read as a step; `path` is where the file has it.
    """

    on: str
    id: str
    action: Step
    path: str
    once_per: Literal["event", "contact"] = "event"

    @property
    def key(self) -> str:
        """What tells it from other handlers, in whatever version."""
        action = self.action
        what = action.tag or ",".join(action.lists) or action.title or action.to
        what = what or action.template or action.content.subject
        what = what or ",".join(f"{op.op} {op.field}" for op in action.ops)
        return f"{self.on}:{self.id}:{self.action.kind}:{what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One version of a campaign. `raw` is what `campaign_version.definition` stores.

    `parse(raw)` gives an equal definition. `window`: None = the account's.
    `owner` "" = who applied the file. `templates` are its own, `shared` those of the account
    that its steps use.
    """

    campaign: str
    account: str
    name: str
    goal_text: str = ""
    owner: str = ""
    board: str = ""
    klass: Literal["personal", "marketing", "transactional"] = "personal"
    preset: str = ""
    sender: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    field_map: Mapping[str, str] = field(default_factory=dict)
    timezone: str = "account"
    window: WindowSpec | Literal["off"] | None = None
    triggers: tuple[Match, ...] = ()
    exit_rules: tuple[ExitRule, ...] = ()
    goal: Match | None = None
    notify: Notify = field(default_factory=Notify)
    policy: Policy = field(default_factory=Policy)
    steps: tuple[Step, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    request_types: Mapping[str, ActivityType] = field(default_factory=dict)
    sale_types: Mapping[str, ActivityType] = field(default_factory=dict)
    categories: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    handlers: tuple[Handler, ...] = ()
    templates: Mapping[str, Content] = field(default_factory=dict)
    shared: Mapping[str, Content] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)

    def step_index(self, key: str) -> int:
        """The 0-based index of the step called *key*. Raises `KeyError`. O(n)."""
        for index, step in enumerate(self.steps):
            if step.key == key:
                return index
        raise KeyError(key)

    def step_path(self, index: int) -> str:
        """Where the file has the step of this index."""
        for no, sequence in enumerate(self.sequences):
            if sequence.start <= index < sequence.stop:
                return f"sequences[{no}].steps[{index - sequence.start}]"
        return f"steps[{index}]"

    def starts(self) -> tuple[int, ...]:
        """The steps at which a run may begin or go on by an event."""
        return tuple(sequence.start for sequence in self.sequences) or (0,)

    def sequence_at(self, index: int) -> int:
        """The number of the sequence in which a step stands, 0 where there are none."""
        places = (n for n, one in enumerate(self.sequences) if one.start <= index < one.stop)
        return next(places, 0)

    def resets_itself(self, sequence: int) -> bool:
        """Does the sequence begin by resetting this campaign?"""
        step = self.steps[self.sequences[sequence].start]
        own = step.campaign in {"", self.campaign}
        return step.kind == "reset_campaign" and own and step.when is None

    def entries(self) -> tuple[Match, ...]:
        """What starts runs: the campaign's triggers, then those of its sequences."""
        inner = (match for sequence in self.sequences for match in sequence.on)
        return (*self.triggers, *inner)

    def next_index(self, index: int, to: str | None = None) -> int | None:
        """The index of the step after *index*, or None if the run ends there.

        *to* is what the step itself decided: a key, or `end`. An `end` step with a condition
        may be skipped, so one may follow it.
        """
        step = self.steps[index]
        target = step.next if to is None else to
        if target == "end" or (step.kind == "end" and step.when is None):
            return None
        if target is not None:
            return self.step_index(target)
        return index + 1 if index + 1 < len(self.steps) else None

    def window_of(self, step: Step) -> WindowSpec | Literal["account"] | None:
        """The window that *step* is held to: None = always open, `account` = the account's.

        The innermost wins. Only messages inherit one: a task appears when it is due,
        unless the step itself names a window.
        """
        if step.window is None and not step.is_message:
            return None
        return self.hours_of(step)

    def hours_of(self, step: Step) -> WindowSpec | Literal["account"] | None:
        """The window by which the days of *step* count: its holidays are no business days, and
        `day_at: window_open` is where it opens. A task has the campaign's as well."""
        found = step.window if step.window is not None else self.window
        if found == "off":
            return None
        return "account" if found is None else found

    def attached_lists(self) -> frozenset[str]:
        """The lists that this file attaches as triggers."""
        return frozenset(
            str(trigger.params["list"])
            for trigger in self.triggers
            if trigger.kind == "list_added" and "list" in trigger.params
        )
