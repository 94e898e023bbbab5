"""Initial packets of QUIC clients, protected by aioquic."""

from __future__ import annotations

from aioquic.quic.crypto import CryptoPair

__all__ = ["DCID", "crypto", "initial", "varint"]

DCID = bytes(range(8))


def varint(value: int) -> bytes:
    """An integer of two or four bytes (RFC 9000, section 16)."""
    return (value | 0x4000).to_bytes(2, "big") if value < 0x4000 else (value | 0x80000000).to_bytes(4, "big")


def crypto(offset: int, data: bytes) -> bytes:
    """A CRYPTO frame."""
    return b"\6" + varint(offset) + varint(len(data)) + data


def initial(payload: bytes, number: int = 0, destination: bytes = DCID, version: int = 1) -> bytes:
    """A protected Initial packet, made by aioquic."""
    pair = CryptoPair()
    pair.setup_initial(destination, is_client=True, version=version)
    payload += bytes(max(0, 60 - len(payload)))
    first = 0xC1 if version == 1 else 0xD1
    header = (
        bytes((first,)) + version.to_bytes(4, "big") + bytes((len(destination),)) + destination + b"\0\0"
        + varint(len(payload) + 2 + 16) + number.to_bytes(2, "big")
    )  # fmt: skip
    return bytes(pair.encrypt_packet(header, payload, number))
