"""A network for fuzzers: small tables that are full soon, an outside that answers, and checks that nothing grows."""

from __future__ import annotations

import abc
import gc
import os
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import pytest

from slirpy.core import fragments as fragments_module
from slirpy.core import neighbor as neighbor_module
from slirpy.interfaces import LinkFeatures
from slirpy.nat import icmp as icmp_module
from slirpy.nat import tcp as tcp_module
from slirpy.nat import udp as udp_module
from slirpy.testing import Echo, SimUdpServer
from tests.support.frames6 import WORLD6, ip6
from tests.support.harness import WORLD, Net, config, ip, pseudo, rfc1071, transport_sum

SEED = int(os.environ.get("SLIRPY_FUZZ_SEED", "20240229"))
FRAMES = 100_000
STRESS_FRAMES = int(os.environ.get("SLIRPY_FUZZ_FRAMES", "10000000"))
BATCH = 16
MAX_FLOWS = 64
"""Small tables are full soon, and stay so: growth would be seen."""
MAX_LEASES = 256
"""Of each family."""

SEVERAL = {
    "drop_fragment_bad", "drop_fragment_limit", "drop_fragment_overtaken", "drop_tcp_out_of_window",
    "drop_tcp_after_fin",
}  # fmt: skip
"""Counters that do not count alone: fragments end with others of their packet, the ACK of a segment whose text a
closed window refuses is looked at by itself, and the text before a FIN that is none may be no message."""
CHECKSUM_AT = {6: 16, 17: 6, 58: 2}
"""Offset of the checksum in TCP, UDP and ICMPv6."""

Maker = Callable[[], bytes]


class Guest(abc.ABC):
    """Makes frames that are valid, or nearly so, for a network in whatever state it has come to."""

    def __init__(self, net: Net, random: Random) -> None:
        self.net = net
        self.random = random
        # Frames that do not depend on the state are made beforehand: building them is what costs.
        self._makers = [maker for maker, weight in self.kinds() for _ in range(weight * 12)]
        self.pool = [maker() for maker in self._makers]

    @abc.abstractmethod
    def kinds(self) -> list[tuple[Maker, int]]:
        """Makers of the frames of the pool, with weights."""

    @abc.abstractmethod
    def frame(self) -> bytes:
        """The next frame."""

    @abc.abstractmethod
    def knock(self) -> None:
        """Let the outside send something to forwarded ports."""

    def refresh(self) -> None:
        """Make one of the pool's frames anew."""
        at = self.random.randrange(len(self.pool))
        self.pool[at] = self._makers[at]()

    def damage(self, frame: bytes, fix: bool) -> bytes:
        """Cut, stretch or change a frame; with ``fix`` it is repaired, so that it goes deep."""
        random = self.random
        how = random.randrange(5)
        out = bytearray(frame)
        if how == 0:
            del out[random.randrange(len(out) + 1) :]
        elif how == 1:
            out += random.randbytes(random.randrange(1, 40))
        elif how == 2 and len(out) > 60:
            at = random.randrange(14, len(out))
            del out[at : at + random.randrange(1, 9)]
        else:
            for _ in range(random.choice((1, 1, 2, 5))):
                if out:  # mostly in the headers, mostly values that matter
                    at = random.randrange(min(len(out), random.choice((34, 54, 80, 2000))))
                    out[at] = random.choice(
                        (0, 0xFF, 0x80, out[at] ^ 1 << random.randrange(8), random.randrange(256))
                    )
        if fix:
            repair(out)
        return bytes(out)


def checksum(data: bytes) -> int:
    """The Internet checksum, by a division: most of the fuzzer's time would be spent with addition."""
    value = int.from_bytes(data + b"\0" * (len(data) & 1), "big") % 0xFFFF
    return 0xFFFF - value


def packed(protocol: int, payload: bytes, source: bytes, destination: bytes) -> bytes:
    """A payload of IPv6 with its checksum."""
    at = CHECKSUM_AT[protocol]
    if len(payload) < at + 2:
        return payload
    value = checksum(pseudo(source + destination, len(payload), protocol) + payload)
    return payload[:at] + value.to_bytes(2, "big") + payload[at + 2 :]


def repair(out: bytearray) -> None:
    """Make the checksums of a damaged frame right again."""
    if len(out) >= 34 and out[12:14] == b"\x08\x00":
        _repair4(out)
    elif len(out) >= 60 and out[12:14] == b"\x86\xdd":
        _repair6(out)


