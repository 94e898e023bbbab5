"""Initial packets of QUIC clients (RFC 9000, RFC 9001; version 2: RFC 9369), for the server name in their hello.

Initial packets are encrypted with keys that anyone can derive from the client's first destination connection ID,
so that the hello can be read on the way. It often takes more than one packet, and clients send its parts in any
order. :func:`split_datagram` finds the packets of a datagram, and :class:`InitialReader` puts the hello of one
connection ID together.

The reader keeps the hello after it is complete: a part that is sent again must be the same again. Otherwise a
client could let a first packet expire on its way, and send another one in its place.

AES comes from ``cryptography``, which the extra ``quic`` installs.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from slirpy.records import NamedTuple
from slirpy.wire.tls import MAX_HELLO, ClientHello, parse_client_hello
from slirpy.wire.unreadable import UnreadableError

__all__ = ["VERSION_1", "VERSION_2", "InitialPacket", "InitialReader", "split_datagram"]

VERSION_1 = 1
VERSION_2 = 0x6B3343CF
MAX_PACKETS = 8
"""Most packets of one datagram."""
MAX_FRAMES = 512
"""Most frames of one packet; a run of padding counts as one."""
MAX_CONNECTION_ID = 20


class _Version(NamedTuple):
    salt: bytes
    labels: tuple[bytes, bytes, bytes]
    """Labels of the key, the IV and the key of header protection."""
    initial: int
    """Type of Initial packets."""
    retry: int


_VERSIONS = {
    VERSION_1: _Version(
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), (b"quic key", b"quic iv", b"quic hp"), 0, 3
    ),
    VERSION_2: _Version(
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        (b"quicv2 key", b"quicv2 iv", b"quicv2 hp"),
        1,
        0,
    ),
}
"""RFC 9001, section 5.2; RFC 9369, section 3."""
_SAMPLE = 16
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO, _CONNECTION_CLOSE = 0, 1, 2, 3, 6, 0x1C
_ZEROS = re.compile(rb"\0*+")
_CLIENT_HELLO = 1


class InitialPacket(NamedTuple):
    """An Initial packet, still protected."""

    version: int
    destination: bytes
    """Destination connection ID."""
    data: bytes
    """The packet, from its first byte to its end."""
    number_at: int
    """Index of its packet number."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer (RFC 9000, section 16). Returns it, and where it ends."""
    if at >= len(data):
        raise UnreadableError("QUIC packet cut short")
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise UnreadableError("QUIC packet cut short")
    return int.from_bytes(data[at : at + size], "big") & ((1 << 8 * size - 2) - 1), at + size


def split_datagram(data: bytes) -> tuple[list[InitialPacket], bool]:
    """Find the packets of a client's datagram (RFC 9000, sections 12.2 and 17.2).

    Returns:
        The Initial packets, and whether there are others: of 0-RTT, of the handshake, with a short header.

    Raises:
        UnreadableError: malformed, or of an unknown version.
    """
    found: list[InitialPacket] = []
    others = False
    at, count = 0, 0
    while at < len(data):
        first = data[at]
        if not first & 0x80:
            return found, True  # a short header, or padding: the last part of the datagram
        if not first & 0x40:
            raise UnreadableError("QUIC packet without the fixed bit")
        count += 1
        if count > MAX_PACKETS:
            raise UnreadableError("too many QUIC packets in a datagram")
        number = int.from_bytes(data[at + 1 : at + 5], "big")
        version = _VERSIONS.get(number)
        if version is None:
            raise UnreadableError(f"QUIC version {number:#x}")
        kind = first >> 4 & 3
        if kind == version.retry:
            raise UnreadableError("QUIC Retry of a client")
        destination, inner = _connection_id(data, at + 5)
        _, inner = _connection_id(data, inner)
        if kind == version.initial:
            token, inner = _varint(data, inner)
            inner += token
        length, inner = _varint(data, inner)
        end = inner + length
        if end > len(data):
            raise UnreadableError("QUIC packet cut short")
        if kind == version.initial:
            found.append(InitialPacket(number, destination, data[at:end], inner - at))
        else:
            others = True
        at = end
    return found, others


def _connection_id(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a connection ID (RFC 9000, section 17.2). Returns it, and where it ends."""
    if at >= len(data) or data[at] > MAX_CONNECTION_ID or at + 1 + data[at] > len(data):
        raise UnreadableError("malformed QUIC connection ID")
    end = at + 1 + data[at]
    return data[at + 1 : end], end


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of SHA-256 without context, for at most 32 bytes (RFC 8446, section 7.1)."""
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(full),)) + full + b"\0"
    return hmac.digest(secret, info + b"\1", hashlib.sha256)[:length]


