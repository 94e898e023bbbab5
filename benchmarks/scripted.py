"""Scripted guests for measurements of slirpy itself, in one process and without privileges.

The guest is a script: its frames are made beforehand, and its acknowledgements between the measured parts, so that
only slirpy's work is counted. A :class:`BareStack` is the sans-I/O stack with a host network that transfers bytes at
no cost; a :class:`RealNetwork` is :class:`slirpy.Slirp` with the system's sockets.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import count
from random import Random
from unittest.mock import patch

from processes import BenchmarkError

from slirpy import Config, LinkFeatures, Slirp, Stack
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import Buffer, DatagramOwner, DatagramPeer, StreamOwner, StreamPeer
from slirpy.links import CallbackLink, tap
from slirpy.testing import SimHost

__all__ = [
    "MSS",
    "NAME",
    "OFFLOAD",
    "PLAIN",
    "BareStack",
    "Case",
    "Echo",
    "FreeHost",
    "Guest",
    "RealNetwork",
    "Sink",
    "Source",
    "TapNetwork",
    "client_hello",
    "ethernet",
    "first_contact",
]

MASK = 0xFFFFFFFF
GUEST_MAC = bytes.fromhex("525500000001")
ADDRESSES = {
    4: (ip_address("10.0.2.15").packed, ip_address("10.0.2.2").packed),
    6: (ip_address("fec0::15").packed, ip_address("fec0::2").packed),
}
"""Guest and gateway, by IP family."""
GUEST_PORT = 40000
FIN, SYN, PSH, ACK = 1, 2, 8, 16
MSS = {4: 1460, 6: 1440}
"""Largest payload of a segment without options at MTU 1500, by IP family."""
TIMESTAMPS = 12
WINDOW_SCALE = 7
WINDOW = 1 << 20
SPAN = 1 << 19
"""Bytes in one timed part: half of slirpy's window, so that it never closes."""
NAME = "server.example"
"""The name of the server in measurements of rules by name."""
PATIENCE = 20.0
TICK = 1_000_000
STEP = 20_000
"""Nanoseconds between two readings of the clock of a :class:`TapNetwork`: some three are a turn of the loop, which
the link takes for a pause."""

OFFLOAD = LinkFeatures(checksum_offload=True, segmentation_offload=True)
PLAIN = {family: mss - TIMESTAMPS for family, mss in MSS.items()}
"""Payload of a segment with timestamps, by IP family."""

_TCP = struct.Struct("!HHIIBBHHH")
_TIMESTAMP = struct.Struct("!HBBII")
VNET = struct.Struct("=BBHHHH")
"""The header of a TAP link's frames."""


@dataclass(frozen=True)
class Case:
    """A way to drive slirpy."""

    name: str
    size: int
    """Payload bytes per frame."""
    features: LinkFeatures | None = None
    batch: int = 1
    """Frames per flush: 1 as with ``Nic.send``, more as with a TAP link."""
    sockets: bool = False
    family: int = 4
    """IP family, 4 or 6."""
    tap: bool = False
    """The link is a TAP link."""
    config: Config | None = None
    """Configuration of a network with sockets; None: the default."""
    greeting: bytes = b"\0"
    """Data that the guest sends on each connection that :meth:`Guest.visit` makes."""


# -------------------------------------------------------------------- the ways to drive slirpy


class Sink:
    """A far end that accepts everything and sends nothing; its counterpart is :class:`Source`."""

    level_triggered = False

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Accept everything."""
        return sum(map(len, buffers))

    def recv(self, limit: int) -> bytes | None:
        """Return None: there is no data."""
        return None

    def shutdown(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Source(Sink):
    """A far end that always has data, made once for each size: even the copy is not counted.

    The data is random, because arithmetic on large integers takes less time for zeros.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}

    def recv(self, limit: int) -> bytes | None:
        """Return as much as requested."""
        block = self._blocks.get(limit)
        if block is None:
            block = self._blocks[limit] = Random(limit).randbytes(limit)
        return block


