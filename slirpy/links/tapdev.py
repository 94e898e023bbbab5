"""QEMU's ``tap`` netdev: a TAP interface by its name, or by a descriptor that somebody opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from slirpy.links.options import Options
from slirpy.links.tap import TapLink, open_tap

__all__ = ["tap_netdev"]


def tap_netdev(options: Options) -> Callable[[], TapLink]:
    """Read ``tap,ifname=...`` or ``tap,fd=...``; see :mod:`slirpy.links.table`."""
    options.allow("ifname", "fd", "script", "downscript", "vnet_hdr")
    for key in ("script", "downscript"):
        if (options.take(key) or "no") != "no":
            raise options.error(f"{key} is not run here; set the interface up yourself, and write {key}=no")
    if options.has("fd"):
        fd = options.descriptor("fd")
        options.done()
        return partial(TapLink, fd)
    offloads = options.flag("vnet_hdr", True)
    name = options.need("ifname")
    options.done()
    return partial(_by_name, name, offloads)


def _by_name(name: str, offloads: bool) -> TapLink:
    fd, _ = open_tap(name, offloads=offloads)
    return TapLink(fd)
