"""State machines of Hypothesis: programs in a network with faults, and TCP implementations against slirpy's.

:class:`NetworkMachine` runs the rules of a test as programs of a :class:`slirpy.testing.Network`, and schedules
faults between them. :class:`TcpMachine` is for implementations of TCP: yours, by an adapter of a few lines
(:class:`TcpSubject`), against slirpy's engine as the peer and as the model.

This package needs Hypothesis: install ``slirpy[testing]``. Nothing else in slirpy imports it.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis
except ImportError as error:
    raise ImportError("slirpy.testing.machines needs Hypothesis; install slirpy[testing]") from error

from slirpy.testing.machines.forged import FORGED
from slirpy.testing.machines.network import NetworkMachine, initialize, rule
from slirpy.testing.machines.subject import ConnectionSubject, TcpSubject, from_bytes, to_bytes
from slirpy.testing.machines.tcp import TcpMachine

__all__ = [
    "FORGED",
    "ConnectionSubject",
    "NetworkMachine",
    "TcpMachine",
    "TcpSubject",
    "from_bytes",
    "initialize",
    "rule",
    "to_bytes",
]

del _hypothesis
