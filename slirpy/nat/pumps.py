"""Data of a TCP flow: the guest's connection on one side, a :class:`~slirpy.interfaces.StreamPeer` on the other.

The two directions are pumps with back-pressure on both ends. Guest to host: data that the peer does not take stays in
the connection's queue and closes the window. Host to guest: only as much is read from the peer as the guest's window
and the congestion window accept at once; the data read serves as the retransmission buffer.
"""

from __future__ import annotations

import abc
from typing import Any, Final

from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.tcpflow import TcpFlow
from slirpy.interfaces import StreamPeer
from slirpy.nat.memory import LEAST, Holder, MemoryBudget
from slirpy.tcp import Connection
from slirpy.tcp.states import CLOSE_WAIT, ESTABLISHED

__all__ = ["PumpedFlow"]

READ_SIZE: Final = 1 << 16
"""Bytes read from a peer at a time, approximately; whole bursts where the link segments."""
READS: Final = 16
"""Maximum number of reads for one flow in one flush."""
_MAY_READ: Final = (ESTABLISHED, CLOSE_WAIT)


class PumpedFlow(TcpFlow, Holder):
    """A connection and its peer, whose :class:`~slirpy.interfaces.StreamOwner` it is, apart from ``connected``.

    Attributes:
        peer: the far side; None before it is known, and after its release.
        peer_error: the errno with which the peer has failed; 0: it has not.
        alert: whether there is something that is rare: the peer has failed, or the budget for memory has to know of
            each change. One flag for both costs each service one look.
        memory: the budget for the data of all connections.
        held: bytes of data, as far as the budget knows.
        kernel: bytes in the buffers of the far side's socket, as last asked.
        unnoted: bytes of data for the guest beyond which the budget must be updated.
        read_ready: whether the peer may have data.
        read_size: what :meth:`size_to_read` returns, while the connection is undisturbed.
        write_blocked: whether the peer accepts no data for now.
        shut: whether the guest's end of data has been passed on.
        said: names that the client said in its first bytes.
        serial: number of the flow for :class:`~slirpy.interfaces.Events`; 0: it was not reported.
    """

    __slots__ = ("alert", "held", "kernel", "memory", "peer", "peer_error", "read_ready", "read_size", "said",
                 "serial", "share", "shut", "unnoted", "write_blocked")  # fmt: skip

    def __init__(
        self,
        network: Network,
        neighbors: Neighbors,
        key: bytes,
        neighbor: Neighbor,
        conn: Connection,
        memory: MemoryBudget[Any],
    ) -> None:
        super().__init__(network, neighbors, key, neighbor, conn)
        self.share = None
        self.memory = memory
        self.held, self.unnoted, self.kernel = 0, LEAST, 0
        self.alert = False
        self.peer: StreamPeer | None = None
        self.peer_error = self.read_size = 0
        self.read_ready = self.write_blocked = self.shut = False
        self.said: tuple[str, ...] = ()
        self.serial = 0

    # --------------------------------------------------------------------- StreamOwner: events

    @abc.abstractmethod
    def connected(self) -> None:
        """Note that the far side has answered."""

    def readable(self) -> None:
        """Note that the peer has data, or has ended."""
        self.read_ready = True
        self.mark()

    def writable(self) -> None:
        """Note that the peer accepts data again."""
        self.write_blocked = False
        self.mark()

    def failed(self, error: int) -> None:
        """Note that the peer has failed."""
        self.peer_error = error
        self.alert = True
        self.mark()

    def urgent(self, data: bytes) -> None:
        """Insert an urgent byte from the peer in sequence; only system sockets support them."""
        self.conn.write_urgent(data)

    # ------------------------------------------------------------------------------------- memory

    def data(self) -> int:
        """Return the bytes that wait for the guest to acknowledge them, for the peer, or behind a gap, and those in
        the buffers of the peer's socket.
        """
        conn = self.conn
        return conn.snd_buf.length + conn.rcv_pending + conn.reassembly.size + self.kernel

    # --------------------------------------------------------------------------------- the pumps

    @abc.abstractmethod
    def finish(self, now: int) -> None:
        """Send what the connection has to send, after the pumps."""

    def to_peer(self) -> None:
        """Pass data of the guest to the peer, as much as it accepts."""
        conn = self.conn
        peer = self.peer
        if peer is None:
            conn.consume(conn.rcv_pending)
        elif not self.write_blocked and (conn.rcv_up is None or self._urgent_to_peer(peer)):
            self.write_blocked = True  # before the call: writable() may be called inside it
            self.taken(peer, peer.send(conn.rcv_queue))

    def taken(self, peer: StreamPeer, count: int) -> None:
        """Note that the peer has taken ``count`` bytes of those that were offered."""
        conn = self.conn
        if count and self.peer is peer:
            conn.consume(count)
        if not conn.rcv_pending:
            self.write_blocked = False

    def _urgent_to_peer(self, peer: StreamPeer) -> bool:
        """Pass urgent data of the guest to a peer that supports it. Returns whether there is more data for the peer.

        Sockets support a single urgent byte, the last one before the pointer.
        """
        conn = self.conn
        ahead = conn.urgent_ahead
        send_urgent = getattr(peer, "send_urgent", None)
        if send_urgent is None or not 0 < ahead <= conn.rcv_pending:
            return True
        data = b"".join(conn.rcv_queue)[:ahead]
        self.write_blocked = True  # before the calls, as above
        taken = peer.send((data[:-1],)) if ahead > 1 else 0
        if taken == ahead - 1 and self.peer is peer:
            taken += send_urgent(data[-1:])
        if self.peer is not peer:
            return False
        conn.consume(taken)
        if taken < ahead:
            return False
        self.write_blocked = False
        return conn.rcv_pending > 0

    def from_peer(self, reads: int = READS) -> None:
        """Pass data of the peer to the connection, as much as can be sent, in ``reads`` pieces at most."""
        conn = self.conn
        peer = self.peer
        if peer is None or conn.fin_queued or conn.state not in _MAY_READ:
            return
        buffer = conn.snd_buf
        if not conn.settings.max_burst and buffer.length - buffer.sent >= READ_SIZE // 2:
            return  # enough data is ready for single segments; most acknowledgements end here
        if buffer.length and self.memory.is_tight:
            return  # the guest has yet to acknowledge earlier data
        size = self.size_to_read()
        for _ in range(reads):
            if conn.write_room() < size:
                return
            self.read_ready = False  # before the call: readable() may be called inside it
            if not self.accept(peer, peer.recv(size), size):
                return
        self.mark()

    def size_to_read(self) -> int:
        """Return how many bytes to ask the peer for at a time: whole bursts."""
        burst = self.conn.burst()
        return READ_SIZE // burst * burst or burst

    def accept(self, peer: StreamPeer, data: bytes | None, size: int) -> bool:
        """Pass to the connection what the peer has returned when it was asked for ``size`` bytes. Returns whether to
        ask it again.
        """
        if data is None or self.peer is not peer:
            return False
        conn = self.conn
        if not data:
            conn.shutdown()
            return False
        buffer = conn.snd_buf
        buffer.append(data)  # as write() does, whose checks were made before
        if buffer.length > self.unnoted:
            self.memory.note(self, self.data())
            if self.peer is not peer:
                return False  # evicted
        if len(data) < size and getattr(peer, "level_triggered", False):
            return False  # it calls readable() again if there is more
        self.read_ready = True  # until recv() returns None, no further notice is needed
        return True

    def release(self) -> None:
        """Drop every reference that leads back to this flow."""
        super().release()
        self.peer = None
