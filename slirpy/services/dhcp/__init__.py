"""The DHCP server of the virtual network, with its leases."""

from slirpy.services.dhcp.lease import Lease, LeaseState
from slirpy.services.dhcp.server import DhcpService
from slirpy.services.dhcp.store import LeaseFile, LeaseStore

__all__ = ["DhcpService", "Lease", "LeaseFile", "LeaseState", "LeaseStore"]
