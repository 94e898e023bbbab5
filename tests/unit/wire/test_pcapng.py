"""pcapng files: blocks, times, directions and lengths, as dpkt and Wireshark's tshark read them."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import dpkt
import pytest

from slirpy.interfaces import Frame
from slirpy.links import CallbackLink, CaptureLink, Recorder
from slirpy.wire import pcap, pcapng

FRAME = bytes(range(60))
TIME = 1_700_000_000_123_456_789


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; both lengths of each must agree, and fill the file."""
    found = []
    while data:
        kind, length = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
        assert length % 4 == 0
        assert data[length - 4 : length] == data[4:8]
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def test_dpkt_reads_frames_of_every_length_and_their_nanoseconds() -> None:
    frames = [(TIME + n, bytes([n]) * n) for n in range(1, 80)]
    data = pcapng.header(["slirpy"]) + b"".join(pcapng.record(when, (frame,), True) for when, frame in frames)
    reader = dpkt.pcapng.Reader(io.BytesIO(data))
    assert (reader.datalink(), reader.snaplen) == (dpkt.pcap.DLT_EN10MB, 262144)
    read = list(reader)
    assert [frame for _, frame in read] == [frame for _, frame in frames]
    # dpkt reads the time as a float; that nothing of the nanoseconds is lost is judged by tshark below.
    assert all(abs(float(when) - TIME / 1e9) < 1e-5 for when, _ in read)


def test_the_blocks_are_those_of_the_draft() -> None:
    data = pcapng.header(["slirpy"]) + pcapng.record(TIME, (FRAME[:10], memoryview(FRAME)[10:]), True)
    (section, _), (interface, described), (packet, body) = blocks(data)
    assert (section, interface, packet) == (0x0A0D0D0A, 1, 6)
    assert described[:8] == bytes.fromhex("0100 0000 00000400")
    assert bytes.fromhex("0900 0100 09000000") in described  # if_tsresol: 10^-9
    high, low = int.from_bytes(body[4:8], "little"), int.from_bytes(body[8:12], "little")
    assert high << 32 | low == TIME
    assert body[20:80] == FRAME


@pytest.mark.parametrize(("inbound", "flags"), [(True, 1), (False, 2)])
def test_the_direction_is_in_the_flags(inbound: bool, flags: int) -> None:
    ((_, body),) = blocks(pcapng.record(TIME, (FRAME,), inbound))
    assert body[80:] == bytes.fromhex("0200 0400") + flags.to_bytes(4, "little") + bytes(4)


def test_a_frame_beyond_the_snap_length_is_cut_and_says_so() -> None:
    ((_, body),) = blocks(pcapng.record(0, (bytes(pcap.SNAPLEN + 7),), True))
    assert int.from_bytes(body[12:16], "little") == pcap.SNAPLEN
    assert int.from_bytes(body[16:20], "little") == pcap.SNAPLEN + 7
    assert len(body) == 20 + pcap.SNAPLEN + 12


@pytest.mark.system
@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_tshark_reads_the_frames_of_a_link(tmp_path: Path, suffix: str) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    path = tmp_path / f"out.{suffix}"
    link = CaptureLink(CallbackLink(lambda frame: None), path, clock=lambda: TIME)
    link.send([Frame((FRAME[:14], FRAME[14:])), Frame((FRAME * 3,))])
    link.input(FRAME * 2)
    fields = ["frame.time_epoch", "frame.len", "frame.packet_flags_direction"]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *[word for field in fields for word in ("-e", field)]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {Decimal(row[0]) for row in rows} == {Decimal("1700000000.123456789")}
    assert [row[1] for row in rows] == ["60", "180", "120"]
    directions = [int(row[2], 16) for row in rows if row[2]]
    assert directions == ([2, 2, 1] if suffix == "pcapng" else [])


# ------------------------------------------------------------------------------------------- several interfaces


def named(data: bytes) -> tuple[list[str], list[tuple[str, bytes]]]:
    """The names of the interfaces, and of each frame the interface and itself, as the draft has them."""
    names: list[str] = []
    frames: list[tuple[str, bytes]] = []
    for kind, body in blocks(data):
        if kind == 1:
            code, length = struct.unpack_from("<HH", body, 8)
            assert code == 2
            names.append(body[12 : 12 + length].decode())
        elif kind == 6:
            number, _, _, captured = struct.unpack_from("<IIII", body)
            frames.append((names[number], body[20 : 20 + captured]))
    return names, frames


def test_links_that_share_a_recorder_have_interfaces_of_their_own() -> None:
    file = io.BytesIO()
    recorder = Recorder(file, file_format="pcapng")
    links = [CaptureLink(CallbackLink(lambda frame: None), recorder, name=name) for name in ("one", "two")]
    links[1].send([Frame((FRAME,))])
    links[0].input(FRAME * 2)
    links[0].close()  # the recorder is not its own
    third = CaptureLink(CallbackLink(lambda frame: None), name="three")
    third.start_capture(recorder)
    again = CaptureLink(CallbackLink(lambda frame: None), recorder, name="one")
    for link in (third, again, links[1]):
        link.send([Frame((FRAME[:20],))])
    third.stop_capture()
    recorder.close()
    assert named(file.getvalue()) == (
        ["one", "two", "three"],
        [("two", FRAME), ("one", FRAME * 2), *((name, FRAME[:20]) for name in ("three", "one", "two"))],
    )


def test_each_of_the_files_in_turn_describes_all_interfaces(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "x.pcapng", max_bytes=400, max_files=2)
    links = [CaptureLink(CallbackLink(lambda frame: None), recorder, name=name) for name in ("one", "two")]
    for number in range(10):
        links[number % 2].input(FRAME)
    recorder.close()
    latest, before = (named((tmp_path / name).read_bytes()) for name in ("x.pcapng", "x.1.pcapng"))
    assert latest[0] == before[0] == ["one", "two"]
    assert (
        before[1] + latest[1]
        == [(("one", "two")[n % 2], FRAME) for n in range(10)][-len(before[1] + latest[1]) :]
    )


def test_a_late_reader_of_a_named_pipe_gets_all_interfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10**9
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    recorder = Recorder(path, file_format="pcapng")
    links = [CaptureLink(CallbackLink(lambda frame: None), recorder, name=name) for name in ("one", "two")]
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    now += 10**9
    links[1].input(FRAME)
    links.append(CaptureLink(CallbackLink(lambda frame: None), recorder, name="three"))
    links[2].input(FRAME)
    assert named(os.read(reader, 65536)) == (["one", "two", "three"], [("two", FRAME), ("three", FRAME)])
    os.close(reader)
    recorder.close()


def test_a_full_disk_when_an_interface_is_described(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        full = False

        def write(self, data: object) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return 0

    file = Full()
    recorder = Recorder(file, file_format="pcapng")
    file.full = True
    link = CaptureLink(CallbackLink(lambda frame: None), recorder)
    link.input(FRAME)
    assert recorder.error is not None
    assert recorder.frames == 0
