"""What does a rule of `validate` have to go by? The definition's steps, and the account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dripd.campaigns.attached import Attached
from dripd.campaigns.definition import Content, Definition, Match, Step
from dripd.campaigns.handlers import actions_of
from dripd.campaigns.window import WindowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the account has; None = not known, so nothing is said about it.

    `fields`: attrs keys of its contacts; `field_types`: declared fields. `lists`: key to
    whether it is static. `templates`: those of the account, which campaigns share.
    `senders`: address to channel. `features`: the step kinds that the
    plan allows beyond the free ones, None = all. `campaigns`: the other ones, key to name;
    `closed`: those of them that take nobody, key to status; `movers`: the live definitions of
    those that move contacts on.
    `window`: the account's own. `scripts` are those of the configuration.
    `providers`: address to provider. `unlinked`: senders whose mail nobody could unsubscribe
    from, for want of an address that recipients reach.
    """

    fields: frozenset[str] | None = None
    field_types: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, bool] | None = None
    templates: Mapping[str, Content] | None = None
    senders: Mapping[str, str] | None = None
    features: frozenset[str] | None = None
    campaigns: Mapping[str, str] | None = None
    closed: Mapping[str, str] = field(default_factory=dict)
    movers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    postal_address: bool | None = None
    providers: Mapping[str, str] | None = None
    unlinked: frozenset[str] = frozenset()
    scripts: frozenset[str] | None = None
    connectors: frozenset[str] | None = None
    window: WindowSpec | None = None
    zones: frozenset[str] | None = None
    calendars: frozenset[str] | None = None


def steps_of(definition: Definition, *kinds: str) -> Iterator[tuple[str, Step]]:
    """Path and step of every step, of *kinds* or of any kind that could be read."""
    for index, step in enumerate(definition.steps):
        if step.kind and (not kinds or step.kind in kinds):
            yield definition.step_path(index), step


def files_of(definition: Definition) -> Iterator[tuple[str, Attached]]:
    """Path and file of everything that a step or an action attaches."""
    for path, step in (*steps_of(definition), *actions_of(definition)):
        for index, one in enumerate(step.attachments):
            yield f"{path}.attachments[{index}]", one


def own_matches(definition: Definition) -> Iterator[tuple[str, Match]]:
    """Path and match of what listens to the campaign's own events: exit rules, also those that
    are not enabled, goals, steps that wait."""
    for rule in definition.exit_rules:
        if rule.scope == "campaign":
            yield rule.path, rule.match
    if definition.goal is not None:
        yield "goal", definition.goal
    for index, sequence in enumerate(definition.sequences):
        if sequence.goal is not None:
            yield f"sequences[{index}].goal", sequence.goal
    for path, step in steps_of(definition, "wait_for"):
        if step.on is not None:
            yield path, step.on


def matches_of(definition: Definition) -> Iterator[tuple[str, Match]]:
    """As `own_matches`, after what any event of a contact may fit."""
    for index, trigger in enumerate(definition.triggers):
        yield f"triggers[{index}]", trigger
    for index, sequence in enumerate(definition.sequences):
        for no, entry in enumerate(sequence.on):
            yield f"sequences[{index}].on[{no}]", entry
    for rule in definition.exit_rules:
        if rule.scope == "any":
            yield rule.path, rule.match
    yield from own_matches(definition)
