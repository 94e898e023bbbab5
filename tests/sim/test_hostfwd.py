"""Ports of the host that lead to guests: whom they lead to, opening, timeouts, what the guest sees, run time."""

from __future__ import annotations

import errno
import re
from typing import Any

import pytest

from slirpy.errors import ForwardError
from slirpy.errortext import strerror
from slirpy.interfaces import LinkFeatures
from slirpy.tcp.options import TIMESTAMP
from slirpy.testing import Remote
from slirpy.wire.ip import V4, V6
from tests.support.harness import (
    ACK,
    FIN,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    PSH,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    eth,
    ip,
    ipv4,
    options,
    udp_segment,
)

LOOPBACK = ip("127.0.0.1")
CLIENT = (ip("203.0.113.8"), 6000)


def forwarding(*rules: str, up: bool = True, **more: Any) -> Net:
    net = Net(config(hostfwd=list(rules or ("tcp:127.0.0.1:0-:80",))), **more)
    if up:
        net.know()
    return net


def connect(net: Net, source: tuple[bytes, int] | None = CLIENT, number: int = 0) -> Remote:
    rule = net.stack.hostfwds()[number]
    client = net.host.connect(LOOPBACK, rule.host_port, source=source)
    net.run(0.01)
    return client


def accept(net: Net, source: tuple[bytes, int] = CLIENT, **more: Any) -> Peer:
    """The guest's answer to our SYN."""
    peer = Peer(net, source[1], address=source[0], sport=80, **more)
    syn = peer.one(SYN)
    peer.ack = (syn.seq + 1) & 0xFFFFFFFF
    peer.send(SYN | ACK, opts=options())
    answer = peer.one(ACK)
    assert (answer.seq, answer.ack) == (peer.ack, peer.seq)
    return peer


def lease(net: Net, mac: bytes, wish: str) -> None:
    """REQUEST an address by DHCP (RFC 2131, section 3.1)."""
    import dpkt

    opts = ((53, b"\3"), (50, ip(wish)))
    message = dpkt.dhcp.DHCP(op=1, xid=7, chaddr=mac, opts=opts)
    segment = udp_segment(bytes(message), 68, 67, bytes(4), b"\xff" * 4)
    packet = ipv4(17, segment, source=bytes(4), destination=b"\xff" * 4)
    net.send(eth(packet, source=mac, destination=b"\xff" * 6))
    assert len(net.take()) == 1


def test_there_and_back() -> None:
    net = forwarding()
    client = connect(net)
    peer = accept(net)
    client.write(b"GET /")
    net.run(0.01)
    assert peer.receive() == b"GET /"
    peer.send(ACK | PSH, b"200 OK")
    peer.send(FIN | ACK)
    net.run(0.05)
    assert bytes(client.received) == b"200 OK"
    assert client.ended
    client.finish()
    net.run(0.05)
    peer.receive()
    (flow,) = net.stack.flows()
    assert (flow.inbound, flow.state) == (True, "LAST-ACK")
    peer.send(ACK)
    assert net.stack.flows() == []
    assert client.error is None


@pytest.mark.rfc("9293", "MUST-15")
@pytest.mark.parametrize(("mtu", "largest"), [(1500, 1460), (1000, 960), (9000, 1460)])
def test_a_guest_without_mss_option_gets_segments_that_fit_its_link(mtu: int, largest: int) -> None:
    net = forwarding(features=LinkFeatures(mtu=mtu))
    client = connect(net)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80)
    peer.ack = (peer.one(SYN).seq + 1) & 0xFFFFFFFF
    peer.send(SYN | ACK)
    peer.one(ACK)
    client.write(bytes(3000))
    net.run(0.01)
    assert max(len(tcp.data) for tcp in peer.take()) == min(largest, 1500 - 40)


def test_data_sent_before_the_guest_answers_is_not_lost() -> None:
    net = forwarding()
    client = connect(net)
    client.write(b"impatient")
    client.finish()
    net.run(2)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80)
    syns = peer.take()
    assert {s.flags for s in syns} == {SYN}
    assert len(syns) == 2
    peer.ack = syns[0].seq + 1
    peer.send(SYN | ACK, opts=options())
    assert peer.drain() == b"impatient"


