"""What others write: the doors as plain methods, with what the schema's triggers do.

Each call is a transaction of its own. Ids and keys are taken on trust where the SQL doors
would refuse them for their form; a row that a constraint forbids raises `StoreError`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from dripd.campaigns.address import BLANKS
from dripd.campaigns.definition import Content, Definition
from dripd.campaigns.enrollment import End, RunStatus
from dripd.campaigns.migration import Migration
from dripd.clock import Instant
from dripd.errors import StoreError
from dripd.policy.admission_rows import Quote
from dripd.store.memory_changes import (
    add_place,
    add_suppression,
    add_tag,
    change_company,
    change_contact,
    close_task,
    make_list,
    remove_place,
    remove_tag,
)
from dripd.store.memory_desk import migrate_runs, stop_runs
from dripd.store.memory_directory import unpark_reason
from dripd.store.memory_erase import erase_words
from dripd.store.memory_money import write
from dripd.store.memory_rows import (
    Account,
    Campaign,
    CampaignVersion,
    Company,
    Connector,
    Contact,
    EnrollRequest,
    Operator,
    SinkRule,
    Template,
    Trigger,
    Usage,
)
from dripd.store.memory_tables import Ids, Tables
from dripd.store.protocol import SenderRow


class Published(NamedTuple):
    """A campaign and its live version."""

    campaign_id: int
    cv_id: int


def _limits(account: Account) -> tuple[object, str, str | None]:
    """What says when, and how fast, its messages may leave."""
    return account.send_window, account.timezone, account.rate


class Doors:
    """The doors of one deployment in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add_plan(self, key: str, cap: int | None) -> None:
        """A plan, or a new cap for one; None = no cap."""
        self._tables.plans[key] = cap
        for account in self._tables.accounts:
            if account.plan == key:
                self._tables.nudge(account.id)
        self._commit()

    def set_quota(self, plan: str, n: int | None) -> None:
        """How many automation actions a month the plan allows."""
        self._tables.quotas[plan] = n
        for account in self._tables.accounts:
            if account.plan == plan:
                unpark_reason(self._tables, [account.id], "quota")
                self._tables.nudge(account.id)
        self._commit()

    def add_account(
        self,
        key: str,
        *,
        plan: str = "unlimited",
        timezone: str = "UTC",
        send_window: object = None,
        rate: str | None = None,
        subscription_active: bool = True,
        status: str = "active",
        postal_address: str | None = None,
    ) -> int:
        """Returns its id. Raises `StoreError` for a key that is taken or an unknown plan."""
        tables = self._tables
        if tables.account_of(None, key) is not None:
            raise StoreError(f"account {key} exists")
        if plan not in tables.plans:
            raise StoreError(f"plan {plan} does not exist")
        account = Account(
            id=tables.next_id("account"),
            key=key,
            name=None,
            plan=plan,
            timezone=timezone,
            send_window=send_window,
            rate=rate,
            subscription_active=subscription_active,
            status=status,
            postal_address=postal_address,
        )
        tables.accounts.add(account.id, account)
        tables.nudge(account.id)
        self._commit()
        return account.id

    def set_account(self, account_id: int, **columns: object) -> None:
        """Change columns of an account; its gates follow."""
        account = self._tables.accounts[account_id]
        before, limits = account.is_open, _limits(account)
        self._tables.accounts.change(account_id, **columns)
        self._tables.nudge(account_id)
        if _limits(account) != limits:
            for reason in ("window", "rate", "cap"):  # a cap's lane opens with its window
                unpark_reason(self._tables, [account_id], reason)
        if account.is_open != before:
            self._tables.refresh_gates([account_id])
        self._commit()

    def set_prices(self, account_id: int, **prices: str) -> None:
        """The price of each channel, such as `sms="0.01"`."""
        self.set_account(account_id, prices=dict(prices))

    def deposit(self, account_id: int, amount: str) -> None:
        write(self._tables, account_id, "deposit", Decimal(amount))
        self._commit()

    def add_quote(self, account_id: int, quote_id: str, quote: Quote) -> None:
        self._tables.quotes.add((account_id, quote_id), quote)
        self._commit()

    def add_operator(self, account_id: int, name: str, *, role: str = "member") -> None:
        row = Operator(account_id=account_id, name=name, role=role)
        self._tables.operators.add((account_id, name), row)
        self._commit()

    def add_sender(
        self,
        account_id: int,
        address: str,
        *,
        channel: str = "email",
        provider: str = "sink",
        daily_limit: int | None = None,
        gap: str | None = None,
        weight: int = 1,
    ) -> int:
        row = SenderRow(
            id=self._tables.next_id("account"),
            account_id=account_id,
            address=address,
            channel=channel,
            provider=provider,
            rate=None,
            daily_limit=daily_limit,
            status="active",
            gap=gap,
            weight=weight,
        )
        self._tables.senders.add((account_id, row.id), row)
        self._tables.nudge(account_id)
        self._commit()
        return row.id

    def set_sender(self, account_id: int, sender_id: int, **columns: Any) -> None:
        self._tables.senders.change((account_id, sender_id), **columns)
        self._tables.mind_standstills({account_id})
        opened = {"no_sender", "rate", "cap", "breaker"}
        for park in [one for one in self._tables.parks if one.account_id == account_id]:
            if park.reason in opened:
                self._tables.parks.drop((account_id, park.lane))
        self._tables.nudge(account_id)
        self._commit()

    def set_template(self, account_id: int, key: str, content: Content) -> None:
        row = Template(account_id=account_id, key=key, content=content)
        if (account_id, key) in self._tables.templates:
            self._tables.templates.change((account_id, key), content=content)
        else:
            self._tables.templates.add((account_id, key), row)
        self._tables.nudge(account_id)
        self._commit()

    def declare_field(self, account_id: int, key: str, of_type: str) -> None:
        """A field of its contacts, or of its companies as `company.KEY`."""
        self._tables.field_types.setdefault(account_id, {})[key] = of_type

    def attach(self, account_id: int, data: bytes) -> str:
        """Keep a file; what it is known by."""
        name = sha256(data).hexdigest()
        self._tables.attachments.add((account_id, name), data)
        self._commit()
        return name

    def add_connector(
        self, account_id: int, key: str, url: str, secret: str | None = None
    ) -> None:
        row = Connector(account_id=account_id, key=key, url=url, secret=secret)
        self._tables.connectors.add((account_id, key), row)
        self._tables.nudge(account_id)
        self._commit()

    def add_company(self, account_id: int, attrs: Mapping[str, object]) -> int:
        number = self._tables.next_id()
        row = Company(account_id=account_id, id=number, attrs=copy.deepcopy(dict(attrs)))
        self._tables.companies.add((account_id, number), row)
        self._commit()
        return number

    def set_company(self, account_id: int, company_id: int, **attrs: object) -> None:
        """Merge into attrs; None clears a key. Tells `company_changed`."""
        change_company(self._tables, account_id, company_id, attrs)
        self._commit()

    def add_contact(  # noqa: PLR0913 - the columns of one row
        self,
        account_id: int,
        *,
        external_id: str | None = None,
        email: str | None = None,
        phone: str | None = None,
        timezone: str | None = None,
        owner: str | None = None,
        service_owner: str | None = None,
        company_id: int | None = None,
        attrs: Mapping[str, object] | None = None,
    ) -> int:
        """Returns its id; tells `contact_created`. Raises `StoreError` for a name taken."""
        tables = self._tables
        if external_id is not None and tables.contact_names.at((account_id, external_id)):
            raise StoreError(f"contact {external_id} exists")
        contact = Contact(
            account_id=account_id,
            id=tables.next_id(),
            external_id=external_id,
            email=None if email is None else email.strip(BLANKS),
            phone=None if phone is None else phone.strip(BLANKS),
            timezone=timezone,
            owner=owner,
            service_owner=service_owner,
            company_id=company_id,
            attrs=copy.deepcopy(dict(attrs or {})),
            created_at=tables.now(),
        )
        tables.contacts.add((account_id, contact.id), contact)
        tables.tell(account_id, "contact_created", contact_id=contact.id)
        self._commit()
        return contact.id

    def set_attrs(self, account_id: int, contact_id: int, **attrs: object) -> None:
        """Merge into attrs; None clears a key. Tells `field_changed` for each that changed."""
        change_contact(self._tables, account_id, contact_id, attrs, {})
        self._commit()

    def set_contact(
        self, account_id: int, contact_id: int, **columns: str | int | None
    ) -> None:
        """Set columns such as `email`."""
        change_contact(self._tables, account_id, contact_id, {}, columns)
        self._commit()

    def erase_contact(self, account_id: int, contact_id: int) -> None:
        """Empty a contact, all that tells of it, its tags and lists; tells `contact_erased`, and of nothing else."""
        tables = self._tables
        erase_words(tables, account_id, contact_id)
        empty: dict[str, object] = dict.fromkeys(
            ("email", "phone", "owner", "service_owner", "external_id")
        )
        tables.contacts.change(
            (account_id, contact_id), attrs={}, erased_at=tables.now(), **empty
        )
        for _, _, tag in tables.tags_of.at((account_id, contact_id)):
            remove_tag(tables, account_id, contact_id, tag)
        for _, _, list_id in tables.places_of.at((account_id, contact_id)):
            remove_place(tables, account_id, contact_id, list_id)
        tables.tell(account_id, "contact_erased", contact_id=contact_id)
        self._commit()

    def tag(self, account_id: int, contact_id: int, *tags: str) -> None:
        for word in tags:
            add_tag(self._tables, account_id, contact_id, word)
        self._commit()

    def untag(self, account_id: int, contact_id: int, *tags: str) -> None:
        for word in tags:
            remove_tag(self._tables, account_id, contact_id, word)
        self._commit()

    def list_add(self, account_id: int, contact_id: int, key: str) -> None:
        """Put a contact on a list, which is made if it is not there."""
        number = make_list(self._tables, account_id, key)
        add_place(self._tables, account_id, contact_id, number)
        self._commit()

    def list_remove(self, account_id: int, contact_id: int, key: str) -> None:
        found = self._tables.list_of(account_id, key)
        if found is not None:
            remove_place(self._tables, account_id, contact_id, found.id)
        self._commit()

    def suppress(
        self,
        account_id: int,
        channel: str,
        address: str,
        *,
        reason: str | None = None,
        expires_at: Instant | None = None,
    ) -> None:
        """A standing order never to reach *address*; *account_id* 0 = everywhere."""
        add_suppression(
            self._tables, account_id, channel, address, reason=reason, expires_at=expires_at
        )
        self._commit()

    def enroll(  # noqa: PLR0913 - the columns of one row
        self,
        account: int | str | None,
        campaign_key: str | None,
        contact: int | str | None,
        *,
        source: str | None = None,
        idempotency_key: str | None = None,
        requested_by: str | None = None,
        conversation_ref: str | None = None,
        vars: object = None,  # noqa: A002 - the column's name
        start_at: Instant | None = None,
        quote_id: str | None = None,
    ) -> int:
        """A request: *account* by id or key, *contact* by id or external_id. Returns its id."""
        request = EnrollRequest(
            id=self._tables.next_id("request"),
            account_id=account if isinstance(account, int) else None,
            account_key=account if isinstance(account, str) else None,
            campaign_key=campaign_key,
            contact_id=contact if isinstance(contact, int) else None,
            external_id=contact if isinstance(contact, str) else None,
            source=source,
            idempotency_key=idempotency_key,
            requested_by=requested_by,
            conversation_ref=conversation_ref,
            vars=copy.deepcopy(vars),
            start_at=start_at,
            quote_id=quote_id,
            inserted_at=self._tables.now(),
        )
        self._tables.requests.add(request.id, request)
        self._commit()
        return request.id

    def event(  # noqa: PLR0913 - the columns of one row
        self,
        account_id: int | None,
        kind: str | None,
        *,
        contact_id: int | None = None,
        delivery_id: str | None = None,
        conversation_ref: str | None = None,
        address: str | None = None,
        dedup_key: str | None = None,
        occurred_at: Instant | None = None,
        payload: object = None,
    ) -> int:
        """A row of `event_in`; returns its id. *occurred_at* None = now."""
        event_id = self._tables.tell(
            account_id,
            kind,
            contact_id=contact_id,
            payload=payload,
            delivery_id=delivery_id,
            conversation_ref=conversation_ref,
            address=address,
            dedup_key=dedup_key,
            occurred_at=occurred_at,
            internal=False,
        )
        self._commit()
        return event_id

    def record_usage(self, account_key: str, source: str, n: int) -> None:
        """Messages that others sent: *source* bulk, individual or internal."""
        number = self._tables.next_id()
        self._tables.usage.add(
            number, Usage(id=number, account_key=account_key, source=source, n=n)
        )
        self._commit()

    def close_task(self, account_id: int, task_id: int, state: str) -> None:
        """What an UPDATE of `task.state` does; a run that waits for it is told."""
        close_task(self._tables, account_id, task_id, state)
        self._commit()

    def snooze_task(
        self, account_id: int, task_id: int, until: Instant | None, by: str
    ) -> None:
        """What `dripd task snooze` does, and `wake` where *until* is None."""
        self._tables.tasks.change((account_id, task_id), snoozed_until=until, snoozed_by=by)
        self._commit()

    def sink_rule(
        self, recipient_like: str, answer: str, *, times: int | None = None, account_id: int = 0
    ) -> None:
        """*account_id* 0 = all of them. Raises `StoreError` for a count below 0."""
        if times is not None and times < 0:
            raise StoreError("times are counted down")
        number = self._tables.next_id()
        rule = SinkRule(
            id=number, account_id=account_id, recipient_like=recipient_like, answer=answer,
            times=times,
        )  # fmt: skip
        self._tables.sink_rules.add(number, rule)
        self._commit()

    def add_campaign(
        self,
        account_id: int,
        definition: Definition,
        *,
        terminate: bool = False,
        migration: Migration | None = None,
    ) -> Published:
        """Publish *definition* as the next version of its campaign, made if it is not there.

        Live runs stay on their version, or end, or pass to it by *migration*. Raises `Conflict`
        where that would send a message again; then nothing has changed.
        """

        def work() -> Published:
            made = self._publish(account_id, definition)
            if terminate:
                live = self._live_runs(account_id, made.campaign_id)
                stop_runs(self._tables, live, End(RunStatus.TERMINATED, "edited"))
            if migration is not None:
                migrate_runs(self._tables, account_id, *made, migration)
            return made

        return self._tables.transact(work)

    def migrate_rest(self, account_id: int, published: Published, migration: Migration) -> int:
        """Move the runs that were in flight when their version was *published*; how many still
        are, none once another has been. Raises `Conflict` as the publication."""
        campaign = self._tables.campaigns[account_id, published.campaign_id]
        if campaign.live_cv_id != published.cv_id:
            return 0
        return self._tables.transact(
            lambda: migrate_runs(self._tables, account_id, *published, migration)
        )

    def stop_runs(self, account_id: int, enrollment_ids: Iterable[int]) -> list[int]:
        """An operator stops runs; those that were live."""
        keys = [(account_id, one) for one in enrollment_ids]
        end = End(RunStatus.TERMINATED, "stopped")
        return self._tables.transact(lambda: stop_runs(self._tables, keys, end))

    def _live_runs(self, account_id: int, campaign_id: int) -> list[Ids]:
        return [
            (run.account_id, run.id)
            for run in self._tables.runs
            if (run.account_id, run.campaign_id) == (account_id, campaign_id)
            and run.status is RunStatus.LIVE
        ]

    def _publish(self, account_id: int, definition: Definition) -> Published:
        tables = self._tables
        campaign = tables.campaign_of(account_id, definition.campaign)
        if campaign is None:
            campaign = self._new_campaign(account_id, definition)
        cv_id = tables.next_id("account")
        tables.versions.add(
            cv_id,
            CampaignVersion(
                account_id=account_id,
                id=cv_id,
                campaign_id=campaign.id,
                campaign_key=campaign.key,
                version=len(tables.versions_of.at((account_id, campaign.id))) + 1,
                definition=copy.deepcopy(dict(definition.raw)),
                steps=[(step.key, step.kind) for step in definition.steps],
                shared={key: one.as_raw() for key, one in definition.shared.items()},
            ),
        )
        status = "active" if campaign.status == "draft" else campaign.status
        tables.campaigns.change((account_id, campaign.id), live_cv_id=cv_id, status=status)
        self._attach(campaign, definition)
        tables.nudge(account_id)
        tables.refresh_gates([account_id])
        return Published(campaign.id, cv_id)

    def set_campaign(self, account_id: int, campaign_id: int, **columns: object) -> None:
        """Change columns of a campaign, `status` above all; the gates follow."""
        self._tables.campaigns.change((account_id, campaign_id), **columns)
        self._tables.nudge(account_id)
        self._tables.refresh_gates([account_id])
        self._commit()

    def _new_campaign(self, account_id: int, definition: Definition) -> Campaign:
        campaign = Campaign(
            account_id=account_id,
            id=self._tables.next_id("account"),
            key=definition.campaign,
            name=definition.name,
            status="draft",
            live_cv_id=None,
            owner=definition.owner or None,
            board=definition.board or None,
        )
        return self._tables.campaigns.add((account_id, campaign.id), campaign)

    def _attach(self, campaign: Campaign, definition: Definition) -> None:
        """Triggers of the file replace those of the version before."""
        tables = self._tables
        for old in list(tables.triggers):
            if old.campaign_id == campaign.id and old.origin == "file":
                tables.triggers.drop((old.account_id, old.id))
        for match in definition.entries():
            number = tables.next_id()
            row = Trigger(
                account_id=campaign.account_id,
                id=number,
                campaign_id=campaign.id,
                campaign_key=campaign.key,
                kind=match.kind,
                match=copy.deepcopy(dict(match.params)),
                origin="file",
                after_event_id=tables.last_event_id,
                after_contact_id=max((one.id for one in tables.contacts), default=0),
            )
            tables.triggers.add((campaign.account_id, number), row)

    def _commit(self) -> None:
        self._tables.undo.forget()
