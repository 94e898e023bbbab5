"""TLS contexts of the host ``server``, whose certificate is in ``server.pem`` and valid from 2020 to 2120."""

from __future__ import annotations

import ssl
from pathlib import Path

__all__ = ["PEM", "client_context", "server_context"]

PEM = Path(__file__).with_name("server.pem")
"""Key and certificate, for tests only."""


def server_context() -> ssl.SSLContext:
    """Return the context of the server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    return context


def client_context() -> ssl.SSLContext:
    """Return a context that trusts the server."""
    return ssl.create_default_context(cafile=str(PEM))
