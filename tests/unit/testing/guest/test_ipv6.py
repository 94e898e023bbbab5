"""IPv6 of the guest: Neighbor Discovery, autoconfiguration, ping, UDP and TCP, between guests without a stack."""

from __future__ import annotations

import errno
from ipaddress import IPv6Address, IPv6Network, ip_address
from random import Random

import pytest

from slirpy import ConfigError, StateError
from slirpy.tcp import State
from slirpy.testing import Guest, GuestStream
from slirpy.testing.guest.fragments import Reassembler, fragments
from slirpy.wire import ethernet, icmpv6, ipv6, ndp, udp
from slirpy.wire.ndpoption import FOREVER, Dnssl, Mtu, NdpOption, Pref64, PrefixInformation, Rdnss
from tests.unit.testing.guest.hub import ROUTER, ROUTER_MAC, Hub, icmp_frame, icmp_of

PREFIX = bytes.fromhex("fec00000000000000000000000000000")
OTHER_PREFIX = bytes.fromhex("20010db8000000000000000000000000")
DNS = bytes.fromhex("fec00000000000000000000000000003")
LINK_LOCAL = "fe80::5054:ff:fe00:1"
GLOBAL = "fec0::5054:ff:fe00:1"


def configured() -> tuple[Hub, Guest, Guest]:
    """Two guests with addresses of fec0::/64."""
    hub = Hub()
    one, two = hub.guest(1), hub.guest(2)
    one.configure("fec0::1", 64, "fec0::2")
    two.configure("fec0::2", 64, "fec0::1")
    return hub, one, two


# ---------------------------------------------------------------------------------- addresses by hand


def test_a_guest_without_ipv6_sends_and_receives_no_ipv6() -> None:
    hub = Hub()
    guest = hub.guest()
    guest.configure("10.0.2.15", 24)
    hub.advertise(PrefixInformation(PREFIX, 64))
    hub.put(icmp_frame(ROUTER, ip_address(LINK_LOCAL).packed, bytes(8), mac=guest.mac))
    hub.settle()
    assert (len(hub.frames), guest.counters.foreign, guest.counters.unhandled) == (2, 1, 1)
    assert (guest.address6, [str(each) for each in guest.addresses]) == (None, ["10.0.2.15"])
    with pytest.raises(StateError, match=r"no IPv6 address yet; call autoconfigure\(\)"):
        guest.ping("fec0::2")


def test_configure_takes_addresses_of_either_family() -> None:
    guest = Hub().guest()
    guest.configure("10.0.2.15", 24, "10.0.2.2", "10.0.2.3")
    guest.configure(IPv6Address("fec0::15"), 64, "fec0::2", DNS)
    assert [str(each) for each in guest.addresses] == ["10.0.2.15", "fe80::5054:ff:fe00:1", "fec0::15"]
    assert guest.dns == [bytes((10, 0, 2, 3)), DNS]
    guest.unconfigure()
    assert [str(each) for each in guest.addresses] == ["fe80::5054:ff:fe00:1", "fec0::15"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("fec0::15/64", 64), "fec0::15/64.*is not an IP address"),
        (("fec0::15", 129), "prefix 129"),
        (("10.0.2.15", 33), "prefix 33"),
        (("fec0::15", 64, "10.0.2.2"), "gateway .*family"),
        (("10.0.2.15", 24, "10.0.2.2", "fec0::3"), "dns .*family"),
    ],
)
def test_configure_refuses_invalid_addresses(arguments: tuple[str, int], text: str) -> None:
    guest = Hub().guest()
    with pytest.raises(ConfigError, match=text):
        guest.configure(*arguments)
    assert guest.addresses == []


