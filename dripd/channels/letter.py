"""A mail as providers' APIs want it: addresses apart, headers checked, our id among them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from typing import Final

from dripd.channels.base import Attachment, Message
from dripd.channels.mime import Unsendable, address, check_header, message_id

REPLY_TO: Final = "reply-to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """An address, and the name in front of it or nothing."""

    email: str
    name: str

    def __str__(self) -> str:
        if not self.name:
            return self.email
        quoted = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{self.email}>'


@dataclass(slots=True)
class Letter:
    """What of a message every API asks for. `headers` has the Message-ID, never Reply-To."""

    to: str
    sender: Mailbox
    reply_to: Mailbox | None
    headers: dict[str, str]


def write(message: Message) -> Letter:
    """Raises `Unsendable` for what no mail can carry."""
    check_header("Subject", message.subject)
    own_id = message.message_id or message_id(message.idempotency_key, message.sender)
    headers = {"Message-ID": own_id}
    reply_to: Mailbox | None = None
    for name, value in message.headers.items():
        check_header(name, value)
        if name.lower() == REPLY_TO:
            reply_to = mailbox(value)
        else:
            headers[name] = value
    for attachment in message.attachments:
        check_attachment(attachment)
    return Letter(address(message.to), mailbox(message.sender), reply_to, headers)


@lru_cache(maxsize=4_096)
def mailbox(text: str) -> Mailbox:
    """`a@b` or `Name <a@b>`. Raises `Unsendable` if it is neither."""
    name = parseaddr(text)[0] if "<" in text else ""
    return Mailbox(email=address(text), name=name)


def check_attachment(attachment: Attachment) -> None:
    """Raise `Unsendable` for a name or a type that a header cannot carry."""
    for value in (attachment.name, attachment.media_type):
        if not value or not value.isprintable() or '"' in value:
            raise Unsendable("an attachment whose name or type is none")


def encoded(attachment: Attachment) -> str:
    """Its content as base64."""
    return b64encode(attachment.data).decode("ascii")


def custom_args(message: Message) -> dict[str, str]:
    """What comes back with every event of the mail, where a provider keeps such words."""
    args = {"dripd_key": message.idempotency_key, "dripd_step": message.step_key}
    if message.enrollment_id is not None:
        args["dripd_enrollment"] = str(message.enrollment_id)
    return args