class Echo(Sink):
    """A far end that returns one byte for each call of :meth:`send`."""

    def __init__(self) -> None:
        self.owner: StreamOwner | None = None
        self._answers = 0
        self._ended = False

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Accept everything, and announce an answer."""
        self._answers += 1
        if self.owner is not None:
            self.owner.readable()
        return sum(map(len, buffers))

    def recv(self, limit: int) -> bytes | None:
        """Return the answer, or the end after :meth:`shutdown`."""
        if not self._answers:
            return b"" if self._ended else None
        self._answers -= 1
        return b"x"

    def shutdown(self) -> None:
        """End this direction as well."""
        self._ended = True
        if self.owner is not None:
            self.owner.readable()


class FreeDatagrams:
    """A UDP socket that discards everything at no cost, but for the last of single datagrams."""

    address = (bytes(4), 0)
    mtu = 0

    def __init__(self, sent: list[bytes]) -> None:
        self._sent = sent

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Discard a datagram."""
        self._sent[:] = [bytes(payload)]
        return 0

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        """Discard datagrams."""
        return len(payloads), 0

    def close(self) -> None:
        """Do nothing."""


class FreeHost(SimHost):
    """A host network whose connections and sockets cost nothing.

    Its peers are not those of the simulation, as the signatures promise, hence the ignored overrides.

    Attributes:
        datagrams: the owner of the UDP socket that was opened last.
        sent: the last datagram that was sent by itself.
    """

    def __init__(self, peer: StreamPeer) -> None:
        super().__init__(Random(1))
        self._peer = peer
        self.datagrams: DatagramOwner | None = None
        self.sent: list[bytes] = []

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> StreamPeer:  # type: ignore[override] # a scripted peer
        """Connect at once."""
        peer = self._peer
        if isinstance(peer, Echo):
            peer = Echo()
            peer.owner = owner
        owner.connected()
        owner.readable()
        return peer

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> DatagramPeer | int:  # type: ignore[override] # a scripted peer
        """Open a socket that discards everything."""
        self.datagrams = owner
        return FreeDatagrams(self.sent)


class BareStack:
    """The sans-I/O stack, driven as by ``Nic.send``, or in batches as by a TAP link."""

    def __init__(
        self, case: Case, on_frame: Callable[[bytes], object], peer: StreamPeer, config: Config | None = None
    ) -> None:
        self.host = FreeHost(peer)
        self._stack = Stack(config or Config(), self.host, random=Random(1))
        self._port = self._stack.attach(CallbackLink(on_frame, case.features), SelectorPoller())
        self._batch = case.batch
        self._checksummed = case.features is not None
        self._now = 0

    def send(self, frames: Sequence[bytes]) -> None:
        """Pass frames from the guest."""
        stack, port, batch, checksummed = self._stack, self._port, self._batch, self._checksummed
        self._now += TICK
        now = self._now
        for start in range(0, len(frames), batch):
            stack.tick(now)
            for frame in frames[start : start + batch]:
                stack.input(port, frame, checksummed)
            stack.flush(now)

    def carry_on(self) -> None:
        """Process pending work without a frame."""
        self._now += TICK
        self._stack.flush(self._now)

    def close(self) -> None:
        """Close the stack."""
        self._stack.close()


class RealNetwork:
    """The complete :class:`slirpy.Slirp` with the system's sockets.

    Attributes:
        net: the network.
    """

    def __init__(self, case: Case, on_frame: Callable[[bytes], object]) -> None:
        self.net = Slirp(case.config or Config(), random=Random(1))
        self._nic = self.net.attach(on_frame, features=case.features)
        self._checksummed = case.features is not None

    def send(self, frames: Sequence[bytes]) -> None:
        """Pass frames from the guest."""
        send, checksummed = self._nic.send, self._checksummed
        for frame in frames:
            send(frame, checksummed=checksummed)

    def carry_on(self) -> None:
        """Process the sockets. Waiting takes no processor time."""
        self.net.poll(0.01)

    def close(self) -> None:
        """Close the network."""
        self.net.close()


