"""Messages between ``slirpy run`` and its first process: wrong ones from inside are the end."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest

from slirpy.cli.border import Border
from slirpy.cli.channel import Channel, GoneError, expect, line, whole
from slirpy.cli.init import Job, receive_job, send_job
from slirpy.errors import LinkError

pytestmark = pytest.mark.needs("linux", detail="sockets of the kind SOCK_SEQPACKET")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, Channel(right)


@pytest.mark.parametrize(
    "data", [b"x", b"[" * 60_000, b"[]", b"1", b'"exit"', b"null", b"\xff\xfe", b'{"exit":', b"{}" * 2]
)
def test_anything_but_a_message_is_the_end(ends: tuple[socket.socket, Channel], data: bytes) -> None:
    inside, channel = ends
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    socket.send_fds(inside, [data], [inside.fileno()])
    assert channel.receive() is None
    assert not before or len(os.listdir("/proc/self/fd")) == before  # the descriptor is closed


def test_another_message_than_the_one_expected(ends: tuple[socket.socket, Channel]) -> None:
    inside, channel = ends
    inside.send(json.dumps({"exit": 1}).encode())
    with pytest.raises(GoneError):
        expect(channel, "ready")


@pytest.mark.parametrize("value", [-1, 256, 1.5, True, "1", None, [1], {}, 10**30])
def test_a_number_out_of_range_is_zero(value: object) -> None:
    assert whole({"exit": value}, "exit", 255) == 0
    assert whole({}, "exit", 255) == 0


def test_a_number_in_range_is_itself() -> None:
    assert [whole({"exit": value}, "exit", 255) for value in (0, 7, 255)] == [0, 7, 255]


def test_a_text_is_one_printable_line() -> None:
    assert line({"error": "a\nb\x1b[2Jc\u202ed"}, "error") == "a b [2Jc d"
    assert len(line({"error": "x" * 10**6}, "error")) == 1000
    assert line({"error": 5}, "error").startswith("unexpected message")


@pytest.mark.parametrize(
    "job",
    [
        Job(["true"], [], Border()),
        Job(["x" * 300_000, "a\nb", "\udcff\u20ac", ""], [2, 15], Border(), terminal=True, output=False),
        Job(["x"], [], Border(True, True, ("/a",), ("/b",), (5,), (0, 7), True, True, ("A",), {"A": "\udcff"})),
    ],
    ids=["plain", "long", "border"],
)
def test_a_job_arrives_as_it_was_sent(ends: tuple[socket.socket, Channel], job: Job) -> None:
    """A command line may be longer than a message, and need not be valid UTF-8."""
    inside, channel = ends
    send_job(Channel(inside), job)
    found = receive_job(channel)
    assert found == job
    assert (found.border.environment is os.environ) == (job.border.environment is os.environ)


def test_a_job_whose_file_is_lost(ends: tuple[socket.socket, Channel]) -> None:
    inside, channel = ends
    inside.send(json.dumps({"job": True}).encode())
    with pytest.raises(LinkError, match="out of descriptors"):
        receive_job(channel)
    inside.close()
    with pytest.raises(GoneError):
        receive_job(channel)
