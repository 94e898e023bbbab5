"""Names for assertions about a connection: Linux's ``tcpi_...`` names, FreeBSD's, and slirpy's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slirpy.errortext import errno_name
from slirpy.tcp import Connection, State
from slirpy.tcp.congestion.reno import UNKNOWN
from slirpy.tcp.loss import sack
from slirpy.tcp.loss.spans import AGAIN, LOST
from slirpy.tcp.seq import MASK
from slirpy.testing.packetdrill.host import Host
from slirpy.units import MS, SECOND, US
from slirpy.wire.tcp import FIN, SYN

__all__ = ["CONSTANTS", "NAMES"]

_STATES = {
    State.ESTABLISHED: 1, State.SYN_SENT: 2, State.SYN_RECEIVED: 3, State.FIN_WAIT_1: 4, State.FIN_WAIT_2: 5,
    State.TIME_WAIT: 6, State.CLOSED: 7, State.CLOSE_WAIT: 8, State.LAST_ACK: 9, State.LISTEN: 10, State.CLOSING: 11,
}  # fmt: skip
CONSTANTS: dict[str, int] = {
    **{
        f"TCP_{state.name}".replace("RECEIVED", "RECV").replace("WAIT_", "WAIT"): n
        for state, n in _STATES.items()
    },
    "TCP_CLOSE": 7,
    "TCPI_OPT_TIMESTAMPS": 1,
    "TCPI_OPT_SACK": 2,
    "TCPI_OPT_WSCALE": 4,
    "TCPI_OPT_ECN": 8,
    "TCPI_OPT_ECN_SEEN": 16,
    "TCPI_OPT_SYN_DATA": 32,
    "TCP_CA_Open": 0,
    "TCP_CA_Disorder": 1,
    "TCP_CA_CWR": 2,
    "TCP_CA_Recovery": 3,
    "TCP_CA_Loss": 4,
    "TCP_INFINITE_SSTHRESH": 0x7FFFFFFF,
    **{f"TCP_CA_{name.upper()}": n for n, name in enumerate(("Open", "Disorder", "CWR", "Recovery", "Loss"))},
    "True": 1,
    "False": 0,
}
"""Named constants, with Linux's values."""