class TapNetwork(RealNetwork):
    """The complete :class:`slirpy.Slirp` with the system's sockets and a TAP link, as ``slirpy run`` drives it.

    The interface is a socket that keeps the boundaries of its messages, so that no privileges are needed.
    """

    def __init__(self, case: Case, on_frame: Callable[[bytes], object]) -> None:
        # Below callgrind the real clock would let timers expire. This one moves with the work.
        self._clock = partial(next, count(1, STEP))
        self.net = Slirp(case.config or Config(), random=Random(1), clock=self._clock)
        self._far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._far.setblocking(False)
        near.setblocking(False)
        with patch.object(tap, "probe", lambda fd: (VNET.size, True, True)):
            self.net.attach_link(tap.TapLink(near.detach()))
        self._on_frame = on_frame
        self._taken = 0
        self._patched = patch.object(tap, "monotonic_ns", self._clock)
        self._patched.start()
        self.net.poll(0)

    def send(self, frames: Sequence[bytes]) -> None:
        """Pass frames from the guest."""
        for frame in frames:
            self._far.send(VNET.pack(1, 0, 0, 0, 0, 0) + frame)
            self.carry_on()

    def carry_on(self) -> None:
        """Process the link and the sockets."""
        self.net.poll(0.01)
        # Without asking for one more than there are: the exception would be counted with slirpy's work.
        written = self.net.stats.frames_out
        for _ in range(written - self._taken):
            self._on_frame(self._far.recv(1 << 16)[VNET.size :])
        self._taken = written

    def close(self) -> None:
        """Close the network."""
        super().close()
        self._patched.stop()
        self._far.close()


# -------------------------------------------------------------------------------- the guest


def fold(data: bytes) -> int:
    """Return the ones' complement sum; ``data`` has an even length."""
    return int.from_bytes(data, "big") % 65535


def ethernet(
    family: int, mac: bytes, protocol: int, length: int, hop_limit: int = 64, destination: bytes | None = None
) -> bytes:
    """Return the Ethernet and IP headers of a packet with ``length`` bytes of payload, to the gateway by default."""
    source, gateway = ADDRESSES[family]
    destination = destination or gateway
    macs = mac + GUEST_MAC
    if family == 6:
        return (
            macs
            + b"\x86\xdd"
            + struct.pack("!IHBB", 6 << 28, length, protocol, hop_limit)
            + source
            + destination
        )
    words = 0x4500, 20 + length, 0, 0x4000, hop_limit << 8 | protocol
    header_sum = fold(struct.pack("!5H", *words) + source + destination)
    return macs + b"\x08\x00" + struct.pack("!6H", *words, -header_sum % 65535) + source + destination


def first_contact(family: int) -> bytes:
    """Return the frame that asks for the gateway's MAC address, and introduces the guest."""
    source, destination = ADDRESSES[family]
    if family == 4:
        request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, GUEST_MAC, source, bytes(6), destination)
        return bytes([255] * 6) + GUEST_MAC + b"\x08\x06" + request
    tail = destination[13:]
    group = ip_address("ff02::1:ff00:0").packed[:13] + tail
    solicitation = bytes([135, 0, 0, 0, 0, 0, 0, 0]) + destination + b"\1\1" + GUEST_MAC
    total = fold(source + group + struct.pack("!II", len(solicitation), 58) + solicitation)
    header = struct.pack("!IHBB", 6 << 28, len(solicitation), 58, 255) + source + group
    checksum = (-total % 65535).to_bytes(2, "big")
    return b"\x33\x33\xff" + tail + GUEST_MAC + b"\x86\xdd" + header + b"\x87\0" + checksum + solicitation[4:]


