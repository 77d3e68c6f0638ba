"""Is this from a topic of ours at Amazon SNS? Its envelope, its certificate, its confirmation.

Whoever has an AWS account can make SNS call us with a perfect signature, so a message counts
only from topics that the configuration names. Certificates and confirmations are fetched
from Amazon's own hosts and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from urllib.parse import urlsplit

from dripd.clock import HOUR, Instant
from dripd.gateway.signature import signs_certified

HOST = re.compile(r"sns\.[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?")

REPEATED_MS = HOUR
"""SNS repeats a message for an hour, with the instant and signature of the first time."""

KEPT = 8
"""Certificates in memory, of those that have proved a message; Amazon changes them about once
a year."""

_ABOUT_US = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _ABOUT_US,
    "UnsubscribeConfirmation": _ABOUT_US,
}  # fmt: skip

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets the body of an https address; raises what is the caller's to handle."""


class Topics:
    """The topics whose messages count, by their ARN. *fetch* reaches Amazon."""

    def __init__(self, arns: Collection[str], fetch: Fetch) -> None:
        self._arns = arns
        self._fetch = fetch
        self._certificates: dict[str, bytes] = {}

    async def signs(
        self, envelope: Mapping[str, str], now: Instant, at: Instant | None
    ) -> bool:
        """Is *envelope*, of instant *at*, a message of a topic and not too old?"""
        names = _SIGNED.get(envelope.get("Type", ""))
        url = envelope.get("SigningCertURL", "")
        if names is None or envelope.get("TopicArn") not in self._arns or not _is_amazon(url):
            return False
        if at is None or not -REPEATED_MS <= now - at <= REPEATED_MS:
            return False
        if not urlsplit(url).path.endswith(".pem"):
            return False
        text = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
        known = self._certificates.get(url)
        pem = await self._fetch(url) if known is None else known
        signature, version = envelope.get("Signature", ""), envelope.get("SignatureVersion", "")
        signed = signs_certified(pem, signature, text.encode(), version=version)
        if signed and known is None:
            self._keep(url, pem)
        return signed

    async def confirm(self, envelope: Mapping[str, str]) -> bool:
        """Subscribe, as a signed confirmation asks; False where it leads elsewhere."""
        url = envelope.get("SubscribeURL", "")
        if not _is_amazon(url):
            return False
        await self._fetch(url)
        return True

    def _keep(self, url: str, pem: bytes) -> None:
        while len(self._certificates) >= KEPT:
            del self._certificates[next(iter(self._certificates))]
        self._certificates[url] = pem


def _is_amazon(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "https"
            and parts.username is None
            and parts.port in {None, 443}
            and HOST.fullmatch(parts.hostname or "") is not None
        )
    except ValueError:
        return False
