"""Features that kernel scripts need in addition to the rules of TCP: sockets, variables, ``tcp_info``."""

from __future__ import annotations

from functools import partial

import pytest

from slirpy.stats import Stats
from slirpy.testing.packetdrill import ScriptError, run_text
from slirpy.testing.packetdrill.sysctls import _SHOWN_BY, ONLY, SYSCTLS
from tests.unit.testing.packetdrill.scripts import SERVER, SOCKET, expect

SYN = "+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,nop>\n+0 > S. 0:0(0) ack 1 <...>\n"
SACK = f"{SYN}+.1 < . 1:1(0) ack 1 win 65535\n"
ACCEPTED = f"{SERVER}{SACK}+0 accept(3, ..., ...) = 4\n"
FIVE = f"{ACCEPTED}+0 write(4, ..., 5000) = 5000\n+0 > P. 1:5001(5000) ack 1\n"
EMPTY = "{msg_name(...)=..., msg_iov(2)=[{..., 0}, {..., 0}], msg_flags=0}"


passes = partial(expect, "pass", system="linux")
fails = partial(expect, "fail", system="linux")
unsupported = partial(expect, "unsupported", system="linux")


# ------------------------------------------------------------------------------------------ sockets


RESET = "+0 < P. 1:11(10) ack 1 win 65535\n+0 < R. 11:11(0) ack 1 win 65535\n"


def test_a_connection_that_was_reset_is_accepted_with_its_data() -> None:
    passes(
        f"{SERVER}{SACK}{RESET}+0 accept(3, ..., ...) = 4\n+0 %{{ assert tcpi_state == TCP_CLOSE }}%\n"
        "+0 write(4, ..., 9) = -1 ECONNRESET\n+0 read(4, ..., 99) = 10\n+0 read(4, ..., 99) = 0\n+0 close(4) = 0\n"
    )


def test_freebsd_tells_that_it_was_aborted_once() -> None:
    passes(
        f"{SERVER}+0 fcntl(3, F_SETFL, O_NONBLOCK) = 0\n{SACK}{RESET}+0 accept(3, ..., ...) = -1 ECONNABORTED\n"
        "+0 accept(3, ..., ...) = -1 EAGAIN\n",
        system="freebsd",
    )


def test_a_connection_that_was_never_open_is_not_accepted() -> None:
    script = f"{SERVER}+0 fcntl(3, F_SETFL, O_NONBLOCK) = 0\n{SYN}+.1 < R 1:1(0) win 9\n"
    passes(f"{script}+0 accept(3, ..., ...) = -1 EAGAIN\n")


def test_no_buffer_is_efault() -> None:
    passes(
        f"{ACCEPTED}+0 write(4, NULL, 10) = -1 EFAULT\n+0 send(4, NULL, 10, 0) = -1 EFAULT\n"
        "+0 < P. 1:11(10) ack 1 win 9\n+0 read(4, NULL, 10) = -1 EFAULT (Bad address)\n"
        "+0 recvfrom(4, NULL, 10, 0, ..., ...) = -1 EFAULT\n+0 read(4, ..., 10) = 10\n"
    )


def test_empty_buffers_write_nothing() -> None:
    passes(f"{ACCEPTED}+0 sendmsg(4, {EMPTY}, 0) = 0\n+0 write(4, ..., 5) = 5\n+0 > P. 1:6(5) ack 1\n")


@pytest.mark.parametrize(("lowat", "taken"), [(3000, 13_000), (0, 20_000), (0xFFFF_FFFF, 20_000)])
def test_notsent_lowat_bounds_write(lowat: int, taken: int) -> None:
    passes(
        f"{ACCEPTED}+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [{lowat}], 4) = 0\n"
        f"+0 getsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [{lowat}], [4]) = 0\n"
        f"+0 fcntl(4, F_SETFL, O_NONBLOCK) = 0\n+0 write(4, ..., 20000) = {taken}\n+0 > . 1:10001(10000) ack 1\n"
    )


