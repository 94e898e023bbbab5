"""The DNS server of the virtual network: a forwarder with a cache and local names."""

from slirpy.services.dns.server import DnsService

__all__ = ["DnsService"]
