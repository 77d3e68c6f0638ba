"""Who is on the other end of the socket, and what may they do?

The kernel says who (`SO_PEERCRED`, `SO_PEERGROUPS`), the configuration's `[admin.roles]` says
what. A role is settled once, when the connection is accepted. The process id is noted for the
audit and decides nothing. In an account a person's `dripd.operator` row may narrow the role
further; that is the handler's business.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

SO_PEERGROUPS: Final = 59
"""Linux 4.13 and later, on every architecture but alpha, hppa and sparc."""

MOST_GROUP_BYTES: Final = 1024
"""The longest answer that Python's getsockopt takes: 256 groups."""

OVERFLOW_UID: Final = 65534
"""The uid that stands for all that this user namespace does not know."""


class Options(Protocol):
    """What is asked of a socket here; trio's and the standard library's both answer."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


class Role(StrEnum):
    """What somebody may do; each role may all that the ones before it may."""

    NONE = "none"
    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """Whether this role may do what *other* may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who was accepted: `why` says in words where the role comes from."""

    uid: int
    pid: int
    user: str
    role: Role
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """`[admin.roles]`: names of users, and of groups with an @ before them."""

    viewer: tuple[str, ...] = ("@dripd",)
    member: tuple[str, ...] = ("@dripd-ops",)
    admin: tuple[str, ...] = ("root", "@dripd-admin")

    def judge(
        self, uid: int, user: str, groups: Iterable[str], *, own_uid: int
    ) -> tuple[Role, str]:
        """The highest role that *user* has, and why.

        The daemon's own user is an admin. Uid 65534 is refused: it may be anybody of another
        user namespace - unless the daemon itself runs as it, when the 0700 directory around
        the socket has kept the others out.
        """
        if uid == own_uid:
            return Role.ADMIN, "the daemon's own user"
        if uid == OVERFLOW_UID:
            return Role.NONE, "uid 65534 may be anybody of another user namespace"
        names = {user} | {f"@{group}" for group in groups}
        for role, members in self.by_rank():
            if found := sorted(names & set(members)):
                return role, f"{found[0]} is in admin.roles.{role}"
        return Role.NONE, "in no list of admin.roles"

    def by_rank(self) -> tuple[tuple[Role, tuple[str, ...]], ...]:
        return (
            (Role.ADMIN, self.admin),
            (Role.MEMBER, self.member),
            (Role.VIEWER, self.viewer),
        )

    def identify(self, sock: Options) -> Peer:
        """Who is at the other end of the connected unix socket *sock*."""
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, gid = struct.unpack("3i", raw)
        user = user_name(uid)
        groups = [group_name(g) for g in {gid, *peer_groups(sock)}]
        role, why = self.judge(uid, user, groups, own_uid=os.getuid())
        return Peer(uid=uid, pid=pid, user=user, role=role, why=why)


def peer_groups(sock: Options) -> tuple[int, ...]:
    """The supplementary groups of the peer; none where the kernel does not tell.

    A peer in more than 256 groups counts as being in its primary group alone.
    """
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MOST_GROUP_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def user_name(uid: int) -> str:
    """The login name of *uid*, or `#UID` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"


def denial(peer: Peer) -> str:
    """The one line that somebody without a role is told."""
    return f"denied uid {peer.uid}; ask for group dripd"


def socket_group(directory: Path) -> int | None:
    """The group that may enter *directory* and so may use the socket in it, if any."""
    stat = directory.stat()
    return stat.st_gid if stat.st_mode & 0o010 else None
