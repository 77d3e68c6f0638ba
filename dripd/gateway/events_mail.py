"""What do the mail providers' events mean? JSON as each of them documents it, as `Happened`.

An event that tells us nothing (queued, deferred) is left out; a field of another type than
documented reads as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from dripd.channels.happening import Happened, Kind, id_of, key_of_reply
from dripd.channels.mime import own_message_id
from dripd.clock import Instant, from_datetime
from dripd.gateway.reply import is_automatic, lowered, references

Json = Mapping[str, Any]

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
    for event in _objects(document):
        kind = kinds.get(_text(event, "event"))
        if kind is None:
            continue
        kind, payload = _sendgrid_payload(event, kind)
        found.append(
            Happened(
                kind=kind,
                id=_text(event, "sg_event_id") or id_of(event),
                at=_seconds(event.get("timestamp")),
                key=_text(event, KEY_NAME),
                provider_id=_text(event, "sg_message_id").partition(".")[0],
                address=_text(event, "email"),
                payload=payload,
            )
        )
    return found


def _sendgrid_payload(event: Json, kind: Kind) -> tuple[Kind, dict[str, object]]:
    if kind == "open":
        return kind, {"machine": True} if event.get("sg_machine_open") is True else {}
    if kind != "bounce":
        return kind, {}
    reason = _text(event, "reason").lower()
    if event.get("event") == "dropped":
        if "unsubscribed" in reason:
            return "unsubscribe", {}
        if "spam report" in reason:
            return "complaint", {}
        return kind, _bounce(hard="bounced" in reason or "invalid" in reason)
    blocked = event.get("type") == "blocked" or _text(event, "status").startswith("4")
    return kind, _bounce(hard=not blocked)


def ses(document: object, deployment: str) -> list[Happened]:
    """The message of an SNS notification: an event, or a feedback notification."""
    event = document if isinstance(document, dict) else {}
    name = _text(event, "eventType") or _text(event, "notificationType")
    mail = _object(event, "mail")
    detail = _object(event, name.lower())
    headers = mail.get("headers")
    by_name = lowered((_text(h, "name"), _text(h, "value")) for h in _objects(headers))
    common = {
        "id": id_of(name, _text(mail, "messageId"), detail),
        "at": _instant(_text(detail, "timestamp")),
        "key": own_message_id(by_name.get("message-id", ""), deployment),
        "provider_id": _text(mail, "messageId"),
    }
    match name:
        case "Delivery":
            return _each("delivered", _strings(detail.get("recipients")), common, {})
        case "Bounce":
            hard = _text(detail, "bounceType") != "Transient"
            who = [
                _text(one, "emailAddress") for one in _objects(detail.get("bouncedRecipients"))
            ]
            return _each("bounce", who, common, _bounce(hard=hard))
        case "Complaint":
            told = _objects(detail.get("complainedRecipients"))
            return _each("complaint", [_text(one, "emailAddress") for one in told], common, {})
        case "Open" | "Click":
            kind: Kind = "open" if name == "Open" else "click"
            return _each(kind, _strings(mail.get("destination")), common, {})
        case "Subscription":
            return _each("unsubscribe", _strings(mail.get("destination")), common, {})
        case "Reject" | "Rendering Failure":
            return _each("failed", _strings(mail.get("destination")), common, {})
    return []


def postmark(document: object, deployment: str) -> list[Happened]:
    """One webhook record, or an inbound mail, which has no `RecordType`."""
    event = document if isinstance(document, dict) else {}
    if "RecordType" not in event:
        return _postmark_inbound(event, deployment) if "Headers" in event else []
    payload: dict[str, object] = {}
    match event["RecordType"]:
        case "Delivery":
            kind: Kind = "delivered"
        case "Bounce":
            kind = "bounce"
            hard = {"HardBounce", "BadEmailAddress", "ManuallyDeactivated"}
            payload = _bounce(hard=_text(event, "Type") in hard)
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
        at=next((at for at in (_instant(_text(event, t)) for t in times) if at), None),
        key=_text(_object(event, "Metadata"), KEY_NAME),
        provider_id=_text(event, "MessageID"),
        address=_text(event, "Recipient") or _text(event, "Email"),
        payload=payload,
    )
    return [one]


def _postmark_inbound(event: Json, deployment: str) -> list[Happened]:
    headers = lowered(
        (_text(one, "Name"), _text(one, "Value")) for one in _objects(event["Headers"])
    )
    sender = _text(_object(event, "FromFull"), "Email") or _text(event, "From")
    to = [_text(one, "Email") for one in _objects(event.get("ToFull"))]
    return [mail_reply(
        _text(event, "MessageID") or id_of(event), headers, _text(event, "Subject"),
        sender, to[0] if to else "", deployment,
    )]  # fmt: skip


def mailgun(document: object, deployment: str) -> list[Happened]:
    """The `event-data` of a webhook."""
    event = document if isinstance(document, dict) else {}
    kinds: Mapping[str, Kind] = {
        "delivered": "delivered", "opened": "open", "clicked": "click", "failed": "bounce",
        "complained": "complaint", "unsubscribed": "unsubscribe",
    }  # fmt: skip
    kind = kinds.get(_text(event, "event"))
    if kind is None:
        return []
    payload: dict[str, object] = {}
    if kind == "bounce":
        payload = _bounce(hard=_text(event, "severity") == "permanent")
    if _text(_object(event, "client-info"), "bot"):
        payload["machine"] = True
    headers = _object(_object(event, "message"), "headers")
    own_id = _text(headers, "message-id")
    one = Happened(
        kind=kind,
        id=_text(event, "id") or id_of(event),
        at=_seconds(event.get("timestamp")),
        key=_text(_object(event, "user-variables"), KEY_NAME)
        or own_message_id(own_id, deployment),
        provider_id=own_id,
        address=_text(event, "recipient"),
        payload=payload,
    )
    return [one]


def mailgun_route(form: Mapping[str, str], deployment: str) -> list[Happened]:
    """An inbound mail that a route posts as a form."""
    headers = lowered(form.items())
    return [mail_reply(
        form.get("Message-Id") or id_of(form), headers, form.get("subject", ""),
        form.get("sender", ""), form.get("recipient", ""), deployment,
    )]  # fmt: skip


def resend(document: object, _deployment: str) -> list[Happened]:
    """One event; the caller's webhook id is its id."""
    event = document if isinstance(document, dict) else {}
    data = _object(event, "data")
    kinds: Mapping[str, Kind] = {
        "email.delivered": "delivered", "email.opened": "open", "email.clicked": "click",
        "email.bounced": "bounce", "email.complained": "complaint",
        "email.suppressed": "bounce", "email.failed": "failed",
    }  # fmt: skip
    kind = kinds.get(_text(event, "type"))
    if kind is None:
        return []
    payload: dict[str, object] = {}
    if kind == "bounce":
        payload = _bounce(hard=_text(_object(data, "bounce"), "type") != "Transient")
    tags = data.get("tags")
    key = _text(tags, KEY_NAME) if isinstance(tags, dict) else ""
    if isinstance(tags, list):
        named = {_text(tag, "name"): _text(tag, "value") for tag in _objects(tags)}
        key = named.get(KEY_NAME, "")
    to = _strings(data.get("to"))
    return _each(kind, to[:1], {
        "id": id_of(event), "at": _instant(_text(event, "created_at")), "key": key,
        "provider_id": _text(data, "email_id"),
    }, payload)  # fmt: skip


def mail_reply(
    own_id: str,
    headers: Mapping[str, str],
    subject: str,
    address: str,
    to: str,
    deployment: str,
) -> Happened:
    """An inbound mail as a reply; what a machine answered says so."""
    return Happened(
        kind="reply",
        id=own_id,
        key=key_of_reply(references(headers), deployment),
        address=address,
        sender=to,
        payload={"auto": True} if is_automatic(headers, subject) else {},
    )


def form_of(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form, urlencoded, in their order."""
    fields = parse_qs(
        body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=500
    )
    return [(name, value) for name, values in fields.items() for value in values]


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


def _objects(value: object) -> list[Json]:
    """The objects of a list, or the one that stands alone."""
    many = value if isinstance(value, list) else [value]
    return [one for one in many if isinstance(one, dict)]


def _object(value: Json, name: str) -> Json:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _text(value: Json, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _seconds(value: object) -> Instant | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Instant(int(value * 1000)) if is_number and 0 < value < 1e11 else None  # type: ignore[operator]  # a number here


def _instant(text: str) -> Instant | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else from_datetime(moment)
