"""Files that slirpy writes replace nothing that it did not write: captures, files in turn, traces."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from slirpy import Config, Slirp
from slirpy.cli.capture import parse_capture
from slirpy.cli.flags import check_plain_name
from slirpy.errors import ConfigError, LinkError
from slirpy.interfaces import Frame, Link
from slirpy.links import CallbackLink, CaptureLink, Recorder, TraceFile, TraceLink
from slirpy.ownfile import open_own
from slirpy.paths import bind_unix
from slirpy.wire import pcap, pcapng

FRAME = bytes(range(60))
FOREIGN = [
    b"hello\n",
    b"\0" * 100,
    b"{}",
    bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"),  # a capture of tcpdump's
    pcap.header()[:-1],
    b"13:05:01 in\n",
]
RECORDS = {"capture": Recorder, "trace": TraceFile}


def write(kind: str, path: Path) -> None:
    if kind == "capture":
        recorder = Recorder(path)
        recorder.record([(FRAME,)], inbound=True)
        recorder.close()
        return
    trace = TraceFile(path)
    link = TraceLink(CallbackLink(lambda frame: None), trace, name="guest 1")
    link.send([Frame((FRAME,))])
    trace.close()


@pytest.mark.parametrize("kind", ["capture", "trace"])
@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    link = tmp_path / "link"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(
            LinkError, match=f'{kind} file "{name}": it has content that slirpy did not write; name another'
        ):
            RECORDS[kind](name)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["capture", "trace"])
def test_a_file_of_ours_is_replaced_and_an_empty_one_used(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.touch()
    write(kind, path)
    once = path.read_bytes()
    assert once
    write(kind, path)
    assert len(path.read_bytes()) == len(once)


@pytest.mark.parametrize("kind", ["capture", "trace"])
def test_one_kind_does_not_replace_the_other(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    write(kind, path)
    before = path.read_bytes()
    with pytest.raises(LinkError, match="did not write"):
        RECORDS["capture" if kind == "trace" else "trace"](path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("first", "second"), [("pcap", "pcapng"), ("pcapng", "pcap")])
def test_a_capture_in_the_other_format_is_ours_too(tmp_path: Path, first: str, second: str) -> None:
    path = tmp_path / "file"
    Recorder(path, file_format=first).close()
    Recorder(path, file_format=second).close()
    assert path.read_bytes() == (pcap if second == "pcap" else pcapng).header()


def test_a_trace_with_the_time_of_a_simulation_is_ours_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("12.000345 out ARP, Request who-has 10.0.2.2 tell 10.0.2.15\n")
    TraceFile(path).close()
    assert path.read_bytes() == b""


def test_the_same_holds_for_a_capture_of_a_link(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("hello")
    link = CaptureLink(CallbackLink(lambda frame: None))
    with pytest.raises(LinkError, match="did not write"):
        link.start_capture(path)
    assert path.read_text() == "hello"


def test_rotation_does_not_replace_files_of_other_programs(tmp_path: Path) -> None:
    mine = tmp_path / "out.2.pcap"
    mine.write_text("hello")
    with pytest.raises(LinkError, match=r'"[^"]*out\.2\.pcap": it has content that slirpy did not write'):
        Recorder(tmp_path / "out.pcap", max_bytes=100, max_files=3)
    assert [path.name for path in tmp_path.iterdir()] == ["out.2.pcap"]
    Recorder(tmp_path / "out.pcap", max_bytes=100, max_files=2).close()  # which does not need that name
    assert mine.read_text() == "hello"


def test_a_file_that_comes_while_files_take_turns_ends_the_capture(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.pcap", max_bytes=100, max_files=2)
    other = tmp_path / "out.1.pcap"
    other.write_text("hello")
    for _ in range(3):
        recorder.record([(FRAME,)], inbound=True)
    assert recorder.error is not None
    assert recorder.error.strerror == "it has content that slirpy did not write"
    assert other.read_text() == "hello"


def test_files_in_turn_do_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out.1.pcap").mkdir()
    with pytest.raises(LinkError, match="it is not a file"):
        Recorder(tmp_path / "out.pcap", max_bytes=100)


@pytest.mark.parametrize("make", [Recorder, TraceFile])
def test_devices_can_be_written(make: Callable[[str], Any]) -> None:
    file = make(os.devnull)
    file.close()
    assert file.error is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_trace_in_a_named_pipe_waits_for_no_reader(tmp_path: Path) -> None:
    path = tmp_path / "live"
    os.mkfifo(path)
    trace = TraceFile(path)
    trace.write(["nobody reads", "this"])
    assert trace.dropped == 2
    trace.close()
    assert trace.error is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_reader_of_a_trace_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slirpy.links.outputs.READER_EVERY", 0)
    path = tmp_path / "live"
    os.mkfifo(path)
    trace = TraceFile(path)
    for word in ("first", "second"):
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        trace.write([word])
        assert os.read(reader, 100) == word.encode() + b"\n"
        os.close(reader)
        trace.write(["to nobody"])
    assert trace.error is None


def test_a_trace_in_a_pipe_that_is_not_read_drops_lines_and_does_not_wait() -> None:
    reader, writer = os.pipe()
    trace = TraceFile(writer)
    line = "x" * 99_999
    for _ in range(60):
        trace.write([line])
    assert 0 < trace.dropped < 60
    read: list[bytes] = []

    def drain() -> None:
        with open(reader, "rb") as file:
            read.append(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    trace.close()
    thread.join(20)
    assert read[0] == (line.encode() + b"\n") * (60 - trace.dropped)


class FullTrace:
    """Links with one trace, whose disk is full."""

    def __init__(self, links: int) -> None:
        self.file = TraceFile("/dev/full")
        self.sent: list[Sequence[object]] = []
        self.links = [TraceLink(CallbackLink(self.sent.append), self.file) for _ in range(links)]


@pytest.mark.parametrize("kind", ["capture", "trace"])
def test_a_pipe_that_is_full_when_the_network_ends(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's poller is gone by the time that the file is closed."""
    monkeypatch.setattr("slirpy.links.outputs.LAST_WAIT", 0.01)
    reader, writer = os.pipe()
    file = Recorder(writer) if kind == "capture" else TraceFile(writer)
    with Slirp(Config(resolvers=[])) as net:

        def wrap(link: Link) -> Link:
            return CaptureLink(link, file) if isinstance(file, Recorder) else TraceLink(link, file)

        nic = net.attach(lambda frame: None, wrap=wrap)
        for _ in range(5000):
            nic.send(FRAME)
    file.close()
    assert file.error is not None
    assert file.error.strerror == "its reader was too slow at the end"
    os.close(reader)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_ends_the_trace_of_all_links_and_no_network() -> None:
    full = FullTrace(2)
    for _ in range(2):
        for link in full.links:
            assert link.send([Frame((FRAME,))]) == 1
    assert len(full.sent) == 4
    assert full.file.error is not None
    for link in full.links:
        assert isinstance(link.error, OSError)
        assert link.error.strerror == "No space left on device"


