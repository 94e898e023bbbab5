"""The six seams of slirpy, as structural types.

==========================  =================================================================
:class:`Link`               carries Ethernet frames between a guest and the stack
:class:`HostNetwork`        opens flows to the outside world and listens there
:class:`StreamPeer`         the far end of a guest's TCP connection
:class:`Service`            answers datagrams sent to an address of the virtual network
:class:`Policy`             decides about each new flow
:class:`CongestionControl`  decides how much of a TCP connection may be on its way
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
    from slirpy.interfaces.links import READ, WRITE, Frame, Link, LinkFeatures, LinkSink, Poller
    from slirpy.interfaces.onebyone import OneByOne
    from slirpy.interfaces.policies import Action, FlowRequest, IPProtocol, Policy, RefusedHook, Verdict
    from slirpy.interfaces.services import Datagram, Service, ServiceNetwork, StreamService

__all__ = [
    "READ",
    "WRITE",
    "AcceptedStream",
    "Acceptor",
    "Action",
    "BoundDatagramPeer",
    "Buffer",
    "CongestionControl",
    "CongestionFactory",
    "Datagram",
    "DatagramOwner",
    "DatagramPeer",
    "FlowRequest",
    "Frame",
    "HostNetwork",
    "IPProtocol",
    "IcmpReport",
    "Link",
    "LinkFeatures",
    "LinkSink",
    "Listener",
    "NameAnswer",
    "OneByOne",
    "PingOwner",
    "PingPeer",
    "Policy",
    "Poller",
    "RefusedHook",
    "Service",
    "ServiceNetwork",
    "StreamOwner",
    "StreamPeer",
    "StreamService",
    "Timer",
    "Verdict",
]

_MODULES = {
    "basics": "Buffer Timer",
    "congestion": "CongestionControl CongestionFactory",
    "hosts": "AcceptedStream Acceptor BoundDatagramPeer DatagramOwner DatagramPeer HostNetwork IcmpReport Listener"
    " NameAnswer PingOwner PingPeer StreamOwner StreamPeer",
    "links": "READ WRITE Frame Link LinkFeatures LinkSink Poller",
    "onebyone": "OneByOne",
    "policies": "Action FlowRequest IPProtocol Policy RefusedHook Verdict",
    "services": "Datagram Service ServiceNetwork StreamService",
}
"""Each name by the module that defines it. A name is imported on first use (PEP 562), so that the TCP engine alone
does not load all the seams."""


if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