@pytest.mark.parametrize(
    ("destination", "source"),
    [
        ("fec0::99", "fec0::15"),
        ("2001:db8::1", "2001:db8:0:1::15"),
        ("2001:db9::1", "2001:db8:0:1::15"),
        ("fe80::99", "fe80::5054:ff:fe00:1"),
        ("ff02::1", "fe80::5054:ff:fe00:1"),
        ("ff05::1", "fec0::15"),
        ("fec0::15", "fec0::15"),
    ],
)
def test_the_source_has_the_scope_and_the_prefix_of_the_destination(destination: str, source: str) -> None:
    guest = Hub().guest()
    guest.configure("fec0::15", 64)
    guest.add_address(ip_address("2001:db8:0:1::15").packed, 64)
    assert guest.source_for(ip_address(destination).packed) == ip_address(source).packed


# ------------------------------------------------------------------------------- Neighbor Discovery


def test_a_neighbour_is_solicited_once() -> None:
    hub, one, two = configured()
    pings = [one.ping("fec0::2") for _ in range(3)]
    hub.settle()
    assert [ping.reply for ping in pings] == [b"slirpy" * 8] * 3
    assert (one.ndp.requests, two.ndp.requests) == (1, 0)
    asked = icmp_of(hub.frames[0])
    assert asked is not None
    source, destination, message = asked
    assert (source, destination) == (ip_address("fec0::1").packed, ip_address("ff02::1:ff00:2").packed)
    assert hub.frames[0][:6] == bytes.fromhex("3333ff000002")
    header = ipv6.parse(hub.frames[0][14:])
    assert header is not None
    assert header.hop_limit == 255
    assert ndp.read_neighbor_solicitation(header, memoryview(message)) == (
        ip_address("fec0::2").packed,
        one.mac,
    )
    answer = icmp_of(hub.frames[1])
    header = ipv6.parse(hub.frames[1][14:])
    assert answer is not None
    assert header is not None
    told = ndp.read_neighbor_advertisement(header, memoryview(answer[2]))
    assert told == (ip_address("fec0::2").packed, two.mac, False, True, True)
    assert hub.frames[1][:6] == one.mac


def test_an_unassigned_address_gets_no_answer() -> None:
    hub, one, _ = configured()
    ping = one.ping("fec0::3")
    hub.run(5)
    assert (len(hub.frames), ping.reply, one.counters.unreachable) == (3, None, 1)


def test_a_solicitation_that_a_router_could_have_forwarded_is_dropped() -> None:
    hub, one, _ = configured()
    own, group = ip_address("fec0::1").packed, ip_address("ff02::1:ff00:1").packed
    message = ndp.neighbor_solicitation(DNS, group, own, ROUTER_MAC)
    hub.put(icmp_frame(DNS, group, message, hop_limit=254))
    hub.settle()
    assert (len(hub.frames), one.counters.malformed) == (1, 1)
    hub.put(icmp_frame(DNS, group, message))
    hub.settle()
    assert len(hub.frames) == 3


def test_link_local_addresses_work_without_any_other() -> None:
    hub = Hub()
    one, two = hub.guest(1), hub.guest(2)
    one.autoconfigure()
    two.autoconfigure()
    ping = one.ping("fe80::5054:ff:fe00:2")
    hub.settle()
    assert ping.reply is not None
    assert (one.address6, two.address6) == (None, None)
    one.ping("2001:db8::1")  # no router
    hub.run(1)
    assert one.counters.unreachable == 1


# ------------------------------------------------------------------------------- autoconfiguration


def answering(hub: Hub, *options: NdpOption, other: bool = False, hop_limit: int = 64) -> None:
    """Let a router answer each solicitation."""

    def hear(frame: bytes) -> None:
        found = icmp_of(frame)
        if found is not None and found[2][0] == ndp.ROUTER_SOLICITATION:
            hub.advertise(*options, other=other, hop_limit=hop_limit)

    hub.hear = hear


