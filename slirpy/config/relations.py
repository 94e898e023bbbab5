"""Relations between options: addresses that follow from others, and values that exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

from slirpy.config.dhcp import check_static_leases
from slirpy.config.dhcpoption import check_dhcp_options
from slirpy.config.guestfwd import GuestForward
from slirpy.config.sizes import default_memory
from slirpy.config.tftp import check_tftp
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from slirpy.config.policy import Rule
    from slirpy.interfaces import Policy

__all__ = ["check_redirects", "servers_of", "settle"]

_NO_POOL = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")))
"""Networks whose addresses a guest does not send to its gateway."""
_LEAST_MTU6 = 1280
"""Least MTU of IPv6 (RFC 8200, section 5)."""
_LEAST_ADDRESSES = 4
"""Addresses of the smallest IPv6 network, which has no room for another server."""


def settle(values: dict[str, Any]) -> None:
    """Fill in the addresses that were left out, and check what depends on several options.

    Args:
        values: each option by its name, checked by itself; changed in place.

    Raises:
        ConfigError: values that do not fit together.
    """
    if not values["ipv4"] and not values["ipv6"]:
        raise ConfigError("both ipv4 and ipv6 are off: a network carries at least one of them; leave one on")
    if not values["ipv4"] and values["mtu"] < _LEAST_MTU6:
        raise ConfigError(
            f"mtu {values['mtu']}: ipv4 is off, and IPv6 needs an MTU of at least {_LEAST_MTU6}; choose that or more"
        )
    if values["memory"] is None:
        values["memory"] = default_memory()
    for option in ("isolate", "source_guard"):
        if values["hub"] and values[option]:
            raise ConfigError(
                f"{option} and hub exclude each other: every guest gets every frame of a hub; leave one out"
            )
    if values["audit_fail"] == "closed" and not isinstance(values["audit"], str):
        raise ConfigError("audit_fail=closed needs a log that can fail; add audit=FILE, fd:N or unix:PATH")
    if values["proxy_auth_file"] is not None and not _has_proxy(values):
        raise ConfigError("proxy_auth_file is for a proxy, and there is none; add proxy=URL")
    _place_servers(values)
    _place_servers6(values)
    _check_translation(values)
    values["tftp"] = check_tftp(
        values["tftp"],
        write=values["tftp_write"],
        ignore_case=values["tftp_ignore_case"],
        single_port=values["tftp_single_port"],
    )
    check_dhcp_options(values["dhcp_options"])
    net: IPv4Network = values["net"]
    check_redirects(values["policy"], net, values["net6"])
    servers = servers_of(net, values["host"], values["dns"], values["smbserver"], values["guestfwd"])
    _place_pool(values, servers)
    _place_pool6(values)
    servers |= {values[name].packed for name in ("host6", "dns6", "smbserver6") if values[name] is not None}
    check_static_leases(values["static_leases"], net, values["net6"], servers)


def servers_of(
    net: IPv4Network,
    host: IPv4Address,
    dns: IPv4Address,
    smbserver: IPv4Address | None,
    guestfwd: Iterable[GuestForward],
) -> frozenset[bytes]:
    """Addresses in the network that virtual servers answer on, four bytes each."""
    named = (host, dns, smbserver, *(rule.server for rule in guestfwd))
    return frozenset(server.packed for server in named if server is not None and server in net)


def _has_proxy(values: dict[str, Any]) -> bool:
    return values["proxy"] is not None or any(rule.proxy for rule in _rules_of(values["policy"]))


def _place_servers(values: dict[str, Any]) -> None:
    """Place the gateway, the DNS server and the SMB server."""
    net: IPv4Network = values["net"]
    host, dns, transparent = values["host"], values["dns"], values["transparent"]
    if not (transparent and host is not None):
        host = values["host"] = _inside(net, "host", host, 2)
    if dns is None and (net.prefixlen == 30 or (transparent and values["no_dns"])):
        dns = host  # the other one belongs to the guest, or to a host outside
    if not (transparent and dns is not None):
        dns = _inside(net, "dns", dns, 3, host)
    values["dns"] = dns
    smbserver = values["smbserver"]
    if values["smb"] is not None:
        values["smbserver"] = _inside(net, "smbserver", smbserver, 4, host, dns)
    elif smbserver is not None:
        raise ConfigError(f"smbserver {smbserver}: there is no SMB server without smb=DIR")


def _place_servers6(values: dict[str, Any]) -> None:
    """Place the IPv6 gateway, and the IPv6 addresses of the DNS server and the SMB server."""
    net: IPv6Network = values["net6"]
    for name, offset in (("host6", 2), ("dns6", 3)):
        if values["transparent"]:
            if name == "dns6" and values["no_dns"] and values["dns6"] is None:
                values["dns6"] = values["host6"]
            if values[name] is not None:
                continue  # it may be elsewhere
        values[name] = _inside6(net, name, values[name], offset, values["host6"], values["dns6"])
    if values["dns6"] == values["host6"] and not values["transparent"]:
        raise ConfigError(f"dns6 {values['dns6']} is the host6 address; choose another, or leave it out")
    smbserver = values["smbserver6"]
    if values["smb"] is None:
        if smbserver is not None:
            raise ConfigError(f"smbserver6 {smbserver}: there is no SMB server without smb=DIR")
    elif smbserver is not None or net.num_addresses > _LEAST_ADDRESSES:
        values["smbserver6"] = _inside6(net, "smbserver6", smbserver, 4, values["host6"], values["dns6"])
        for name in ("host6", "dns6"):
            if values["smbserver6"] == values[name]:
                raise ConfigError(f"smbserver6 {smbserver} is the {name} address; choose another")


def _inside6(
    net: IPv6Network, name: str, address: IPv6Address | None, offset: int, *taken: IPv6Address | None
) -> IPv6Address:
    """Choose an address of the network that a host may have; by default the one at ``offset``.

    If that is taken, or the network is too small for it, the next one is chosen, or else the first free one. The
    smallest network has three.
    """
    if address is None:
        candidates = (offset, offset + 1, 1, 2, 3)
        free = (net[n] for n in candidates if n < net.num_addresses and net[n] not in taken)
        address = next(free, None)
        if address is None:
            raise ConfigError(f"net6 {net} has no room for its servers and a guest; use a larger one")
    # The network's own address is the anycast address of its routers (RFC 4291, section 2.6.1).
    if address not in net or address == net.network_address:
        raise ConfigError(f"{name} {address} is not an address of {net}; choose one from {net[1]} to {net[-1]}")
    return address


def _place_pool6(values: dict[str, Any]) -> None:
    """Choose the first address for DHCPv6."""
    taken = {values["smbserver6"]: "the smbserver6", values["dns6"]: "the dns6", values["host6"]: "the host6"}
    start = values["dhcpstart6"] = _inside6(values["net6"], "dhcpstart6", values["dhcpstart6"], 0x15, *taken)
    if start in taken:
        raise ConfigError(f"dhcpstart6 {start} is {taken[start]} address; choose another")


def _check_translation(values: dict[str, Any]) -> None:
    """Check that addresses which stand for hosts of the other family cannot be taken for guests' own."""
    prefix: IPv6Network = values["nat64_prefix"]
    pool: IPv4Network | None = values["dns46"]
    if values["nat64"]:
        if not values["ipv6"]:
            raise ConfigError(
                "nat64 is for guests that have only IPv6, and ipv6 is off; leave one of the two out"
            )
        if prefix.overlaps(values["net6"]):
            raise ConfigError(f"nat64_prefix {prefix} overlaps net6 {values['net6']}; choose another prefix")
    if pool is not None:
        if not values["ipv4"]:
            raise ConfigError(
                "dns46 is for guests that have only IPv4, and ipv4 is off; leave one of the two out"
            )
        for other in (values["net"], *_NO_POOL):
            if pool.overlaps(other):
                raise ConfigError(
                    f"dns46 {pool} overlaps {other}; choose another network, such as 198.18.0.0/15"
                )


