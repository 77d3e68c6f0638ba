"""How do we sign what we call, so that the other side can believe it? Standard Webhooks.

The receiving half is in `dripd.gateway.signature`, which checks with the same function.
Source: the specification at standardwebhooks.com.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from typing import Final

PREFIX: Final = "whsec_"
"""Before a secret in base64, to be known by."""


def sign_standard(secret: str, own_id: str, seconds: str, body: bytes) -> str:
    """`v1,` and the signature of *body*, sent as *own_id* at *seconds* since the epoch.

    *secret* is `whsec_` and base64; one that is no base64 is taken as it is.
    """
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = secret.encode()
    return sign_with(key, own_id, seconds, body)


def sign_with(key: bytes, own_id: str, seconds: str, body: bytes) -> str:
    """The same with the secret's own bytes."""
    text = f"{own_id}.{seconds}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, text, "sha256")).decode()
