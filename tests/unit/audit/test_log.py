"""Logs: files, descriptors and sockets that fail and recover."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from slirpy.audit import log as log_module
from slirpy.audit.log import AuditLog
from slirpy.errors import ConfigError, LinkError
from slirpy.units import SECOND
from tests.unit.audit.records import lines


class Told:
    """A log and the lines about it."""

    def __init__(self, target: object, *, closed: bool = False) -> None:
        self.texts: list[str] = []
        self.log = AuditLog(str(target), closed=closed)
        self.log.told = self.texts.append
        self.seq = 0

    @property
    def state(self) -> str:
        return "ready" if self.log.ready else "not ready"

    def put(self, count: int = 1, size: int = 10) -> None:
        for _ in range(count):
            self.log.put({"v": 1, "seq": self.seq, "text": "x" * size})
            self.seq += 1


def numbers(path: Path) -> list[int]:
    return [record["seq"] for record in lines(path.read_bytes())]


def test_a_file_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    os.umask(os.umask(0))
    for start in (0, 2):
        told = Told(path)
        told.seq = start
        told.put(2)
        assert told.log.drain(0) is None
        told.log.close()
        told.log.close()
    assert numbers(path) == [0, 1, 2, 3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told.texts == []


def test_half_a_line_of_a_crash_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"v":1,"seq":0}\n{"v":1,"se')
    told = Told(path)
    told.put()
    told.log.close()
    assert path.read_bytes().splitlines()[1:] == [b'{"v":1,"se', b'{"v":1,"seq":0,"text":"xxxxxxxxxx"}']


@pytest.mark.parametrize("content", [b"hello\n", b'{"v":2,\n', b"\n"])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(LinkError, match="has content that is no audit log; name another file"):
        AuditLog(str(path))
    assert path.read_bytes() == content


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(LinkError, match="is a symbolic link"):
        AuditLog(str(tmp_path / "link"))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ("", ConfigError, "is not a path"),
        ("fd:x", ConfigError, '"x" is not the number of a descriptor'),
        ("fd:99999999999", ConfigError, "is not the number of a descriptor"),
        ("unix:", ConfigError, "the path of a socket has 1 to"),
        ("unix:" + "x" * 200, ConfigError, "the path of a socket has 1 to"),
        ("fd:9999", LinkError, "bad file descriptor; pass an open descriptor"),
        ("unix:/nonexistent/socket", LinkError, "cannot connect: no such file or directory; start the collector"),
        ("/nonexistent/folder/file", LinkError, "cannot be written: no such file or directory; name a file"),
        ("/", LinkError, "is a folder"),
    ],
)  # fmt: skip
def test_mistakes(target: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        AuditLog(target)
    assert text in str(caught.value)
    assert str(caught.value).startswith("audit ")


def test_a_named_pipe_needs_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LinkError, match="is a named pipe without a reader"):
        AuditLog(str(tmp_path / "pipe"))


def test_a_file_that_was_renamed_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    told = Told(path)
    told.put()
    told.log.drain(0)
    path.rename(tmp_path / "audit.1.jsonl")
    told.put()
    told.log.drain(SECOND // 2)  # too early to look
    told.put()
    told.log.drain(2 * SECOND)
    path.unlink()
    told.put()
    told.log.drain(4 * SECOND)
    assert numbers(tmp_path / "audit.1.jsonl") == [0, 1]
    assert numbers(path) == [3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_opened_anew_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    told = Told(path)
    path.rename(tmp_path / "old")
    path.mkdir()
    told.put()
    assert told.log.drain(2 * SECOND) is None
    assert numbers(tmp_path / "old") == [0]


class Disk:
    """``os.write`` with a disk that has room for so many bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(fd, bytes(data)[: self.room])
        self.room -= written
        return written


