"""DHCPv6 on the whole stack: frames in, frames out, in virtual time; frames are read by dpkt."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import dpkt
import pytest

from slirpy import Config
from slirpy.wire import dhcp6, ipv6, ndp
from slirpy.wire.ipv6 import IPv6Header
from tests.support import frames6
from tests.support.frames6 import (
    GATEWAY6,
    GUEST6,
    LINK_LOCAL,
    ROUTER,
    ROUTER_MAC,
    ip6,
    know6,
    neighbor_advertisement,
    neighbor_solicitation,
    of_kind,
    router_solicitation,
    udp6,
)  # fmt: skip
from tests.support.harness import GUEST_MAC, Net, config
from tests.unit.services.dhcp6.world import (
    ADVERTISE,
    DECLINE,
    INFORMATION_REQUEST,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    SERVER_ID,
    SOLICIT,
    duid,
    ia,
    oro,
)  # fmt: skip

GROUP = ip6("ff02::1:2")
FIRST = ip6("fec0::15")
OTHER_MAC = bytes.fromhex("525400aaaaaa")


def message(kind: int, *options: bytes, client: int = 1) -> bytes:
    """A message with the identifiers that its type requires."""
    leading = [dhcp6.pack_option(1, duid(client))]
    if kind in (REQUEST, RENEW, RELEASE, DECLINE):
        leading.append(dhcp6.pack_option(2, SERVER_ID))
    return dhcp6.write_message(kind, b"abc", [*leading, *options])


def ask(net: Net, kind: int, *options: bytes, client: int = 1, **more: Any) -> list[dhcp6.Message]:
    """Send a message to all servers; the answers."""
    more = {"source": LINK_LOCAL, "destination": GROUP, "sport": 546, "dport": 547, **more}
    net.send(udp6(message(kind, *options, client=client), **more))
    return answers(net)


def answers(net: Net) -> list[dhcp6.Message]:
    found = []
    for frame in net.take():
        packet = frame.data
        if isinstance(packet, dpkt.ip6.IP6) and packet.p == 17 and packet.data.dport == 546:
            assert (frame.dst, frame.src) == (GUEST_MAC, ROUTER_MAC)
            assert (packet.src, packet.dst, packet.data.sport) == (ROUTER, LINK_LOCAL, 547)
            parsed = dhcp6.read_message(bytes(packet.data.data))
            assert parsed is not None
            found.append(parsed)
    return found


def addresses(answer: dhcp6.Message) -> list[bytes]:
    return [address.address for each in answer.associations for address in each.addresses]


def boot(net: Net, client: int = 1, **more: Any) -> bytes:
    """SOLICIT and REQUEST; the address."""
    (offer,) = ask(net, SOLICIT, ia(), client=client, **more)
    assert offer.kind == ADVERTISE
    (answer,) = ask(net, REQUEST, ia(*addresses(offer)), client=client, **more)
    assert answer.kind == REPLY
    return addresses(answer)[0]


@pytest.mark.rfc("8415", "7.1 clients")
def test_an_address_by_dhcpv6_is_one_that_works() -> None:
    net = Net()
    address = boot(net)
    assert address == FIRST
    assert [(lease.address, lease.mac) for lease in net.stack.leases()] == [
        (IPv6Address(FIRST), GUEST_MAC.hex(":"))
    ]
    net.send(frames6.echo6(b"hello", source=address, destination=GATEWAY6))
    (reply,) = of_kind(net.take(), 58)
    assert (reply.data.type, reply.src, reply.dst) == (129, GATEWAY6, address)


@pytest.mark.rfc("8415", "14")
def test_the_mac_address_that_a_message_was_sent_to_does_not_matter() -> None:
    net = Net()
    for to in (ROUTER_MAC, b"\x33\x33\0\1\0\2"):
        (offer,) = ask(net, SOLICIT, ia(), to=to)
        assert addresses(offer) == [FIRST]


@pytest.mark.rfc("8415", "7.1 agents")
def test_a_relay_agent_sends_to_all_servers() -> None:
    net = Net()
    know6(net)
    net.take()
    head = bytes((dhcp6.RELAY_FORWARD, 0)) + bytes(16) + LINK_LOCAL
    relayed = head + dhcp6.pack_option(dhcp6.RELAY_MESSAGE, message(SOLICIT, ia()))
    net.send(udp6(relayed, source=GUEST6, destination=ip6("ff05::1:3"), sport=547, dport=547))
    (packet,) = of_kind(net.take(), 17)
    assert (packet.src, packet.dst, packet.data.dport) == (GATEWAY6, GUEST6, 547)
    assert packet.data.data[0] == dhcp6.RELAY_REPLY


def test_information_for_a_guest_that_made_its_address_itself() -> None:
    net = Net(config(dnssearch=["lan"], bootfile="x.efi"))
    know6(net)
    net.take()
    (answer,) = ask(net, INFORMATION_REQUEST, oro(23, 24, 59))
    assert (answer.dns_servers, answer.domains) == ((ip6("fec0::3"),), ("lan",))
    assert answer.first(dhcp6.BOOTFILE_URL) == b"tftp://[fec0::2]/x.efi"


def advertisement(net: Net) -> ndp.RouterAdvertisement:
    net.send(router_solicitation())
    for frame in net.take():
        if frame.type == 0x86DD and frame.data.nxt == 58 and frame.data.data.type == 134:
            header = ipv6.parse(bytes(frame.data))
            assert isinstance(header, IPv6Header)
            found = ndp.read_router_advertisement(header, memoryview(bytes(frame.data))[40:])
            assert found is not None
            return found
    raise AssertionError("no advertisement")


def test_router_advertisements_announce_dhcpv6() -> None:
    """O: there is more to learn; M: an address too, where hosts cannot make their own."""
    told = advertisement(Net())
    assert (told.managed, told.other) == (False, True)
    told = advertisement(Net(config(net6="fec0::/80")))
    assert (told.managed, told.other) == (True, True)
    assert not told.options.prefixes[0].autonomous
    told = advertisement(Net(config(ipv6=False)))
    assert (told.managed, told.other) == (False, False)


def test_a_network_without_ipv6_answers_nothing() -> None:
    net = Net(config(ipv6=False))
    assert ask(net, SOLICIT, ia()) == []
    assert net.stats.drop_ipv6 == 1


def test_a_network_without_ipv4_answers() -> None:
    assert boot(Net(config(ipv4=False))) == FIRST


def test_an_address_that_a_guest_uses_without_a_lease_is_passed_over() -> None:
    net = Net()
    second = net.attach()
    net.send(neighbor_advertisement(FIRST, mac=OTHER_MAC), wire=second)
    net.take()
    found = ask(net, SOLICIT, ia())
    assert [addresses(each) for each in found] == [[ip6("fec0::16")]] or found == []
    net.run(0.2)  # with two links, an address that nobody was heard from is asked for
    found += answers(net)
    assert [addresses(each) for each in found] == [[ip6("fec0::16")]]
    assert net.stats.dhcp_in_use == 1


def test_an_address_is_probed_before_it_is_offered() -> None:
    """By a neighbour solicitation, if there are several links; here its user answers."""
    net = Net()
    second = net.attach()
    assert ask(net, SOLICIT, ia()) == []
    net.run(0.01)
    net.send(neighbor_advertisement(FIRST, mac=OTHER_MAC), wire=second)
    net.run(0.2)
    (offer,) = answers(net)
    assert addresses(offer) == [ip6("fec0::16")]
    assert net.stats.dhcp_probes >= 1


def test_the_client_looks_for_duplicates_and_declines() -> None:
    """RFC 4862: silence, for nobody else has it; and RFC 8415 section 18.2.8 if somebody has."""
    net = Net()
    address = boot(net)
    net.send(neighbor_solicitation(address, b"", source=bytes(16), destination=frames6.solicited(address)))
    net.run(1)
    assert net.take() == []
    (answer,) = ask(net, DECLINE, ia(address))
    assert answer.status is not None
    assert boot(net) == ip6("fec0::16")


def test_renewing_and_releasing() -> None:
    net = Net(config(lease_time=100))
    address = boot(net)
    net.run(50)
    net.take()
    (answer,) = ask(net, RENEW, ia(address))
    assert addresses(answer) == [address]
    net.run(99)
    assert len(net.stack.leases()) == 1
    (answer,) = ask(net, RELEASE, ia(address))
    assert net.stack.leases() == []


@pytest.mark.parametrize("destination", [ROUTER, GATEWAY6])
def test_the_gateway_answers_at_its_own_addresses(destination: bytes) -> None:
    net = Net()
    (answer,) = ask(net, REQUEST, ia(), destination=destination)
    assert answer.status is not None
    assert answer.status.code == dhcp6.USE_MULTICAST


def test_an_answer_to_a_routable_address_comes_from_one() -> None:
    net = Net()
    know6(net)
    net.take()
    net.send(udp6(message(INFORMATION_REQUEST), source=GUEST6, destination=GROUP, sport=546, dport=547))
    (packet,) = of_kind(net.take(), 17)
    assert (packet.src, packet.dst) == (GATEWAY6, GUEST6)


def test_guests_that_are_many() -> None:
    """Each link has its share, and nobody else's address is taken."""
    net = Net(Config(net6="2001:db8::/120"))
    wires = [net.attach() for _ in range(3)]
    for client in range(2, 300):
        net.send(udp6(
            message(REQUEST, ia(), client=client), source=LINK_LOCAL, destination=GROUP, sport=546, dport=547,
            mac=b"\x52\x54\0\0" + client.to_bytes(2, "big"),
        ), wire=wires[0])  # fmt: skip
        net.run(0.15)
    net.take()
    held = len(net.stack.leases())
    assert 100 < held < 200
    net.send(udp6(
        message(REQUEST, ia()), source=ip6("fe80::99"), destination=GROUP, sport=546, dport=547, mac=OTHER_MAC,
    ), wire=wires[1])  # fmt: skip
    net.run(0.15)
    assert len(net.stack.leases()) == held + 1
    assert all(lease.address in net.config.net6 for lease in net.stack.leases())
