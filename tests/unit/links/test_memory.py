"""Captures in memory: a queue that never waits for its reader, and a ring of the last records."""

from __future__ import annotations

import io

import dpkt

from slirpy.links import Recorder
from slirpy.links.memory import RecordQueue, RecordRing
from slirpy.wire import pcapng

FRAME = bytes(100)


def read(data: bytes) -> list[bytes]:
    return [bytes(frame) for _, frame in dpkt.pcapng.Reader(io.BytesIO(data))]


def test_a_queue_is_read_in_pieces() -> None:
    woken: list[None] = []
    queue = RecordQueue(10_000, lambda: woken.append(None))
    recorder = Recorder(queue, file_format="pcapng")
    recorder.record([(b"one",), (b"two",)], True)
    recorder.record([(b"three",)], False)
    assert len(woken) == 1, "once until it is read"
    data = queue.take()
    recorder.record([(b"four",)], False)
    assert len(woken) == 2
    data += queue.take()
    assert queue.take() == b""
    assert read(data) == [b"one", b"two", b"three", b"four"]
    recorder.close()
    assert queue.ended
    assert len(woken) == 3


def test_a_full_queue_drops_frames() -> None:
    queue = RecordQueue(1000, lambda: None)
    recorder = Recorder(queue, file_format="pcapng")
    lost: list[int] = []
    recorder.on_dropped = lost.append
    recorder.record([(FRAME,)] * 20, True)
    kept = recorder.frames
    assert 0 < kept < 20
    assert recorder.dropped == 20 - kept
    assert lost == [20 - kept]
    recorder.interface("another")  # a description always has room
    data = queue.take()
    recorder.record([(b"later",)], True)
    assert read(data + queue.take()) == [FRAME] * kept + [b"later"]


def test_a_ring_keeps_the_last_records() -> None:
    ring = RecordRing(1000)
    recorder = Recorder(ring, file_format="pcapng")
    for number in range(100):
        recorder.record(
            [(number.to_bytes(100, "big"),)], bool(number % 2), recorder.interface(f"link{number % 2}")
        )
    header, records = ring.contents()
    frames = [int.from_bytes(frame, "big") for frame in read(b"".join((header, *records)))]
    assert frames == list(range(100 - len(frames), 100))
    assert sum(map(len, records)) <= 1000
    assert ring.evicted == 100 - len(frames)
    assert recorder.dropped == 0
    time, inbound, frame = pcapng.read_record(records[-1])
    assert inbound
    assert int.from_bytes(frame, "big") == 99
    assert not pcapng.read_record(records[-2])[1]
    assert time >= pcapng.read_record(records[0])[0] > 1 << 60


def test_a_record_is_read_as_it_was_written() -> None:
    for length in (0, 1, 2, 3, 4, 1514):
        record = pcapng.record(1 << 60, [b"x" * length], False, 3)
        assert pcapng.read_record(record) == (1 << 60, False, b"x" * length)
