"""What does an inbound mail mean? Each provider's form of it, as a reply to one of our messages.

Which message it answers is said by its headers, and whether a machine wrote it too; what it
says is read by nobody.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from email.parser import BytesHeaderParser, HeaderParser
from email.utils import getaddresses

import orjson

from dripd.channels.happening import Happened, id_of, key_of_reply
from dripd.gateway.fields import Json, inner, objects, strings, text
from dripd.gateway.reply import is_automatic, lowered, references


def postmark(event: Json, deployment: str) -> list[Happened]:
    """The record of an inbound stream."""
    headers = lowered(
        (text(one, "Name"), text(one, "Value")) for one in objects(event["Headers"])
    )
    sender = text(inner(event, "FromFull"), "Email") or text(event, "From")
    to = [text(one, "Email") for one in objects(event.get("ToFull"))]
    return [_reply(
        text(event, "MessageID") or id_of(event), headers, text(event, "Subject"),
        sender, to[0] if to else "", deployment,
    )]  # fmt: skip


def mailgun(form: Mapping[str, str], deployment: str) -> list[Happened]:
    """What a route posts as a form."""
    headers = lowered(form.items())
    return [_reply(
        form.get("Message-Id") or id_of(form), headers, form.get("subject", ""),
        form.get("sender", ""), form.get("recipient", ""), deployment,
    )]  # fmt: skip


def sendgrid(form: Mapping[str, str], deployment: str) -> list[Happened]:
    """The form of Inbound Parse, or, where it is told to send mail raw, with `email` whole."""
    raw = form.get("headers") or form.get("email", "")
    headers = lowered(HeaderParser().parsestr(raw).items())
    envelope = _envelope(form.get("envelope", ""))
    if envelope.get("from") == "":
        headers["return-path"] = "<>"
    to = strings(envelope.get("to"))
    return [_reply(
        headers.get("message-id") or id_of(dict(form)), headers,
        form.get("subject") or headers.get("subject", ""),
        _address(form.get("from") or headers.get("from", "")) or text(envelope, "from"),
        _address(headers.get("to", "")) or (to[0] if to else ""), deployment,
    )]  # fmt: skip


def _envelope(told: str) -> Json:
    try:
        found = orjson.loads(told)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def ses(event: Json, deployment: str) -> list[Happened]:
    """The notification of a receipt rule; the mail itself is looked at where headers lack."""
    mail = inner(event, "mail")
    headers = lowered(
        (text(one, "name"), text(one, "value")) for one in objects(mail.get("headers"))
    )
    if not headers or mail.get("headersTruncated") is True:
        headers = {**_head(event), **headers}
    to = strings(mail.get("destination"))
    subject = text(inner(mail, "commonHeaders"), "subject") or headers.get("subject", "")
    return [_reply(
        text(mail, "messageId") or id_of(mail), headers, subject,
        _address(headers.get("from", "")) or text(mail, "source"),
        _address(headers.get("to", "")) or (to[0] if to else ""), deployment,
    )]  # fmt: skip


def _head(event: Json) -> dict[str, str]:
    """The headers of the mail as it came, which a rule may have sent along."""
    content = text(event, "content").encode()
    action = inner(inner(event, "receipt"), "action")
    if text(action, "encoding").upper() == "BASE64":
        try:
            content = b64decode(content)
        except binascii.Error:
            return {}
    return lowered(BytesHeaderParser().parsebytes(content).items())


def resend(event: Json, mail: Json, deployment: str) -> list[Happened]:
    """`email.received`; *mail* is what the API answered about it, empty where it knew nothing."""
    data = inner(event, "data")
    headers = lowered((name, str(value)) for name, value in inner(mail, "headers").items())
    to = strings(data.get("to"))
    return [_reply(
        text(data, "email_id") or id_of(data), headers, text(data, "subject"),
        _address(text(data, "from")), _address(to[0] if to else ""), deployment,
    )]  # fmt: skip


def _address(header: str) -> str:
    """The first address of a header, "" for none."""
    found = [address for _, address in getaddresses([header]) if "@" in address]
    return found[0] if found else ""


def _reply(
    own_id: str,
    headers: Mapping[str, str],
    subject: str,
    address: str,
    to: str,
    deployment: str,
) -> Happened:
    """What a machine answered says so."""
    return Happened(
        kind="reply",
        id=own_id,
        key=key_of_reply(references(headers), deployment),
        address=address,
        sender=to,
        payload={"auto": True} if is_automatic(headers, subject) else {},
    )