# --------------------------------------------------------------------------------- names with options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out.pcap,maxsize=10M", 'unknown option "maxsize=10M"; did you mean max'),
        ("out.pcap,size=10M", 'unknown option "size=10M"; it must be one of format, max, files'),
        ("out.pcap,Format=pcap", "did you mean format"),
        ("out.pcap,max=10M,file=3", "did you mean files"),
        ("out,fmt=pcapng", "did you mean format"),
        ("out,x=", "unknown option"),
        ("out,a.b-c=1,max=3", "unknown option"),
    ],
)
def test_an_unknown_option_of_a_capture_is_no_name(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_capture(text)


@pytest.mark.parametrize("name", ["out,1.pcap", "a,b", "a=b,c", "a,b=c.pcap", "a, b=c", "x,=y"])
def test_a_comma_alone_is_part_of_a_name(name: str) -> None:
    assert parse_capture(name).name == name


def test_a_name_that_takes_no_options_may_exist(tmp_path: Path) -> None:
    name = f"{tmp_path}/trace,max=10M"
    with pytest.raises(ConfigError, match=r'--trace ".*": nothing has this name, and --trace takes no option'):
        check_plain_name("--trace", name)
    Path(name).touch()
    check_plain_name("--trace", name)
    check_plain_name("--trace", f"{tmp_path}/a,b")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_new_files_and_sockets_are_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_own(tmp_path / "file", lambda head: True))
        with socket.socket(socket.AF_UNIX) as sock:
            bind_unix(sock, str(tmp_path / "socket"))
    finally:
        os.umask(before)
    assert {oct((tmp_path / name).stat().st_mode & 0o777) for name in ("file", "socket")} == {"0o600"}
