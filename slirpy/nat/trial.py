"""Datagrams to the host's loopback of which it is not known yet whether anybody listens there.

The gateway stands for both of the host's loopbacks (``nat/routes.py``). A connection shows at once where somebody
listens; a datagram is refused by an ICMP error, if at all. So the first few are kept, and are sent to the other
loopback when such an error comes. An answer, or the bound of what is kept, ends the trial.
"""

from __future__ import annotations

from slirpy.nat.routes import Route
from slirpy.records import NamedTuple
from slirpy.units import SECOND

__all__ = ["MAX_KEPT", "Trial"]

MAX_KEPT = 16
KEPT_BYTES = 1 << 17
TIME = 1 * SECOND
"""Time that a trial lasts. The host's system refuses at once."""


class Kept(NamedTuple):
    """A datagram of a trial."""

    payload: bytes
    hop_limit: int
    dont_fragment: bool


class Trial:
    """The trial of one destination of a flow.

    Attributes:
        destination: address and port as the guest knows them.
        otherwise: where its datagrams go if nobody listens.
        kept: those that were sent.
    """

    __slots__ = ("_began", "_size", "destination", "kept", "otherwise")

    def __init__(self, destination: tuple[bytes, int], otherwise: Route, now: int) -> None:
        self.destination = destination
        self.otherwise = otherwise
        self.kept: list[Kept] = []
        self._size = 0
        self._began = now

    def keep(self, payload: memoryview, hop_limit: int, dont_fragment: bool, now: int) -> bool:
        """Keep a datagram. Returns False if that is too much: then the trial is over."""
        self._size += len(payload)
        if len(self.kept) >= MAX_KEPT or self._size > KEPT_BYTES or now - self._began > TIME:
            return False
        self.kept.append(Kept(bytes(payload), hop_limit, dont_fragment))
        return True