@pytest.mark.rfc("4862", "5.5.3 d")
@pytest.mark.rfc("8106", "5.3.1 order")
def test_autoconfiguration_takes_all_that_the_router_says() -> None:
    hub = Hub()
    guest = hub.guest()
    answering(
        hub,
        PrefixInformation(PREFIX, 64),
        Mtu(1400),
        Rdnss(600, (DNS,)),
        Dnssl(600, ("example.test", "lan")),
        Pref64(600, bytes.fromhex("0064ff9b") + bytes(12), 96),
        other=True,
        hop_limit=61,
    )
    config = guest.autoconfigure()
    hub.settle()
    assert config.ready
    assert [str(each) for each in guest.addresses] == [LINK_LOCAL, GLOBAL]
    assert str(guest.address6) == GLOBAL
    assert config.addresses == [IPv6Address(GLOBAL)]
    assert (config.networks, config.routers) == ([IPv6Network("fec0::/64")], [IPv6Address("fe80::2")])
    assert (config.dns, config.search) == ([IPv6Address("fec0::3")], ["example.test", "lan"])
    assert (config.managed, config.other, config.hop_limit) == (False, True, 61)
    assert config.nat64 == IPv6Network("64:ff9b::/96")
    assert (guest.mtu_for(DNS), guest.mtu_for(bytes((10, 0, 2, 2))), guest.dns) == (1400, 1500, [DNS])
    assert (config.solicitations, len(config.advertisements)) == (1, 1)
    asked = icmp_of(hub.frames[0])
    assert asked is not None
    assert asked[:2] == (ip_address(LINK_LOCAL).packed, ipv6.ALL_ROUTERS)
    assert hub.frames[0][:6] == bytes.fromhex("333300000002")
    # The router's MAC address came with the advertisement, so that nobody is asked for it.
    hub.frames.clear()
    guest.ping("2001:db8::1")
    assert hub.frames[0][:6] == ROUTER_MAC


def test_three_solicitations_without_an_answer() -> None:
    hub = Hub()
    guest = hub.guest()
    config = guest.autoconfigure()
    hub.run(60)
    assert (config.solicitations, config.ready, len(hub.frames)) == (3, False, 3)
    hub.advertise(PrefixInformation(PREFIX, 64))  # unsolicited
    assert config.ready
    guest.autoconfigure()  # there is a router
    assert config.solicitations == 3


@pytest.mark.rfc("4862", "5.5.4 deprecated")
@pytest.mark.rfc("4862", "5.5.4 invalid")
@pytest.mark.rfc("8106", "6.2")
def test_advertised_values_expire() -> None:
    hub = Hub()
    guest = hub.guest()
    config = guest.autoconfigure()
    hub.advertise(
        PrefixInformation(PREFIX, 64, valid=300, preferred=100),
        PrefixInformation(OTHER_PREFIX, 64),
        Rdnss(50, (DNS,)),
        Dnssl(60, ("lan",)),
        lifetime=30,
    )
    fec0, db8 = IPv6Address(GLOBAL), IPv6Address("2001:db8::5054:ff:fe00:1")
    assert config.addresses == [fec0, db8]
    assert config.deprecated == []
    hub.run(29)
    assert (len(config.routers), len(config.dns), len(config.search)) == (1, 1, 1)
    hub.run(1)
    assert (len(config.routers), len(config.dns), len(config.search)) == (0, 1, 1)
    hub.run(30)
    assert (config.dns, config.search, guest.dns) == ([], [], [])
    hub.run(40)
    assert (config.deprecated, guest.address6) == ([fec0], db8)
    hub.run(200)
    assert (config.addresses, config.networks) == ([db8], [IPv6Network("2001:db8::/64")])
    assert fec0 not in guest.addresses


@pytest.mark.rfc("8106", "5.1 infinity")
def test_infinite_lifetimes_do_not_expire() -> None:
    hub = Hub()
    guest = hub.guest()
    config = guest.autoconfigure()
    hub.advertise(PrefixInformation(PREFIX, 64), Rdnss(FOREVER, (DNS,)), Dnssl(FOREVER, ("lan",)))
    hub.run(0xFFFFFFFF + 10)
    assert (config.dns, config.search, guest.dns) == ([IPv6Address(DNS)], ["lan"], [DNS])


