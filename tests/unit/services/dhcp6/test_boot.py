"""Boot files are URLs with DHCPv6 (RFC 5970); and messages that come through relay agents."""

from __future__ import annotations

from typing import Any

import pytest

from slirpy.config import Config
from slirpy.config.boot import BootChoice
from slirpy.config.dhcp import DhcpAnswer
from slirpy.errors import ConfigError
from slirpy.wire import dhcp6
from tests.unit.services.dhcp6.world import (
    ADVERTISE,
    GATEWAY,
    INFORMATION_REQUEST,
    RENEW,
    REQUEST,
    ROUTER,
    SERVER_ID,
    SOLICIT,
    World,
    duid,
    ia,
    ip,
    link_local,
    mac,
    oro,
)  # fmt: skip

URL = "http://[fec0::2]:8000/x.efi"
ASKS = oro(59, 60)


def vendor(text: bytes) -> bytes:
    return dhcp6.pack_option(dhcp6.VENDOR_CLASS, b"\0\0\1\x57" + len(text).to_bytes(2, "big") + text)


def architecture(*numbers: int) -> bytes:
    return dhcp6.pack_option(dhcp6.CLIENT_ARCHITECTURE, b"".join(n.to_bytes(2, "big") for n in numbers))


PXE = vendor(b"PXEClient:Arch:00007:UNDI:003001")
HTTP = vendor(b"HTTPClient:Arch:00016:UNDI:003001")
IPXE = dhcp6.pack_option(dhcp6.USER_CLASS, b"\0\4iPXE")


def boot(bootfile: Any, *options: bytes, kind: int = SOLICIT, **config: Any) -> str | None:
    """The boot file that a client with these options is given."""
    associations = [] if kind == INFORMATION_REQUEST else [ia()]
    reply = World(Config(bootfile=bootfile, **config)).reply(kind, 1, *associations, *options)
    found = reply.options.get(dhcp6.BOOTFILE_URL)
    return None if found is None else found.decode("ascii")


@pytest.mark.parametrize("kind", [SOLICIT, REQUEST, RENEW, INFORMATION_REQUEST])
def test_a_path_becomes_a_url_of_the_gateway(kind: int) -> None:
    assert boot("grubx64.efi", kind=kind) == "tftp://[fec0::2]/grubx64.efi"
    assert boot("grubx64.efi", ASKS, kind=kind) == "tftp://[fec0::2]/grubx64.efi"
    assert boot("grubx64.efi", oro(23), kind=kind) is None
    assert boot(None, ASKS, kind=kind) is None


@pytest.mark.parametrize(("file", "path"), [
    ("/boot/x.efi", "boot/x.efi"), ("a b%c?d#e", "a%20b%25c%3Fd%23e"),
    ("a:b@c!$&'()*+,;=~-._", "a:b@c!$&'()*+,;=~-._"),
])  # fmt: skip
def test_special_characters_in_boot_urls_are_escaped(file: str, path: str) -> None:
    assert boot(file) == f"tftp://[fec0::2]/{path}"


@pytest.mark.parametrize(("server", "host"), [
    ("boot.example", "boot.example"), ("2001:db8::9", "[2001:db8::9]"), ("10.0.2.2", "[fec0::2]"), ("", "[fec0::2]"),
])  # fmt: skip
def test_the_server_in_the_url(server: str, host: str) -> None:
    """An IPv4 address is of no use to a client that boots by IPv6."""
    if server:
        assert boot("x", tftp_server_name=server) == f"tftp://{host}/x"
    config = Config(bootfile="x", lease_policy=lambda _: DhcpAnswer(tftp_server_name=server))
    assert World(config).reply(SOLICIT, 1, ia()).options[59].decode() == f"tftp://{host}/x"


def test_the_gateway_in_the_url_is_that_of_the_network() -> None:
    assert boot("x", net6="2001:db8:1::/64", host6="2001:db8:1::99") == "tftp://[2001:db8:1::99]/x"


def test_by_architecture() -> None:
    """RFC 5970 section 3.3; the first number counts as much as the others, and the vendor class if there is none."""
    files = ["efi-x64=x64", "efi-arm64=arm", "ipxe=menu", "other"]
    for options, expected in (
        ((architecture(7),), "x64"), ((architecture(9, 7),), "x64"), ((architecture(11),), "arm"), ((PXE,), "x64"),
        ((architecture(7), IPXE), "menu"), ((architecture(99),), "other"), ((), "other"),
    ):  # fmt: skip
        assert boot(files, *options) == f"tftp://[fec0::2]/{expected}"
    assert boot(["efi-arm64=arm"], architecture(7)) is None


def test_boot_urls_match_the_firmware() -> None:
    """Firmware that boots by PXE loads from TFTP only, that which boots by HTTP from nowhere else, iPXE anything."""
    tftp = "tftp://[2001:db8::9]/x.efi"
    assert boot(URL, HTTP) == URL
    assert boot(URL, IPXE) == URL
    assert boot(URL, PXE) is None
    assert boot(tftp, PXE) == tftp
    assert boot(tftp, HTTP) is None
    assert boot([URL, "grub.efi"], PXE) == "tftp://[fec0::2]/grub.efi"
    assert boot([URL, "grub.efi"], HTTP) == URL


def test_http_boot_recognizes_an_answer_by_its_vendor_class() -> None:
    """EDK2 looks at no advertisement without it (UEFI 2.10, section 24.7.3)."""
    world = World(Config(bootfile=[URL, "grub.efi"]))
    for wanted in ((ASKS,), ()):
        assert world.reply(SOLICIT, 1, ia(), *wanted, HTTP).options[16] == vendor(b"HTTPClient")[4:]
        for other in (PXE, IPXE):
            assert 16 not in world.reply(SOLICIT, 1, ia(), *wanted, other).options
    assert 16 not in World(Config()).reply(SOLICIT, 1, ia(), HTTP).options


