"""The transfer mode "netascii" (RFC 1350, section 1; RFC 764): lines end with CR LF, a CR alone is CR NUL.

On our side lines end with LF. Both directions work on pieces, and keep what a piece leaves open.
"""

from __future__ import annotations

from slirpy.services.tftp_files import Sink, Source

__all__ = ["NetasciiSink", "NetasciiSource"]


class NetasciiSource:
    """A file as it goes out: longer than it is, so its size is not known before."""

    size = None

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ready = b""

    def read(self, limit: int) -> bytes:
        """Up to ``limit`` bytes; fewer only at the end."""
        while len(self._ready) < limit:
            piece = self._source.read(limit)
            if not piece:
                break
            self._ready += piece.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
        piece, self._ready = self._ready[:limit], self._ready[limit:]
        return piece

    def close(self) -> None:
        """Release the file."""
        self._source.close()


class NetasciiSink:
    """A file as it comes in. A CR before anything but LF or NUL is kept as it is."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        if self._held:
            data = data[:-1]
        self._sink.write(data.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r"))

    def commit(self) -> None:
        """That was all."""
        self._sink.write(self._held)
        self._held = b""
        self._sink.commit()

    def close(self) -> None:
        """Release the file."""
        self._sink.close()
