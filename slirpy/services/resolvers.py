"""Which DNS servers to forward to: those of the configuration, or those of the host's resolv.conf."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence

from slirpy.config import Config
from slirpy.interfaces import ServiceNetwork
from slirpy.rules.resolver import Resolver
from slirpy.units import SECOND

__all__ = ["ResolverList", "read_resolv_conf"]

RESOLV_CONF = "/etc/resolv.conf"
_CHECK = SECOND
"""Nanoseconds between two looks at the file."""
_SIZE_MAX = 65_536


def read_resolv_conf(text: str) -> list[Resolver]:
    """The servers of the ``nameserver`` lines, in order and without repetition.

    What is not an address is left out. The scope of a link-local IPv6 address is kept; that of any other address says
    nothing and is cut.
    """
    found: dict[Resolver, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        host, _, scope = words[1].partition("%")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue
        local = address.version == 6 and address.is_link_local
        found[Resolver(address.packed, scope=scope if local else "")] = None
    return list(found)


class ResolverList:
    """The servers at this moment."""

    def __init__(self, config: Config, network: ServiceNetwork, path: str = RESOLV_CONF) -> None:
        """``path`` is read, and read again when it changes, if the configuration names no servers."""
        self._network = network
        self._path = path
        self._fixed = config.resolvers is not None
        self._servers: tuple[Resolver, ...] = tuple(config.resolvers or ())
        self._next_check = 0
        self._seen: tuple[int, int, int, int] | None = None

    def current(self) -> Sequence[Resolver]:
        """The servers in order; empty if there are none."""
        if not self._fixed and self._network.now >= self._next_check:
            self._next_check = self._network.now + _CHECK
            self._check()
        return self._servers

    def _check(self) -> None:
        try:
            # Through the link: the file is often a link to one that is replaced.
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino, status.st_dev, status.st_size)
            if seen == self._seen:
                return
            with open(self._path, "rb") as file:
                text = file.read(_SIZE_MAX).decode("utf-8", "replace")
        except OSError:
            self._seen = None
            self._servers = ()
            return
        self._seen = seen
        self._servers = tuple(read_resolv_conf(text))
