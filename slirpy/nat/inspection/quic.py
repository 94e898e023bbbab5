"""First bytes of QUIC flows: the ClientHello of every connection that a client opens from one port."""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.interfaces import UNDECIDED, Finding, Passed, Refused
from slirpy.nat.inspection.names import Demand
from slirpy.wire.quic import InitialPacket, InitialReader, split_datagram
from slirpy.wire.unreadable import UnreadableError

__all__ = ["QuicInspection"]

MAX_CONNECTIONS = 128
"""Most connections that a client may open from one port while its flow lasts."""
MAX_BYTES = 262144
"""Most bytes of their hellos. All are remembered: were one forgotten, its parts could be exchanged one by one."""


class QuicInspection:
    """Reads the datagrams of one client; a :class:`~slirpy.interfaces.FirstBytes`.

    A port may carry several connections, one after another or at once, so the inspection does not end. Initial
    packets that the keys of their own connection ID do not open belong to a connection that the server knows. All
    other packets pass once a hello has passed, since no server answers them without one.

    Args:
        names: the names that allow the flow, in lower case.
        mode: ``"strict"``, ``"ech"`` or ``"sni-optional"``.
    """

    __slots__ = ("_demand", "_passed", "_readers")

    def __init__(self, names: Sequence[str], mode: str) -> None:
        self._demand = Demand(names, mode)
        self._readers: dict[tuple[int, bytes], InitialReader] = {}
        self._passed = False

    def feed(self, data: bytes) -> Finding:
        """Take the next datagram of the client."""
        try:
            packets, _ = split_datagram(data)
            said: list[str] = []
            for packet in packets:
                reader = self._reader(packet)
                if reader is None:
                    continue
                if reader.hello is None:
                    return UNDECIDED  # the rest of the datagram waits with it
                refused = self._demand.refuse_hello(reader.hello, "quic")
                if refused is not None:
                    return refused
                self._passed = True
                if reader.hello.server_name is not None:
                    said.append(reader.hello.server_name)
        except UnreadableError as error:
            return Refused(str(error), kind="quic")
        return Passed("quic", tuple(dict.fromkeys(said)), more=True) if self._passed else UNDECIDED

    def end(self) -> Finding:
        """Datagrams have no end."""
        return UNDECIDED

    def _reader(self, packet: InitialPacket) -> InitialReader | None:
        """Give a packet to the reader of its connection ID. Returns None if the packet opens no connection."""
        key = packet.version, packet.destination
        reader = self._readers.get(key) or InitialReader(*key)
        if not reader.feed(packet):
            if not self._passed:
                raise UnreadableError("QUIC packet that cannot be read")
            return None
        self._readers[key] = reader
        if (
            len(self._readers) > MAX_CONNECTIONS
            or sum(each.size for each in self._readers.values()) > MAX_BYTES
        ):
            raise UnreadableError("too many QUIC connections from one port")
        return reader
