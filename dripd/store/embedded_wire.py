"""Does a Postgres answer on this socket, and will it do one thing for us?

The few messages of the frontend/backend protocol 3.0 that the embedded server needs, on a
blocking socket. Liveness is decided here, by connecting: a process id proves nothing, since
it may be a zombie's or by now somebody else's. No client program is needed either; not every
installation has `psql` or `pg_isready`.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dripd.errors import StoreError

PROTOCOL = 196_608
"""Version 3.0: major in the upper, minor in the lower sixteen bits."""

MOST_BYTES = 1_000_000
"""No answer that we ask for comes near it; a longer one is not Postgres."""

WORK_MS = 120_000
"""How long a statement may take: a database is a thousand files, which a busy disk writes slowly."""

PATIENCE_MS = 5_000
"""How long a server may take over one answer. A frozen one counts as refusing."""

CANNOT_CONNECT_NOW = "57P03"
DATABASE_MISSING = "3D000"
DATABASE_EXISTS = "42P04"


class Answer(StrEnum):
    """What a server says when asked for a session."""

    READY = "ready"
    STARTING = "starting"
    """Starting, recovering or shutting down: it will be ready or gone in a while."""

    NO_DATABASE = "no_database"
    REFUSED = "refused"
    """Nobody listens, or nobody answers in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came before the server was ready again: SQLSTATE and text of an error, if any."""

    code: str = ""
    message: str = ""


def knock(path: Path, *, user: str, database: str) -> Answer:
    """Ask the server on socket *path* for a session, and leave again.

    An error that only a running server can give (too many connections, say) counts as ready:
    it is alive, and starting another one would be wrong.
    """
    try:
        with connect(path) as link:
            reply = open_session(link, user, database)
            link.sendall(frame(b"X", b""))
    except OSError:
        return Answer.REFUSED
    if reply.code == CANNOT_CONNECT_NOW:
        return Answer.STARTING
    return Answer.NO_DATABASE if reply.code == DATABASE_MISSING else Answer.READY


def perform(path: Path, statement: str, *, user: str, database: str) -> Reply:
    """Run one *statement* that returns no rows; an error of the server is in the reply.

    Raises `OSError` if the server goes away, `StoreError` if it gives no session.
    """
    with connect(path) as link:
        reply = open_session(link, user, database)
        if reply.code:
            raise StoreError(f"the server on {path} gives no session: {reply.message}")
        link.sendall(frame(b"Q", statement.encode() + b"\0"))
        link.settimeout(WORK_MS / 1000)
        reply = until_ready(link)
        link.sendall(frame(b"X", b""))
    return reply


def connect(path: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(PATIENCE_MS / 1000)
        link.connect(str(path))
    except BaseException:
        link.close()
        raise
    return link


def open_session(link: socket.socket, user: str, database: str) -> Reply:
    body = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database, ""))
    link.sendall(frame(b"", struct.pack("!i", PROTOCOL) + body))
    return until_ready(link)


def frame(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def until_ready(link: socket.socket) -> Reply:
    """Read to ReadyForQuery, or to an error that ends the session."""
    reply = Reply()
    while True:
        kind, body = read_message(link)
        if kind == b"Z":
            return reply
        if kind == b"E":
            reply = read_error(body)
            if reply.code[:2] in {"3D", "53", "57", "28"} or reply.code.startswith("08"):
                return reply  # the session ends with these; ReadyForQuery does not follow
        if kind == b"R" and body[:4] != b"\0\0\0\0":
            return Reply(code="28000", message="it asks for a password")


def read_message(link: socket.socket) -> tuple[bytes, bytes]:
    head = read_exactly(link, 5)
    (size,) = struct.unpack("!i", head[1:])
    if not 4 <= size <= MOST_BYTES:
        raise ConnectionError("what answers there is not Postgres")
    return head[:1], read_exactly(link, size - 4)


def read_exactly(link: socket.socket, n_bytes: int) -> bytes:
    got = bytearray()
    while len(got) < n_bytes:
        more = link.recv(n_bytes - len(got))
        if not more:
            raise ConnectionError("the server closed the connection")
        got += more
    return bytes(got)


def read_error(body: bytes) -> Reply:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return Reply(code=fields.get(b"C", "XX000"), message=fields.get(b"M", "an unknown error"))
