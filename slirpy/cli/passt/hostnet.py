"""The host's interface, whose addresses and routes the guest gets."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from slirpy.addresses import IPAddress
from slirpy.cli.rtnetlink import InterfaceAddress, Interfaces, Route
from slirpy.errors import LinkError

__all__ = ["FamilySettings", "HostInterface", "find_interface"]

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_IFLA_ADDRESS = 1
_SCOPE_LINK = 253
_IFA_F_TENTATIVE, _IFA_F_DADFAILED = 0x40, 0x08


@dataclass
class FamilySettings:
    """Addresses and routes of one family of an interface."""

    addresses: list[InterfaceAddress] = field(default_factory=list)
    """Addresses that are valid beyond the link; the first one is the source of outgoing traffic."""
    routes: list[Route] = field(default_factory=list)
    gateway: IPAddress | None = None
    """The next hop of the default route."""


@dataclass
class HostInterface:
    """An interface of the host."""

    name: str
    mac: bytes
    """Empty: it has none."""
    families: dict[int, FamilySettings]
    """By 4 and 6; one that the interface lacks is absent."""


def find_interface(names: dict[int, str], families: tuple[int, ...]) -> HostInterface | None:
    """Find the interface by which the host reaches others.

    Args:
        names: name of the interface for each family; without one, that of the family's first default route counts.
        families: 4, 6 or both.

    Returns:
        The interface, with addresses that may come from another one for IPv6; None if no family has a default route.

    Raises:
        LinkError: there is no interface of that name, or it has no addresses.
    """
    with Interfaces() as interfaces:
        macs = {index: values.get(_IFLA_ADDRESS, b"") for index, values in interfaces.links()}
        found: HostInterface | None = None
        for version in families:
            routes = [*interfaces.routes(FAMILIES[version])]
            index = _index(names[version]) if version in names else _default(routes)
            if index is None:
                continue
            addresses = [
                each
                for each in interfaces.addresses(FAMILIES[version])
                if each.interface == index
                and each.scope < _SCOPE_LINK
                and not each.flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)
            ]
            if not addresses:
                continue
            own = [route for route in routes if route.interface == index]
            settings = FamilySettings(addresses, own, _gateway(own))
            _put_source_first(settings)
            if found is None:
                found = HostInterface(socket.if_indextoname(index), macs.get(index, b""), {})
            found.families[version] = settings
        if found is None and names:
            name = next(iter(names.values()))
            raise LinkError(f'interface "{name}" has no address that the guest could get; give others with -a')
        return found


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise LinkError(f'there is no interface "{name}"; there are {known}') from None


def _default(routes: list[Route]) -> int | None:
    return next((route.interface for route in routes if not route.prefix), None)


def _gateway(routes: list[Route]) -> IPAddress | None:
    for route in routes:
        if not route.prefix and route.gateway:
            address: IPv4Address | IPv6Address = ip_address(route.gateway)
            return address
    return None


def _put_source_first(settings: FamilySettings) -> None:
    """Let the source that the default route prefers come first."""
    for route in settings.routes:
        preferred = route.source
        if not route.prefix and preferred is not None:
            settings.addresses.sort(key=lambda each: ip_address(each.address).packed != preferred)
