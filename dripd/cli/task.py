"""`dripd task`."""

from __future__ import annotations

import click

from dripd.admin.closed import TaskKind, TaskState, words
from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def task() -> None:
    """What a person must do."""


@task.command("list")
@asking.account
@click.option("--id", type=int, help="That one alone.")
@click.option("--kind", type=click.Choice(words(TaskKind)))
@click.option("--assignee")
@click.option("--campaign")
@click.option("--state", type=click.Choice(words(TaskState)))
@click.option("--snoozed/--awake", default=None, help="Only those that are; both by default.")
@paged
@reading
def list_tasks(ask: Ask, **given: object) -> int:
    """Tasks, by their id; what waits for each, and until when."""
    shown = (
        "id",
        "kind",
        "title",
        "assignee",
        "due_at",
        "state",
        "campaign_key",
        "blocks",
        "expires_at",
        "snoozed_until",
    )
    return ask.show("task.list", *shown, **given)


@task.command("done")
@click.argument("task_id", metavar="ID", type=int)
@click.option("--text")
@changing
def done(ask: Ask, task_id: int, text: str | None) -> int:
    """Close a task as done."""
    return ask.show("task.done", id=task_id, text=text)


@task.command("approve")
@click.argument("task_id", metavar="ID", type=int)
@changing
def approve(ask: Ask, task_id: int) -> int:
    """Let a message leave as its draft now stands."""
    return ask.show("task.approve", id=task_id)


@task.command("edit")
@click.argument("task_id", metavar="ID", type=int)
@click.option("--subject")
@click.option("--text")
@click.option("--html")
@changing
def edit(ask: Ask, task_id: int, **given: object) -> int:
    """Change the draft of a message that waits for approval, or for somebody to send it."""
    return ask.show("task.edit", id=task_id, **given)


@task.command("cancel")
@click.argument("task_id", metavar="ID", type=int)
@changing
def cancel(ask: Ask, task_id: int) -> int:
    """Close a task undone."""
    return ask.show("task.cancel", id=task_id)


@task.command("assign")
@click.argument("task_id", metavar="ID", type=int)
@click.option("--to", required=True)
@changing
def assign(ask: Ask, task_id: int, to: str) -> int:
    """Give a task to somebody else."""
    return ask.show("task.assign", id=task_id, to=to)


@task.command("snooze")
@click.argument("task_id", metavar="ID", type=int)
@click.option(
    "--for", "lasts", default="1h", show_default=True, metavar="DURATION", help="How long."
)
@click.option("--until", metavar="T", help="Instead: an instant.")
@changing
def snooze(ask: Ask, task_id: int, **given: object) -> int:
    """Keep a task out of the inbox until then; who is to do it is told then, not before."""
    return ask.show("task.snooze", id=task_id, **given)


@task.command("wake")
@click.argument("task_id", metavar="ID", type=int)
@changing
def wake(ask: Ask, task_id: int) -> int:
    """Put a snoozed task back into the inbox."""
    return ask.show("task.wake", id=task_id)
