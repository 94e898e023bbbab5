"""A conversation with the guest, and the state of its link."""

from __future__ import annotations

import socket

from slirpy import Slirp

__all__ = ["inside", "talk"]

OFFLOADS = ("checksum_offload", "segmentation_offload", "udp_segmentation_offload")


def talk(net: Slirp, text: bytes = b"hello") -> None:
    """Exchange some data with the guest."""
    with net.connect("10.0.2.15", 7) as sock:
        sock.sendall(text)
        assert sock.recv(len(text), socket.MSG_WAITALL) == text


def inside(net: Slirp) -> dict[str, object]:
    """The parts of the port of the only link that inserted links replace."""
    (port,) = net._stack.ports
    return {name: getattr(port, name) for name in ("_owner", "_carrier", "inserted", *OFFLOADS)}
