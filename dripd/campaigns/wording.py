"""Can a campaign's words be rendered? Templates, their tags, and how long texts get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dripd.campaigns.definition import NOTICE_CHANNELS, Content, Definition
from dripd.campaigns.document import member
from dripd.campaigns.handlers import actions_of
from dripd.campaigns.known import Known, steps_of
from dripd.campaigns.policies import MANUAL_KINDS
from dripd.campaigns.reader import suggest
from dripd.campaigns.sms import segments
from dripd.campaigns.template import Kind, Template, bare, compile_template, normalise
from dripd.campaigns.tracking import OURS
from dripd.errors import Fault, TemplateError

COLUMNS = frozenset(
    {"external_id", "email", "phone", "timezone", "owner", "service_owner", "company_id"}
)
"""The columns of `contact` that a tag may name."""

USUAL_FIELDS = frozenset(
    {"first_name", "last_name", "name", "company", "title"}
    | {"address", "city", "zip", "country"}
)
"""Fields that need no declaration."""

PARTS: tuple[tuple[str, Kind], ...] = (
    ("subject", "header"), ("text", "text"), ("html", "html"),
)  # fmt: skip
"""The words of a message, and what each is rendered as."""

TEXTS: Mapping[str, str] = dict.fromkeys((*COLUMNS, *USUAL_FIELDS), "text")
"""What they hold, unless the account or the campaign declares another type."""


def _contents(definition: Definition) -> Iterator[tuple[str, Content]]:
    """Where content stands and what it is: the campaign's templates, then the steps' own.

    A template of the account stands where the file first names it.
    """
    for name, content in definition.templates.items():
        yield member("templates", name), content
    shared = dict(definition.shared)
    for path, step in (*steps_of(definition), *actions_of(definition)):
        if not step.template:
            yield path, step.content
        elif step.template in shared:
            yield f"{path}.template", shared.pop(step.template)


def _sources(definition: Definition) -> Iterator[tuple[str, str, Kind]]:
    for path, content in _contents(definition):
        for name, source, kind in _words(content):
            yield f"{path}.{name}", source, kind
    everywhere = (*steps_of(definition), *actions_of(definition))
    for path, step in everywhere:
        if step.kind in NOTICE_CHANNELS:
            yield f"{path}.to", step.to, "header"
    for path, step in (one for one in everywhere if one[1].kind in MANUAL_KINDS):
        if step.title and step.title != step.content.subject:
            yield f"{path}.title", step.title, "text"
        if step.text:
            yield f"{path}.text", step.text, "text"


def _words(content: Content) -> Iterator[tuple[str, str, Kind]]:
    for name, kind in PARTS:
        if source := getattr(content, name):
            yield name, source, kind


def uncompilable(definition: Definition, _known: Known) -> Iterator[Fault]:
    for path, source, kind in _sources(definition):
        try:
            compile_template(source, kind=kind)
        except TemplateError as error:
            yield Fault(code="bad_value", path=path, message=error.message, hint=error.hint)


def _templates(sources: Iterable[tuple[str, str, Kind]]) -> Iterator[tuple[str, Template]]:
    for path, source, kind in sources:
        try:
            yield path, compile_template(source, kind=kind)
        except TemplateError:
            continue  # `uncompilable` says so


def unknown_fields(definition: Definition, known: Known) -> Iterator[Fault]:
    """Tags whose field nobody declared and no contact has."""
    return _unknown(_templates(_sources(definition)), _declared(definition, known))


def unknown_dates(definition: Definition, known: Known) -> Iterator[Fault]:
    """Timers whose field nobody declared and no contact has: every run would be held."""
    fields = COLUMNS | USUAL_FIELDS | {normalise(key) for key in _declared(definition, known)}
    bared = frozenset(map(bare, fields))
    for path, step in steps_of(definition, "date_timer"):
        if step.field and not _is_field(bare(normalise(step.field)), bared):
            yield Fault(
                code=f"unknown_field:{step.field}",
                path=f"{path}.field",
                message=f"no contact has a field {step.field!r} yet",
                hint=_field_hint(normalise(step.field), fields),
            )


def _declared(definition: Definition, known: Known) -> set[str]:
    return {*definition.fields, *known.field_types, *(known.fields or ())}


def unknown_in(content: Content, declared: Iterable[str]) -> Iterator[Fault]:
    """Such tags of words that stand for themselves; *declared* is all that anybody has."""
    return _unknown(_templates(_words(content)), declared)


def _unknown(
    templates: Iterable[tuple[str, Template]], declared: Iterable[str]
) -> Iterator[Fault]:
    fields = COLUMNS | USUAL_FIELDS | {normalise(name) for name in declared}
    bared = frozenset(map(bare, fields))
    for path, template in templates:
        for slot in template.slots:
            if slot.name not in OURS and not _is_field(bare(slot.name), bared):
                yield Fault(
                    code=f"unknown_field:{slot.written}",
                    path=path,
                    message=f"no contact has a field {slot.written!r}",
                    hint=_field_hint(slot.name, fields | OURS),
                )


def _field_hint(name: str, fields: frozenset[str]) -> str:
    near = suggest(name, fields)
    return near if near.startswith("did") else "declare it: `fields: {KEY: text}`"


def _is_field(name: str, fields: frozenset[str]) -> bool:
    scope, dot, key = name.partition(".")
    if dot and scope in {"vars", "company"}:
        return True
    return name in fields or (dot == "." and scope in {"attrs", "contact"} and key in fields)


def long_texts(definition: Definition, _known: Known) -> Iterator[Fault]:
    most = definition.policy.limits.max_sms_segments
    for path, step in () if most is None else steps_of(definition, "sms"):
        try:
            template = compile_template(step.content.text, kind="text")
        except TemplateError:
            continue  # `uncompilable` says so
        n = segments(template.unfilled).n
        if most is not None and n > most:
            yield Fault(
                code="max_sms_segments",
                path=f"{path}.template" if step.template else f"{path}.text",
                message=f"max_sms_segments {n}>{most}, before any value is filled in",
                hint="shorten the text; one emoji or curly quote halves the room",
            )


def bare_tags(definition: Definition, _known: Known) -> Iterator[Fault]:
    if definition.policy.missing_tag != "fallback":
        return
    for path, template in _templates(_sources(definition)):
        for slot in template.slots:
            if slot.fallback is None:
                yield Fault(
                    code="bad_value",
                    path=path,
                    message=f"{{{slot.written}}} has no fallback, so an empty one holds",
                    hint=f"write {{{slot.written}|...}}",
                )


def refused_fields(definition: Definition, known: Known) -> Iterator[Fault]:
    return unknown_fields(definition, known) if known.fields is not None else iter(())


def doubtful_fields(definition: Definition, known: Known) -> Iterator[Fault]:
    return unknown_fields(definition, known) if known.fields is None else iter(())
