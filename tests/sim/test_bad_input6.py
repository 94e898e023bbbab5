"""Bad input over IPv6: each frame counts under one name, and other guests' traffic is not affected.

The table names the frames, the counters they move, and the answers they get, as ICMPv6 type and code. The fuzzer
(tests/property/test_fuzz6.py) tries what nobody has thought of.
"""

from __future__ import annotations

import re
import struct
from typing import Any, NamedTuple

import pytest

from slirpy import Config, ConfigError
from slirpy.core import fragments as fragments_module
from slirpy.core import neighbor as neighbor_module
from tests.support.frames6 import (
    ALL_NODES,
    DNS6,
    GATEWAY6,
    GUEST6,
    ICMPV6,
    LINK_LOCAL,
    ROUTER,
    ROUTER_MAC,
    SLLA,
    TCP,
    UDP,
    UNSPECIFIED,
    WORLD6,
    checked,
    datagram,
    echo6,
    fragment,
    fragments,
    icmp6,
    ip6,
    ipv6,
    know6,
    neighbor_advertisement,
    neighbor_solicitation,
    of_kind,
    router_solicitation,
    solicited,
    tcp6,
    udp6,
)
from tests.support.harness import GUEST_MAC, SYN, Net, config, eth, ipv4, udp

OTHER_MAC = bytes.fromhex("525400aaaaaa")
PADDING = b"\1\4" + bytes(4)
"""Body of an extension header of eight bytes."""
DHCP6: dict[str, Any] = {"source": LINK_LOCAL, "destination": ip6("ff02::1:2"), "sport": 546, "dport": 547}
SOLICITATION = b"\x87\0\0\0" + bytes(4) + ROUTER + SLLA


def counting(**counters: int) -> dict[str, int]:
    return counters


class Case(NamedTuple):
    """Frames, and what becomes of them."""

    frames: list[bytes]
    counters: dict[str, int]
    answers: str = ""
    """Types and codes of the ICMPv6 messages that come back, in hexadecimal."""


def one(frame: bytes, counter: str, answers: str = "") -> Case:
    return Case([frame], {counter: 1}, answers)


def chain(count: int, destination: bytes = WORLD6) -> bytes:
    """A datagram behind so many extension headers."""
    headers = (b"\x3c\0" + PADDING) * (count - 1) + b"\x11\0" + PADDING
    return ipv6(60, headers + datagram(b"x", destination=destination), GUEST6, destination)


def from_source(source: str) -> list[bytes]:
    """A packet of each protocol."""
    return [
        udp6(b"x", source=ip6(source)),
        tcp6(SYN, 1, source=ip6(source)),
        echo6(source=ip6(source)),
        neighbor_solicitation(ROUTER, source=ip6(source)),
    ]


def toward(destination: str) -> list[bytes]:
    to = ip6(destination)
    return [udp6(b"x", destination=to), tcp6(SYN, 1, destination=to), echo6(destination=to)]


def solicitation(source: bytes = LINK_LOCAL) -> bytes:
    return checked(ICMPV6, SOLICITATION, 2, source, solicited(ROUTER))


def option(kind: int) -> bytes:
    """A datagram behind an option of this type."""
    return ipv6(60, b"\x11\0" + bytes((kind, 4)) + bytes(4) + datagram(b"x"))


