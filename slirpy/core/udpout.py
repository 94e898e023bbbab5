"""Datagrams to a guest, many at a time.

A link that segments UDP by itself gets runs of datagrams of one size as one large frame, as TCP's links get large
segments. Whoever looks at the guest's side sees the same datagrams either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING

from slirpy.core.neighbor import AGE
from slirpy.interfaces import Buffer, Frame
from slirpy.wire import ethernet, ipv4
from slirpy.wire.checksum import ones_sum
from slirpy.wire.udp import HEADER_LENGTH, run_length

if TYPE_CHECKING:
    from slirpy.core.stack import IPStack

__all__ = ["send_datagrams"]

_HEADERS = Struct("!12sHBBHHHBBH8sHHHH")
_TTL = 64
_from_bytes = int.from_bytes
_new_frame = tuple.__new__  # a third of the time of calling Frame, which every frame would pay
_CONSTANT_WORDS = 0x4500 + (_TTL << 8 | ipv4.UDP)
_CSUM_START, _CSUM_OFFSET = ethernet.HEADER_LENGTH + ipv4.HEADER_LENGTH, 6
_SHORTEST = ethernet.MIN_LENGTH - ethernet.HEADER_LENGTH - ipv4.HEADER_LENGTH - HEADER_LENGTH
"""Payloads below it need padding, which is left to the slow path."""


def send_datagrams(
    stack: IPStack,
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
    payloads: Sequence[Buffer],
) -> None:
    """Send UDP datagrams to a guest: what many calls of ``stack.send_datagram`` would do."""
    neighbor = stack.neighbors.get(destination)
    port = neighbor.port
    if port is None:
        for payload in payloads:
            stack.send_datagram(source, source_port, destination, destination_port, payload)
        return
    most = port.mtu - ipv4.HEADER_LENGTH - HEADER_LENGTH
    offload, cut = port.checksum_offload, port.udp_segmentation_offload
    macs = (neighbor.mac or ethernet.BROADCAST) + stack.mac_for(source)
    addresses = source + destination
    address_sum = _from_bytes(addresses, "big") % 65535
    # Who was not heard for long is asked for, which the neighbour table does.
    direct = neighbor.mac is not None and stack.now - neighbor.seen <= AGE
    ports = source_port + destination_port
    index = 0
    while index < len(payloads):
        payload = payloads[index]
        size = len(payload)
        if not _SHORTEST <= size <= most:
            stack.send_datagram(source, source_port, destination, destination_port, payload)
            index += 1
            continue
        if cut:
            count = run_length(payloads, index)
            run = payloads[index : index + count]
            length = HEADER_LENGTH + (size if count == 1 else sum(map(len, run)))
        else:
            count, run = 1, (payload,)
            length = HEADER_LENGTH + size
        index += count
        total = ipv4.HEADER_LENGTH + length
        checksum = address_sum + ipv4.UDP + length  # of the pseudo-header
        if not offload:
            # A checksum of zero would mean "none": its other form stands for it (RFC 768).
            checksum = -(checksum + ports + length + ones_sum(payload)) % 65535 or 0xFFFF
        header = _HEADERS.pack(
            macs, ethernet.TYPE_IPV4,
            0x45, 0, total, 0, 0, _TTL, ipv4.UDP, -(_CONSTANT_WORDS + address_sum + total) % 65535, addresses,
            source_port, destination_port, length, checksum % 65535 if offload else checksum,
        )  # fmt: skip
        if offload:
            frame = _new_frame(Frame, ((header, *run), size if count > 1 else 0, _CSUM_START, _CSUM_OFFSET))
        else:
            frame = _new_frame(Frame, ((header, payload), 0, 0, 0))
        if direct:
            port.push(frame, ethernet.HEADER_LENGTH + total)
        else:
            stack.neighbors.send(neighbor, frame, ethernet.HEADER_LENGTH + total)
