"""The seams of slirpy, as structural types.

==========================  =================================================================
:class:`Link`               carries Ethernet frames between a guest and the stack
:class:`HostNetwork`        opens flows to the outside world and listens there
:class:`StreamPeer`         the far end of a guest's TCP connection
:class:`Service`            answers datagrams sent to an address of the virtual network
:class:`Policy`             decides about each new flow
:class:`CongestionControl`  decides how much of a TCP connection may be on its way
:class:`FirstBytes`         reads what a client says first, on flows that a name allowed
:class:`Events`             hears about flows, names, leases and the policy
==========================  =================================================================

Conventions that hold for all of them:

* Addresses are ``bytes`` in network order: four of them for IPv4, sixteen for IPv6. MAC addresses are six.
* Time is an ``int``: nanoseconds of a monotonic clock that the runtime samples once per batch.
* No call blocks, and no call raises an exception because of data from a guest or a remote host.
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.interfaces.basics import Buffer, Timer
    from slirpy.interfaces.congestion import CongestionControl, CongestionFactory
    from slirpy.interfaces.events import Events
    from slirpy.interfaces.hosts import (
        AcceptedStream,
        Acceptor,
        BoundDatagramPeer,
        DatagramOwner,
        DatagramPeer,
        HostNetwork,
        IcmpReport,
        Listener,
        NameAnswer,
        PingOwner,
        PingPeer,
        StreamOwner,
        StreamPeer,
    )
    from slirpy.interfaces.inspection import (
        KEPT_MAX,
        UNDECIDED,
        Finding,
        FirstBytes,
        Inspector,
        Passed,
        Refused,
        Undecided,
    )
    from slirpy.interfaces.links import READ, WRITE, Frame, Link, LinkFeatures, LinkSink, Poller
    from slirpy.interfaces.onebyone import OneByOne
    from slirpy.interfaces.policies import (
        TLS_MODES,
        Action,
        Asker,
        Decision,
        FlowRequest,
        IPProtocol,
        Policy,
        RefusedHook,
        Verdict,
    )
    from slirpy.interfaces.services import Datagram, Service, ServiceNetwork, StreamService

__all__ = [
    "KEPT_MAX",
    "READ",
    "TLS_MODES",
    "UNDECIDED",
    "WRITE",
    "AcceptedStream",
    "Acceptor",
    "Action",
    "Asker",
    "BoundDatagramPeer",
    "Buffer",
    "CongestionControl",
    "CongestionFactory",
    "Datagram",
    "DatagramOwner",
    "DatagramPeer",
    "Decision",
    "Events",
    "Finding",
    "FirstBytes",
    "FlowRequest",
    "Frame",
    "HostNetwork",
    "IPProtocol",
    "IcmpReport",
    "Inspector",
    "Link",
    "LinkFeatures",
    "LinkSink",
    "Listener",
    "NameAnswer",
    "OneByOne",
    "Passed",
    "PingOwner",
    "PingPeer",
    "Policy",
    "Poller",
    "Refused",
    "RefusedHook",
    "Service",
    "ServiceNetwork",
    "StreamOwner",
    "StreamPeer",
    "StreamService",
    "Timer",
    "Undecided",
    "Verdict",
]

_MODULES = {
    "basics": "Buffer Timer",
    "congestion": "CongestionControl CongestionFactory",
    "hosts": "AcceptedStream Acceptor BoundDatagramPeer DatagramOwner DatagramPeer HostNetwork IcmpReport Listener"
    " NameAnswer PingOwner PingPeer StreamOwner StreamPeer",
    "events": "Events",
    "inspection": "KEPT_MAX UNDECIDED Finding FirstBytes Inspector Passed Refused Undecided",
    "links": "READ WRITE Frame Link LinkFeatures LinkSink Poller",
    "onebyone": "OneByOne",
    "policies": "TLS_MODES Action Asker Decision FlowRequest IPProtocol Policy RefusedHook Verdict",
    "services": "Datagram Service ServiceNetwork StreamService",
}
"""Each name by the module that defines it. A name is imported on first use (PEP 562), so that the TCP engine alone
does not load all the seams."""


if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
