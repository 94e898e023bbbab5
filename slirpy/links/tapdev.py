"""QEMU's ``tap`` netdev: a TAP interface by its name, or by a descriptor that somebody opened."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from functools import partial

from slirpy.errors import LinkError
from slirpy.links.options import Options
from slirpy.links.tap import TapLink, open_tap

__all__ = ["tap_from_fd", "tap_netdev"]

# <linux/if_tun.h>
_TUNSETOFFLOAD, _TUNGETIFF, _TUNSETVNETHDRSZ = 0x400454D0, 0x800454D2, 0x400454D8
_IFF_TAP, _IFF_VNET_HDR = 0x0002, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4 = 1, 2
_HEADER = 10


def tap_from_fd(fd: int) -> TapLink:
    """A link on a TAP descriptor that was inherited or passed, which it takes over.

    Raises:
        LinkError: the descriptor is no TAP interface, or has no virtio-net header (``IFF_VNET_HDR``).
    """
    if sys.platform != "linux":
        raise LinkError(f"TAP links need Linux; this is {sys.platform}")
    import fcntl

    advice = "open /dev/net/tun with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR"
    try:
        given = fcntl.ioctl(fd, _TUNGETIFF, bytes(40))
        (flags,) = struct.unpack_from("H", given, 16)
        if not flags & _IFF_TAP or not flags & _IFF_VNET_HDR:
            raise LinkError(f"descriptor {fd} has no virtio-net header; {advice}")
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _HEADER))
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4)
        os.set_blocking(fd, False)
    except OSError as error:
        raise LinkError(
            f"descriptor {fd} is not a TAP interface: {os.strerror(error.errno or 0).lower()}; {advice}"
        ) from None
    return TapLink(fd)


def _by_name(name: str) -> TapLink:
    fd, _ = open_tap(name)
    return TapLink(fd)


def tap_netdev(options: Options) -> Callable[[], TapLink]:
    """Read ``tap,ifname=...`` or ``tap,fd=...``; see :mod:`slirpy.links.table`."""
    options.allow("ifname", "fd", "script", "downscript", "vnet_hdr")
    for key in ("script", "downscript"):
        if (options.take(key) or "no") != "no":
            raise options.error(f"{key} is not run here; set the interface up yourself, and write {key}=no")
    if not options.flag("vnet_hdr", True):
        raise options.error("vnet_hdr=off is not offered; leave it out")
    if options.has("fd"):
        fd = options.descriptor("fd")
        options.done()
        return partial(tap_from_fd, fd)
    name = options.need("ifname")
    options.done()
    return partial(_by_name, name)
