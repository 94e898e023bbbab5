"""The DNS server of the virtual network: a forwarder with a cache and local names."""

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.services.dns.server import DnsService

__all__ = ["DnsService"]

if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, {"server": "DnsService"})