def test_linux_wakes_a_writer_when_half_of_that_is_free() -> None:
    passes(
        f"{ACCEPTED}+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [2000], 4) = 0\n"
        "+0 write(4, ..., 11000) = 11000\n+0 > . 1:10001(10000) ack 1\n"
        "+0 poll([{fd=4, events=POLLOUT, revents=0}], 1, 0) = 0\n"
    )
    passes(
        f"{ACCEPTED}+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [2000], 4) = 0\n"
        "+0 write(4, ..., 10999) = 10999\n+0 > . 1:10001(10000) ack 1\n"
        "+0 poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, 0) = 1\n"
    )


def test_freebsd_opens_for_as_long_as_keepinit_says() -> None:
    passes(
        f"{SOCKET}+0 getsockopt(3, IPPROTO_TCP, TCP_KEEPINIT, [75], [4]) = 0\n+0 close(3) = 0\n"
        "+0 `sysctl -w net.inet.tcp.keepinit=15000`\n+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
        "+0 getsockopt(3, IPPROTO_TCP, TCP_KEEPINIT, [15], [4]) = 0\n"
        "+0 getsockopt(3, IPPROTO_TCP, TCP_KEEPCNT, [8], [4]) = 0\n"
        "+0 setsockopt(3, IPPROTO_TCP, TCP_KEEPINIT, [5], 4) = 0\n"
        "+0...5.00 connect(3, ..., ...) = -1 ETIMEDOUT\n"
        "+0 > S 0:0(0) <...>\n+1 > S 0:0(0) <...>\n+2 > S 0:0(0) <...>\n",
        system="freebsd",
    )


def test_freebsd_takes_more_than_its_buffer_from_a_call_that_blocks() -> None:
    write = "+0 write(4, ..., 50000) = 50000\n"
    passes(ACCEPTED + write, system="freebsd")
    assert (
        "blocks"
        in fails(f"{ACCEPTED}+0 setsockopt(4, ..., SO_SNDBUF, [9000], 4) = 0\n{write}", system="freebsd").reason
    )
    passes(
        f"{ACCEPTED}+0 fcntl(4, F_SETFL, O_NONBLOCK) = 0\n+0 write(4, ..., 50000) = 32768\n", system="freebsd"
    )


def test_freebsd_closes_in_order_though_data_was_not_read() -> None:
    unread = f"{ACCEPTED}+0 < P. 1:11(10) ack 1 win 65535\n* > . 1:1(0) ack 11\n+0 close(4) = 0\n"
    passes(f"{unread}+0 > F. 1:1(0) ack 11\n", system="freebsd")
    passes(f"{unread}+0 > R. 1:1(0) ack 11\n")


@pytest.mark.parametrize(("edge", "answer"), [(65_700, "+0 > . 1:1(0) ack 1 win 65535\n"), (65_701, "")])
def test_freebsd_takes_a_buffer_larger_than_the_field_says(edge: int, answer: str) -> None:
    """RFC 5961, section 3.2: inside the window a reset is challenged."""
    passes(
        f"{SOCKET}+0...0.1 connect(3, ..., ...) = 0\n+0 > S 0:0(0) <...>\n"
        "+.1 < S. 0:0(0) ack 1 win 32767 <mss 1460,sackOK,eol,eol>\n+0 > . 1:1(0) ack 1 win 65535\n"
        f"+.1 < R {edge}:{edge}(0) win 9\n{answer}+.1 close(3) = 0\n+0 > F. 1:1(0) ack 1\n",
        system="freebsd",
    )


def test_freebsd_moves_the_edge_of_such_a_window_with_every_segment() -> None:
    passes(
        f"{SOCKET}+0...0.1 connect(3, ..., ...) = 0\n+0 > S 0:0(0) <...>\n"
        "+.1 < S. 0:0(0) ack 1 win 32767 <mss 1460,sackOK,eol,eol>\n+0 > . 1:1(0) ack 1 win 65535\n"
        "+.1 < F. 1:1(0) ack 1 win 32767\n+0 > . 1:1(0) ack 2 win 65535\n+0 close(3) = 0\n+0 > F. 1:1(0) ack 2\n"
        "+.1 < R 65701:65701(0) win 9\n+0 > . 2:2(0) ack 2 win 65535\n+.1 < . 2:2(0) ack 2 win 9\n",
        system="freebsd",
    )


