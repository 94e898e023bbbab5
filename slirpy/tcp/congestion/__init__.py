"""Congestion control: how much may be in flight, beside what the peer's window allows.

The seam is :class:`~slirpy.interfaces.CongestionControl`. :class:`Cubic` (RFC 9438) is what connections get unless
``Settings.congestion`` says otherwise, :class:`Reno` (RFC 5681) is beside it. Both count bytes and compute in whole
numbers, so that two machines agree to the byte.
"""

from slirpy.interfaces.congestion import CongestionControl, CongestionFactory
from slirpy.tcp.congestion.cubic import Cubic
from slirpy.tcp.congestion.reno import Reno, initial_window

__all__ = ["ALGORITHMS", "CongestionControl", "CongestionFactory", "Cubic", "Reno", "initial_window"]

ALGORITHMS: dict[str, CongestionFactory] = {"cubic": Cubic, "reno": Reno}
"""Those that have a name, as Linux names them."""