CASES = {
    # --------------------------------------------------------------------------------- Neighbor Discovery
    "solicitation that was routed": one(neighbor_solicitation(ROUTER, hop_limit=254), "drop_ndp_malformed"),
    "solicitation with hop limit 1": one(neighbor_solicitation(ROUTER, hop_limit=1), "drop_ndp_malformed"),
    "solicitation with a code": one(
        icmp6(135, 1, SOLICITATION[4:], source=LINK_LOCAL, destination=ROUTER, hop_limit=255), "drop_ndp_malformed"
    ),
    "solicitation of a group": one(neighbor_solicitation(ALL_NODES, destination=ROUTER), "drop_ndp_malformed"),
    "solicitation with an option of no length": one(
        neighbor_solicitation(ROUTER, b"\1\0" + bytes(6)), "drop_ndp_malformed"
    ),
    "solicitation cut short": one(
        icmp6(135, 0, bytes(8), source=LINK_LOCAL, destination=ROUTER, hop_limit=255), "drop_ndp_malformed"
    ),
    "solicitation with a wrong checksum": one(
        ipv6(ICMPV6, SOLICITATION, source=LINK_LOCAL, destination=ROUTER, hop_limit=255), "drop_icmp_malformed"
    ),
    "solicitation in a fragment": one(
        ipv6(44, b"\x3a" + bytes(7) + solicitation(), LINK_LOCAL, solicited(ROUTER), 255), "drop_ndp_malformed"
    ),
    "solicitation from our address": one(neighbor_solicitation(GATEWAY6, source=GATEWAY6), "drop_ip_source"),
    "solicitation for a group's member that is not here": one(
        neighbor_solicitation(ip6("fec0::9:9999")), "drop_ipv6_group"
    ),
    "solicitation for another guest, sent to us": one(
        neighbor_solicitation(ip6("fec0::99"), destination=ROUTER), "ndp_nobody"
    ),
    "duplicate address detection for our address": Case(
        [neighbor_solicitation(GATEWAY6, b"", source=UNSPECIFIED)], counting(ndp_neighbor_adverts=1), "8800"
    ),
    "duplicate address detection for the router's": Case(
        [neighbor_solicitation(ROUTER, b"", source=UNSPECIFIED)], counting(ndp_neighbor_adverts=1), "8800"
    ),
    "duplicate address detection with an option": one(
        neighbor_solicitation(GATEWAY6, SLLA, source=UNSPECIFIED), "drop_ndp_malformed"
    ),
    "duplicate address detection sent to one": one(
        neighbor_solicitation(GATEWAY6, b"", source=UNSPECIFIED, destination=ROUTER), "drop_ndp_malformed"
    ),
    "advertisement of our address": one(neighbor_advertisement(GATEWAY6, source=GUEST6), "drop_ndp_sender"),
    "advertisement from our address": one(neighbor_advertisement(GATEWAY6), "drop_ip_source"),
    "advertisement of a group's MAC address": one(
        icmp6(136, 0, b"\x60\0\0\0" + GUEST6 + b"\2\1\x33\x33\0\0\0\1", destination=ROUTER, hop_limit=255),
        "drop_ndp_sender",
    ),
    "advertisement of somebody else's card": one(
        icmp6(136, 0, b"\x60\0\0\0" + GUEST6 + b"\2\1" + OTHER_MAC, destination=ROUTER, hop_limit=255),
        "drop_ndp_sender",
    ),
    "solicited advertisement to all": one(neighbor_advertisement(destination=ALL_NODES), "drop_ndp_malformed"),
    "router advertisement of a guest": one(
        icmp6(134, 0, b"\x40\0\7\x08" + bytes(8), source=LINK_LOCAL, destination=ALL_NODES, hop_limit=255),
        "drop_ndp_router",
    ),
    "router advertisement from our address": one(
        icmp6(134, 0, b"\x40\0\7\x08" + bytes(8), source=ROUTER, destination=ALL_NODES, hop_limit=255),
        "drop_ip_source",
    ),
    "redirect of a guest": one(
        icmp6(137, 0, bytes(4) + LINK_LOCAL + WORLD6, source=LINK_LOCAL, destination=ROUTER, hop_limit=255),
        "drop_ndp_router",
    ),
    "redirect from our address": one(
        icmp6(137, 0, bytes(4) + LINK_LOCAL + WORLD6, source=ROUTER, destination=ROUTER, hop_limit=255),
        "drop_ip_source",
    ),
    "router solicitation from loopback": one(router_solicitation(source=ip6("::1")), "drop_ip_source"),
    "router solicitation from nobody, with an option": one(
        router_solicitation(source=UNSPECIFIED), "drop_ndp_malformed"
    ),
    # ------------------------------------------------------------------------------------------- addresses
    **{
        f"source {source}": Case(from_source(source), counting(drop_ip_source=4))
        for source in (
            "::1", "ff02::1", "ff0e::1", "::ffff:10.0.2.15", "::ffff:127.0.0.1", "::10.0.2.15", "64:ff9b::10.0.2.15",
            "fec0::2", "fec0::3", "fe80::2", "fec0::", "fe80::", "2001:db8:7::7",
        )
    },
    "source ::": Case(from_source("::")[:3], counting(drop_ip_source=3)),
    **{
        f"destination {destination}": Case(toward(destination), counting(drop_ip_destination=3))
        for destination in (
            "::1", "::", "::2", "::ffff:127.0.0.1", "::ffff:198.51.100.7", "::198.51.100.7", "::ffff:0:198.51.100.7",
            "1::1", "64:ff9b::127.0.0.1", "64:ff9b::0.0.0.0",
            "64:ff9b::224.0.0.1", "64:ff9b::255.255.255.255", "64:ff9b::10.0.2.255",
        )
    },
    **{
        f"destination {destination}": Case(toward(destination), counting(drop_ipv6_group=3))
        for destination in ("ff02::fb", "ff05::2", "ff0e::1", "ff01::2", "ff02::9")
    },
    **{
        f"destination {destination}": Case(
            toward(destination),
            counting(drop_udp_unreachable=1, tcp_flows_refused=1, drop_icmp_unreachable=1),
            "0103 0103 0103",
        )
        # Link-local addresses with other bits than zeros must not lead to an interface of the host.
        for destination in ("fec0::", "fec0::99", "fe80::99", "fe80:0:0:1::5", "febf::1")
    },
    # ----------------------------------------------------------------------------------- headers of IPv6
    "chain of 9 extension headers": one(chain(9), "drop_ipv6_extension", "0408"),
    "chain of 100": one(chain(100), "drop_ipv6_extension"),
    "chain of 1,000": one(chain(1000), "drop_ipv6_extension"),
    "chain of 1,000 to a group": one(chain(1000, ALL_NODES), "drop_ipv6_extension"),
    "chain of 1,000 in fragments": Case(
        [fragment(0, ((b"\x3c\0" + PADDING) * 150)[:1200], more=True, protocol=60)], counting(drop_ipv6_extension=1)
    ),
    "2,000 options": one(
        ipv6(60, b"\x11\xff" + bytes(2046) + datagram(b"x")), "drop_ipv6_extension", "0409"
    ),
    "routing header of type 0": one(
        ipv6(43, b"\x11\2\0\1" + bytes(4) + WORLD6 + datagram(b"x")), "drop_ipv6_routing", "0400"
    ),
    "hop-by-hop header that is not the first": one(
        ipv6(60, b"\0\0" + PADDING + b"\x11\0" + PADDING + datagram(b"x")), "drop_ipv6_header", "0401"
    ),
    "jumbogram": one(ipv6(0, b"\x11\0\xc2\4\0\1\0\0" + datagram(b"x")), "drop_ipv6_jumbogram", "0402"),
    "jumbogram without a length in its header": one(
        ipv6(0, b"\x11\0\xc2\4\0\1\0\0" + datagram(b"x"), claimed=0), "drop_ipv6_jumbogram", "0402"
    ),
    "option that ends the packet": one(option(0x45), "drop_ipv6_extension"),
    "option that asks for a report": one(option(0x85), "drop_ipv6_extension", "0402"),
    "option beyond its header": one(
        ipv6(60, b"\x11\0\x05\x09" + bytes(4) + datagram(b"x")), "drop_ipv6_header"
    ),
    "header beyond the packet": one(ipv6(60, b"\x11\x09" + PADDING), "drop_ipv6_header"),
    "nothing": one(ipv6(59, b"xx"), "drop_ipv6_nothing"),
    "longer than its frame": one(ipv6(UDP, datagram(b"x"), claimed=1400), "drop_ipv6_header"),
    "shorter than its datagram": one(ipv6(UDP, datagram(b"x" * 50), claimed=20), "drop_udp_malformed"),
    "version 5": one(udp6(b"x")[:14] + b"\x50" + udp6(b"x")[15:], "drop_ipv6_header"),
    "IPv4 by the type of IPv6": one(udp(b"x")[:12] + b"\x86\xdd" + udp(b"x")[14:], "drop_ipv6_header"),
    "IPv6 by the type of IPv4": one(udp6(b"x")[:12] + b"\x08\0" + udp6(b"x")[14:], "drop_ip_header"),
    "IPv4 inside": one(ipv6(4, udp(b"x")[14:]), "drop_ip_protocol", "0401"),
    "IPv6 inside IPv4": one(eth(ipv4(41, udp6(b"x")[14:])), "drop_ip_protocol"),
    "authentication header": one(ipv6(51, bytes(24)), "drop_ip_protocol", "0401"),
    "the router's MAC address as the source": one(udp6(b"x", mac=ROUTER_MAC), "drop_ethernet_source"),
    # ------------------------------------------------------------------------------------------- fragments
    "overlap": Case(
        [fragment(0, bytes(16), more=True), fragment(8, bytes(16), more=True), fragment(24, bytes(8), more=False)],
        counting(drop_fragment_bad=3),
    ),
    "repeated fragment": Case([fragment(8, bytes(8), more=True)] * 3, counting(drop_fragment_duplicate=2)),
    "first fragment without the header of TCP": one(
        fragment(0, bytes(8), more=True, protocol=TCP), "drop_ipv6_header", "0403"
    ),
    "fragment of 7 bytes": one(fragment(0, bytes(7), more=True), "drop_ipv6_header", "0400"),
    "fragment beyond 65535 bytes": one(fragment(65528, bytes(16), more=False), "drop_ipv6_header", "0400"),
    "fragment inside a fragment": one(
        ipv6(44, b"\x2c" + bytes(7) + b"\x11" + bytes(7) + datagram(b"x")), "drop_ipv6_header", "0401"
    ),
    "fragment header in the reassembled packet": Case(
        fragments(b"\x11\0\0\1" + bytes(4) + datagram(b"x" * 16), 16, protocol=44),
        counting(drop_ipv6_header=1),
        "0401",
    ),
    "fragments of 8 bytes, one missing in between": Case(
        [fragment(at, bytes(8), more=True) for at in range(8, 80, 8)], {}
    ),
    "datagram longer than its fragments": Case(
        [
            fragment(0, struct.pack("!HHHH", 5, 9, 9999, 0) + bytes(8), more=True),
            fragment(16, bytes(8), more=False),
        ],
        counting(drop_udp_malformed=1),
    ),
    # ---------------------------------------------------------------------------------- ICMPv6, UDP, DHCPv6
    "error about a packet never sent": one(
        icmp6(1, 4, bytes(4) + udp6(b"x")[14:], destination=GATEWAY6), "drop_icmp_unmatched"
    ),
    "too big, with an MTU of 0": one(
        icmp6(2, 0, bytes(4) + udp6(b"x")[14:], destination=GATEWAY6), "drop_icmp_unmatched"
    ),
    "answer to a ping never sent": one(icmp6(129, 0, bytes(4) + b"x"), "drop_icmp_type"),
    "node information query": one(icmp6(139, 0, bytes(28), destination=GATEWAY6), "drop_icmp_type"),
    "datagram without a checksum": one(
        udp6(b"x")[:60] + b"\0\0" + udp6(b"x")[62:], "drop_udp_checksum"
    ),
    "datagram of length 0": one(ipv6(UDP, struct.pack("!HHHH", 5, 9, 0, 0)), "drop_udp_malformed"),
    "advertisement of another DHCPv6 server": one(udp6(b"\2abc", **DHCP6), "drop_dhcp6_ignored"),
    "DHCPv6 option beyond its message": one(udp6(b"\1abc\0\1\xea\x60", **DHCP6), "drop_dhcp6_malformed"),
    "DHCPv6 relay message in a circle": one(
        udp6(b"\x0c\xff" + bytes(32) + b"\0\x09\0\4\1abc", **DHCP6), "drop_dhcp6_ignored"
    ),
    "DHCPv6 request to one server": one(
        udp6(b"\3abc", destination=GATEWAY6, sport=546, dport=547), "drop_dhcp6_ignored"
    ),
}  # fmt: skip


