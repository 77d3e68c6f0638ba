"""Mail through Mailgun's messages API: one message a request, as a form.

Mailgun honours no idempotency key; the key goes along as a variable, which comes back in every
event of the mail. A request of many recipients is accepted as a whole: it would have no result
per recipient.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from secrets import token_hex
from typing import Final
from urllib.parse import quote, urlencode

from dripd.campaigns.event import Outcome
from dripd.channels import letter
from dripd.channels.base import EMAIL, Channel, Message, ProviderSettings, Resources
from dripd.channels.http import (
    Api,
    Request,
    all_accepted,
    channel,
    check_options,
    read_object,
    secret_of,
)
from dripd.channels.options import text
from dripd.channels.reply import Reply
from dripd.channels.status import StatusTable

BASE_URL: Final = "https://api.mailgun.net"
URLENCODED: Final = (b"Content-Type", b"application/x-www-form-urlencoded")


class Mailgun(Api[tuple[bytes, tuple[bytes, bytes], bytes]]):
    kinds = frozenset({EMAIL})
    table = StatusTable(not_accepted=frozenset({404, 405, 415}))
    """404: the domain is none of the account's; the configuration's fault."""

    def __init__(self, domain: str) -> None:
        super().__init__()
        self._domain = domain

    def part(self, message: Message) -> tuple[bytes, tuple[bytes, bytes], bytes]:
        mail = letter.write(message)
        domain = self._domain or mail.sender.email.rpartition("@")[2]
        return f"/v3/{quote(domain, safe='')}/messages".encode(), *_form(message, mail)

    def request(
        self,
        messages: Sequence[Message],
        parts: Sequence[tuple[bytes, tuple[bytes, bytes], bytes]],
    ) -> Request:
        target, header, body = parts[0]
        return Request(target, body, messages, [header])

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        found = read_object(reply).get("id")
        return all_accepted(messages, found.strip("<>") if isinstance(found, str) else "")


def _form(message: Message, mail: letter.Letter) -> tuple[tuple[bytes, bytes], bytes]:
    """Its content type and its bytes: urlencoded, or multipart where files go along."""
    fields = [
        ("from", str(mail.sender)),
        ("to", mail.to),
        ("subject", message.subject),
        *((f"h:{name}", value) for name, value in mail.headers.items()),
        *((f"v:{name}", value) for name, value in letter.custom_args(message).items()),
    ]
    if message.text or not message.html:
        fields.append(("text", message.text or " "))
    if message.html:
        fields.append(("html", message.html))
    if mail.reply_to is not None:
        fields.append(("h:Reply-To", str(mail.reply_to)))
    if not message.attachments:
        return URLENCODED, urlencode(fields).encode("ascii")
    return _multipart(fields, message)


def _multipart(
    fields: Sequence[tuple[str, str]], message: Message
) -> tuple[tuple[bytes, bytes], bytes]:
    boundary = f"dripd-{token_hex(16)}".encode()
    parts = [
        b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), value.encode())
        for name, value in fields
    ]
    parts += [
        b'Content-Disposition: form-data; name="attachment"; filename="%b"\r\n'
        b"Content-Type: %b\r\n\r\n%b" % (one.name.encode(), one.media_type.encode(), one.data)
        for one in message.attachments
    ]
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    header = (b"Content-Type", b"multipart/form-data; boundary=" + boundary)
    return header, lines + b"--%b--\r\n" % boundary


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `mailgun`. Secret `api_key`; option `domain`, else the sender's.

    `base_url` is `https://api.eu.mailgun.net` in the EU.
    """
    check_options(settings, options=("domain",), secrets=("api_key",))
    token = b64encode(f"api:{secret_of(settings, 'api_key')}".encode()).decode("ascii")
    return channel(
        settings,
        Mailgun(text(settings, "domain")),
        clock=resources.clock,
        base_url=BASE_URL,
        headers={"Authorization": f"Basic {token}"},
    )