@pytest.mark.rfc("4862", "5.5.3 e")
@pytest.mark.rfc("8106", "5.1 zero")
def test_a_router_withdraws_advertised_values() -> None:
    hub = Hub()
    guest = hub.guest()
    config = guest.autoconfigure()
    hub.advertise(PrefixInformation(PREFIX, 64), Rdnss(600, (DNS,)))
    assert config.routers
    hub.advertise(PrefixInformation(PREFIX, 64, valid=0, preferred=0), Rdnss(0, (DNS,)), lifetime=0)
    assert (config.routers, config.dns, config.networks) == ([], [], [])
    # The address stays for two hours, deprecated: anybody might have sent that (RFC 4862, section 5.5.3, e).
    assert config.deprecated == [IPv6Address(GLOBAL)]
    hub.run(7199)
    assert IPv6Address(GLOBAL) in guest.addresses
    hub.run(1)
    assert config.addresses == []


@pytest.mark.rfc("4862", "5.5.3 a")
@pytest.mark.rfc("4862", "5.5.3 b")
@pytest.mark.rfc("4862", "5.5.3 c")
@pytest.mark.rfc("4862", "5.5.3 d")
@pytest.mark.rfc("4862", "5.5.3 d length")
@pytest.mark.parametrize(
    "prefix",
    [
        PrefixInformation(PREFIX, 48),
        PrefixInformation(PREFIX, 64, autonomous=False),
        PrefixInformation(PREFIX, 64, valid=10, preferred=11),
        PrefixInformation(ip_address("fe80::").packed, 64),
        PrefixInformation(PREFIX, 64, valid=0, preferred=0),
    ],
    ids=["length", "not autonomous", "preferred", "link-local", "lifetime 0"],
)
def test_prefixes_that_make_no_address(prefix: PrefixInformation) -> None:
    hub = Hub()
    config = hub.guest().autoconfigure()
    hub.advertise(prefix)
    assert (config.addresses, config.ready, len(config.routers)) == ([], False, 1)


def test_advertisements_from_elsewhere_are_dropped() -> None:
    hub = Hub()
    guest = hub.guest()
    config = guest.autoconfigure()
    hub.advertise(PrefixInformation(PREFIX, 64), router=DNS)
    assert (config.advertisements, guest.counters.malformed) == ([], 1)


def test_autoconfiguration_leaves_addresses_made_by_hand() -> None:
    hub = Hub()
    guest = hub.guest()
    guest.configure("fec0::15", 64)
    guest.autoconfigure()
    hub.advertise(PrefixInformation(PREFIX, 64, valid=10, preferred=10))
    assert [str(each) for each in guest.addresses] == [LINK_LOCAL, "fec0::15", GLOBAL]
    hub.run(11)
    assert [str(each) for each in guest.addresses] == [LINK_LOCAL, "fec0::15"]


@pytest.mark.rfc("8106", "5.3.1 number")
def test_many_prefixes_are_bounded() -> None:
    hub = Hub()
    guest = hub.guest()
    config = guest.autoconfigure()
    for number in range(100):
        prefix = bytes((0x20, 1, 0xD, 0xB8, 0, 0, 0, number)) + bytes(8)
        hub.advertise(PrefixInformation(prefix, 64), Rdnss(60, (prefix[:15] + b"\1",)))
    assert (len(config.addresses), len(config.networks), len(config.dns)) == (16, 16, 16)
    assert len(guest.addresses) == 17


