"""A TCP connection of the host, on a real non-blocking socket.

The handling of readiness determines the cost of a busy flow:

* **Reading.** READ interest stays on, so a flow whose owner keeps up needs no system call but ``recv``. If the owner
  was notified and does not read (the guest's window is closed), the interest is dropped once; the next ``recv``
  restores it.
* **Writing.** WRITE interest is on only between a short ``send`` and the moment there is room.
* **Resets** must reach the guest at once, even while its window is closed. So a stream is always watched for
  :data:`~slirpy.host.poller.HANGUP`, if the system supports that (epoll). Elsewhere a reset without READ or WRITE
  interest is noticed at the next ``send`` or ``recv``.

Data in the socket at the time of the reset still reaches an owner that is reading; otherwise it is lost, as with any
TCP.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

from slirpy.host.addresses import name_of
from slirpy.host.ipoptions import hear_errors, hear_no_errors, hear_ttl, queued_errors, set_ttl
from slirpy.host.opensockets import OpenSocket, OpenSockets
from slirpy.host.poller import HANGUP, URGENT
from slirpy.interfaces import READ, WRITE, Buffer, StreamOwner
from slirpy.mypyc import mypyc_attr
from slirpy.wire.scope import is_loopback

__all__ = ["SocketStream", "tune"]

_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")
_IOV_MAX: Final = 1024  # buffers per sendmsg; every system accepts at least 1024
# Linger for 0 seconds: close sends a RST.
_LINGER_NOTHING: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
_SIOCATMARK: Final = 0x8905
_SO_MEMINFO: Final = 55 if sys.platform == "linux" else 0
"""Not in :mod:`socket`; include/uapi/asm-generic/socket.h."""
_MEMINFO: Final = struct.Struct("=9I")
_RMEM_ALLOC: Final = 0
_WMEM_QUEUED: Final = 5
"""Places in ``_MEMINFO``: include/uapi/linux/sock_diag.h."""
_CONNECTING: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)
# On Windows, a second connect is an error even if the first has succeeded.
_ASKS_TWICE: Final = sys.platform != "win32"
_SHORT_TTL: Final = 63
"""A smaller TTL suggests that the guest traces the path and wants to hear which router dropped the SYN. Common
systems send 64 or more, which is not less than this after our decrement, and so avoids the system calls.
"""


def tune(sock: socket.socket) -> None:
    """Set the options of every TCP socket: segments leave at once, and urgent bytes stay in place in the stream.

    Without the latter option the system removes an urgent byte from the data that ``recv`` returns, and keeps only
    one.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def _at_mark(sock: socket.socket) -> bool:
    """Report whether the next byte is an urgent one. Used only where the poller reports urgent data: on Linux."""
    from fcntl import ioctl

    return ioctl(sock, _SIOCATMARK, bytes(4)) != bytes(4)


def _met_itself(sock: socket.socket, port: int) -> bool:
    """Report whether the port that the system chose for a socket is ``port``, its destination, at the same address.

    TCP then connects the socket to itself (RFC 9293, figure 8), at a port without a listener.
    """
    try:
        own = sock.getsockname()
        # The address is compared only if the port is the same, which is rare: that saves a system call.
        return bool(own[1] == port and own == sock.getpeername())
    except OSError:
        return False  # reset already, which will be reported
    except IndexError:
        return False  # a Unix socket, whose name is empty


