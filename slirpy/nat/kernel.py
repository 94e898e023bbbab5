"""Memory of the system's sockets, as a part of the budget for the data of all connections.

What a guest sends to a far side that does not read fills the send buffer of a socket; what a far side sends to a
guest that does not acknowledge fills the receive buffer once nothing reads it. The system announces neither, so each
connection that may hold something is asked four times a second. A turn asks some of them only, so that it stays
short. While the largest buffers of all connections together are within the budget nothing is asked, and while nothing
moves it is asked less and less often. An idle network is not woken for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slirpy.core.network import Network
from slirpy.core.tcpflow import TcpFlow
from slirpy.nat.memory import MemoryBudget, kernel_memory
from slirpy.nat.pumps import PumpedFlow
from slirpy.units import MS, SECOND

__all__ = ["LARGEST", "KernelBuffers"]

LARGEST: Final = 10 << 20
"""Bytes to which the two buffers of a socket may grow: Linux's defaults, net.ipv4.tcp_rmem and tcp_wmem."""
SWEEP: Final = 250 * MS
"""Time in which all connections are asked."""
SLOWEST: Final = 4 * SECOND
"""Longest time of a round, while nothing moves."""
BATCH: Final = 256
"""Connections that are asked in one turn."""


class KernelBuffers:
    """Keeps the budget informed about the buffers of sockets.

    Args:
        network: gives the time, and timers.
        flows: all TCP flows.
        memory: the budget.
        limit: its bytes.
    """

    __slots__ = (
        "_flows",
        "_from",
        "_memory",
        "_moved",
        "_network",
        "_on",
        "_pause",
        "_since",
        "_swept",
        "_to_ask",
    )

    def __init__(
        self, network: Network, flows: Mapping[bytes, TcpFlow], memory: MemoryBudget[Any], limit: int
    ) -> None:
        self._network = network
        self._flows = flows
        self._memory = memory
        self._from = limit // LARGEST
        self._on = False
        self._to_ask: list[bytes] = []
        self._since = self._swept = 0
        self._moved = False
        self._pause = SWEEP

    def watch(self) -> None:
        """Begin to ask, if there are enough connections by now."""
        if not self._on and len(self._flows) > self._from:
            self._on = True
            self._pause = SWEEP
            self._network.timers.defer(self._network.now + SWEEP, self._ask)

    def _ask(self) -> None:
        """Ask some connections, and come back."""
        flows, network = self._flows, self._network
        if not self._to_ask and not self._begin():
            return
        for _ in range(min(BATCH, len(self._to_ask))):
            flow = flows.get(self._to_ask.pop())
            if isinstance(flow, PumpedFlow) and self._may_hold(flow):
                self._moved = True
                self._note(flow, kernel_memory(flow.peer))
        rounds = len(flows) // BATCH + 1
        network.timers.defer(network.now + self._pause // rounds, self._ask)

    def _begin(self) -> bool:
        """Begin a new round, unless there are too few connections."""
        flows = self._flows
        if len(flows) <= self._from:
            self._on = False
            for flow in list(flows.values()):
                if isinstance(flow, PumpedFlow):
                    self._note(flow, 0)
            return False
        self._pause = SWEEP if self._moved else min(2 * self._pause, SLOWEST)
        self._moved = False
        self._since, self._swept = self._swept, self._network.now
        self._to_ask = list(flows)
        return True

    def _may_hold(self, flow: PumpedFlow) -> bool:
        """Report whether the sockets of a flow may hold data: it moved lately, or something waits."""
        return bool(
            flow.last_activity >= self._since
            or flow.kernel
            or flow.write_blocked
            or flow.read_ready
            or flow.conn.snd_buf.length
        )

    def _note(self, flow: PumpedFlow, size: int) -> None:
        if size != flow.kernel:
            flow.kernel = size
            self._memory.note(flow, flow.data())
