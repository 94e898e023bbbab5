"""The DHCP server of the virtual network, and the leases of both IP families."""

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.services.dhcp.book import LeaseBook
    from slirpy.services.dhcp.lease import Lease, LeaseInfo, LeaseState
    from slirpy.services.dhcp.server import DhcpService
    from slirpy.services.dhcp.store import LeaseFile, LeaseStore

__all__ = ["DhcpService", "Lease", "LeaseBook", "LeaseFile", "LeaseInfo", "LeaseState", "LeaseStore"]

_MODULES = {
    "book": "LeaseBook",
    "lease": "Lease LeaseInfo LeaseState",
    "server": "DhcpService",
    "store": "LeaseFile LeaseStore",
}

if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
