"""Reports to guests when the host's system refuses: the same for TCP, UDP and echo (RFC 1812, section 5.2.7.1)."""

from __future__ import annotations

import errno

import pytest

from slirpy.nat.refusals import ERRNO_CAUSES
from slirpy.wire.icmp import UNREACHABLE, code_of
from tests.support.harness import (
    GUEST,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    eth,
    icmp_echo,
    ipv4,
    options,
    udp_segment,
    unreachable,
)

CODES = {
    errno.ENETUNREACH: 0,
    errno.ENETDOWN: 0,
    errno.EAFNOSUPPORT: 0,
    errno.EHOSTUNREACH: 1,
    errno.EHOSTDOWN: 1,
    errno.ENOPROTOOPT: 2,
    errno.EACCES: 13,
    errno.EPERM: 13,
    errno.EPROTONOSUPPORT: 13,
}
OWN = [errno.EADDRNOTAVAIL, errno.EINVAL, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ECONNREFUSED]
"""Errors that concern the host alone, or not this packet."""
DF = 0x4000
PROTOCOLS = ["tcp", "udp", "icmp"]


def send(net: Net, protocol: str, fragment: int = 0) -> bytes:
    """One packet to the outside; what an error quotes of it at least."""
    if protocol == "tcp":
        frame = Peer(net).frame(SYN, opts=options())
    elif protocol == "udp":
        frame = eth(ipv4(17, udp_segment(b"x" * 50, 5000, 9, GUEST, WORLD), fragment=fragment))
    else:
        frame = eth(ipv4(1, icmp_echo(b"x" * 50), fragment=fragment))
    net.send(frame)
    net.run(0.01)
    return frame[14:42]


def test_all_errors_of_the_table_are_tried() -> None:
    codes = {error: code_of(cause) for error, cause in ERRNO_CAUSES.items()}
    assert codes == {error: (UNREACHABLE, code) for error, code in CODES.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("error", CODES, ids=errno.errorcode.__getitem__)
def test_one_error_means_the_same_for_each_protocol(net: Net, protocol: str, error: int) -> None:
    net.host.unreachable(WORLD, error=error, at_once=True)
    packet = send(net, protocol)
    assert unreachable(net.one(), CODES[error]).startswith(packet)
    counted = net.stats.tcp_flows_refused, net.stats.drop_udp_host_error, net.stats.drop_icmp_host_error
    assert counted == tuple(int(protocol == each) for each in PROTOCOLS)


@pytest.mark.parametrize("error", CODES, ids=errno.errorcode.__getitem__)
def test_and_when_there_is_no_ping_socket(net: Net, error: int) -> None:
    net.host.ping_refusal = error
    packet = send(net, "icmp")
    assert unreachable(net.one(), CODES[error]).startswith(packet)
    assert net.stats.drop_icmp_refused == 1


@pytest.mark.parametrize("error", OWN, ids=errno.errorcode.__getitem__)
def test_other_errors_reset_a_connection(net: Net, error: int) -> None:
    net.host.unreachable(WORLD, error=error, at_once=True)
    send(net, "tcp")
    assert net.one().data.data.flags & RST


@pytest.mark.parametrize("protocol", ["udp", "icmp"])
@pytest.mark.parametrize("error", [*OWN, errno.ETIMEDOUT, errno.EMSGSIZE], ids=errno.errorcode.__getitem__)
def test_other_errors_are_counted_and_not_reported(net: Net, protocol: str, error: int) -> None:
    net.host.unreachable(WORLD, error=error, at_once=True)
    send(net, protocol)
    net.silence()
    assert net.stats.drop_udp_host_error + net.stats.drop_icmp_host_error == 1


@pytest.mark.parametrize("protocol", ["udp", "icmp"])
def test_too_big_for_the_host_s_path(net: Net, protocol: str) -> None:
    net.host.unreachable(WORLD, error=errno.EMSGSIZE, at_once=True)
    send(net, protocol, DF)
    unreachable(net.one(), 4)


def test_no_answer_is_no_answer(net: Net) -> None:
    net.host.unreachable(WORLD, error=errno.ETIMEDOUT)
    send(net, "tcp")
    net.silence()
    assert net.stats.tcp_flows_refused == 1
