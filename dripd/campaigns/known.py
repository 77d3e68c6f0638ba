"""What does a rule of `validate` have to go by? The definition's steps, and the account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dripd.campaigns.attached import Attached
from dripd.campaigns.definition import Content, Definition, Step
from dripd.campaigns.handlers import actions_of
from dripd.campaigns.window import WindowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the account has; None = not known, so nothing is said about it.

    `fields`: attrs keys of its contacts; `field_types`: declared fields. `lists`: key to
    whether it is static. `templates`: those of the account, which campaigns share.
    `senders`: address to channel. `features`: the step kinds that the
    plan allows beyond the free ones, None = all. `campaigns`: the other ones, key to name;
    `movers`: the live definitions of those that move contacts on.
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