@mypyc_attr(allow_interpreted_subclasses=True)
class SocketStream(OpenSocket):
    """A :class:`~slirpy.interfaces.StreamPeer` on a TCP socket."""

    level_triggered = True  # the poller repeats the report while there is something to read

    __slots__ = (
        "_connecting",
        "_ended",
        "_events",
        "_fd",
        "_hears",
        "_owner",
        "_port",
        "_shut",
        "_sock",
        "_sockets",
        "_told",
        "_urgent",
        "_wants_room",
    )

    def __init__(self, sockets: OpenSockets, sock: socket.socket | None, owner: StreamOwner | None) -> None:
        self._sockets = sockets
        self._sock = sock  # None: closed, aborted or failed
        self._owner = owner
        self._fd = -1  # its descriptor while it is registered with the poller
        self._events = 0
        self._port = 0  # its destination port
        self._connecting = False
        self._hears = False  # ICMP errors are queued
        self._told = False  # reported to the owner, which has not read since
        self._ended = False  # recv has reached the end
        self._shut = False
        self._urgent = False  # the unread data contains an urgent byte
        self._wants_room = False  # a send was refused while still connecting

    # --------------------------------------------------------------------------- what the owner calls

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Pass bytes to the socket; see :meth:`slirpy.interfaces.StreamPeer.send`."""
        sock = self._sock
        if sock is None:
            return 0
        if self._connecting:
            self._wants_room = True
            return 0
        try:
            if len(buffers) == 1:
                (buffer,) = buffers
                sent, wanted = sock.send(buffer), len(buffer)
            elif _HAS_SENDMSG:
                sent = sock.sendmsg(buffers if len(buffers) <= _IOV_MAX else buffers[:_IOV_MAX])
                wanted = sum(map(len, buffers))
            else:
                data = b"".join(buffers)
                sent = sock.send(data)
                wanted = len(data)
        except BlockingIOError:
            self._watch(self._events | WRITE)
            return 0
        except OSError as error:
            self._fail(error)
            return 0
        if sent < wanted:
            self._watch(self._events | WRITE)
        return sent

    def recv(self, limit: int) -> bytes | None:
        """Take bytes from the socket; see :meth:`slirpy.interfaces.StreamPeer.recv`."""
        if self._ended:
            return b""
        sock = self._sock
        if sock is None or self._connecting:
            return None
        self._told = False
        try:
            data = self._recv_urgent(sock, limit) if self._urgent else sock.recv(limit)
        except BlockingIOError:
            self._urgent = False
            data = None
        except OSError as error:
            self._fail(error)
            return None
        if data == b"":
            self._ended = True
            # After both ends there is nothing to wait for, not even a hang-up: that is what they are.
            self._watch(0 if self._shut else self._events & ~READ)
        elif not self._events & READ:
            self._watch(self._events | READ | HANGUP | URGENT)
        return data

    def send_urgent(self, data: bytes) -> int:
        """Pass an urgent byte to the socket; returns 1 if it is accepted, else 0, like :meth:`send`."""
        sock = self._sock
        if sock is None or self._connecting:
            return self.send((data,))
        try:
            return sock.send(data, socket.MSG_OOB)
        except BlockingIOError:
            self._watch(self._events | WRITE)
        except OSError as error:
            self._fail(error)
        return 0

    def _recv_urgent(self, sock: socket.socket, limit: int) -> bytes:
        """Call ``sock.recv``, which stops before an urgent byte; the owner gets that byte separately."""
        tell = getattr(self._owner, "urgent", None)
        if tell is not None and _at_mark(sock):
            self._urgent = False
            tell(sock.recv(1))
        return sock.recv(limit)

    def kernel_memory(self) -> int:
        """Return the bytes of memory that the system holds for the socket: data that the far side has not taken or
        that the owner has not read, with their packets. 0 where the system does not say, and for a closed socket.
        """
        if self._sock is None or not _SO_MEMINFO:
            return 0
        try:
            memory = _MEMINFO.unpack(self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except (OSError, struct.error):
            return 0  # a kernel before Linux 4.12
        return int(memory[_RMEM_ALLOC] + memory[_WMEM_QUEUED])

    def shutdown(self) -> None:
        """Send a FIN after the data; see :meth:`slirpy.interfaces.StreamPeer.shutdown`."""
        self._shut = True
        if self._sock is not None and not self._connecting:
            self._shut_down(self._sock)
            if self._ended:
                self._watch(0)  # both directions have ended, which would be reported as a hang-up

    def abort(self) -> None:
        """Close with a RST; see :meth:`slirpy.interfaces.StreamPeer.abort`."""
        if self._sock is not None:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
            except OSError:
                pass  # refused by macOS on a connection that the far side has reset already
            self._release()

    def close(self) -> None:
        """Close normally; see :meth:`slirpy.interfaces.StreamPeer.close`."""
        self._release()

    # --------------------------------------------------------------------------- what SocketHost calls

    def start_connecting(self, address: bytes, port: int, ttl: int = 0) -> None:
        """Connect. The owner may hear of a failure before this returns, and of a success if it wants that."""
        sock = self._sock
        assert sock is not None
        self._port = port
        try:
            if sock.gettimeout() != 0.0:
                sock.setblocking(False)
            tune(sock)
            if ttl:
                set_ttl(sock, ttl, inet6=len(address) == 16)
                if ttl < _SHORT_TTL:
                    hear_ttl(sock)
                    hear_errors(sock)
                    self._hears = True
            name = name_of(address, port)
            error = sock.connect_ex(name)
            if error in _CONNECTING and _ASKS_TWICE and is_loopback(address):
                # The answer of the host's own loopback is there by now, though the first call could not return it.
                # That saves a turn of the loop, and a guest that scans ports holds no descriptors.
                error = sock.connect_ex(name)
            if error in _CONNECTING or not (error or getattr(self._owner, "connects_at_once", False)):
                self._connecting = True
                self._watch(WRITE)
                return
        except OSError as problem:
            self._fail(problem)
            return
        self._connected(error)

    def start_accepted(self, owner: StreamOwner) -> None:
        """Pass an accepted stream to its owner, unless it has been closed in the meantime."""
        if self._sock is not None:
            self._owner = owner
            self._watch(self._events | READ | HANGUP | URGENT)

    # --------------------------------------------------------------------------------------- inside

    def _connected(self, error: int) -> None:
        """Handle the outcome of connecting."""
        owner, sock = self._owner, self._sock
        if owner is None or sock is None:
            return
        if not error and _met_itself(sock, self._port):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)  # leave no trace of it
            error = errno.ECONNREFUSED
        if error:
            self._report(sock)
            self._fail(OSError(error, ""))
            return
        if self._hears:
            # From here on an ICMP error is no reason to give up (RFC 1122, section 4.2.3.9).
            self._hears = False
            hear_no_errors(sock)
        self._connecting = False
        self._watch(READ | HANGUP | URGENT)
        if self._shut:
            self._shut_down(sock)
        owner.connected()
        if self._wants_room and self._sock is not None:
            owner.writable()

    def _report(self, sock: socket.socket) -> None:
        """Pass on the ICMP report about the SYN to the owner, if the system knows it (Linux 6.1 and newer)."""
        tell = getattr(self._owner, "reported", None)
        if self._hears and tell is not None:
            for _, report, _ in queued_errors(sock):
                if report is not None:
                    tell(report)

    def _watch(self, events: int) -> None:
        """Change the events to wait for. Costs a system call, so only if they differ."""
        if events == self._events:
            return
        sock = self._sock
        if sock is None:
            return
        try:
            if self._fd < 0:
                fd = sock.fileno()
                self._sockets.poller.register(fd, events, self._ready)
                self._fd = fd
            else:
                self._sockets.poller.modify(self._fd, events, self._ready)
        except OSError as error:  # the system's limit on watched descriptors (ENOSPC)
            self._fail(error)
            return
        self._events = events

    def _ready(self, mask: int) -> None:
        owner = self._owner
        sock = self._sock
        if owner is None or sock is None:
            return
        if mask == READ and not (self._told or self._connecting):  # as below, for the usual event
            self._told = True
            owner.readable()
            return
        if self._connecting:
            self._connected(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            return
        if mask & WRITE:
            self._watch(self._events & ~WRITE)
            owner.writable()
            if self._sock is None:
                return
        if mask & URGENT:
            self._urgent = True
        if mask & READ:
            if not self._told:
                self._told = True
                owner.readable()
                return  # recv finds the reset, after the data before it
            self._watch(self._events & ~READ)
        if mask & HANGUP:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._fail(OSError(error, ""))
            else:
                # Both directions have ended. That is reported repeatedly, and only recv can add anything.
                self._watch(0)

    @staticmethod
    def _shut_down(sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset already (ENOTCONN); reading or the poller reports it

    def _fail(self, error: OSError) -> None:
        owner = self._owner
        self._release()
        if owner is not None:
            owner.failed(error.errno or errno.EIO)

    def _release(self) -> None:
        """Close the socket and cut every reference, so that the memory is freed at once."""
        sock = self._sock
        if sock is None:
            return
        self._sock = None
        self._owner = None
        if self._fd >= 0:
            self._sockets.poller.unregister(self._fd)
            self._fd = -1
        try:
            sock.close()
        except OSError:
            pass  # close may report a reset; the descriptor is released anyway
        self._sockets.released(self)
