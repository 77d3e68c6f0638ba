"""A signature that holds after what relays do to mail, and no longer after anything else."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from dripd.channels.dkim import Signer, relaxed_body
from dripd.clock import parse_instant

NOW = parse_instant("2026-01-05T09:00:00Z")
MAIL = (
    b"From: Ann <ann@acme.example>\r\nTo: bob@x.example\r\nSubject: Hi  there\r\n you\r\n"
    b"List-Unsubscribe: <https://x>\r\nX-Other: 1\r\n\r\nHello \t world  \r\n\r\n\r\n"
)
RSA = generate_private_key(65_537, 2_048)
ED25519 = Ed25519PrivateKey.generate()


def signer_of(key: RSAPrivateKey | Ed25519PrivateKey) -> Signer:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Signer("acme.example", "s1", pem)


def check(mail: bytes, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
    """As a receiver does it, by RFC 6376 section 6.1. Raises where it does not hold."""
    head, _, body = mail.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    named = {field.partition(b":")[0].lower(): field for field in reversed(fields)}
    own = named[b"dkim-signature"]
    value = re.sub(rb"\s+", b" ", own.partition(b":")[2]).strip()
    tags = dict(part.strip().split(b"=", 1) for part in value.split(b";"))
    digest = sha256(relaxed_body(body)).digest()
    if b64decode(tags[b"bh"]) != digest:
        raise InvalidSignature("body")
    data = b""
    for name in tags[b"h"].split(b":"):
        text = named[name].partition(b":")[2].replace(b"\r\n", b"")
        data += name + b":" + re.sub(rb"[ \t]+", b" ", text).strip() + b"\r\n"
    unsigned = re.sub(rb"b=[A-Za-z0-9+/= \r\n]*$", b"b=", own.partition(b":")[2])
    data += (
        b"dkim-signature:" + re.sub(rb"[ \t]+", b" ", unsigned.replace(b"\r\n", b"")).strip()
    )
    signature = b64decode(re.sub(rb"\s", b"", tags[b"b"]))
    if isinstance(key, RSAPrivateKey):
        key.public_key().verify(signature, data, PKCS1v15(), SHA256())
    else:
        key.public_key().verify(signature, sha256(data).digest())


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
def test_signature_holds_whatever_a_relay_folds_and_trims(
    key: RSAPrivateKey | Ed25519PrivateKey,
) -> None:
    mail = signer_of(key).sign(MAIL, NOW)
    check(mail, key)
    check(mail.replace(b"Hi  there\r\n you", b"Hi there  you"), key)
    check(mail.replace(b"Hello \t world  \r\n\r\n\r\n", b"Hello world\r\n"), key)
    check(mail.replace(b"X-Other: 1", b"X-Other: 2"), key)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"world", b"World"), (b"Hi  there", b"Ho there"), (b"<https://x>", b"<https://y>")],
)
def test_signature_ends_with_any_other_change(old: bytes, new: bytes) -> None:
    mail = signer_of(ED25519).sign(MAIL, NOW)

    with pytest.raises(InvalidSignature):
        check(mail.replace(old, new), ED25519)


def test_lines_stay_short_and_the_mail_as_it_was() -> None:
    mail = signer_of(RSA).sign(MAIL, NOW)

    assert mail.endswith(MAIL)
    assert max(map(len, mail.split(b"\r\n"))) <= 150
    assert b"h=from:to:subject:list-unsubscribe;" in mail


def test_a_domain_answers_for_itself_and_what_is_beneath_it() -> None:
    signer = signer_of(ED25519)

    assert signer.signs("a@acme.example")
    assert signer.signs("a@news.acme.example")
    assert not signer.signs("a@evilacme.example")


@pytest.mark.parametrize(
    ("domain", "selector", "pem"),
    [("acme", "s", ""), ("acme.example", "s 1", ""), ("acme.example", "s1", "no key")],
)
def test_what_cannot_sign_is_refused(domain: str, selector: str, pem: str) -> None:
    with pytest.raises(ValueError, match=r"name|PEM"):
        Signer(domain, selector, pem)