def test_a_full_disk_is_reported_at_once_and_no_event_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    told = Told(path)
    disk = Disk(monkeypatch, 50)
    told.put(3)
    assert told.log.drain(0) == SECOND
    assert told.texts == [
        f'audit "{path}": the log is lost: No space left on device; events are kept in memory, up to 4 MiB, and then'
        " counted only"
    ]
    told.put(3)
    assert told.log.drain(SECOND) == 2 * SECOND
    assert len(told.texts) == 1
    assert told.state == "ready"
    disk.room = 10**6
    assert told.log.drain(2 * SECOND) is None
    assert told.texts[1:] == [f'audit "{path}": the log goes on; no events missing']
    assert numbers(path) == [0, 1, 2, 3, 4, 5]
    assert told.log.take_lost() is None


def test_the_backlog_is_bounded_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    told = Told(path)
    disk = Disk(monkeypatch, 0)
    told.put(5000, size=1000)
    told.log.drain(0)
    told.put(10, size=1000)
    assert told.log.take_lost() is None  # no room to say so yet
    disk.room = 10**8
    assert told.log.drain(SECOND) is None
    lost = told.log.take_lost()
    assert lost is not None
    kept = numbers(path)
    assert kept == list(range(len(kept)))
    assert (lost.first, lost.last, lost.count) == (len(kept), 5009, 5010 - len(kept))
    assert path.stat().st_size <= log_module.BACKLOG
    assert told.log.take_lost() is None


def test_a_closed_log_is_not_ready_until_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path / "audit.jsonl", closed=True)
    assert told.state == "ready"
    disk = Disk(monkeypatch, 0)
    told.put()
    told.log.drain(0)
    assert told.state == "not ready"
    assert "no new flow is allowed until it can be written" in told.texts[0]
    disk.room = 1000
    told.log.drain(SECOND)
    assert told.state == "ready"
    assert told.texts[1].endswith("the log goes on; no events missing")


def test_a_pipe_without_a_reader_does_not_block(tmp_path: Path) -> None:
    read, write = os.pipe()
    told = Told(f"fd:{write}", closed=True)
    told.put(3000, size=100)
    again = told.log.drain(0)
    assert again is not None
    assert again < SECOND
    assert told.state == "not ready"
    data = b""
    for turn in range(100):
        data += os.read(read, 1 << 20)
        if told.log.drain(turn) is None:
            break
    assert told.state == "ready"
    told.log.close()
    while piece := os.read(read, 1 << 20):
        data += piece
    os.close(read)
    assert [record["seq"] for record in lines(data)] == list(range(3000))
    assert told.texts == []


def test_a_reader_that_goes_away() -> None:
    read, write = os.pipe()
    told = Told(f"fd:{write}")
    os.close(read)
    told.put()
    told.log.drain(0)
    assert "the log is lost: Broken pipe" in told.texts[0]
    told.log.close()
    assert told.texts[1:] == [f'audit "fd:{write}": the last 1 event could not be written']


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_collector_may_go_and_come_back(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "s"

    def collector() -> socket.socket:
        path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, kind)
        made.bind(str(path))
        made.settimeout(5)
        if kind == socket.SOCK_STREAM:
            made.listen()
        return made

    def receive(made: socket.socket) -> list[int]:
        peer = made.accept()[0] if kind == socket.SOCK_STREAM else made
        found = [record["seq"] for record in lines(peer.recv(10_000))]
        if peer is not made:
            peer.close()
        return found

    first = collector()
    told = Told(f"unix:{path}")
    told.put()
    assert told.log.drain(0) is None
    assert receive(first) == [0]
    first.close()
    told.put()
    assert told.log.drain(SECOND) == 2 * SECOND
    assert "the log is lost: " in told.texts[0]
    assert told.log.drain(2 * SECOND) == 3 * SECOND
    second = collector()
    assert told.log.drain(3 * SECOND) is None
    assert told.texts[1].endswith("the log goes on; no events missing")
    assert receive(second) == [1]
    told.log.close()
    second.close()


def test_every_character_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    told = Told(path)
    text = "".join(map(chr, range(0x180))) + "\u202e\U0001f600\udc80"
    told.log.put({"v": 1, "seq": 0, "text": text})
    told.log.close()
    assert lines(path.read_bytes())[0]["text"] == text