def test_freebsd_may_repeat_a_fin_with_an_ack() -> None:
    closing = (
        f"{ACCEPTED}+0 shutdown(4, SHUT_WR) = 0\n+0 > F. 1:1(0) ack 1\n+.1 < F. 1:1(0) ack 1 win 9\n"
        "+0 > F. 1:1(0) ack 2\n+.1 < . 2:2(0) ack 2 win 9\n"
    )
    passes(closing, system="freebsd")
    passes(closing.replace("+0 > F. 1:1(0) ack 2", "+0 > . 2:2(0) ack 2"), system="freebsd")
    assert "flags F. expected, not ." in fails(closing).reason
    never = f"{ACCEPTED}+0 < P. 1:11(10) ack 1 win 9\n+.04 > F. 0:0(0) ack 11\n"
    assert "flags F. expected, not ." in fails(never, system="freebsd").reason


def test_names_of_both_ends() -> None:
    passes(
        f"{SOCKET}+0 getsockname(3, ..., ...) = 0\n+0 getpeername(3, ..., ...) = -1 ENOTCONN\n+0 close(3) = 0\n"
        f"{ACCEPTED.replace('0 socket', '+0 socket')}+0 getpeername(4, ..., ...) = 0\n"
    )


def test_linux_alone_finds_losses_by_time() -> None:
    lost = f"{FIVE}+.1 < . 1:1(0) ack 1 win 65535 <sack 2001:3001,nop,nop>\n"
    passes(f"{lost}+.02~+.06 > . 1:1001(1000) ack 1\n")
    passes(f"{lost}+.2~+.4 > . 1:1001(1000) ack 1\n", system="freebsd")


# ------------------------------------------------------------------------------------ what arrives


@pytest.mark.parametrize(
    "fields", ["[ect0]", "[ect1]", "[ce]", "[noecn]", "(tos 0x28)", "[ttl 3]", "[flowlabel 0x1f]"]
)
def test_an_ip_header_that_arrives_makes_no_difference(fields: str) -> None:
    passes(f"{ACCEPTED}+0 < {fields} P. 1:11(10) ack 1 win 9\n+0 > . 1:1(0) ack 11\n")
    if fields != "[noecn]":
        assert "IP header" in unsupported(f"{ACCEPTED}+0 > {fields} . 1:1(0) ack 11\n").reason


def test_a_long_segment_is_answered_as_one() -> None:
    passes(
        f"--mss=1000\n{ACCEPTED}+0 < . 2001:7001(5000) ack 1 win 9\n+0 > . 1:1(0) ack 1 <nop,nop,sack 2001:7001>\n"
        "+0 %{ assert tcpi_rcv_mss == 1000 and tcpi_data_segs_in == 5 }%\n"
        "+0 < . 1:8001(8000) ack 1 win 9\n+0 > . 1:1(0) ack 8001 <nop,nop,sack 2001:7001>\n"
        "+0 read(4, ..., 9000) = 8000\n"
    )


def test_icmp_about_a_segment_in_brackets_before_it() -> None:
    connect = "+0 fcntl(3, F_SETFL, O_NONBLOCK) = 0\n+0 connect(3, ..., ...) = -1 EINPROGRESS\n"
    syn = f"{SOCKET}{connect}+0 > S 0:0(0) <...>\n"
    error = "+0 getsockopt(3, SOL_SOCKET, SO_ERROR, [{}], [4]) = 0\n"
    for seq, told in (("1:1(0)", "0"), ("4294967295:4294967295(0)", "0"), ("0:0(0)", "ECONNREFUSED")):
        passes(f"{syn}+.1 < [{seq}] icmp unreachable port_unreachable\n{error.format(told)}", system="freebsd")
    for line in (
        "icmp redirect [0:0(0)]",
        "<icmp echo_reply",
        "icmp unreachable [0:0(0)]",
        "icmp unreachable mtu 5",
    ):
        passes(f"{syn}+.1 {'' if line.startswith('<') else '< '}{line}\n{error.format(0)}", system="freebsd")
    with pytest.raises(ScriptError, match="only for the segment of an icmp message"):
        run_text(f"{syn}+.1 < [0:0(0)] R. 0:0(0) ack 1\n")


