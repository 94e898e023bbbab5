"""QEMU's older ``socket`` netdev: another syntax for stream and datagram links."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from slirpy.checks import DESCRIPTOR_MAX
from slirpy.config.text import decimal
from slirpy.interfaces import Link
from slirpy.links.dgram import DgramLink, multicast
from slirpy.links.endpoint import parse_endpoint
from slirpy.links.options import Options
from slirpy.links.stream import StreamLink

__all__ = ["socket_netdev"]

_FORMS: Final = ("listen", "connect", "mcast", "udp", "fd")


def socket_netdev(options: Options) -> Callable[[], Link]:
    """Read ``socket,...``; see :mod:`slirpy.links.table`."""
    options.allow(*_FORMS, "localaddr")
    given = {form: value for form in _FORMS if (value := options.take(form)) is not None}
    if len(given) != 1:
        raise options.error(f"give one of {', '.join(f'{form}=' for form in _FORMS)}")
    ((form, value),) = given.items()
    local = options.take("localaddr") if form in ("mcast", "udp") else None
    options.done()
    if form == "listen":
        return partial(StreamLink.listen, parse_endpoint(value))
    if form == "connect":
        return partial(StreamLink.connect, parse_endpoint(value))
    if form == "mcast":
        return partial(multicast, parse_endpoint(value, socket.SOCK_DGRAM), local or "")
    if form == "udp":
        if local is None:
            raise options.error("udp needs localaddr=HOST:PORT, the receiving address")
        remote = parse_endpoint(value, socket.SOCK_DGRAM)
        return partial(DgramLink.open, parse_endpoint(local, socket.SOCK_DGRAM), remote)
    fd = decimal(value, 0, DESCRIPTOR_MAX)
    if fd is None:
        raise options.error(f"fd={value} is not a descriptor number")
    return partial(_from_fd, fd)


def _from_fd(fd: int) -> Link:
    """Make a link of either kind from a descriptor; the stream link reports a descriptor that is not a socket."""
    try:
        with socket.socket(fileno=socket.dup(fd)) as probe:
            datagrams = probe.type == socket.SOCK_DGRAM
    except OSError:
        datagrams = False
    return DgramLink.from_fd(fd) if datagrams else StreamLink.from_fd(fd)