def _place_pool(values: dict[str, Any], servers: Iterable[bytes]) -> None:
    """Choose the first address for DHCP."""
    taken = {IPv4Address(address): "a server's" for address in servers}
    taken |= {values["dns"]: "the dns", values["host"]: "the host"}
    start = values["dhcpstart"] = _inside(values["net"], "dhcpstart", values["dhcpstart"], 15, *taken)
    if start in taken:
        raise ConfigError(f"dhcpstart {start} is {taken[start]} address; choose another")


def _inside(
    net: IPv4Network, name: str, address: IPv4Address | None, offset: int, *taken: IPv4Address
) -> IPv4Address:
    """Choose an address of the network that a host may have; by default the one at ``offset``.

    If that is taken, or the network is too small for it, the first free one is chosen.
    """
    if address is None:
        if offset < net.num_addresses - 1 and net[offset] not in taken:
            return net[offset]
        for free in net.hosts():
            if free not in taken:
                return free
        raise ConfigError(f"net {net} has no room for gateway, DNS server and a guest; use a larger one")
    if address not in net or address in (net.network_address, net.broadcast_address):
        raise ConfigError(f"{name} {address} is not an address of {net}; choose one from {net[1]} to {net[-2]}")
    return address


def _rules_of(policy: Policy | None) -> Sequence[Rule]:
    """The rules of a policy; none if it is not made of rules."""
    if policy is None:
        return ()
    from slirpy.config.policy import RulePolicy

    return policy.rules if isinstance(policy, RulePolicy) else ()


def check_redirects(policy: Policy | None, *nets: IPv4Network | IPv6Network) -> None:
    """Check that redirects do not point into this network, whose addresses mean something else on the host."""
    for rule in _rules_of(policy):
        target = None if rule.redirect is None else rule.redirect[0]
        if not isinstance(target, str | None) and any(target in net for net in nets):
            raise ConfigError(
                f'rule "{rule}": its target is in the virtual network, not in the host\'s world; write host for'
                " the host's loopback"
            )
