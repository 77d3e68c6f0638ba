"""What happens on one admin connection: greeting, calls, answers, farewell.

The server speaks first and the client must answer within two seconds. At most four calls run
at once; answers are written one at a time, each within five seconds, so that a client that
does not read costs four answers of memory and is then dropped. A reading call ends with its
connection; a mutating one is carried to its end, and its answer is remembered. Nothing that
a handler raises leaves this file: it becomes an answer, and an error in the log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import trio

from dripd.admin import wire
from dripd.admin.charge import charged
from dripd.admin.live import Live, Looks
from dripd.admin.mask import masked
from dripd.admin.messages import Call, Envelope, Method, Table, decode, split
from dripd.admin.own import OWN, Own
from dripd.admin.plans import Plans
from dripd.admin.replies import Answer, Replies
from dripd.admin.roles import Peer, Role
from dripd.admin.slices import in_slices
from dripd.admin.tail import Source
from dripd.errors import (
    BadRequest,
    Busy,
    DripdError,
    NotPermitted,
    OwnWireError,
    StoreUnavailable,
    TimedOut,
)
from dripd.log import Logger
from dripd.metrics import Registry

HELLO_S: Final = 2
SEND_S: Final = 5
PING_S: Final = 15
MOST_CALLS: Final = 4
CALLS_A_SECOND: Final = 50
"""Of one user, over all of its connections; twice as many in a burst."""

CHUNK: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What the greeting says about this daemon."""

    server: str
    env: str
    node: str


@dataclass(slots=True, kw_only=True)
class House:
    """What all sessions of a server share."""

    methods: Table
    info: Info
    log: Logger
    errands: trio.Nursery
    views: Table = field(default_factory=dict)
    sources: Mapping[str, Source[Any]] = field(default_factory=dict)
    replies: Replies = field(default_factory=Replies)
    plans: Plans = field(default_factory=Plans)
    looks: Looks = field(default_factory=Looks)
    paces: dict[int, tuple[float, float]] = field(default_factory=dict)
    metrics: Registry = field(default_factory=Registry)

    def may_call(self, uid: int) -> bool:
        """Whether *uid* has a call left of its rate; takes it."""
        now = trio.current_time()
        left, at = self.paces.get(uid, (2.0 * CALLS_A_SECOND, now))
        left = min(2.0 * CALLS_A_SECOND, left + (now - at) * CALLS_A_SECOND)
        self.paces[uid] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def charge(self, seconds: float) -> None:
        """Somebody's admin work took the loop so long."""
        self.metrics["dripd_admin_seconds_total"].add(n=seconds)
        self.metrics.timing("dripd_admin_slice_seconds").observe(seconds)


