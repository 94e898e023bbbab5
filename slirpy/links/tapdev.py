"""QEMU's ``tap`` netdev: a TAP interface by name, or by an open descriptor; on Windows, an adapter by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from slirpy.links.options import Options
from slirpy.links.tap import TapLink
from slirpy.links.tuntap import open_tap

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.links.wintap import WindowsTapLink

__all__ = ["tap_netdev"]

_SCRIPTS: Final = ("script", "downscript")
_FLAGS: Final = ("vhost", "vhostforce")
"""Options by which QEMU lets the kernel carry frames between the interface and its card; slirpy has no such card."""
_NO_EFFECT: Final = ("sndbuf", "poll-us")
_NOT_HERE: Final = {
    "fds": "are several queues of one interface, and one is all that is built here; write fd=",
    "vhostfd": "belongs to QEMU's vhost-net, which is not used here; leave it out",
    "vhostfds": "belong to QEMU's vhost-net, which is not used here; leave them out",
    "br": "is for a helper of QEMU's, which is not run here; join the interface to the bridge yourself",
    "helper": "is a program of QEMU's, which is not run here; set the interface up yourself",
}


def tap_netdev(options: Options) -> Callable[[], TapLink | WindowsTapLink]:
    """Read ``tap,ifname=...`` or ``tap,fd=...``; see :mod:`slirpy.links.table`."""
    options.allow("ifname", "fd", *_SCRIPTS, *_FLAGS, *_NO_EFFECT, "vnet_hdr", "queues", *_NOT_HERE)
    for key in _SCRIPTS:
        if (options.take(key) or "no") != "no":
            raise options.error(f"{key} is not supported; configure the interface yourself, and write {key}=no")
    for key in _FLAGS:
        options.flag(key)
    for key in _NO_EFFECT:
        options.take(key)
    if options.number("queues", 1, 256, 1) > 1:
        raise options.error("only queues=1 is supported; leave queues out")
    for key, advice in _NOT_HERE.items():
        if options.take(key) is not None:
            raise options.error(f"{key} {advice}")
    if options.has("fd"):
        fd = options.descriptor("fd")
        options.done()
        return partial(TapLink, fd)
    offloads = options.flag("vnet_hdr", True)
    name = options.need("ifname")
    options.done()
    return partial(_by_name, name, offloads)


def _by_name(name: str, offloads: bool) -> TapLink | WindowsTapLink:
    if sys.platform == "win32":
        from slirpy.links.wintap import WindowsTapLink, open_adapter

        return WindowsTapLink(open_adapter(name))
    fd, _ = open_tap(name, offloads=offloads)
    return TapLink(fd)
