"""Outcomes of routing: a route, a refusal, or a route that is yet to be found.

A policy may have to decide first, or a name has to be resolved. The packet that asked for the route is held
meanwhile: a SYN stays unanswered, datagrams wait. :data:`HOLD_TIME` bounds that for all reasons alike.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from slirpy.interfaces import FirstBytes, FlowRequest, Verdict
from slirpy.records import NamedTuple
from slirpy.units import SECOND

__all__ = ["HOLD_TIME", "Pending", "Refusal", "Route"]

HOLD_TIME = 30 * SECOND
"""Longest time that a flow is held before it is refused."""


class Refusal(enum.Enum):
    """Reason why a flow is not allowed."""

    NET_UNREACHABLE = "net unreachable"
    HOST_UNREACHABLE = "host unreachable"
    PORT_UNREACHABLE = "port unreachable"
    PROHIBITED = "administratively prohibited"
    DROP = "dropped"
    MARTIAN = "no such destination"
    BEYOND_SCOPE = "source address of a smaller scope"


class Route(NamedTuple):
    """Destination of a flow."""

    address: bytes
    port: int
    otherwise: bytes | None = None
    """Address to try if nobody listens at ``address``."""
    verdict: Verdict | None = None
    """The policy's verdict, if it says more than that the flow is allowed."""
    request: FlowRequest | None = None
    """With ``verdict``: the flow as the policy saw it."""
    first: FirstBytes | None = None
    """Reader of further datagrams, if their client may say other names later."""

    def __eq__(self, other: object) -> bool:
        """Report whether two routes lead to the same place, for whatever reason."""
        return isinstance(other, Route) and self[:3] == other[:3]

    def __hash__(self) -> int:
        return hash(self[:3])


class Pending:
    """A route that is yet to be found.

    Attributes:
        outcome: the route or the refusal, once it is there.
        on_cancel: called once when nobody waits for the outcome any more, or it is there.
    """

    __slots__ = ("_cancelled", "_done", "on_cancel", "outcome")

    def __init__(self) -> None:
        self.outcome: Route | Refusal | None = None
        self.on_cancel: list[Callable[[], object]] = []
        self._done: Callable[[Route | Refusal], object] | None = None
        self._cancelled = False

    def then(self, done: Callable[[Route | Refusal], object]) -> None:
        """Call ``done`` with the outcome when it comes, or now if it is there. There is one such function."""
        if self.outcome is not None:
            done(self.outcome)
        else:
            self._done = done

    def follow(self, found: Route | Refusal | Pending) -> None:
        """Take the outcome, or that of another pending route. Only the first one counts."""
        if self._cancelled or self.outcome is not None:
            if isinstance(found, Pending):
                found.cancel()
        elif isinstance(found, Pending):
            self.on_cancel.append(found.cancel)
            found.then(self.follow)
        else:
            self.outcome = found
            self._release()
            done, self._done = self._done, None
            if done is not None:
                done(found)

    def cancel(self) -> None:
        """Stop waiting. Harmless when repeated, or too late."""
        self._cancelled = True
        self._done = None
        self._release()

    def _release(self) -> None:
        released, self.on_cancel = self.on_cancel, []
        for release in released:
            release()
