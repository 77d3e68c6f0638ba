"""`dripd notification`."""

from __future__ import annotations

import click

from dripd.cli import asking
from dripd.cli.asking import Ask, changing, paged, reading


@click.group()
def notification() -> None:
    """What people were told."""


@notification.command("list")
@asking.account
@click.option("--recipient")
@click.option("--unread", is_flag=True)
@paged
@reading
def list_notifications(ask: Ask, **given: object) -> int:
    """Notifications, by their id."""
    shown = ("id", "kind", "recipient", "enrollment_id", "task_id", "created_at", "read_at")
    return ask.show("notification.list", *shown, **given)


@notification.command("read")
@click.argument("notification_id", metavar="ID", type=int)
@changing
def read(ask: Ask, notification_id: int) -> int:
    """Mark a notification as read."""
    return ask.show("notification.read", id=notification_id)
