"""The lower parts of a stack, on which NAT and services are built."""

from __future__ import annotations

from random import Random

from slirpy.config import Config
from slirpy.core import arp, ndp
from slirpy.core.icmp import IcmpErrors
from slirpy.core.ip import IPSender
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.tables import FlowTables
from slirpy.stats import Stats

__all__ = ["Parts"]


class Parts:
    """The lower parts of one stack, each built on those before it.

    Attributes:
        network: the record that all parts share.
        neighbors: the neighbour table.
        ip: sends packets to guests.
        errors: sends ICMP errors to guests.
        tables: flows and services by address and port.
    """

    __slots__ = ("errors", "ip", "neighbors", "network", "tables")

    def __init__(self, config: Config, random: Random, stats: Stats) -> None:
        network = self.network = Network(config, random, stats)
        neighbors = self.neighbors = Neighbors(network, self._ask, self._solicit)
        ip = self.ip = IPSender(network, neighbors)
        self.errors = IcmpErrors(network, neighbors, ip)
        self.tables = FlowTables(random)

    def _ask(self, address: bytes) -> None:
        """Ask behind all links where an address is."""
        if len(address) == 4:
            arp.request(self.network, address)
        else:
            ndp.solicit(self.network, address)

    def _solicit(self, neighbor: Neighbor) -> None:
        """Ask a neighbour whether it is there."""
        ndp.confirm(self.network, neighbor)
