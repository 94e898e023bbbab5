"""ICMP echo to the outside: identifiers, routes, time to live, refusals, bounds, and what others report of it."""

from __future__ import annotations

import errno
import logging
from typing import Any

import dpkt
import pytest

from slirpy.errortext import errno_name
from slirpy.interfaces import Action, Decision, FlowRequest, IcmpReport, Verdict
from slirpy.nat import icmp as module
from tests.support.harness import (
    BROADCAST,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    WORLD,
    Net,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    rfc1071,
    unreachable,
)

ROUTERS = (ip("192.0.2.254"), ip("192.0.2.253"))
DF = 0x4000


@pytest.fixture
def net() -> Net:
    net = Net()
    net.host.answer_ping()
    return net


def ping(
    data: bytes = b"abc", *, to: bytes = WORLD, ident: int = 7, seq: int = 1, ttl: int = 64, fragment: int = 0
) -> bytes:
    return eth(ipv4(1, icmp_echo(data, ident, seq), destination=to, ttl=ttl, fragment=fragment))


def replies(net: Net) -> list[tuple[bytes, int, int, bytes]]:
    """Source, identifier, sequence number and payload of what has come."""
    out = []
    for frame in net.take():
        assert (frame.dst, frame.data.dst, frame.data.p) == (GUEST_MAC, GUEST, 1)
        message = frame.data.data
        assert (message.type, message.code) == (0, 0), message
        out.append((frame.data.src, message.data.id, message.data.seq, bytes(message.data.data)))
    return out


def reported(frame: Any, source: bytes, kind: int, code: int, rest: int = 0) -> Any:
    """Check an error that was relayed; the packet that it quotes, as dpkt reads it, its checksums verified."""
    message = frame.data.data
    assert (frame.data.src, frame.data.dst) == (source, GUEST)
    assert (message.type, message.code) == (kind, code)
    raw = bytes(frame.data)
    assert int.from_bytes(raw[24:28], "big") == rest
    quoted = raw[28:]
    assert rfc1071(quoted[:20]) == 0, "the quoted header's checksum"
    return dpkt.ip.IP(quoted)


def test_there_and_back(net: Net) -> None:
    net.send(ping(b"hello", ident=0xBEEF, seq=0xFFFF))
    net.run(0.01)
    assert replies(net) == [(WORLD, 0xBEEF, 0xFFFF, b"hello")]
    assert [(c.address, c.port, c.detail) for c in net.calls("send_ping")] == [(WORLD, 0xFFFF, b"hello")]
    (flow,) = net.stack.flows()
    assert (flow.protocol, flow.guest[1], flow.bytes_in, flow.bytes_out) == ("icmp", 0xBEEF, 5, 5)


@pytest.mark.parametrize("size", [0, 1, 56, 1472, 1473, 65507])
def test_sizes(net: Net, size: int) -> None:
    message = icmp_echo(bytes(size))
    parts = [message[i : i + 1480] for i in range(0, len(message), 1480)]
    for i, part in enumerate(parts):
        net.send(eth(ipv4(1, part, fragment=i * 185 | (0x2000 if i < len(parts) - 1 else 0))))
    net.run(0.01)
    body = b"".join(bytes(f.data)[20 : int.from_bytes(bytes(f.data)[2:4], "big")] for f in net.take())
    assert len(body) == 8 + size
    assert rfc1071(body) == 0


def test_flows_are_by_guest_and_identifier(net: Net) -> None:
    for ident in (1, 2, 1):
        for to in (WORLD, ip("198.51.100.8")):
            net.send(ping(ident=ident, to=to))
    net.run(0.01)
    assert len(net.calls("open_ping")) == 2
    assert len(net.calls("send_ping")) == 6
    assert sorted((source[3], ident) for source, ident, _, _ in replies(net)) == sorted(
        [(7, 1), (7, 1), (7, 2), (8, 1), (8, 1), (8, 2)]
    )


def test_an_unanswered_request_gets_no_reply() -> None:
    net = Net()
    net.send(ping())
    net.run(5)
    net.silence()
    assert net.stats.icmp_echo_replies == 0


