"""The TCP engine, usable alone: no stack, no sockets, no clock, no threads.

A :class:`~slirpy.tcp.connection.Connection` is driven by segments (``receive``), by calls of its user (``connect``,
``listen``, ``write``, ``read``, ``shutdown``, ``abort``) and by time (``handle_timeout``). It returns the segments to
send (``segments_to_send``) and the time of the next ``deadline``::

    a, b = Connection(iss=1), Connection(iss=2)
    a.connect(now)
    b.listen(now)
    for segment in a.segments_to_send(now):
        b.receive(segment, now)

Receiving records, output decides: an arriving segment only changes the state. Output alone sends, and derives what to
send from the state.

A stack that builds frames itself can use the faster functions below these methods:
:func:`~slirpy.tcp.receive.segment_arrives`, :func:`~slirpy.tcp.sending.expire` and
:func:`~slirpy.tcp.sending.output`. The last one passes the parts of each segment to a callback, so no object is
created for a segment and no payload is joined.
"""

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.tcp.connection import Connection
    from slirpy.tcp.isn import initial_sequence_number, timestamp_offset
    from slirpy.tcp.options import TcpOptions
    from slirpy.tcp.receive import segment_arrives
    from slirpy.tcp.segment import Segment, reset_for
    from slirpy.tcp.sending import expire, output
    from slirpy.tcp.settings import Settings
    from slirpy.tcp.states import State
    from slirpy.tcp.timewait import next_iss, reopens

__all__ = [
    "Connection",
    "Segment",
    "Settings",
    "State",
    "TcpOptions",
    "expire",
    "initial_sequence_number",
    "next_iss",
    "output",
    "reopens",
    "reset_for",
    "segment_arrives",
    "timestamp_offset",
]

_MODULES = {
    "connection": "Connection",
    "isn": "initial_sequence_number timestamp_offset",
    "options": "TcpOptions",
    "receive": "segment_arrives",
    "segment": "Segment reset_for",
    "sending": "expire output",
    "settings": "Settings",
    "states": "State",
    "timewait": "next_iss reopens",
}
"""Names of the public API, by the module that each is imported from. None may be a module's name too: an imported
module becomes an attribute of this package."""


if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
