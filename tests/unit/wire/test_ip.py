"""The seam between the IP families: what each part of the core asks about a header, an address, a flow key."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from random import Random

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy import Config
from slirpy.core.network import Network
from slirpy.stats import Stats
from slirpy.wire import ethernet, ipv4
from slirpy.wire.checksum import transport_ok
from slirpy.wire.ip import V4, V6, Family, family_of, flow_key, reverse_key, split_key
from slirpy.wire.scope import is_loopback

ADDRESSES = {
    V4: (bytes([10, 0, 2, 15]), bytes([192, 0, 2, 7])),
    V6: (b"\xfe\xc0" + bytes(13) + b"\5", b"\x20\1" + bytes(14)),
}
BOTH = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
PORTS = st.integers(0, 65535)


@BOTH
def test_an_address_says_its_family(family: Family) -> None:
    for address in ADDRESSES[family]:
        assert len(address) == family.address_length
        assert family_of(address) is family


@pytest.mark.parametrize("length", [0, 1, 3, 5, 6, 8, 12, 15, 17, 20, 32])
def test_no_other_length_is_an_address(length: int) -> None:
    with pytest.raises(ValueError, match=f"4 or 16 bytes; given were {length}"):
        family_of(bytes(length))
    with pytest.raises(ValueError, match=f"4 or 16 bytes; given were {length}"):
        ethernet.virtual_mac(bytes(length))


@BOTH
@given(PORTS, PORTS)
def test_a_flow_key_comes_apart_again(family: Family, source_port: int, destination_port: int) -> None:
    source, destination = ADDRESSES[family]
    key = flow_key(source, source_port, destination, destination_port)
    assert len(key) == 2 * family.address_length + 4
    assert split_key(key) == (source, source_port, destination, destination_port)
    assert reverse_key(key) == flow_key(destination, destination_port, source, source_port)
    assert reverse_key(reverse_key(key)) == key
    header = family.build(source, destination, ipv4.UDP, 8)  # as they lie in the packet
    assert (header + key[-4:]).endswith(key)


def test_keys_of_two_families_or_of_none_are_refused() -> None:
    four, sixteen = ADDRESSES[V4][0], ADDRESSES[V6][0]
    for source, destination in ((four, sixteen), (sixteen, four), (four, b""), (bytes(10), bytes(10))):
        with pytest.raises(ValueError, match="two addresses of 4 or of 16 bytes"):
            flow_key(source, 1, destination, 2)
    for length in (0, 11, 13, 24, 35, 37):
        with pytest.raises(ValueError, match=f"12 or 36 bytes; given were {length}"):
            split_key(bytes(length))
        with pytest.raises(ValueError, match=f"12 or 36 bytes; given were {length}"):
            reverse_key(bytes(length))


@BOTH
@given(st.integers(0, 255), st.integers(1, 255), st.integers(0, 255), st.integers(0, 200))
def test_a_header_is_read_as_it_was_built(
    family: Family, protocol: int, hop_limit: int, traffic_class: int, length: int
) -> None:
    source, destination = ADDRESSES[family]
    packet = family.build(
        source, destination, protocol, length, hop_limit=hop_limit, traffic_class=traffic_class
    ) + bytes(length)
    header = family.parse(packet + b"padding")
    assert header is not None
    assert (header.source, header.destination) == (source, destination)
    assert (header.protocol, header.hop_limit, header.traffic_class) == (protocol, hop_limit, traffic_class)
    assert (header.header_length, header.total_length) == (family.header_length, len(packet))
    assert header.fragment_offset == 0
    assert family.parse(packet[:-1]) is None
    other = V6 if family is V4 else V4
    assert other.parse(packet + bytes(60)) is None


@BOTH
def test_a_header_for_the_other_family_is_refused(family: Family) -> None:
    mine, other = ADDRESSES[family][0], ADDRESSES[V6 if family is V4 else V4][0]
    for source, destination in ((mine, other), (other, mine), (other, other)):
        with pytest.raises(ValueError, match=f"IPv{family.version} addresses have"):
            family.build(source, destination, 6, 0)


@pytest.mark.parametrize(("fragment", "is_fragment", "offset", "df"), [
    (0, False, 0, False), (ipv4.DF, False, 0, True), (ipv4.MF, True, 0, False), (185, True, 1480, False),
])  # fmt: skip
def test_fragments_of_ipv4(fragment: int, is_fragment: bool, offset: int, df: bool) -> None:
    header = V4.parse(ipv4.build(*ADDRESSES[V4], 17, 0, fragment=fragment))
    assert header is not None
    assert (header.is_fragment, header.fragment_offset, header.dont_fragment) == (is_fragment, offset, df)


@pytest.mark.parametrize("text", [
    "0.0.0.0", "0.1.2.3", "10.0.2.2", "127.0.0.1", "127.255.255.255", "128.0.0.1", "223.255.255.255", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::2", "::ffff:10.0.2.2", "fe80::2", "fec0::2",
    "2001:db8::1", "64:ff9b::a00:202", "64:ff9b:1::1", "::ffff:0:10.0.2.2", "1::1", "ff::1", "100::1",
    "ff02::1", "feff::1", "ffff::1",
])  # fmt: skip
def test_kinds_of_addresses(text: str) -> None:
    """Held against the standard library's words for them."""
    address = ip_address(text)
    family, packed = family_of(address.packed), address.packed
    assert family.version == address.version
    assert family.is_multicast(packed) == address.is_multicast
    assert is_loopback(packed) == address.is_loopback
    assert family.is_unspecified(packed) == address.is_unspecified
    if isinstance(address, IPv4Address):
        martian = address.is_multicast or address.is_loopback or address.is_reserved or packed[0] == 0
    else:
        reserved = address in IPv6Network("::/8") and address not in IPv6Network("64:ff9b::/32")
        martian = address.is_multicast or reserved
    assert family.is_martian(packed) == martian


