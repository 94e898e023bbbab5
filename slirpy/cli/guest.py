"""Setting up the network inside the namespaces: addresses, routes, and where names are looked up.

Runs in the namespaces' first process and its helper. Everything is done in namespaces of our own, so that the
end of the last process in them undoes it; nothing is written to a file system of the host.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from slirpy.cli import linux
from slirpy.cli.resolvconf import PATH, add_file, read_host, resolv_conf

__all__ = [
    "TAP",
    "Settings",
    "configure_interfaces",
    "keep_mounts_private",
    "private_mounts",
    "set_kernel_parameters",
]

TAP = "tap0"
MAC = bytes.fromhex("525400123456")  # QEMU's first guest has it too
_SCRATCH = "/tmp"
_LOOKUP_DAEMONS = ("/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve")


class Settings(NamedTuple):
    """What the guest's side is configured with."""

    address: str
    prefix: int
    broadcast: str
    gateway: str
    dns: str
    mtu: int
    search: Sequence[str] = ()
    """Domains in which names are looked for; without any, those of the host hold."""


def configure_interfaces(settings: Settings) -> None:
    """Bring lo and tap0 up, with address and default route.

    Raises:
        OSError: the system refused; pyroute2's errors are derived from none of ours.
    """
    from pyroute2 import IPRoute  # costs 18 MiB and 0.1 s: only the helper process pays

    with IPRoute() as route:
        loopback, tap = (route.link_lookup(ifname=name)[0] for name in ("lo", TAP))
        route.link("set", index=loopback, state="up")
        route.link("set", index=tap, address=MAC.hex(":"), mtu=settings.mtu)
        route.link("set", index=tap, state="up")
        route.addr(
            "add",
            index=tap,
            address=settings.address,
            prefixlen=settings.prefix,
            broadcast=settings.broadcast,
        )
        route.route("add", dst="default", gateway=settings.gateway)


def set_kernel_parameters() -> None:
    """Set what the kernel does inside, as far as is allowed.

    Allow ping without privileges. Let the kernel report each datagram that finds no listener: its own limit is one
    report a second, and forwards to the loopback depend on them. A thousand a second are left, its limit for all.
    Have no IPv6 on tap0, where nobody would answer.
    """
    _write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647", "0 0")
    _write("/proc/sys/net/ipv4/icmp_ratelimit", "0")
    _write(f"/proc/sys/net/ipv6/conf/{TAP}/disable_ipv6", "1")


def _write(path: str, *values: str) -> None:
    """Write the first of ``values`` that the kernel takes."""
    for value in values:
        try:
            with open(path, "w") as file:
                file.write(value)
            return
        except OSError:
            continue


def keep_mounts_private() -> None:
    """Let no mount of ours be seen outside: the first thing that needs the rights that a namespace gives.

    Raises:
        OSError: the namespaces were made, but a security module leaves no rights in them.
    """
    # A slave: what we mount stays here, what the host unmounts goes away here too, so we keep no disk busy.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)


def private_mounts(dns: str, search: Sequence[str]) -> str | None:
    """Give the mount namespace its own /proc and /etc/resolv.conf.

    Args:
        dns: address of the name server.
        search: domains in which names are looked for; without any, those of the host hold.

    Returns:
        A warning, if programs will not find the name server by themselves.

    Raises:
        OSError: a mount was refused.
    """
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError:
        pass  # inside a container that hides parts of /proc; the old one shows the host's processes, no more
    content = resolv_conf(dns, search, read_host())
    files = {PATH: content} | dict.fromkeys(_LOOKUP_DAEMONS, b"")
    if not _private_files(files)[PATH]:
        try:
            add_file(PATH, content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return (
                f"there is no {PATH} and none can be made ({reason}), so programs may not find the name server"
            )
    return None


def _private_files(files: dict[str, bytes]) -> dict[str, bool]:
    """Put files with other contents over existing files (also over a symbolic link's target, or a socket).

    Returns which of them were there.

    The new files live in a tmpfs that is mounted for a moment only: once they are bound, the tmpfs leaves the
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
