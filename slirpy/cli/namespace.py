"""Network setup inside namespaces: addresses, routes, and name resolution.

For ``slirpy run`` it runs in the namespaces' first process, and all is undone when the last process in them ends. In
a namespace of others (:mod:`slirpy.cli.attach`) only the interfaces are configured. Nothing is written to a file
system of the host.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from slirpy.cli import linux
from slirpy.cli.border import Border
from slirpy.cli.hide import hidden_paths, hide
from slirpy.cli.resolvconf import PATH, add_file, read_host, resolv_conf
from slirpy.cli.rtnetlink import Interfaces
from slirpy.records import NamedTuple

if TYPE_CHECKING:
    from slirpy import Config, Slirp
    from slirpy.addresses import IPAddress

__all__ = [
    "TAP",
    "Address",
    "Settings",
    "configure_interfaces",
    "guest_settings",
    "keep_mounts_private",
    "private_mounts",
    "set_ipv6_parameters",
    "set_kernel_parameters",
]

TAP = "tap0"
MAC = bytes.fromhex("525400123456")  # QEMU gives its first guest the same one
_IPV6 = "/proc/sys/net/ipv6/conf/{}"
"""The kernel's parameters of IPv6 on an interface. Not there if the kernel has no IPv6."""
_SCRATCH = "/tmp"
_LOOKUP_DAEMONS = ("/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve")


class Address(NamedTuple):
    """An address of the guest's side, and the gateway of its family."""

    address: str
    prefix: int
    gateway: str
    """Empty: the address comes without a default route."""


class Settings(NamedTuple):
    """Network settings of the guest's side."""

    addresses: Sequence[Address]
    """One for each family that the network has, IPv4 first."""
    dns: str
    mtu: int
    search: Sequence[str] = ()
    """Search domains for names; if empty, those of the host apply."""
    tap: str = TAP
    """Name of the TAP interface."""
    mac: str = MAC.hex(":")
    """MAC address of the TAP interface; empty: the kernel's choice stays."""


def guest_settings(net: Slirp, tap: str = TAP) -> Settings:
    """The settings of a namespace that is the only guest of a network. Reserves its IPv4 address."""
    from slirpy.core.ndp import LEAST_MTU

    config = net.config
    addresses = []
    if config.ipv4:
        addresses.append(Address(str(net.reserve(MAC)), config.net.prefixlen, str(config.host)))
    if config.ipv6 and config.mtu >= LEAST_MTU:
        addresses.append(Address(str(_address6(config)), config.net6.prefixlen, str(config.host6)))
    return Settings(
        addresses,
        str(config.dns if config.ipv4 else config.dns6),
        config.mtu,
        config.dnssearch or ((config.domainname,) if config.domainname else ()),
        tap,
    )


def _address6(config: Config) -> IPAddress:
    """The guest's IPv6 address: its static lease, or the first one that DHCPv6 assigns.

    It needs no reservation. DHCPv6 has nobody else to give it to.
    """
    for lease in config.static_leases:
        if lease.address.version == 6 and lease.mac == MAC.hex(":"):
            return lease.address
    return config.dhcpstart6


def configure_interfaces(settings: Settings) -> None:
    """Bring lo and the TAP interface up, with addresses and default routes.

    Raises:
        OSError: the system refused.
    """
    with Interfaces() as interfaces:
        interfaces.bring_up("lo")
        mac = bytes.fromhex(settings.mac.replace(":", "")) or None
        interfaces.bring_up(settings.tap, mac=mac, mtu=settings.mtu)
        for address, prefix, gateway in settings.addresses:
            if ":" not in address:
                broadcast = str(IPv4Interface(f"{address}/{prefix}").network.broadcast_address)
                interfaces.add_address(settings.tap, address, prefix, broadcast)
            elif os.path.exists(_IPV6.format(settings.tap)):
                # The network has one guest: nobody else can have its address, so there is no need to ask first.
                interfaces.add_address(settings.tap, address, prefix)
            else:
                continue
            if gateway:
                interfaces.add_default_route(settings.tap, gateway)


