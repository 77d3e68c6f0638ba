"""What looks wrong and yet may be meant? Warnings, which refuse nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dripd.campaigns.bounds import windows_of
from dripd.campaigns.definition import MESSAGE_KINDS, Content, Definition, Match, Step
from dripd.campaigns.flow import order_of, successors
from dripd.campaigns.handlers import actions_of
from dripd.campaigns.known import Known, matches_of, own_matches, steps_of
from dripd.campaigns.parse import read
from dripd.campaigns.reader import suggest
from dripd.campaigns.window import MINUTES_OF_DAY, WindowSpec
from dripd.errors import Fault

NARROW = 30
"""Minutes: a retry after a provider's refusal, or a restart, fits in well."""


def after_exit(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Steps behind one that ends the run by itself: a move, or leaving an attached list."""
    steps, follows = definition.steps, successors(definition.steps)
    exits: dict[int, str] = {}
    alive = set(definition.starts())
    for index in order_of(steps, definition.starts()):
        step = steps[index]
        if index not in alive:
            yield Fault(
                code="unreachable_after_exit",
                path=definition.step_path(index),
                message=f"step {step.key!r} is never performed: {exits[index]!r} ends the run",
                hint=f"move it before {exits[index]!r}",
            )
        elif step.when is not None or not _exits(step, definition):
            alive |= set(follows[index])
            continue
        exits |= dict.fromkeys(follows[index], exits.get(index, step.key))


def _exits(step: Step, definition: Definition) -> bool:
    if step.kind == "move":
        return True
    leaves = step.kind == "list_remove" and definition.policy.on_list_leave == "remove"
    return leaves and not definition.attached_lists().isdisjoint(step.lists)


def loose_resets(definition: Definition, _known: Known) -> Iterator[Fault]:
    """A campaign that resets itself in its course may run in circles."""
    for index, step in enumerate(definition.steps):
        own = step.campaign in {"", definition.campaign}
        sequence = definition.sequence_at(index)
        driven = definition.sequences and definition.sequences[sequence].on
        if step.kind == "reset_campaign" and own and not driven:
            yield Fault(
                code="reset_not_event_driven",
                path=definition.step_path(index),
                message=f"step {step.key!r} resets its own campaign in the course of a run",
                hint="put it first in a sequence that an event enters",
            )


def idle_resets(definition: Definition, _known: Known) -> Iterator[Fault]:
    """An interaction restarts a delay: a day number counts from the start, and 0 is over."""
    for path, step in steps_of(definition):
        if step.reset_on_interaction and not step.timing.restarts:
            by_day = step.timing.day is not None
            yield Fault(
                code="nothing_to_reset",
                path=f"{path}.reset_on_interaction",
                message=f"step {step.key!r} has {'a day' if by_day else 'no delay'}: "
                "an interaction does not put it off",
                hint="a `delay` instead of `day`" if by_day else "give it a delay",
            )


def round_trips(definition: Definition, known: Known) -> Iterator[Fault]:
    """A move to a campaign that leads back here, where both let a contact run again."""
    for path, step in steps_of(definition, "move") if _runs_again(definition) else ():
        way = _way_back(step.campaign, definition.campaign, known, ())
        if way:
            yield Fault(
                code="cycle",
                path=f"{path}.campaign",
                message=f"{' moves to '.join((*way, definition.campaign))}: a contact goes round "
                f"until max_runs_per_day ({definition.policy.reentry.max_runs_per_day}) is reached",
                hint="policy: {reentry: once} in one of them, or a `when` that ends it",
            )


def _way_back(
    key: str, home: str, known: Known, passed: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The campaigns from *key* to one that moves on to *home*."""
    if key in passed or key == home or key not in known.movers:
        return None
    here, (definition, _) = (*passed, key), read(known.movers[key])
    leads = [step.campaign for _, step in steps_of(definition, "move")]
    if not _runs_again(definition):
        return None
    if home in leads:
        return here
    return next(filter(None, (_way_back(one, home, known, here) for one in leads)), None)


def _runs_again(definition: Definition) -> bool:
    """Without end, that is, but for the runs of a day."""
    reentry = definition.policy.reentry
    return reentry.mode != "once" and reentry.max_runs is None


def narrow_windows(definition: Definition, known: Known) -> Iterator[Fault]:
    """Where a small lag, a rate or a retry costs a whole day."""
    for path, spec in windows_of(definition):
        if _span(spec, spec.opens) < NARROW:
            yield _narrow(
                path, f"the window is open for {_span(spec, spec.opens)} minutes a day"
            )
    for path, step in steps_of(definition):
        found = definition.window_of(step)
        window = known.window if found == "account" else found
        for name in ("send_at", "day_at"):
            at = getattr(step.timing, name)
            if not isinstance(window, WindowSpec) or not isinstance(at, int):
                continue
            left, whole = _span(window, at), _span(window, window.opens)
            if left < NARROW <= whole < MINUTES_OF_DAY:
                why = f"step {step.key!r}: its window closes {left} minutes after it is due"
                yield _narrow(f"{path}.{name}", why)


def _span(spec: WindowSpec, minute: int) -> int:
    """Minutes from *minute* to the next closing of the window."""
    return (spec.closes - minute) % MINUTES_OF_DAY or MINUTES_OF_DAY


def _narrow(path: str, why: str) -> Fault:
    return Fault(
        code="narrow_window", path=path,
        message=f"{why}: what a lag, a rate or a retry delays beyond that waits for the next day",
        hint=f"leave {NARROW} minutes at least",
    )  # fmt: skip


def unwatched(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Who waits for an opening or a click that no message of the campaign tells of.

    Without a message of its own it means what others tell, at the door for events.
    """
    messages = list(steps_of(definition, *MESSAGE_KINDS))
    for path, match in _listeners(definition) if messages else ():
        wanted = match.params.get("step")
        heard = [step for _, step in messages if wanted in {None, step.key}]
        if match.kind in _TELLS and not any(_tells(step, match.kind) for step in heard):
            yield _untold(path, match.kind, wanted)
    for path, step in messages:
        if step.track.notify_if_opened and not _tells(step, "open"):
            yield _untold(f"{path}.track.notify_if_opened", "open", step.key)


_TELLS: Mapping[str, str] = {
    "open": "`track: {open: true}` in a mail with html, unless its provider tells of openings",
    "click": "`track: {click: true}` at the message, unless its provider tells of clicks",
}
"""What makes a message tell of each."""


def _untold(path: str, kind: str, step: object) -> Fault:
    who = "no message tells" if step is None else f"step {step!r} does not tell"
    what = "of a click" if kind == "click" else "that it was opened"
    return Fault(code="untracked", path=path, message=f"{who} {what}", hint=_TELLS[kind])


def _tells(step: Step, kind: str) -> bool:
    if kind == "click":
        return step.track.click
    is_known = step.content != Content()
    return step.track.open and (bool(step.content.html) or not is_known)


def _listeners(definition: Definition) -> Iterator[tuple[str, Match]]:
    """What listens to the campaign's own messages; triggers may mean those of others."""
    idle = {rule.path for rule in definition.exit_rules if not rule.enabled}
    yield from (one for one in own_matches(definition) if one[0] not in idle)
    for handler in definition.handlers:
        if handler.on == "click":
            yield handler.path, Match(kind="click")


def quiet_sales(definition: Definition, _known: Known) -> Iterator[Fault]:
    """A sale is a row: only a follow-up or a notice tells its owner what to do about it."""
    told = any(True for _ in steps_of(definition, "follow_up", "notify_email", "notify_sms"))
    for path, step in () if told else steps_of(definition, "sale"):
        yield Fault(
            code="sale_without_notice",
            path=path,
            message=f"step {step.key!r}: nothing follows up on the sale",
            hint="add a follow_up, or a notify_email to its owner",
        )


def same_name(definition: Definition, known: Known) -> Iterator[Fault]:
    for key, name in (known.campaigns or {}).items():
        if key != definition.campaign and name == definition.name:
            yield Fault(
                code="duplicate_name",
                path="name",
                message=f"campaign {key!r} has the same name",
                hint="a name of its own tells them apart",
            )


def unknown_targets(definition: Definition, known: Known) -> Iterator[Fault]:
    """What may still come into being: lists and campaigns that do not exist yet."""
    for path, step in steps_of(definition, "list_add", "list_remove"):
        for key in step.lists:
            if (
                known.lists is not None
                and key not in known.lists
                and not step.create_if_missing
            ):
                yield _absent("list", f"{path}.list", key, known.lists)
    for path, match in matches_of(definition):
        for name in match.params.keys() & {"list", "board"}:
            key = str(match.params[name])
            if known.lists is not None and key not in known.lists:
                yield _absent("list", f"{path}.{name}", key, known.lists)
    others = None if known.campaigns is None else {definition.campaign: "", **known.campaigns}
    for path, step in steps_of(definition, "move", "reset_campaign"):
        key = step.campaign
        if key and others is not None and key not in others:
            yield _absent("campaign", f"{path}.campaign", key, others)
        elif step.kind == "move" and key in known.closed:
            yield Fault(
                code="missing:campaign",
                path=f"{path}.campaign",
                message=f"campaign {key!r} is {known.closed[key]}: a run would end here, removed",
                hint=f"dripd campaign activate {key}",
            )


def twice_done(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Actions on links and forms that do what the flow or another one does, or undo it."""
    flow = [(path, step) for path, step in steps_of(definition)]
    for path, action in actions_of(definition):
        for other, step in flow:
            for target in _targets(action) & _targets(step):
                same = action.kind == step.kind
                yield Fault(
                    code="duplicate_action" if same else "conflicting_action",
                    path=path,
                    message=f"{action.kind} {target[1]!r} is {'done' if same else 'undone'} at {other}",
                    hint="keep it in one place",
                )
        flow.append((path, action))


def _targets(step: Step) -> set[tuple[str, str]]:
    if step.kind in {"tag_add", "tag_remove"}:
        return {("tag", step.tag)}
    return {("list", key) for key in step.lists}


def no_network(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, step in steps_of(definition, "social_follow"):
        if step.called and known.connectors is not None and step.called not in known.connectors:
            yield Fault(
                code="unknown_connector",
                path=f"{path}.network",
                message=f"step {step.key!r}: no connector {step.called!r} follows anybody yet",
                hint=f"dripd connector set {step.called}",
            )


def _absent(what: str, path: str, key: str, known: Mapping[str, object]) -> Fault:
    hint = suggest(key, known) or f"make it before the campaign runs: dripd {what}"
    return Fault(
        code=f"missing:{what}", path=path, message=f"there is no {what} {key!r} yet", hint=hint
    )
