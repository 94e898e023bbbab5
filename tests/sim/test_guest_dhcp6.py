"""The test guest as a DHCPv6 client: with slirpy's server in virtual time, and with messages made here."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from slirpy import Config
from slirpy.testing import Guest, VirtualNetwork
from slirpy.units import SECOND
from tests.support.frames6 import ROUTER, ROUTER_MAC, datagram, ip6, ipv6
from tests.support.harness import eth

FIRST, SECOND_ADDRESS = IPv6Address("fec0::15"), IPv6Address("fec0::16")


def bound(net: VirtualNetwork, guest: Guest, **more: Any) -> Any:
    """The client of a guest that has an address now."""
    client = guest.dhcp6(**more)
    net.run_until(lambda: client.bound)
    return client


# ------------------------------------------------------------------------------------- slirpy's own server


def test_a_lease_has_an_address_and_options() -> None:
    net = VirtualNetwork(Config(dnssearch=["example.test"]))
    client = bound(net, net.guest)
    lease = client.lease
    assert lease == net.guest.lease6
    assert (client.state, lease.address, str(net.guest.address6)) == ("BOUND", FIRST, "fec0::15")
    assert [message.kind for message in client.received] == [2, 7]
    assert (lease.dns, lease.search) == ((IPv6Address("fec0::3"),), ("example.test",))
    assert 0 < lease.t1 < lease.t2 < lease.valid == 86_400
    assert net.guest.dns == [ip6("fec0::3")]
    assert repr(client) == "<Dhcp6Client BOUND: fec0::15>"
    ping = net.guest.ping("fe80::2")
    net.run_until(lambda: ping.reply)
    assert net.guest.counters.malformed == 0


def test_with_routes_from_the_router_the_world_is_reached() -> None:
    net = VirtualNetwork()
    net.guest.autoconfigure()
    bound(net, net.guest)
    lookup = net.guest.ping("fec0::2")
    net.run_until(lambda: lookup.reply)


def test_rapid_commit_takes_two_messages() -> None:
    net = VirtualNetwork()
    client = bound(net, net.guest, rapid_commit=True)
    assert [message.kind for message in client.received] == [7]
    assert client.lease.address == FIRST


def test_two_guests_have_two_addresses() -> None:
    net = VirtualNetwork()
    other = net.add_guest()
    one, two = bound(net, net.guest), bound(net, other)
    assert [one.lease.address, two.lease.address] == [FIRST, SECOND_ADDRESS]
    assert one.duid != two.duid


def test_the_lease_is_renewed_in_time() -> None:
    net = VirtualNetwork(Config(lease_time=600))
    client = bound(net, net.guest)
    first = client.lease
    net.run(1000 * SECOND)
    assert client.lease.granted_at - first.granted_at >= 2 * first.t1 * SECOND
    assert client.lease.address == first.address
    assert {message.kind for message in client.received[2:]} == {7}
    assert net.guest.ipv6.addresses.count(FIRST.packed) == 1


def test_renew_now() -> None:
    net = VirtualNetwork()
    client = bound(net, net.guest)
    net.run(5 * SECOND)
    before = client.lease.granted_at
    client.renew()
    net.run_until(lambda: client.state == "BOUND")
    assert client.lease.granted_at > before
    assert net.guest.dns == [ip6("fec0::3")]


def test_release() -> None:
    net = VirtualNetwork()
    client = bound(net, net.guest)
    client.renew()
    client.release()
    assert (client.bound, net.guest.address6, net.guest.dns) == (False, None, [])
    net.run_until(lambda: client.state == "INIT")
    assert client.received[-1].status is not None
    assert client.received[-1].status.code == 0
    other = net.add_guest()
    assert bound(net, other).lease.address in (FIRST, SECOND_ADDRESS)
    client.release()
    client.renew()
    assert client.state == "INIT"
    client.start()
    net.run_until(lambda: client.bound)


def test_information_only() -> None:
    net = VirtualNetwork(Config(dnssearch=["a.test", "b.test"], tftp=".", bootfile="pxe.0"))
    client = net.guest.dhcp6(stateless=True)
    net.run_until(lambda: client.informed)
    assert (client.state, client.bound, net.guest.address6) == ("INFORMED", False, None)
    assert (client.dns, client.search) == ([IPv6Address("fec0::3")], ["a.test", "b.test"])
    assert client.options[59] == [b"tftp://[fec0::2]/pxe.0"]
    assert net.guest.dns == [ip6("fec0::3")]
    net.run(90_000 * SECOND)  # more than a day
    assert len(client.received) == 2
    net.guest.dhcp6()
    net.run_until(lambda: client.bound)


# -------------------------------------------------------------------------------------------- by the book


class Server:
    """A server moved by hand, at the other end of a guest."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.guest = Guest(self.frames.append, random=Random(1), now=1000 * SECOND)
        self.client = self.guest.dhcp6()
        self.duid = b"\0\3\0\1server"

    def take(self) -> list[bytes]:
        """The messages of the client since the last call."""
        frames = [frame for frame in self.frames if frame[20] == 17]
        self.frames.clear()
        for frame in frames:
            assert frame[:6] == bytes.fromhex("333300010002")
            assert frame[38:54] == ip6("ff02::1:2")
            assert frame[22:24] == b"\xfe\x80"
            assert struct.unpack("!HH", frame[54:58]) == (546, 547)
        return [frame[62:] for frame in frames]

    def one(self) -> bytes:
        (message,) = self.take()
        return message

    def run(self, seconds: float) -> None:
        end = self.guest.now + round(seconds * SECOND)
        while (due := self.guest.deadline()) is not None and due <= end:
            self.guest.advance(max(due, self.guest.now))
        self.guest.advance(end)

    def times(self, seconds: float) -> list[float]:
        """The seconds at which messages came."""
        found: list[float] = []
        start = self.guest.now
        end = start + round(seconds * SECOND)
        while (due := self.guest.deadline()) is not None and due <= end:
            self.guest.advance(max(due, self.guest.now))
            found += [(self.guest.now - start) / SECOND] * len(self.take())
        self.guest.advance(end)
        return found

    def answer(
        self,
        kind: int,
        request: bytes,
        *options: bytes,
        server: bytes | None = None,
        duid: bytes | None = None,
        xid: bytes | None = None,
    ) -> None:
        """Answer a message."""
        options = (
            option(1, duid or self.client.duid),
            option(2, self.duid if server is None else server),
            *options,
        )
        if server == b"":
            options = options[:1] + options[2:]
        payload = bytes((kind,)) + (xid or request[1:4]) + b"".join(options)
        own = self.guest.ipv6.addresses[0]
        segment = datagram(payload, sport=547, dport=546, source=ROUTER, destination=own)
        frame = ipv6(17, segment, source=ROUTER, destination=own, mac=ROUTER_MAC, to=self.guest.mac)
        self.guest.input(frame)

    def bind(self, **lifetimes: Any) -> None:
        """Give the client its address."""
        self.answer(2, self.one(), self.ia(**lifetimes))
        self.answer(7, self.one(), self.ia(**lifetimes))
        assert self.client.bound

    def ia(
        self, t1: int = 100, t2: int = 160, preferred: int = 200, valid: int = 300, address: str = "fec0::15"
    ) -> bytes:
        inner = option(5, ip6(address) + struct.pack("!II", preferred, valid))
        return option(3, self.client.iaid + struct.pack("!II", t1, t2) + inner)


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def refusal(server: Server, code: int) -> bytes:
    return option(3, server.client.iaid + bytes(8) + option(13, struct.pack("!H", code)))


