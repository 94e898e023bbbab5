"""A run as a pcapng file: fates as comments, log lines, and TLS keys, as tshark reads them."""

from __future__ import annotations

import shutil
import ssl
import struct
import subprocess
from pathlib import Path

import pytest

from slirpy.testing.sim.capture import capture
from slirpy.testing.sim.trace import FrameRecord, Trace
from slirpy.units import MS, SECOND
from tests.support.traces import PEERS, Run
from tests.unit.testing.sim.tls import contexts

EPOCH = 1_767_225_600 * SECOND
REQUEST = b"GET /secret HTTP/1.1\r\nHost: server\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def tshark(data: bytes, folder: Path, *arguments: str) -> list[str]:
    """The lines that tshark prints."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    path = folder / "run.pcapng"
    path.write_bytes(data)
    done = subprocess.run(
        ["tshark", "-r", path, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


def fields(*names: str) -> list[str]:
    return ["-T", "fields", *(word for name in names for word in ("-e", name))]


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block."""
    found = []
    while data:
        kind, length = struct.unpack_from("<II", data)
        found.append((kind, data[8 : length - 4]))
        assert length % 4 == 0
        data = data[length:]
    return found


def run_with_faults() -> Run:
    """The first data segment is lost, the third held back for 50 ms, and the server's first ACK arrives twice."""

    def faults(source: str, number: int, segment: object) -> tuple[str, tuple[int, ...]] | None:
        match source, number:
            case "client", 2:
                return "partition", ()
            case "client", 4:
                return "hold", (50 * MS,)
            case "server", 1:
                return "duplication", (0, 5 * MS)
        return None

    run = Run(faults)
    run.note("client", "sending\ntwo lines")
    run.send("client", bytes(5000))
    run.trace.note(run.pair.now, "server", "exception", "ValueError: no")
    run.close()
    return run


@pytest.fixture(scope="module")
def run() -> Run:
    return run_with_faults()


@pytest.mark.system
def test_tshark_shows_the_fate_of_each_frame(run: Run, tmp_path: Path) -> None:
    data = capture(run.trace, epoch=EPOCH)
    shown = tshark(data, tmp_path, "-Y", "frame.comment", *fields("frame.interface_name", "frame.comment"))
    assert shown == [
        "client\tlost: partition",
        "client\thold: arrives +60.000 ms",
        "server\tduplication: arrives twice, +10.000, +15.000 ms",
    ]
    times = tshark(data, tmp_path, "-Y", "tcp", *fields("frame.time_epoch"))
    sent = [each.time for each in run.trace.records if isinstance(each, FrameRecord)]
    assert [round(float(time) * 1000) for time in times] == [(EPOCH + each) // MS for each in sent]


@pytest.mark.system
def test_tshark_shows_log_lines_between_the_frames(run: Run, tmp_path: Path) -> None:
    data = capture(run.trace, epoch=EPOCH)
    names = ["systemd_journal.hostname", "systemd_journal.message"]
    assert tshark(data, tmp_path, "-Y", "systemd_journal", *fields(*names)) == [
        "client\tsending\\ntwo lines",
        "server\texception: ValueError: no",
    ]
    assert tshark(data, tmp_path, "-Y", "tcp.checksum.status == 0", "-o", "tcp.check_checksum:TRUE") == []


def test_a_host_sees_its_frames_when_they_are_sent_and_the_others_when_they_arrive(run: Run) -> None:
    found = [body for kind, body in blocks(capture(run.trace, host="server")) if kind == 6]
    seen = []
    for body in found:
        interface, high, low, captured = struct.unpack_from("<IIII", body)
        assert interface == 0
        inbound = body[20 + captured + -captured % 4 :].find(b"\x02\0\x04\0\x01\0\0\0") >= 0
        seen.append((high << 32 | low, inbound, body[20 : 20 + captured]))
    expected = []
    for record in run.trace.records:
        if isinstance(record, FrameRecord):
            if record.source == "server":
                expected.append((record.time, False, record.frame))
            else:
                expected += [(arrival, True, record.frame) for arrival in record.arrivals]
    assert sorted(seen) == sorted(expected)
    assert [time for time, _, _ in seen] == sorted(time for time, _, _ in seen)
    assert len(expected) > 10


def test_lost_frames_can_be_left_out(run: Run) -> None:
    counts = [sum(kind == 6 for kind, _ in blocks(capture(run.trace, lost=lost))) for lost in (True, False)]
    assert counts[0] - counts[1] == 1


def test_an_empty_run_is_a_file_without_frames() -> None:
    assert [kind for kind, _ in blocks(capture(Trace()))] == [0x0A0D0D0A]


# --------------------------------------------------------------------------------------------------- TLS


def https(run: Run, log: Path) -> None:
    """Do one request over TLS on the connection, without certificates."""
    client, server = contexts()
    client.keylog_filename = str(log)
    ends = {}
    for source, context in (("client", client), ("server", server)):
        came, left = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends[source] = came, left, context.wrap_bio(came, left, server_side=source == "server")

    def exchange() -> None:
        for source, (_, left, _) in ends.items():
            data = left.read()
            if data:
                run.send(source, data)
                ends[PEERS[source]][0].write(data)

    for _ in range(4):
        for _, _, end in ends.values():
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            exchange()
    for source, message in (("client", REQUEST), ("server", RESPONSE)):
        ends[source][2].write(message)
        exchange()
        assert ends[PEERS[source]][2].read() == message


@pytest.mark.system
def test_tshark_reads_https_of_a_run(tmp_path: Path) -> None:
    run, log = Run(lambda source, number, _: ("loss", ()) if number == 3 else None), tmp_path / "keys"
    https(run, log)
    keys = log.read_text()
    assert keys.startswith(("CLIENT_RANDOM", "#"))
    data = capture(run.trace, keys=keys)
    shown = tshark(data, tmp_path, "-Y", "http", *fields("http.request.uri", "http.response.code"))
    assert shown == ["/secret\t", "\t200"]
    assert tshark(capture(run.trace), tmp_path, "-Y", "http") == []


def test_keys_lie_before_the_frames() -> None:
    trace = Trace()
    trace.records.append(FrameRecord(0, "client", "server", b"\0" * 60, (1,)))
    kinds = [kind for kind, _ in blocks(capture(trace, keys="CLIENT_RANDOM 00 00\n"))]
    assert kinds == [0x0A0D0D0A, 1, 10, 6]
    body = blocks(capture(trace, keys="abcde"))[2][1]
    assert body == b"KSLT" + (5).to_bytes(4, "little") + b"abcde\0\0\0"