def set_kernel_parameters() -> None:
    """Set kernel parameters of a namespace of our own, as far as is permitted.

    Allow ping, and ports below 1024, without privileges. Let the kernel report each datagram that finds no listener:
    by default it limits itself to one report a second, and forwards to the loopback depend on these reports. Its
    global limit, a thousand a second, stays.
    """
    _write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647", "0 0")
    _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    _write("/proc/sys/net/ipv4/icmp_ratelimit", "0")


def set_ipv6_parameters(tap: str, *, ipv6: bool) -> None:
    """Set the kernel's parameters of IPv6 on a TAP interface, as far as is permitted.

    With IPv6, it needs no router advertisements and no duplicate address detection, since it is configured from
    here; without it, no router would answer.

    Args:
        tap: name of the interface.
        ipv6: whether the network has IPv6.
    """
    folder = _IPV6.format(tap)
    if ipv6:
        _write(f"{folder}/disable_ipv6", "0")  # the host's default for new interfaces may be 1
        for parameter in ("accept_ra", "accept_dad", "router_solicitations"):
            _write(f"{folder}/{parameter}", "0")
    else:
        _write(f"{folder}/disable_ipv6", "1")


def _write(path: str, *values: str) -> None:
    """Write the first of ``values`` that the kernel accepts."""
    for value in values:
        try:
            with open(path, "w") as file:
                file.write(value)
            return
        except OSError:
            continue


def keep_mounts_private() -> None:
    """Hide our mounts from the outside. This is the first step that needs the privileges a namespace gives.

    Raises:
        OSError: the namespaces were made, but a security module withholds privileges in them.
    """
    # A slave: our mounts stay here, and what the host unmounts disappears here too, so we keep no disk busy.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)


def private_mounts(dns: str, search: Sequence[str], border: Border, sockets: Iterable[str]) -> str | None:
    """Give the mount namespace its own /proc and /etc/resolv.conf, and hide paths.

    Args:
        dns: address of the name server.
        search: search domains for names; if empty, those of the host apply.
        border: which paths to hide.
        sockets: lines of the list of the host's sockets.

    Returns:
        A warning, if programs will not find the name server automatically.

    Raises:
        OSError: a mount was refused.
    """
    hidden = hidden_paths(border, sockets)
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError:
        pass  # inside a container that hides parts of /proc; the old one shows only the host's processes
    content = resolv_conf(dns, search, read_host())
    empty = hide(hidden, border.keep, {os.path.realpath(PATH): content})
    empty = [*filter(os.path.exists, _LOOKUP_DAEMONS), *empty]
    there = _private_files({PATH: content} | dict.fromkeys(empty[:1], b""))
    for path in empty[1:]:
        # By name: there may be more of them than a process can open.
        linux.mount(empty[0], path, flags=linux.MS_BIND)
    if not there[PATH]:
        try:
            add_file(PATH, content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return (
                f"there is no {PATH} and none can be made ({reason}), so programs may not find the name server"
            )
    return None


def _private_files(files: dict[str, bytes]) -> dict[str, bool]:
    """Mount files with other contents over existing files (also over a symbolic link's target, or a socket).

    Returns those that existed.

    The new files live in a tmpfs that is mounted only briefly: once they are bound, the tmpfs leaves the
    tree and lives as long as they do. A socket that became an empty file refuses connections, which sends the C
    library to the name server instead of to a daemon of the host.
    """
    places: list[tuple[int, bytes]] = []
    there = dict.fromkeys(files, False)
    for path, content in files.items():
        try:
            # Opened before the tmpfs hides anything.
            places.append((os.open(path, os.O_PATH | os.O_CLOEXEC), content))
        except OSError:
            continue
        there[path] = True
    linux.mount("tmpfs", _SCRATCH, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=64k,mode=755")
    try:
        for number, (place, content) in enumerate(places):
            source = f"{_SCRATCH}/{number}"
            with open(source, "wb") as file:
                file.write(content)
            os.chmod(source, 0o644)
            linux.mount(source, f"/proc/self/fd/{place}", flags=linux.MS_BIND)
            os.close(place)
    finally:
        linux.unmount(_SCRATCH, linux.MNT_DETACH)
    return there