def test_solicitations_are_repeated_ever_more_slowly() -> None:
    server = Server()
    assert server.one()[0] == 1
    times = [0.0, *server.times(130)]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert 1 < waits[0] <= 1.1
    assert all(1.9 * before <= after <= 2.1 * before for before, after in pairwise(waits))
    assert len(waits) >= 6


def test_a_request_that_is_not_answered_ends_after_ten() -> None:
    server = Server()
    server.answer(2, server.one(), server.ia())
    assert server.one()[0] == 3
    kinds = []
    for _ in range(400):
        server.run(1)
        kinds += [message[0] for message in server.take()]
    assert kinds[:10] == [3] * 9 + [1]


def test_times_of_the_lease() -> None:
    """Renew at T1, rebind at T2, and start again when it is no longer valid."""
    server = Server()
    server.bind()
    start = server.guest.now
    kinds: dict[int, int] = {}
    for second in range(302):
        server.run(1)
        for message in server.take():
            kinds.setdefault(message[0], second + 1)
            assert (b"\0\2\0\x0a" + server.duid in message) == (message[0] == 5)
    assert kinds == {5: 100, 6: 160, 1: 300}
    assert server.guest.now - start == 302 * SECOND
    assert not server.client.bound
    assert server.guest.address6 is None


def test_another_server_may_take_over() -> None:
    server = Server()
    server.bind()
    server.run(165)
    rebind = server.take()[-1]
    assert rebind[0] == 6
    server.answer(7, rebind, server.ia(), server=b"\0\3\0\1another")
    assert server.client.lease is not None
    assert server.client.lease.server == b"\0\3\0\1another"
    assert server.client.state == "BOUND"


