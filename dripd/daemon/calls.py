"""Who makes the calls of the outbox? Scripts of the configuration, connectors of tenants.

The configuration is trusted, tenants' addresses are not: those are judged at every call,
follow no redirect and use no proxy. What is sent are the contact's fields as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import orjson

from dripd.campaigns.event import Done, Rejected, Retryable, Skipped
from dripd.channels.outcall import post
from dripd.channels.reach import Reach
from dripd.channels.transport import TrioTransport
from dripd.clock import Clock, Millis
from dripd.config import REFERENCE, Config, ScriptSettings, fetch
from dripd.engine.outbox import UNDER_WAY_MOST, CallAnswer, Caller
from dripd.store.protocol import CallRow

CONNECTOR_MS = Millis(10_000)
"""Deadline of one call to a connector."""


class Calls:
    """`engine.outbox.Caller` over HTTP. *clock* is real time; *respond* sends what is mail."""

    def __init__(self, config: Config, deployment: str, clock: Clock, respond: Caller) -> None:
        self._respond = respond
        self._scripts = config.scripts
        self._deployment = deployment
        self._clock = clock
        self._reach = Reach(config.net_allow)
        self._trusted = _client(TrioTransport(max_connections=UNDER_WAY_MOST))
        self._judged = _client(
            TrioTransport(max_connections=UNDER_WAY_MOST, connect=self._reach.connect)
        )

    async def __call__(self, call: CallRow) -> CallAnswer:
        if call.step_no is not None:
            return await self._respond(call)
        if call.kind == "script":
            script = self._scripts.get(call.target)
            if script is None:
                return Rejected(reason="unknown_script")
            return await self._script(call, script)
        if call.url is None:
            return Rejected(reason="connector_missing")
        try:
            self._reach.check(call.url)
            secret = _dereference(call.secret)
        except ValueError:
            return Rejected(reason="not_public")
        except (OSError, KeyError):
            return Retryable(reason="secret_unreadable")
        if call.kind == "sync":
            answer, _ = await self._connector(call, call.url, secret, {}, "")
            return answer
        return await self._follow(call, call.url, secret)

    async def aclose(self) -> None:
        await self._trusted.aclose()
        await self._judged.aclose()

    async def _script(self, call: CallRow, script: ScriptSettings) -> CallAnswer:
        answer, _ = await post(
            self._trusted,
            script.url,
            body_of(call),
            key=self._key(call),
            secret=script.secret.reveal(),
            now=self._clock.now(),
            timeout_ms=script.timeout_ms,
        )
        return answer

    async def _follow(self, call: CallRow, url: str, secret: str) -> CallAnswer:
        """Follow the contact's handle, else the one that the connector finds; none is a skip."""
        attrs = call.contact.get("attrs")
        handle = attrs.get(call.target) if isinstance(attrs, dict) else None
        if not handle:
            more: dict[str, object] = {"network": call.target, "action": "lookup"}
            answer, said = await self._connector(call, url, secret, more, ":lookup")
            if isinstance(answer, Retryable):
                return answer
            handle = _handle_in(said) if isinstance(answer, Done) else None
        if not handle:
            return Skipped(reason="no_handle")
        more = {"network": call.target, "action": "follow", "handle": handle}
        answer, _ = await self._connector(call, url, secret, more, "")
        return answer

    async def _connector(
        self, call: CallRow, url: str, secret: str, more: Mapping[str, object], suffix: str
    ) -> tuple[Done | Retryable | Rejected, bytes]:
        return await post(
            self._judged,
            url,
            {**body_of(call), **more},
            key=self._key(call) + suffix,
            secret=secret,
            now=self._clock.now(),
            timeout_ms=CONNECTOR_MS,
        )

    def _key(self, call: CallRow) -> str:
        return f"dripd:{self._deployment}:{call.enrollment_id}:{call.run_no}:{call.step_key}"


def _client(transport: TrioTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)


def body_of(call: CallRow) -> dict[str, object]:
    """What every call says: contact, enrollment and step."""
    return {
        "contact": call.contact,
        "enrollment": {
            "id": call.enrollment_id,
            "account": call.account_key,
            "campaign": call.campaign_key,
            "run_no": call.run_no,
            "vars": call.vars,
        },
        "step": {"key": call.step_key, "kind": call.kind},
    }


def _dereference(reference: str | None) -> str:
    match = REFERENCE.fullmatch(reference or "")
    return fetch(match[1], match[2]) if match is not None else ""


def _handle_in(said: bytes) -> str | None:
    """The `handle` of a lookup's answer, None where it names none."""
    try:
        document = orjson.loads(said)
    except orjson.JSONDecodeError:
        return None
    found = document.get("handle") if isinstance(document, dict) else None
    return found if isinstance(found, str) and found.strip() else None
