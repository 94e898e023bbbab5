"""``socket.socket`` of programs in a network."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from slirpy.errors import StateError
from slirpy.testing.sim.current import current_host
from slirpy.testing.sim.socketapi.ends import End, Received, descriptors, failure
from slirpy.testing.sim.socketapi.opening import open_end
from slirpy.testing.sim.socketapi.optioncalls import OptionCalls, escape
from slirpy.testing.sim.socketapi.pairend import PairEnd
from slirpy.testing.sim.socketapi.places import pack, unpack
from slirpy.testing.sim.socketapi.streamend import StreamEnd
from slirpy.testing.sim.waiting import wait_for

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["SimSocket"]

T = TypeVar("T")

_UNSPEC_NAMES = {socket.AF_INET: bytes(4), socket.AF_INET6: bytes(16)}
_MSG_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
_MSG_ERRQUEUE = getattr(socket, "MSG_ERRQUEUE", 0)
_SENDFILE: Any = vars(socket.socket)["_sendfile_use_send"]  # reads the file, and sends what it has read


class SimSocket(OptionCalls):
    """A socket of a simulated host, with the calls of :class:`socket.socket`.

    It belongs to the host whose program makes it. Its descriptor is a number that no real one has. A call that has to
    wait does so in a blocking program only; asyncio programs use it as a non-blocking socket.

    Args:
        family: AF_INET or AF_INET6; -1: AF_INET.
        type: SOCK_STREAM or SOCK_DGRAM; -1: SOCK_STREAM.
        proto: 0, or the protocol of the type.
        fileno: descriptor of a simulated socket that this one takes over.

    Raises:
        EscapeError: a kind of socket that is not simulated.
        StateError: no program of a network is running.
        OSError: EBADF: ``fileno`` refers to nothing.
    """

    _end: End

    def __init__(
        self,
        family: int = -1,
        type: int = -1,  # noqa: A002 - the name of socket.socket
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        host = current_host()
        if host is None:
            raise StateError("a simulated socket belongs to a program; make it inside of one")
        self._io_refs = 0
        self._closed = False
        self._fd = -1
        self._timeout = socket.getdefaulttimeout()
        if fileno is None:
            if type > 0 and type & getattr(socket, "SOCK_NONBLOCK", 0):
                self._timeout = 0.0
            self._attach(host, open_end(host, family, type))
            self._proto = max(proto, 0)
        else:
            self._end = descriptors(host.net).find(fileno)
            self._fd = fileno
            self._proto = max(proto, 0)

    def _attach(self, host: Host, end: End) -> None:
        self._end = end
        self._fd = descriptors(host.net).add(end)

    @classmethod
    def of(cls, end: End) -> SimSocket:
        """Return a socket for an open end, such as an accepted connection."""
        made = cls.__new__(cls)
        made._io_refs = 0
        made._closed = False
        made._timeout = socket.getdefaulttimeout()
        made._proto = 0
        made._attach(end.host, end)
        return made

    @property
    def end(self) -> End:
        """The open socket to which it refers.

        Raises:
            OSError: EBADF: it is closed.
        """
        if self._fd < 0:
            raise failure(errno.EBADF)
        return self._end

    # ------------------------------------------------------------------------------------ attributes

    @property
    def family(self) -> socket.AddressFamily:
        """See :attr:`socket.socket.family`."""
        return socket.AddressFamily(self._end.family)

    @property
    def type(self) -> socket.SocketKind:
        """See :attr:`socket.socket.type`."""
        return self._end.type

    @property
    def proto(self) -> int:
        """See :attr:`socket.socket.proto`."""
        return self._proto

    @property
    def timeout(self) -> float | None:
        """See :attr:`socket.socket.timeout`."""
        return self._timeout

    def fileno(self) -> int:
        return self._fd

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, value: float | None, /) -> None:
        if value is not None:
            value = float(value)
            if value < 0:
                raise ValueError("Timeout value out of range")
        self._timeout = value

    def setblocking(self, flag: bool, /) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0.0

    def get_inheritable(self) -> bool:
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        if inheritable:
            escape("an inheritable socket", "there are no processes that could inherit it")

    # --------------------------------------------------------------------------------------- waiting

    def _call(self, what: str, attempt: Callable[[], T], flags: int = 0) -> T:
        """Return ``attempt()``; if it would block, wait for the socket, for as long as its timeout allows."""
        end = self.end
        try:
            return attempt()
        except BlockingIOError:
            if self._timeout == 0.0 or end.nonblocking or (flags and flags & _MSG_DONTWAIT):
                end.idle(f"socket.{what}()")
                raise
        end.acquire()
        try:
            return wait_for(end, f"socket.{what}()", attempt, self._timeout)
        finally:
            end.release()

    # ------------------------------------------------------------------------------------- addresses

    def _pack(self, address: Any) -> tuple[bytes, int]:
        return pack(self._end.host, self._end.family, address)

    def _unpack(self, place: tuple[bytes, int] | None) -> Any:
        family = self._end.family
        if family not in _UNSPEC_NAMES:
            return ""
        return unpack(family, *(place or (_UNSPEC_NAMES[socket.AddressFamily(family)], 0)))

    def getsockname(self) -> Any:
        return self._unpack(self.end.local)

    def getpeername(self) -> Any:
        return self._unpack(self.end.remote())

    def bind(self, address: Any, /) -> None:
        self.end.bind(*self._pack(address))

    def connect(self, address: Any, /) -> None:
        end = self.end
        place = self._pack(address)
        try:
            end.connect(*place)
        except BlockingIOError:
            if self._timeout == 0.0:
                raise
        else:
            return
        self._call("connect", lambda: _connected(end))

    def connect_ex(self, address: Any, /) -> int:
        try:
            self.connect(address)
        except TimeoutError as error:
            return error.errno or errno.EAGAIN
        except socket.gaierror:
            raise
        except OSError as error:
            if error.errno is None:
                raise
            return error.errno
        return 0

    def listen(self, backlog: int = 128, /) -> None:
        self.end.listen(backlog)

    def accept(self) -> tuple[SimSocket, Any]:
        end = self.end
        accepted = self._call("accept", end.accept)
        return SimSocket.of(accepted), self._unpack(accepted.sender)

    # ------------------------------------------------------------------------------------------ data

    def _receive(self, what: str, limit: int, flags: int) -> Received:
        if limit < 0:
            raise ValueError(f"negative buffersize in {what}")
        if flags:
            if flags & socket.MSG_OOB or flags & _MSG_ERRQUEUE:
                escape(f"socket.{what}() with MSG_OOB or MSG_ERRQUEUE", "read the ordinary data")
            peek = bool(flags & socket.MSG_PEEK)
            if flags & socket.MSG_WAITALL and self._end.type == socket.SOCK_STREAM and not peek:
                return self._receive_all(what, limit, flags)
        else:
            peek = False
        end = self.end
        received = self._call(what, lambda: end.receive(limit, peek), flags)
        if not received.data and end.type == socket.SOCK_STREAM:
            end.idle(f"socket.{what}()")
        return received

    def _receive_all(self, what: str, limit: int, flags: int) -> Received:
        end, data = self.end, bytearray()

        def attempt() -> bool:
            piece = end.receive(limit - len(data)).data
            data.extend(piece)
            return not piece

        while len(data) < limit and not self._call(what, attempt, flags):
            pass
        return Received(bytes(data))

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return self._receive("recv", bufsize, flags).data

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        data, sender, _ = self._receive("recvfrom", bufsize, flags)
        return data, None if sender is None else self._unpack(sender)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self._into("recv_into", buffer, nbytes, flags)[0]

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        length, sender = self._into("recvfrom_into", buffer, nbytes, flags)
        return length, None if sender is None else self._unpack(sender)

    def _into(self, what: str, buffer: Any, nbytes: int, flags: int) -> tuple[int, tuple[bytes, int] | None]:
        view = memoryview(buffer).cast("B")
        if nbytes < 0:
            raise ValueError(f"negative buffersize in {what}")
        if nbytes > len(view):
            raise ValueError(f"{what}: buffer too small for requested bytes")
        data, sender, _ = self._receive(what, nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), sender

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[Any], int, Any]:
        data, sender, truncated = self._receive("recvmsg", bufsize, flags)
        place = None if sender is None else self._unpack(sender)
        return data, [], socket.MSG_TRUNC if truncated else 0, place

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        views = [memoryview(each).cast("B") for each in buffers]
        data, _, flag, place = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        at = 0
        for view in views:
            piece = data[at : at + len(view)]
            view[: len(piece)] = piece
            at += len(piece)
        return len(data), [], flag, place

    def _send(self, what: str, buffers: list[Any], flags: int, to: tuple[bytes, int] | None = None) -> int:
        if flags & socket.MSG_OOB:
            escape(f"socket.{what}() with MSG_OOB", "send it as ordinary data")
        end = self.end
        return self._call(what, lambda: end.send(buffers, to), flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        return self._send("send", [memoryview(data).cast("B")], flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        view = memoryview(data).cast("B")
        end = self.end
        if end.type != socket.SOCK_STREAM or not len(view):
            self._send("sendall", [view], flags)
            return
        rest = [view]

        def attempt() -> None:
            while len(rest[0]):
                rest[0] = rest[0][end.send(rest) :]

        self._call("sendall", attempt, flags)

    def sendto(self, data: Any, *args: Any) -> int:
        if not 1 <= len(args) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        flags, address = (0, args[0]) if len(args) == 1 else args
        return self._send("sendto", [memoryview(data).cast("B")], flags, self._pack(address))

    def sendmsg(self, buffers: Iterable[Any], ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        if list(ancdata):
            escape("socket.sendmsg() with ancillary data", "send the data alone")
        views = [memoryview(each).cast("B") for each in buffers]
        return self._send("sendmsg", views, flags, None if address is None else self._pack(address))

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        return int(_SENDFILE(self, file, offset, count))

    # --------------------------------------------------------------------------------------- closing

    def shutdown(self, how: int, /) -> None:
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise failure(errno.EINVAL)
        self.end.shutdown(how)

    def _real_close(self, _ss: Any = None) -> None:
        number, self._fd = self._fd, -1
        if number >= 0:
            descriptors(self._end.host.net).remove(number)
            self._end.release()

    def detach(self) -> int:
        self._closed = True
        number, self._fd = self._fd, -1
        return number

    def dup(self) -> SimSocket:
        made = SimSocket.of(self.end.acquire())
        made._proto, made._timeout = self._proto, self._timeout
        return made

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self._real_close()


def _connected(end: End) -> None:
    """Return once a connection attempt has succeeded.

    Raises:
        BlockingIOError: it is still under way.
        OSError: it has failed.
    """
    if isinstance(end, StreamEnd):
        if end.connecting:
            raise BlockingIOError(errno.EINPROGRESS, "Operation now in progress")
        end.raise_error()


def pair(host: Host) -> tuple[SimSocket, SimSocket]:
    """Return two connected sockets on one host."""
    one, other = PairEnd.both(host)
    return SimSocket.of(one), SimSocket.of(other)
