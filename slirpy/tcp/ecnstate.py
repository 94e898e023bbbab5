"""State of explicit congestion notification, apart from its rules (:mod:`slirpy.tcp.ecn`)."""

from __future__ import annotations

__all__ = ["EcnState"]


class EcnState:
    """State of explicit congestion notification, see :mod:`slirpy.tcp.ecn`.

    Args:
        iss: initial send sequence number of the connection.
    """

    __slots__ = ("codepoint", "echo", "loss", "recover", "reduced")

    def __init__(self, iss: int) -> None:
        self.echo = False
        """The peer's data was marked, which each segment reports until the peer confirms it."""
        self.reduced = False
        """The congestion window was reduced, which the next new data reports."""
        self.recover = iss
        """SND.MAX at the last reduction due to a mark. Until it is acknowledged, there is no further one."""
        self.loss = iss
        """RECOVER of the last loss that was reported as a reduction."""
        self.codepoint = 0
        """ECN field for the IP header of the segment that is being emitted."""
