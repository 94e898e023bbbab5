"""Secrets of the TLS connections of programs, so that a reader of a capture can decrypt them."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

__all__ = ["TlsKeys"]


class TlsKeys:
    """The key log of a network. OpenSSL writes it to a file, which exists until :meth:`close`."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._contexts: list[ssl.SSLContext] = []
        self._kept = ""

    def watch(self, context: ssl.SSLContext) -> None:
        """Log the secrets of all connections of a context from now on, unless it has a log already."""
        if getattr(context, "keylog_filename", "unsupported") is not None:
            return
        if self._path is None:
            descriptor, name = tempfile.mkstemp(prefix="slirpy-", suffix=".keys")
            os.close(descriptor)
            self._path = Path(name)
        context.keylog_filename = str(self._path)
        self._contexts.append(context)

    def text(self) -> str:
        """Return the log in the format of NSS; empty if there was no TLS. Both ends of a connection log the same."""
        if self._path is not None:
            lines = dict.fromkeys(self._path.read_text(encoding="ascii").splitlines())
            self._kept = "".join(f"{line}\n" for line in lines if not line.startswith("#"))
        return self._kept

    def close(self) -> None:
        """Remove the file, and detach from all contexts; :meth:`text` stays. Harmless when repeated."""
        self.text()
        for context in self._contexts:
            context.keylog_filename = None  # type: ignore[assignment] # the stub omits that this ends the log
        self._contexts.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