def test_time_to_live_of_requests_and_replies(net: Net) -> None:
    net.host.path(WORLD, ROUTERS)
    net.send(*(ping(seq=ttl, ttl=ttl) for ttl in (1, 2, 3, 4)))
    first = net.one()
    assert bytes(unreachable(first, 0, kind=11)) == ping(seq=1, ttl=1)[14 : 14 + 31]
    net.run(0.01)
    second, third, answer = net.take()
    for frame, router, seq in ((second, ROUTERS[0], 2), (third, ROUTERS[1], 3)):
        quoted = reported(frame, router, 11, 0)
        assert (quoted.src, quoted.dst, quoted.p) == (GUEST, WORLD, 1)
        assert (quoted.data.type, quoted.data.data.id, quoted.data.data.seq) == (8, 7, seq)
        assert rfc1071(bytes(quoted.data)) == 0
    assert answer.data.data.type == 0
    assert answer.data.ttl == 64 - len(ROUTERS) - 1
    # The error's own: 255 at the router, less one for each router between it and the host, and for us.
    assert (second.data.ttl, third.data.ttl) == (254, 253)
    assert net.stats.drop_ip_ttl == 1


def test_a_request_that_ends_here_opens_nothing(net: Net) -> None:
    net.send(ping(ttl=1))
    assert net.calls("open_ping") == []
    assert net.stack.flows() == []


def test_path_mtu_from_a_router_and_from_the_host_itself(net: Net) -> None:
    net.host.path(WORLD, ROUTERS, mtu=1400)
    net.send(ping(bytes(1373), fragment=DF), ping(bytes(1372), seq=2, fragment=DF))
    net.run(0.01)
    error, answer = net.take()
    assert reported(error, ROUTERS[1], 3, 4, 1400).data.data.seq == 1
    assert answer.data.data.type == 0
    net.host.path(WORLD, (), mtu=1300)
    net.send(ping(bytes(1372), fragment=DF))
    frame = net.one()
    assert bytes(frame.data)[24:28] == (1300).to_bytes(4, "big")
    assert unreachable(frame, 4) == ping(bytes(1372), fragment=DF)[14 : 14 + 548]
    net.send(ping(bytes(1372)))  # may be cut
    net.run(0.01)
    assert len(replies(net)) == 1


@pytest.mark.parametrize("size", [573, 1232])
def test_small_requests_to_a_host_of_the_same_family_may_forbid_fragments(net: Net, size: int) -> None:
    """Only on their way to the other family must routers be allowed to cut them."""
    net.host.path(WORLD, ROUTERS, mtu=600)
    net.send(ping(bytes(size), fragment=DF), ping(bytes(size), seq=2))
    net.run(0.01)
    error, answer = net.take()
    assert reported(error, ROUTERS[1], 3, 4, 600).data.data.seq == 1
    assert (answer.data.data.type, answer.data.data.data.seq) == (0, 2)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errno.ENETUNREACH, 0),
        (errno.EHOSTUNREACH, 1),
        (errno.EPERM, 13),
        (errno.EACCES, 13),
        (errno.EINVAL, None),
    ],
)
def test_errors_of_the_system_at_sending(net: Net, error: int, code: int | None) -> None:
    net.host.unreachable(WORLD, error=error, at_once=True)
    net.send(ping())
    assert net.stats.drop_icmp_host_error == 1
    if code is None:
        net.silence()
    else:
        assert unreachable(net.one(), code) == ping()[14 : 14 + 31]


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_a_full_socket_is_counted_and_silent(net: Net, error: int) -> None:
    net.host.unreachable(WORLD, error=error, at_once=True)
    net.send(ping())
    net.silence()
    assert (net.stats.drop_icmp_host_full, net.stats.drop_icmp_host_error) == (1, 0)


def test_unreachable_says_a_router(net: Net) -> None:
    net.host.path(WORLD, ROUTERS)
    net.host.unreachable(WORLD)
    net.send(ping(seq=5))
    net.run(0.01)
    assert reported(net.one(), ROUTERS[1], 3, 1).data.data.seq == 5


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT])
def test_without_ping_sockets_one_warning_names_the_setting(
    net: Net, error: int, caplog: pytest.LogCaptureFixture
) -> None:
    net.host.ping_refusal = error
    with caplog.at_level(logging.WARNING, "slirpy"):
        net.send(ping(), ping(seq=2), ping(ident=9))
    frames = net.take()
    assert [unreachable(frame, 13)[:20] for frame in frames] == [ping()[14:34]] * 3
    (record,) = caplog.records
    assert 'net.ipv4.ping_group_range="0 2147483647"' in record.getMessage()
    assert errno_name(error) in record.getMessage()
    assert net.stats.drop_icmp_refused == 3
    assert net.stack.flows() == []
    net.host.ping_refusal = 0  # the user has followed the advice
    net.send(ping())
    net.run(0.01)
    assert len(replies(net)) == 1


def test_no_sockets_left(net: Net) -> None:
    net.host.max_sockets = 0
    net.send(ping())
    net.silence()
    assert net.stats.drop_icmp_no_socket == 1


