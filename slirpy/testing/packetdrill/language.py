"""What of packetdrill's language is understood, as tables; the documentation is made from them."""

from __future__ import annotations

from slirpy.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

__all__ = [
    "ACTIONS",
    "CALLS",
    "FLAGS",
    "ICMP_CODES",
    "OPTIONS",
    "SCRIPT_OPTIONS",
    "SOCKET_OPTIONS",
    "flag_text",
]

FLAGS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR}
"""Letters of flags. ``-`` stands for none."""

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
"""TCP options: how many numbers they have (-2: any number of pairs), and what they are."""

ICMP_CODES = {
    "net_unreachable": 0,
    "host_unreachable": 1,
    "protocol_unreachable": 2,
    "port_unreachable": 3,
    "frag_needed": 4,
}
"""``< icmp unreachable CODE [mtu N] [SEGMENT]``."""

CALLS = {
    "socket": "`SOCK_STREAM` only; one connection to a script",
    "bind": "does nothing",
    "listen": "passive open; after the connection has closed, another may come",
    "accept": "also `accept4`",
    "connect": "active open",
    "read": "also `recv`; no `readv`, no `recvmsg`",
    "recv": "with no flags, `MSG_DONTWAIT` or `MSG_WAITALL`",
    "write": "also `send`, `sendto`; no `writev`, no `sendmsg`",
    "send": "with no flags, `MSG_DONTWAIT` or `MSG_NOSIGNAL`",
    "sendto": "as `send`",
    "close": "with unread data, or `SO_LINGER` of 0 seconds, it resets the connection",
    "shutdown": "`SHUT_WR` and `SHUT_RDWR` end our direction; `SHUT_RD` does nothing",
    "poll": "`POLLIN`, `POLLOUT`, `POLLRDHUP`, `POLLHUP`, `POLLERR`",
    "fcntl": "`F_GETFL`, `F_SETFL` with `O_NONBLOCK`",
    "ioctl": "`SIOCINQ` (`FIONREAD`), `SIOCOUTQ`",
    "setsockopt": "see below",
    "getsockopt": "`SO_ERROR`, `TCP_NODELAY`, `TCP_MAXSEG`, `TCP_CONGESTION`",
}
"""Socket calls."""

SOCKET_OPTIONS = {
    "SO_RCVBUF": "bytes that are kept for the user, as given (Linux doubles it)",
    "SO_SNDBUF": "bytes that are kept until they are acknowledged, as given",
    "SO_LINGER": "`close` with 0 seconds resets the connection",
    "TCP_NODELAY": "Nagle's algorithm, which is on without it",
    "TCP_MAXSEG": "most payload bytes in a segment, in both directions",
    "TCP_USER_TIMEOUT": "milliseconds without an answer until the connection is given up",
    "SO_KEEPALIVE": "ask a silent peer whether it is there",
    "TCP_KEEPIDLE": "seconds of silence until it is asked first",
    "TCP_KEEPINTVL": "seconds between two questions",
    "TCP_KEEPCNT": "questions without an answer until the connection is given up, 2 at least",
    "TCP_CONGESTION": '`"cubic"` or `"reno"`; the congestion window stays as it is',
    "SO_REUSEADDR": "does nothing",
    "SO_REUSEPORT": "does nothing",
    "SO_PRIORITY": "does nothing",
    "SO_MARK": "does nothing",
    "IP_TOS": "does nothing",
    "IP_MTU_DISCOVER": "does nothing",
}
"""What ``setsockopt`` sets."""

ACTIONS = {
    "write(N)": "give N bytes to be sent",
    "urgent(N)": "the same, and the urgent pointer is behind them",
    "read(N)": "take N bytes that have arrived; `read()` takes all; `= N` asserts how many there were",
    "close()": "RFC 9293's CLOSE: our direction ends; before a peer was heard, the connection",
    "abort()": "RFC 9293's ABORT: reset the connection",
}
"""What the user does in a script with ``--open``."""

SCRIPT_OPTIONS = {
    "open": "`--open=passive` or `--open=active`: a script without socket calls (slirpy's own)",
    "tolerance_usecs": "how far off a time may be, in microseconds; 4000 if it is not given",
    "tcp_ts_tick_usecs": (
        "the unit of TSval, 1000 only. With it TSval of outbound segments is checked against the first one, and"
        " without it is not; with `--open` it always is"
    ),
    "mtu": "the largest IP packet: the MSS is 40 less, with IPv6 60 less",
    "ip_version": "`ipv4`, `ipv4_mapped_ipv6` or `ipv6`; nothing but the MSS depends on it",
    "local_ip": "does nothing",
    "remote_ip": "does nothing",
    "gateway_ip": "does nothing",
    "netmask_ip": "does nothing",
    "bind_port": "does nothing",
    "connect_port": "does nothing",
    "speed": "does nothing",
    "non_fatal": "does nothing",
    "verbose": "does nothing",
    "dry_run": "does nothing",
}
"""Lines ``--name=value``; beside them every field of :class:`slirpy.tcp.Settings`."""


def flag_text(flags: int) -> str:
    """Flags in packetdrill's letters."""
    return "".join(letter for letter, bit in FLAGS.items() if flags & bit) or "-"