@pytest.mark.rfc("9293", "MUST-43")
@pytest.mark.parametrize(
    ("source", "seen"),
    [(CLIENT, CLIENT), ((LOOPBACK, 7777), (GATEWAY, 7777)), ((ip("127.3.2.1"), 7777), (GATEWAY, 7777))],
)
def test_source_seen_by_the_guest(source: tuple[bytes, int], seen: tuple[bytes, int]) -> None:
    net = forwarding()
    connect(net, source)
    (frame,) = net.take()
    assert (frame.data.src, frame.data.data.sport) == seen
    assert frame.dst == GUEST_MAC


def test_two_loopback_clients_with_the_same_port_do_not_meet() -> None:
    net = forwarding()
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        connect(net, (ip(address), 7777))
    frames = net.take()
    assert len({f.data.data.sport for f in frames}) == 3
    assert len(net.stack.flows()) == 3


def test_no_guest_address_means_dhcpstart_then_the_first_lease() -> None:
    net = forwarding()
    connect(net)
    assert net.one().data.dst == GUEST
    lease(net, bytes.fromhex("525400000042"), "10.0.2.42")
    lease(net, bytes.fromhex("525400000043"), "10.0.2.43")
    connect(net, (WORLD, 1))
    assert {f.data.tpa for f in net.take()} == {ip("10.0.2.42")}


@pytest.mark.parametrize("rule", ["tcp:127.0.0.1:0-:80", "udp:127.0.0.1:0-:80"])
def test_without_a_guest_address_a_guest_known_by_arp_counts(rule: str) -> None:
    """A container with a fixed address never asks DHCP; the order is: a lease, a guest that was heard, dhcpstart."""
    net = forwarding(rule, up=False)
    port = net.stack.hostfwds()[0].host_port

    def target() -> bytes:
        """Return the place to which a client outside is led now."""
        if rule.startswith("tcp"):
            connect(net, (WORLD, 1000 + len(net.stack.flows())))
        else:
            net.host.send_udp(b"x", LOOPBACK, port, CLIENT)
            net.run(0.01)
        found = {f.data.tpa if f.type == 0x806 else f.data.dst for f in net.take()}
        assert len(found) == 1, found
        return bytes(found.pop())

    assert target() == GUEST  # nobody was heard
    net.run(100)  # until that is given up
    net.take()
    net.know(address=ip("10.0.2.100"), mac=bytes.fromhex("525400000100"))
    assert target() == ip("10.0.2.100")
    net.know(address=ip("10.0.2.101"), mac=bytes.fromhex("525400000101"))
    assert target() == ip("10.0.2.100")
    net.know()
    assert target() == GUEST  # which may be where DHCP begins, as ever
    lease(net, bytes.fromhex("525400000042"), "10.0.2.42")
    assert target() == ip("10.0.2.42")


def test_a_guest_whose_link_is_gone_comes_last() -> None:
    net = forwarding(up=False)
    other = net.attach()
    net.know(address=ip("10.0.2.100"), mac=bytes.fromhex("525400000100"), wire=other)
    net.stack.detach(net._ports[other])
    connect(net)
    assert net.one().data.tpa == ip("10.0.2.100"), "it may be back, and say nothing by itself"
    net.know(address=ip("10.0.2.101"), mac=bytes.fromhex("525400000101"))
    connect(net, (WORLD, 1))
    assert net.one().data.dst == ip("10.0.2.101")


def test_arp_probes_and_server_addresses_make_no_guest() -> None:
    """An ARP probe has no address yet, and one with a server's address is a mistake."""
    net = forwarding(up=False)
    net.send(arp(1, sender=bytes(4), target=ip("10.0.2.77")))
    net.send(arp(1, sender=GATEWAY))
    net.send(arp(1, sender=ip("192.0.2.1")))
    net.take()
    connect(net)
    assert net.one().data.tpa == GUEST


def test_dhcpstart_is_configurable() -> None:
    net = Net(config(dhcpstart="10.0.2.50", hostfwd=["tcp::0-:80"]))
    connect(net)
    assert net.one().data.tpa == ip("10.0.2.50")


