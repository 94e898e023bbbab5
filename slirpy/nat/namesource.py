"""The seam of those that know what names resolve to."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.core.pins import Pin
from slirpy.interfaces import FlowRequest
from slirpy.records import Protocol

__all__ = ["NameSource"]


class NameSource(Protocol):
    """The names that addresses stand for, and their addresses now. All addresses are as the host knows them, or those
    of virtual hosts.
    """

    def names(self, request: FlowRequest) -> tuple[str, ...]:
        """Return the names that the destination stands for, the latest first."""

    def unpinned(self, request: FlowRequest) -> tuple[str, ...]:
        """Return the names whose answers contained a destination that they may not open."""

    def may_open(self, address: bytes) -> bool:
        """Report whether an answer from outside may open an address."""

    def current(self, request: FlowRequest, name: str) -> list[bytes]:
        """Return the addresses of a name now, of the destination's family; empty: none is known, so ask."""

    def resolve(
        self, request: FlowRequest, name: str, done: Callable[[list[bytes]], object]
    ) -> Callable[[], object] | None:
        """Ask for the addresses of a name, of the destination's family; empty: none that may be used.

        Returns:
            None if ``done`` has been called; else a function that gives up.
        """

    def use(self, request: FlowRequest, name: str) -> Pin | None:
        """Keep the pin of a name for a flow, until :meth:`release`."""

    def release(self, pin: Pin) -> None:
        """End the use of a pin by one flow."""
