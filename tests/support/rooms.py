"""A small world for the judgement: accounts, senders and versions that are simply said."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import Leased
from dripd.campaigns.links import Links
from dripd.campaigns.parse import parse
from dripd.campaigns.version import Version
from dripd.campaigns.window import WindowSpec, build_window
from dripd.clock import Instant, parse_instant
from dripd.policy.admission_rows import RequestRow
from dripd.policy.inbox_rows import EventRow, RunRow
from dripd.policy.rooms import MissingVersion
from dripd.scheduler.calendar import Window

NOW = parse_instant("2026-03-02T10:00:00Z")
"""A Monday."""

ACCOUNT, CONTACT, RUN = 1, 7, 70
BERLIN = "Europe/Berlin"


@dataclass(slots=True)
class Sender:
    id: int = 5
    address: str = "sales@acme.test"
    channel: str = "email"
    provider: str = "sink"
    status: str = "active"
    owner: str | None = None
    shared: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    campaign_key: str
    match: Match
    after_event_id: int = 0
    cv_id: int | None = None
    after_contact_id: int = 0


@dataclass(slots=True)
class World:
    """One account. `senders` by channel; `office` is its window, `home` its zone."""

    versions: dict[int, Version] = field(default_factory=dict)
    senders: dict[str, Sender] = field(
        default_factory=lambda: {
            "email": Sender(),
            "sms": Sender(6, "+15550000", "sms"),
        }
    )
    home: str = "UTC"
    linked: Links | None = None
    postal: str | None = None
    connectors: frozenset[str] = frozenset()
    office: Window | None = None
    running: bool = True
    attached: list[Trigger] = field(default_factory=list)
    zones: Container[str] = frozenset({"UTC", BERLIN, "America/New_York"})

    def zone(self, account_id: int, name: str) -> tzinfo:
        return ZoneInfo(self.home if name == "account" else name)

    def window(self, account_id: int, calendar: str) -> Window | None:
        if calendar == "account":
            return self.office
        if not calendar:
            return None
        return build_window(WindowSpec.from_text(calendar), lambda _name: frozenset[date]())

    def sender(
        self, account_id: int, channel: str, address: str, contact_id: int
    ) -> Sender | None:
        return self.senders.get(channel)

    def links(self, sender: object) -> Links | None:
        return self.linked

    def has_connector(self, account_id: int, key: str) -> bool:
        return key in self.connectors

    def postal_address(self, account_id: int) -> str | None:
        return self.postal

    def version(self, cv_id: int) -> Version:
        if cv_id not in self.versions:
            raise MissingVersion(cv_id)
        return self.versions[cv_id]

    def addresses(self, account_id: int) -> Sequence[Sender]:
        return list(self.senders.values())

    def reacting(self, account_id: int) -> Sequence[Version]:
        return [one for one in self.versions.values() if one.definition.handlers]

    def is_readable(self, cv_id: int) -> bool:
        return cv_id in self.versions

    def is_running(self, account_id: int, campaign_id: int) -> bool:
        return self.running

    def triggers(self, account_id: int) -> Sequence[Trigger]:
        return self.attached

    def add(self, *steps: Mapping[str, Any], cv_id: int = 1, **top: Any) -> Version:
        version = make_version(*steps, cv_id=cv_id, **top)
        self.versions[cv_id] = version
        return version


def make_version(*steps: Mapping[str, Any], cv_id: int = 1, **top: Any) -> Version:
    """A version of a campaign file with these steps; keys are made where they are missing."""
    document: dict[str, Any] = {
        "campaign": f"c{cv_id}",
        "account": "acme",
        "name": "C",
        "sender": "sales@acme.test",
        **top,
    }
    document["steps"] = [{"key": f"s{no}", **step} for no, step in enumerate(steps)]
    definition = parse(document)
    return Version(
        cv_id=cv_id,
        account_id=ACCOUNT,
        campaign_id=cv_id * 10,
        campaign_key=definition.campaign,
        owner="ann",
        definition=definition,
    )


def email(**keys: Any) -> dict[str, Any]:
    return {"do": "email", "subject": "Hi {First Name|there}", "text": "Hello", **keys}


def sms(**keys: Any) -> dict[str, Any]:
    return {"do": "sms", "text": "Hi {First Name|there}", **keys}


def tag(name: str = "x", **keys: Any) -> dict[str, Any]:
    return {"do": "tag_add", "tag": name, **keys}


def leased(**keys: Any) -> Leased:
    """A step that has just been leased, on time, with a cap taken."""
    known: dict[str, Any] = {
        "account_id": ACCOUNT,
        "lane": 3,
        "due_at": NOW,
        "enrollment_id": RUN,
        "contact_id": CONTACT,
        "cv_id": 1,
        "seq": 1,
        "step_no": 0,
        "run_no": 1,
        "attempt": 0,
        "flags": 0,
        "claim_id": 900,
        "leased_at": NOW,
        "counted": True,
        "local_date": date(2026, 3, 2),
        "email": "ann@example.test",
        "phone": "+15551234",
        "timezone": None,
        "attrs": {"first_name": "Ann"},
    }
    return Leased(**{**known, **keys})


def request(**keys: Any) -> RequestRow:
    """A request that nothing speaks against."""
    known: dict[str, Any] = {
        "id": 1,
        "account_id": ACCOUNT,
        "campaign_key": "c1",
        "campaign_id": 10,
        "campaign_status": "active",
        "cv_id": 1,
        "contact_id": CONTACT,
        "source": None,
        "idempotency_key": None,
        "requested_by": None,
        "conversation_ref": None,
        "vars": None,
        "vars_ok": True,
        "start_at": None,
        "quote_id": None,
        "email": "ann@example.test",
        "phone": "+15551234",
    }
    return RequestRow(**{**known, **keys})


def event(kind: str, **keys: Any) -> EventRow:
    """An event that names our contact and nothing else."""
    known: dict[str, Any] = {
        "id": 100,
        "account_id": ACCOUNT,
        "contact_ids": (CONTACT,),
        "enrollment_id": None,
        "step_key": None,
        "campaign_id": None,
        "conversation_ref": None,
        "address": None,
        "channel": None,
        "occurred_at": NOW,
        "payload": {},
    }
    return EventRow(kind=kind, **{**known, **keys})


def run(**keys: Any) -> RunRow:
    """A live run of our contact that waits for its first step until tomorrow."""
    known: dict[str, Any] = {
        "account_id": ACCOUNT,
        "enrollment_id": RUN,
        "contact_id": CONTACT,
        "campaign_id": 10,
        "cv_id": 1,
        "run_no": 1,
        "step_no": 0,
        "seq": 1,
        "lane": 3,
        "due_at": Instant(NOW + 86_400_000),
        "started_at": NOW,
        "leased": False,
        "hold_reason": None,
        "conversation_ref": None,
        "timezone": None,
    }
    return RunRow(**{**known, **keys})
