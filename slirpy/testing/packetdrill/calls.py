"""Socket calls, as far as they affect the engine; the table is in ``language``."""

from __future__ import annotations

import errno
from collections.abc import Callable

from slirpy.tcp import Connection, State
from slirpy.tcp.states import SYNCHRONIZED, TIME_WAIT
from slirpy.testing.packetdrill import language, ready, sockopts
from slirpy.testing.packetdrill.arguments import argument, buffers, inner, names, number, structure, words
from slirpy.testing.packetdrill.descriptors import WAITING, Descriptors, Outcome
from slirpy.testing.packetdrill.host import FailureError, Host
from slirpy.testing.packetdrill.ready import Epolls
from slirpy.testing.packetdrill.script import Call, UnsupportedError, Value, Word
from slirpy.testing.packetdrill.user import User

__all__ = ["Outcome", "Sockets"]

_SAME = {
    "recv": "read",
    "recvfrom": "read",
    "readv": "read",
    "recvmsg": "read",
    "send": "write",
    "sendto": "write",
    "writev": "write",
    "sendmsg": "write",
    "accept4": "accept",
    "epoll_create1": "epoll_create",
}
_WITHOUT_SOCKET = frozenset(("socket", "poll", "epoll_create", "epoll_create1"))
_EPOLL = frozenset(("epoll_ctl", "epoll_wait"))
_FLAGS_AT = {"recv": 3, "recvfrom": 3, "send": 3, "sendto": 3, "recvmsg": 2, "sendmsg": 2}
_RECEIVE_FLAGS = {"MSG_DONTWAIT", "MSG_WAITALL", "MSG_PEEK", "MSG_TRUNC", "MSG_NOSIGNAL"}
_SEND_FLAGS = {"MSG_DONTWAIT", "MSG_NOSIGNAL"}
_SHUTDOWN = {0: "SHUT_RD", 1: "SHUT_WR", 2: "SHUT_RDWR"}
_MESSAGE = "{msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=0}"


