"""Faults that one can name, order and shrink: what a test does to a network on purpose.

Faults of single segments name a connection, a direction and the n-th *new* segment: retransmissions are never hit,
so losses are finite, and a name keeps its meaning when other things change. ``str()`` of a fault is a phrase for
reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from slirpy.checks import amount, switch
from slirpy.config.values import host_name
from slirpy.errors import ConfigError

__all__ = [
    "KINDS",
    "Corrupt",
    "Crash",
    "Cut",
    "Delay",
    "Fault",
    "Flow",
    "FlowFault",
    "Lose",
    "Repeat",
    "Reset",
    "Slow",
    "Stall",
    "TimedFault",
]


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """One direction of a connection between two hosts, or of an exchange of datagrams.

    Raises:
        ConfigError: a value of the wrong kind.
    """

    client: str
    """Name of the host that opens it."""
    server: str
    """Name of the other host."""
    connection: int = 0
    """Number of the connection among those from ``client`` to ``server``, in the order of their first packets."""
    back: bool = False
    """True: the direction from ``server`` to ``client``."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """``"tcp"`` or ``"udp"``."""

    def __post_init__(self) -> None:
        host_name("client", self.client, dot=True)
        host_name("server", self.server, dot=True)
        if self.client.lower() == self.server.lower():
            raise ConfigError(
                f"client and server are both {self.client}; what a host sends to itself takes no path"
            )
        amount("connection", self.connection)
        switch("back", self.back)
        if self.protocol not in ("tcp", "udp"):
            raise ConfigError(f'protocol is "tcp" or "udp"; given was {self.protocol!r}')

    @property
    def source(self) -> str:
        """Name of the host that sends."""
        return self.server if self.back else self.client

    @property
    def target(self) -> str:
        """Name of the host that receives."""
        return self.client if self.back else self.server

    def __str__(self) -> str:
        what = "connection" if self.protocol == "tcp" else "UDP exchange"
        opened = f" (opened by {self.client})" if self.back else ""
        return f"{what} {self.connection}{opened} from {self.source} to {self.target}"


@dataclass(frozen=True, slots=True)
class FlowFault:
    """Base of faults of one new segment or datagram.

    Raises:
        ConfigError: a value of the wrong kind.
    """

    flow: Flow
    n: int
    """Number of the new segment in its direction: 0 is the SYN, acknowledgements alone do not count, a FIN does. Of
    UDP the number of the datagram, from 0."""

    def __post_init__(self) -> None:
        if not isinstance(self.flow, Flow):
            raise ConfigError(f'flow is a Flow, such as Flow("client", "server"); given was {self.flow!r}')
        amount("n", self.n)

    @property
    def segment(self) -> str:
        """The segment in words."""
        if self.flow.protocol == "udp":
            return f"datagram {self.n} of {self.flow}"
        first = "SYN,ACK" if self.flow.back else "SYN"
        return f"the {first} of {self.flow}" if not self.n else f"new segment {self.n} of {self.flow}"


@dataclass(frozen=True, slots=True)
class Lose(FlowFault):
    """The segment is lost."""

    def __str__(self) -> str:
        return f"lose {self.segment}"


@dataclass(frozen=True, slots=True)
class Delay(FlowFault):
    """The segment arrives late, and others overtake it."""

    ms: int = 100
    """Milliseconds of virtual time."""

    def __post_init__(self) -> None:
        FlowFault.__post_init__(self)
        amount("ms", self.ms)

    def __str__(self) -> str:
        return f"delay {self.segment} by {self.ms} ms"


@dataclass(frozen=True, slots=True)
class Repeat(FlowFault):
    """The segment arrives twice."""

    def __str__(self) -> str:
        return f"repeat {self.segment}"


@dataclass(frozen=True, slots=True)
class Corrupt(FlowFault):
    """One bit of the IP packet changes on the way; the receiver drops what its checksum does not match."""

    bit: int = 0
    """Number of the bit, from the beginning of the packet; counted modulo its length."""

    def __post_init__(self) -> None:
        FlowFault.__post_init__(self)
        amount("bit", self.bit)

    def __str__(self) -> str:
        return f"change bit {self.bit} of {self.segment}"


@dataclass(frozen=True, slots=True)
class Reset:
    """A device on the path resets the connection, as some firewalls do, once it has carried ``after_bytes``.

    Raises:
        ConfigError: a value of the wrong kind.
    """

    flow: Flow
    after_bytes: int = 0
    """Bytes of new data in this direction after which both ends get a RST; 0: at the first segment after the SYN."""

    def __post_init__(self) -> None:
        if not isinstance(self.flow, Flow) or self.flow.protocol != "tcp":
            raise ConfigError(
                f'flow is a Flow of TCP, such as Flow("client", "server"); given was {self.flow!r}'
            )
        amount("after_bytes", self.after_bytes)

    def __str__(self) -> str:
        return f"reset {self.flow} after {self.after_bytes} bytes"


@dataclass(frozen=True, slots=True)
class TimedFault:
    """Base of faults that begin at a time, which may be in the future.

    Raises:
        ConfigError: a value of the wrong kind.
    """

    at: int
    """Milliseconds of virtual time from the call of ``inject``."""
    ms: int
    """Milliseconds for which it lasts."""

    places: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are names of hosts."""

    def __post_init__(self) -> None:
        amount("at", self.at)
        amount("ms", self.ms)
        for place in self.places:
            host_name(place, getattr(self, place), dot=True)


