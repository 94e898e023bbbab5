"""The short way of an arriving segment that is the next one and has nothing unusual.

:mod:`slirpy.core.fastpath` takes it. :mod:`slirpy.tcp.receive` has the general way, and the RFC's order of the steps.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.mypyc import Final
from slirpy.tcp.delivery import take_fin, take_text
from slirpy.tcp.receive import acknowledge
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import CLOSED, SYN_RECEIVED, SYNCHRONIZED, TIME_WAIT
from slirpy.tcp.tcb import ControlBlock

__all__ = ["in_order"]

_IN_ORDER: Final = SYNCHRONIZED - {TIME_WAIT} | {SYN_RECEIVED}
"""States in which :func:`in_order` may process a segment."""


def in_order(
    conn: ControlBlock,
    seq: int,
    ack: int,
    fin: bool,
    field: int,
    stamp: int | None,
    echo: int | None,
    payload: Buffer,
    now: int,
) -> bool:
    """Process a segment as :func:`~slirpy.tcp.receive.segment_arrives` does, if it is the next and a usual one.

    The last ACK of a handshake, a FIN, and the ACK of a FIN are such segments. Otherwise change nothing and return
    False. The flags are ACK, perhaps FIN and PSH; the IP header has no ECN mark.

    Args:
        field: window, as in the header.
        stamp: TSval; None: no timestamps.
        echo: TSecr.
    """
    state = conn.state
    if state not in _IN_ORDER or seq != conn.rcv_nxt or conn.reassembly.size:
        return False
    length = len(payload)
    if length + fin > (conn.rcv_adv - seq) & MASK:
        return False
    if conn.fin_seq is not None and (length or fin):
        return False
    if not conn.ts_ok:
        echo = None
    elif stamp is None or (stamp - conn.ts_recent) & MASK >= HALF:
        return False
    rack_state = conn.rack
    if rack_state is not None and rack_state.tlp_end is not None:
        return False
    opens = state is SYN_RECEIVED
    if opens:
        if not 0 < (ack - conn.snd_una) & MASK <= (conn.snd_max - conn.snd_una) & MASK:
            return False
        conn.establish()
    conn.undisturbed = False
    if (
        not acknowledge(conn, ack, field << conn.snd_wscale, seq, length, fin, echo, now)
        or conn.state is CLOSED
    ):
        return True
    if stamp is not None and conn.ts_ok and (conn.last_ack - seq) & MASK < HALF:
        conn.ts_recent = stamp
    if length:
        take_text(conn, seq, payload, now)
    if opens:
        conn.measure_path()
    if fin:
        take_fin(conn, (seq + length) & MASK, now)
    return True