def _segments(conn: Connection, size: int) -> int:
    return -(-size // conn.mss)


def _lost(conn: Connection) -> int:
    """Return the bytes that count as lost and have not arrived since, retransmitted or not."""
    una = conn.snd_una
    ranges = [((left - una) & MASK, (right - una) & MASK) for left, right in conn.sacked]
    if conn.retries:
        return ((conn.snd_max - una) & MASK) - sum(right - left for left, right in ranges)
    if conn.rack is None:
        lost = [(0, (sack.lost_edge(conn) - una) & MASK)]
    else:
        bits = LOST | AGAIN if conn.in_recovery else LOST
        starts = [(start - una) & MASK for start, _, _ in conn.rack.spans.items]
        starts[:1] = [0] * bool(starts)  # the first one may begin before SND.UNA
        ends = [*starts[1:], (conn.snd_nxt - una) & MASK]
        spans = zip(starts, ends, conn.rack.spans.items, strict=True)
        lost = [(start, end) for start, end, span in spans if span[2] & bits]
    arrived = sum(max(min(end, right) - max(start, left), 0) for start, end in lost for left, right in ranges)
    return sum(end - start for start, end in lost) - arrived


def _threshold(conn: Connection) -> int:
    """Return the slow start threshold in segments; Linux's number if there is none yet."""
    if conn.cc.ssthresh >= UNKNOWN:
        return CONSTANTS["TCP_INFINITE_SSTHRESH"]
    return conn.cc.ssthresh // conn.mss


def _sacked(conn: Connection) -> int:
    """Return the bytes SACKed above SND.UNA; without SACK, the segments that duplicate ACKs stand for."""
    if conn.sack_ok:
        return sum((right - left) & MASK for left, right in conn.sacked)
    return conn.dupacks * conn.mss


def _ca_state(conn: Connection) -> int:
    if conn.in_recovery:
        return CONSTANTS["TCP_CA_Recovery"]
    if conn.retries:
        return CONSTANTS["TCP_CA_Loss"]
    return CONSTANTS["TCP_CA_Disorder" if conn.sacked or conn.dupacks else "TCP_CA_Open"]


def _acked(conn: Connection) -> int:
    """Return the bytes that the peer has acknowledged."""
    return max(((conn.snd_una - conn.iss) & MASK) - 1, 0)


def _got(conn: Connection) -> int:
    """Return the bytes that have arrived in order."""
    if conn.state in (State.CLOSED, State.LISTEN, State.SYN_SENT):
        return 0
    return max(((conn.rcv_nxt - conn.irs) & MASK) - 1 - conn.fin_received, 0)


def _resent(h: Host) -> list[tuple[int, int, int]]:
    """Return all retransmissions: first number, counted from the SYN, number after the end, and bytes of data."""
    found, highest = [], 0
    for sent in h.outbound():
        end = sent.seq + len(sent.data) + bool(sent.flags & SYN) + bool(sent.flags & FIN)
        if sent.seq < min(end, highest):
            found.append((sent.seq, end, min(highest - sent.seq, len(sent.data))))
        highest = max(highest, end)
    return found


def _retrans(h: Host) -> int:
    """Return the retransmitted segments in flight: not acknowledged, reported, or lost again."""
    conn = h.conn
    una = (conn.snd_una - conn.iss) & MASK
    if conn.rack is None or conn.retries:
        return sum(end > una for _, end, _ in _resent(h)[-1 if conn.retries else None :])
    arrived = [((left - conn.iss) & MASK, (right - conn.iss) & MASK) for left, right in conn.sacked]
    lost = {seq for seq, _, bits in conn.rack.spans.items if bits & LOST}
    return sum(
        seq >= una
        and not any(left <= seq < right for left, right in arrived)
        and (conn.iss + seq) & MASK not in lost
        for seq in {seq for seq, _, _ in _resent(h)}
    )


def _before_reordering(value: int) -> Callable[[Host], int]:
    """Return a number that is known until the path is seen to reorder."""

    def known(h: Host) -> int:
        if h.conn.rack is not None and h.conn.rack.reordering_seen:
            raise LookupError("the engine records that a path reorders, but not how much")
        return value

    return known


def _since(*, inbound: bool, data: bool) -> Callable[[Host], int]:
    """Return the milliseconds since a segment, or since the connection was established if there was none."""
    return lambda h: (h.time - h.last(inbound=inbound, data=data)) // MS


NAMES: dict[str, tuple[Callable[[Host], Any], str]] = {
    "tcpi_state": (lambda h: _STATES[h.conn.state], "as `TCP_ESTABLISHED` and so on"),
    "tcpi_ca_state": (
        lambda h: _ca_state(h.conn),
        "`TCP_CA_Open`, `TCP_CA_Disorder`, `TCP_CA_Recovery` or `TCP_CA_Loss`",
    ),
    "tcpi_retransmits": (lambda h: h.conn.retries, "timeouts since something new was acknowledged"),
    "tcpi_backoff": (lambda h: h.conn.rtt.backoff, "how often the timeout has doubled"),
    "tcpi_probes": (lambda h: h.conn.probes, "probes and keep-alives without an answer"),
    "tcpi_options": (
        lambda h: h.conn.ts_ok + 2 * h.conn.sack_ok + 4 * h.conn.wscale_ok,
        "`TCPI_OPT_TIMESTAMPS` and so on",
    ),
    "tcpi_snd_wscale": (lambda h: h.conn.snd_wscale, "the peer's window scale"),
    "tcpi_rcv_wscale": (lambda h: h.conn.rcv_wscale, "ours"),
    "tcpi_rto": (lambda h: h.conn.rtt.rto // US, "retransmission timeout, microseconds"),
    "tcpi_rtt": (lambda h: h.conn.rtt.srtt // US, "smoothed round-trip time, microseconds"),
    "tcpi_rttvar": (lambda h: h.conn.rtt.rttvar // US, "its variation, microseconds"),
    "tcpi_min_rtt": (
        lambda h: h.conn.rack.min_rtt // US if h.conn.rack is not None else 0,
        "the shortest round-trip time, microseconds; with SACK only",
    ),
    "tcpi_snd_mss": (lambda h: h.conn.mss, "most bytes in a segment that it sends"),
    "tcpi_rcv_mss": (lambda h: h.rcv_mss, "the largest segment of the peer so far, 536 at least"),
    "tcpi_advmss": (lambda h: h.conn.settings.mss, "the MSS that we tell"),
    "tcpi_unacked": (
        lambda h: _segments(h.conn, (h.conn.snd_max - h.conn.snd_una) & MASK),
        "segments that were sent and are not acknowledged, counted as full ones",
    ),
    "tcpi_sacked": (lambda h: _segments(h.conn, _sacked(h.conn)), "segments of those that the peer has"),
    "tcpi_lost": (
        lambda h: _segments(h.conn, _lost(h.conn)),
        "segments of those that count as lost, sent again or not",
    ),
    "tcpi_snd_cwnd": (
        lambda h: (h.conn.cc.cwnd + h.conn.inflation) // h.conn.mss,
        "congestion window, in full segments",
    ),
    "tcpi_snd_ssthresh": (lambda h: _threshold(h.conn), "where slow start ends, in full segments"),
    "tcpi_snd_wnd": (lambda h: h.conn.snd_wnd, "the peer's window, bytes"),
    "tcpi_rcv_wnd": (lambda h: h.conn.rcv_wnd, "ours, bytes"),
    "tcpi_notsent_bytes": (lambda h: h.conn.snd_buf.length - h.conn.snd_buf.sent, "written and not sent"),
    "tcpi_bytes_acked": (lambda h: _acked(h.conn), "bytes that the peer has acknowledged"),
    "tcpi_bytes_received": (lambda h: _got(h.conn), "bytes that have arrived in order"),
    "tcpi_segs_out": (lambda h: h.count(inbound=False), "segments that were sent"),
    "tcpi_segs_in": (lambda h: h.count(inbound=True), "segments that have arrived"),
    "tcpi_data_segs_out": (lambda h: h.count(inbound=False, data=True), "those with data that were sent"),
    "tcpi_data_segs_in": (lambda h: h.count(inbound=True, data=True), "those with data that have arrived"),
    "tcpi_total_retrans": (lambda h: len(_resent(h)), "segments that were sent again, SYNs too"),
    "tcpi_retrans": (_retrans, "those of them that are on their way"),
    "tcpi_bytes_retrans": (lambda h: sum(size for _, _, size in _resent(h)), "bytes that were sent again"),
    "tcpi_bytes_sent": (
        lambda h: sum(len(sent.data) for sent in h.outbound()),
        "bytes that were sent, also again",
    ),
    "tcpi_snd_rexmitpack": (lambda h: len(_resent(h)), "as `tcpi_total_retrans`"),
    "tcpi_rcv_ooopack": (lambda h: h.stats.tcp_out_of_order, "segments that have arrived before their turn"),
    "tcpi_fackets": (lambda h: 0, "0, as of every Linux since 2017"),
    "tcpi_reordering": (_before_reordering(3), "3; `unsupported` as soon as the path has reordered"),
    "tcpi_reord_seen": (_before_reordering(0), "0; `unsupported` as soon as the path has reordered"),
    "tcpi_last_data_sent": (_since(inbound=False, data=True), "milliseconds since data was sent"),
    "tcpi_last_data_recv": (_since(inbound=True, data=True), "milliseconds since data arrived"),
    "tcpi_last_ack_recv": (_since(inbound=True, data=False), "milliseconds since any segment arrived"),
    "state": (lambda h: h.conn.state.value, 'the state by the RFC\'s name: `"FIN-WAIT-1"`'),
    "error": (
        lambda h: errno_name(h.conn.error) if h.conn.error else "",
        'why the connection closed: `"ECONNRESET"`, or `""`',
    ),
    "soft_error": (
        lambda h: errno_name(h.conn.soft_error) if h.conn.soft_error else "",
        'what is wrong while it goes on: `"ETIMEDOUT"`, or `""`',
    ),
    "cwnd": (lambda h: h.conn.cc.cwnd + h.conn.inflation, "congestion window, bytes"),
    "ssthresh": (lambda h: h.conn.cc.ssthresh, "where slow start ends, bytes"),
    "rto": (lambda h: h.conn.rtt.rto / SECOND, "retransmission timeout, seconds"),
    "readable": (lambda h: h.conn.rcv_pending, "bytes that have arrived and were not read"),
    "unacked": (lambda h: h.conn.snd_buf.length, "bytes written and not acknowledged"),
    "fin_received": (lambda h: h.conn.fin_received, "whether everything has arrived"),
}
"""Names about the connection, in addition to every counter of :class:`slirpy.stats.Stats`."""