def test_a_given_guest_address_stays() -> None:
    net = forwarding("tcp::0-10.0.2.77:80")
    lease(net, bytes.fromhex("525400000042"), "10.0.2.42")
    connect(net)
    assert net.one().data.tpa == ip("10.0.2.77")


def test_port_zero_tells_the_port() -> None:
    net = forwarding("tcp:127.0.0.1:0-:80", "tcp:127.0.0.1:0-:80", "udp:127.0.0.1:0-:80")
    ports = [rule.host_port for rule in net.stack.hostfwds()]
    assert all(ports)
    assert ports[0] != ports[1]
    assert all(call.address == LOOPBACK for call in net.host.calls)


@pytest.mark.parametrize(
    ("rule", "error", "advice"),
    [
        ("tcp::80-:80", errno.EADDRINUSE, "choose another port, or 0 to have a free one"),
        ("unix:/run/web.sock-:80", errno.EADDRINUSE, "choose another"),
        ("tcp::80-:80", errno.EACCES, "ports below 1024 need privileges, try 8080"),
        ("unix:/run/web.sock-:80", errno.EACCES, "choose another folder"),
        (
            "tcp:192.0.2.1:80-:80",
            errno.EADDRNOTAVAIL,
            "that is no address of this host; use 127.0.0.1 or 0.0.0.0",
        ),
        ("tcp:[2001:db8::1]:80-:80", errno.EADDRNOTAVAIL, "that is no address of this host; use [::1] or [::]"),
        ("unix:/run/web.sock-:80", errno.ENOENT, "the folder does not exist"),
        ("tcp:[fe80::1%no0]:80-:80", errno.ENODEV, "there is no such interface"),
        ("tcp:[::1]:80-:80", errno.EAFNOSUPPORT, "this system has no IPv6"),
        ("unix:/run/web.sock-:80", errno.EAFNOSUPPORT, "this system has no unix sockets"),
    ],
)
def test_advice_if_the_host_refuses_to_listen(
    rule: str, error: int, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = forwarding()

    def refuse(*_: Any) -> Any:
        raise OSError(error, strerror(error))

    for name in ("listen_tcp", "listen_unix"):
        monkeypatch.setattr(net.host, name, refuse)
    with pytest.raises(ForwardError, match=rf"{re.escape(strerror(error).lower())}; {re.escape(advice)}$"):
        net.stack.add_hostfwd(config(hostfwd=[rule]).hostfwd[0])


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_port_in_use_and_nothing_is_left(protocol: str) -> None:
    with pytest.raises(
        ForwardError, match=r"cannot listen on 127\.0\.0\.1:7000: address already in use; choose"
    ) as e:
        forwarding(f"{protocol}::6999-:80", f"{protocol}::7000-:80", f"{protocol}::7000-:81")
    assert f"{protocol}:127.0.0.1:7000-:81" in str(e.value)


def test_all_or_none() -> None:
    net = forwarding()
    host = net.host
    with pytest.raises(ForwardError):
        type(net.stack)(config(hostfwd=["tcp::1-:1", "udp::2-:2", "tcp:198.51.100.7:3-:3"]), host)
    assert [key for key in host._tcp if key[1] in (1, 2, 3)] == []
    assert host._udp == {}


def test_foreign_address() -> None:
    net = forwarding()
    with pytest.raises(ForwardError, match="that is no address of this host"):
        net.stack.add_hostfwd("tcp:198.51.100.7:80-:80")


def test_add_and_remove_at_run_time() -> None:
    net = forwarding()
    added = net.stack.add_hostfwd("tcp::0-10.0.2.15:8080")
    assert net.stack.hostfwds()[1] == added
    client = connect(net, number=1)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=8080)
    peer.ack = peer.one(SYN).seq + 1
    peer.send(SYN | ACK, opts=options())
    peer.take()
    net.stack.remove_hostfwd(added)
    assert len(net.stack.hostfwds()) == 1
    client.write(b"still open")
    net.run(0.01)
    assert peer.receive() == b"still open"
    late = net.host.connect(LOOPBACK, added.host_port)
    net.run(0.1)
    assert late.error == errno.ECONNREFUSED
    with pytest.raises(ForwardError, match="no such forward; active are: tcp:127"):
        net.stack.remove_hostfwd(added)
    net.stack.add_hostfwd(added)  # the port is free again