def test_no_two_things_happen_at_once_on_a_kernel() -> None:
    """With no round-trip time at all each report would find the retransmission lost again (RFC 8985)."""
    sacks = "".join(f"+0 < . 1:1(0) ack 1 win 65535 <sack 1001:{n}001,nop,nop>\n" for n in (2, 3, 4))
    passes(
        f"{SERVER}{SACK.replace('+.1', '+0')}+0 accept(3, ..., ...) = 4\n+0 write(4, ..., 5000) = 5000\n"
        f"+0 > P. 1:5001(5000) ack 1\n{sacks}+0 > . 1:1001(1000) ack 1\n"
        "+0 < . 1:1(0) ack 1 win 65535 <sack 1001:5001,nop,nop>\n+0 < . 1:1(0) ack 5001 win 65535\n"
        "+.1 write(4, ..., 10) = 10\n+0 > P. 5001:5011(10) ack 1\n"
    )


def test_that_does_not_make_anything_late() -> None:
    sacks = "".join(f"+0 < . 1:1(0) ack 1 win 65535 <sack 1001:{n}001,nop,nop>\n" for n in (2, 3, 4))
    passes(f"--tolerance_usecs=1\n{FIVE}{sacks}0.1 > . 1:1001(1000) ack 1\n")


# ------------------------------------------------------------------------------------------ tcp_info


LOSS = (
    f"{FIVE}+.05 < . 1:1(0) ack 1 win 65535 <sack 1001:3001,nop,nop>\n"
    "+0 < . 1:1(0) ack 1 win 65535 <sack 1001:4001,nop,nop>\n+0 > . 1:1001(1000) ack 1\n"
)


def test_counts_of_retransmissions() -> None:
    passes(
        f"{FIVE}+0 %{{ assert tcpi_retrans == tcpi_total_retrans == tcpi_bytes_retrans == 0 }}%\n"
        f"+0 %{{ assert tcpi_bytes_sent == 5000 }}%\n{LOSS[len(FIVE) :]}"
        "+0 %{ assert tcpi_retrans == 1 and tcpi_total_retrans == tcpi_snd_rexmitpack == 1\n"
        "assert tcpi_bytes_retrans == 1000 and tcpi_bytes_sent == 6000 and tcpi_retransmits == 0 }%\n"
        "+.05 < . 1:1(0) ack 5001 win 65535\n+0 %{ assert tcpi_retrans == 0 and tcpi_total_retrans == 1 }%\n"
    )


def test_lost_retransmissions_are_not_in_flight() -> None:
    newer = "+0 write(4, ..., 2000) = 2000\n+.01 < . 1:1(0) ack 1 win {} <sack 1001:5001,nop,nop>\n"
    passes(
        f"{LOSS}{newer.format(65535)}+0 > . 5001:6001(1000) ack 1\n"
        "+.06 < . 1:1(0) ack 1 win 65535 <sack 1001:6001,nop,nop>\n+0 > . 1:1001(1000) ack 1\n"
        "+0 %{ assert tcpi_retrans == 1 and tcpi_total_retrans == 2, tcpi_retrans }%\n"
    )


def test_time_outs_are_counted_like_all_that_is_sent_again() -> None:
    passes(
        f"{SERVER}+0 < S 0:0(0) win 9000\n+0 > S. 0:0(0) ack 1 <...>\n+1 > S. 0:0(0) ack 1 <...>\n"
        "+.1 < . 1:1(0) ack 1 win 9000\n+0 accept(3, ..., ...) = 4\n+0 %{ assert tcpi_total_retrans == 1 }%\n"
        "+0 write(4, ..., 1000) = 1000\n+0 > . 1:537(536) ack 1\n* > . 1:537(536) ack 1\n"
        "+0 %{ assert tcpi_total_retrans == 2 and tcpi_retrans == 1 and tcpi_retransmits == 1 }%\n"
    )