def client_hello() -> bytes:
    """Return OpenSSL's ClientHello to :data:`NAME`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class Guest:
    """A scripted TCP connection: it tracks its numbers, and trusts the other side.

    Args:
        case: how to drive slirpy.
        port: destination port of the connection.
        peer: the far end. None: the system's sockets.
        measured: calls its argument, and measures that.
    """

    def __init__(
        self,
        case: Case,
        port: int,
        peer: StreamPeer | None,
        measured: Callable[[Callable[[], object]], object],
    ) -> None:
        self.received: list[bytes] = []
        take = self.received.append
        self.network: BareStack | RealNetwork
        if peer is not None:
            self.network = BareStack(case, take, peer)
        else:
            self.network = TapNetwork(case, take) if case.tap else RealNetwork(case, take)
        self.measured = measured
        """Calls its argument, and measures that."""
        mss = MSS[case.family]
        self._linux_options = struct.pack("!BBHBBBBIIBBBB", 2, 4, mss, 4, 2, 8, 10, 1, 0, 1, 3, 3, WINDOW_SCALE)
        self._port = port
        self._own_port = GUEST_PORT
        self._family = case.family
        self._transport = 34 if case.family == 4 else 54
        self.mac = b""
        self._scale = 0
        self.seq, self.ack = 1000, 0
        self._payload = Random(case.size).randbytes(case.size)
        self._greeting = case.greeting
        self._offload = case.features is not None

    def frame(self, flags: int, payload: bytes = b"", option: bytes | None = None) -> bytes:
        """Make the next segment."""
        if option is None:
            option = _TIMESTAMP.pack(0x0101, 8, 10, 1, 0)
        length = _TCP.size + len(option) + len(payload)
        fields = [
            self._own_port, self._port, self.seq, self.ack, (20 + len(option)) << 2, flags,
            WINDOW >> WINDOW_SCALE if flags & ACK else 0xFFFF, 0, 0,
        ]  # fmt: skip
        self.seq = (self.seq + len(payload) + (flags >> 1 & 1) + (flags & FIN)) & MASK
        if not self._offload:
            words = b"".join(ADDRESSES[self._family]) + _TCP.pack(*fields) + option + payload
            fields[7] = -(fold(words + bytes(len(words) % 2)) + 6 + length) % 65535
        header = _TCP.pack(*fields)
        return ethernet(self._family, self.mac, 6, length) + header + option + payload

    def find_gateway(self) -> None:
        """Ask for the gateway's MAC address."""
        self.network.send([first_contact(self._family)])
        kind, at = (b"\x08\x06", 12) if self._family == 4 else (b"\x88", 54)  # ARP, or a neighbor advertisement
        answer = next(frame for frame in self.received if frame[at : at + len(kind)] == kind)
        self.mac = answer[6:12]
        self.received.clear()

    def connect(self, *, sack: bool = False) -> None:
        """Ask for the gateway, unless that was done, and perform the handshake; with ``sack``, as Linux does."""
        if not self.mac:
            self.find_gateway()
        measured, self.measured = self.measured, lambda work: work()
        mss = MSS[self._family]
        self._open(
            self._linux_options
            if sack
            else struct.pack("!BBHBBBBIII", 2, 4, mss, 1, 3, 3, WINDOW_SCALE, 0x0101080A, 1, 0)
        )
        self.measured = measured
        self.network.send([self.frame(ACK)])

    def _open(self, options: bytes) -> None:
        """Send a SYN, and wait for its answer."""

        def work(frames: Sequence[bytes]) -> None:
            self.network.send(frames)
            self._until(lambda: bool(self._segments()), "SYN,ACK")

        self._measured(work, [self.frame(SYN, option=options)])
        answer = self._segments()[0]
        self.received.clear()
        at = self._transport
        assert answer[at + 13] == SYN | ACK, answer.hex()
        self.ack = (int.from_bytes(answer[at + 4 : at + 8], "big") + 1) & MASK
        self._scale = answer[answer.index(b"\3\3", at + 20) + 2]

    def _measured(self, work: Callable[[Sequence[bytes]], object], frames: Sequence[bytes]) -> None:
        self.measured(lambda: work(frames))

    def _segments(self) -> list[bytes]:
        """Return the received segments, without advertisements of routers and the like."""
        at = 23 if self._family == 4 else 20
        return [frame for frame in self.received if frame[at] == 6]

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise BenchmarkError(f"scripted guest: no {what} within {PATIENCE:.0f} s")
            self.network.carry_on()

    def upload(self, size: int) -> tuple[int, int]:
        """Send at least ``size`` bytes; returns the frames and bytes sent."""
        frames = moved = 0
        payload = self._payload
        window = len(payload)
        while moved < size:
            count = max(min(window, SPAN) // len(payload), 1)
            batch = [self.frame(ACK | PSH, payload) for _ in range(min(count, SPAN // PLAIN[self._family]))]
            self.received.clear()

            def work(batch: Sequence[bytes] = batch) -> None:
                self.network.send(batch)
                self._until(self._acknowledged, "acknowledgement")

            self.measured(work)
            window = self._window()
            frames += len(batch)
            moved += len(batch) * len(payload)
        return frames, moved

    def _acknowledged(self) -> bool:
        """Report whether everything has arrived and there is room for more."""
        segments = self._segments()
        if not segments:
            return False
        at = self._transport + 8
        return int.from_bytes(segments[-1][at : at + 4], "big") == self.seq and self._window() >= len(
            self._payload
        )

    def _window(self) -> int:
        """Return the window that slirpy offers now; it begins with 64 KiB, and grows."""
        at = self._transport + 14
        return int.from_bytes(self._segments()[-1][at : at + 2], "big") << self._scale

    def download(self, size: int) -> tuple[int, int]:
        """Receive at least ``size`` bytes, as ``upload``; every second segment is acknowledged, as by a kernel."""
        frames = moved = 0
        at = self._transport
        while moved < size:
            acks = []
            arrived, self.received[:] = self._segments(), []
            for number, frame in enumerate(arrived):
                length = len(frame) - at - (frame[at + 12] >> 4) * 4
                if int.from_bytes(frame[at + 4 : at + 8], "big") != self.ack:
                    raise BenchmarkError("scripted guest: slirpy sent a segment twice")
                self.ack = (self.ack + length) & MASK
                moved += length
                frames += 1
                if self._offload or number & 1 or number == len(arrived) - 1:
                    acks.append(self.frame(ACK))

            def work(acks: Sequence[bytes] = acks) -> None:
                self.network.send(acks)
                self._until(lambda: bool(self.received), "data")

            self.measured(work)
        return frames, moved

    def exchange(self, count: int) -> None:
        """Send a byte and receive one, ``count`` times, against an :class:`Echo`."""
        at = self._transport
        for _ in range(count):
            self.received.clear()
            frames = [self.frame(ACK | PSH, b"\0")]
            self.measured(lambda frames=frames: self.network.send(frames))  # type: ignore[misc] # mypy infers no lambda with a default
            for segment in self._segments():
                length = len(segment) - at - (segment[at + 12] >> 4) * 4
                self.ack = (self.ack + (length if segment[at + 13] & PSH else 0)) & MASK

    def converse(self, server: socket.socket, count: int) -> None:
        """Send a byte to a server and receive its answer, ``count`` times."""
        for _ in range(count):
            self._measured(self.network.send, [self.frame(ACK | PSH, b"\0")])
            server.send(server.recv(1))
            self._await(PSH)

    def visit(self, server: Callable[[], object]) -> None:
        """Open another connection, with the options of Linux, get an answer to the greeting, and close it.

        The guest closes first.

        Args:
            server: lets the far side do what is next: accept, answer, close.
        """
        self._own_port += 1
        self.seq += 1 << 16
        self._open(self._linux_options)
        server()
        self._measured(self.network.send, [self.frame(ACK)])
        self._measured(self.network.send, [self.frame(ACK | PSH, self._greeting)])
        server()
        self._await(PSH)
        self._measured(self.network.send, [self.frame(ACK | FIN)])
        server()
        self._await(FIN)
        self._measured(self.network.send, [self.frame(ACK)])

    def _await(self, flag: int) -> None:
        """Wait for a segment with this flag."""
        at = self._transport

        def arrived() -> bool:
            return any(segment[at + 13] & flag for segment in self._segments())

        if not arrived():
            self.measured(lambda: self._until(arrived, "answer"))
        for segment in self._segments():
            length = len(segment) - at - (segment[at + 12] >> 4) * 4
            flags = segment[at + 13]
            if flags & (PSH | FIN):
                self.ack = (self.ack + (length if flags & PSH else 0) + (flags & FIN)) & MASK
        self.received.clear()
