"""May a tenant's address be reached at all? Only public ones, and only what was checked.

A name is resolved once, every address that it has is judged, and the connection goes to one
of those, so that a name which changes its mind between check and use gains nothing. What
cannot be resolved is refused. `[net] allow` names hosts and networks that may be reached all
the same, then also by plain http.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import trio

PORTS: Final = frozenset({443, 8443})
"""Ports of https: no tenant speaks to a database or a mail server through us."""

HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE | re.ASCII)

NAT64: Final = ip_network("64:ff9b::/96")

Address: TypeAlias = IPv4Address | IPv6Address


class NotPublic(OSError):
    """The address is not one that tenants may reach."""


class Reach:
    """What connectors may reach; *allow* are names (`crm.internal`) and networks.

    Raises `ValueError` for an entry that is neither.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._networks = []
        for entry in allow:
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError as error:
                if not HOST.fullmatch(entry):
                    message = (
                        f"{entry!r} is no network such as 10.0.0.0/8, nor a host's full name"
                    )
                    raise ValueError(message) from error
                self._hosts.add(entry.lower())

    def check(self, url: str) -> None:
        """Raises `ValueError` saying what is wrong with *url*; resolves nothing."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError("is no address") from error
        if not host or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("is no address such as https://crm.example.com/hook")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must hold no user and no password")
        if self._is_allowed(host):
            if parts.scheme not in {"http", "https"}:
                raise ValueError("must be http or https")
            return
        if parts.scheme != "https":
            raise ValueError("must be https")
        if (port or 443) not in PORTS:
            raise ValueError(f"must use port {' or '.join(map(str, sorted(PORTS)))}")
        literal = _literal(host)
        if literal is not None and not is_public(literal):
            raise ValueError("is not public, and [net] allow does not list it")

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """A connection to an address of *host* that was judged. Raises `OSError`."""
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not found:
            raise NotPublic("the name has no address")
        if not self._is_allowed(host):
            for _, _, _, _, place in found:
                self._judge(ip_address(str(place[0]).partition("%")[0]))
        error: OSError | None = None
        for family, kind, proto, _, place in found[:4]:
            one = trio.socket.socket(family, kind, proto)
            try:
                await one.connect(place)
                return trio.SocketStream(one)
            except OSError as refused:
                error = refused
                one.close()
            except BaseException:
                one.close()
                raise
        raise error or NotPublic("the name has no address")

    def _judge(self, address: Address) -> None:
        if not is_public(address) and not self._is_listed(address):
            raise NotPublic("the name leads to an address that is not public")

    def _is_allowed(self, host: str) -> bool:
        literal = _literal(host)
        listed = literal is not None and self._is_listed(literal)
        return listed or host.lower() in self._hosts

    def _is_listed(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def is_public(address: Address) -> bool:
    """May anybody reach *address*, whatever IPv4 address it carries inside?"""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _literal(host: str) -> Address | None:
    """The address that *host* is, in any of the spellings that a resolver takes for one."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
    except OSError:
        return None