def test_reordering_is_known_as_long_as_there_is_none() -> None:
    known = "+0 %{ assert tcpi_reordering == 3 and tcpi_reord_seen == 0 and tcpi_fackets == 0 }%\n"
    passes(LOSS + known)
    reordered = (
        f"{FIVE}+.05 < . 1:1(0) ack 1 win 65535 <sack 2001:3001,nop,nop>\n+0 < . 1:1(0) ack 3001 win 65535\n"
    )
    for name in ("tcpi_reordering", "tcpi_reord_seen"):
        result = unsupported(f"{reordered}+0 %{{ assert {name} == 2 }}%\n")
        assert result.reason.startswith(f"{name}: the engine records that a path reorders")


def test_how_long_ago_something_happened() -> None:
    passes(
        f"{SERVER}{SACK}+0 accept(3, ..., ...) = 4\n"
        "+1 %{ assert tcpi_last_data_recv == tcpi_last_ack_recv == 1000 }%\n"
        "+.5 < P. 1:11(10) ack 1 win 65535\n+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 11\n"
        "+.25 %{ assert (tcpi_last_data_recv, tcpi_last_data_sent) == (250, 250) or False\n"
        "assert tcpi_last_data_sent == 250 }%\n+.05 < . 11:11(0) ack 11 win 9\n"
        "+.1 %{ assert tcpi_last_data_recv == 400 and tcpi_last_ack_recv == 100 }%\n"
    )


@pytest.mark.parametrize(
    "name",
    ["tcpi_delivery_rate", "tcpi_pacing_rate", "tcpi_busy_time", "tcpi_rwnd_limited", "tcpi_rcv_space", "tcpi_ato",
     "tcpi_rcv_rtt", "tcpi_rcv_ssthresh", "tcpi_pmtu", "tcpi_delivered", "tcpi_delivered_ce", "tcpi_dsack_dups",
     "SK_MEMINFO_RCVBUF", "bbr_bw", "dctcp_alpha", "tcpv_enabled", "tcpi_snd_nxt"],
)  # fmt: skip
def test_names_that_are_not_known_are_named(name: str) -> None:
    result = unsupported(f"{ACCEPTED}+0 %{{ assert {name} >= 0, {name} }}%\n")
    assert result.reason == f"{name}: this is not known of a connection"


# --------------------------------------------------------------------------------------------- code


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ('print "{} {}".format(tcpi_snd_cwnd, tcpi_snd_ssthresh)', "pass"),
        (
            ' print "a"\nif (tcpi_snd_cwnd != 10):\n  print "b"\n  assert False\nassert tcpi_snd_cwnd == 10',
            "pass",
        ),
        ("if tcpi_snd_cwnd == 10:\n  x = 1\nelse:\n  x = 2\nassert x == 2", "fail"),
        ("   assert tcpi_snd_cwnd == 10\n      assert tcpi_unacked == 0", "pass"),
        ("assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd;\\\n         assert tcpi_unacked == 1;\\\n", "fail"),
        ("assert len([1, 2]) == 2 == sum((1, 1)) and 1 << 3 == 8 == 16 >> 1", "pass"),
        ("assert 1 << 9999 == 1 << 64", "pass"),
        ("assert (1 if tcpi_unacked else 2) == 2", "pass"),
        ("assert 2 ** 9 == 512", "unsupported"),
        ("if tcpi_snd_cwnd:\n  import os", "unsupported"),
        ("while True:\n  pass", "unsupported"),
        ("for x in (1, 2):\n  assert x", "unsupported"),
    ],
)
def test_conditions_in_code(code: str, outcome: str) -> None:
    assert run_text(f"{ACCEPTED}+0 %{{{code}}}%\n", system="linux").outcome == outcome


# ---------------------------------------------------------------------------------------- variables


def test_a_variable_that_makes_no_difference_does_no_harm() -> None:
    passes(f"0 `sysctl -w net.inet.tcp.insecure_rst=1`\n{ACCEPTED}", system="freebsd")