@pytest.mark.rfc("4862", "5.4.2 probe")
def test_duplicate_address_detection_waits_a_second_for_each() -> None:
    hub = Hub()
    guest = hub.guest()
    answering(hub, PrefixInformation(PREFIX, 64))
    config = guest.autoconfigure(dad=True)
    hub.run(0.9)
    assert (guest.addresses, config.solicitations) == ([], 0)
    probe = icmp_of(hub.frames[0])
    assert probe is not None
    assert probe[:2] == (bytes(16), ip_address("ff02::1:ff00:1").packed)
    hub.run(0.2)
    assert [str(each) for each in guest.addresses] == [LINK_LOCAL]
    assert not config.ready
    hub.run(1)
    assert config.ready


@pytest.mark.rfc("4862", "5.4.3 both")
@pytest.mark.rfc("4862", "5.4.4")
@pytest.mark.rfc("4862", "5.4.5 disable")
@pytest.mark.parametrize("also_dad", [False, True])
def test_without_a_link_local_address_there_is_no_ipv6(also_dad: bool) -> None:
    """RFC 4862, section 5.4.5: as another host with the same MAC address is on the link."""
    hub = Hub()
    other, guest = hub.guest(1), hub.guest(1)
    other.autoconfigure(dad=also_dad)
    config = guest.autoconfigure(dad=True)
    hub.settle()
    hub.advertise(PrefixInformation(PREFIX, 64))
    hub.run(10)
    assert guest.ndp.duplicates == [ip_address(LINK_LOCAL).packed]
    assert (guest.addresses, config.ready, config.solicitations) == ([], False, 0)
    assert len(other.addresses) == (0 if also_dad else 2)


@pytest.mark.rfc("4862", "5.4.4")
@pytest.mark.rfc("4862", "5.4.5 unused")
def test_a_duplicate_is_not_used() -> None:
    hub = Hub()
    other, guest = hub.guest(2), hub.guest(1)
    other.configure(GLOBAL, 64)
    config = guest.autoconfigure(dad=True)
    for _ in range(3):
        hub.advertise(PrefixInformation(PREFIX, 64), PrefixInformation(OTHER_PREFIX, 64))
        hub.run(2)
    assert guest.ndp.duplicates == [ip_address(GLOBAL).packed]
    assert [str(each) for each in guest.addresses] == [LINK_LOCAL, "2001:db8::5054:ff:fe00:1"]
    assert config.ready


# --------------------------------------------------------------------------------------- UDP and ICMPv6


@pytest.mark.parametrize("size", [0, 1, 1452, 1453, 9000, 65507, 65527])
def test_datagrams_of_every_size(size: int) -> None:
    hub, one, two = configured()
    sender, receiver = one.udp(), two.udp(7)
    payload = Random(size).randbytes(size)
    sender.send(payload, "fec0::2", 7)
    hub.settle()
    assert receiver.received == [(payload, IPv6Address("fec0::1"), sender.port)]
    assert max(map(len, hub.frames)) <= 1514
    receiver.send(b"answer", *receiver.received[0][1:])
    hub.settle()
    assert sender.received == [(b"answer", IPv6Address("fec0::2"), 7)]


def test_fragments_come_in_any_order_and_pings_too() -> None:
    hub, one, _ = configured()
    one.ping("fec0::2")
    hub.settle()
    ping = one.ping("fec0::2", bytes(4000))
    hub._queue.reverse()
    hub.settle()
    assert ping.reply == bytes(4000)


def test_a_socket_takes_both_families() -> None:
    hub, one, two = configured()
    one.configure("10.0.2.1", 24)
    two.configure("10.0.2.2", 24)
    receiver = two.udp(7)
    one.udp(5000).send(b"four", "10.0.2.2", 7)
    one.udp(5001).send(b"six", "fec0::2", 7)
    hub.settle()
    assert [(each.payload, str(each.address)) for each in receiver.received] == [
        (b"four", "10.0.2.1"), (b"six", "fec0::1"),
    ]  # fmt: skip


def test_a_closed_port_is_refused() -> None:
    hub, one, two = configured()
    socket = one.udp()
    socket.send(b"x", "fec0::2", 9)
    hub.settle()
    assert (socket.errors, two.counters.unhandled) == ([errno.ECONNREFUSED], 1)
    [error] = one.icmp_errors
    assert (str(error.source), error.kind, error.code) == ("fec0::2", 1, 4)


