"""The supported part of packetdrill's language, as tables; the documentation is generated from them."""

from __future__ import annotations

from slirpy.wire import icmpv6
from slirpy.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

__all__ = [
    "ACTIONS",
    "CALLS",
    "ELSEWHERE",
    "FLAGS",
    "ICMPV6_CODES",
    "ICMP_CODES",
    "OPTIONS",
    "READABLE_OPTIONS",
    "SCRIPT_OPTIONS",
    "SOCKET_OPTIONS",
    "flag_text",
    "missing",
]

FLAGS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR}
"""Letters of flags. ``-`` stands for no flags."""

OPTIONS = {
    "mss": (1, "maximum segment size"),
    "wscale": (1, "window scale"),
    "sackOK": (0, "SACK permitted"),
    "sack": (-2, "SACK blocks; their numbers are relative, as in the ACK field"),
    "TS": (2, "timestamps: `TS val 100 ecr 0`"),
    "nop": (0, "padding"),
    "eol": (0, "end of the options"),
    "hex": (-1, "slirpy's own: any bytes, such as `hex 1e00` for an option of length 0; for `<` only"),
}
"""TCP options: the number of their values (-2: any number of pairs), and their meaning."""

ICMP_CODES = {
    "net_unreachable": 0,
    "host_unreachable": 1,
    "protocol_unreachable": 2,
    "port_unreachable": 3,
    "frag_needed": 4,
    "source_route_failed": 5,
    "net_unknown": 6,
    "host_unknown": 7,
    "source_host_isolated": 8,
    "net_prohibited": 9,
    "host_prohibited": 10,
    "net_unreachable_for_tos": 11,
    "host_unreachable_for_tos": 12,
    "packet_filtered": 13,
    "precedence_violation": 14,
    "precedence_cutoff": 15,
    "no_route": 0,
    "admin_prohibited": 13,
    "not_neighbour": 1,
    "address_unreachable": 1,
}
"""Codes of ``< icmp unreachable CODE [mtu N] [SEGMENT]`` in IPv4; the last four are ICMPv6's, for which their
counterparts stand. The types ``time_exceeded``, ``parameter_problem``, ``source_quench`` and ICMPv6's
``packet_too_big`` are supported too. ``redirect`` and other messages that are not about a segment have no effect.
"""

ICMPV6_CODES = {
    "net_unreachable": icmpv6.NO_ROUTE,
    "no_route": icmpv6.NO_ROUTE,
    "admin_prohibited": icmpv6.ADMIN_PROHIBITED,
    "not_neighbour": icmpv6.BEYOND_SCOPE,
    "address_unreachable": icmpv6.ADDRESS_UNREACHABLE,
    "port_unreachable": icmpv6.PORT_UNREACHABLE,
}
"""Codes with ``--ip_version=ipv6``. A path with a smaller MTU is reported by the type ``packet_too_big``."""

CALLS = {
    "socket": "`SOCK_STREAM` only, one at a time; another one when the connection before it has closed",
    "bind": "does nothing",
    "listen": "passive open; after the connection has closed, another may come",
    "accept": "also `accept4`; a connection that was reset meanwhile is returned (with `--freebsd` ECONNABORTED)",
    "connect": "active open",
    "read": "also `recv`, `recvfrom`, `readv`, and `recvmsg`, of whose control messages there is `TCP_CM_INQ`",
    "recv": "with no flags, `MSG_DONTWAIT`, `MSG_PEEK`, `MSG_WAITALL`",
    "write": "also `send`, `sendto`, `writev`, `sendmsg`",
    "send": "with no flags, `MSG_DONTWAIT`, `MSG_NOSIGNAL`",
    "sendto": "as `send`",
    "close": "with unread data, or `SO_LINGER` of 0 seconds, it resets the connection",
    "shutdown": "`SHUT_WR` and `SHUT_RDWR` end our direction; after `SHUT_RD` reading returns 0 when nothing is left",
    "poll": "`POLLIN`, `POLLOUT`, `POLLRDHUP`, `POLLHUP`, `POLLERR`",
    "epoll_create": "also `epoll_create1`",
    "epoll_ctl": "`EPOLL_CTL_ADD`, `EPOLL_CTL_MOD`, `EPOLL_CTL_DEL`",
    "epoll_wait": "the events of `poll`, `EPOLLET`, `EPOLLONESHOT`",
    "getsockname": "tells no address",
    "getpeername": "the same, and ENOTCONN as long as there is no peer",
    "fcntl": "`F_GETFL`, `F_SETFL` with `O_NONBLOCK`",
    "ioctl": "`SIOCINQ` (`FIONREAD`), `SIOCOUTQ` (`FIONWRITE`), `SIOCOUTQNSD`, `FIONSPACE`, `FIONBIO`",
    "setsockopt": "see below",
    "getsockopt": "what `setsockopt` sets, `SO_ERROR`, `SO_TYPE`, `SO_ACCEPTCONN`",
}
"""Socket calls."""

