"""Who performs which admin method? Every one of `dripd.admin.catalogue.SPECS`, by name.

A name that a client sends is looked up in this mapping and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.daemon import asides
from dripd.daemon.control_account import AccountControl
from dripd.daemon.control_campaign import CampaignControl
from dripd.daemon.control_connector import ConnectorControl
from dripd.daemon.control_console import ConsoleControl
from dripd.daemon.control_dead import DeadControl
from dripd.daemon.control_deployment import DeploymentControl
from dripd.daemon.control_file import FileControl
from dripd.daemon.control_library import LibraryControl
from dripd.daemon.control_quote import QuoteControl
from dripd.daemon.control_room import Door, Hooks, Room
from dripd.daemon.control_run import RunControl
from dripd.daemon.control_sender import SenderControl
from dripd.store import (
    desk_contact,
    desk_delivery,
    desk_list,
    desk_resolve,
    desk_suppress,
    desk_task,
)
from dripd.store.desk_deed import Result
from dripd.store.desk_find import find_account


def handlers(desk: Door, *, hooks: Hooks) -> Mapping[str, Handler]:
    """The handler of every method; `dripd.admin.catalogue.bind` takes them."""
    room = Room(desk, hooks)
    files = FileControl(room)
    found: dict[str, Handler] = {
        **AccountControl(room).handlers(),
        **SenderControl(room).handlers(),
        **_contacts(room),
        **_work(room),
        **files.handlers(),
        **CampaignControl(room, files).handlers(),
        **QuoteControl(room).handlers(),
        **LibraryControl(room, files).handlers(),
        **RunControl(room).handlers(),
        **DeadControl(room).handlers(),
        **DeploymentControl(room).handlers(),
        **ConnectorControl(room).handlers(),
        **ConsoleControl(room).handlers(),
    }
    return {name: room.guarded(handler) for name, handler in found.items()}


def _tail_events(room: Room) -> Handler:
    async def handle(_call: Call, args: p.EventTail) -> Result:
        if args.kind is not None:
            desk_suppress.check_kind(args.kind, asides.KINDS)
        if args.account is not None and args.after is None:  # who follows was told before
            await room.desk.run(find_account, args.account)
        given = {"account": args.account, "kind": args.kind}
        wanted = {name: value for name, value in given.items() if value is not None}
        items, lost, after = room.hooks.events(args.after or 0, args.limit, wanted)
        known = args.after is not None
        return {"items": items, "next": str(after), "lost": lost if known else 0}

    return handle


def _contacts(room: Room) -> dict[str, Handler]:
    return {
        "list.set": room.changing(desk_list.set_list),
        "list.list": room.reading(desk_list.list_lists),
        "list.show": room.reading(desk_list.show_list),
        "list.add": room.changing(desk_list.add_members),
        "list.remove": room.changing(desk_list.remove_members),
        "contact.add": room.changing(desk_contact.add_contact),
        "contact.import": room.changing(desk_contact.import_contacts),
        "contact.list": room.reading(desk_contact.list_contacts),
        "contact.show": room.reading(desk_contact.show_contact),
        "contact.update": room.changing(desk_contact.update_contact),
        "contact.tag": room.changing(desk_contact.tag_contact),
        "contact.untag": room.changing(desk_contact.untag_contact),
        "contact.erase": room.changing(desk_contact.erase_contact),
        "contact.unmask": room.changing(desk_contact.unmask_contact),
    }


def _work(room: Room) -> dict[str, Handler]:
    return {
        "task.list": room.reading(desk_task.list_tasks),
        "task.done": room.changing(desk_task.finish_task),
        "task.cancel": room.changing(desk_task.cancel_task),
        "task.approve": room.changing(desk_task.approve_task),
        "task.edit": room.changing(desk_task.edit_task),
        "task.assign": room.changing(desk_task.assign_task),
        "task.snooze": room.changing(desk_task.snooze_task),
        "task.wake": room.changing(desk_task.wake_task),
        "notification.list": room.reading(desk_task.list_notifications),
        "notification.read": room.changing(desk_task.read_notification),
        "delivery.list": room.reading(desk_delivery.list_deliveries),
        "delivery.show": room.reading(desk_delivery.show_delivery),
        "delivery.resolve": room.changing(desk_resolve.resolve_delivery),
        "suppress.add": room.changing(desk_suppress.add_suppressions),
        "suppress.remove": room.changing(desk_suppress.remove_suppressions),
        "suppress.check": room.reading(desk_suppress.check_suppression),
        "suppress.import": room.changing(desk_suppress.import_suppressions),
        "suppress.export": room.reading(desk_suppress.export_suppressions),
        "event.tail": _tail_events(room),
        "event.add": room.changing(desk_suppress.add_event),
    }
