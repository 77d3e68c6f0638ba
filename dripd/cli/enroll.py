"""`dripd enroll`: runs of contacts through campaigns."""

from __future__ import annotations

import click

from dripd.admin.closed import RunStatus, words
from dripd.admin.rows import read_rows
from dripd.cli import asking
from dripd.cli.asking import Ask, Command, changing, in_pieces, paged, reading
from dripd.cli.output import print_items, print_json, rows_of
from dripd.cli.rows import fold, read_object

COLUMNS = frozenset({"contact", "start_at", "key"})


@click.group()
def enroll() -> None:
    """Runs of contacts through campaigns."""


def selection(command: Command) -> Command:
    """Which live runs: kinds of condition are and-ed, values of one kind or-ed."""
    for option in (
        click.option("--enrollment", type=int, multiple=True, metavar="ENR"),
        click.option("--contact", multiple=True),
        click.option("--campaign", multiple=True, metavar="KEY"),
        click.option("--list", "list_", multiple=True),
        click.option("--tag", multiple=True),
        click.option("--where", metavar="EXPR", help="Such as attrs.tier == 'gold'."),
        click.option("--not-started", is_flag=True, help="Only runs that sent nothing yet."),
        asking.account,
    ):
        command = option(command)
    return command


@enroll.command("add")
@click.argument("campaign")
@click.argument("contacts", nargs=-1)
@asking.account
@click.option("--backfill", metavar="LIST", help="The members of a list instead.")
@click.option("--key", help="Idempotency key.")
@click.option("--quote", metavar="ID", help="Refused if it costs another amount by now.")
@click.option("--conversation-ref", help="Replies in that conversation stop the run.")
@click.option("--start-at", metavar="T", help="Begin then, not at once.")
@click.option("--source", help="What asked for it, for the record.")
@click.option(
    "--vars", "vars_", metavar="JSON", help="What merge tags and conditions read first."
)
@changing
def add(
    ask: Ask,
    contacts: tuple[str, ...],
    vars_: str | None,
    backfill: str | None,
    **given: object,
) -> int:
    """Enroll contacts, and say what was decided."""
    if bool(contacts) == bool(backfill):
        raise click.UsageError("give contacts, or --backfill LIST")
    given["vars"] = read_object(vars_, path="--vars")
    if backfill:
        return ask.patient().show("enroll.add", backfill=backfill, **given)
    return ask.answer(in_pieces(ask, "enroll.add", "contacts", contacts, **given))


@enroll.command("import")
@click.argument("campaign")
@click.argument("file")
@asking.account
@changing
def import_(ask: Ask, file: str, **given: object) -> int:
    """Enroll the rows of a file; columns besides contact, start_at, key become vars."""
    rows = [fold(rename(row), COLUMNS, "vars") for row in read_rows(file)]
    return ask.answer(in_pieces(ask, "enroll.import", "rows", rows, **given))


def rename(row: dict[str, object]) -> dict[str, object]:
    """A file of contacts names them by external_id."""
    if "contact" in row or "external_id" not in row:
        return row
    return {"contact" if key == "external_id" else key: value for key, value in row.items()}


@enroll.command("list")
@asking.account
@click.option("--campaign")
@click.option("--contact")
@click.option("--status", type=click.Choice(words(RunStatus)))
@click.option("--hold", metavar="REASON", help="missing_tag is every missing_tag:FIELD.")
@click.option("--list", "list_")
@click.option("--tag")
@click.option("--step", metavar="KEY", help="Live runs that are at this step.")
@paged
@reading
def list_runs(ask: Ask, **given: object) -> int:
    """Runs, by their id."""
    shown = (
        "id",
        "campaign_key",
        "external_id",
        "run_no",
        "status",
        "end_reason",
        "step_key",
        "due_at",
        "hold_reason",
        "node",
    )
    return ask.show("enroll.list", *shown, **given)


@enroll.command("show")
@click.argument("enrollment", type=int)
@reading
def show(ask: Ask, enrollment: int) -> int:
    """One run and the steps that it has done."""
    return ask.show("enroll.show", enrollment=enrollment)


@enroll.command("explain")
@click.argument("enrollment", type=int)
@reading
def explain(ask: Ask, enrollment: int) -> int:
    """What a run waits for, and when it goes on."""
    return ask.explain("enroll.explain", enrollment=enrollment)


@enroll.command("simulate")
@click.argument("enrollment", type=int)
@reading
def simulate(ask: Ask, enrollment: int) -> int:
    """What a run would do from now on, if nobody answered and every provider accepted."""
    found = ask.call("enroll.simulate", enrollment=enrollment)
    if ask.as_json:
        print_json(found)
        return 0
    print_items(
        rows_of(found.pop("steps", [])), ("at", "step_key", "kind", "outcome", "reason")
    )
    return ask.answer(found)


@enroll.command("stop")
@selection
@click.option("--reset", is_flag=True, help="Let them enter anew, as if never enrolled.")
@click.option("--reset-stats", is_flag=True, help="And take them out of the counts.")
@changing
def stop(ask: Ask, **given: object) -> int:
    """End live runs."""
    return ask.patient().show("enroll.stop", **given)


@enroll.command("reset")
@selection
@changing
def reset(ask: Ask, **given: object) -> int:
    """Let contacts run again: live runs end, and none counts as a run any more."""
    return ask.patient().show("enroll.reset", **given)


@enroll.command("move")
@selection
@click.option("--to", required=True, metavar="CAMPAIGN")
@changing
def move(ask: Ask, **given: object) -> int:
    """End live runs here and begin them in another campaign."""
    return ask.patient().show("enroll.move", **given)


@enroll.command("skip")
@selection
@changing
def skip(ask: Ask, **given: object) -> int:
    """Pass over the awaiting step."""
    return ask.show("enroll.skip", **given)


@enroll.command("due-now")
@selection
@changing
def due_now(ask: Ask, **given: object) -> int:
    """Let the awaiting step be due now; caps and windows still hold."""
    return ask.show("enroll.due_now", **given)