SOCKET_OPTIONS = {
    "SO_RCVBUF": "bytes that are kept for the user, as given; with `--linux` `getsockopt` returns twice as many",
    "SO_SNDBUF": "bytes that are kept until they are acknowledged, as given; with `--linux` twice as many",
    "SO_LINGER": "`close` with 0 seconds resets the connection",
    "TCP_NODELAY": "Nagle's algorithm, which is on without it",
    "TCP_MAXSEG": "most payload bytes in a segment, in both directions; before the connection is opened",
    "TCP_USER_TIMEOUT": "milliseconds without an answer until the connection is given up",
    "TCP_SYNCNT": "how often a SYN is sent again",
    "TCP_KEEPINIT": "seconds until opening is given up",
    "TCP_WINDOW_CLAMP": "the largest window",
    "TCP_QUICKACK": "with `--linux`: acknowledge the next segments at once, or not",
    "TCP_NOTSENT_LOWAT": "with so many unsent bytes `write` takes no more, and `poll` reports no `POLLOUT`",
    "TCP_INQ": "`recvmsg` reports with `TCP_CM_INQ` how many bytes remain",
    "SO_KEEPALIVE": "ask a silent peer whether it is there",
    "TCP_KEEPIDLE": "seconds of silence until it is asked first",
    "TCP_KEEPINTVL": "seconds between two questions",
    "TCP_KEEPCNT": "questions without an answer until the connection is given up, 2 at least",
    "TCP_CONGESTION": '`"cubic"`, or `"reno"` or `"newreno"`; the congestion window stays as it is',
    "SO_REUSEADDR": "does nothing",
    "SO_REUSEPORT": "does nothing",
    "SO_PRIORITY": "does nothing",
    "SO_MARK": "does nothing",
    "SO_DEBUG": "does nothing",
    "SO_BROADCAST": "does nothing",
    "SO_DONTROUTE": "does nothing",
    "SO_NOSIGPIPE": "does nothing",
    "SO_OOBINLINE": "does nothing: urgent data always stay in their place",
    "TCP_LINGER2": "does nothing",
    "TCP_THIN_LINEAR_TIMEOUTS": "does nothing",
    "TCP_THIN_DUPACK": "does nothing",
    "TCP_FUNCTION_BLK": "does nothing",
    "IP_TOS": "does nothing",
    "IP_TTL": "does nothing",
    "IP_MTU_DISCOVER": "does nothing",
    "IP_FREEBIND": "does nothing",
    "IP_RECVERR": "does nothing",
    "IPV6_V6ONLY": "does nothing",
    "IPV6_TCLASS": "does nothing",
    "IPV6_UNICAST_HOPS": "does nothing",
    "IPV6_MTU_DISCOVER": "does nothing",
    "IPV6_RECVERR": "does nothing",
}
"""Options of ``setsockopt`` and ``getsockopt``."""

READABLE_OPTIONS = ("SO_ERROR", "SO_TYPE", "SO_ACCEPTCONN")
"""Options of ``getsockopt`` only."""

ACTIONS = {
    "write(N)": "give N bytes to be sent",
    "urgent(N)": "the same, and the urgent pointer is behind them",
    "read(N)": "take N bytes that have arrived; `read()` takes all; `= N` asserts how many there were",
    "close()": "RFC 9293's CLOSE: our direction ends; before a peer was heard, the connection",
    "abort()": "RFC 9293's ABORT: reset the connection",
}
"""Actions of the user in a script with ``--open``."""

