"""The DHCP server of the virtual network, and the leases of both IP families."""

from slirpy.services.dhcp.book import LeaseBook
from slirpy.services.dhcp.lease import Lease, LeaseInfo, LeaseState
from slirpy.services.dhcp.server import DhcpService
from slirpy.services.dhcp.store import LeaseFile, LeaseStore

__all__ = ["DhcpService", "Lease", "LeaseBook", "LeaseFile", "LeaseInfo", "LeaseState", "LeaseStore"]
