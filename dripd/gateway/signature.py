"""Did the provider say this? One check a scheme, over the octets as they came.

Comparisons take constant time; where the scheme has a timestamp, it must lie within five
minutes of now. None of the checks raises: what cannot be read is not signed.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificate

from dripd.channels.signing import sign_standard
from dripd.clock import MINUTE, Instant, Millis

TOLERANCE_MS = Millis(5 * MINUTE)

SENDGRID_SIGNATURE = "x-twilio-email-event-webhook-signature"
SENDGRID_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

MAX_SIGNATURES = 10
"""Of one request: a sender that rotates its secret signs twice."""


def is_fresh(seconds: str, now: Instant) -> bool:
    """Is *seconds*, a Unix time as text, near *now*?"""
    if not seconds.isascii() or not seconds.isdecimal() or len(seconds) > 12:
        return False
    return abs(int(seconds) * 1000 - now) <= TOLERANCE_MS


def signs_standard(secret: str, headers: Mapping[str, str], body: bytes, now: Instant) -> bool:
    """Standard Webhooks, and Svix, whose headers have another prefix.

    *secret* is `whsec_` and base64. Source: the specification at standardwebhooks.com.
    """
    for prefix in ("webhook-", "svix-"):
        own_id, sent = headers.get(f"{prefix}id", ""), headers.get(f"{prefix}timestamp", "")
        if own_id and is_fresh(sent, now):
            wanted = sign_standard(secret, own_id, sent, body)
            given = headers.get(f"{prefix}signature", "").split()[:MAX_SIGNATURES]
            return any(_same(wanted, one) for one in given)
    return False


def signs_ecdsa(
    public_key: str, signature: str, seconds: str, body: bytes, now: Instant
) -> bool:
    """SendGrid: ECDSA on P-256 with SHA-256 over the timestamp and the body."""
    if not is_fresh(seconds, now):
        return False
    try:
        key = load_der_public_key(b64decode(public_key))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(b64decode(signature), seconds.encode() + body, ec.ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def signs_parse(
    secret: str, headers: Mapping[str, str], body: bytes, now: Instant, events_key: str
) -> bool:
    """SendGrid's inbound mail: signed like its events where a security policy says so, else
    known by the password in the address that it calls.

    *secret* is that password, or the policy's verification key, which as a password opens
    nothing; without one the policy may use *events_key*.
    """
    signature = headers.get(SENDGRID_SIGNATURE, "")
    if signature or _is_public_key(secret):
        seconds = headers.get(SENDGRID_TIMESTAMP, "")
        return signs_ecdsa(secret or events_key, signature, seconds, body, now)
    return signs_basic(secret, headers.get("authorization", ""))


def _is_public_key(secret: str) -> bool:
    try:
        load_der_public_key(b64decode(secret))
    except (UnsupportedAlgorithm, ValueError):
        return False
    return True


def signs_mailgun(secret: str, seconds: str, token: str, signature: str, now: Instant) -> bool:
    """Mailgun: an HMAC over timestamp and token, which do not cover the body."""
    wanted = hmac.digest(secret.encode(), f"{seconds}{token}".encode(), "sha256").hex()
    return bool(token) and is_fresh(seconds, now) and _same(wanted, signature)


def signs_twilio(token: str, signature: str, url: str, form: Sequence[tuple[str, str]]) -> bool:
    """Twilio: HMAC-SHA1 over the address that it called and the sorted form. No timestamp."""
    text = url + "".join(key + value for key, value in sorted(set(form)))
    wanted = b64encode(hmac.digest(token.encode(), text.encode(), hashlib.sha1)).decode()
    return _same(wanted, signature)


def signs_basic(secret: str, authorization: str) -> bool:
    """Who signs nothing is known by the address that it calls: it carries user and password."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        _, colon, password = b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    known = bool(secret and colon) and _same(secret, password)
    return scheme.lower() == "basic" and known


def signs_certified(pem: bytes, signature: str, text: bytes, *, version: str) -> bool:
    """SNS: RSA by the key of a certificate, SHA-1 in version 1, SHA-256 in version 2."""
    try:
        key = load_pem_x509_certificate(pem).public_key()
        if not isinstance(key, rsa.RSAPublicKey) or version not in {"1", "2"}:
            return False
        digest = SHA256() if version == "2" else SHA1()
        key.verify(b64decode(signature), text, padding.PKCS1v15(), digest)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _same(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogatepass"))