def test_checksums_are_checked() -> None:
    hub, one, two = configured()
    one.udp().send(b"hello", "fec0::2", 7)
    hub.settle()
    two.udp(7)
    frame = bytearray(next(frame for frame in hub.frames if frame[20] == 17))
    for at in (22, 61, -1):
        damaged = frame.copy()
        damaged[at] ^= 1
        two.input(bytes(damaged))
    without = frame.copy()
    without[60:62] = b"\0\0"  # allowed with IPv4 only
    two.input(bytes(without))
    assert two.counters.bad_checksum == 4


def test_random_ipv6_frames_never_raise() -> None:
    random = Random(1)
    hub, one, two = configured()
    one.autoconfigure()
    one.udp(5000).send(bytes(3000), "fec0::2", 7)
    one.connect("fec0::2", 80)
    one.ping("fec0::2")
    hub.advertise(PrefixInformation(PREFIX, 64), Rdnss(600, (DNS,)), Dnssl(600, ("lan",)))
    whole = [frame for frame in hub.frames if frame[12:14] == b"\x86\xdd"]
    for _ in range(20_000):
        frame = bytearray(random.choice(whole))
        for _ in range(random.randrange(1, 4)):
            frame[random.randrange(14, len(frame))] = random.getrandbits(8)
        to = random.choice((one, two))
        to.input(bytes(frame[: random.choice((len(frame), random.randrange(len(frame) + 1)))]))
    assert len(one.addresses) <= 18


def test_ipv6_reassembly_is_bounded() -> None:
    reassembler = Reassembler()

    def give(packet: bytes) -> object:
        header = ipv6.parse(packet)
        assert header is not None
        fragment = header._replace(
            protocol=packet[40], header_length=48, fragment=int.from_bytes(packet[42:44], "big"),
            ident=int.from_bytes(packet[44:48], "big"),
        )  # fmt: skip
        return reassembler.insert(fragment, memoryview(packet))

    for ident in range(1000):
        first, _ = fragments(PREFIX, DNS, 17, bytes(2000), ident, 64, 1500)
        assert give(first) is None
    assert len(reassembler._packets) == 64
    _, last = fragments(PREFIX, DNS, 17, bytes(2000), 999, 64, 1500)
    whole = give(last)
    assert isinstance(whole, bytes)
    assert (len(whole), whole[6], len(reassembler._packets)) == (2040, 17, 63)


# ------------------------------------------------------------------------------------------------ TCP


def echo(far: GuestStream) -> None:
    if far.received:
        far.write(far.read())
    if far.eof:
        far.shutdown()


def test_tcp_both_ways() -> None:
    hub, one, two = configured()
    listener = two.listen(80)
    stream = one.connect("fec0::2", 80)
    hub.settle()
    [far] = listener.accepted
    assert (str(far.address), str(stream.address), stream.conn.mss) == ("fec0::1", "fec0::2", 1428)
    far.on_data = echo
    data = Random(1).randbytes(300_000)
    stream.write(data)
    stream.shutdown()
    hub.run(2)
    assert stream.read() == data
    assert (stream.state, far.state) == (State.TIME_WAIT, State.CLOSED)
    assert max(map(len, hub.frames)) == 1514


def test_tcp_refused_at_a_closed_port() -> None:
    hub, one, _ = configured()
    stream = one.connect("fec0::2", 81)
    hub.settle()
    assert (stream.closed, stream.error) == (True, errno.ECONNREFUSED)


def error_about(hub: Hub, guest: Guest, kind: int, code: int, rest: int, *, at: int = -1) -> None:
    """Let the router complain about a frame of a guest."""
    sent = [frame for frame in hub.frames if frame[6:12] == guest.mac][at]
    to = sent[22:38]
    message = icmpv6.build(ROUTER, to, kind, code, rest, sent[14:][: icmpv6.QUOTE_MAX])
    guest.input(icmp_frame(ROUTER, to, message, mac=guest.mac, hop_limit=64), hub.now)


