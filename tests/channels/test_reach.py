"""Which addresses tenants may reach: every spelling of a private one is refused."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
import trio

from dripd.channels.reach import NotPublic, Reach, is_public

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:807f:ffff",
]  # fmt: skip


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_public_is_seen_through(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/", "https://a:b@crm.example.com/", "ftp://crm.example.com/",
        "https://crm.example.com:22/", "https:///x", "crm.example.com", "https://[::1]/", "",
        "https://127.0.0.1/", "https://127.1/", "https://0x7f000001/", "https://2130706433/",
        "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest/meta-data",
        "https://crm.example.com/a b", "https://crm.example.com/\r\nX: y", "https://[fe80::1%25eth0]/",
        "https://crm.example.com:99999/", "https://\uff43rm.example.com/",
    ],
)  # fmt: skip
def test_addresses_that_tenants_may_not_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"is |must "):
        Reach().check(url)


def test_what_the_configuration_lists_may_be_named() -> None:
    reach = Reach(["10.0.0.0/8", "CRM.internal", "::1"])

    for url in ("http://10.1.2.3:8080/x", "http://crm.internal/", "https://[::1]:9/"):
        reach.check(url)
    reach.check("https://crm.example.com/hook?x=1")
    reach.check("https://crm.example.com:8443/")
    with pytest.raises(ValueError, match="must be https"):
        reach.check("http://other.internal/")


class Names(trio.abc.HostnameResolver):
    """A resolver that answers as it is told, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]  # noqa: A002, ANN001, ANN201
        self.asked += 1
        if not self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        stream = socket.SOCK_STREAM
        return [(socket.AF_INET, stream, 6, "", (at, port)) for at in self.answers.pop(0)]

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        raise AssertionError("no name is asked for")


@pytest.mark.trio
async def test_a_name_that_leads_inside_is_refused_without_a_connection() -> None:
    for answers in (["127.0.0.1"], ["93.184.215.14", "169.254.169.254"]):
        trio.socket.set_custom_hostname_resolver(Names(answers))
        with pytest.raises(NotPublic):
            await Reach().connect("rebinding.test", 443)


@pytest.mark.trio
async def test_a_name_is_resolved_once_and_the_checked_address_is_used() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    trio.socket.set_custom_hostname_resolver(names)
    stream = await Reach(["127.0.0.0/8"]).connect("crm.test", port)

    assert ("127.0.0.1", port) == stream.socket.getpeername()
    assert 1 == names.asked
    await stream.aclose()
    await listener.aclose()


@pytest.mark.trio
async def test_a_name_that_cannot_be_resolved_is_refused() -> None:
    trio.socket.set_custom_hostname_resolver(Names())
    with pytest.raises(OSError, match="unknown"):
        await Reach().connect("nowhere.test", 443)
