"""Congestion control: the limit for data in flight, in addition to the peer's window.

The interface is :class:`~slirpy.interfaces.CongestionControl`. :class:`Cubic` (RFC 9438) is the default of
``Settings.congestion``; :class:`Reno` (RFC 5681) is the alternative. Both count bytes and use integer arithmetic, so
results are the same on every machine.
"""

from slirpy.interfaces.congestion import CongestionControl, CongestionFactory
from slirpy.tcp.congestion.cubic import Cubic
from slirpy.tcp.congestion.reno import Reno, initial_window

__all__ = ["ALGORITHMS", "CongestionControl", "CongestionFactory", "Cubic", "Reno", "initial_window"]

ALGORITHMS: dict[str, CongestionFactory] = {"cubic": Cubic, "reno": Reno}
"""Algorithms by their names in Linux."""
