"""Capture files: what crosses a link is in them, to the nanosecond, as an independent reader sees it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import dpkt
import pytest

from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, LinkSink, Poller, Timer
from slirpy.links.capture import CaptureLink
from slirpy.stats import Stats
from slirpy.wire import pcap

FRAME = bytes(range(60))


class FakeLink:
    """Takes at most ``room`` frames at a time."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.closed = 0
        self.sink: LinkSink | None = None
        self.poller: Poller | None = None

    features = LinkFeatures(mtu=1400, checksum_offload=True)

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.sink, self.poller = sink, poller

    def send(self, frames: Sequence[Frame]) -> int:
        taken = frames[: self.room]
        self.sent += [b"".join(frame.parts) for frame in taken]
        return len(taken)

    def close(self) -> None:
        self.closed += 1


class Sink:
    def __init__(self) -> None:
        self.frames: list[tuple[bytes, bool]] = []
        self.writables = 0
        self.losses = 0

    def input(self, frame: Buffer, checksummed: bool = False) -> None:
        self.frames.append((bytes(frame), checksummed))

    def writable(self) -> None:
        self.writables += 1

    def lost(self, frames: int) -> None:
        self.losses += frames

    now = 0
    stats = Stats()

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a capture needs no timer")


class NoPoller:
    def register(self, fd: int, events: int, ready: Callable[[int], None]) -> None: ...

    def modify(self, fd: int, events: int, ready: Callable[[int], None]) -> None: ...

    def unregister(self, fd: int) -> None: ...


def read(data: bytes) -> list[tuple[Decimal, bytes]]:
    return list(dpkt.pcap.Reader(io.BytesIO(data)))


def test_the_file_header_says_ethernet_and_nanoseconds() -> None:
    header = pcap.header()
    reader = dpkt.pcap.Reader(io.BytesIO(header))
    assert reader.datalink() == dpkt.pcap.DLT_EN10MB
    assert reader.snaplen == 262144
    assert header[:4] == bytes.fromhex("4d3cb2a1")
    assert list(reader) == []


def test_times_keep_their_nanoseconds_and_pieces_are_joined() -> None:
    records = (
        pcap.record(1_700_000_000_123_456_789, (FRAME[:14], memoryview(FRAME)[14:]), True),
        pcap.record(5, (FRAME,), False),
    )
    assert read(pcap.header() + b"".join(records)) == [
        (Decimal("1700000000.123456789"), FRAME),
        (Decimal("0.000000005"), FRAME),
    ]


def test_a_frame_beyond_the_snap_length_is_cut_and_says_so() -> None:
    record = pcap.record(0, (bytes(pcap.SNAPLEN + 7),), True)
    assert int.from_bytes(record[8:12], "little") == pcap.SNAPLEN == len(record) - 16
    assert int.from_bytes(record[12:16], "little") == pcap.SNAPLEN + 7


def test_both_directions_are_captured_and_passed_on() -> None:
    inner, sink, poller, file = FakeLink(), Sink(), NoPoller(), io.BytesIO()
    times = iter(range(1000, 2000))
    inner_link: Link = inner  # the seam, checked by mypy
    link: Link = CaptureLink(inner_link, file, clock=lambda: next(times))
    link.start(sink, poller)
    assert inner.poller is poller
    assert inner.sink is not None
    inner.sink.input(memoryview(FRAME), True)
    inner.sink.input(FRAME[::-1])
    assert link.send([Frame((FRAME[:20], FRAME[20:])), Frame((b"x" * 70,))]) == 2
    inner.sink.writable()
    assert sink.frames == [(FRAME, True), (FRAME[::-1], False)]
    inner.sink.lost(3)
    assert (sink.writables, sink.losses) == (1, 3)
    assert inner.sent == [FRAME, b"x" * 70]
    assert [frame for _, frame in read(file.getvalue())] == [FRAME, FRAME[::-1], FRAME, b"x" * 70]
    assert [stamp for stamp, _ in read(file.getvalue())] == [
        Decimal(n).scaleb(-9) for n in (1000, 1001, 1002, 1002)
    ]


def test_a_frame_that_the_link_did_not_take_is_captured_only_when_it_is_sent() -> None:
    inner, file = FakeLink(room=1), io.BytesIO()
    link = CaptureLink(inner, file)
    first, second = Frame((FRAME,)), Frame((b"y" * 60,))
    assert link.send([first, second]) == 1
    assert [frame for _, frame in read(file.getvalue())] == [FRAME]
    assert link.send([second]) == 1
    assert [frame for _, frame in read(file.getvalue())] == [FRAME, b"y" * 60]


def test_features_and_close_are_the_inner_links() -> None:
    inner = FakeLink()
    link = CaptureLink(inner, io.BytesIO())
    assert link.features is inner.features
    link.close()
    link.close()
    assert inner.closed == 2
    assert link.send([Frame((FRAME,))]) == 1  # a late frame is no error


def test_a_full_disk_ends_the_capture_and_not_the_network() -> None:
    class Full(io.BytesIO):
        full = False

        def write(self, data: object) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(data)  # type: ignore[arg-type]

    file, inner, sink = Full(), FakeLink(), Sink()
    link = CaptureLink(inner, file)
    link.start(sink, NoPoller())
    file.full = True
    assert inner.sink is not None
    inner.sink.input(FRAME)
    assert link.send([Frame((FRAME,))]) == 1
    assert sink.frames == [(FRAME, False)]
    assert inner.sent == [FRAME]
    assert link.error is not None
    assert link.error.errno == 28


def test_the_file_is_whole_after_every_batch(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    with open(path, "wb") as opened:
        file: BinaryIO = opened
        link = CaptureLink(FakeLink(), file)
        assert read(path.read_bytes()) == []
        link.send([Frame((FRAME,))] * 3)
        assert len(read(path.read_bytes())) == 3


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ro"
    path.touch()
    with open(path, "rb") as file, pytest.raises(OSError, match="write"):
        CaptureLink(FakeLink(), file)