def test_a_variable_that_cannot_be_set_is_the_reason() -> None:
    inside = "+0 < R 9:9(0) win 0\n+0 getsockopt(4, ..., SO_ERROR, [ECONNRESET], [4]) = 0\n"
    result = unsupported(f"0 `sysctl -w net.inet.tcp.insecure_rst=1`\n{ACCEPTED}{inside}", system="freebsd")
    assert result.line == 1
    assert result.reason == (
        "net.inet.tcp.insecure_rst=1: resets are checked as RFC 5961 says; without it line 10 fails: SO_ERROR is 0"
    )
    fails(f"0 `sysctl -w net.inet.tcp.insecure_rst=0`\n{ACCEPTED}{inside}", system="freebsd")


def test_a_variable_is_the_reason_only_if_its_counter_says_so() -> None:
    no_probes = "0 `sysctl net.ipv4.tcp_early_retrans=0`\n"
    alone = f"{ACCEPTED}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n"
    result = unsupported(f"{no_probes}{alone}+.5 > . 1:11(10) ack 1\n")
    assert "probed (TLP)" in result.reason
    fails(f"{no_probes}{alone}+0 %{{ assert tcpi_unacked == 2 }}%\n")


def test_variables_that_cannot_be_set_are_in_order() -> None:
    assert not set(ONLY) & set(SYSCTLS)
    assert set(_SHOWN_BY) <= set(ONLY)
    assert set(_SHOWN_BY.values()) <= set(Stats.describe())


# ------------------------------------------------------------------------------------ what there is not


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("+0 < addr[caddr0] > addr[saddr0] S 0:0(0) win 9 <mss 1460>", "MPTCP"),
        ("+0 < > addr[saddr1] F. 1:1(0) ack 1 win 9", "MPTCP"),
        ("+0 < S 0:0(0) win 9 <mss 1460,mpcapable v1 flags[flag_h] nokey>", "MPTCP"),
        ("+0 `../common/client.sh`\n+0 socket(..., SOCK_STREAM, IPPROTO_MPTCP) = 4", "it needs MPTCP"),
        ("+0 setsockopt(3, SOL_IP, IP_BIND_ADDRESS_NO_PORT, [1], 4) = 0", "the choice of ports"),
        ("+0 setsockopt(3, SOL_IP, IP_LOCAL_PORT_RANGE, [0xdeaddead], 4) = 0", "the choice of ports"),
        ("+0 < P. 1:21(20) ack 1 win 257 {rep ipv4 version_ihl 0x35}", "damaged on its way"),
        ("+0 > S 0:0(0) <mss 1460> { mut ipv4 ihl; trun tcp 34-36; ins ipv4 34 2 }", "damaged on its way"),
        ("+0 < F. 1:1(0) ack 1 win 9 <nop,nop>/udp(1 > 9811)", "segments in UDP"),
        ("+0 > R. 0:0(0)! ack 2 win 0", "does not count from the SYN"),
        (
            '+0 setsockopt(3, SOL_TCP, TCP_CONGESTION, "bbr", 4) = 0',
            "the congestion control bbr; there is cubic",
        ),
        ("+0 connect(3, AF_UNSPEC, ...) = 0", "AF_UNSPEC"),
        ("+0 ioctl(3, SIOCATMARK, [1]) = 0", "urgent data"),
        ("+0 > S 0:0(0) <mss 1460,nop,nop,md5 valid>", "TCP-MD5"),
        ("+0 > [ect0] .5 1:1005(1004) ack 1 <ECN e1b 1 ceb 0 e0b 1,nop>", "IP header"),
        ("+0 < [ect0] W. 1:1(0) ack 1 win 257 <ECN e0b 1 ceb 0 e1b 1,nop>", "AccECN"),
    ],
)
def test_unsupported_features_are_named(line: str, reason: str) -> None:
    assert reason in unsupported(SOCKET + line + "\n").reason


@pytest.mark.parametrize("option", ["mss 65536", "wscale 256"])
def test_numbers_of_options_must_fit(option: str) -> None:
    with pytest.raises(ScriptError, match=f"{option.split()[0]} must be 0 to {int(option.split()[1]) - 1}"):
        run_text(f"{SOCKET}+0 < S 0:0(0) win 9 <{option}>\n")


def test_a_remark_asks_for_nothing() -> None:
    result = unsupported(f"{SOCKET}+0 `reboot`  // no MSG_FASTOPEN here\n")
    assert "it needs" not in result.reason
