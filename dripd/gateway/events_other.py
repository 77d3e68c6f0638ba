"""What do Twilio's callbacks and one's own webhooks mean? As `Happened`, like all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from dripd.channels.happening import KINDS, Happened, Kind
from dripd.gateway.reply import is_stop

HARD = frozenset({"21211", "21214", "21217", "21614", "30005", "30006", "30011"})
"""Twilio's error codes of numbers that no text reaches: none, unknown, or a landline."""

OPTED_OUT = "21610"


def twilio(form: Mapping[str, str], _deployment: str) -> list[Happened]:
    """A status callback of a text that we sent, or a text that somebody sent us."""
    sid, status = form.get("MessageSid", ""), form.get("MessageStatus", "")
    if not sid:
        return []
    if "Body" in form and status in {"", "received"}:
        stop = is_stop(form["Body"]) or form.get("OptOutType") == "STOP"
        return [
            Happened(
                kind="unsubscribe" if stop else "reply",
                id=sid,
                address=form.get("From", ""),
                sender=form.get("To", ""),
                payload={"via": "sms"} if stop else {},
            )
        ]
    if status == "delivered":
        return [_status(form, "delivered", {})]
    if status not in {"undelivered", "failed"}:
        return []
    code = form.get("ErrorCode", "")
    if code == OPTED_OUT:
        return [_status(form, "unsubscribe", {})]
    return [_status(form, "bounce", {"type": "hard" if code in HARD else "soft"})]


def _status(form: Mapping[str, str], kind: Kind, payload: Mapping[str, object]) -> Happened:
    sid = form["MessageSid"]
    return Happened(
        kind=kind,
        id=f"{sid}:{kind}",
        provider_id=sid,
        address=form.get("To", ""),
        payload=payload,
    )


def generic(document: object, own_id: str) -> list[Happened]:
    """`{type, data}` of Standard Webhooks: `data` names account and delivery, key or address.

    *own_id* is that of its envelope. Raises `ValueError` for a type that is none of ours: who
    wrote the sender wants to know.
    """
    event = document if isinstance(document, dict) else {}
    kind, data = event.get("type"), event.get("data")
    if kind not in KINDS or not isinstance(data, dict):
        raise ValueError(f"type must be one of {', '.join(sorted(KINDS))}, data an object")
    payload = data.get("payload")
    return [
        Happened(
            kind=cast("Kind", kind),
            id=own_id,
            key=_text(data, "idempotency_key"),
            provider_id=_text(data, "provider_id"),
            address=_text(data, "address"),
            account=_text(data, "account"),
            delivery_id=_text(data, "delivery_id"),
            conversation_ref=_text(data, "conversation_ref"),
            payload=payload if isinstance(payload, dict) else {},
        )
    ]


def _text(data: Mapping[str, object], name: str) -> str:
    found = data.get(name)
    return found if isinstance(found, str) else ""