SCRIPT_OPTIONS = {
    "open": "`--open=passive` or `--open=active`: a script without socket calls (slirpy's own)",
    "linux": "Linux's defaults, as with `slirpy packetdrill --linux` (slirpy's own)",
    "freebsd": "FreeBSD's defaults, as with `slirpy packetdrill --freebsd` (slirpy's own)",
    "tolerance_usecs": "how far off a time may be, in microseconds; 4000 if it is not given",
    "tolerance_percent": "how far off a time may be, in percent of the time since the event before",
    "tcp_ts_tick_usecs": (
        "the unit of TSval, 1000 only. With it TSval of outbound segments is checked against the first one, and"
        " without it is not; with `--open` it always is"
    ),
    "tcp_ts_ecr_scaled": "does nothing",
    "mtu": "the largest IP packet: the MSS is 40 less, with IPv6 60 less; 1500 if it is not given",
    "mss": (
        "a longer inbound segment stands for several of this size that arrive together; with `--open` it is the field"
        " of `Settings`"
    ),
    "strict_segments": "a `>` stands for one segment, never for several that are sent together",
    "ip_version": (
        "`ipv4`, `ipv4-mapped-ipv6` or `ipv6`: the length of the IP header, the MSS of a peer that names none (536,"
        " with IPv6 1220), and the meaning of ICMP messages"
    ),
    "non_fatal": "does nothing: a script ends at what differs",
    "local_ip": "does nothing",
    "remote_ip": "does nothing",
    "gateway_ip": "does nothing",
    "netmask_ip": "does nothing",
    "bind_port": "does nothing",
    "connect_port": "does nothing",
    "speed": "does nothing",
    "code_command": "does nothing",
    "code_format": "does nothing",
    "code_sockopt": "does nothing",
    "init_scripts": "does nothing",
    "is_anyip": "does nothing",
    "send_omit_free": "does nothing",
    "debug": "does nothing",
    "verbose": "does nothing",
    "dry_run": "does nothing",
}
"""Lines ``--name=value``, in addition to ``--define=NAME=VALUE`` and every field of :class:`slirpy.tcp.Settings`."""

ELSEWHERE = {
    "TCP Fast Open": (
        "FO", "FOEXP", "MSG_FASTOPEN", "TCP_FASTOPEN", "TCP_FASTOPEN_CONNECT", "TCP_FASTOPEN_KEY",
        "TCP_FASTOPEN_NO_COOKIE",
    ),
    "MPTCP": (
        "mp_capable", "mp_capable_no_cs", "mp_join_syn", "mp_join_syn_ack", "mp_join_ack", "mp_join_syn_backup",
        "mp_join_syn_address_id", "dss", "add_address", "remove_address", "mp_prio", "mp_fail", "mp_fastclose",
        "mp_reset", "IPPROTO_MPTCP", "mpcapable", "addr",
    ),
    "AccECN": ("ECN", "exp", "AccECN0", "AccECN1", "e1b", "ceb", "e0b"),
    "zero copy": (
        "MSG_ZEROCOPY", "SO_ZEROCOPY", "TCP_ZEROCOPY_RECEIVE", "MSG_ERRQUEUE", "sendfile", "splice", "vmsplice",
    ),
    "TCP-MD5 and TCP-AO": ("md5", "MD5", "TCP_MD5SIG", "TCP_MD5SIG_EXT", "tcpao", "TCP_AO_ADD_KEY"),
    "PSP": ("psp", "TCP_PSP", "TCP_PSP_SYN_SPI", "TCP_PSP_TX_SPI_KEY"),
    "timestamps of packets": ("SO_TIMESTAMPING", "SO_TIMESTAMP"),
    "pacing": ("SO_MAX_PACING_RATE", "SO_TXTIME"),
    "the choice of ports": ("IP_BIND_ADDRESS_NO_PORT", "IP_LOCAL_PORT_RANGE"),
    "corking": ("TCP_CORK", "TCP_NOPUSH", "MSG_MORE", "MSG_EOR"),
    "urgent data apart from the stream": ("MSG_OOB", "SIOCATMARK"),
}  # fmt: skip
"""Features of other systems that the engine does not have, with the words by which scripts use them."""

_FEATURES = {word: feature for feature, words in ELSEWHERE.items() for word in words}


def missing(word: str) -> str:
    """Return the feature that a word belongs to, in brackets after a space; empty for an unknown word."""
    return f" ({_FEATURES[word]})" if word in _FEATURES else ""


def flag_text(flags: int) -> str:
    """Format flags in packetdrill's letters."""
    return "".join(letter for letter, bit in FLAGS.items() if flags & bit) or "-"