@given(st.binary(max_size=60).filter(lambda payload: len(payload) % 2 == 0))
def test_sums_of_ipv6_agree_with_dpkt(payload: bytes) -> None:
    source, destination = ADDRESSES[V6]
    segment = dpkt.udp.UDP(sport=1, dport=2, ulen=8 + len(payload), data=payload)
    packet = bytes(
        dpkt.ip6.IP6(src=source, dst=destination, nxt=17, hlim=64, plen=8 + len(payload), data=segment)
    )
    assert transport_ok(packet, 40, len(packet), 17)
    broken = packet[:-1] + bytes([packet[-1] ^ 1])
    assert not transport_ok(broken, 40, len(packet), 17)
    assert not transport_ok(packet[:24] + b"\xee" + packet[25:], 40, len(packet), 17)  # its destination counts


def network() -> Network:
    return Network(Config(), Random(1), Stats())


def test_an_ipv6_address_is_of_no_ipv4_network() -> None:
    """The last bytes may be those of a guest's address."""
    guest = IPv4Address("10.0.2.15").packed
    for address in (bytes(12) + guest, bytes(10) + b"\xff\xff" + guest, guest + bytes(12)):
        assert not Config().contains(address)
        assert not network().may_be_guest(address)
    assert Config().contains(guest)
    assert network().may_be_guest(guest)


@pytest.mark.parametrize(("text", "expected"), [
    ("255.255.255.255", True), ("10.0.2.255", True), ("224.0.0.251", True), ("10.0.2.2", False), ("240.0.0.1", False),
    ("ff02::1", True), ("e000::1", False), ("ef00::", False), ("2001:db8::ff", False),
])  # fmt: skip
def test_broadcast_addresses(text: str, expected: bool) -> None:
    assert network().is_broadcast(ip_address(text).packed) is expected


def test_macs_of_virtual_hosts() -> None:
    assert ethernet.virtual_mac(IPv4Address("10.0.2.2").packed) == bytes.fromhex("52550a000202")
    assert ethernet.virtual_mac(IPv6Address("fec0::2").packed) == bytes.fromhex("525600000002")
    net = network()
    net.add_address(IPv6Address("fec0::2").packed)
    assert net.mac_for(IPv6Address("fec0::2").packed) == bytes.fromhex("525600000002")
    assert net.mac_for(IPv6Address("2001:db8::1").packed) == bytes.fromhex("525600000002")