def _repair4(out: bytearray) -> None:
    size = (out[14] & 15) * 4
    if not 20 <= size <= len(out) - 14:
        return
    out[24:26] = b"\0\0"
    out[24:26] = rfc1071(bytes(out[14 : 14 + size])).to_bytes(2, "big")
    where = {6: 16, 17: 6, 1: 2}.get(out[23])
    total = min(int.from_bytes(out[16:18], "big"), len(out) - 14)
    if where is not None and total >= size + where + 2:
        at = 14 + size + where
        out[at : at + 2] = b"\0\0"
        packet = bytes(out[14 : 14 + total])
        packet = packet[:2] + total.to_bytes(2, "big") + packet[4:]
        value = transport_sum(packet) if out[23] != 1 else rfc1071(packet[size:])
        out[at : at + 2] = value.to_bytes(2, "big")


def _repair6(out: bytearray) -> None:
    length, protocol = int.from_bytes(out[18:20], "big"), out[20]
    if protocol in CHECKSUM_AT and len(out) >= 54 + length:
        source, destination = bytes(out[22:38]), bytes(out[38:54])
        payload = bytearray(out[54 : 54 + length])
        at = CHECKSUM_AT[protocol]
        payload[at : at + 2] = b"\0\0"
        out[54 : 54 + length] = packed(protocol, bytes(payload), source, destination)[:length]


