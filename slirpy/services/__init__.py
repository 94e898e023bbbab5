"""Services that answer inside the virtual network."""

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.services.dhcp import DhcpService
    from slirpy.services.dhcp6 import Dhcp6Service

__all__ = ["Dhcp6Service", "DhcpService"]

if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, {"dhcp": "DhcpService", "dhcp6": "Dhcp6Service"})
