"""Filtering of UDP from outside: endpoint-independent, but address-dependent once there is a policy (RFC 4787, 5)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from slirpy.interfaces import Action, Verdict
from slirpy.nat.udpflow import MAX_ROUTES
from tests.support.frames6 import WORLD6, ip6, know6, udp6
from tests.support.harness import GATEWAY, WORLD, Net, config, ip, udp

STRANGER, STRANGER6 = ip("203.0.113.99"), ip6("2001:db8:9::9")
LOOPBACK, LOOPBACK6 = ip("127.0.0.1"), bytes(15) + b"\1"
OWN, OWN6 = ip("192.0.2.1"), ip6("2001:db8::1")
ALLOW: dict[str, Any] = {"policy": ["allow udp:0.0.0.0/0", "allow udp:[::/0]"]}
RESTRICTIONS: dict[str, dict[str, Any]] = {
    "policy": ALLOW,
    "function": {"policy": lambda request: Verdict(Action.ALLOW)},
    "no loopback": {"host_loopback": False},
}


def outside(net: Net, source: tuple[bytes, int]) -> list[bytes]:
    """The payloads that the guest receives after a datagram from anywhere to its sockets on the host."""
    net.run(0.01)
    net.take()
    for address, port in list(net.host._udp):
        if address is None or not any(address):  # a socket of the guest's flow
            own = {4: OWN, 16: OWN6}[len(source[0])]
            net.host.send_udp(b"unasked", own, port or 0, source)
    net.run(0.01)
    return [bytes(frame.data.data.data) for frame in net.take()]


@pytest.mark.parametrize("given", RESTRICTIONS.values(), ids=RESTRICTIONS)
def test_only_hosts_that_the_guest_has_sent_to(given: dict[str, Any]) -> None:
    net = Net(config(**given))
    net.send(udp(b"x"))
    for place in ((STRANGER, 9), (LOOPBACK, 9), (OWN, 9)):
        assert outside(net, place) == []
    assert net.stats.drop_udp_unasked == 3
    assert outside(net, (WORLD, 9)) == [b"unasked"]
    assert outside(net, (WORLD, 4444)) == [b"unasked"], "any port of such a host"
    assert outside(net, (STRANGER, 9)) == [], "also right after a datagram that passes"
    net.send(udp(b"x", destination=STRANGER, dport=1))
    assert outside(net, (STRANGER, 9)) == [b"unasked"]


@pytest.mark.parametrize("given", RESTRICTIONS.values(), ids=RESTRICTIONS)
def test_the_same_with_ipv6(given: dict[str, Any]) -> None:
    net = Net(config(**given))
    know6(net)
    net.send(udp6(b"x"))
    for place in ((STRANGER6, 9), (LOOPBACK6, 9), (OWN6, 9)):
        assert outside(net, place) == []
    assert net.stats.drop_udp_unasked == 3
    assert outside(net, (WORLD6, 4444)) == [b"unasked"]


def test_everyone_without_a_policy() -> None:
    net = Net(config())
    know6(net)
    net.send(udp(b"x"))
    assert outside(net, (STRANGER, 9)) == [b"unasked"]
    assert net.stats.drop_udp_unasked == 0


def test_by_the_host_of_a_redirect() -> None:
    net = Net(config(policy=["redirect udp:any=203.0.113.3:33"]))
    net.send(udp(b"x"))
    assert outside(net, (WORLD, 9)) == []
    assert outside(net, (ip("203.0.113.3"), 33)) == [b"unasked"]


def test_of_the_gateway_both_loopbacks_that_were_tried() -> None:
    net = Net(config(**ALLOW))
    net.host.serve_udp(LOOPBACK6, 9, lambda *_: b"six")
    net.send(udp(b"x", destination=GATEWAY))
    net.run(0.01)
    assert [bytes(frame.data.data.data) for frame in net.take()] == [b"six"]
    assert outside(net, (LOOPBACK, 9)) == [], "nobody listened there, so nothing was sent to it"
    assert outside(net, (LOOPBACK6, 9)) == [b"unasked"]


def test_a_refused_destination_is_no_contact() -> None:
    net = Net(config(policy=["deny 203.0.113.0/24", "allow any"]))
    net.send(udp(b"x"))
    net.send(udp(b"x", destination=STRANGER))
    assert outside(net, (STRANGER, 9)) == []


def test_a_translated_host() -> None:
    net = Net(config(nat64=True, **ALLOW))
    know6(net)
    net.send(udp6(b"x", destination=ip6("64:ff9b::")[:12] + WORLD))
    assert outside(net, (STRANGER, 9)) == []
    assert outside(net, (WORLD, 10)) == [b"unasked"]


def test_contacts_are_forgotten_with_their_last_destination() -> None:
    net = Net(config(**ALLOW))
    net.send(udp(b"x", dport=1), udp(b"x", dport=2))
    others = [ip(f"198.18.{n >> 8}.{n & 255}") for n in range(MAX_ROUTES)]
    net.send(*(udp(b"x", destination=other) for other in others[:-1]))
    assert outside(net, (WORLD, 1)) == [b"unasked"], "one of its two destinations is left"
    net.send(udp(b"x", destination=others[-1]))
    assert outside(net, (WORLD, 1)) == []
    (flow,) = net.stack._udp.flows.values()
    assert flow._contacts is not None
    assert len(flow._contacts._numbers) == MAX_ROUTES


def test_clients_of_a_forward_need_no_request() -> None:
    """A forward is a rule of its own. Its clients reach the port by the socket of the forward, not by the flow's."""
    net = Net(config(hostfwd=["udp::5000-10.0.2.15:5000"], **ALLOW))
    net.know()
    net.host.send_udp(b"hello", LOOPBACK, 5000, (STRANGER, 7))
    net.run(0.01)
    assert [bytes(frame.data.data.data) for frame in net.take()] == [b"hello"]
    net.send(udp(b"answer", destination=STRANGER, dport=7))
    net.send(udp(b"x"))
    net.run(0.01)
    net.take()
    (flow,) = net.stack._udp.flows.values()
    flow.datagram(b"by the flow's socket", STRANGER, 7)
    net.run(0.01)
    net.silence()


def test_identifications_of_two_guests_differ() -> None:
    """Each destination has a count of its own from a start of its own (RFC 6864, RFC 7739)."""
    net = Net(config())
    net.host.serve_udp(WORLD, 9, lambda *_: bytes(3000))
    found: dict[int, list[int]] = {}
    for n in range(4):
        for last in (15, 16, 17):
            mac = bytes.fromhex("5254000000") + bytes((last,))
            net.send(udp(b"x", source=ip(f"10.0.2.{last}"), mac=mac, sport=n + 1))
            net.run(0.01)
            (ident,) = {int.from_bytes(frame[18:20], "big") for frame in net.raw() if frame[23] == 17}
            found.setdefault(last, []).append(ident)
    for idents in found.values():
        assert [(b - a) & 0xFFFF for a, b in itertools.pairwise(idents)] == [1, 1, 1]
    starts = sorted(idents[0] for idents in found.values())
    assert min(b - a for a, b in itertools.pairwise(starts)) > 4
