"""Domain names as Neighbor Discovery and DHCPv6 carry them: whole, without compression (RFC 1035 section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slirpy.interfaces import Buffer

__all__ = ["labels_of", "pack_names", "printable", "read_names"]

_LABEL_MAX: Final = 63
_NAME_MAX: Final = 255
"""Bytes of a name on the wire, with the empty label that ends it."""


def labels_of(name: str) -> list[bytes]:
    """Split a name, with or without a full stop at its end, into labels.

    Raises:
        ValueError: DNS cannot carry the name: it is not ASCII, has a label of 0 or over 63 bytes, or over 255 bytes.
    """
    labels = [label.encode("ascii") for label in name.removesuffix(".").split(".")]
    length = sum(map(len, labels)) + len(labels) + 1
    if not all(1 <= len(label) <= _LABEL_MAX for label in labels) or length > _NAME_MAX:
        raise ValueError(name)
    return labels


def pack_names(names: Iterable[str]) -> bytes:
    """Encode names one after another.

    Raises:
        ValueError: see :func:`labels_of`.
    """
    return b"".join(
        b"".join(bytes((len(label),)) + label for label in labels_of(name)) + b"\0" for name in names
    )


def read_names(data: Buffer) -> tuple[str, ...] | None:
    """Read names one after another; None if one is cut short, too long, or compressed.

    Empty names are left out, so that zeros may fill the end of ``data``.
    """
    names: list[str] = []
    at, end = 0, len(data)
    while at < end:
        start = at
        labels: list[str] = []
        while length := data[at]:
            at += 1 + length
            if length > _LABEL_MAX or at >= end or at - start >= _NAME_MAX:
                return None
            labels.append(printable(bytes(data[at - length : at])))
        at += 1
        if labels:
            names.append(".".join(labels))
    return tuple(names)


def printable(label: bytes) -> str:
    """Return a label with every byte that is not plain text as ``\\DDD`` (RFC 1035, section 5.1)."""
    return "".join(chr(c) if 0x21 <= c <= 0x7E and c not in b".\\" else f"\\{c:03d}" for c in label)