# ------------------------------------------------------------------------------------------- the guest is not up


def test_before_the_guest_is_up_syns_and_arp_are_retried() -> None:
    net = forwarding(up=False)
    client = connect(net)
    net.run(20)
    requests = net.take()
    assert len(requests) >= 4
    assert {(f.type, f.data.tpa) for f in requests} == {(0x806, GUEST)}
    net.send(arp(1, target=GUEST))  # it announces itself, and answers no older question
    net.run(20)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80)
    syn = peer.take()[-1]
    peer.ack = syn.seq + 1
    peer.send(SYN | ACK, opts=options())
    client.write(b"at last")
    net.run(0.05)
    assert peer.drain() == b"at last"


def test_the_answer_to_arp_sends_the_syn_at_once() -> None:
    net = forwarding(up=False)
    connect(net)
    net.run(3.2)  # the second or third attempt is waiting
    net.take()
    net.send(arp(2))
    (frame,) = net.take()
    assert frame.data.data.flags == SYN


@pytest.mark.parametrize("up", [True, False])
def test_opening_times_out_after_75_seconds(up: bool) -> None:
    net = forwarding(up=up)
    client = connect(net)
    net.run(74)
    assert (client.error, len(net.stack.flows())) == (None, 1)
    net.run(1.1)
    assert client.error == errno.ECONNRESET
    assert net.stack.flows() == []
    net.run(2)
    assert net.stack.deadline() is None


def test_without_any_link() -> None:
    net = forwarding()
    net.stack.detach(net.port)
    net.take()
    client = connect(net)
    net.run(120)
    assert client.error == errno.ECONNRESET
    assert net.stack.flows() == []


def test_the_guest_refuses() -> None:
    net = forwarding()
    client = connect(net)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80, seq=0)
    peer.ack = peer.one(SYN).seq + 1
    peer.send(RST | ACK)
    net.run(0.05)
    assert client.error == errno.ECONNRESET
    assert net.stack.flows() == []
    net.silence()


def test_the_client_gives_up_before_the_guest_answers() -> None:
    net = forwarding()
    client = connect(net)
    client.reset()
    net.run(0.05)
    assert net.stack.flows() == []
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80)
    peer.ack = peer.one(SYN).seq + 1
    peer.send(SYN | ACK, opts=options())
    assert peer.one().flags == RST


def test_the_guest_opens_at_the_same_time() -> None:
    """Simultaneous open (RFC 9293, figure 8)."""
    net = forwarding()
    client = connect(net)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80)
    syn = peer.one(SYN)
    peer.ack = syn.seq + 1
    peer.send(SYN, opts=options())
    answer = peer.one(SYN | ACK)
    assert (answer.seq, answer.ack) == (syn.seq, peer.seq)
    peer.send(ACK)
    client.write(b"met")
    net.run(0.05)
    assert peer.drain() == b"met"


def test_bursts_fill_the_largest_packet() -> None:
    net = forwarding()
    link = net.attach(LinkFeatures(checksum_offload=True, segmentation_offload=True))
    port = net.stack.network.ports[-1]
    assert port.segmentation_offload
    for family, header in ((V4, 20), (V6, 40)):
        settings = net.stack._tcp.settings(port, family)
        assert header + 20 + TIMESTAMP.size + settings.max_burst == 65535
        assert net.stack._tcp.settings(None, family).max_burst == 0
    assert not net.take(link)


def test_settings_follow_the_link_that_the_guest_is_behind() -> None:
    net = forwarding(up=False)
    second = net.attach(LinkFeatures(checksum_offload=True, segmentation_offload=True))
    client = connect(net)
    net.take()
    net.take(second)
    net.send(arp(2, to=GATEWAY_MAC), wire=second)
    (frame,) = net.take(second)
    peer = Peer(net, CLIENT[1], address=CLIENT[0], sport=80)
    peer.ack = frame.data.data.seq + 1
    net.send(peer.frame(SYN | ACK, opts=options()), wire=second)
    client.write(b"x" * 5000)
    net.run(0.005)  # nobody answers: soon a probe would ask
    net.silence()
    assert max(frame.gso_size for frame in second.sent) == 1460
    assert sum(len(f.data.data.data) for f in net.take(second)) == 5000


