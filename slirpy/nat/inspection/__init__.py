"""Inspection of what clients say first on flows that a name allowed (see :mod:`slirpy.interfaces.inspection`).

Such a flow was allowed because the guest had asked our DNS server for a name and got this address. Many names
share an address, so the client has to say the name again where its protocol has a place for it, and it has to be
one of those that allow the flow:

* TLS: the server name in the ClientHello, at any port.
* HTTP/1 and HTTP/2 in clear: the host of every request, at any port.
* QUIC: the server name in the ClientHello, at UDP port 443.
* Anything else, such as SSH: by address and port alone. At the :data:`~slirpy.nat.inspection.streams.WEB_PORTS` it
  is refused, since a web server may read more kindly than we do.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from slirpy.interfaces import Finding, FirstBytes, FlowRequest, IPProtocol, Refused, Verdict

if TYPE_CHECKING:
    from slirpy.nat.inspection.streams import StreamInspection

__all__ = ["first_bytes", "load_for"]

_QUIC_PORT = 443


def load_for(policy: object) -> None:
    """Load the modules that a policy may need, as long as files can be read; networks without one need none."""
    if policy is None:
        return
    import slirpy.nat.inspection.streams
    import slirpy.nat.proxies
    from slirpy.config.policy import RulePolicy

    if isinstance(policy, RulePolicy) and any(rule.quic for rule in policy.rules):
        import slirpy.nat.inspection.quic  # noqa: F401 - needs the extra "quic"


def first_bytes(request: FlowRequest, verdict: Verdict) -> FirstBytes | None:
    """Return a reader for a flow that ``verdict.names`` allowed; None if nothing needs to be read.

    The :data:`~slirpy.interfaces.Inspector` of every network.
    """
    if verdict.tls == "off" or not verdict.names:
        return None
    if request.protocol == IPProtocol.TCP:
        return _streams()(verdict.names, verdict.tls, request.destination_port)
    if request.protocol == IPProtocol.UDP and (
        request.destination_port == _QUIC_PORT or verdict.rule.partition(" ")[2].startswith("quic:")
    ):
        try:
            from slirpy.nat.inspection.quic import QuicInspection
        except ImportError:  # no rule of slirpy's demands it, but somebody's own policy
            return _Unreadable()
        return QuicInspection(verdict.names, verdict.tls)
    return None


@cache
def _streams() -> type[StreamInspection]:
    """Load the reader of TCP connections, at the first one: an import statement costs a tenth of reading a hello."""
    from slirpy.nat.inspection.streams import StreamInspection

    return StreamInspection


class _Unreadable:
    """Refuses QUIC where the library is missing that opens its packets; a :class:`~slirpy.interfaces.FirstBytes`."""

    def feed(self, data: bytes) -> Finding:
        """Refuse the first datagram."""
        return Refused("QUIC is read by the package cryptography, which is not installed", kind="quic")

    def end(self) -> Finding:
        """Datagrams have no end."""
        return self.feed(b"")
