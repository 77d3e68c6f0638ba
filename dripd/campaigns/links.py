"""What do the links in a message say, and who made them? Signed, and read back.

A token holds opaque ids, never an address: `ACCOUNT.ENROLLMENT.SEQ.SECOND.MAC`, its instant
0 where it does not matter. The MAC (keyed BLAKE2, a third of the price of an HMAC: every mail
has one) covers the use, so that a pixel's token unsubscribes nobody, and for a click the
target, so that we redirect to nothing that no message of ours said. Tokens do not expire: a
mail is read, and its unsubscribe owed, for years.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from dripd.clock import Instant

Use: TypeAlias = Literal["open", "click", "unsubscribe"]

PATHS: dict[Use, str] = {"open": "o", "click": "c", "unsubscribe": "u"}
"""The first part of the path of each use."""

MAC_OCTETS = 12
"""96 bits: no guess succeeds, and a link stays short."""

MAX_TOKEN = 100
"""Characters of the longest token that can be: three ids, a second, a MAC."""


class Told(NamedTuple):
    """What a token says: the delivery, and when its message was written (0 = not said)."""

    account_id: int
    enrollment_id: int
    seq: int
    at: Instant = Instant(0)

    @property
    def delivery_id(self) -> str:
        return f"{self.enrollment_id}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the links of messages: `base` is the gateway's address, without a slash at its end.

    `key` is that of `signing_key`.
    """

    base: str
    key: bytes

    def open_url(self, told: Told) -> str:
        """The address of the pixel that tells of an opening."""
        return f"{self.base}/o/{make_token(self.key, 'open', told)}"

    def click_url(self, told: Told, target: str, link: str) -> str:
        """An address that leads on to *target*; *link* is its id in the file, or ""."""
        token = make_token(self.key, "click", told, link, target)
        named = f"l={quote(link, safe='')}&" if link else ""
        return f"{self.base}/c/{token}?{named}u={quote(target, safe='')}"

    def unsubscribe_url(self, account_id: int, enrollment_id: int, seq: int) -> str:
        """The address that unsubscribes by POST, and asks for confirmation by GET."""
        ids = f"{account_id}.{enrollment_id}.{seq}.0"
        mac = blake2b(b"unsubscribe\0" + ids.encode(), key=self.key, digest_size=MAC_OCTETS)
        return f"{self.base}/u/{ids}.{mac.hexdigest()}"


def signing_key(secret: str) -> bytes:
    """The key that *secret*, of whatever length, stands for."""
    return blake2b(secret.encode(), digest_size=32, person=b"dripd links").digest()


def make_token(key: bytes, use: Use, told: Told, *more: str) -> str:
    """The token of *told* for *use*; *more* is covered by its MAC and not in it."""
    account, enrollment, seq, at = told
    ids = f"{account}.{enrollment}.{seq}.{at // 1000}"
    return f"{ids}.{_mac(key, use, ids, more)}"


def read_token(key: bytes, use: Use, token: str, *more: str) -> Told | None:
    """What *token* says; None unless we made it for *use* and *more*."""
    ids, _, mac = token.rpartition(".")
    if len(token) > MAX_TOKEN or not token.isascii():
        return None
    if not compare_digest(mac, _mac(key, use, ids, more)):
        return None
    account, enrollment, seq, second = map(int, ids.split("."))
    return Told(account, enrollment, seq, Instant(second * 1000))


def _mac(key: bytes, use: Use, ids: str, more: tuple[str, ...]) -> str:
    text = "\0".join((use, ids, *more)).encode("utf-8", "surrogatepass")
    return blake2b(text, key=key, digest_size=MAC_OCTETS).hexdigest()
