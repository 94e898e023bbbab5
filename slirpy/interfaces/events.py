"""The seam of events: what an audit log hears about flows, names, leases and the policy.

A network without a sink pays one comparison with None for each flow, and nothing for each frame.
"""

from __future__ import annotations

from slirpy.interfaces.policies import FlowRequest, Verdict
from slirpy.records import Protocol

__all__ = ["Events"]


class Events(Protocol):
    """A sink of events. Its methods return at once and raise nothing."""

    @property
    def ready(self) -> bool:
        """True if new flows may start."""

    def flow_opened(
        self,
        number: int,
        request: FlowRequest,
        verdict: Verdict | None,
        address: bytes,
        port: int,
        inbound: bool,
    ) -> None:
        """A flow opens: the guest's SYN was allowed, or a datagram to a new destination.

        Args:
            number: counts the flows of this network from 1; :meth:`flow_ended` repeats it.
            request: addresses as the guest sees them. For an inbound flow (a forward) the guest is the source too.
            verdict: with the rule and the names; None: there is no policy, or the flow is inbound.
            address: the far side as the host sees it; empty: a service of the network itself.
            port: its port; 0 for ICMP.
            inbound: whether it came through a forward.
        """

    def flow_inspected(self, number: int, kind: str, names: tuple[str, ...], refused: str) -> None:
        """The client's first bytes were read; ``refused`` is the reason for a refusal, or empty."""

    def flow_refused(self, request: FlowRequest, verdict: Verdict) -> None:
        """A policy, ``restrict`` or ``host_loopback`` refused a flow; for UDP and ICMP, each packet."""

    def flow_ended(
        self,
        number: int,
        end: str,
        bytes_in: int,
        bytes_out: int,
        packets_in: int,
        packets_out: int,
        seconds: float,
    ) -> None:
        """A flow ended; ``end`` is one of :data:`slirpy.core.flows.ENDS`."""

    def dns_query(self, guest: bytes, link: object, mac: bytes, name: str, qtype: int, outcome: str) -> None:
        """A guest asks; ``outcome`` is ``"local"``, ``"cached"``, ``"forwarded"``, or the reason of a refusal."""

    def dns_answer(
        self,
        guest: bytes,
        link: object,
        mac: bytes,
        name: str,
        qtype: int,
        rcode: int,
        addresses: tuple[bytes, ...],
    ) -> None:
        """A guest gets an answer, with the addresses that count for the name."""

    def lease(self, mac: bytes, address: bytes, hostname: str, what: str) -> None:
        """A lease changes: it is ``"offered"``, ``"bound"``, ``"renewed"``, ``"released"``, ``"declined"``
        or ``"expired"``.
        """

    def link_changed(self, link: object, port: object, up: bool) -> None:
        """A link was attached or detached. ``port`` is the network's end of it, by which services know it."""

    def policy_changed(self, policy: object, reset: int) -> None:
        """The policy was replaced; ``reset`` flows that it no longer allows were reset."""
