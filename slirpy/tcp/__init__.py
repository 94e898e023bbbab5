"""The TCP engine, usable alone: no stack, no sockets, no clock, no threads.

A :class:`~slirpy.tcp.connection.Connection` is driven by segments
(:func:`~slirpy.tcp.receive.segment_arrives`), by the user's calls (``write``, ``consume``, ``shutdown``,
``abort``) and by the time (:func:`~slirpy.tcp.output.expire`). It gives back segments
(:func:`~slirpy.tcp.output.output`) and a deadline.

Receiving records, output decides: nothing but ``output`` ever sends, and it derives what to send from the state.
"""

from slirpy.tcp.connection import Connection, Settings
from slirpy.tcp.numbers import initial_sequence_number, timestamp_offset
from slirpy.tcp.options import TcpOptions
from slirpy.tcp.output import expire, output
from slirpy.tcp.receive import segment_arrives
from slirpy.tcp.segment import Segment, reset_for
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
