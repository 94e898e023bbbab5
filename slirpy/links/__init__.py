"""Frame carriers between a guest and the stack, and middleware that wraps them.

A link is attached to a network by :meth:`Slirp.attach <slirpy.Slirp.attach>`; a wrapper takes the link that it
wraps. What a link consists of, for one of your own: :class:`slirpy.interfaces.Link`.

The names below are imported on first use (PEP 562): each carrier loads what it needs and nothing else.
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.links.callback import CallbackLink
    from slirpy.links.capture import CaptureLink
    from slirpy.links.dgram import DgramLink, multicast
    from slirpy.links.endpoint import Endpoint, abstract, inet, parse_endpoint, unix
    from slirpy.links.faults import FaultLink
    from slirpy.links.faultypath import FaultCounters, Faults, FaultyPath
    from slirpy.links.listener import StreamListener
    from slirpy.links.middleware import Middleware
    from slirpy.links.recorder import Recorder
    from slirpy.links.seqpacket import SeqpacketLink
    from slirpy.links.stream import StreamLink
    from slirpy.links.table import LinkOptions, parse_netdev
    from slirpy.links.tap import TapLink
    from slirpy.links.trace import TraceLink
    from slirpy.links.tracefile import TraceFile
    from slirpy.links.tuntap import open_tap

__all__ = [
    "CallbackLink",
    "CaptureLink",
    "DgramLink",
    "Endpoint",
    "FaultCounters",
    "FaultLink",
    "Faults",
    "FaultyPath",
    "LinkOptions",
    "Middleware",
    "Recorder",
    "SeqpacketLink",
    "StreamLink",
    "StreamListener",
    "TapLink",
    "TraceFile",
    "TraceLink",
    "abstract",
    "inet",
    "multicast",
    "open_tap",
    "parse_endpoint",
    "parse_netdev",
    "unix",
]

_MODULES = {
    "callback": "CallbackLink",
    "capture": "CaptureLink",
    "dgram": "DgramLink multicast",
    "endpoint": "Endpoint abstract inet parse_endpoint unix",
    "faults": "FaultLink",
    "faultypath": "FaultCounters Faults FaultyPath",
    "listener": "StreamListener",
    "middleware": "Middleware",
    "recorder": "Recorder",
    "seqpacket": "SeqpacketLink",
    "stream": "StreamLink",
    "table": "LinkOptions parse_netdev",
    "tap": "TapLink",
    "tuntap": "open_tap",
    "trace": "TraceLink",
    "tracefile": "TraceFile",
}
"""Names by the module that each is imported from."""


if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