def test_an_error_ends_a_connection_that_is_opening() -> None:
    hub, one, two = configured()
    one.ndp.macs[ip_address("fec0::2").packed] = two.mac
    stream = one.connect("2001:db8::7", 80)
    error_about(hub, one, icmpv6.UNREACHABLE, icmpv6.NO_ROUTE, 0)
    assert (stream.closed, stream.error) == (True, errno.ENETUNREACH)


@pytest.mark.rfc("8201", "4 discard")
def test_packet_too_big_shrinks_segments_and_datagrams() -> None:
    hub, one, two = configured()
    listener = two.listen(80)
    stream = one.connect("fec0::2", 80)
    hub.settle()
    stream.write(bytes(5000))
    error_about(hub, one, icmpv6.PACKET_TOO_BIG, 0, 1279, at=-2)  # no link is that small
    assert stream.conn.mss == 1428
    error_about(hub, one, icmpv6.PACKET_TOO_BIG, 0, 1300, at=-2)
    assert stream.conn.mss == 1300 - 60 - 12
    assert one.mtu_for(ip_address("fec0::2").packed) == 1300
    hub.frames.clear()
    hub.run(1)
    [far] = listener.accepted
    assert far.count == 5000
    hub.frames.clear()
    one.udp().send(bytes(3000), "fec0::2", 7)
    another = one.connect("fec0::2", 80)
    hub.settle()
    assert max(len(frame) for frame in hub.frames if frame[6:12] == one.mac) <= 1314
    assert another.conn.settings.mss == 1240


@pytest.mark.rfc("8201", "5.5 told")
def test_packet_too_big_reaches_datagram_sockets() -> None:
    hub, one, two = configured()
    one.ndp.macs[ip_address("fec0::2").packed] = two.mac
    socket = one.udp()
    socket.send(bytes(1400), "2001:db8::7", 7)
    error_about(hub, one, icmpv6.PACKET_TOO_BIG, 0, 1280)
    assert socket.errors == [errno.EMSGSIZE]
    assert one.mtu_for(ip_address("2001:db8::7").packed) == 1280


def test_path_mtus_are_bounded() -> None:
    _, one, _ = configured()
    for number in range(1000):
        one.path_mtu(PREFIX[:14] + number.to_bytes(2, "big"), 1280)
    assert len(one._path_mtus) == 256


# ------------------------------------------------------------------------------------------------ DNS


def test_lookups_go_to_servers_of_either_family() -> None:
    hub, one, two = configured()
    server = two.udp(53)
    one.configure("fec0::1", 64, dns="fec0::2")
    lookup = one.resolve("a.test", "AAAA")
    hub.settle()
    [question] = server.received
    assert question.payload[-4:] == bytes((0, 28, 0, 1))
    name = question.payload[12:-4]
    answer = (
        question.payload[:2] + bytes.fromhex("81800001000100000000") + question.payload[12:]
        + name + bytes.fromhex("001c00010000003c0010") + DNS
    )  # fmt: skip
    server.send(answer, question.address, question.port)
    hub.settle()
    assert (lookup.rcode, lookup.answers) == ("NOERROR", ["fec0::3"])


def test_frames_between_families_do_not_mix() -> None:
    """An IPv6 packet in a frame for IPv4 and the other way round."""
    hub, one, two = configured()
    one.configure("10.0.2.1", 24)
    one.udp().send(b"x", "fec0::2", 7)
    hub.settle()
    frame = next(frame for frame in hub.frames if frame[20] == 17)
    two.input(frame[:12] + ethernet.TYPE_IPV4.to_bytes(2, "big") + frame[14:])
    assert two.counters.malformed == 1
    assert udp.HEADER_LENGTH == 8
