"""The carriers by their names in QEMU's ``-netdev``.

To add one: a file with the link and a function that reads its options, a line in :data:`CARRIERS`, and a line in
``tests/conformance/test_links.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from slirpy.config.text import hint
from slirpy.errors import ConfigError
from slirpy.interfaces import Link
from slirpy.links.dgram import dgram_netdev
from slirpy.links.options import Options
from slirpy.links.socketdev import socket_netdev
from slirpy.links.stream import stream_netdev
from slirpy.links.tapdev import tap_netdev

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["CARRIERS", "LinkOptions", "parse_netdev"]

CARRIERS: dict[str, Callable[[Options], Callable[[], Link]]] = {
    "stream": stream_netdev,
    "dgram": dgram_netdev,
    "socket": socket_netdev,
    "tap": tap_netdev,
}
"""For each carrier, the function that reads its options and returns a function that opens the link."""

OF_QEMU = (
    "af-xdp", "bridge", "hubport", "l2tpv3", "netmap", "passt", "vde", "vhost-user", "vhost-vdpa",
    "vmnet-bridged", "vmnet-host", "vmnet-shared",
)  # fmt: skip
"""Carriers of QEMU that slirpy does not support."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """A parsed link that is not yet open."""

    carrier: str
    """Name in :data:`CARRIERS`."""
    text: str
    """The text that was parsed."""
    open: Callable[[], Link]
    """Opens the link. Raises :class:`~slirpy.errors.LinkError` on failure."""
    name: str = ""
    """The ``id``, if one was given."""


def parse_netdev(text: str) -> LinkOptions:
    """Read the value of a ``-netdev`` in QEMU's syntax. Nothing is opened yet; host names are looked up.

    ========== ====================================================================================
    ``stream`` ``addr.type=inet,addr.host=,addr.port=``, ``addr.type=unix,addr.path=`` or
               ``addr.type=fd,addr.str=``; ``server=on``; ``reconnect=`` or ``reconnect-ms=``
    ``dgram``  ``local.`` and ``remote.`` with ``type=inet,host=,port=`` or ``type=unix,path=``;
               ``local.type=fd,local.str=``; a multicast group as ``remote.host``
    ``socket`` one of ``listen=``, ``connect=``, ``udp=`` with ``localaddr=``, ``mcast=``, ``fd=``
    ``tap``    ``ifname=`` or ``fd=``; ``vnet_hdr=``; ``vhost=``, ``sndbuf=``, ``poll-us=`` and
               ``script=no`` have no effect
    ========== ====================================================================================

    An address of type inet may have ``ipv4=`` or ``ipv6=``, ``to=`` (the last port to try), ``numeric=`` and
    ``keep-alive=``, which is always on; one of type unix ``abstract=`` and ``tight=``. A switch is on, yes, true or
    y, or off, no, false or n.

    Args:
        text: for example ``stream,server=on,addr.type=unix,addr.path=/tmp/net.sock``, or the same as JSON. A comma
            inside a value is written twice. ``id`` is a descriptive name.

    Raises:
        ConfigError: an unknown carrier or option (the nearest is named), or a bad value.
        LinkError: an address that cannot be used.
    """
    options = Options(text)
    read = CARRIERS.get(options.carrier)
    if read is None:
        if options.carrier in OF_QEMU:
            raise options.error(f"QEMU's {options.carrier} is not supported; use one of {', '.join(CARRIERS)}")
        advice = hint(options.carrier, CARRIERS, f"known are {', '.join(CARRIERS)}")
        raise ConfigError(f'netdev "{text}": unknown carrier "{options.carrier}"; {advice}')
    return LinkOptions(options.carrier, text, read(options), options.name)
