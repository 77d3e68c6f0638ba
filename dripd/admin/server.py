"""Where does the daemon listen? A unix socket that only those see who may.

The directory is closed before the socket is bound, the socket is bound under umask 0177, and
a lock beside it decides who owns the path: whoever holds it may remove a socket that a killed
daemon left behind. At most 16 connections, 8 of one user; who has no role is told one line.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import trio

from dripd import log
from dripd.admin import params, roles, wire
from dripd.admin.charge import charged
from dripd.admin.messages import Call, Method, Spec, Table
from dripd.admin.roles import Options, Peer, Role
from dripd.admin.session import House, Info, Session, farewell
from dripd.admin.tail import Source
from dripd.errors import ConfigError, Conflict
from dripd.metrics import Registry

MOST_CONNECTIONS: Final = 16
MOST_OF_ONE_USER: Final = 8
MOST_PATH_BYTES: Final = 107
"""What the kernel's sockaddr_un holds, less the closing NUL."""

BACKLOG: Final = 64
FAREWELL_S: Final = 1

Identity: TypeAlias = Callable[[Options], Peer]
"""Says who is at the other end of an accepted socket: `Roster.identify`."""


async def serve(
    path: Path,
    methods: Table,
    *,
    identity: Identity,
    info: Info,
    views: Table = MappingProxyType({}),
    sources: Mapping[str, Source[Any]] = MappingProxyType({}),
    metrics: Registry | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls on *path* until cancelled; `started()` once connections are taken.

    *views* perform reading methods for views, where that is not as for calls (another, shorter
    patience with the database); *sources* are what tails read.

    Raises `ConfigError` if the path cannot be used, `Conflict` (code `socket_in_use`) if
    another daemon holds it.
    """
    logger = log.get("admin")
    with owned(path), bound(path) as sock:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        async with trio.open_nursery() as nursery:
            house = House(
                methods=with_own(methods, info), info=info, log=logger, errands=nursery,
                views=views, sources=sources, metrics=metrics or Registry(),
            )  # fmt: skip
            door = partial(admit, Counter(), identity, house)
            await nursery.start(
                partial(trio.serve_listeners, handler_nursery=nursery), door, [listener]
            )
            logger.info("admin.listening", n=len(methods))
            task_status.started()


def with_own(methods: Table, info: Info) -> Table:
    """*methods*, and the one that the server performs itself."""

    async def version(_: Call, __: params.Params) -> object:
        return {"server": info.server, "proto": list(wire.PROTO), "node": info.node}

    spec = Spec(name="daemon.version", params=params.Params, role=Role.VIEWER)
    return {**methods, spec.name: Method(spec=spec, handler=version)}


async def admit(
    present: Counter[int], identity: Identity, house: House, stream: trio.SocketStream
) -> None:
    """Let one connection in, or say in one line why not."""
    async with stream:
        peer = identity(stream.socket)
        refusal = refuse(peer, present)
        if refusal is not None:
            house.metrics["dripd_admin_dropped_total"].add(refusal[0])
            house.log.warning("admin.refused", uid=peer.uid, reason=refusal[0])
            await say(stream, *refusal)
            return
        present[peer.uid] += 1
        house.metrics["dripd_admin_connections"].set(present.total())
        try:
            await charged(
                Session(stream, peer, house, partial(identity, stream.socket)).run(),
                house.charge,
            )
        finally:
            present[peer.uid] -= 1
            house.metrics["dripd_admin_connections"].set(present.total())


def refuse(peer: Peer, present: Counter[int]) -> tuple[str, str] | None:
    if peer.role is Role.NONE:
        return "denied", roles.denial(peer)
    if present.total() >= MOST_CONNECTIONS:
        return "busy", f"{MOST_CONNECTIONS} connections are open already"
    if present[peer.uid] >= MOST_OF_ONE_USER:
        return "busy", f"uid {peer.uid} has {MOST_OF_ONE_USER} connections open already"
    return None


async def say(stream: trio.SocketStream, reason: str, message: str) -> None:
    with trio.move_on_after(FAREWELL_S):
        try:
            await stream.send_all(wire.encode(farewell(reason, message)))
        except trio.BrokenResourceError:
            return


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Hold the lock beside *path*: nobody else listens there meanwhile."""
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise ConfigError(
            f"the socket path {path} has {len(os.fsencode(path))} bytes, "
            f"{MOST_PATH_BYTES} is the most",
            hint="set DRIPD_SOCKET or DRIPD_STATE to a shorter path",
        )
    close_directory(path.parent)
    lock = take_lock(path)
    try:
        yield
    finally:
        os.close(lock)


def take_lock(path: Path) -> int:
    """The descriptor of the lock file beside *path*, locked until it is closed."""
    name, flags = path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        lock = os.open(name, flags | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the lock file {name} cannot be opened: {error.strerror}",
            hint="set DRIPD_SOCKET or DRIPD_STATE to a directory of this user",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Conflict(
            f"another daemon listens on {path}",
            code="socket_in_use",
            hint="stop it, or set DRIPD_SOCKET to another path for this one",
        ) from error
    return lock


def close_directory(directory: Path) -> None:
    """Make *directory* (0700) if it is not there, refuse it if others may write in it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"the socket's directory {directory} cannot be used: {error.strerror}",
            hint="set DRIPD_SOCKET or DRIPD_STATE to a directory of this user",
        ) from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"the socket's directory {directory} may be written by others",
            hint=f"chmod go-w {directory}, or set DRIPD_SOCKET to a path in a private one",
        )


@contextmanager
def bound(path: Path) -> Iterator[socket.socket]:
    """A listening socket at *path*, which is removed at the end; the lock must be held."""
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(before)
        open_to_group(path)
        sock.listen(BACKLOG)
        yield sock
    finally:
        sock.close()
        path.unlink(missing_ok=True)


def remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that was killed; anything else there is left alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is no socket", hint="move it away, or use another")
    path.unlink()


def open_to_group(path: Path) -> None:
    """Let the group that may enter the directory use the socket: 0660, else it stays 0600."""
    gid = roles.socket_group(path.parent)
    if gid is not None:
        os.chown(path, -1, gid)
        path.chmod(0o660)
