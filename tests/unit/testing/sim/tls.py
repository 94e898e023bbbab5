"""TLS without certificates, for tests."""

from __future__ import annotations

import ssl

__all__ = ["contexts", "handshake"]


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a client and a server that need no certificates."""
    both = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    both[0].check_hostname = False
    both[0].verify_mode = ssl.CERT_NONE
    for context in both:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    return both


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Open a connection in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    assert ends[0].cipher() == ends[1].cipher() is not None
