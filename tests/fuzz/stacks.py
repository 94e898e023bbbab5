"""Fuzzing of whole stacks: the input is a number of frames from guests, with time passing between them.

A record is a byte of switches, two bytes of length, and a frame, which may be cut short by the end of the input. The
switches save the fuzzer from having to find headers and checksums: see :func:`_records`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from slirpy.core.switchnet import SwitchNetwork
from slirpy.interfaces import LinkFeatures
from tests.property.fuzz_world import check_fate, fate, network, repair
from tests.support.frames6 import ROUTER_MAC, know6
from tests.support.harness import GATEWAY_MAC, GUEST_MAC, SECOND, Net, NoPoller, Wire, rfc1071, segments

__all__ = ["STACKS", "record"]

REPAIR, HEADER, WAIT, WAIT_LONG, SECOND_PORT = 1, 2, 4, 8, 16
MAX_RECORDS = 40
HEADERS = {4: GATEWAY_MAC + GUEST_MAC + b"\x08\x00", 6: ROUTER_MAC + GUEST_MAC + b"\x86\xdd"}


def record(frame: bytes, switches: int = 0) -> bytes:
    """A record of the input."""
    return bytes((switches,)) + len(frame).to_bytes(2, "big") + frame


def _records(data: bytes, family: int) -> Iterator[tuple[int, bytes]]:
    """Switches and frame of each record: with HEADER an Ethernet header is put before it, with REPAIR its checksums
    are made right.
    """
    at = 0
    for _ in range(MAX_RECORDS):
        if at + 3 > len(data):
            return
        switches, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        frame = bytearray(data[at + 3 : at + 3 + length])
        at += 3 + length
        if switches & HEADER:
            frame[:0] = HEADERS[family]
        if switches & REPAIR:
            repair(frame)
        yield switches, bytes(frame)


def _pass(net: Net, switches: int) -> None:
    if switches & (WAIT | WAIT_LONG):
        net.run(40.0 if switches & WAIT_LONG else 0.05)
    _complete(net.wire)


def _complete(wire: Wire) -> None:
    """Cut and complete frames as a link would, which proves that what was left to it is consistent.

    Frames of a guest whose IPv4 header has a wrong checksum are left out: the switch passes them on as they are.
    """
    sent, wire.sent = wire.sent, []
    for frame in sent:
        data = bytes(frame.parts[0])
        if frame.csum_start != 34 or rfc1071(data[14:34]) == 0xFFFF:
            segments(frame)


def _stack(data: bytes, family: int) -> None:
    net = network(Random(1), False, nat64=family == 6)
    if family == 6:
        know6(net)
    else:
        net.know()
    for switches, frame in _records(data, family):
        check_fate(frame, fate(net, frame))
        _pass(net, switches)
    net.run(1)
    net.take()
    net.stack.close()
    assert net.stack.tcp_flows == {}


def _offloads(data: bytes) -> None:
    """Two guests whose links leave checksums and segmentation to each other, and a stack between them."""
    net = network(Random(1), True)
    net.know()
    other = net.attach()
    for switches, frame in _records(data, 4 if len(data) & 1 else 6):
        net.send(frame, wire=other if switches & SECOND_PORT else None)
        _pass(net, switches)
        _complete(other)
    net.stack.close()


def _switch(data: bytes) -> None:
    """A switch without a stack, with guard and snooping, and a port for each kind of link."""
    net = SwitchNetwork(now=1000 * SECOND)
    features = (
        LinkFeatures(),
        LinkFeatures(checksum_offload=True, segmentation_offload=True),
        LinkFeatures(mtu=576),
    )
    wires = [Wire(each) for each in features]
    ports = [net.attach(wire, NoPoller()) for wire in wires]
    now = 1000 * SECOND
    for switches, frame in _records(data, 4 if len(data) & 1 else 6):
        net.tick(now)
        sizes = 0, 1, 1000, 1460
        ports[(switches >> 4 & 3) % len(ports)].input(frame, bool(switches & WAIT), sizes[switches >> 6])
        net.flush(now)
        now += 200 * SECOND if switches & WAIT_LONG else SECOND // 1000
        for wire in wires:
            wire.sent.clear()


STACKS: dict[str, Callable[[bytes], None]] = {
    "offloads": _offloads,
    "stack4": lambda data: _stack(data, 4),
    "stack6": lambda data: _stack(data, 6),
    "switch": _switch,
}
