"""Network setup inside the namespaces: addresses, routes, and name resolution.

Runs in the namespaces' first process. Everything happens in namespaces that slirpy created, so it is
undone when the last process in them ends. Nothing is written to a file system of the host.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface
from typing import NamedTuple

from slirpy.cli import linux
from slirpy.cli.border import Border
from slirpy.cli.hide import hidden_paths, hide
from slirpy.cli.resolvconf import PATH, add_file, read_host, resolv_conf
from slirpy.cli.rtnetlink import Interfaces

__all__ = [
    "TAP",
    "Address",
    "Settings",
    "configure_interfaces",
    "keep_mounts_private",
    "private_mounts",
    "set_kernel_parameters",
]

TAP = "tap0"
MAC = bytes.fromhex("525400123456")  # QEMU gives its first guest the same one
_IPV6 = f"/proc/sys/net/ipv6/conf/{TAP}"
"""The kernel's parameters of IPv6 on tap0. Not there if the kernel has no IPv6."""
_SCRATCH = "/tmp"
_LOOKUP_DAEMONS = ("/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve")


class Address(NamedTuple):
    """An address of the guest's side, and the gateway of its family."""

    address: str
    prefix: int
    gateway: str


class Settings(NamedTuple):
    """Network settings of the guest's side."""

    addresses: Sequence[Address]
    """One for each family that the network has, IPv4 first."""
    dns: str
    mtu: int
    search: Sequence[str] = ()
    """Search domains for names; if empty, those of the host apply."""


def configure_interfaces(settings: Settings) -> None:
    """Bring lo and tap0 up, with address and default route.

    Raises:
        OSError: the system refused.
    """
    with Interfaces() as interfaces:
        interfaces.bring_up("lo")
        interfaces.bring_up(TAP, mac=MAC, mtu=settings.mtu)
        for address, prefix, gateway in settings.addresses:
            if ":" not in address:
                broadcast = str(IPv4Interface(f"{address}/{prefix}").network.broadcast_address)
                interfaces.add_address(TAP, address, prefix, broadcast)
            elif os.path.exists(_IPV6):
                # The network has one guest: nobody else can have its address, so there is no need to ask first.
                interfaces.add_address(TAP, address, prefix)
            else:
                continue
            interfaces.add_default_route(TAP, gateway)


def set_kernel_parameters(*, ipv6: bool) -> None:
    """Set kernel parameters of the namespace, as far as is permitted.

    Allow ping, and ports below 1024, without privileges. Let the kernel report each datagram that finds no listener:
    by default it limits itself to one report a second, and forwards to the loopback depend on these reports. Its
    global limit, a thousand a second, stays. With IPv6, tap0 needs no router advertisements and no duplicate address
    detection, since it is configured from here; without it, no router would answer.

    Args:
        ipv6: whether the network has IPv6.
    """
    _write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647", "0 0")
    _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    _write("/proc/sys/net/ipv4/icmp_ratelimit", "0")
    if ipv6:
        _write(f"{_IPV6}/disable_ipv6", "0")  # the host's default for new interfaces may be 1
        for parameter in ("accept_ra", "accept_dad", "router_solicitations"):
            _write(f"{_IPV6}/{parameter}", "0")
    else:
        _write(f"{_IPV6}/disable_ipv6", "1")


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