class Session:
    """One connection of somebody who has a role; `identify` says who that is by now."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        peer: Peer,
        house: House,
        identify: Callable[[], Peer] | None = None,
    ) -> None:
        self._stream = stream
        self._identify = identify
        self._peer = peer
        self._house = house
        self._decoder = wire.Decoder()
        self._writing = trio.Lock()
        self._calls: dict[wire.MessageId, trio.CancelScope] = {}
        self._greeted = False
        self._over = trio.CancelScope()
        live = Live(house.looks, house.sources, self._notify)
        self._own = Own(live, house.plans, house.views, self._judge)

    async def run(self) -> None:
        """Serve until the peer hangs up, breaks the protocol or does not read."""
        async with trio.open_nursery() as nursery:
            with self._over:
                await self._send(self._hello())
                nursery.start_soon(self._expect_greeting)
                nursery.start_soon(self._ping)
                nursery.start_soon(self._charged, self._own.live.pump())
                await self._read(nursery)
            nursery.cancel_scope.cancel()

    def _hello(self) -> wire.Notice:
        peer, info = self._peer, self._house.info
        allowed = [
            name for name, m in self._house.methods.items() if peer.role.covers(m.spec.role)
        ]
        viewable = [name for name in allowed if self._house.methods[name].spec.view is not None]
        return wire.Notice(
            method="hello",
            params={
                "proto": list(wire.PROTO),
                "min": [wire.PROTO[0], 0],
                "server": info.server,
                "env": info.env,
                "node": info.node,
                "role": peer.role,
                "user": peer.user,
                "uid": peer.uid,
                "methods": [*allowed, *OWN],
                "views": viewable,
                "features": ["view", "tail", "plan"],
                "tails": sorted(self._house.sources),
                "limits": {"line": wire.MAX_LINE, "calls": MOST_CALLS},
            },
        )

    async def _expect_greeting(self) -> None:
        await trio.sleep(HELLO_S)  # noqa: TID251 - the time the peer has, in real time
        if not self._greeted:
            await self._bye("no_hello", f"no client.hello within {HELLO_S} s")

    async def _ping(self) -> None:
        while True:
            await trio.sleep(PING_S)  # noqa: TID251 - the protocol's own period
            role = self._peer.role if self._identify is None else self._identify().role
            if role is not self._peer.role:
                await self._bye("role_changed", f"your role is {role} now; connect again")
                return
            await self._send(wire.Notice(method="ping", params={}))

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                data = await self._stream.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            for message in self._decoder.feed(bytes(data)):
                await self._take(message, nursery)

    async def _take(
        self, message: wire.Message | wire.WireFault, nursery: trio.Nursery
    ) -> None:
        if isinstance(message, wire.WireFault):
            await self._answer_fault(message)
        elif isinstance(message, wire.Notice) and message.method == "client.hello":
            await self._greet(message)
        elif not self._greeted:
            await self._bye("no_hello", "client.hello must come first")
        elif isinstance(message, wire.Notice):
            self._notice(message)
        elif isinstance(message, wire.Request):
            await self._request(message, nursery)

    async def _answer_fault(self, fault: wire.WireFault) -> None:
        await self._send(
            wire.Failure(
                id=fault.id,
                code=fault.code,
                message=fault.message,
                data={"kind": "peer_wire", "reason": "bad_request"},
            )
        )
        if fault.fatal:
            self._over.cancel()

    async def _greet(self, hello: wire.Notice) -> None:
        proto = hello.params.get("proto")
        if isinstance(proto, list) and proto[:1] == [wire.PROTO[0]]:
            self._greeted = True
            return
        await self._bye(
            "proto",
            f"this daemon ({self._house.info.server}) speaks protocol {wire.PROTO[0]}, "
            f"the client {proto}",
        )

    def _notice(self, notice: wire.Notice) -> None:
        if notice.method != "cancel":
            return
        named = notice.params.get("id")
        if isinstance(named, int | str) and (scope := self._calls.get(named)) is not None:
            scope.cancel()

    async def _request(self, request: wire.Request, nursery: trio.Nursery) -> None:
        if request.method == "ping":
            await self._send(wire.Reply(id=request.id, result={}))
            return
        try:
            self._admit_call(request)
            if request.method in OWN:
                self._calls[request.id] = trio.CancelScope()
                nursery.start_soon(self._charged, self._serve_own(request))
                return
            call, method, params = self._judge(request.method, request.params)
        except DripdError as error:
            await self._send(wire.pack_error(request.id, error))
            return
        self._calls[request.id] = trio.CancelScope()
        home = self._house.errands if method.spec.mutating else nursery
        home.start_soon(self._charged, self._serve(request, call, method, params))

    def _admit_call(self, request: wire.Request) -> None:
        """What is judged of every call, before its method and arguments are."""
        if request.id in self._calls:
            raise BadRequest(f"id {request.id!r} is in use", hint="give each call its own id")
        if len(self._calls) >= MOST_CALLS:
            raise Busy(f"{MOST_CALLS} calls run already", hint="wait for an answer")
        if not self._house.may_call(self._peer.uid):
            raise Busy(f"more than {CALLS_A_SECOND} calls a second", hint="ask less often")

    def _judge(self, name: str, given: Mapping[str, object]) -> tuple[Call, Method, object]:
        method = self._method(name)
        self._permit(method)
        envelope, rest = split(given)
        if envelope.as_name is not None and self._peer.role is not Role.ADMIN:
            raise NotPermitted("only admins of the socket may act as somebody else", path="as")
        if envelope.dry_run and not method.spec.dry_run and method.spec.mutating:
            raise BadRequest(f"{name} cannot be tried dry", path="dry_run")
        return self._call(name, envelope, rest), method, decode(method.spec.params, rest)

    def _call(self, name: str, envelope: Envelope, rest: Mapping[str, object]) -> Call:
        peer, promise = self._peer, None
        if envelope.plan_id is not None and not envelope.dry_run:
            asked = wire.dump([name, rest])
            promise = self._house.plans.redeem(envelope.plan_id, peer.uid, name, asked)
        return Call(
            method=name,
            uid=peer.uid,
            pid=peer.pid,
            user=peer.user,
            role=peer.role,
            why=peer.why,
            as_name=envelope.as_name,
            request_id=envelope.request_id,
            reason=envelope.reason,
            dry_run=envelope.dry_run,
            yes=envelope.yes or promise is not None,
            expect=envelope.expect,
            promise=promise,
        )

    def _method(self, name: str) -> Method:
        found = self._house.methods.get(name)
        if found is None:
            raise DripdError(
                f"this daemon ({self._house.info.server}) knows no method {name!r}",
                code="unknown_method",
                hint="`dripd version` shows both versions; the older package wants an upgrade",
            )
        return found

    def _permit(self, method: Method) -> None:
        peer, spec = self._peer, method.spec
        if peer.role.covers(spec.role):
            return
        self._house.log.warning("admin.refused", uid=peer.uid, role=peer.role, method=spec.name)
        raise NotPermitted(
            f"{spec.name} needs the role {spec.role}, {peer.user} has {peer.role}",
            hint=f"{peer.why}; ask an admin, or see `dripd whoami`",
        )

    async def _serve_own(self, request: wire.Request) -> None:
        answer: object = TimedOut(f"{request.method} was cancelled", code="cancelled")
        try:
            with self._calls[request.id]:
                answer = await self._own.answer(request.method, request.params)
        except Exception as error:  # the wall between a handler and the daemon
            answer = self._failed(self._call(request.method, Envelope(), {}), error)
        finally:
            del self._calls[request.id]
        await self._answer(request, answer)

    async def _answer(self, request: wire.Request, answer: object) -> None:
        if isinstance(answer, DripdError):
            await self._send(wire.pack_error(request.id, answer))
        else:
            await self._send(wire.Reply(id=request.id, result=answer))

    async def _charged(self, work: Coroutine[Any, Any, None]) -> None:
        await charged(work, self._house.charge)

    async def _serve(
        self, request: wire.Request, call: Call, method: Method, params: object
    ) -> None:
        answer: Answer = TimedOut(f"{request.method} was cancelled", code="cancelled")
        try:
            with self._calls[request.id]:
                answer = await self._remembered(request, call, method, params)
        finally:
            del self._calls[request.id]
        result = answer.code.partition(":")[0] if isinstance(answer, DripdError) else "ok"
        calls = self._house.metrics["dripd_admin_calls_total"]
        calls.add(method.spec.name, call.role, result)
        await self._answer(request, answer)

    async def _remembered(
        self, request: wire.Request, call: Call, method: Method, params: object
    ) -> Answer:
        if call.request_id is None or call.dry_run or not method.spec.mutating:
            return (await self._perform(call, method, params))[0]
        key, asked = (call.uid, call.request_id), wire.dump([request.method, request.params])
        replies = self._house.replies
        try:
            known = await replies.find(key, asked)
        except DripdError as error:
            return error
        if known is not None:
            return known
        kept = False
        try:
            answer, size = await self._perform(call, method, params)
            if kept := is_final(answer):
                replies.keep(key, answer, size)
        finally:
            if not kept:
                replies.forget(key)
        return answer

    async def _perform(self, call: Call, method: Method, params: object) -> tuple[Answer, int]:
        """The handler's answer, as bytes that fit, and how many."""
        started = trio.current_time()
        try:
            result = await method.handler(call, params)
            is_masked = call.role is Role.VIEWER and method.spec.personal
            shown = await in_slices(result, masked if is_masked else wire.portable)
            line = wire.dump(shown)
            check_size(line)
        except Exception as error:  # the wall between a handler and the daemon
            return self._failed(call, error), 256
        if method.spec.mutating and not call.dry_run:
            self._house.looks.stir()
        if method.spec.mutating:
            self._house.log.info(
                "admin.called",
                method=call.method,
                uid=call.uid,
                user=call.user,
                as_name=call.as_name,
                dry_run=call.dry_run,
                request_id=call.request_id,
                took_ms=round((trio.current_time() - started) * 1000),
            )
        return orjson.Fragment(line), len(line)

    def _failed(self, call: Call, error: Exception) -> DripdError:
        expected = sole(error)
        if expected is not None:
            return expected
        log_id = secrets.token_hex(6)
        self._house.log.error(
            "admin.failed", method=call.method, uid=call.uid, log_id=log_id, exc_info=error
        )
        return OwnWireError(
            f"{call.method} failed inside the daemon (log id {log_id})",
            code="internal",
            hint=f"search the daemon's log for {log_id}",
        )

    async def _notify(self, method: str, params: Mapping[str, object]) -> None:
        await self._send(wire.Notice(method=method, params=dict(params)))

    async def _bye(self, reason: str, message: str) -> None:
        self._house.log.info("admin.dropped", reason=reason, uid=self._peer.uid)
        self._house.metrics["dripd_admin_dropped_total"].add(reason)
        await self._send(farewell(reason, message))
        self._over.cancel()

    async def _send(self, message: wire.Message) -> None:
        """Write one message, after those before it; a peer that does not read is dropped."""
        line = to_line(message)
        async with self._writing:
            try:
                with trio.fail_after(SEND_S):
                    await self._stream.send_all(line)
            except trio.TooSlowError:
                self._house.metrics["dripd_admin_dropped_total"].add("slow_consumer")
                self._house.log.warning(
                    "admin.dropped", reason="slow_consumer", uid=self._peer.uid
                )
                self._over.cancel()
                await trio.aclose_forcefully(self._stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._over.cancel()


def to_line(message: wire.Message) -> bytes:
    """*message* as a line; where it cannot be sent, the error that says so."""
    try:
        return wire.encode(message)
    except OwnWireError as error:
        if not isinstance(message, wire.Reply | wire.Failure):
            raise
        return wire.encode(wire.pack_error(message.id, error))


def farewell(reason: str, message: str) -> wire.Notice:
    """The last message of a connection that the server closes."""
    return wire.Notice(method="bye", params={"reason": reason, "message": message})


def check_size(line: bytes) -> None:
    room = wire.MAX_LINE - 1024
    if len(line) > room:
        raise Busy(
            f"the answer has {len(line)} bytes, {room} is the most",
            code="too_large",
            hint="ask for fewer at once (--limit)",
        )


def is_final(answer: Answer) -> bool:
    """Whether asking again cannot come to anything else; not so when the database was away."""
    return not isinstance(answer, StoreUnavailable | TimedOut | Busy | OwnWireError)


def sole(error: BaseException) -> DripdError | None:
    """The one expected error that *error* is, or that a nursery wrapped; None for a bug."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, DripdError) else None