def test_without_times_the_client_chooses() -> None:
    server = Server()
    server.bind(t1=0, t2=0)
    assert server.client.lease is not None
    assert (server.client.lease.t1, server.client.lease.t2) == (100, 160)


def test_a_lease_for_ever_is_not_renewed() -> None:
    server = Server()
    server.bind(t1=0xFFFFFFFF, t2=0xFFFFFFFF, preferred=0xFFFFFFFF, valid=0xFFFFFFFF)
    server.run(1_000_000)
    assert server.take() == []


@pytest.mark.parametrize(("code", "kind"), [(3, 3), (4, 1), (2, 1)])
def test_a_renewal_that_is_refused(code: int, kind: int) -> None:
    """Without a binding, the server is asked for the address; for other reasons the client starts anew."""
    server = Server()
    server.bind()
    server.client.renew()
    server.answer(7, server.one(), refusal(server, code))
    assert server.one()[0] == kind
    assert server.client.bound == (kind == 3)


def test_no_addresses() -> None:
    server = Server()
    request = server.one()
    server.answer(2, request, refusal(server, 2))
    assert server.client.state == "SOLICITING"
    server.answer(2, request, server.ia())
    server.answer(7, server.one(), refusal(server, 2))
    assert server.one()[0] == 1


def test_an_address_that_is_no_longer_valid() -> None:
    server = Server()
    server.bind()
    server.client.renew()
    server.answer(7, server.one(), server.ia(valid=0))
    assert server.client.state == "RENEWING"
    server.answer(7, b"\0" + server.client._xid)
    assert server.client.state == "RENEWING"


def test_a_release_is_repeated_four_times() -> None:
    server = Server()
    server.bind()
    server.client.release()
    assert server.one()[0] == 8
    assert len(server.times(100)) == 3
    assert server.client.state == "INIT"
    assert server.guest.deadline() is None


@pytest.mark.parametrize("more", [{"xid": b"xyz"}, {"duid": b"\0\3\0\1other"}, {"server": b""}], ids=str)
def test_answers_that_do_not_match_are_malformed(more: dict[str, bytes]) -> None:
    server = Server()
    server.answer(2, server.one(), server.ia(), **more)
    assert server.client.state == "SOLICITING"
    assert server.guest.counters.malformed == 1


def test_a_truncated_message_is_malformed() -> None:
    server = Server()
    own = server.guest.ipv6.addresses[0]
    segment = datagram(b"\7", sport=547, dport=546, source=ROUTER, destination=own)
    server.guest.input(ipv6(17, segment, source=ROUTER, destination=own, to=server.guest.mac))
    assert server.guest.counters.malformed == 1


def test_a_reply_without_rapid_commit_is_not_taken() -> None:
    server = Server()
    server.answer(7, server.one(), server.ia(), option(14, b""))
    assert not server.client.bound  # it was not asked for


def test_information_without_end() -> None:
    server = Server()
    server.take()
    server.client.state = "INIT"
    server.guest.dhcp6(stateless=True)
    request = server.one()
    assert request[0] == 11
    assert option(3, b"")[:2] not in (request[at : at + 2] for at in (4, 18, 22))
    server.answer(7, request, option(32, b"\xff" * 4))
    server.run(1_000_000)
    assert (server.client.state, server.take()) == ("INFORMED", [])


@pytest.mark.rfc("8106", "5.3.1 both")
def test_dns_servers_of_the_router_stay() -> None:
    server = Server()
    known = ip6("fec0::3")
    server.guest.ipv6.dns.append(known)
    dns = option(23, known + ip6("fec0::33"))
    server.answer(2, server.one(), server.ia())
    server.answer(7, server.one(), server.ia(), dns)
    assert server.guest.dns == [known, ip6("fec0::33")]
    server.client.release()
    assert server.guest.dns == [known]


def test_a_guest_of_a_silent_network() -> None:
    frames: list[bytes] = []
    guest = Guest(frames.append, random=Random(1))
    client = guest.dhcp6()
    assert repr(client) == "<Dhcp6Client SOLICITING: no lease>"
    assert guest.lease6 is None
    guest.dhcp6()
    client.inform()
    assert len(frames) == 1
    assert frames[0] == eth(frames[0][14:], source=guest.mac, destination=frames[0][:6], kind=0x86DD)