def test_reset_both_ways() -> None:
    net = forwarding()
    client = connect(net)
    peer = accept(net)
    peer.send(RST)
    net.run(0.05)
    assert client.error == errno.ECONNRESET
    other = connect(net, (WORLD, 99))
    second = accept(net, (WORLD, 99))
    other.reset()
    net.run(0.05)
    assert second.one().flags & RST
    assert net.stack.flows() == []


def test_a_range_of_ports_leads_to_a_range() -> None:
    net = Net(config(hostfwd=["tcp:127.0.0.1:9000-9004-:80-84", "udp:127.0.0.1:9000-9001-:53"]))
    net.know()
    for number in range(5):
        net.host.connect(LOOPBACK, 9000 + number)
    net.run(0.01)
    assert [frame.data.data.dport for frame in net.take()] == [80, 81, 82, 83, 84]
    net.host.send_udp(b"?", LOOPBACK, 9001)
    net.run(0.01)
    assert net.one().data.data.dport == 54
    tcp, udp_rule = net.stack.hostfwds()
    assert (str(tcp), str(udp_rule)) == ("tcp:127.0.0.1:9000-9004-:80-84", "udp:127.0.0.1:9000-9001-:53-54")
    net.stack.remove_hostfwd(tcp)
    refused = net.host.connect(LOOPBACK, 9004)
    net.run(0.01)
    assert refused.error == errno.ECONNREFUSED


def test_a_range_is_forwarded_whole_or_not_at_all() -> None:
    net = Net(config(hostfwd=["tcp:127.0.0.1:9003-:80"]))
    with pytest.raises(ForwardError, match=r"cannot listen on 127\.0\.0\.1:9003: address already in use"):
        net.stack.add_hostfwd("tcp:127.0.0.1:9000-9004-:80")
    refused = net.host.connect(LOOPBACK, 9000)
    net.run(0.01)
    assert refused.error == errno.ECONNREFUSED
    assert len(net.stack.hostfwds()) == 1


def test_a_unix_socket_leads_to_a_port() -> None:
    net = Net(config(hostfwd=["unix:/run/web.sock-:80"]))
    net.know()
    clients = [net.host.connect_unix("/run/web.sock") for _ in range(2)]
    net.run(0.01)
    frames = net.take()
    assert {(frame.data.src, frame.data.data.dport) for frame in frames} == {(GATEWAY, 80)}
    assert len({frame.data.data.sport for frame in frames}) == 2
    assert all(frame.data.data.sport >= 1024 for frame in frames)
    peer = Peer(net, frames[0].data.data.sport, address=GATEWAY, sport=80)
    peer.ack = frames[0].data.data.seq + 1
    peer.send(SYN | ACK, opts=options())
    clients[0].write(b"hello")
    net.run(0.01)
    assert peer.drain() == b"hello"


@pytest.mark.rfc("9293", "MUST-46")
@pytest.mark.rfc("9293", "MUST-46 invalid")
@pytest.mark.parametrize(
    ("guest", "says"),
    [
        ("10.0.3.9", "not one of 10.0.2.0/24; choose one from 10.0.2.1 to 10.0.2.254"),
        ("10.0.2.0", "not one of"),
        ("10.0.2.255", "not one of"),
        ("10.0.2.2", "one of the virtual servers"),
        ("10.0.2.3", "one of the virtual servers"),
    ],
)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_address_that_no_guest_can_have(protocol: str, guest: str, says: str) -> None:
    rule = f"{protocol}::9100-{guest}:80"
    with pytest.raises(ForwardError, match=f"guest address {guest} is {says}"):
        Net(config(hostfwd=[rule]))
    net = Net()
    with pytest.raises(ForwardError, match=says):
        net.stack.add_hostfwd(rule)
    assert net.stack.hostfwds() == []
    assert not net.host._open
