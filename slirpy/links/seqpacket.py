"""Frames as packets of a Unix socket that keeps their boundaries, ``SOCK_SEQPACKET``.

User-mode Linux calls this transport ``bess``, after the Berkeley Extensible Software Switch: a packet is one
frame. Unlike datagrams, the sockets have a connection, so the end of the guest is noticed.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Sequence

from slirpy.config.values import function
from slirpy.errors import LinkError
from slirpy.links.dgram import DgramLink
from slirpy.links.endpoint import reason
from slirpy.mypyc import mypyc_attr
from slirpy.paths import PATH_MAX, bind_unix, inode_of, is_unix_path, remove_unix

__all__ = ["SeqpacketLink"]


@mypyc_attr(allow_interpreted_subclasses=True)
class SeqpacketLink(DgramLink):
    """A link over a connected socket; :meth:`accept` waits for a guest.

    Args:
        sock: a connected socket of this type, which is taken over.
        on_gone: called once, when the guest has ended the connection. Not called by ``close``.

    Raises:
        ConfigError: an argument of another type.
        LinkError: a socket of another type.
    """

    def __init__(self, sock: socket.socket, *, on_gone: Callable[[], object] | None = None) -> None:
        if on_gone is not None:
            function("on_gone", on_gone, " without arguments")
        super().__init__(sock)
        if sock.type != socket.SOCK_SEQPACKET:
            raise LinkError(f"{sock!r} is not a socket of the type SOCK_SEQPACKET; connect one")
        self._on_gone = on_gone
        self._receive = self._receive_packet

    @classmethod
    def accept(
        cls, path: str, *, until: Sequence[int] = (), on_gone: Callable[[], object] | None = None
    ) -> SeqpacketLink | None:
        """Listen at a path, wait for one guest, and remove the path.

        Args:
            path: of the socket. An unused socket there is replaced.
            until: descriptors that end the waiting when they are readable or hang up.
            on_gone: called once, when the guest has ended the connection.

        Returns:
            The link, or None if one of ``until`` has ended the waiting.

        Raises:
            LinkError: the path is in use, or not available.
        """
        if not is_unix_path(path):
            raise LinkError(f'path "{path}" of a Unix socket: it has 1 to {PATH_MAX} bytes')
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            try:
                bind_unix(listener, path)
            except OSError as error:
                raise LinkError(f"cannot listen at {path}: {reason(error)}") from None
            inode = inode_of(path)
            try:
                listener.listen(1)
                poll = select.poll()
                for number in (listener.fileno(), *until):
                    poll.register(number, select.POLLIN)
                if any(ready != listener.fileno() for ready, _ in poll.poll()):
                    return None
                sock, _ = listener.accept()
            finally:
                remove_unix(path, inode)
        return cls(sock, on_gone=on_gone)

    def _receive_packet(self, view: memoryview) -> int:
        """Receive one packet into ``view``."""
        sock = self._sock
        if sock is None:
            raise BlockingIOError(errno.EAGAIN, "the link is closed")
        count = sock.recv_into(view)
        if not count and _has_ended(sock):
            if self._poller is not None:
                self._poller.unregister(sock.fileno())
                self._poller = None
            if self._on_gone is not None:
                self._on_gone()
            raise BlockingIOError(errno.EAGAIN, "the guest has gone")
        return count


def _has_ended(sock: socket.socket) -> bool:
    """Report whether the guest has ended the connection, and did not just send an empty packet."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))
