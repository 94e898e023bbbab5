"""ClientHellos: of OpenSSL, recorded ones, made ones, and their division into records."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

from tests.support.repository import REPOSITORY

__all__ = ["client_hello", "extension", "openssl_hello", "record", "recorded", "records", "server_name"]


def openssl_hello(name: str | None, alpn: tuple[str, ...] = ()) -> bytes:
    """The first bytes of OpenSSL to a server of this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def recorded() -> dict[str, bytes]:
    """Hellos of real clients to api.example.org."""
    path = Path(REPOSITORY, "tests/unit/wire/hellos.json")
    return {client: bytes.fromhex(text) for client, text in json.loads(path.read_text()).items()}


def extension(kind: int, data: bytes) -> bytes:
    """An extension."""
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """The extension ``server_name`` with these names."""
    entries = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for name in names)
    return extension(0, len(entries).to_bytes(2, "big") + entries)


def client_hello(*extensions: bytes, session: bytes = b"", after: bytes = b"") -> bytes:
    """A handshake message."""
    block = b"".join(extensions)
    body = (
        b"\3\3" + bytes(32) + bytes((len(session),)) + session + b"\0\2\x13\1" + b"\1\0"
        + len(block).to_bytes(2, "big") + block + after
    )  # fmt: skip
    return b"\1" + len(body).to_bytes(3, "big") + body


def record(content: bytes, kind: int = 22) -> bytes:
    """One record."""
    return bytes((kind, 3, 1)) + len(content).to_bytes(2, "big") + content


def records(message: bytes, size: int) -> bytes:
    """A message in records of at most ``size`` bytes."""
    return b"".join(record(message[at : at + size]) for at in range(0, len(message), size))
