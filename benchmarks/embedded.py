"""Cost of a TCP segment within slirpy itself, in one process and without privileges.

The guest is a script: its frames are made beforehand, and its acknowledgements between the timed parts, so that only
slirpy's work is counted, in processor time. "No sockets" is the sans-I/O stack with a host network that transfers
bytes at no cost; "sockets" is :class:`slirpy.Slirp` with a server in another process. The kernel charges part of
that server's loopback work to this process.
"""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from processes import BenchmarkError, Endpoint
from report import Bar, Report, count, main, show

from slirpy import Config, LinkFeatures, Slirp, Stack
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import Buffer, StreamOwner, StreamPeer
from slirpy.links import CallbackLink
from slirpy.testing import SimHost

MASK = 0xFFFFFFFF
GUEST_MAC = bytes.fromhex("525500000001")
GUEST, GATEWAY = bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2])
GUEST_PORT = 40000
SYN, PSH, ACK = 2, 8, 16
MSS = 1460
TIMESTAMPS = 12
WINDOW_SCALE = 7
WINDOW = 1 << 20
SPAN = 1 << 19
"""Bytes in one timed part: half of slirpy's window, so that it never closes."""
PATIENCE = 20.0
BAR_US, BAR_GBITS = 8.0, 8.0
TICK = 1_000_000

_FRAME = struct.Struct("!6s6sHBBHHHBBH4s4sHHIIBBHHH")
_TIMESTAMP = struct.Struct("!HBBII")
_CHECKSUM_AT = 50


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--mib", type=count, default=32, help="MiB to transfer in each measurement")
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    size: int
    """Payload bytes per frame."""
    features: LinkFeatures | None = None
    batch: int = 1
    """Frames per flush: 1 as with ``Nic.send``, more as with a TAP link."""
    sockets: bool = False


PLAIN = MSS - TIMESTAMPS
OFFLOAD = LinkFeatures(checksum_offload=True, segmentation_offload=True)
LARGE = 65160 // PLAIN * PLAIN
CASES = (
    Case("1500-byte segments, checksums", PLAIN),
    Case("1500-byte segments, checksums, 16 to a flush", PLAIN, batch=16),
    Case("64 KiB frames, offloads", LARGE, OFFLOAD),
    Case("64 KiB frames, offloads, 8 to a flush", LARGE, OFFLOAD, batch=8),
    Case("1500-byte segments, checksums", PLAIN, sockets=True),
    Case("64 KiB frames, offloads", LARGE, OFFLOAD, sockets=True),
)


# -------------------------------------------------------------------- the ways to drive slirpy


class Sink:
    """A far end that accepts everything and sends nothing; its counterpart is :class:`Source`."""

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
    """A far end that always has data, made once for each size: even the copy is not counted."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}

    def recv(self, limit: int) -> bytes | None:
        """Return as much as requested."""
        block = self._blocks.get(limit)
        if block is None:
            block = self._blocks[limit] = bytes(limit)
        return block


class FreeHost(SimHost):
    """A host network whose connections cost nothing.

    Its peers are not those of the simulation, as the signature promises, hence the ignored override.
    """

    def __init__(self, peer: StreamPeer) -> None:
        super().__init__(Random(1))
        self._peer = peer

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> StreamPeer:  # type: ignore[override]
        """Connect at once."""
        owner.connected()
        owner.readable()
        return self._peer


class BareStack:
    """The sans-I/O stack, driven as by ``Nic.send``, or in batches as by a TAP link."""

    def __init__(self, case: Case, on_frame: Callable[[bytes], object], source: bool) -> None:
        self._stack = Stack(Config(), FreeHost(Source() if source else Sink()), random=Random(1))
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
    """The complete :class:`slirpy.Slirp` with the system's sockets."""

    def __init__(self, case: Case, on_frame: Callable[[bytes], object]) -> None:
        self._net = Slirp(Config(), random=Random(1))
        self._nic = self._net.attach(on_frame, features=case.features)
        self._checksummed = case.features is not None

    def send(self, frames: Sequence[bytes]) -> None:
        """Pass frames from the guest."""
        send, checksummed = self._nic.send, self._checksummed
        for frame in frames:
            send(frame, checksummed=checksummed)

    def carry_on(self) -> None:
        """Process the sockets. Waiting takes no processor time."""
        self._net.poll(0.01)

    def close(self) -> None:
        """Close the network."""
        self._net.close()