def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the bounds of tables of the networks to come."""
    for name in ("MAX_FLOWS", "MAX_OPENING", "MAX_TIME_WAIT"):
        monkeypatch.setattr(tcp_module, name, MAX_FLOWS)
    monkeypatch.setattr(udp_module, "MAX_FLOWS", MAX_FLOWS)
    monkeypatch.setattr(icmp_module, "MAX_FLOWS", MAX_FLOWS)
    monkeypatch.setattr(neighbor_module, "MAX_NEIGHBORS", 100)
    monkeypatch.setattr(fragments_module, "MAX_BYTES", 1 << 16)


def network(random: Random, checksummed: bool, **options: Any) -> Net:
    """A network with forwards, before an outside with servers of both families."""
    features = LinkFeatures(checksum_offload=True, segmentation_offload=True) if checksummed else None
    rules = ["tcp:127.0.0.1:7001-:80", "udp:127.0.0.1:7002-:7000"]
    plan = config(**{"hostfwd": rules, "resolvers": ["192.0.2.53"], **options})
    net = Net(plan, features=features, checksummed=checksummed, seed=random.getrandbits(30))
    net.stack._leases.v6.table._limit = MAX_LEASES
    for world, loopback in ((WORLD, ip("127.0.0.1")), (WORLD6, ip6("::1"))):
        net.servers += [net.host.serve_tcp(world, 80, Echo), net.host.serve_tcp(loopback, None, Echo)]
        net.host.black_hole(loopback, 8009)
        net.host.answer_ping(world)
    net.host.serve_udp(None, 9, lambda payload, *_: payload * 3)
    net.host.path(None, [ip("192.0.2.254"), ip("192.0.2.253")], mtu=1200)
    net.host.path(WORLD6, [ip6("2001:db8:fe::1"), ip6("2001:db8:fd::1")], mtu=1300)
    net.host.short_sends = net.host.short_recvs = 0.1
    return net


def forget(net: Net) -> None:
    """Forget the records that the simulation keeps for tests, which would grow."""
    net.host.calls.clear()
    for server in net.servers:
        server.connections.clear()
    for listener in net.host._udp.values():
        if isinstance(listener, SimUdpServer):
            listener.received.clear()


def take(net: Net) -> None:
    """Let the guests read their frames. This also proves that what was left to the links is consistent."""
    for wire in net._ports:
        net.raw(wire)
    forget(net)


def calm(net: Net) -> None:
    """Let all links take frames, and forget what has come."""
    for wire in net._ports:
        wire.give(None)
    net.run(0.1)
    take(net)


def bounded(net: Net) -> None:
    """Every table is within its bound."""
    stack = net.stack
    kinds = stack._tcp.opening, stack._tcp.open, stack._tcp.over
    assert max(map(len, kinds)) <= MAX_FLOWS
    assert len(stack.tcp_flows) == sum(map(len, kinds))
    assert len(stack._udp.flows) <= MAX_FLOWS
    assert len(stack._ping.flows) <= MAX_FLOWS
    assert len(stack.neighbors._table) <= neighbor_module.MAX_NEIGHBORS
    assert stack.fragments._cost <= fragments_module.MAX_BYTES
    assert stack.fragments6._cost <= fragments_module.MAX_BYTES
    assert net.timer() <= 3 * 1024
    assert all(len(port._waiters) <= 3 * MAX_FLOWS for port in stack.ports)
    assert len(stack.leases()) <= 2 * MAX_LEASES
    assert len(net.host._open) <= 4 * MAX_FLOWS + 1200  # and DNS queries under way
    for neighbor in stack.neighbors._table.values():
        assert len(neighbor.pending) <= neighbor_module.PENDING_FRAMES


def run(guest: Guest, frames: int) -> None:
    """Feed so many frames, in batches, with time passing and the outside at work."""
    net, random = guest.net, guest.random
    wires = list(net._ports)
    done = 0
    while done < frames:
        count = min(BATCH, frames - done)
        net.send(*[guest.frame() for _ in range(count)], wire=random.choice(wires))
        guest.refresh()
        done += count
        chance = random.random()
        if chance < 0.05:
            net.run(random.choice((0.001, 0.05, 0.5, 3.0, 40.0)))
        elif chance < 0.10:
            guest.knock()
        elif chance < 0.12:
            random.choice(wires).give(random.choice((None, None, 0, 5)))
        if chance < 0.3:
            take(net)
        if chance < 0.01:
            bounded(net)
    bounded(net)


def fuzz(guest: Guest, frames: int) -> None:
    """Feed so many frames, and check that the second half of them leaves no more objects behind than the first."""
    net, half = guest.net, frames // 2

    def objects() -> int:
        calm(net)
        gc.collect()
        return len(gc.get_objects())

    run(guest, half)
    before = objects()
    run(guest, frames - half)
    after = objects()
    assert net.stats.frames_in == frames
    # Tables are full at either moment; what is in them differs by chance, and is bounded.
    assert abs(after - before) < 8_000, (before, after)


class Fate(NamedTuple):
    """Fate of one frame."""

    counted: dict[str, int]
    """Counters that have risen, but for those of all frames, and by how much."""
    silent: bool
    """True if there is no other trace: neither a counter, nor a call, nor a frame, nor a fragment that is kept."""


def fate(net: Net, frame: bytes) -> Fate:
    """Feed one frame, and find what became of it."""
    before, calls, sent = net.stats.as_dict(), len(net.host.calls), len(net.wire.sent)
    held = net.stack.fragments._cost, net.stack.fragments6._cost
    net.send(frame)
    after = net.stats.as_dict()
    counted = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    for name in ("frames_in", "bytes_in"):
        counted.pop(name, None)
    traces = counted or len(net.host.calls) > calls or len(net.wire.sent) > sent
    return Fate(counted, not traces and held == (net.stack.fragments._cost, net.stack.fragments6._cost))


def check_fate(frame: bytes, fate: Fate) -> None:
    """Check that a frame did not vanish, and was not dropped twice; and that counters count upwards.

    Silent are ARP that asks nothing, advertisements that are believed, a question for routers whose answer to all has
    to wait, reports of groups, and TCP segments that a connection took without a word. The loss of fragments may be
    that of others.
    """
    assert min(fate.counted.values(), default=1) > 0, (fate.counted, frame.hex())
    drops = {name: count for name, count in fate.counted.items() if name.startswith("drop_")}
    assert sum(drops.values()) <= 1 or SEVERAL.intersection(drops), (drops, frame.hex())
    if not fate.silent or frame[12:14] == b"\x08\x06":
        return
    if frame[12:14] == b"\x08\x00":
        assert frame[23] == 6, frame.hex()
        return
    assert frame[12:14] == b"\x86\xdd", frame.hex()
    kind = frame[54] if frame[20] == 58 else frame[62] if not frame[20] else 0
    assert frame[20] == 6 or kind in (133, 136, 131, 132, 143), frame.hex()


def check_ended(net: Net) -> None:
    """Close the network, and check that nothing is left of it."""
    net.stack.close()
    assert net.stack.tcp_flows == {}
    net.run(700)
    assert net.timer() == 0
    assert [item for item in net.host._open if not hasattr(item, "accept")] == []
