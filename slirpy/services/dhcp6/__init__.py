"""The DHCPv6 server of the virtual network."""

from slirpy.services.dhcp6.server import Dhcp6Service

__all__ = ["Dhcp6Service"]