def test_a_function_chooses() -> None:
    assert boot(lambda request: f"{request.architecture}.efi", architecture(7)) == "tftp://[fec0::2]/7.efi"
    assert boot(lambda request: "https://x/" if request.version == 6 else None) == "https://x/"
    with pytest.raises(ConfigError, match="bootfile"):
        boot(lambda request: "x" * 300)


def test_a_choice_as_an_object() -> None:
    assert boot([BootChoice("x", frozenset((7,)))], architecture(7)) == "tftp://[fec0::2]/x"


# ------------------------------------------------------------------------------------------- relay agents


def relayed(
    kind: int, client: int, *options: bytes, link: bytes = bytes(16), agent_options: bytes = b"", hops: int = 0
) -> bytes:
    inner = dhcp6.write_message(kind, b"abc", [dhcp6.pack_option(1, duid(client)), *options])
    head = bytes((dhcp6.RELAY_FORWARD, hops)) + link + link_local(client)
    return head + agent_options + dhcp6.pack_option(dhcp6.RELAY_MESSAGE, inner)


AGENT = ip("fec0::99")


@pytest.mark.rfc("8415", "18.3 relay")
@pytest.mark.rfc("8415", "19.3 interface")
@pytest.mark.rfc("8415", "7.2")
@pytest.mark.rfc("8415", "13.1 zero")
def test_an_answer_by_a_relay_agent() -> None:
    world = World()
    payload = relayed(SOLICIT, 1, ia(), agent_options=dhcp6.pack_option(dhcp6.INTERFACE_ID, b"eth7"))
    for destination in (GATEWAY, ip("ff02::1:2")):
        (sent,) = world.hear(payload, 50, source=AGENT, source_port=547, destination=destination)
        assert (sent.source, sent.destination, sent.destination_port) == (GATEWAY, AGENT, 547)
        assert sent.mac == mac(50)
        assert sent.payload[:34] == bytes((dhcp6.RELAY_REPLY, 0)) + bytes(16) + link_local(1)
        rest = dhcp6.read_message(b"\0abc" + sent.payload[34:])
        assert rest is not None
        assert rest.first(dhcp6.INTERFACE_ID) == b"eth7"
        inner = dhcp6.read_message(rest.first(dhcp6.RELAY_MESSAGE) or b"")
        assert inner is not None
        assert (inner.kind, inner.client_id, inner.server_id) == (ADVERTISE, duid(1), SERVER_ID)


def test_an_agent_next_to_the_client() -> None:
    world = World()
    (sent,) = world.hear(relayed(SOLICIT, 1, ia()), 50)
    assert (sent.source, sent.destination, sent.destination_port) == (ROUTER, link_local(50), 547)


def test_the_mac_address_of_a_client_behind_an_agent() -> None:
    """RFC 6939, or the DUID."""
    rule = [f"{mac(1).hex(':')}=fec0::50"]

    def address(*agent: bytes, client_id: bytes) -> bytes:
        world = World(Config(static_leases=rule))
        inner = dhcp6.write_message(SOLICIT, b"abc", [dhcp6.pack_option(1, client_id), ia()])
        head = bytes((dhcp6.RELAY_FORWARD, 0)) + bytes(16) + link_local(1)
        payload = head + b"".join(agent) + dhcp6.pack_option(dhcp6.RELAY_MESSAGE, inner)
        (sent,) = world.hear(payload, 50)
        (lease,) = world.book.leases()
        assert lease.address in sent.payload
        return lease.address

    fifty, first = ip("fec0::50"), ip("fec0::15")
    seen = dhcp6.pack_option(dhcp6.CLIENT_LINK_ADDRESS, b"\0\1" + mac(1))
    other = dhcp6.pack_option(dhcp6.CLIENT_LINK_ADDRESS, b"\0\1" + mac(2))
    assert address(seen, client_id=duid(1)) == fifty
    assert address(client_id=dhcp6.duid_of_mac(mac(1))) == fifty
    assert address(other, client_id=dhcp6.duid_of_mac(mac(1))) == first
    assert address(client_id=duid(1)) == first


def test_the_card_of_a_client_that_asks_directly_is_that_of_its_frame() -> None:
    """A DUID may be made of another card's address."""
    world = World(Config(static_leases=[f"{mac(1).hex(':')}=fec0::50", f"{mac(2).hex(':')}=fec0::51"]))
    assert world.reply(SOLICIT, 1, ia(), client_id=dhcp6.duid_of_mac(mac(2))).addresses == [ip("fec0::50")]


@pytest.mark.rfc("8415", "13.1 link")
@pytest.mark.rfc("8415", "13.1 zero")
def test_agents_of_other_networks_are_ignored() -> None:
    world = World()
    assert world.hear(relayed(SOLICIT, 1, ia(), link=ip("2001:db8::1"))) == []
    assert world.stats.drop_dhcp6_ignored == 1
    assert len(world.hear(relayed(SOLICIT, 1, ia(), link=ip("fec0::1")))) == 1


def test_too_many_agents() -> None:
    world = World()
    payload = relayed(SOLICIT, 1, ia())
    for _ in range(dhcp6.HOPS_MAX):
        head = bytes((dhcp6.RELAY_FORWARD, 1)) + bytes(16) + AGENT
        payload = head + dhcp6.pack_option(dhcp6.RELAY_MESSAGE, payload)
    assert world.hear(payload) == []
    assert world.stats.drop_dhcp6_malformed == 1
