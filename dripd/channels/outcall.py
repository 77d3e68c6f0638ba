"""How is an outside server called? One signed POST under an idempotency key, and what it meant.

Since the key is the same every time, whatever may not have arrived may be said again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx
import orjson

from dripd.campaigns.event import Done, Rejected, Retryable
from dripd.channels.reach import NotPublic
from dripd.channels.signing import sign_standard
from dripd.channels.status import retry_after
from dripd.clock import Instant

AGAIN: Final = frozenset({408, 409, 423, 425, 429})
"""Refusals that pass, as every status from 500 on."""


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: Mapping[str, object],
    *,
    key: str,
    secret: str,
    now: Instant,
    timeout_ms: int,
) -> tuple[Done | Retryable | Rejected, bytes]:
    """POST *body* as JSON to *url*; what it came to, and what was answered.

    *now* is real time, which the signature is good for. Never raises `httpx.HTTPError`.
    """
    content = orjson.dumps(body)
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        "User-Agent": "dripd",
    }
    if secret:
        seconds = str(now // 1000)
        headers["webhook-id"], headers["webhook-timestamp"] = key, seconds
        headers["webhook-signature"] = sign_standard(secret, key, seconds, content)
    try:
        answer = await client.post(
            url, content=content, headers=headers, timeout=timeout_ms / 1000
        )
    except httpx.TimeoutException:
        return Retryable(reason="timeout"), b""
    except httpx.LocalProtocolError:
        return Rejected(reason="malformed"), b""
    except httpx.ConnectError as error:
        if isinstance(error.__cause__, NotPublic):
            return Rejected(reason="not_public"), b""
        return Retryable(reason="connect"), b""
    except (httpx.HTTPError, httpx.InvalidURL):
        return Retryable(reason="lost"), b""
    status = answer.status_code
    if 200 <= status < 300:
        return Done(), answer.content
    reason = f"http_{status}"
    if status >= 500 or status in AGAIN:
        wait = retry_after(answer.headers.get("retry-after", ""), now=now)
        return Retryable(reason=reason, after_ms=wait), answer.content
    return Rejected(reason=reason), answer.content