@pytest.fixture
def net() -> Net:
    net = Net(config(nat64=True))
    know6(net)
    know6(net, LINK_LOCAL)
    net.silence()
    return net


def still_works(net: Net) -> None:
    """The guest's own traffic is as before."""
    net.take()
    net.send(echo6(b"well?", destination=GATEWAY6))
    frame = net.one()
    assert frame.dst == GUEST_MAC
    assert bytes(frame.data.data)[8:] == b"well?"


@pytest.mark.parametrize("name", CASES)
def test_bad_input(net: Net, name: str) -> None:
    case = CASES[name]
    before = net.stats.as_dict()
    net.send(*case.frames)
    after = net.stats.as_dict()
    own = {"frames_in", "bytes_in", "frames_out", "bytes_out", "icmp_errors_out"}
    assert {key: after[key] - before[key] for key in after if after[key] != before[key] and key not in own} == (
        case.counters
    )
    answers = [bytes(packet.data)[:2].hex() for packet in of_kind(net.take(), ICMPV6)]
    assert answers == case.answers.split()
    assert net.host.calls == []
    still_works(net)


# ----------------------------------------------------------------------------------------------------- floods


def address(number: int) -> bytes:
    return ip6("fec0::")[:14] + number.to_bytes(2, "big")


@pytest.mark.parametrize(
    "make",
    [
        neighbor_solicitation,
        lambda other: neighbor_solicitation(other, destination=ROUTER),
        lambda other: neighbor_solicitation(ROUTER, source=other),
        lambda other: neighbor_advertisement(other, mac=OTHER_MAC),
        lambda other: echo6(source=other, destination=GATEWAY6),
        lambda other: udp6(b"x", destination=other),
        lambda other: router_solicitation(source=other),
    ],
    ids=["for", "of", "from", "advertised", "ping", "to", "routers"],
)
def test_a_flood_for_ten_thousand_addresses(net: Net, make: Any) -> None:
    """The tables stay bounded, and a guest that was there before stays known."""
    timers = net.timer()
    for first in range(100, 10_100, 100):
        net.send(*[make(address(number)) for number in range(first, first + 100)])
        net.raw()
        net.send(echo6(destination=GATEWAY6))  # it is in use
        assert len(net.stack.neighbors._table) <= neighbor_module.MAX_NEIGHBORS
    assert net.timer() <= timers + 3
    assert net.stack.flows() == []
    net.run(2)
    assert net.stack.neighbors.is_known(GUEST6)
    still_works(net)