@dataclass(frozen=True, slots=True)
class Cut(TimedFault):
    """A cut between two hosts: every packet is lost."""

    a: str
    b: str
    oneway: bool = False
    """True: only what ``a`` sends to ``b`` is lost."""

    places: ClassVar[tuple[str, ...]] = ("a", "b")

    def __post_init__(self) -> None:
        TimedFault.__post_init__(self)
        switch("oneway", self.oneway)

    def __str__(self) -> str:
        between = f"from {self.a} to {self.b}" if self.oneway else f"between {self.a} and {self.b}"
        return f"cut the path {between} in {self.at} ms for {self.ms} ms"


@dataclass(frozen=True, slots=True)
class Slow(TimedFault):
    """The path from one host to another is slow."""

    a: str
    b: str
    rate: int = 1_000_000
    """Bits per second."""

    places: ClassVar[tuple[str, ...]] = ("a", "b")

    def __post_init__(self) -> None:
        TimedFault.__post_init__(self)
        amount("rate", self.rate, 1)

    def __str__(self) -> str:
        return f"slow the path from {self.a} to {self.b} to {self.rate} bit/s in {self.at} ms for {self.ms} ms"


@dataclass(frozen=True, slots=True)
class Stall(TimedFault):
    """The processor of a host stops for a while."""

    host: str

    places: ClassVar[tuple[str, ...]] = ("host",)

    def __str__(self) -> str:
        return f"stall {self.host} in {self.at} ms for {self.ms} ms"


@dataclass(frozen=True, slots=True)
class Crash(TimedFault):
    """A host crashes, and boots again after ``ms``."""

    host: str
    reset: bool = False
    """True: its connections are reset; False: it falls silent."""

    places: ClassVar[tuple[str, ...]] = ("host",)

    def __post_init__(self) -> None:
        TimedFault.__post_init__(self)
        switch("reset", self.reset)

    def __str__(self) -> str:
        return f"crash {self.host} in {self.at} ms for {self.ms} ms"


KINDS = Lose, Delay, Repeat, Corrupt, Reset, Cut, Slow, Stall, Crash
"""Classes of faults."""
Fault = Lose | Delay | Repeat | Corrupt | Reset | Cut | Slow | Stall | Crash
"""A fault that :meth:`Network.inject <slirpy.testing.sim.network.Network.inject>` takes."""
