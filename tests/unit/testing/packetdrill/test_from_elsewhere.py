"""Scripts that were written for a kernel: its defaults, calls and variables, and many scripts in one run."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from slirpy.cli.app import app
from slirpy.testing.packetdrill import ScriptError, UnsupportedError, parse, run_text
from slirpy.testing.packetdrill.language import ELSEWHERE, ICMP_CODES, ICMPV6_CODES
from slirpy.testing.packetdrill.script import Call, Command, Packet, Word
from slirpy.testing.packetdrill.sysctls import PROGRAMS, SYSCTLS, read_command
from tests.unit.testing.packetdrill.scripts import SERVER, SOCKET, expect

SYN = "+0 < S 0:0(0) win 65535 <mss 1000>\n+0 > S. 0:0(0) ack 1 <...>\n"
OPENED = f"{SERVER}{SYN}+.1 < . 1:1(0) ack 1 win 65535\n"
ACCEPTED = f"{OPENED}+0 accept(3, ..., ...) = 4\n"
SACKED = (
    f"{SERVER}+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,nop>\n+0 > S. 0:0(0) ack 1 <...>\n"
    "+.1 < . 1:1(0) ack 1 win 65535\n+0 accept(3, ..., ...) = 4\n"
    "+0 write(4, ..., 5000) = 5000\n+0 > . 1:4001(4000) ack 1\n+0 > P. 4001:5001(1000) ack 1\n"
)


passes, fails = partial(expect, "pass"), partial(expect, "fail")


# ------------------------------------------------------------------------- sockets that are not connected


@pytest.mark.parametrize(
    "lines",
    [
        "+0 close(3) = 0",
        "+0 bind(3, ..., ...) = 0\n+0 close(3) = 0",
        "+0 bind(3, ..., ...) = 0\n+.1 < . 17:20(3) ack 34 win 32767\n+0 > R 34:34(0) win 0\n+0 close(3) = 0",
        "+0 read(3, ..., 10) = -1 ENOTCONN (Transport endpoint is not connected)",
        "+0 recv(3, ..., 10, MSG_PEEK) = -1 ENOTCONN",
        "+0 recvmsg(3, {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0}, 0) = -1 ENOTCONN",
        "+0 write(3, ..., 10) = -1 EPIPE",
        "+0 shutdown(3, SHUT_WR) = -1 ENOTCONN",
        "+0 poll([{fd=3, events=POLLIN|POLLOUT, revents=POLLOUT|POLLHUP}], 1, 0) = 1",
        "+0 accept(3, ..., ...) = -1 EINVAL",
        "+0 getsockopt(3, SOL_SOCKET, SO_ERROR, [0], [4]) = 0",
        "+0 listen(3, 1) = 0\n+0 read(3, ..., 10) = -1 ENOTCONN\n+0 connect(3, ..., ...) = -1 EISCONN",
        "+0 listen(3, 1) = 0\n+0 close(3) = 0",
        "+0 close(3) = 0\n+0 close(3) = -1 EBADF",
        "+0 close(3) = 0\n+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 close(3) = 0",
    ],
)
def test_a_socket_that_was_never_connected(lines: str) -> None:
    passes(f"{SOCKET}{lines}\n")


def test_freebsd_says_that_a_socket_is_not_connected() -> None:
    passes(f"{SOCKET}+0 write(3, ..., 10) = -1 ENOTCONN\n", "freebsd")


def test_another_socket_after_the_first_one() -> None:
    script = (
        f"{SOCKET}+0...0.1 connect(3, ..., ...) = -1 ECONNREFUSED\n+0 > S 0:0(0) <...>\n+.1 < R. 0:0(0) ack 1 win 0\n"
        "+0 close(3) = 0\n"
        "+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0...0.1 connect(3, ..., ...) = 0\n+0 > S 0:0(0) <...>\n"
        "+.1 < S. 0:0(0) ack 1 win 1000 <mss 1000>\n+0 > . 1:1(0) ack 1\n+0 write(3, ..., 10) = 10\n"
        "+0 > P. 1:11(10) ack 1\n"
    )
    passes(script)


def test_closing_a_listener_resets_connections_not_accepted() -> None:
    passes(f"{OPENED}+0 close(3) = 0\n+0 > R. 1:1(0) ack 1\n+.1 < . 1:1(0) ack 1 win 9\n+0 > R 1:1(0)\n")
    passes(f"{SERVER}{SYN}+0 close(3) = 0\n+0 > R. 1:1(0) ack 1\n")
    passes(f"{ACCEPTED}+0 close(3) = 0\n+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n")


def test_a_connection_is_accepted_once() -> None:
    passes(
        f"{ACCEPTED}+0 close(4) = 0\n+0 > F. 1:1(0) ack 1\n+0 fcntl(3, F_SETFL, O_RDWR | O_NONBLOCK) = 0\n"
        "+0 accept(3, ..., ...) = -1 EWOULDBLOCK (Resource temporarily unavailable)\n"
    )


# --------------------------------------------------------------------------------------------- data


def test_a_write_that_blocks_goes_on() -> None:
    script = (
        f"{SERVER.replace('+0 bind', '+0 setsockopt(3, SOL_SOCKET, SO_SNDBUF, [3000], 4) = 0' + chr(10) + '+0 bind')}"
        f"{SYN}+.1 < . 1:1(0) ack 1 win 65535\n+0 accept(3, ..., ...) = 4\n"
        "+0...0.2 write(4, ..., 7000) = 7000\n"
        "+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:3001(1000) ack 1\n"
        "+.1 < . 1:1(0) ack 3001 win 65535\n+0 > . 3001:5001(2000) ack 1\n+0 > P. 5001:6001(1000) ack 1\n"
        "+.1 < . 1:1(0) ack 6001 win 65535\n+0 > P. 6001:7001(1000) ack 1\n"
    )
    passes(script)
    assert "write() should return" in fails(script.replace("0...0.2", "0...0.1")).reason


def test_a_write_that_blocks_ends_with_the_connection() -> None:
    script = ACCEPTED.replace("+0 bind", "+0 setsockopt(3, SOL_SOCKET, SO_SNDBUF, [1000], 4) = 0\n+0 bind")
    passes(
        f"{script}+0...0.1 write(4, ..., 7000) = 1000\n+0 > P. 1:1001(1000) ack 1\n+.1 < R. 1:1(0) ack 1 win 0\n"
        "+0 write(4, ..., 10) = -1 ECONNRESET\n+0 write(4, ..., 10) = -1 EPIPE\n"
    )


@pytest.mark.parametrize(
    "lines",
    [
        "+0 recv(4, ..., 100, MSG_PEEK) = 100\n+0 recv(4, ..., 1000, MSG_PEEK) = 300\n+0 read(4, ..., 1000) = 300",
        "+0 readv(4, [{..., 100}, {..., 50}], 2) = 150\n+0 read(4, ..., 1000) = 150",
        "+0 recvfrom(4, ..., 100, 0, ..., ...) = 100",
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(2)=[{..., 100}, {..., 50}], msg_flags=0}, 0) = 150",
        "+0 recvmsg(4, {msg_name(...)=...,\n  msg_iov(1)=[{..., 100}],\n  msg_flags=0}, MSG_PEEK) = 100",
        "+0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0\n"
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 100}], msg_flags=0,\n"
        "  msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=200}]}, 0) = 100",
        "+0 recv(4, ..., 300, MSG_WAITALL) = 300",
        "+0...0.1 recv(4, ..., 400, MSG_WAITALL) = 400\n+.1 < P. 301:401(100) ack 1 win 9\n+.01 > . 1:1(0) ack 401",
        "+0 shutdown(4, SHUT_RD) = 0\n+0 read(4, ..., 1000) = 300\n+0 read(4, ..., 1000) = 0",
        "+0 shutdown(4, SHUT_RD) = 0\n+0 read(4, ..., 1000) = 300\n"
        "+0 poll([{fd=4, events=POLLIN|POLLRDHUP, revents=POLLIN|POLLRDHUP}], 1, 0) = 1",
        "+0 shutdown(4, 0) = 0\n+0 read(4, ..., 1000) = 300\n+0 read(4, ..., 1000) = 0",
        "+0 read(4, ..., 1000) = 300\n+0 recv(4, ..., 1000, MSG_DONTWAIT) = -1 EWOULDBLOCK",
        "+0 ioctl(4, FIONREAD, [300]) = 0\n+0 ioctl(4, FIONWRITE, [0]) = 0\n+0 ioctl(4, FIONBIO, [1]) = 0\n"
        "+0 read(4, ..., 1000) = 300\n+0 read(4, ..., 1000) = -1 EAGAIN",
        "+0 writev(4, [{..., 100}, {..., 50}], 2) = 150\n+0 > P. 1:151(150) ack 301",
        "+0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 70}], msg_flags=0}, 0) = 70\n+0 > P. 1:71(70) ack 301",
    ],
)
def test_calls_that_move_data(lines: str) -> None:
    arrived = "+0 < P. 1:301(300) ack 1 win 65535\n+.01 > . 1:1(0) ack 301\n"
    passes(f"{ACCEPTED}{arrived}{lines}\n")


def test_a_wrong_number_of_waiting_bytes_is_noticed() -> None:
    line = (
        "+0 < P. 1:301(300) ack 1 win 65535\n+.01 > . 1:1(0) ack 301\n"
        "+0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0\n"
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 100}], msg_flags=0,"
        " msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=5}]}, 0) = 100\n"
    )
    assert "TCP_CM_INQ is 200, not 5" in fails(ACCEPTED + line).reason


def test_epoll_with_edges() -> None:
    script = (
        f"{ACCEPTED}+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"
        "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [2000], 4) = 0\n+0 epoll_create(1) = 5\n"
        "+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT|EPOLLIN|EPOLLET, fd=4}) = 0\n"
        "+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1\n+0 epoll_wait(5, {events=0, ptr=0}, 1, 0) = 0\n"
        "+0 write(4, ..., 5000) = 2000\n+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000) ack 1\n"
        "+0 epoll_wait(5, {events=0, ptr=0}, 1, 0) = 0\n+.1 < . 1:1(0) ack 2001 win 9000\n"
        "+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1\n+0 epoll_wait(5, {events=0, ptr=0}, 1, 0) = 0\n"
        "+0 < P. 1:11(10) ack 2001 win 9000\n+0 epoll_wait(5, {events=EPOLLIN|EPOLLOUT, fd=4}, 1, 0) = 1\n"
        "+0 epoll_wait(5, {events=0, ptr=0}, 1, 0) = 0\n+.01 > . 2001:2001(0) ack 11\n"
        "+0 epoll_ctl(5, EPOLL_CTL_MOD, 4, {events=EPOLLIN, fd=4}) = 0\n"
        "+0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 1\n+0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 1\n"
        "+0 epoll_ctl(5, EPOLL_CTL_DEL, 4, ...) = 0\n+0 epoll_wait(5, {events=0, fd=0}, 1, 0) = 0\n+0 close(5) = 0\n"
    )
    passes(script)


def test_few_unsent_bytes_are_room() -> None:
    lines = (
        "+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [2000], 4) = 0\n"
        "+0 fcntl(4, F_SETFL, O_NONBLOCK) = 0\n"
        "+0 poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, 0) = 1\n+0 write(4, ..., 13000) = 12000\n"
        "+0 > . 1:10001(10000) ack 1\n+0 poll([{fd=4, events=POLLOUT, revents=0}], 1, 0) = 0\n"
        "+.1 < . 1:1(0) ack 1001 win 65535\n+0 > . 10001:12001(2000) ack 1\n"
        "+0 poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, 0) = 1\n"
        "+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [0], 4) = 0\n+0 write(4, ..., 13000) = 13000\n"
    )
    passes(ACCEPTED + lines, "linux")


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("slirpy", ("setsockopt(3, SOL_SOCKET, SO_RCVBUF, [5000], 4) = 0\n"
    "+0 getsockopt(3, ..., SO_RCVBUF, [5000], [4]) = 0")),
        ("linux", ("setsockopt(3, SOL_SOCKET, SO_RCVBUF, [5000], 4) = 0\n"
    "+0 getsockopt(3, ..., SO_RCVBUF, [10000], [4]) = 0")),
        ("freebsd", ("setsockopt(3, SOL_SOCKET, SO_RCVBUF, [5000], 4) = 0\n"
    "+0 getsockopt(3, ..., SO_RCVBUF, [5000], [4]) = 0")),
        ("slirpy", ("setsockopt(3, SOL_SOCKET, SO_SNDBUF, [5000], 4) = 0\n"
    "+0 getsockopt(3, ..., SO_SNDBUF, [5000], [4]) = 0")),
        ("linux", ("setsockopt(3, SOL_SOCKET, SO_SNDBUF, [5000], 4) = 0\n"
    "+0 getsockopt(3, ..., SO_SNDBUF, [10000], [4]) = 0")),
        ("freebsd", "getsockopt(3, SOL_SOCKET, SO_RCVBUF, [65536], [4]) = 0"),
        ("freebsd", "getsockopt(3, SOL_SOCKET, SO_SNDBUF, [32768], [4]) = 0"),
        ("slirpy", "getsockopt(3, SOL_TCP, TCP_MAXSEG, [536], [4]) = 0"),
        ("slirpy", "setsockopt(3, SOL_TCP, TCP_MAXSEG, [0], 4) = -1 EINVAL"),
        ("slirpy", "setsockopt(3, SOL_TCP, TCP_SYNCNT, [-1], 4) = -1 EINVAL"),
        ("slirpy", "setsockopt(3, SOL_SOCKET, SO_RCVBUF, [-1], 4) = -1 EINVAL"),
        ("slirpy", "setsockopt(3, SOL_TCP, TCP_MAXSEG, [40000], 4) = -1 EINVAL"),
        ("slirpy", ("setsockopt(3, SOL_TCP, TCP_USER_TIMEOUT, [3000], 4) = 0\n"
    "+0 getsockopt(3, ..., TCP_USER_TIMEOUT, [3000], [4]) = 0")),
        ("slirpy", "setsockopt(3, SOL_TCP, TCP_SYNCNT, [3], 4) = 0\n+0 getsockopt(3, ..., TCP_SYNCNT, [3], [4]) = 0"),
        ("slirpy", ("setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0\n"
    "+0 getsockopt(3, ..., SO_REUSEADDR, [1], [4]) = 0")),
        ("slirpy", ("getsockopt(3, SOL_SOCKET, SO_TYPE, [SOCK_STREAM], [4]) = 0\n"
    "+0 getsockopt(3, ..., SO_ACCEPTCONN, [0], [4]) = 0")),
        ("slirpy", ("setsockopt(3, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0\n"
    "+0 getsockopt(3, ..., SO_LINGER, {onoff=1, linger=0}, [8]) = 0")),
        ("slirpy", ('setsockopt(3, IPPROTO_TCP, TCP_CONGESTION, "newreno", 8) = 0\n'
    '+0 getsockopt(3, ..., TCP_CONGESTION, "reno", [5]) = 0')),
        ("slirpy", "getsockopt(3, SOL_SOCKET, SO_RCVBUF, ..., [4]) = 0"),
    ],
)  # fmt: skip
def test_options_are_read(system: str, lines: str) -> None:
    passes(f"{SOCKET}+0 {lines}\n", system)


@pytest.mark.parametrize(("asked", "had"), [(700, 700), (9000, 1460)])
def test_maxseg_before_connect_bounds_both_directions(asked: int, had: int) -> None:
    passes(
        f"{SOCKET}+0 setsockopt(3, SOL_TCP, TCP_MAXSEG, [{asked}], 4) = 0\n"
        f"+0 getsockopt(3, ..., TCP_MAXSEG, [{asked}], [4]) = 0\n+0...0.1 connect(3, ..., ...) = 0\n"
        f"+0 > S 0:0(0) <mss {had},sackOK,TS val 1 ecr 0,nop,wscale 5>\n+.1 < S. 0:0(0) ack 1 win 65535 <mss 1460>\n"
        f"+0 > . 1:1(0) ack 1\n+0 getsockopt(3, ..., TCP_MAXSEG, [{had}], [4]) = 0\n"
        f"+0 write(3, ..., {had}) = {had}\n+0 > P. 1:{had + 1}({had}) ack 1\n"
    )


def test_a_receive_buffer_can_be_set_while_the_connection_is_open() -> None:
    passes(
        f"{ACCEPTED}+0 setsockopt(4, SOL_SOCKET, SO_RCVBUF, [3000], 4) = 0\n+0 < P. 1:2001(2000) ack 1 win 9\n"
        "+0 > . 1:1(0) ack 2001 win 63535\n"
    )


# ------------------------------------------------------------------------------- assertions and SACK


def test_sack_updates_the_segment_counts() -> None:
    passes(
        f"{SACKED}+.05 < . 1:1(0) ack 1 win 65535 <sack 2001:3001,nop,nop>\n"
        "+0 %{ assert tcpi_sacked == 1 and tcpi_lost == 0 and tcpi_unacked == 5 }%\n"
        "+0 %{ assert tcpi_ca_state == TCP_CA_Disorder, 'state %d' % tcpi_ca_state }%\n"
        "+0 < . 1:1(0) ack 1 win 65535 <sack 2001:4001,nop,nop>\n+0 %{ assert tcpi_sacked == 2 }%\n"
        "+0 < . 1:1(0) ack 1 win 65535 <sack 2001:5001,nop,nop>\n+0 > . 1:1001(1000) ack 1\n"
        "+0 %{ assert tcpi_sacked == 3 and tcpi_lost == 2 and tcpi_ca_state == TCP_CA_Recovery }%\n"
        "+.1 < . 1:1(0) ack 5001 win 65535\n"
        "+0 %{ assert tcpi_sacked == 0 and tcpi_lost == 0 and tcpi_unacked == 0 }%\n"
        "+0 %{ assert tcpi_ca_state == TCP_CA_Open == TCP_CA_OPEN }%\n",
        "linux",
    )


def test_duplicates_without_sack_are_disorder() -> None:
    passes(
        f"{ACCEPTED}+0 write(4, ..., 3000) = 3000\n+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:3001(1000) ack 1\n"
        "+.05 < . 1:1(0) ack 1 win 65535\n+0 %{ assert tcpi_ca_state == TCP_CA_Disorder and tcpi_sacked == 1 }%\n"
    )


def test_sizes_and_counts_of_segments() -> None:
    passes(
        f"{ACCEPTED}+0 %{{ assert tcpi_rcv_mss == 536 and tcpi_snd_ssthresh == TCP_INFINITE_SSTHRESH }}%\n"
        "+0 < . 1:1001(1000) ack 1 win 9\n+.01 > . 1:1(0) ack 1001\n"
        "+0 %{ assert tcpi_rcv_mss == 1000 and tcpi_bytes_received == 1000\n"
        "assert (tcpi_segs_in, tcpi_segs_out, tcpi_data_segs_in) == (3, 2, 1) or True\n"
        "assert tcpi_segs_in == 3 and tcpi_segs_out == 2 and tcpi_data_segs_in == 1 and tcpi_data_segs_out == 0 }%\n"
    )


@pytest.mark.parametrize(
    "code", ["print tcpi_rto", "print tcpi_rto; assert tcpi_state == TCP_ESTABLISHED", "pass"]
)
def test_old_python_is_read(code: str) -> None:
    passes(f"{ACCEPTED}+0 %{{ {code} }}%\n")
    if "assert" in code:
        fails(f"{ACCEPTED}+0 %{{ {code.replace('ESTABLISHED', 'CLOSE')} }}%\n")


# --------------------------------------------------------------------------------------- the language


@pytest.mark.parametrize("time", ["+0", "+ 0", "+ 0.00", "+0.00", "+.0", "0"])
def test_ways_to_write_a_time(time: str) -> None:
    passes(f"{SERVER}{time} < S 0:0(0) win 65535 <mss 1000>\n{time} > S. 0:0(0) ack 1 <...>\n")


def test_a_sequence_number_that_is_not_compared() -> None:
    passes(f"{SERVER}+0 < S 0:0(0) win 9 <mss 1000>\n+0 > S. ..(0) ack 1 <...>\n")
    passes(f"{ACCEPTED}+0 write(4, ..., 100) = 100\n+0 > P. ..(100) ack 1\n")
    assert "99 bytes expected" in fails(f"{ACCEPTED}+0 write(4, ..., 100) = 100\n+0 > P. ..(99) ack 1\n").reason
    with pytest.raises(ScriptError, match="needs its numbers"):
        parse("0 < S ..(0) win 9")


def test_a_timestamp_that_is_not_compared() -> None:
    script = (
        "--tcp_ts_tick_usecs=1000\n"
        f"{SERVER}+0 < S 0:0(0) win 9 <mss 1000,nop,nop,TS val 7 ecr 0>\n"
        "+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val {}>\n"
    )
    for told in ("1 ecr 7", "... ecr 7", "... ecr ...", "1 ecr ..."):
        passes(script.format(told))
    fails(script.format("... ecr 8"))
    with pytest.raises(ScriptError, match="cannot define the options"):
        parse("0 < S 0:0(0) win 9 <TS val ... ecr 0>")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{..., 1000}", [None, 1000]),
        ("[{..., 10}, {..., 20}]", [[None, 10], [None, 20]]),
        ("{msg_name(...)=..., msg_iov(1)=[{..., 5}], msg_flags=MSG_TRUNC|MSG_PEEK}",
         {"msg_name": None, "msg_iov": [[None, 5]], "msg_flags": Word("MSG_TRUNC|MSG_PEEK")}),
        ("{sa_family = AF_INET, sin_port = htons(8080), sin_addr = inet_addr(\"192.0.2.1\")}",
         {"sa_family": Word("AF_INET"), "sin_port": Word("htons", (8080,)),
          "sin_addr": Word("inet_addr", ("192.0.2.1",))}),
        ('"one" "two"', "onetwo"),
        ('"begin"...', "begin"),
        ("[]", []),
        ("[TCP_NLA_BUSY = 7]", [{"TCP_NLA_BUSY": 7}]),
        ("O_RDWR | O_NONBLOCK", Word("O_RDWR|O_NONBLOCK")),
        ("0x1|EPOLLET", Word("1|EPOLLET")),
        ("0xffffffff", 0xFFFFFFFF),
    ],
)  # fmt: skip
def test_values(text: str, value: object) -> None:
    call = parse(f"0 f({text}) = 0").events[0]
    assert isinstance(call, Call)
    assert call.arguments[0] == value


def test_a_call_goes_over_lines() -> None:
    script = parse("0 f(1,\n  ..., [\n 2,\n 3]) = 0 // (\n+0 g() = 0\n")
    assert [(event.line, event.name) for event in script.events if isinstance(event, Call)] == [
        (1, "f"),
        (5, "g"),
    ]


def test_ports_are_read_where_they_belong_together() -> None:
    script = "+0 < 5000 > 8080 S 0:0(0) win 9 <mss 1000>\n+0 > 8080 > {} S. 0:0(0) ack 1 <...>\n"
    passes(SERVER + script.format(5000))
    assert run_text(SERVER + script.format(5001)).outcome == "unsupported"


def test_options_have_spaces_and_quotes() -> None:
    script = parse('--mtu = 1000\n--ip_version=ipv4-mapped-ipv6 --local_ip="192.0.2.1"\n' + SOCKET)
    assert [option[1:] for option in script.options] == [
        ("mtu", "1000"),
        ("ip_version", "ipv4-mapped-ipv6"),
        ("local_ip", "192.0.2.1"),
    ]
    passes("--mtu = 1000\n--ip_version=ipv4-mapped-ipv6\n" + SERVER)


@pytest.mark.parametrize(
    ("text", "systems"),
    [
        ("#ifdef linux\n+0 f()\n#endif\n", ("slirpy", "freebsd")),
        ("#ifndef linux\n+0 f()\n#endif\n", ("linux",)),
        ("#ifdef __FreeBSD__\n+0 f()\n#else\n+0 f()\n#endif\n", ()),
        ("#if defined(linux) || defined(__FreeBSD__)\n+0 f()\n#endif\n", ("slirpy",)),
        ("#if defined(linux) && !defined(X)\n+0 f()\n#else\n#endif\n", ("slirpy", "freebsd")),
        ("#if 0\n+0 f()\n+0 ) nonsense `\n#endif\n", ("slirpy", "linux", "freebsd")),
        ("#ifdef linux\n+0 f()\n#elif defined(SLIRPY)\n#else\n+0 f()\n#endif // linux\n", ("slirpy", "freebsd")),
        (("#define X 1\n#ifdef X\n#else\n+0 f()\n#endif\n#undef X\n"
    "#ifdef X\n+0 f()\n#endif\n"), ("slirpy", "linux", "freebsd")),
        ("#ifdef linux\n#ifdef X\n+0 f()\n#else\n+0 f()\n#endif\n#endif\n", ("slirpy", "freebsd")),
        ("# if you like\n#else is a word\n#define is a word, too\n", ("slirpy", "linux", "freebsd")),
    ],
)  # fmt: skip
def test_conditions(text: str, systems: tuple[str, ...]) -> None:
    """The systems with which the call, which does not exist, is left out."""
    for system in ("slirpy", "linux", "freebsd"):
        wanted = "pass" if system in systems else "unsupported"
        assert run_text(SOCKET + text, system=system).outcome == wanted, system
    assert run_text(f"{SOCKET}#ifdef X\n+0 f()\n#endif\n", defines={"X": "1"}).outcome == "unsupported"


def test_lines_keep_their_numbers_behind_a_condition() -> None:
    result = run_text(f"{SOCKET}#ifdef X\n+0 f()\n#endif\n+0 f()\n")
    assert (result.outcome, result.line) == ("unsupported", 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 f()\n#endif\n", "script:2: #endif without #ifdef"),
        ("#else\n", "script:1: #else without #ifdef"),
        ("\n#ifdef X\n0 f()\n", "script:2: #ifdef without #endif"),
    ],
)
def test_conditions_without_their_end(text: str, told: str) -> None:
    with pytest.raises(ScriptError, match=told):
        parse(text)


def test_words_are_replaced() -> None:
    script = f'--define=SIZE=300\n--define=CC="reno"\n{SERVER}+0 setsockopt(3, ..., TCP_CONGESTION, CC, 4) = 0\n{SYN}'
    script += (
        "+.1 < . 1:1(0) ack 1 win 65535\n+0 accept(3, ..., ...) = 4\n"
        "+0 write(4, ..., SIZE) = SIZE\n+0 > P. 1:301(300) ack 1\n"
    )
    passes(script)
    call = run_text(f"{ACCEPTED}+0 write(4, ..., N) = 40\n+0 > P. 1:41(40) ack 1\n", defines={"N": "40"})
    assert call.outcome == "pass", call
    with pytest.raises(UnsupportedError, match="#include"):
        parse('#include "more.pkt"\n')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("+0 < S 0:0(0) win 9 <mss 1000,FO abcd1234,nop>", "TCP Fast Open"),
        ("+0 < S 0:0(0) win 9 <mss 1000,FOEXP>", "TCP Fast Open"),
        ("+0 sendto(3, ..., 100, MSG_FASTOPEN, ..., ...) = 100", "TCP Fast Open"),
        ("+0 setsockopt(3, SOL_TCP, TCP_FASTOPEN, [5], 4) = 0", "TCP Fast Open"),
        ("+0 > S 0:0(0) <mss 1460,mp_capable v1 flags[flag_h] nokey>", "MPTCP"),
        ("+0 > SEWA 0:0(0) <...>", "AccECN"),
        ("+0 > .5 1:1(0) ack 1", "AccECN"),
        ("+0 > SEW 0:0(0) <...>", "without ECN"),
        ("+0 > [ect0] . 1:1(0) ack 1", "IP header"),
        ("+0 send(3, ..., 100, MSG_ZEROCOPY) = 100", "zero copy"),
        ("+0 setsockopt(3, SOL_SOCKET, SO_ZEROCOPY, [1], 4) = 0", "zero copy"),
        (
            "+0 recvmsg(3, {msg_name(...)=..., msg_iov(1)=[{...,0}], msg_flags=0}, MSG_ERRQUEUE) = 0",
            "zero copy",
        ),
        ("+0 < . 1:1(0) ack 1 win 9 <md5 00112233445566778899aabbccddeeff,nop,nop>", "TCP-MD5"),
        ("+0 setsockopt(3, SOL_TCP, TCP_CORK, [1], 4) = 0", "corking"),
        ("+0 > S 0:0(0) <...> { mut ipv4 ihl }", "damaged on its way"),
        ("+0 < ipv4 192.0.2.1 > 192.0.2.2: gre: . 1:1(0) ack 1 win 9", "TCP alone"),
        ("+0 sendfile(4, 5, [0], 100) = 100", "zero copy"),
    ],
)
def test_features_that_are_missing_have_a_name(line: str, reason: str) -> None:
    result = run_text(f"{SOCKET}{line}\n")
    assert (result.outcome, result.line) == ("unsupported", 2), result
    assert reason in result.reason
    assert str(result).startswith("unsupported  script:2: ")


def test_a_socket_of_mptcp_is_unsupported() -> None:
    assert "MPTCP" in run_text("0 socket(..., SOCK_STREAM, IPPROTO_MPTCP) = 3\n").reason


def test_every_missing_feature_has_words() -> None:
    words = [word for group in ELSEWHERE.values() for word in group]
    assert len(words) == len(set(words))


# ---------------------------------------------------------------------------------------------- ICMP


@pytest.mark.parametrize("code", ICMP_CODES)
def test_every_code_of_icmp(code: str) -> None:
    """A final error ends an opening connection; any other is an error that passes."""
    script = f"{SOCKET}+0...0.1 connect(3, ..., ...) = -1 ECONNREFUSED\n+0 > S 0:0(0) <...>\n"
    script += f"+.1 < icmp unreachable {code} [0:0(0)]\n"
    if code in ("protocol_unreachable", "port_unreachable", "net_prohibited", "host_prohibited", "packet_filtered",
                "admin_prohibited"):  # fmt: skip
        passes(script)
        return
    script = script.replace("-1 ECONNREFUSED", "0")
    network = code.startswith("net_") or code == "no_route"
    soft = "" if code == "frag_needed" else "ENETUNREACH" if network else "EHOSTUNREACH"
    passes(
        f'{script}+0 %{{ assert soft_error == "{soft}" }}%\n+0 < S. 0:0(0) ack 1 win 9\n+0 > . 1:1(0) ack 1\n'
    )


@pytest.mark.parametrize(
    "message", ["time_exceeded", "time_exceeded ttl_exceeded", "parameter_problem", "source_quench"]
)
def test_other_messages_of_icmp_end_nothing(message: str) -> None:
    passes(
        f"{SOCKET}+0...0.2 connect(3, ..., ...) = 0\n+0 > S 0:0(0) <...>\n+.1 < icmp {message} [0:0(0)]\n"
        "+.1 < S. 0:0(0) ack 1 win 9\n+0 > . 1:1(0) ack 1\n"
    )


def test_a_smaller_path_in_both_families() -> None:
    script = (
        f"{{}}{ACCEPTED.replace('mss 1000', 'mss 1400')}+0 setsockopt(4, ..., TCP_NODELAY, [1], 4) = 0\n"
        f"+0 write(4, ..., 1400) = 1400\n+0 > P. 1:1401(1400) ack 1\n"
    )
    script += "+.1 < icmp {} mtu {} [1:1401(1400)]\n+0 > . 1:{}({}) ack 1\n+0 > P. {}:1401({}) ack 1\n"
    passes(script.format("", "unreachable frag_needed", 1060, 1021, 1020, 1021, 380))
    passes(script.format("", "packet_too_big", 1080, 1021, 1020, 1021, 380))
    passes(script.format("--ip_version=ipv6\n", "packet_too_big", 1360, 1301, 1300, 1301, 100))


@pytest.mark.parametrize("code", [*ICMPV6_CODES, ""])
def test_every_code_of_icmpv6(code: str) -> None:
    opening = f"--ip_version=ipv6\n{SOCKET}+0...0.1 connect(3, ..., ...) = {{}}\n+0 > S 0:0(0) <...>\n"
    opening += f"+.1 < icmp unreachable {code} [0:0(0)]\n"
    if code in ("port_unreachable", "admin_prohibited"):
        passes(opening.format("-1 ECONNREFUSED"))
        return
    soft = "ENETUNREACH" if code in ("", "no_route", "net_unreachable") else "EHOSTUNREACH"
    passes(
        f'{opening.format(0)}+0 %{{ assert soft_error == "{soft}" }}%\n'
        "+0 < S. 0:0(0) ack 1 win 9\n+0 > . 1:1(0) ack 1\n"
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "unreachable frag_needed mtu 1300",
            "icmp unreachable frag_needed: ICMPv6 has none; it has net_unreach",
        ),
        ("unreachable frag_needed mtu 1300", "port_unreachable, and the type packet_too_big"),
        ("unreachable host_unreachable", "icmp unreachable host_unreachable: ICMPv6 has none; it has"),
        (
            "source_quench",
            "ICMPv6 has none; it has unreachable, packet_too_big, time_exceeded, parameter_problem",
        ),
    ],
)
def test_icmp_messages_without_an_icmpv6_counterpart(message: str, reason: str) -> None:
    script = f"{SOCKET}+0...0.2 connect(3, ..., ...) = 0\n+0 > S 0:0(0) <...>\n+.1 < icmp {message} [0:0(0)]\n"
    script += "+.1 < S. 0:0(0) ack 1 win 9\n+0 > . 1:1(0) ack 1\n"
    passes(script)
    result = run_text(script, settings={"ip_version": "ipv6"})
    assert (result.outcome, result.line) == ("unsupported", 4)
    assert reason in result.reason


@pytest.mark.parametrize("version", ["ipv4", "ipv4-mapped-ipv6", "ipv6"])
def test_a_ladder_has_the_addresses_of_the_version(version: str) -> None:
    script = f"--ip_version={version}\n{SOCKET}+0...0.2 connect(3, ..., ...) = 0\n+0 > S 0:0(0) <...>\n"
    failed = run_text(f"{script}+.1 < S. 0:0(0) ack 1 win 9\n+0 > . 2:2(0) ack 1\n")
    assert failed.outcome == "fail"
    head, syn, answer, *_ = failed.ladder.splitlines()
    ends = (
        ["[2001:db8::1]:8080", "[2001:db8::2]:40000"]
        if version == "ipv6"
        else ["192.0.2.1:8080", "192.0.2.2:40000"]
    )
    assert head.split() == ["time", *ends]
    assert f"SYN seq=0 mss={1440 if version == 'ipv6' else 1460}" in syn
    assert "SYN,ACK seq=0 ack=1" in answer


# ----------------------------------------------------------------------------------- other systems


def test_linux_has_its_defaults() -> None:
    script = (
        f"{SERVER}+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,nop,nop,wscale 7>\n"
        "+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>\n+.1 < . 1:1(0) ack 1 win 511\n"
        "+0 accept(3, ..., ...) = 4\n+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10000], 4) = 0\n"
        "+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"
        "+0 write(4, ..., 30000) = 20000\n+0 > P. 1:5001(5000) ack 1\n+0 > . 5001:10001(5000) ack 1\n"
        "+.1 < . 1:1(0) ack 10001 win 511\n"
    )
    passes(script, "linux")
    passes(f"--linux\n{script}")
    assert run_text(script).outcome == "fail"
    assert run_text(script, system="freebsd").outcome == "fail"


def test_linux_acknowledges_the_first_segments_at_once() -> None:
    lines = "".join(
        f"+.1 < P. {n}:{n + 10}(10) ack 1 win 9\n+0 > . 1:1(0) ack {n + 10}\n" for n in range(1, 161, 10)
    )
    late = "+.1 < P. 161:171(10) ack 1 win 9\n+.04 > . 1:1(0) ack 171\n"
    passes(f"--tolerance_usecs=0 --tolerance_percent=0\n{ACCEPTED}{lines}{late}", "linux")
    dialogue = (
        "+.1 < P. 1:11(10) ack 1 win 9\n+0 > . 1:1(0) ack 11\n+0 write(4, ..., 5) = 5\n+0 > P. 1:6(5) ack 11\n"
    )
    answered = "+.1 < P. 11:21(10) ack 6 win 9\n+.04 > . 6:6(0) ack 21\n"
    passes(f"--tolerance_usecs=0 --tolerance_percent=0\n{ACCEPTED}{dialogue}{answered}", "linux")
    quick = (
        "+0 setsockopt(4, SOL_TCP, TCP_QUICKACK, [1], 4) = 0\n"
        "+.1 < P. 11:21(10) ack 6 win 9\n+0 > . 6:6(0) ack 21\n"
    )
    passes(f"--tolerance_usecs=0 --tolerance_percent=0\n{ACCEPTED}{dialogue}{quick}", "linux")


def test_linux_does_not_begin_again_after_silence() -> None:
    script = (
        f"{ACCEPTED}+0 write(4, ..., 10000) = 10000\n"
        f"+0 > P. 1:10001(10000) ack 1\n+.1 < . 1:1(0) ack 10001 win 65535\n"
    )
    script += (
        "+0 %{ assert tcpi_snd_cwnd == 20 }%\n+5 write(4, ..., 1000) = 1000\n+0 > P. 10001:11001(1000) ack 1\n"
    )
    passes(f"{script}+0 %{{ assert tcpi_snd_cwnd == 20 }}%\n", "linux")
    on = "0 `sysctl -q net.ipv4.tcp_slow_start_after_idle=1`\n"
    passes(f"{on}{script}+0 %{{ assert tcpi_snd_cwnd == 10 }}%\n", "linux")


def test_freebsd_has_its_defaults() -> None:
    script = (
        f"{SOCKET}+0 getsockopt(3, SOL_SOCKET, SO_RCVBUF, [65536], [4]) = 0\n+0...0.1 connect(3, ..., ...) = 0\n"
        "+0 > S 0:0(0) win 65535 <mss 1460,nop,wscale 6,sackOK,TS val 100 ecr 0>\n"
        "+.1 < S. 0:0(0) ack 1 win 65535 <mss 1440,nop,wscale 6,sackOK,TS val 100 ecr 100>\n"
        "+0 > . 1:1(0) ack 1 win 1035 <nop,nop,TS val ... ecr 100>\n"
        "+0 getsockopt(3, SOL_SOCKET, SO_RCVBUF, [66240], [4]) = 0\n"
        "+.1 < F. 1:1(0) ack 1 win 9 <nop,nop,TS val 300 ecr 100>\n"
        "+0 > . 1:1(0) ack 2 win 1035 <nop,nop,TS val ... ecr 300>\n"
    )
    passes(script, "freebsd")
    passes(f"--freebsd\n{script}")
    assert run_text(script, system="linux").outcome == "fail"
    fails(script.replace("win 1035", "win 900"), "freebsd")
    fails(script.replace("win 1035", "win 1200"), "freebsd")


def test_an_unknown_system_is_a_mistake() -> None:
    with pytest.raises(ScriptError, match="must be slirpy, linux, freebsd"):
        run_text(SOCKET, system="plan9")


def test_tolerance_in_percent() -> None:
    script = f"{SACKED}+0 %{{ x = 1 }}%\n"
    late = "+.19 > . 4001:5001(1000) ack 1\n"
    assert run_text(f"--tolerance_usecs=1000\n{script}{late}", silence=False).outcome == "fail"
    result = run_text(f"--tolerance_usecs=1000 --tolerance_percent=90\n{script}{late}", silence=False)
    assert result.outcome == "pass", result


# ------------------------------------------------------------------------------ --mss, strict segments


def test_mss_splits_large_segments() -> None:
    script = (
        f"{ACCEPTED}+0 < P. 1:2501(2500) ack 1 win 9\n"
        f"+0 %{{ assert tcpi_data_segs_in == N and tcpi_advmss == 1460 }}%\n"
    )
    assert run_text("--mss=1000\n" + script.replace("N", "3"), silence=False).outcome == "pass"
    assert run_text(script.replace("N", "1"), silence=False).outcome == "pass"
    fin = (
        f"--mss=1000\n{ACCEPTED}+0 < FP. 1:2501(2500) ack 1 win 9\n"
        f"+0 read(4, ..., 9000) = 2500\n+0 read(4, ..., 9) = 0\n"
    )
    assert run_text(fin, silence=False).outcome == "pass"
    assert (
        run_text("--open=passive --mss=1000\n0 < S 0:0(0) win 9\n+0 > S. 0:0(0) ack 1 <mss 1000>").outcome
        == "pass"
    )


def test_strict_segments() -> None:
    script = f"{ACCEPTED}+0 write(4, ..., 2000) = 2000\n"
    passes(script + "+0 > P. 1:2001(2000) ack 1\n")
    assert (
        "2000 bytes expected, not 1000"
        in fails("--strict_segments\n" + script + "+0 > P. 1:2001(2000) ack 1\n").reason
    )
    passes("--strict_segments\n" + script + "+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000) ack 1\n")


# ------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("sysctl -q net.ipv4.tcp_rmem='4096 131072 15728640'",
         {"rcv_buffer": 15 << 20, "rcv_buffer_initial": 65536, "shown_rcvbuf": 131072}),
        ('../common/defaults.sh\n../common/set_sysctls.py /proc/sys/net/ipv4/tcp_wmem="4096 50000 4194304" \\\n'
         " /proc/sys/net/ipv4/tcp_recovery=0", {"snd_buffer": 50000, "rack": False}),
        ('sysctl -q net.ipv4.tcp_wmem="4096 $((256*1024)) 4194304" > /dev/null 2>&1', {"snd_buffer": 262144}),
        ("sysctl -w net.inet.tcp.delacktime=40; sysctl net.inet.tcp.msl=1000",
         {"delayed_ack": 40_000_000, "time_wait": 2_000_000_000}),
        ("echo 0 > /proc/sys/net/ipv4/tcp_slow_start_after_idle", {"idle_restart": False}),
        ("sysctl -q net.ipv4.tcp_early_retrans=0  # no probes\ntc qdisc add dev tun0 root pfifo", {}),
        ("nstat -n; ip tcp_metrics flush all > /dev/null 2>&1", {}),
        ("sysctl -w net.inet.tcp.hostcache.purgenow=1 && sysctl -w kern.ipc.maxsockbuf=2097152",
         {"rcv_buffer": 2 << 20}),
        ("sockstat -4 -P tcp -s | grep packetdrill | grep -c TIME_WAIT | grep 1", {}),
        ("sudo sysctl net.ipv4.tcp_keepalive_time=5", {"keepalive_idle": 5_000_000_000}),
        ("/tmp/sysctl_restore_${PPID}.sh", {}),
    ],
)  # fmt: skip
def test_commands(command: str, changes: dict[str, object]) -> None:
    seconds, found, _ = read_command(1, command)
    assert (seconds, dict(found)) == (0, changes)


@pytest.mark.parametrize(
    "command",
    ["rm -rf /", "sysctl -q net.ipv4.tcp_wmem=5", "sysctl net.ipv4.tcp_congestion_control=bbr",
     "sysctl -w net.inet.tcp.blackhole=2",
     "iptables -A INPUT -j DROP", "sysctl user.max_user_namespaces=0", "grep x | sh", "defaults.sh now",
     "ip route add 192.0.2.1 dev tun0 mtu lock 640", "tc qdisc replace dev tun0 root pfifo limit 0"],
)  # fmt: skip
def test_commands_that_are_unsupported(command: str) -> None:
    with pytest.raises(UnsupportedError):
        read_command(7, command)


def test_sleep_takes_its_time() -> None:
    event = parse("0 `sleep 1.5; sleep .5s`").events[0]
    assert isinstance(event, Command)
    assert event.seconds == 2


def test_no_program_that_could_harm_is_ignored() -> None:
    assert not PROGRAMS & {"rm", "sh", "bash", "python", "python3", "kill", "iptables", "dd"}


@pytest.mark.parametrize("name", SYSCTLS)
def test_every_variable_of_the_table_is_there(name: str) -> None:
    value = {"net.ipv4.tcp_rmem": '"1 2 3"', "net.ipv4.tcp_wmem": '"1 2 3"'}.get(name, "1")
    if name.endswith(("congestion_control", "cc.algorithm")):
        value = "reno"
    passes(f"0 `sysctl -q {name}={'0' if name.endswith('blackhole') else value}`\n{SOCKET}")


def test_a_variable_applies_to_sockets_opened_later() -> None:
    command = '+0 `sysctl -q net.ipv4.tcp_rmem="4096 8000 8000"`\n'
    window = "+0 < S 0:0(0) win 9 <mss 1000>\n+0 > S. 0:0(0) ack 1 win {} <mss 1460>\n"
    passes(command.replace("+0", "0") + SERVER + window.format(4000))
    passes(SERVER + command + window.format(4000))
    passes(SERVER + window.format(65535) + command)


def test_variables_turn_options_off() -> None:
    connect = f"{SOCKET}+0...0.1 connect(3, ..., ...) = -1 ECONNREFUSED\n+0 > S 0:0(0) <{{}}>\n"
    connect += "+.1 < R. 0:0(0) ack 1 win 0\n"
    off = "0 `sysctl -q net.ipv4.tcp_{}=0`\n"
    passes(off.format("timestamps") + connect.format("mss 1460,nop,nop,sackOK,nop,wscale 5"))
    passes(off.format("sack") + connect.format("mss 1460,nop,nop,TS val 1 ecr 0,nop,wscale 5"))
    passes(off.format("window_scaling") + connect.format("mss 1460,sackOK,TS val 1 ecr 0"))
    passes("0 `sysctl -w net.inet.tcp.rfc1323=0`\n" + connect.format("mss 1460,sackOK"), "freebsd")


def test_a_variable_that_makes_no_sense_fails() -> None:
    assert "rcv_buffer 0 is too small" in fails(f"0 `sysctl -w kern.ipc.maxsockbuf=0`\n{SOCKET}").reason


# -------------------------------------------------------------------------------------- many scripts


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["packetdrill", *arguments], prog_name="slirpy")
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.pkt").write_text(ACCEPTED)
    (tmp_path / "b.pkt").write_text("0 this is nothing\n")
    (tmp_path / "c.pkt").write_text(f"{ACCEPTED}+0 write(4, ..., 10) = 11\n")
    (tmp_path / "d.pkt").write_text("0 < udp (10)\n")
    (tmp_path / "e.pkt").write_bytes(b"\xff\xfe")
    (tmp_path / "f.pkt").write_text(f"{SOCKET}+0 close(3) = 0\n")
    return tmp_path


def test_a_mistake_in_one_file_does_not_stop_the_others(folder: Path) -> None:
    status, output = run("--no-ladder", str(folder))
    assert status == 2
    lines = output.splitlines()
    assert lines[0] == f"pass         {folder}/a.pkt"
    assert lines[1].startswith(f"slirpy: {folder}/b.pkt:1: ")
    assert lines[2].startswith(f"fail         {folder}/c.pkt:")
    assert lines[3].startswith(f"unsupported  {folder}/d.pkt:1: ")
    assert lines[4].startswith(f"slirpy: {folder}/e.pkt: cannot be read")
    assert lines[5] == f"pass         {folder}/f.pkt"
    assert lines[6:] == ["6 scripts: 2 passed, 1 failed, 1 unsupported, 2 not readable"]


def test_a_report_for_machines(folder: Path) -> None:
    report = folder / "report.xml"
    (folder / "c.pkt").write_text(f"{ACCEPTED}+0 write(4, ..., 10) = 11 // <&>\x07\n")
    assert run("--junit", str(report), str(folder))[0] == 2
    root = ElementTree.parse(report).getroot()
    counts = {"tests": "6", "failures": "1", "errors": "2", "skipped": "1"}
    for element in (root, root[0]):
        assert {name: element.get(name) for name in counts} == counts
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert [len(case) for case in cases.values()] == [0, 1, 1, 1, 1, 0]
    failure = cases["c.pkt"].find("failure")
    assert failure is not None
    assert "write() returns 10, not 11" in (failure.get("message") or "")
    assert "SYN,ACK" in (failure.text or "")
    assert cases["d.pkt"].find("skipped") is not None
    assert cases["b.pkt"].find("error") is not None
    assert run("--junit", str(report), str(folder / "a.pkt"))[0] == 0  # a report of ours is replaced
    assert ElementTree.parse(report).getroot().get("tests") == "1"


def test_a_report_replaces_nothing_else(folder: Path) -> None:
    letter = folder / "letter.txt"
    letter.write_text("Dear all")
    for name in (str(letter), str(folder), "", str(folder / "none" / "report.xml")):
        status, output = run("--junit", name, str(folder / "a.pkt"))
        assert status == 2
        assert "--junit" in output
        assert "Traceback" not in output
    assert letter.read_text() == "Dear all"


def test_switches_of_the_command_line(folder: Path) -> None:
    script = folder / "a.pkt"
    script.write_text(f"{ACCEPTED}#ifdef linux\n+0 write(4, ..., SIZE) = SIZE\n+0 > . 1:11(10) ack 1\n#endif\n")
    assert run(str(script))[0] == 0
    assert run("--linux", str(script))[0] == 2
    assert run("--linux", "--define", "SIZE=10", str(script))[0] == 0
    assert run("--freebsd", str(script))[0] == 0
    status, output = run("--freebsd", "--linux", str(script))
    assert (status, "exclude each other" in output) == (2, True)
    assert run("--define", "=5", str(script))[0] == 2


ARGUMENTS = (
    "",
    "4",
    "4, 1",
    "4, 1, 2",
    "..., ..., ..., ...",
    "4, SOL_SOCKET, SO_LINGER",
    "4, SOL_SOCKET, SO_ERROR",
)


def test_a_caller_that_makes_no_sense_of_arguments_gets_a_result() -> None:
    """Calls with too few arguments fail; they raise nothing."""
    for name in ("read", "write", "getsockopt", "setsockopt", "fcntl", "ioctl", "shutdown", "poll", "epoll_ctl",
                 "sendmsg",
                 "recvmsg", "readv", "accept", "connect", "close", "epoll_wait"):  # fmt: skip
        for arguments in ARGUMENTS:
            result = run_text(f"{ACCEPTED}+0 {name}({arguments}) = 0\n")
            assert result.outcome in ("pass", "fail", "unsupported")


def test_packets_keep_their_ports() -> None:
    packet = parse("0 < 10 > 20 S 0:0(0) win 9").events[0]
    assert isinstance(packet, Packet)
    assert packet.ports == (10, 20)


def test_brackets_inside_each_other_end_in_order() -> None:
    with pytest.raises(ScriptError, match="script:1: brackets are nested"):
        parse(f"0 f({'[' * 100_000}")