def test_a_flood_of_fragments_of_eight_bytes(net: Net) -> None:
    for ident in range(300):
        net.send(*[fragment(at, bytes(8), more=True, ident=ident) for at in range(8, 160, 8)])
        assert net.stack.fragments6._cost <= fragments_module.MAX_BYTES
    assert net.stats.drop_fragment_overtaken
    # A packet of another destination still gets through.
    net.host.serve_udp(WORLD6, 9, lambda payload, source, port: payload)
    net.send(*fragments(datagram(bytes(1000)), 8, ident=9999))
    net.run(0.01)
    assert [len(packet.data.data) for packet in of_kind(net.take(), UDP)] == [1000]
    net.run(61)
    assert net.stack.fragments6._cost == 0
    counted = net.stats.drop_fragment_timeout + net.stats.drop_fragment_overtaken
    assert counted == 300 * 19


def test_dns_in_another_prefix_is_another_server(net: Net) -> None:
    """A query to an address that is like the DNS server's, in another network, is one to the world."""
    query = b"\0\1\1\0\0\1" + bytes(6) + b"\7gateway\x08internal\0\0\x1c\0\1"
    net.send(udp6(query, destination=b"\xfd" + DNS6[1:], dport=53))
    assert net.stats.dns_queries == 0
    assert [call.address for call in net.calls("send_udp")] == [b"\xfd" + DNS6[1:]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("ipv6-host=fec0::2,ipv6-dns=fec0::2", "ipv6-dns fec0::2 is the ipv6-host address; choose another"),
        ("ipv6-net=fd00::/126,ipv6-host=fd00::1,ipv6-dns=fd00::1", "ipv6-dns fd00::1 is the ipv6-host address"),
        ("ipv6-dns=fd00::3", "ipv6-dns fd00::3 is not an address of fec0::/64; choose one from fec0::1 to"),
        ("ipv6-net=fec0::/129", "ipv6-net fec0::/129: the prefix must be from /4 to /126"),
        ("ipv6-prefixlen=129", "ipv6-net fec0::/129: the prefix must be from /4 to /126"),
    ],
)
def test_addresses_that_do_not_fit(options: str, told: str) -> None:
    """One line, with what is allowed; in Python the options have their names there."""
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}"):
        Config.from_qemu(options)


def test_a_network_holds_each_server_once() -> None:
    for given in ({"host6": "fec0::5", "dns6": "fec0::5"}, {"smb": "/tmp", "smbserver6": "fec0::3"}):
        with pytest.raises(ConfigError, match=r"^(dns6|smbserver6) fec0::[35] is the (host6|dns6) address"):
            Config(**given)  # type: ignore[arg-type] # each value fits its option