def test_idle_for_a_minute(net: Net) -> None:
    net.send(ping())
    net.run(59)
    net.send(ping())
    net.run(59.9)
    assert len(net.host._open) == 1
    net.run(0.2)
    assert (len(net.host._open), net.stack.flows()) == (0, [])
    net.run(0.001)
    assert net.stack.deadline() is None


def test_the_oldest_idle_flow_goes(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    net.stack._ping._shares.limit = 3
    for ident in (1, 2, 3):
        net.send(ping(ident=ident))
        net.run(1)
    net.send(ping(ident=1))
    net.run(1)
    net.send(ping(ident=4))
    net.run(1)
    assert sorted(flow.guest[1] for flow in net.stack.flows()) == [1, 3, 4]
    assert net.stats.icmp_flows_evicted == 1
    net.send(ping(ident=5))
    assert sorted(flow.guest[1] for flow in net.stack.flows()) == [1, 4, 5]
    assert net.stats.icmp_flows_evicted == 2
    assert len(net.host._open) == 3
    assert module.MAX_FLOWS == 1024


def test_refused_requests_evict_no_flow(net: Net) -> None:
    net.stack._ping._shares.limit = 1
    net.send(ping(ident=1), ping(ident=2, to=ip("10.0.2.99")), ping(ident=3, to=ip("127.0.0.1")))
    assert [flow.guest[1] for flow in net.stack.flows()] == [1]


def test_destinations_of_one_flow_are_bounded(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROUTES", 8)
    for number in range(40):
        net.send(ping(to=bytes((198, 51, 100, number))))
        net.run(0.01)
    assert len(replies(net)) == 40
    (flow,) = net.stack._ping.flows.values()
    assert len(flow._routes) <= 8
    assert len(flow._reverse) <= 8


@pytest.mark.parametrize(
    ("where", "code", "counter"),
    [
        ("10.0.2.77", 1, "drop_icmp_unreachable"),
        ("10.0.2.255", None, "drop_icmp_type"),
        ("255.255.255.255", None, "drop_icmp_type"),
        ("224.0.0.1", None, "drop_icmp_type"),
        ("127.0.0.1", None, "drop_ip_destination"),
        ("0.1.2.3", None, "drop_ip_destination"),
        ("240.0.0.1", None, "drop_ip_destination"),
    ],
)
def test_where_no_request_goes(net: Net, where: str, code: int | None, counter: str) -> None:
    net.send(ping(to=ip(where)))
    if code is None:
        net.silence()
    else:
        unreachable(net.one(), code)
    assert getattr(net.stats, counter) == 1
    assert net.calls("open_ping") == []


def test_requests_that_waited_for_a_decision_are_sent_as_they_came(net: Net) -> None:
    decision = Decision()
    net.stack.policy = lambda request: decision
    net.send(ping(b"one", ident=7, seq=3), ping(b"three", ident=7, seq=9))
    net.run(0.01)
    assert net.calls("send_ping") == []
    decision.give(Verdict(Action.ALLOW))
    net.run(0.01)
    assert replies(net) == [(WORLD, 7, 3, b"one"), (WORLD, 7, 9, b"three")]


@pytest.mark.parametrize(("given", "seen"), [(0, 64), (1, 1), (2, 1), (3, 2), (64, 63), (255, 254)])
def test_time_to_live_of_what_comes_back(net: Net, given: int, seen: int) -> None:
    """One router more, which lets all of them pass; 0 is not known."""
    net.send(ping())
    net.run(0.01)
    net.take()
    (flow,) = net.stack._ping.flows.values()
    flow.echo_reply(1, b"abc", WORLD, given)
    flow.echo_error(1, IcmpReport(errno.EHOSTUNREACH, 3, 1, 0, WORLD, WORLD, 0, b"abc", given))
    net.run(0.01)
    assert [frame.data.ttl for frame in net.take()] == [seen, seen]


def test_a_new_policy_is_asked_about_open_flows(net: Net) -> None:
    """Echo requests have no port."""
    other, asked = ip("198.51.100.9"), list[FlowRequest]()
    net.send(ping(), ping(to=other, seq=2))
    net.run(0.01)
    net.take()

    def policy(request: FlowRequest) -> Verdict:
        asked.append(request)
        return Verdict(Action.ALLOW if request.destination_bytes == other else Action.REJECT)

    net.stack.policy = policy
    assert [(each.destination_bytes, each.destination_port, each.source_port) for each in asked[:1]] == [
        (WORLD, 0, 7)
    ]
    assert net.stack.flows() == []


@pytest.mark.parametrize("action", [Action.REJECT, Action.DROP])
def test_the_policy_decides(action: Action) -> None:
    asked: list[FlowRequest] = []

    def policy(request: FlowRequest) -> Verdict:
        asked.append(request)
        return Verdict(Action.ALLOW if request.destination_bytes == WORLD else action)

    net = Net(config(policy=policy))
    net.host.answer_ping()
    other = ip("198.51.100.8")
    net.send(ping(), ping(seq=2), ping(to=other))
    assert [
        (r.protocol, r.source_bytes, r.source_port, r.destination_bytes, r.destination_port) for r in asked
    ] == [
        (1, GUEST, 7, WORLD, 0),
        (1, GUEST, 7, other, 0),
    ]
    assert net.stats.drop_icmp_policy == 1
    frames = net.take()
    if action is Action.REJECT:
        unreachable(frames[0], 13)
    else:
        assert frames == []
    net.run(0.01)
    assert len(replies(net)) == 2
    assert [c.address for c in net.calls("send_ping")] == [WORLD] * 2


def test_a_redirected_request_is_answered_from_its_destination() -> None:
    other = ip("198.51.100.8")
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (other, 0))))
    net.host.answer_ping(other)
    net.send(ping())
    net.run(0.01)
    assert replies(net) == [(WORLD, 7, 1, b"abc")]
    assert [c.address for c in net.calls("send_ping")] == [other]
    net.host.unreachable(other)
    net.send(ping(seq=2))
    net.run(0.01)
    quoted = reported(net.one(), WORLD, 3, 1)
    assert (quoted.dst, quoted.data.data.seq) == (WORLD, 2)


