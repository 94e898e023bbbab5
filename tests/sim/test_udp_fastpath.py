"""The fast path of UDP against the slow one, and large frames of many datagrams against single ones."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.core.paths import PENDING_MAX
from slirpy.interfaces import LinkFeatures
from slirpy.wire.ipv4 import DF
from slirpy.wire.udp import run_length
from tests.support.harness import (
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    WORLD,
    Net,
    eth,
    ip,
    ipv4,
    rfc1071,
    udp,
    udp_segment,
)
from tests.support.twins import UdpTwins

CHECKSUM = LinkFeatures(checksum_offload=True)
LARGE = LinkFeatures(checksum_offload=True, udp_segmentation_offload=True)
OTHER = ip("198.51.100.9")


def datagram(size: int, number: int = 0, *, ttl: int = 64, fragment: int = 0, dport: int = 9, sport: int = 5000,
             destination: bytes = WORLD) -> bytes:  # fmt: skip
    """A datagram identified by its number."""
    payload = bytes([number & 0xFF]) * size
    segment = udp_segment(payload, sport, dport, GUEST, destination)
    return eth(ipv4(17, segment, destination=destination, ttl=ttl, fragment=fragment))


def changed(at: int, value: int) -> bytes:
    """One whose IPv4 header has another byte there, and the right checksum."""
    frame = bytearray(datagram(100))
    frame[at] = value
    frame[24:26] = b"\0\0"
    frame[24:26] = rfc1071(bytes(frame[14:34])).to_bytes(2, "big")
    return bytes(frame)


def twins_of_udp() -> UdpTwins:
    return UdpTwins(Net.know, WORLD, OTHER)


def test_the_second_datagram_goes_the_fast_way() -> None:
    twins_of_udp().check_second_is_fast(datagram)


@pytest.mark.parametrize(
    "odd",
    [
        datagram(100, ttl=63),
        datagram(100, fragment=DF),
        datagram(100, fragment=0x2000),
        datagram(100, fragment=5),
        datagram(100, ttl=0),
        eth(ipv4(17, udp_segment(b"x", 5000, 9), options=b"\1\1\1\0")),
        udp(b"no checksum", nosum=True),
        datagram(100)[:80],
        datagram(100)[:-1] + b"!",
        datagram(100)[:24] + b"\0\0" + datagram(100)[26:],
        eth(ipv4(17, udp_segment(bytes(100), 5000, 9)), source=bytes.fromhex("525400000099")),
        eth(ipv4(17, udp_segment(bytes(100), 5000, 9)), destination=b"\xff" * 6),
        eth(ipv4(17, udp_segment(bytes(100), 5000, 9)[:4] + b"\0\4" + bytes(102))),
        eth(ipv4(17, udp_segment(bytes(100), 5000, 9)[:4] + b"\0\x20" + bytes(102))),
        datagram(100) + b"padding",
        datagram(0),
        changed(23, 136),
        changed(14, 0x55),
        datagram(100)[:13] + b"\1" + datagram(100)[14:],
    ],
    ids=[
        *("ttl", "df", "first-fragment", "last-fragment", "ttl0", "options", "nosum", "cut", "checksum"),
        *("header-checksum", "mac", "broadcast", "short", "shorter", "padding", "empty"),
        *("udp-lite", "version", "ethertype"),
    ],
)
def test_odd_frames_take_the_slow_path(odd: bytes) -> None:
    twins = twins_of_udp()
    twins.send(datagram(100), datagram(100, 1))
    twins.send(datagram(100, 2), odd, datagram(100, 3), odd)
    twins.run(0.1)
    twins.send(datagram(100, 4))
    twins.run(0.1)


@pytest.mark.long
@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False))
def test_any_traffic(random: Random) -> None:
    twins = twins_of_udp()
    for _ in range(8):
        frames = []
        sport = random.choice((5000, 5000, 5001))  # one in a batch: order holds within a flow only
        for number in range(random.randrange(12)):
            frame = bytearray(
                datagram(
                    random.choice((0, 1, 17, 18, 100, 100, 1400, 1472)),
                    number,
                    ttl=random.choice((64, 64, 64, 1, 2)),
                    fragment=random.choice((0, 0, 0, DF)),
                    dport=random.choice((9, 9, 9, 10)),
                    sport=sport,
                    destination=random.choice((WORLD, WORLD, OTHER)),
                )
            )
            if random.random() < 0.1:
                frame[random.randrange(len(frame))] ^= 1 << random.randrange(8)
            frames.append(bytes(frame))
        twins.send(*frames)
        twins.run(random.choice((0, 0.001, 0.1, 300)))


def test_a_refusal_in_a_batch_is_counted_and_the_rest_is_sent() -> None:
    net = Net()
    net.know()
    net.host.serve_udp(WORLD, 9)
    net.send(datagram(10), datagram(10, 1))
    net.host.udp_errors.append(errno.ENETUNREACH)
    net.send(*(datagram(10, number) for number in range(2, 6)))
    assert net.stats.drop_udp_host_error == 1
    assert [call.detail for call in net.host.calls if call.name == "send_udp"][-1] == b"\5" * 10
    net.host.udp_errors.append(errno.ENETUNREACH)
    net.take()
    net.send(datagram(10))  # the slow way, which tells the guest
    assert net.one().data.data.type == 3


def test_datagrams_that_wait_for_the_flush_are_bounded() -> None:
    """A socket that refuses them costs time, which belongs to the turn in which they came."""
    net = Net()
    net.know()
    net.host.serve_udp(WORLD, 9)
    net.send(datagram(10), datagram(10))
    net.take()

    def sent() -> int:
        return sum(call.name == "send_udp" for call in net.host.calls)

    before = sent()
    for count in range(3 * PENDING_MAX):
        assert sent() - before == count // PENDING_MAX * PENDING_MAX
        net.stack.input(net.port, datagram(10, count))
    net.stack.flush(net.stack.now)
    assert sent() - before == 3 * PENDING_MAX


def test_a_full_socket_drops_the_rest_of_the_batch() -> None:
    net = Net()
    net.know()
    net.host.serve_udp(WORLD, 9)
    net.send(datagram(10), datagram(10, 1))
    net.host.udp_errors.append(errno.EAGAIN)
    net.send(*(datagram(10, number) for number in range(2, 6)))
    assert (net.stats.drop_udp_host_full, net.stats.drop_udp_host_error) == (4, 0)


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH])
@pytest.mark.parametrize(("count", "before"), [(1, 0), (2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3)])
def test_the_rest_of_a_batch_after_a_refusal(error: int, count: int, before: int) -> None:
    """A full socket takes none of the rest; what is wrong with one concerns that one."""
    net = Net()
    net.know()
    server = net.host.serve_udp(WORLD, 9)
    net.send(datagram(10), datagram(10, 1))
    net.run(0.01)
    server.received.clear()
    net.host.udp_errors += [*[0] * before, error]
    net.send(*(datagram(10, number) for number in range(count)))
    net.run(0.01)
    is_full = error != errno.ENETUNREACH
    sent = [number for number in range(count) if number < before or (number > before and not is_full)]
    assert [each.payload[0] for each in server.received] == sent
    lost, drops = count - len(sent), (net.stats.drop_udp_host_full, net.stats.drop_udp_host_error)
    assert drops == ((lost, 0) if is_full else (0, lost))


def test_a_flow_that_ends_leaves_no_path() -> None:
    net = Net()
    net.know()
    net.host.serve_udp(WORLD, None)
    net.send(*(datagram(10, dport=port) for port in range(1, 200)))
    assert 0 < len(net.stack.udp_paths) <= 64
    net.run(600)
    assert not net.stack.flows()
    assert not net.stack.udp_paths


# ------------------------------------------------------------------------------------ to the guest


SIZES = [1400] * 50 + [1399, 1400, 1400, 0, 3, 18, 18, 18, 5000, 5000, 1473] + [700] * 100 + [1, 1]


@pytest.mark.parametrize("features", [None, CHECKSUM, LARGE], ids=["plain", "checksums", "large"])
def test_datagrams_to_the_guest_are_the_same_on_every_link(features: LinkFeatures | None) -> None:
    def sent(features: LinkFeatures | None, deliver: Callable[[Net], None]) -> list[bytes]:
        net = Net(features=features)
        net.know()
        net.host.serve_udp(WORLD, 9)
        net.send(datagram(10))
        deliver(net)
        net.stack.flush(net.now)
        assert net.stats.bytes_out > sum(SIZES)
        whole = net.raw()
        return [frame for frame in whole if frame[23] == 17]

    def all_at_once(net: Net) -> None:
        (flow,) = net.stack._udp.flows.values()
        for number, size in enumerate(SIZES):
            flow.datagram(bytes([number]) * size, WORLD, 9)

    def one_by_one(net: Net) -> None:
        for number, size in enumerate(SIZES):
            net.stack.send_datagram(WORLD, 9, GUEST, 5000, bytes([number]) * size)

    frames = sent(features, all_at_once)
    judged = sent(None, one_by_one)
    fragments = [frame for frame in frames if int.from_bytes(frame[20:22], "big") & 0x3FFF]
    assert [f for f in frames if f not in fragments] == [
        f for f in judged if not int.from_bytes(f[20:22], "big") & 0x3FFF
    ]
    assert len(fragments) == len(judged) - (len(frames) - len(fragments)) > 4


def test_a_link_that_cuts_gets_few_frames() -> None:
    net = Net(features=LARGE)
    net.know()
    net.host.serve_udp(WORLD, 9)
    net.send(datagram(10))
    (flow,) = net.stack._udp.flows.values()
    for _ in range(100):
        flow.datagram(bytes(1400), WORLD, 9)
    flow.datagram(b"from elsewhere" * 2, OTHER, 9)
    flow.datagram(bytes(1400), WORLD, 9)
    net.stack.flush(net.now)
    sizes = [(frame.gso_size, len(b"".join(frame.parts))) for frame in net.wire.sent]
    assert sizes == [(1400, 42 + 46 * 1400), (1400, 42 + 46 * 1400), (1400, 42 + 8 * 1400), (0, 70), (0, 1442)]


def test_before_the_guest_is_known_datagrams_wait() -> None:
    net = Net(features=LARGE)
    net.stack.send_datagrams(WORLD, 9, GUEST, 5000, [bytes(100)] * 3)
    net.stack.flush(net.now)
    net.wire.sent.clear()
    net.send(eth(ipv4(17, udp_segment(b"x", 5000, 9)), source=GUEST_MAC, destination=GATEWAY_MAC))
    assert len([frame for frame in net.take() if frame.type == 0x800 and frame.data.p == 17]) == 3


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=200))
def test_runs(sizes: list[int]) -> None:
    payloads = [bytes(size) for size in sizes]
    index = 0
    while index < len(payloads):
        count = run_length(payloads, index)
        run = sizes[index : index + count]
        assert 1 <= count == len(run) <= 64
        if count > 1:
            assert set(run[:-1]) == {run[0]}
            assert 0 < run[-1] <= run[0]
            assert sum(run) <= 65000
        if index + count < len(sizes) and count < 64 and run[-1] == run[0]:  # why it has ended
            follows = sizes[index + count]
            assert not run[0] or not 0 < follows <= run[0] or sum(run) + follows > 65000
        index += count
