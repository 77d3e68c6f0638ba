"""`dripd campaign`: files, drafts, versions, and what state a campaign is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dripd.admin.closed import CampaignStatus, Inflight, ResumeMode, StopMode, words
from dripd.admin.rows import read_text
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading
from dripd.cli.beside import hand_over, look, pins
from dripd.cli.output import (
    Row,
    cell,
    fault_row,
    print_faults,
    print_json,
    print_record,
    rows_of,
)
from dripd.cli.rows import pairs
from dripd.cli.template import template
from dripd.errors import DefinitionError, Fault, Unreachable

INFLIGHT = click.Choice(words(Inflight))
MODE = click.Choice(words(StopMode))
going_on = click.option(
    "--mode",
    type=click.Choice(words(ResumeMode)),
    help="Do waiting steps keep their due instants, or what remained of their delays?",
)
CHANGES_FOUND = 10
FAULT = ("code", "path", "message", "hint")


@click.group()
def campaign() -> None:
    """Sequences: files, drafts, versions, state."""


campaign.add_command(template)


@campaign.command("validate")
@click.argument("files", nargs=-1, required=True)
@asking.account
@reading
def validate(ask: Ask, files: tuple[str, ...], account: str | None) -> int:
    """Every fault and warning of campaign files; works without a daemon too."""
    documents = read_documents(files)
    try:
        result = ask.call("campaign.validate", documents=documents, account=account)
    except Unreachable:
        items = [item for document in documents for item in judge(document, account)]
        result = {"ok": all(item["ok"] for item in items), "items": items}
    merged = merge(result)
    if not ask.as_json:
        print_judgement(merged)
        return 0 if merged["ok"] else 1
    print_json(merged)
    if merged["ok"]:
        return 0
    faults = tuple(
        Fault(**{k: str(found.get(k, "")) for k in FAULT})
        for found in rows_of(merged["faults"])
    )
    raise DefinitionError("the campaign is not fit to run", faults=faults)


@campaign.command("apply")
@click.argument("files", nargs=-1, required=True)
@asking.account
@changing
def apply(ask: Ask, files: tuple[str, ...], account: str | None) -> int:
    """Store campaign files as drafts, all or none."""
    documents: list[dict[str, object]] = []
    try:
        documents += read_documents(files)
        for file, document in zip(files, documents, strict=True):
            hand_over(ask, look(str(document["text"]), Path(file).parent, account))
        result = ask.call("campaign.apply", documents=documents, account=account)
    except DefinitionError as error:
        if ask.as_json:
            print_json(refused(error, key_of(documents)))
        raise
    merged = merge(result)
    if ask.as_json:
        print_json(merged)
    else:
        print_judgement(merged)
    return 0


@campaign.command("publish")
@click.argument("key")
@asking.account
@click.option("--inflight", type=INFLIGHT, help="What becomes of live runs, this once.")
@click.option("--map", "map_", multiple=True, metavar="OLD=NEW", help="Step keys.")
@changing
def publish(ask: Ask, map_: tuple[str, ...], **given: object) -> int:
    """Make the draft the next version, in one atomic switch."""
    try:
        result = ask.patient().call("campaign.publish", map=pairs(map_, path="--map"), **given)
    except DefinitionError as error:
        if ask.as_json:
            nobody = dict.fromkeys(("pin", "terminate", "migrate"), 0)
            print_json({**refused(error, given["key"]), "inflight": nobody})
        raise
    return ask.answer(result)


@campaign.command("plan")
@click.argument("key_or_file")
@asking.account
@click.option("--inflight", type=INFLIGHT)
@click.option("--map", "map_", multiple=True, metavar="OLD=NEW", help="Step keys.")
@reading
def plan(ask: Ask, key_or_file: str, map_: tuple[str, ...], **given: object) -> int:
    """What publishing would do, and what would refuse it; exit 10 if anything."""
    if is_file(key_or_file):
        given["documents"] = read_documents((key_or_file,))
    else:
        given["key"] = key_or_file
    result = ask.call("campaign.plan", map=pairs(map_, path="--map"), **given)
    if ask.as_json:
        print_json(result)
    else:
        print_plan(result)
    return CHANGES_FOUND if result.get("changes") else 0


@campaign.command("diff")
@click.argument("key")
@asking.account
@click.option("--from", "from_", type=int, help="A version (the live one).")
@click.option("--to", type=int, help="A version (the draft).")
@reading
def diff(ask: Ask, **given: object) -> int:
    """What differs between two versions."""
    result = ask.call("campaign.diff", **given)
    if ask.as_json:
        print_json(result)
    else:
        print_plan(result)
    return 0


@campaign.command("activate")
@click.argument("key")
@asking.account
@going_on
@changing
def activate(ask: Ask, **given: object) -> int:
    """Accept enrollments; publishes the draft if there is no version yet."""
    return ask.patient().show("campaign.activate", **given)


@campaign.command("resume")
@click.argument("key")
@asking.account
@going_on
@changing
def resume(ask: Ask, **given: object) -> int:
    """Go on after a pause."""
    return ask.show("campaign.resume", **given)


@campaign.command("deactivate")
@click.argument("key")
@asking.account
@click.option("--mode", type=MODE, help="What becomes of live runs, this once.")
@changing
def deactivate(ask: Ask, **given: object) -> int:
    """Accept no enrollments; live runs as the policy says."""
    return ask.patient().show("campaign.deactivate", **given)


@campaign.command("pause")
@click.argument("key")
@asking.account
@click.option("--mode", type=MODE, help="What becomes of live runs, this once.")
@changing
def pause(ask: Ask, **given: object) -> int:
    """Stop for a while; live runs as the policy says."""
    return ask.patient().show("campaign.pause", **given)


@campaign.command("drain")
@click.argument("key")
@asking.account
@changing
def drain(ask: Ask, **given: object) -> int:
    """Accept no enrollments, let live runs end."""
    return ask.patient().show("campaign.drain", **given)


@campaign.command("archive")
@click.argument("key")
@asking.account
@changing
def archive(ask: Ask, **given: object) -> int:
    """Put an ended campaign away."""
    return ask.show("campaign.archive", **given)


@campaign.command("list")
@asking.account
@click.option("--board")
@click.option("--status", type=click.Choice(words(CampaignStatus)))
@click.option("--figures", is_flag=True, help="And how they go, about.")
@paged
@reading
def list_campaigns(ask: Ask, *, figures: bool, **given: object) -> int:
    """The campaigns of an account, or of all."""
    shown = ("account_key", "key", "name", "status", "live_version", "has_draft", "owner")
    more = ("figures",) if figures else ()
    return ask.show("campaign.list", *shown, *more, figures=figures or None, **given)


@campaign.command("show")
@click.argument("key")
@asking.account
@click.option("--policy", is_flag=True, help="Every policy value and where it comes from.")
@click.option("--version", type=int)
@reading
def show(ask: Ask, **given: object) -> int:
    """One campaign: its state and triggers; with --json its file as an object."""
    found = ask.call("campaign.show", **given)
    if ask.as_json:
        print_json(found)
        return 0
    print_record({key: value for key, value in found.items() if key != "definition"})
    click.echo(f"its file: dripd campaign export {given['key']}", err=True)
    return 0


@campaign.command("stats")
@click.argument("key")
@asking.account
@click.option("--version", type=int, help="The steps of this version alone.")
@reading
def stats(ask: Ask, **given: object) -> int:
    """How many are in, through and out, and what each step did."""
    return ask.show("campaign.stats", **given)


@campaign.command("quote")
@click.argument("key")
@asking.account
@click.option("--contact", required=True)
@reading
def quote(ask: Ask, **given: object) -> int:
    """What it would cost a contact to run, and when each message would leave."""
    result = ask.call("campaign.quote", **given)
    if ask.as_json:
        print_json(result)
        return 0
    for one in rows_of(result.get("messages")):
        parts = [one.get("at"), one.get("step_key"), one.get("channel"), one.get("price")]
        if one.get("missed_s") is not None:
            parts.append(f"its window has closed {one['missed_s']:g} s before it comes due")
        click.echo("  ".join(str(part) for part in parts))
    missed = [row for row in rows_of(result.get("missed")) if row["n"]]
    print_record({k: v for k, v in result.items() if k != "messages"} | {"missed": missed})
    return 0


@campaign.command("export")
@click.argument("key")
@asking.account
@click.option("--version", type=int)
@reading
def export(ask: Ask, **given: object) -> int:
    """The campaign as a file, in a stable order."""
    result = ask.call("campaign.export", **given)
    if ask.as_json:
        print_json(result)
    else:
        click.echo(str(result.get("text", "")), nl=False)
    return 0


@campaign.group()
def library() -> None:
    """Ready campaigns to look at and to copy."""


@library.command("list")
@reading
def list_library(ask: Ask) -> int:
    """What there is, and what for."""
    return ask.show("campaign.library_list", "key", "name", "preset", "steps", "description")


@library.command("show")
@click.argument("item")
@reading
def show_library(ask: Ask, item: str) -> int:
    """One of them, as a campaign file."""
    result = ask.call("campaign.library_show", item=item)
    if ask.as_json:
        print_json(result)
    else:
        click.echo(str(result.get("text", "")), nl=False)
    return 0


@library.command("import")
@click.argument("item")
@asking.account
@changing
def import_library(ask: Ask, **given: object) -> int:
    """Make a draft of your own of one of them; here --as is the key that it gets."""
    own = replace(ask, as_name=None)
    return own.show("campaign.library_import", as_key=ask.as_name, **given)


for option in import_library.params:
    if isinstance(option, click.Option) and option.name == "as_name":
        option.help, option.metavar = "The key of your campaign.", "KEY"


@campaign.group()
def trigger() -> None:
    """What enrolls contacts by itself."""


def match(command: asking.Command) -> asking.Command:
    for name in ("tag", "field", "to", "from", "board", "form", "link", "step"):
        command = click.option(f"--{name}", f"{name}_")(command)
    return click.option("--list", "list_", metavar="LIST")(command)


@trigger.command("add")
@click.argument("campaign")
@asking.account
@click.option("--on", required=True, metavar="KIND", help="Such as tag_added.")
@match
@changing
def add_trigger(ask: Ask, **given: object) -> int:
    """Enroll on events of KIND that match; no edit of the campaign."""
    return ask.show("campaign.trigger_add", **given)


@trigger.command("remove")
@click.argument("campaign")
@asking.account
@click.option("--on", required=True, metavar="KIND")
@match
@changing
def remove_trigger(ask: Ask, **given: object) -> int:
    """Take a trigger away."""
    return ask.show("campaign.trigger_remove", **given)


@trigger.command("list")
@click.argument("campaign")
@asking.account
@reading
def list_triggers(ask: Ask, **given: object) -> int:
    """The triggers of a campaign, also those of its file."""
    return ask.show("campaign.trigger_list", **given)


def is_file(text: str) -> bool:
    return text == "-" or "/" in text or text.endswith((".yaml", ".yml", ".json"))


def read_documents(files: tuple[str, ...]) -> list[dict[str, object]]:
    return [read_document(file) for file in files]


def read_document(file: str) -> dict[str, object]:
    """A campaign file as it is sent, with what the files beside it hold where it names some."""
    text = read_text(file)
    found = pins(look(text, Path(file).parent))
    return {"filename": Path(file).name, "text": text, **({"files": found} if found else {})}


def judge(document: Mapping[str, Any], account: str | None) -> list[dict[str, object]]:
    """What can be said of a campaign file without a daemon, one answer a document in it."""
    from dripd.campaigns.attached import pinned  # noqa: PLC0415 - 80 ms of YAML and rules
    from dripd.campaigns.document import load_documents  # noqa: PLC0415 - that asking a daemon
    from dripd.campaigns.known import Known  # noqa: PLC0415 - needs not
    from dripd.campaigns.validate import check  # noqa: PLC0415
    from dripd.engine.calendars import known_calendars, known_zones  # noqa: PLC0415

    try:
        found = load_documents(document["text"], filename=document["filename"])
    except DefinitionError as error:
        return [verdict(None, error.faults, ())]
    docs = [pinned(one, document.get("files", {})) for one in found]
    known = Known(zones=known_zones(), calendars=known_calendars())
    judged = [(doc, check(doc, known, account=account or "")[1]) for doc in docs]
    return [verdict(doc.get("campaign"), r.faults, r.warnings) for doc, r in judged]


def verdict(
    key: object, faults: tuple[Fault, ...], warnings: tuple[Fault, ...]
) -> dict[str, object]:
    return {
        "ok": not faults,
        "campaign": key,
        "version": None,
        "draft": None,
        "changed": None,
        "faults": [fault_row(fault) for fault in faults],
        "warnings": [fault_row(fault) for fault in warnings],
    }


def merge(result: Row) -> dict[str, object]:
    """The answer for all documents: of one, its own; of several, all faults together."""
    items = rows_of(result.get("items"))
    if len(items) == 1:
        return dict(items[0])
    return {
        "ok": all(item.get("ok") for item in items),
        "campaign": None,
        "version": None,
        "draft": None,
        "changed": any(item.get("changed") for item in items),
        "faults": [fault for item in items for fault in rows_of(item.get("faults"))],
        "warnings": [fault for item in items for fault in rows_of(item.get("warnings"))],
        "items": items,
    }


def refused(error: DefinitionError, key: object) -> dict[str, object]:
    """The answer where faults refused everything; the error itself goes to stderr."""
    found = [fault_row(fault) for fault in error.faults]
    nothing = {"campaign": key, "version": None, "draft": None, "changed": False}
    return {"ok": False, **nothing, "faults": found, "warnings": []}


def key_of(documents: Sequence[Mapping[str, Any]]) -> object:
    """Whose file it is; None where there are several, or one that cannot be read."""
    from dripd.campaigns.document import load_documents  # noqa: PLC0415 - 80 ms of YAML

    try:
        found = [one for given in documents for one in load_documents(given["text"])]
    except DefinitionError:
        return None
    return found[0].get("campaign") if len(found) == 1 else None


def print_judgement(result: Row) -> None:
    print_faults(rows_of(result.get("faults")), "")
    print_faults(rows_of(result.get("warnings")), "warning: ")
    for item in rows_of(result.get("items")) or [result]:
        rest = {k: v for k, v in item.items() if k not in ("faults", "warnings")}
        print_record(rest)


def print_plan(result: Row) -> None:
    for change in rows_of(result.get("changes")):
        place = ".".join(str(change[k]) for k in ("step", "path") if change.get(k))
        sides = [cell(change[k]) for k in ("old", "new") if change.get(k) is not None]
        click.echo(f"{change['op']} {place}: {' -> '.join(sides)}")
    for move in rows_of(result.get("moves")):
        click.echo(f"{move['n']} runs at {move['step']} -> {move['to'] or 'completed'}")
    for fault in rows_of(result.get("faults")):
        click.echo(f"[{fault['code']}] {fault['message']}; {fault['hint']}")
    shown = {"changes", "moves", "faults"}
    print_record({k: v for k, v in result.items() if k not in shown})
