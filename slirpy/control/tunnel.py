"""A connection of HTTP that becomes a connection to a guest."""

from __future__ import annotations

import asyncio
import os

from slirpy.control.subject import Subject
from slirpy.errors import SlirpyError

__all__ = ["Tunnel"]

HIGH = 1 << 18
"""Bytes that wait for one end before the other is read no more."""


class _Guest(asyncio.Protocol):
    """The guest's end of a tunnel."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(HIGH)

    def data_received(self, data: bytes) -> None:
        if self._tunnel.transport is not None:
            self._tunnel.transport.write(data)

    def eof_received(self) -> bool:
        return self._tunnel.ended(self._tunnel.transport)

    def pause_writing(self) -> None:
        if self._tunnel.transport is not None:
            self._tunnel.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._tunnel.transport is not None:
            self._tunnel.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._tunnel.transport is not None:
            (self._tunnel.transport.abort if exc is not None else self._tunnel.transport.close)()


class Tunnel(asyncio.Protocol):
    """The client's end of a tunnel, which takes the connection over from HTTP."""

    def __init__(self, subject: Subject, loop: asyncio.AbstractEventLoop) -> None:
        self._subject = subject
        self._loop = loop
        self._guest = _Guest(self)
        self.transport: asyncio.Transport | None = None
        self._ends = 0  # directions that have ended

    async def connect(self, guest: str, port: int) -> str:
        """Connect to the guest. Returns what went wrong, or nothing."""
        answer: asyncio.Future[int] = self._loop.create_future()
        try:
            sock = await self._subject.dial(guest, port, answer)
        except SlirpyError as error:
            return str(error)
        try:
            error_number = await answer
            if error_number:
                sock.close()
                return f"{guest} port {port}: {os.strerror(error_number).lower()}"
            sock.setblocking(False)
            await self._loop.create_connection(lambda: self._guest, sock=sock)
        except BaseException:
            sock.close()
            raise
        return ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._subject.tunnels.add(transport)
        transport.set_write_buffer_limits(HIGH)
        transport.write(b"OK")

    def data_received(self, data: bytes) -> None:
        if self._guest.transport is not None:
            self._guest.transport.write(data)

    def eof_received(self) -> bool:
        return self.ended(self._guest.transport)

    def ended(self, other: asyncio.Transport | None) -> bool:
        """Pass on the end of one direction. Returns whether the other one goes on."""
        self._ends += 1
        if self._ends == 2 or other is None:
            for end in (self.transport, self._guest.transport):
                if end is not None:
                    end.close()
            return False
        if not other.is_closing():
            other.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._guest.transport is not None:
            self._guest.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._guest.transport is not None:
            self._guest.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self._subject.tunnels.discard(self.transport)
        self.transport = None
        if self._guest.transport is not None:
            (self._guest.transport.abort if exc is not None else self._guest.transport.close)()
