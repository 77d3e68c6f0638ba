"""Which methods are there? Every one by name, with what it takes and who may call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from dripd.admin import params as p
from dripd.admin.messages import Handler, Method, Spec
from dripd.admin.roles import Role


def reading(
    name: str,
    params: type[msgspec.Struct] = p.Params,
    *,
    view: str | None = None,
    personal: bool = True,
) -> Spec:
    """*view*: the columns that its items are known by, "" for a record, None for no view."""
    key = None if view is None else tuple(view.split())
    return Spec(name=name, params=params, role=Role.VIEWER, view=key, personal=personal)


def changing(
    name: str, params: type[msgspec.Struct], role: Role = Role.MEMBER, *, dry_run: bool = True
) -> Spec:
    return Spec(name=name, params=params, role=role, mutating=True, dry_run=dry_run)


ACCOUNTS: Final = (
    changing("account.set", p.AccountSet, Role.ADMIN),
    reading("account.list", p.AccountList, view="id"),
    reading("account.show", p.AccountKey, view=""),
    changing("account.deposit", p.AccountDeposit, Role.ADMIN),
    changing("account.pause", p.AccountKey, Role.ADMIN),
    changing("account.resume", p.AccountKey, Role.ADMIN),
    changing("sender.set", p.SenderSet, Role.ADMIN),
    reading("sender.list", p.SenderList, view="account_id id", personal=False),
    reading("sender.show", p.SenderShow, view="", personal=False),
    changing("sender.limit", p.SenderLimit, Role.ADMIN),
    changing("sender.test", p.SenderTest, Role.ADMIN, dry_run=False),
    changing("sender.probe", p.SenderKey, Role.ADMIN),
    changing("sender.pause", p.SenderKey, Role.ADMIN),
    changing("sender.resume", p.SenderKey, Role.ADMIN),
    changing("operator.set", p.OperatorSet, Role.ADMIN),
    reading("operator.list", p.Listing, view="account_id name"),
    changing("operator.remove", p.OperatorKey, Role.ADMIN),
    changing("connector.set", p.ConnectorSet, Role.ADMIN),
    reading("connector.list", p.Listing),
    changing("connector.remove", p.ConnectorRemove, Role.ADMIN),
)

CONTACTS: Final = (
    changing("list.set", p.ListSet),
    reading("list.list", p.ListList, view="account_id id"),
    reading("list.show", p.ListShow),
    changing("list.add", p.ListMembers),
    changing("list.remove", p.ListMembers),
    changing("list.trigger_add", p.ListTrigger),
    changing("list.trigger_remove", p.ListTrigger),
    changing("contact.add", p.ContactAdd),
    changing("contact.import", p.Import),
    reading("contact.list", p.ContactList, view="id"),
    reading("contact.show", p.ContactKey, view=""),
    reading("contact.timeline", p.ContactTimeline),
    reading("contact.explain", p.ContactKey, view=""),
    changing("contact.update", p.ContactUpdate),
    changing("contact.tag", p.ContactTag),
    changing("contact.untag", p.ContactTag),
    changing("contact.send", p.ContactSend),
    changing("contact.erase", p.ContactKey, Role.ADMIN),
    changing("contact.unmask", p.ContactKey, Role.ADMIN, dry_run=False),
)

CAMPAIGNS: Final = (
    reading("campaign.validate", p.CampaignDocuments),
    reading("campaign.plan", p.CampaignPlan),
    changing("campaign.apply", p.CampaignDocuments),
    changing("campaign.attach", p.CampaignAttach),
    changing("campaign.publish", p.CampaignPublish),
    changing("campaign.activate", p.CampaignResume),
    changing("campaign.resume", p.CampaignResume),
    changing("campaign.drain", p.CampaignKey),
    changing("campaign.archive", p.CampaignKey),
    changing("campaign.deactivate", p.CampaignStop),
    changing("campaign.pause", p.CampaignStop),
    reading("campaign.list", p.CampaignList, view="account_id key"),
    reading("campaign.show", p.CampaignShow, view=""),
    reading("campaign.diff", p.CampaignDiff),
    reading("campaign.stats", p.CampaignStats, view=""),
    reading("campaign.export", p.CampaignExport, personal=False),
    reading("campaign.quote", p.CampaignQuote),
    reading("campaign.library_list"),
    reading("campaign.library_show", p.LibraryItem, personal=False),
    changing("campaign.library_import", p.LibraryImport),
    changing("campaign.template_set", p.TemplateSet),
    changing("campaign.template_remove", p.TemplateRemove),
    reading("campaign.template_list", p.Listing),
    reading("campaign.template_show", p.TemplateKey),
    changing("campaign.trigger_add", p.CampaignTrigger),
    changing("campaign.trigger_remove", p.CampaignTrigger),
    reading("campaign.trigger_list", p.CampaignTriggerList),
)

RUNS: Final = (
    changing("enroll.add", p.EnrollAdd),
    changing("enroll.import", p.EnrollImport),
    reading("enroll.list", p.EnrollList, view="id"),
    reading("enroll.show", p.EnrollKey, view=""),
    reading("enroll.explain", p.EnrollKey, view=""),
    reading("enroll.simulate", p.EnrollKey, personal=False),
    changing("enroll.stop", p.EnrollStop),
    changing("enroll.reset", p.Selection),
    changing("enroll.move", p.EnrollMove),
    changing("enroll.skip", p.Selection),
    changing("enroll.due_now", p.Selection),
    reading("task.list", p.TaskList, view="id"),
    changing("task.done", p.TaskDone),
    changing("task.approve", p.TaskKey),
    changing("task.edit", p.TaskEdit),
    changing("task.cancel", p.TaskKey),
    changing("task.assign", p.TaskAssign),
    changing("task.snooze", p.TaskSnooze),
    changing("task.wake", p.TaskKey),
    reading("notification.list", p.NotificationList, view="id"),
    changing("notification.read", p.TaskKey, dry_run=False),
    reading("delivery.list", p.DeliveryList, view="id"),
    reading("delivery.show", p.DeliveryKey, view=""),
    changing("delivery.resolve", p.DeliveryResolve),
    reading("dead.list", p.DeadList, view="group"),
    changing("dead.retry", p.DeadRetry),
    changing("dead.discard", p.DeadPick),
    changing("suppress.add", p.SuppressAdd),
    changing("suppress.remove", p.Suppress, Role.ADMIN),
    reading("suppress.check", p.SuppressCheck),
    changing("suppress.import", p.Import),
    reading("suppress.export", p.Listing, view="id"),
    changing("event.add", p.EventAdd),
    reading("event.tail", p.EventTail),
)

DEPLOYMENT: Final = (
    reading("clock.show"),
    changing("clock.set", p.ClockSet, Role.ADMIN, dry_run=False),
    changing("clock.advance", p.ClockAdvance, Role.ADMIN, dry_run=False),
    changing("daemon.pause", p.Everything, Role.ADMIN),
    changing("daemon.resume", p.Everything, Role.ADMIN),
    changing("daemon.adopt", p.Params, Role.ADMIN),
    reading("daemon.status", view=""),
    reading("daemon.overview", p.Overview, view=""),
    reading("alert.list", view="what where", personal=False),
    changing("alert.snooze", p.AlertSnooze, Role.ADMIN),
    changing("alert.wake", p.AlertKey, Role.ADMIN),
    reading("daemon.ready"),
    reading("daemon.whoami", p.InAccount),
    reading("logs.tail", p.LogsTail),
    changing("config.reload", p.Params, Role.ADMIN, dry_run=False),
    changing("logs.level", p.LogsLevel, Role.ADMIN),
    changing("node.drain", p.NodeKey, Role.ADMIN),
    changing("node.undrain", p.NodeKey, Role.ADMIN),
    reading("node.trace"),
    reading("node.list", view="incarnation"),
    reading("audit.verify", p.InAccount),
    reading("audit.list", p.AuditList, view="id"),
)

SPECS: Final[Mapping[str, Spec]] = {
    spec.name: spec for spec in (*ACCOUNTS, *CONTACTS, *CAMPAIGNS, *RUNS, *DEPLOYMENT)
}
"""Every method that the daemon performs; `daemon.version` is the server's own."""

EVERYWHERE: Final = frozenset(spec.name for spec in DEPLOYMENT if spec.mutating)
"""Methods that concern every account, whatever they change."""


def bind(handlers: Mapping[str, Handler]) -> Mapping[str, Method]:
    """The method table, each spec with its handler.

    Raises `ValueError` if a method has no handler or a handler no method.
    """
    if odd := sorted(handlers.keys() ^ SPECS.keys()):
        raise ValueError(f"methods and handlers do not match: {', '.join(odd)}")
    return {name: Method(spec=spec, handler=handlers[name]) for name, spec in SPECS.items()}