class InitialReader:
    """Reads what a client sends to one connection ID, under the keys that are derived from it.

    Args:
        version: :data:`VERSION_1` or :data:`VERSION_2`.
        destination: the connection ID.
    """

    def __init__(self, version: int, destination: bytes) -> None:
        known = _VERSIONS[version]
        secret = _expand(hmac.digest(known.salt, destination, hashlib.sha256), b"client in", 32)
        key, iv, hp = known.labels
        self._aead = AESGCM(_expand(secret, key, 16))
        self._iv = int.from_bytes(_expand(secret, iv, 12), "big")
        self._mask = Cipher(AES(_expand(secret, hp, 16)), ECB()).encryptor()
        self._largest = -1
        self._data = bytearray()
        self._known = bytearray()  # for each byte of the data: 0xFF if it was received
        self.hello: ClientHello | None = None
        """The hello, once it is complete."""

    @property
    def size(self) -> int:
        """Number of bytes of the hello that are stored."""
        return len(self._data)

    def feed(self, packet: InitialPacket) -> bool:
        """Take a packet to this connection ID.

        Returns False if it is not encrypted with these keys, so that it belongs to a connection that exists: a server
        would not take it for a new one.

        Raises:
            UnreadableError: its content is malformed, or contradicts an earlier packet.
        """
        payload = self._decrypt(packet)
        if payload is None:
            return False
        self._frames(payload)
        return True

    def _decrypt(self, packet: InitialPacket) -> bytes | None:
        """Remove the protection (RFC 9001, section 5)."""
        data, at = packet.data, packet.number_at
        sample = data[at + 4 : at + 4 + _SAMPLE]
        if len(sample) < _SAMPLE:
            raise UnreadableError("QUIC packet cut short")
        mask = self._mask.update(sample)
        first = data[0] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        truncated = int.from_bytes(data[at : at + size], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        number = self._packet_number(truncated, 8 * size)
        header = bytes((first,)) + data[1:at] + truncated.to_bytes(size, "big")
        try:
            payload = self._aead.decrypt((self._iv ^ number).to_bytes(12, "big"), data[at + size :], header)
        except InvalidTag:
            return None
        if first & 0x0C:
            raise UnreadableError("malformed QUIC packet")
        self._largest = max(self._largest, number)
        return payload

    def _packet_number(self, truncated: int, bits: int) -> int:
        """Reconstruct a packet number (RFC 9000, appendix A.3)."""
        expected, window = self._largest + 1, 1 << bits
        number = expected & ~(window - 1) | truncated
        if number <= expected - window // 2 and number < (1 << 62) - window:
            return number + window
        if number > expected + window // 2 and number >= window:
            return number - window
        return number

    def _frames(self, payload: bytes) -> None:
        """Read the frames of a packet (RFC 9000, sections 12.4 and 19)."""
        at = 0
        for _ in range(MAX_FRAMES):
            if at >= len(payload):
                return
            kind = payload[at]
            at += 1
            if kind == _PADDING:
                match = _ZEROS.match(payload, at)
                at = match.end() if match is not None else at
            elif kind in (_ACK, _ACK_ECN):
                at = _skip_ack(payload, at, kind == _ACK_ECN)
            elif kind == _CRYPTO:
                offset, at = _varint(payload, at)
                length, at = _varint(payload, at)
                if at + length > len(payload):
                    raise UnreadableError("QUIC packet cut short")
                self._crypto(offset, payload[at : at + length])
                at += length
            elif kind == _CONNECTION_CLOSE:
                return
            elif kind != _PING:
                raise UnreadableError("frame that is forbidden in Initial packets")
        raise UnreadableError("too many QUIC frames in a packet")

    def _crypto(self, offset: int, data: bytes) -> None:
        """Insert a part of the hello (RFC 9000, section 19.6)."""
        end = offset + len(data)
        if end > 4 + MAX_HELLO:
            raise UnreadableError("ClientHello too long")
        whole, known = self._data, self._known
        if end > len(whole):
            missing = bytes(end - len(whole))
            whole += missing
            known += missing
        if known.find(0xFF, offset, end) >= 0:
            changed = int.from_bytes(whole[offset:end], "big") ^ int.from_bytes(data, "big")
            if changed & int.from_bytes(known[offset:end], "big"):
                raise UnreadableError("ClientHello sent in two versions")
        whole[offset:end] = data
        known[offset:end] = b"\xff" * len(data)
        beginning = known.find(0)
        self._complete(len(known) if beginning < 0 else beginning)

    def _complete(self, beginning: int) -> None:
        """Parse the hello if its first ``beginning`` bytes, which are known, contain it."""
        if beginning and self._data[0] != _CLIENT_HELLO:
            raise UnreadableError("not a ClientHello")
        if self.hello is not None or beginning < 4:
            return
        end = 4 + int.from_bytes(self._data[1:4], "big")
        if end > 4 + MAX_HELLO:
            raise UnreadableError("ClientHello too long")
        if end <= beginning:
            self.hello = parse_client_hello(bytes(self._data[4:end]))


def _skip_ack(payload: bytes, at: int, ecn: bool) -> int:
    """Skip an ACK frame (RFC 9000, section 19.3). Returns where it ends."""
    _, at = _varint(payload, at)
    _, at = _varint(payload, at)
    ranges, at = _varint(payload, at)
    numbers = 1 + 2 * ranges + 3 * ecn
    if numbers > MAX_FRAMES:
        raise UnreadableError("too many ranges in a QUIC ACK")
    for _ in range(numbers):
        _, at = _varint(payload, at)
    return at