# -------------------------------------------------------------------------------- the guest


def fold(data: bytes) -> int:
    """Return the ones' complement sum; ``data`` has an even length."""
    return int.from_bytes(data, "big") % 65535


class Guest:
    """A scripted TCP connection: it tracks its numbers, and trusts the other side."""

    def __init__(self, case: Case, port: int, source: bool) -> None:
        self.received: list[bytes] = []
        self.network = (
            RealNetwork(case, self.received.append)
            if case.sockets
            else BareStack(case, self.received.append, source)
        )
        self._port = port
        self._mac = b""
        self._scale = 0
        self.seq, self.ack = 1000, 0
        self._payload = bytes(case.size)
        self._offload = case.features is not None

    def frame(self, flags: int, payload: bytes = b"", option: bytes | None = None) -> bytes:
        """Make the next segment."""
        if option is None:
            option = _TIMESTAMP.pack(0x0101, 8, 10, 1, 0)
        total = 40 + len(option) + len(payload)
        segment_length = total - 20
        header_sum = fold(struct.pack("!HHHHH", 0x4500, total, 0x4000, 0x4006, 0) + GUEST + GATEWAY)
        front = _FRAME.pack(
            self._mac, GUEST_MAC, 0x0800, 0x45, 0, total, 0, 0x4000, 64, 6, -header_sum % 65535, GUEST, GATEWAY,
            GUEST_PORT, self._port, self.seq, self.ack, (20 + len(option)) << 2, flags,
            WINDOW >> WINDOW_SCALE if flags & ACK else 0xFFFF, 0, 0,
        )  # fmt: skip
        self.seq = (self.seq + len(payload) + (flags >> 1 & 1)) & MASK
        frame = bytearray(front + option + payload)
        if not self._offload:
            # The payload is all zero, so its sum is too.
            value = -(fold(bytes(frame[26 : 54 + len(option)])) + 6 + segment_length) % 65535
            frame[_CHECKSUM_AT : _CHECKSUM_AT + 2] = value.to_bytes(2, "big")
        return bytes(frame)

    def connect(self) -> None:
        """Perform ARP and the handshake."""
        request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), GATEWAY)
        self.network.send([bytes([255] * 6) + GUEST_MAC + b"\x08\x06" + request])
        self._mac = self.received.pop()[6:12]
        syn = struct.pack("!BBHBBBBII", 2, 4, MSS, 1, 3, 3, WINDOW_SCALE, 0x0101080A, 1) + bytes(4)
        self.network.send([self.frame(SYN, option=syn)])
        self._until(lambda: bool(self.received), "SYN,ACK")
        answer = self.received.pop(0)
        assert answer[47] == SYN | ACK, answer.hex()
        self.ack = (int.from_bytes(answer[38:42], "big") + 1) & MASK
        self._scale = answer[answer.index(b"\3\3", 54) + 2]
        self.network.send([self.frame(ACK)])

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise BenchmarkError(f"embedded: no {what} within {PATIENCE:.0f} s")
            self.network.carry_on()

    def upload(self, size: int) -> tuple[int, int, int]:
        """Send at least ``size`` bytes; returns nanoseconds of processor time, frames and bytes sent."""
        spent = frames = moved = 0
        payload = self._payload
        window = len(payload)
        while moved < size:
            batch = [self.frame(ACK | PSH, payload) for _ in range(max(min(window, SPAN) // len(payload), 1))]
            self.received.clear()
            start = time.process_time_ns()
            self.network.send(batch)
            self._until(self._acknowledged, "acknowledgement")
            spent += time.process_time_ns() - start
            window = self._window()
            frames += len(batch)
            moved += len(batch) * len(payload)
        return spent, frames, moved

    def _acknowledged(self) -> bool:
        """Whether everything has arrived and there is room for more."""
        if not self.received:
            return False
        return int.from_bytes(self.received[-1][42:46], "big") == self.seq and self._window() >= len(
            self._payload
        )

    def _window(self) -> int:
        """Return the window that slirpy offers now; it begins with 64 KiB, and grows."""
        return int.from_bytes(self.received[-1][48:50], "big") << self._scale

    def download(self, size: int) -> tuple[int, int, int]:
        """Receive at least ``size`` bytes, as ``upload``; every second segment is acknowledged, as by a kernel."""
        spent = frames = moved = 0
        while moved < size:
            acks = []
            arrived, self.received[:] = list(self.received), []
            for number, frame in enumerate(arrived):
                length = len(frame) - 14 - 20 - (frame[46] >> 4) * 4
                if int.from_bytes(frame[38:42], "big") != self.ack:
                    raise BenchmarkError("embedded: slirpy sent a segment twice")
                self.ack = (self.ack + length) & MASK
                moved += length
                frames += 1
                if self._offload or number & 1 or number == len(arrived) - 1:
                    acks.append(self.frame(ACK))
            start = time.process_time_ns()
            self.network.send(acks)
            self._until(lambda: bool(self.received), "data")
            spent += time.process_time_ns() - start
        return spent, frames, moved


# ------------------------------------------------------------------------------ measurements


def cost(case: Case, direction: str, mib: int) -> tuple[float, float]:
    """Return the microseconds of processor time per frame, and payload bytes of the average frame."""
    source = direction == "host to guest"
    server = Endpoint() if case.sockets else None
    port = server.ask("serve", kind="source" if source else "sink")["port"] if server is not None else 80
    guest = Guest(case, port, source)
    try:
        guest.connect()
        move = guest.download if source else guest.upload
        move(4 << 20)  # until the congestion window is open and the interpreter has warmed up
        spent, frames, moved = move(mib << 20)
        return spent / frames / 1000, moved / frames
    finally:
        guest.network.close()
        if server is not None:
            server.close()


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements."""
    report = Report(
        "Embedded",
        f"Processor time of slirpy for a frame that carries TCP data, medians of {arguments.rounds} runs of"
        f" {arguments.mib} MiB, acknowledgements included. Gbit/s is what one core could carry at that cost.",
        ["host", "frames", "direction", "us a frame", "payload a frame", "Gbit/s a core"],
    )
    for case in CASES:
        host = "sockets" if case.sockets else "no sockets"
        for direction in ("guest to host", "host to guest"):
            if case.batch > 1 and direction == "host to guest":
                continue  # batching there only affects acknowledgements
            what = f"{host}, {case.name}, {direction}"
            for _ in range(arguments.rounds):
                spent, size = cost(case, direction, arguments.mib)
                report.sample(f"{what}: us", spent)
                report.sample(f"{what}: bytes", size)
                report.sample(f"{what}: Gbit/s", size * 8 / spent / 1000)
            figures = [report.median(f"{what}: {unit}") for unit in ("us", "bytes", "Gbit/s")]
            if case.batch == 1 and not case.sockets and figures[0] is not None and figures[2] is not None:
                if case.features is None:
                    report.bars.append(
                        Bar(f"{direction}, a segment", figures[0], BAR_US, at_least=False, unit=" us")
                    )
                else:
                    bar = Bar(
                        f"{direction}, 64 KiB frames", figures[2], BAR_GBITS, at_least=True, unit=" Gbit/s"
                    )
                    report.bars.append(bar)
            row = (show(figures[0]), show(figures[1], 0), show(figures[2]))
            report.rows.append((host, case.name, direction, *row))
    return report


if __name__ == "__main__":
    main(__doc__, options, measure)