def test_echoes_with_other_codes_are_dropped(net: Net) -> None:
    message = bytearray(icmp_echo(b"x"))
    message[1] = 1
    message[2:4] = b"\0\0"
    message[2:4] = rfc1071(bytes(message)).to_bytes(2, "big")
    net.send(eth(ipv4(1, bytes(message))))
    net.silence()
    assert net.stats.drop_icmp_type == 1


def test_replies_and_errors_without_a_request_are_dropped(net: Net) -> None:
    net.send(ping())
    (flow,) = net.stack._ping.flows.values()
    net.run(0.01)
    net.take()
    stranger = ip("203.0.113.9")
    flow.echo_reply(1, b"abc", stranger, 60)
    flow.echo_error(1, IcmpReport(errno.EHOSTUNREACH, 3, 1, 0, WORLD, stranger, 0, b"", 60))
    net.run(0.01)
    net.silence()
    assert net.stats.drop_icmp_unasked == 2


@pytest.mark.parametrize(
    ("kind", "code", "info"), [(4, 0, 0), (5, 1, 0), (12, 0, 0), (3, 4, 67), (3, 4, 70_000)]
)
def test_reports_that_are_no_news_for_a_guest(net: Net, kind: int, code: int, info: int) -> None:
    net.send(ping())
    (flow,) = net.stack._ping.flows.values()
    net.run(0.01)
    net.take()
    flow.echo_error(1, IcmpReport(errno.EPROTO, kind, code, info, WORLD, WORLD, 0, b"", 60))
    net.run(0.01)
    net.silence()
    assert net.stats.drop_icmp_host_error == 1


@pytest.mark.parametrize(
    ("reporter", "shown"),
    [("127.0.0.1", GATEWAY), ("0.0.0.0", GATEWAY), ("10.0.2.15", GATEWAY), ("10.9.9.9", ip("10.9.9.9"))],
)
def test_the_source_of_an_error(net: Net, reporter: str, shown: bytes) -> None:
    net.send(ping())
    (flow,) = net.stack._ping.flows.values()
    net.run(0.01)
    net.take()
    flow.echo_error(1, IcmpReport(errno.EHOSTUNREACH, 3, 1, 0, ip(reporter), WORLD, 0, b"abc", 0))
    net.run(0.01)
    quoted = reported(net.one(), shown, 3, 1)
    assert bytes(quoted.data) == icmp_echo(b"abc")


def test_close_releases_the_sockets(net: Net) -> None:
    net.send(ping(), ping(ident=8))
    net.stack.close()
    assert not list(net.host._open)
    net.run(0.1)
    assert [flow.state for flow in net.stack.closed_flows] == ["CLOSED"] * 2
    assert replies(net) == []


def test_the_virtual_hosts_answer_by_themselves(net: Net) -> None:
    net.send(echo(), echo(to=GATEWAY, mac=BROADCAST))
    assert [frame.data.ttl for frame in net.take()] == [255, 255]
    assert net.calls("open_ping") == []
    assert net.stack.flows() == []
