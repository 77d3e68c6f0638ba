"""What does a definition still lack? Settings that a draft may do without."""

from __future__ import annotations

from collections.abc import Iterator

from dripd.campaigns.address import meant
from dripd.campaigns.definition import Definition, Step
from dripd.campaigns.handlers import actions_of
from dripd.campaigns.known import Known, files_of, steps_of
from dripd.campaigns.policies import MANUAL_KINDS
from dripd.campaigns.reader import suggest
from dripd.errors import Fault

SETTING_CODES = frozenset(
    {"missing:sender", "missing:board", "missing:notify.field", "missing:postal_address"}
    | {"missing:public_url"}
)


def is_setting(code: str) -> bool:
    """Is this what a draft may lack and a version may not? A setting, or a kind of the plan's."""
    return code in SETTING_CODES or code.startswith(
        ("missing_template:", "missing_settings:", "plan_feature:")
    )


def lacking(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, step in steps_of(definition):
        if _lost(step, definition):
            yield _no_template(path, step, definition, known)
        elif wanted := _wants(step):
            yield Fault(
                code=f"missing_settings:{step.key}",
                path=path,
                message=f"step {step.key!r} lacks {wanted}",
                hint=f"add it, or take the {step.kind} step out",
            )


def lacking_actions(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, action in actions_of(definition):
        if _lost(action, definition):
            yield _no_template(path, action, definition, known)
        elif wanted := _wants(action):
            yield Fault(
                code=f"missing_settings:{path}",
                path=path,
                message=f"the action lacks {wanted}",
                hint=f"add it, or take the {action.kind} out",
            )


def _lost(step: Step, definition: Definition) -> bool:
    return bool(step.template) and step.template not in {
        *definition.templates, *definition.shared,
    }  # fmt: skip


def _no_template(path: str, step: Step, definition: Definition, known: Known) -> Fault:
    return Fault(
        code=f"missing_template:{step.template}",
        path=f"{path}.template",
        message=f"there is no template {step.template!r}",
        hint=suggest(step.template, {*definition.templates, *(known.templates or ())})
        or "write it under `templates`",
    )


def _wants(step: Step) -> str:
    """What *step* needs and does not have, "" for nothing."""
    has = step.content
    lacks = {
        "email": (not has.subject and "a subject") or (not (has.text or has.html) and "a text"),
        "sms": not has.text and "a text",
        "tag_add": not step.tag and "`tag`",
        "tag_remove": not step.tag and "`tag`",
        "list_add": not step.lists and "`list`",
        "list_remove": not step.lists and "`list`",
        "update": not step.ops and "`ops`",
        "move": not step.campaign and "`campaign`",
        "notify_email": (not step.to and "`to`")
        or (not has.subject and "a subject")
        or (not has.text and "a text"),
        "notify_sms": (not step.to and "`to`") or (not has.text and "a text"),
        "date_timer": not step.field and "`field`",
        "wait_for": step.on is None and "`on`",
        "branch": not step.cases and "`cases`",
        "script": not step.called and "`script`",
        "sync": not step.called and "`connector`",
        "social_follow": not step.called and "`network`",
    }
    return lacks.get(step.kind) or ""


def no_sender(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, step in steps_of(definition, "email", "sms"):
        if not step.sender and step.kind == "email":
            yield Fault(
                code="missing:sender",
                path=path,
                message=f"step {step.key!r}: no address to send as",
                hint="add `sender: ADDRESS` to the campaign",
            )
            return
        yield from _strangers(path, step, known)
    for path, action in actions_of(definition):
        yield from _strangers(path, action, known)


def _strangers(path: str, step: Step, known: Known) -> Iterator[Fault]:
    for address in step.sender.split(",") if step.sender else ():
        if known.senders is not None and not meant(address, known.senders):
            yield Fault(
                code="missing:sender",
                path=path,
                message=f"{address!r} is no sender of the account",
                hint=suggest(address, known.senders) or "dripd sender set ADDRESS",
            )


def no_file(definition: Definition, _known: Known) -> Iterator[Fault]:
    for path, one in files_of(definition):
        if not one.sha256:
            yield Fault(
                code="missing:attachment",
                path=path,
                message=f"no file {one.name!r} is beside the campaign file",
                hint="put it there; dripd campaign apply FILE takes it along",
            )


def no_board(definition: Definition, known: Known) -> Iterator[Fault]:
    if not definition.board and any(no_person(definition, known)):
        yield Fault(
            code="missing:board",
            message="the board that has the people to notify is missing",
            hint="add `board: LIST`",
        )
    elif definition.board and known.lists is not None and definition.board not in known.lists:
        yield Fault(
            code="missing:board",
            path="board",
            message=f"there is no list {definition.board!r}",
            hint=suggest(definition.board, known.lists) or "dripd list set KEY --kind board",
        )


def no_person(definition: Definition, _known: Known) -> Iterator[Fault]:
    notify = definition.notify
    if definition.preset != "monday" or notify.field:
        return
    rules = [rule for rule in definition.exit_rules if rule.enabled]
    engaged = any(rule.match.kind in {"reply", "open"} for rule in rules)
    has_task = any(True for _ in steps_of(definition, *MANUAL_KINDS))
    if (
        (notify.task_due and has_task)
        or (notify.ended and engaged)
        or notify.opened
        or any(rule.notify for rule in rules)
    ):
        yield Fault(
            code="missing:notify.field",
            path="notify" if "notify" in definition.raw else "",
            message="who is to be notified is not said",
            hint="add `notify: {field: KEY}`, the attrs key of a person",
        )


def no_public_url(definition: Definition, known: Known) -> Iterator[Fault]:
    if definition.klass == "marketing":
        yield from _unlinked(definition, known, "marketing mail would be held")


def private_links(definition: Definition, known: Known) -> Iterator[Fault]:
    if definition.klass == "personal":
        yield from _unlinked(definition, known, "mail leaves without one-click unsubscribing")


def _unlinked(definition: Definition, known: Known, what: str) -> Iterator[Fault]:
    for path, step in steps_of(definition, "email"):
        if meant(step.sender, known.unlinked):
            yield Fault(
                code="missing:public_url",
                path=path,
                message=f"step {step.key!r}: no link of ours can be followed, so {what}",
                hint="give [gateway] public_url in the daemon's configuration",
            )
            return


def no_postal_address(definition: Definition, known: Known) -> Iterator[Fault]:
    if definition.klass == "marketing" and known.postal_address is False:
        yield Fault(
            code="missing:postal_address",
            path="class",
            message="marketing mail must name a postal address, and the account has none",
            hint="dripd account set KEY --postal-address TEXT",
        )