class Sockets:
    """A listening or connecting socket, and the one that ``accept`` returns.

    Args:
        host: the connection.
        user: tracks the data written and read.
    """

    def __init__(self, host: Host, user: User) -> None:
        self._host = host
        self._user = user
        self._own = Descriptors(host, user)
        self._epolls = Epolls(self._own)
        self._partial: tuple[Call, int] | None = None
        """Progress of a call that blocks."""

    def attempt(self, call: Call) -> Outcome:
        """Make a call, or retry one that blocked.

        Raises:
            UnsupportedError: the call has no meaning here.
            FailureError: the call is invalid.
        """
        self._epolls.observe()
        if call.name not in language.CALLS and call.name not in _SAME:
            there = ", ".join(language.CALLS)
            raise UnsupportedError(call.line, f"{call.name}(){language.missing(call.name)}; there are {there}")
        if call.name not in _WITHOUT_SOCKET:
            known = self._epolls.descriptors if call.name in _EPOLL else self._own.sockets
            if call.name == "close":
                known = known | self._epolls.descriptors
            if (fd := number(call, 0)) not in known:
                if call.error == "EBADF":
                    return -errno.EBADF
                raise FailureError(f"{call.name}(): {fd} is not an open connection")
        run: Callable[[Call], Outcome] = getattr(self, f"_{_SAME.get(call.name, call.name)}")
        return run(call)

    def observe(self) -> None:
        """Note a change of state."""
        self._epolls.observe()

    def _blocks(self, call: Call) -> bool:
        """Report whether a call waits if it cannot complete at once."""
        return "MSG_DONTWAIT" not in self._flags(call) and self._own.blocks(call)

    def _flags(self, call: Call) -> set[str]:
        return words(call, _FLAGS_AT[call.name]) if call.name in _FLAGS_AT else set()

    def _check_flags(self, call: Call, known: set[str]) -> set[str]:
        flags = self._flags(call)
        if other := sorted(flags - known):
            why = f"{call.name}() with {', '.join(other)}{language.missing(other[0])}"
            raise UnsupportedError(call.line, why)
        return flags

    # --------------------------------------------------------------------------------------- opening

    def _socket(self, call: Call) -> Outcome:
        own = self._own
        if not words(call, 1) & {"SOCK_STREAM"}:
            raise UnsupportedError(call.line, "a socket that is not SOCK_STREAM")
        protocol = argument(call, 2)
        if isinstance(protocol, Word) and protocol.text not in ("IPPROTO_TCP", "IPPROTO_IP"):
            raise UnsupportedError(call.line, f"a socket of {protocol.text}{language.missing(protocol.text)}")
        if own.sockets:
            raise UnsupportedError(call.line, "a second socket: there is one connection to a script")
        if call.result is None or call.result < 0:
            raise FailureError("socket() needs the descriptor that it returns, such as = 3")
        conn = self._host.conn
        if conn.opened_at >= 0:
            if conn.state not in (State.CLOSED, TIME_WAIT):
                why = "a second socket while the connection before it closes: there is one to a script"
                raise UnsupportedError(call.line, why)
            self._host.fresh()
        own.begin(call.result)
        self._set_nonblocking(call, 1)
        return call.result

    def _set_nonblocking(self, call: Call, index: int) -> None:
        assert call.result is not None
        on = "SOCK_NONBLOCK" in words(call, index)
        (self._own.nonblocking.add if on else self._own.nonblocking.discard)(call.result)

    def _bind(self, call: Call) -> Outcome:
        return -errno.EINVAL if number(call, 0) == self._own.listener or self._own.opened else 0

    def _listen(self, call: Call) -> Outcome:
        own = self._own
        if number(call, 0) == own.listener:
            return 0
        if own.opened:
            return -errno.EINVAL
        own.listener, own.fd = own.fd, None
        self._host.listen()
        return 0

    def _accept(self, call: Call) -> Outcome:
        own = self._own
        if number(call, 0) != own.listener:
            return -errno.EINVAL
        if own.fd is not None or not own.acceptable():
            return None if self._blocks(call) else -errno.EAGAIN
        if self._host.conn.state is State.CLOSED and (error := self._host.system.accept_reset):
            own.accepted = self._host.conn
            return -int(getattr(errno, error))
        if call.result is None or call.result < 0:
            raise FailureError("accept() returns a connection, which the script does not expect")
        own.fd, own.accepted = call.result, self._host.conn
        self._set_nonblocking(call, 3)
        return own.fd

    def _connect(self, call: Call) -> Outcome:
        own, host, conn = self._own, self._host, self._host.conn
        if words(call, 1) & {"AF_UNSPEC"}:
            raise UnsupportedError(call.line, "connect() to AF_UNSPEC, which takes a connection back")
        if number(call, 0) == own.listener or conn is own.accepted:
            return -errno.EISCONN
        blocks = self._blocks(call)
        if not own.connecting:
            own.connecting = True
            host.connect()
            if not blocks:
                return -errno.EINPROGRESS
        elif not blocks and conn.state in WAITING:
            return -errno.EALREADY
        elif not blocks and not conn.error:
            return -errno.EISCONN
        if conn.state in WAITING:
            return None
        return -self._user.take_error()

    # ------------------------------------------------------------------------------------------ data

    def _size(self, call: Call) -> int:
        """Return the number of bytes that a call requests or supplies."""
        if call.name in ("readv", "writev"):
            return buffers(call, argument(call, 1))
        if call.name in ("recvmsg", "sendmsg"):
            return buffers(call, structure(call, 1, _MESSAGE).get("msg_iov"))
        size = number(call, 2)
        if size < 0:
            raise FailureError(f"{call.name}() of {size} bytes")
        return size

    def _done(self, call: Call) -> int:
        """Return how much of this call completed before it blocked."""
        partial, self._partial = self._partial, None
        return partial[1] if partial is not None and partial[0] is call else 0

    def _read(self, call: Call) -> Outcome:
        flags = self._check_flags(call, _RECEIVE_FLAGS)
        own, conn = self._own, self._host.conn
        size, done = self._size(call), self._done(call)
        if number(call, 0) == own.listener or not own.opened:
            return -errno.ENOTCONN
        if conn.rcv_pending and size and _is_null(argument(call, 1)):
            return -errno.EFAULT
        if conn.rcv_pending and size > done:
            got = self._user.read(size - done, peek="MSG_PEEK" in flags)
            done += got
            if "MSG_PEEK" not in flags:
                self._host.flush()
        ended = conn.fin_received or conn.state is State.CLOSED or own.read_shut
        wanted = size if "MSG_WAITALL" in flags and not flags & {"MSG_PEEK"} else min(size, 1)
        if done < wanted and not ended and self._blocks(call):
            self._partial = call, done
            return None
        if not done and size:
            if error := self._user.take_error():
                return -error
            if not ended:
                return -errno.EAGAIN
        if call.name == "recvmsg":
            self._control(call)
        return done

    def _control(self, call: Call) -> None:
        """Check the control messages that ``recvmsg`` should return."""
        wanted: list[Value] = []
        found = structure(call, 1, _MESSAGE).get("msg_control")
        if isinstance(found, list):
            wanted = found
        for item in wanted:
            kind = names(item.get("cmsg_type")) if isinstance(item, dict) else set()
            if kind != {"TCP_CM_INQ"} or not isinstance(item, dict):
                raise UnsupportedError(call.line, f"the control message {'|'.join(kind) or 'without a type'}")
            conn = self._host.conn
            left, told = conn.rcv_pending + (not conn.rcv_pending and conn.fin_received), item.get("cmsg_data")
            if not self._own.inq:
                raise FailureError("recvmsg() returns no TCP_CM_INQ: TCP_INQ is not set")
            if inner(told) not in (None, left):
                raise FailureError(f"TCP_CM_INQ is {left}, not {inner(told)}")

    def _write(self, call: Call) -> Outcome:
        self._check_flags(call, _SEND_FLAGS)
        own, conn = self._own, self._host.conn
        size, done = self._size(call), self._done(call)
        if number(call, 0) == own.listener or not own.opened:
            return -int(getattr(errno, self._host.system.unconnected_write))
        if not done and (error := self._user.take_error()):
            return -error
        if conn.fin_queued or conn.state is State.CLOSED:
            return done or -errno.EPIPE
        if size and _is_null(argument(call, 1)):
            return -errno.EFAULT
        if conn.state not in WAITING:
            while count := min(size - done, own.room(call)):
                self._user.write(count)
                done += count
                self._host.flush()
        if done < size or conn.state in WAITING:
            if self._blocks(call):
                self._partial = call, done
                return None
            if not done:
                return -errno.EAGAIN
        return done

    # --------------------------------------------------------------------------------------- closing

    def _shutdown(self, call: Call) -> Outcome:
        own = self._own
        if number(call, 0) == own.listener or not own.opened or self._host.conn.state not in SYNCHRONIZED:
            return -errno.ENOTCONN
        how = argument(call, 1)
        directions = {_SHUTDOWN.get(how, "")} if isinstance(how, int) else words(call, 1)
        if not directions & {"SHUT_RD", "SHUT_WR", "SHUT_RDWR"}:
            return -errno.EINVAL
        if directions & {"SHUT_RD", "SHUT_RDWR"}:
            own.read_shut = True
        if directions & {"SHUT_WR", "SHUT_RDWR"}:
            self._host.conn.shutdown()
            self._host.flush()
        return 0

    def _close(self, call: Call) -> Outcome:
        own, host, conn = self._own, self._host, self._host.conn
        fd = number(call, 0)
        self._epolls.close(fd)
        if fd == own.listener:
            own.listener, host.listening = None, False
            if conn is not own.accepted:  # it can no longer be accepted
                conn.abort()
        elif fd == own.fd:
            own.fd = None
            if own.opened:
                self._close_connection(conn)
        host.flush()
        return 0

    def _close_connection(self, conn: Connection) -> None:
        # RFC 9293, section 3.10.4, lets CLOSE delete a connection that is not yet open.
        if conn.rcv_pending and not self._host.system.close_resets:
            self._user.read(conn.rcv_pending)
        if conn.rcv_pending or self._own.linger_reset or conn.state is State.SYN_SENT:
            conn.abort()
        else:
            conn.shutdown()
            self._host.after_segment = lambda: self._reset_if_data(conn)

    def _reset_if_data(self, closed: Connection) -> None:
        """Send a reset for unread data at close (RFC 9293, SHLD-3)."""
        if self._host.conn is closed and closed.rcv_pending:
            closed.abort()

    # -------------------------------------------------------------------------------- ready, options

    def _getsockname(self, call: Call) -> Outcome:
        return 0

    def _getpeername(self, call: Call) -> Outcome:
        return 0 if self._own.opened and self._host.conn.state in SYNCHRONIZED else -errno.ENOTCONN

    def _poll(self, call: Call) -> Outcome:
        return ready.poll(self._own, call)

    def _epoll_create(self, call: Call) -> Outcome:
        return self._epolls.create(call)

    def _epoll_ctl(self, call: Call) -> Outcome:
        return self._epolls.control(call)

    def _epoll_wait(self, call: Call) -> Outcome:
        return self._epolls.wait(call)

    def _setsockopt(self, call: Call) -> Outcome:
        return sockopts.setsockopt(self._own, call)

    def _getsockopt(self, call: Call) -> Outcome:
        return sockopts.getsockopt(self._own, call)

    def _fcntl(self, call: Call) -> Outcome:
        return sockopts.fcntl(self._own, call)

    def _ioctl(self, call: Call) -> Outcome:
        return sockopts.ioctl(self._own, call)


def _is_null(value: Value) -> bool:
    """Report whether a call passes no buffer at all."""
    return isinstance(value, Word) and value.text == "NULL"
