"""The scenarios: what happens to the network while the programs run, and how far apart the clocks may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.faults import Cut, Delay, Fault, Flow, Lose, Repeat, Reset
from slirpy.testing.sim.network import Network
from slirpy.units import MS

__all__ = ["SCENARIOS", "Scenario"]

THERE = Flow("client", "server")
BACK = Flow("client", "server", back=True)
TEN_MS = Faults(delay=10 * MS)


def nothing(net: Network) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Scenario:
    """A scenario with the two programs of its name.

    Attributes:
        faults: the faults of single segments, and those at a time after the client's start.
        path: faults of each direction.
        arrange: changes more of the network, before the client's start.
        bound: seconds by which points of time may differ, beside a tenth of the time. 150 ms are for the machine: in
            real time each step waits for a processor, and all frames go through a relay in Python.
        reason: why more than that is allowed.
        resent: the side whose number of retransmissions must be equal; empty: it may differ.
        near: facts, by side and name, that are numbers which may differ by so much.
        linger: seconds for which the network runs on once both programs have ended.
        shown: the point of time that a table shows.
    """

    faults: tuple[Fault, ...] = ()
    path: Faults = TEN_MS
    arrange: Callable[[Network], None] = nothing
    bound: float = 0.15
    reason: str = ""
    resent: str = ""
    near: Mapping[str, int] = field(default_factory=dict)
    linger: float = 0.3
    shown: str = "client end"


def small_mtu(net: Network) -> None:
    """Let a router on the way to the server have an MTU of 1300 bytes."""
    net.path("client", "server").mtu = 1300


BURST = {"server arrived": 12, "server first lost": 12}

SCENARIOS: dict[str, Scenario] = {
    "bulk up": Scenario(bound=0.3, reason="1,450 frames through the relay"),
    "bulk down": Scenario(bound=0.3, reason="1,450 frames through the relay"),
    "both ways at once": Scenario(bound=0.3, reason="1,450 frames through the relay"),
    "request and response": Scenario(bound=0.3, reason="thirty turns, each waits for a processor four times"),
    "many connections": Scenario(bound=0.3, reason="fifty connections cost the programs time"),
    "lost SYN": Scenario((Lose(THERE, 0),), resent="client"),
    "lost SYN-ACK": Scenario((Lose(BACK, 0),), resent="client"),
    "two lost SYNs": Scenario((Cut(0, 1500, "client", "server"),), resent="client"),
    "lost request": Scenario((Lose(THERE, 1),), resent="client"),
    "lost FIN": Scenario((Lose(THERE, 2),), resent="client", shown="server ended"),
    "lost last ACK": Scenario(
        (Cut(520, 250, "client", "server", oneway=True),),
        Faults(delay=100 * MS),
        bound=0.3,
        reason="the timeout depends on the variation of measured round trips",
        resent="server",
        linger=1.2,
    ),
    "zero window": Scenario(),
    "lost window update": Scenario(
        (Cut(950, 400, "server", "client", oneway=True),),
        bound=0.7,
        reason="the third probe comes after seven timeouts, which depend on measured round trips",
    ),
    "partition that heals": Scenario(
        (Cut(490, 1500, "client", "server"),),
        bound=0.35,
        reason="after a probe Linux counts the timeout from the segment, slirpy from the probe; it then doubles",
    ),
    "partition without end": Scenario(
        (Cut(300, 60_000, "client", "server"),),
        bound=0.75,
        reason="Linux counts TCP_USER_TIMEOUT from the first timeout, slirpy from the oldest data, as documented",
    ),
    "keep-alive": Scenario((Cut(300, 60_000, "client", "server"),)),
    "idle connection": Scenario(),
    "slow reader": Scenario(bound=0.3, reason="each of 32 pauses ends late"),
    "reset in the middle": Scenario((Reset(THERE, 100_000),)),
    "close with unread data": Scenario(),
    "refused port": Scenario(),
    "half close": Scenario(),
    "path MTU": Scenario(arrange=small_mtu),
    "UDP burst beyond a queue": Scenario(
        path=Faults(delay=10 * MS, rate=1_000_000, burst=3000, queue=30_000),
        reason="a kernel needs time to send a burst, in which some datagrams leave the queue",
        near=BURST,
        shown="server last",
    ),
    "UDP burst beyond a socket": Scenario(
        reason="the room that a datagram takes depends on the driver", near=BURST, shown="server last"
    ),
    "UDP to a closed port": Scenario(),
    "slow path with a full queue": Scenario(
        path=Faults(delay=10 * MS, rate=4_000_000, burst=3000, queue=16_000)
    ),
    "loss of 1 %": Scenario(tuple(Lose(THERE, n) for n in (37, 120, 121, 250, 330)), resent="client"),
    "duplicates and reordering": Scenario(
        (*(Repeat(THERE, n) for n in (20, 100, 101, 300)), *(Delay(THERE, n, 15) for n in (50, 150, 250)))
    ),
}
"""All scenarios by name."""
