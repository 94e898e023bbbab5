"""Capture files: what crosses a link is in them, to the nanosecond, as an independent reader sees it."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import dpkt
import pytest

from slirpy.cli.capture import CaptureOption, parse_capture
from slirpy.errors import ConfigError, LinkError, StateError
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, LinkSink, Poller, Timer
from slirpy.links import CaptureLink, Recorder
from slirpy.stats import Stats
from slirpy.wire import pcap, pcapng
from tests.support.harness import NoPoller

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

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        self.frames.append((bytes(frame), checksummed))

    def writable(self) -> None:
        self.writables += 1

    def lost(self, frames: int) -> None:
        self.losses += frames

    now = 0
    stats = Stats()

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a capture needs no timer")


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
            return super().write(data)  # type: ignore[arg-type] # a raw file takes any buffer

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


def test_an_unwritable_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ro"
    path.touch()
    with open(path, "rb") as file, pytest.raises(OSError, match="write"):
        CaptureLink(FakeLink(), file)


# ------------------------------------------------------------------------------------ start, stop, formats


def started(link: CaptureLink) -> SelectorPoller:
    poller = SelectorPoller()
    link.start(Sink(), poller)
    return poller


def test_a_capture_is_started_and_stopped_while_the_network_runs(tmp_path: Path) -> None:
    inner = FakeLink()
    link = CaptureLink(inner)
    started(link).close()
    link.send([Frame((b"before" * 10,))])
    first = link.start_capture(tmp_path / "one.pcap")
    link.send([Frame((FRAME,))])
    with pytest.raises(StateError, match="stop_capture"):
        link.start_capture(tmp_path / "two.pcap")
    assert link.stop_capture() is first
    assert link.stop_capture() is None
    link.send([Frame((b"between",))])
    link.start_capture(tmp_path / "two.pcapng")
    link.input(FRAME[::-1])
    link.close()
    assert len(inner.sent) == 3
    assert [frame for _, frame in read((tmp_path / "one.pcap").read_bytes())] == [FRAME]
    assert [f for _, f in dpkt.pcapng.Reader(io.BytesIO((tmp_path / "two.pcapng").read_bytes()))] == [
        FRAME[::-1]
    ]
    assert (first.frames, first.dropped, first.error) == (1, 0, None)


def test_the_format_is_that_of_the_argument_before_that_of_the_name(tmp_path: Path) -> None:
    file = io.BytesIO()
    link = CaptureLink(FakeLink())
    link.start_capture(file, file_format="pcapng")
    assert file.getvalue() == pcapng.header(["slirpy"])
    link.stop_capture()
    link.start_capture(tmp_path / "x.pcapng", file_format="pcap")
    assert (tmp_path / "x.pcapng").read_bytes() == pcap.header()
    link.close()


def test_files_in_turn_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    link = CaptureLink(FakeLink())
    link.start_capture(tmp_path / "out.pcap", max_bytes=24 + 3 * 76, max_files=3)
    for number in range(20):
        link.send([Frame((bytes([number]) * 60,))])
    link.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.1.pcap", "out.2.pcap", "out.pcap"]
    numbers = {p.name: [f[0] for _, f in read(p.read_bytes())] for p in tmp_path.iterdir()}
    assert numbers == {"out.pcap": [18, 19], "out.1.pcap": [15, 16, 17], "out.2.pcap": [12, 13, 14]}


def test_a_batch_larger_than_a_file_and_a_frame_larger_than_one(tmp_path: Path) -> None:
    link = CaptureLink(FakeLink())
    link.start_capture(tmp_path / "out.pcapng", max_bytes=100, max_files=2)
    link.send([Frame((bytes([number]) * 200,)) for number in range(3)])
    link.close()
    kept = [
        [f[0] for _, f in dpkt.pcapng.Reader(io.BytesIO((tmp_path / n).read_bytes()))]
        for n in ("out.1.pcapng", "out.pcapng")
    ]
    assert kept == [[1], [2]]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"file_format": "cap"}, "the formats are pcap, pcapng"),
        ({"max_bytes": 0}, "must be 1 or more"),
        ({"max_bytes": 5, "max_files": 0}, "must be 1 or more"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Recorder(tmp_path / "x", **given)
    assert not list(tmp_path.iterdir())


def test_only_a_named_file_can_be_followed_by_another() -> None:
    with pytest.raises(ConfigError, match="pass a name instead of an open file"):
        Recorder(io.BytesIO(), max_bytes=1000)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="cannot be written: No such file or directory; name a file in"):
        Recorder(tmp_path / "no" / "x.pcap")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_reported() -> None:
    with pytest.raises(LinkError, match="No space left on device"):
        Recorder("/dev/full")


def test_a_failed_write_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of a record: what is there stays readable."""
    recorder = Recorder(tmp_path / "x.pcap")
    told: list[OSError] = []
    recorder.on_error = told.append
    recorder.record([(FRAME,)], inbound=True)
    write, calls = os.write, []

    def half(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    recorder.record([(FRAME,)] * 5, inbound=True)
    assert [error.errno for error in told] == [28]
    monkeypatch.undo()
    recorder.record([(FRAME,)], inbound=True)
    recorder.close()
    assert len(read((tmp_path / "x.pcap").read_bytes())) == 1
    assert recorder.error is not None
    assert (recorder.frames, recorder.error.errno) == (1, 28)
    assert len(told) == 1


# ------------------------------------------------------------------------------------------- pipes

fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


def drain(fd: int) -> bytes:
    """Bytes that are in a pipe just now."""
    os.set_blocking(fd, False)
    data = b""
    try:
        while piece := os.read(fd, 1 << 20):
            data += piece
    except BlockingIOError:
        pass
    return data


@fifos
def test_a_reader_of_a_pipe_that_is_slow_loses_whole_frames_only_and_blocks_nothing() -> None:
    reading, writing = os.pipe()
    link = CaptureLink(FakeLink(10**6))
    poller = started(link)
    recorder = link.start_capture(writing)
    for number in range(5000):
        link.send([Frame((number.to_bytes(2, "big") * 1000,))])  # 10 MB, and the backlog holds 4 MiB
    assert recorder.dropped > 1000
    assert recorder.error is None
    got = b""
    while piece := drain(reading):
        got += piece
        poller.poll(0)
    assert poller.poll(0) == 0  # nothing is waited for any more
    link.send([Frame((b"\xff" * 60,))])
    got += drain(reading)
    numbers = [int.from_bytes(frame[:2], "big") for _, frame in read(got)]
    assert numbers == [*range(recorder.frames - 1), 0xFFFF]
    link.close()
    os.close(reading)
    poller.close()


@fifos
def test_a_reader_that_goes_away_ends_the_capture_and_nothing_else() -> None:
    reading, writing = os.pipe()
    inner = FakeLink()
    link = CaptureLink(inner)
    poller = started(link)
    recorder = link.start_capture(writing)
    os.close(reading)
    for _ in range(3):
        assert link.send([Frame((FRAME,))]) == 1
    assert len(inner.sent) == 3
    assert isinstance(link.error, BrokenPipeError)
    assert recorder.frames == 0
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(writing)
    link.close()
    poller.close()


@fifos
def test_a_reader_that_goes_away_while_it_is_waited_for() -> None:
    reading, writing = os.pipe()
    link = CaptureLink(FakeLink())
    poller = started(link)
    link.start_capture(writing)
    link.send([Frame((bytes(100_000),))] * 3)
    os.close(reading)
    poller.poll(1)
    assert isinstance(link.error, BrokenPipeError)
    assert poller.poll(0) == 0
    link.close()
    poller.close()


@fifos
def test_readers_of_a_named_pipe_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    path = tmp_path / "live"
    os.mkfifo(path)
    inner = FakeLink()
    link = CaptureLink(inner)
    poller = started(link)
    recorder = link.start_capture(path)
    link.send([Frame((b"nobody reads",))])
    for number in range(2):
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        now[0] += 1_000_000_000
        link.send([Frame((bytes([number]) * 60,))])
        assert [frame for _, frame in read(drain(reading))] == [bytes([number]) * 60]
        os.close(reading)
        link.send([Frame((b"nobody reads",))])
    assert link.error is None
    assert len(inner.sent) == 5
    assert recorder.dropped >= 1
    link.close()
    poller.close()


@fifos
def test_the_end_waits_a_moment_for_the_reader() -> None:
    reading, writing = os.pipe()
    recorder = Recorder(writing)
    recorder.record([(bytes(200_000),)] * 2, inbound=True)
    got: list[bytes] = []

    def late() -> None:
        with open(reading, "rb") as file:
            got.append(file.read())

    thread = threading.Thread(target=late)
    thread.start()
    recorder.close()
    thread.join()
    assert [len(frame) for _, frame in read(got[0])] == [200_000] * 2


def test_a_closed_descriptor_is_refused() -> None:
    with pytest.raises(LinkError, match="descriptor 99999: bad file descriptor; pass the write end of a pipe"):
        Recorder(99999)


# ------------------------------------------------------------------------------------ the command's option


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("out.pcap", CaptureOption("out.pcap")),
        ("-", CaptureOption("-")),
        ("a,b=c.pcap", CaptureOption("a,b=c.pcap")),
        ("max,maxi,files.pcap", CaptureOption("max,maxi,files.pcap")),
        ("x,format=pcapng", CaptureOption("x", "pcapng")),
        ("x,max=10M,files=5", CaptureOption("x", None, 10_000_000, 5)),
        ("x,files=3,max=7", CaptureOption("x", None, 7, 3)),
    ],
)
def test_the_option_of_the_command(text: str, option: CaptureOption) -> None:
    assert parse_capture(text) == option


@pytest.mark.parametrize("text", ["", ",max=5", "x,max=0", "x,max=M", "x,files=2k", "x,max=5,other=3"])
def test_an_invalid_option_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f'^capture "{text}": .*must be'):
        parse_capture(text)


@pytest.mark.parametrize("key", ["format", "max", "files"])
@pytest.mark.parametrize("text", ["x,{}", "x,{},max=5", "x,max=5,{}", ",{}"])
def test_a_key_of_the_option_without_a_value(text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} has no value; write {key}=VALUE$"):
        parse_capture(text.format(key))


def test_keys_of_the_option_that_need_others() -> None:
    with pytest.raises(ConfigError, match=r'^capture "x,files=3": files needs max'):
        parse_capture("x,files=3")
    with pytest.raises(ConfigError, match=r'^capture "-,max=10M": max is for a file'):
        parse_capture("-,max=10M")
