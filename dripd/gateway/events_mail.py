"""What do the mail providers' events mean? JSON as each of them documents it, as `Happened`.

An event that tells us nothing (queued, deferred) is left out. Inbound mail is read by
`events_reply`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from dripd.channels.happening import Happened, Kind, id_of
from dripd.channels.mime import own_message_id
from dripd.clock import Instant, from_datetime
from dripd.gateway import events_reply
from dripd.gateway.fields import Json, inner, objects, strings, text
from dripd.gateway.reply import lowered

KEY_NAME = "dripd_key"
"""Under this name our idempotency key travels with a message and comes back."""


def sendgrid(document: object, _deployment: str) -> list[Happened]:
    """The Event Webhook: a list of events."""
    kinds: Mapping[str, Kind] = {
        "delivered": "delivered", "open": "open", "click": "click", "bounce": "bounce",
        "dropped": "bounce", "spamreport": "complaint", "unsubscribe": "unsubscribe",
        "group_unsubscribe": "unsubscribe",
    }  # fmt: skip
    found = []
    for event in objects(document):
        kind = kinds.get(text(event, "event"))
        if kind is None:
            continue
        kind, payload = _sendgrid_payload(event, kind)
        found.append(
            Happened(
                kind=kind,
                id=text(event, "sg_event_id") or id_of(event),
                at=_seconds(event.get("timestamp")),
                key=text(event, KEY_NAME),
                provider_id=text(event, "sg_message_id").partition(".")[0],
                address=text(event, "email"),
                payload=payload,
            )
        )
    return found


def _sendgrid_payload(event: Json, kind: Kind) -> tuple[Kind, dict[str, object]]:
    if kind == "open":
        return kind, {"machine": True} if event.get("sg_machine_open") is True else {}
    if kind != "bounce":
        return kind, {}
    reason = text(event, "reason").lower()
    if event.get("event") == "dropped":
        if "unsubscribed" in reason:
            return "unsubscribe", {}
        if "spam report" in reason:
            return "complaint", {}
        return kind, _bounce(hard="bounced" in reason or "invalid" in reason)
    blocked = event.get("type") == "blocked" or text(event, "status").startswith("4")
    return kind, _bounce(hard=not blocked)


def ses(document: object, deployment: str) -> list[Happened]:
    """The message of an SNS notification: an event, or a feedback notification."""
    event = document if isinstance(document, dict) else {}
    name = text(event, "eventType") or text(event, "notificationType")
    mail = inner(event, "mail")
    detail = inner(event, name.lower())
    headers = mail.get("headers")
    by_name = lowered((text(h, "name"), text(h, "value")) for h in objects(headers))
    common = {
        "id": id_of(name, text(mail, "messageId"), detail),
        "at": _instant(text(detail, "timestamp")),
        "key": own_message_id(by_name.get("message-id", ""), deployment),
        "provider_id": text(mail, "messageId"),
    }
    match name:
        case "Received":
            return events_reply.ses(event, deployment)
        case "Delivery":
            return _each("delivered", strings(detail.get("recipients")), common, {})
        case "Bounce":
            hard = text(detail, "bounceType") == "Permanent"
            who = [
                text(one, "emailAddress") for one in objects(detail.get("bouncedRecipients"))
            ]
            return _each("bounce", who, common, _bounce(hard=hard))
        case "Complaint":
            told = objects(detail.get("complainedRecipients"))
            return _each("complaint", [text(one, "emailAddress") for one in told], common, {})
        case "Open" | "Click":
            kind: Kind = "open" if name == "Open" else "click"
            return _each(kind, strings(mail.get("destination")), common, {})
        case "Subscription" if _leaves(detail):
            return _each("unsubscribe", strings(mail.get("destination")), common, {})
        case "Reject" | "Rendering Failure":
            return _each("failed", strings(mail.get("destination")), common, {})
    return []


def _leaves(detail: Json) -> bool:
    """Does somebody who changed what he gets by SES's own lists want less of it?"""
    after = inner(detail, "newTopicPreferences")
    topics = [
        text(one, "subscriptionStatus") for one in objects(after.get("topicSubscriptionStatus"))
    ]
    return after.get("unsubscribeAll") is True or "OptOut" in topics


