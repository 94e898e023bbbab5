"""TFTP packets (RFC 1350, options of RFC 2347 to 2349 and 7440)."""

from __future__ import annotations

import string
from collections.abc import Collection
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from slirpy.config.values import listed
from slirpy.errors import ConfigError
from slirpy.testing.strategies.building import Addresses, Kind, Made, check_kind, families, ports
from slirpy.testing.strategies.transport import udp_frame
from slirpy.wire import tftp
from slirpy.wire.ip import Family

__all__ = ["Operation", "any_names", "any_options", "tftp_frames", "tftp_packets"]

Operation: TypeAlias = Literal["rrq", "wrq", "data", "ack", "error", "oack"]
_NUMBERS: dict[str, int] = {
    "rrq": tftp.RRQ, "wrq": tftp.WRQ, "data": tftp.DATA, "ack": tftp.ACK, "error": tftp.ERROR, "oack": tftp.OACK,
}  # fmt: skip
_REQUESTS: tuple[Operation, ...] = ("rrq", "wrq")
_FROM_SERVER: tuple[Operation, ...] = ("data", "ack", "error", "oack")
_TEXT = string.ascii_letters + string.digits + "./-_"

_names = st.sampled_from(("f", "sub/g")) | st.text(_TEXT, min_size=1, max_size=40)
_options = st.fixed_dictionaries(
    {},
    optional={
        "blksize": st.integers(8, 65464).map(str),
        "tsize": st.integers(0, 1 << 32).map(str),
        "timeout": st.integers(1, 255).map(str),
        "windowsize": st.integers(1, 65535).map(str),
    },
)
any_names = st.sampled_from(
    ("f", "sub/g", "../secret", "out", "dir/secret", "/f", "new", "missing", "a" * 600)
) | st.text(st.sampled_from(string.ascii_letters + string.digits + "./\\:-~ %"), max_size=40)
"""Names of files that exist in a tree, of others, and of files that must not be reached."""
any_options = st.dictionaries(
    st.sampled_from(("blksize", "tsize", "timeout", "windowsize", "multicast")),
    st.sampled_from(("0", "1", "8", "512", "65464", "99999", "-1", "", "x", "1e3")),
)
"""Options with values in range, out of it, and with others."""


def tftp_packets(
    kind: Kind = "valid", *, operations: Collection[Operation] = ("rrq", "wrq", "data", "ack", "error", "oack")
) -> st.SearchStrategy[bytes]:
    """Make TFTP packets: payloads of UDP.

    The simplest example is a request to read the file "f".

    Args:
        kind: ``"near"``: cut short, without the zero byte at an end, of an unknown operation, or with a mode,
            an option or a name that no server should accept; ``"garbage"``: any bytes, most of them after an opcode.
        operations: the operations of valid and nearly valid packets.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    check_kind(kind)
    chosen = tuple(_NUMBERS[each] for each in _NUMBERS if each in listed("operations", operations))
    if not chosen or any(each not in list(_NUMBERS) for each in operations):
        raise ConfigError(f"operations {operations!r} must be some of {', '.join(_NUMBERS)}")
    if kind == "garbage":
        opcodes = st.integers(1, 6).map(lambda number: number.to_bytes(2, "big"))
        return st.builds(bytes.__add__, opcodes, st.binary(max_size=60)) | st.binary(max_size=80)
    return _packets(chosen, near=kind == "near")


@st.composite
def _packets(draw: st.DrawFn, operations: tuple[int, ...], *, near: bool) -> bytes:
    number = draw(st.sampled_from(operations))
    head = number.to_bytes(2, "big")
    is_request = number in (tftp.RRQ, tftp.WRQ)
    flaws = ("opcode", "cut short") + (("mode", "option", "name") if is_request else ())
    flaw = draw(st.sampled_from(flaws)) if near else ""
    # All is drawn always, so that no packet is simpler than another for want of a field.
    name = draw(any_names if flaw == "name" else _names)
    mode = draw(st.sampled_from(("mail", "", "binary") if flaw == "mode" else ("octet", "netascii", "OCTET")))
    options = draw(any_options if flaw == "option" else _options)
    value, data = draw(st.integers(0, 0xFFFF)).to_bytes(2, "big"), draw(st.binary(max_size=512))
    pairs = b"".join(f"{key}\0{text}\0".encode() for key, text in options.items())
    body, least = {
        tftp.DATA: (value + data, 1),
        tftp.ACK: (value, 1),
        tftp.ERROR: (b"\0" + bytes((value[1] % 9,)) + name.encode()[: tftp.MAX_TEXT] + b"\0", 1),
        tftp.OACK: (pairs, 0),
    }.get(number, (f"{name}\0{mode}\0".encode() + pairs, len(name) + 1 + len(mode)))
    if flaw == "opcode":
        head = draw(st.sampled_from((0, 7, 255, 256, 65535))).to_bytes(2, "big")
    packet = head + body
    return packet[: draw(st.integers(0, 2 + least))] if flaw == "cut short" else packet


def tftp_frames(ends: Addresses, kind: Kind) -> st.SearchStrategy[Made]:
    """Put a client's packets into datagrams to port 69, or a server's into datagrams from another port."""

    def frame(message: bytes, own: int, other: int, family: Family) -> Made:
        return udp_frame(ends, family, own, other if ends.from_server else 69, message)

    packets = tftp_packets(kind, operations=_FROM_SERVER if ends.from_server else _REQUESTS)
    return st.builds(frame, packets, ports, ports, families)