def postmark(document: object, deployment: str) -> list[Happened]:
    """One webhook record, or an inbound mail, which has no `RecordType`."""
    event = document if isinstance(document, dict) else {}
    if "RecordType" not in event:
        return events_reply.postmark(event, deployment) if "Headers" in event else []
    payload: dict[str, object] = {}
    match event["RecordType"]:
        case "Delivery":
            kind: Kind = "delivered"
        case "Bounce":
            kind = "bounce"
            hard = {"HardBounce", "BadEmailAddress", "ManuallyDeactivated"}
            payload = _bounce(hard=text(event, "Type") in hard)
            if event.get("Type") in {"SpamNotification", "SpamComplaint"}:
                kind, payload = "complaint", {}
            if event.get("Type") == "AutoResponder":
                kind, payload = "reply", {"auto": True}
        case "SpamComplaint":
            kind = "complaint"
        case "Open":
            kind = "open"
        case "Click":
            kind = "click"
        case "SubscriptionChange" if event.get("SuppressSending") is True:
            kind = "unsubscribe"
        case _:
            return []
    times = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")
    one = Happened(
        kind=kind,
        id=str(event.get("ID") or "") or id_of(event),
        at=next((at for at in (_instant(text(event, t)) for t in times) if at), None),
        key=text(inner(event, "Metadata"), KEY_NAME),
        provider_id=text(event, "MessageID"),
        address=text(event, "Recipient") or text(event, "Email"),
        payload=payload,
    )
    return [one]


def mailgun(document: object, deployment: str) -> list[Happened]:
    """The `event-data` of a webhook."""
    event = document if isinstance(document, dict) else {}
    kinds: Mapping[str, Kind] = {
        "delivered": "delivered", "opened": "open", "clicked": "click", "failed": "bounce",
        "complained": "complaint", "unsubscribed": "unsubscribe",
    }  # fmt: skip
    kind = kinds.get(text(event, "event"))
    if kind is None:
        return []
    payload: dict[str, object] = {}
    if kind == "bounce":
        payload = _bounce(hard=text(event, "severity") == "permanent")
    if text(inner(event, "client-info"), "bot"):
        payload["machine"] = True
    headers = inner(inner(event, "message"), "headers")
    own_id = text(headers, "message-id")
    one = Happened(
        kind=kind,
        id=text(event, "id") or id_of(event),
        at=_seconds(event.get("timestamp")),
        key=text(inner(event, "user-variables"), KEY_NAME)
        or own_message_id(own_id, deployment),
        provider_id=own_id,
        address=text(event, "recipient"),
        payload=payload,
    )
    return [one]


def resend(document: object, _deployment: str) -> list[Happened]:
    """One event; the caller's webhook id is its id."""
    event = document if isinstance(document, dict) else {}
    data = inner(event, "data")
    kinds: Mapping[str, Kind] = {
        "email.delivered": "delivered", "email.opened": "open", "email.clicked": "click",
        "email.bounced": "bounce", "email.complained": "complaint",
        "email.suppressed": "bounce", "email.failed": "failed",
    }  # fmt: skip
    kind = kinds.get(text(event, "type"))
    if kind is None:
        return []
    payload: dict[str, object] = {}
    if kind == "bounce":
        payload = _bounce(hard=text(inner(data, "bounce"), "type") != "Transient")
    tags = data.get("tags")
    key = text(tags, KEY_NAME) if isinstance(tags, dict) else ""
    if isinstance(tags, list):
        named = {text(tag, "name"): text(tag, "value") for tag in objects(tags)}
        key = named.get(KEY_NAME, "")
    to = strings(data.get("to"))
    return _each(kind, to[:1], {
        "id": id_of(event), "at": _instant(text(event, "created_at")), "key": key,
        "provider_id": text(data, "email_id"),
    }, payload)  # fmt: skip


def _each(
    kind: Kind, addresses: Iterable[str], common: Mapping[str, Any], payload: Json
) -> list[Happened]:
    """One for each address; their ids differ where there are several."""
    who = list(addresses)
    return [
        Happened(**{
            **common, "kind": kind, "address": address, "payload": payload,
            "id": common["id"] if len(who) == 1 else f"{common['id']}:{no}",
        })
        for no, address in enumerate(who)
    ]  # fmt: skip


def _bounce(*, hard: bool) -> dict[str, object]:
    return {"type": "hard" if hard else "soft"}


def _seconds(value: object) -> Instant | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Instant(int(value * 1000)) if is_number and 0 < value < 1e11 else None  # type: ignore[operator]  # a number here


def _instant(said: str) -> Instant | None:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return None
    return None if moment.tzinfo is None else from_datetime(moment)
