"""Socket calls, as far as they move the engine; the table is in ``language``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from slirpy.tcp import Connection, State
from slirpy.tcp.congestion import ALGORITHMS, CongestionFactory
from slirpy.tcp.states import SYNCHRONIZED
from slirpy.testing.packetdrill import language
from slirpy.testing.packetdrill.host import MS, FailureError, Host
from slirpy.testing.packetdrill.script import Call, UnsupportedError, Value, Word
from slirpy.testing.packetdrill.user import User

__all__ = ["Outcome", "Sockets"]

Outcome: TypeAlias = int | None
"""What a call returns: a number, a negative ``errno`` value, or None as long as it blocks."""

SECOND = 1_000 * MS
_WAITING = (State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED)
_NONBLOCK = "O_NONBLOCK"
_O_RDWR, _O_NONBLOCK = 0x2, 0x800  # as Linux has them on most machines; so do the scripts
_FLAGS = {"MSG_DONTWAIT", "MSG_NOSIGNAL", "MSG_WAITALL"}
_SAME = {"recv": "read", "send": "write", "sendto": "write", "accept4": "accept"}
_NOTHING = frozenset(name for name, text in language.SOCKET_OPTIONS.items() if text == "does nothing")


class Sockets:
    """A listening or connecting socket, and the one that ``accept`` returns.

    Args:
        host: the connection.
        user: what was written and read.
    """

    def __init__(self, host: Host, user: User) -> None:
        self._host = host
        self._user = user
        self._listener: int | None = None
        self._fd: int | None = None
        """The connection's own."""
        self._opened = False
        self._nonblocking: set[int] = set()
        self._linger_reset = False

    def attempt(self, call: Call) -> Outcome:
        """Make a call, or try again one that blocked.

        Raises:
            UnsupportedError: it has no meaning here.
            FailureError: it makes no sense.
        """
        name = _SAME.get(call.name, call.name)
        if name not in language.CALLS:
            raise UnsupportedError(call.line, f"{call.name}(); there are {', '.join(language.CALLS)}")
        run: Callable[[Call], Outcome] = getattr(self, f"_{name}")
        return run(call)

    def blocks(self, call: Call) -> bool:
        """Whether a call waits, when it cannot be done at once."""
        flags = call.arguments[3] if call.name in ("recv", "send", "sendto") and len(call.arguments) > 3 else 0
        if isinstance(flags, Word) and "MSG_DONTWAIT" in flags.text.split("|"):
            return False
        return call.name == "poll" or call.arguments[0] not in self._nonblocking

    # ------------------------------------------------------------------------------------- arguments

    def _number(self, call: Call, index: int) -> int:
        value = call.arguments[index] if index < len(call.arguments) else None
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, int):
            raise FailureError(f"{call.name}() needs a number as argument {index + 1}")
        return value

    def _words(self, call: Call, index: int) -> set[str]:
        value = call.arguments[index] if index < len(call.arguments) else 0
        return set(value.text.split("|")) if isinstance(value, Word) else set()

    def _connected(self, call: Call) -> None:
        if self._number(call, 0) != self._fd:
            raise FailureError(f"{call.name}(): {self._number(call, 0)} is no connection that is open")

    # --------------------------------------------------------------------------------------- opening

    def _socket(self, call: Call) -> Outcome:
        if not self._words(call, 1) & {"SOCK_STREAM"}:
            raise UnsupportedError(call.line, "a socket that is not SOCK_STREAM")
        if self._listener is not None or self._fd is not None:
            raise UnsupportedError(call.line, "a second socket: there is one connection to a script")
        if call.result is None or call.result < 0:
            raise FailureError("socket() needs the descriptor that it returns, such as = 3")
        self._fd = call.result
        if "SOCK_NONBLOCK" in self._words(call, 1):
            self._nonblocking.add(self._fd)
        return self._fd

    def _bind(self, call: Call) -> Outcome:
        self._connected(call)
        return 0

    def _listen(self, call: Call) -> Outcome:
        self._connected(call)
        self._listener, self._fd = self._fd, None
        self._host.listen()
        return 0

    def _accept(self, call: Call) -> Outcome:
        if self._number(call, 0) != self._listener:
            return -errno.EINVAL
        if self._fd is not None or self._host.conn.state in (*_WAITING, State.CLOSED):
            return None if self.blocks(call) else -errno.EAGAIN
        if call.result is None or call.result < 0:
            raise FailureError("accept() returns a connection, which the script does not expect")
        self._fd = call.result
        if "SOCK_NONBLOCK" in self._words(call, 3):
            self._nonblocking.add(self._fd)
        return self._fd

    def _connect(self, call: Call) -> Outcome:
        self._connected(call)
        host, conn = self._host, self._host.conn
        if not self._opened:
            self._opened = True
            host.connect()
            if not self.blocks(call):
                return -errno.EINPROGRESS
        elif not self.blocks(call) and conn.state in _WAITING:
            return -errno.EALREADY
        elif not self.blocks(call) and not conn.error:
            return -errno.EISCONN
        if conn.state in _WAITING:
            return None
        return -self._user.take_error()

    # ------------------------------------------------------------------------------------------ data

    def _read(self, call: Call) -> Outcome:
        self._connected(call)
        self._check_flags(call, 3)
        conn = self._host.conn
        if conn.rcv_pending:
            got = self._user.read(self._number(call, 2))
            self._host.flush()
            return got
        if error := self._user.take_error():
            return -error
        if conn.fin_received or conn.state is State.CLOSED:
            return 0
        return None if self.blocks(call) else -errno.EAGAIN

    def _write(self, call: Call) -> Outcome:
        self._connected(call)
        self._check_flags(call, 3)
        conn = self._host.conn
        if error := self._user.take_error():
            return -error
        if conn.fin_queued or conn.state is State.CLOSED:
            return -errno.EPIPE
        count = self._number(call, 2)
        room = max(conn.settings.snd_buffer - conn.snd_buf.length, 0)
        if conn.state in _WAITING or not room or (self.blocks(call) and count > room):
            return None if self.blocks(call) else -errno.EAGAIN
        count = min(count, room)
        self._user.write(count)
        self._host.flush()
        return count

    def _check_flags(self, call: Call, index: int) -> None:
        if call.name in ("recv", "send", "sendto") and (other := self._words(call, index) - _FLAGS):
            raise UnsupportedError(call.line, f"{call.name}() with {', '.join(sorted(other))}")

    # --------------------------------------------------------------------------------------- closing

    def _shutdown(self, call: Call) -> Outcome:
        self._connected(call)
        if self._host.conn.state not in SYNCHRONIZED:
            return -errno.ENOTCONN
        if self._words(call, 1) & {"SHUT_WR", "SHUT_RDWR"}:
            self._host.conn.shutdown()
            self._host.flush()
        return 0

    def _close(self, call: Call) -> Outcome:
        host, conn = self._host, self._host.conn
        fd = self._number(call, 0)
        if fd == self._listener:
            self._listener, host.listening = None, False
            if conn.state in (State.LISTEN, State.SYN_RECEIVED):
                conn.abort()
        else:
            self._connected(call)
            self._fd = None
            # RFC 9293, section 3.10.4, lets CLOSE delete a connection that is not open yet.
            if conn.rcv_pending or self._linger_reset or conn.state is State.SYN_SENT:
                conn.abort()
            else:
                conn.shutdown()
                host.after_segment = lambda: self._reset_if_data(conn)
        host.flush()
        return 0

    def _reset_if_data(self, closed: Connection) -> None:
        """RFC 9293, SHLD-3: data that nobody will read shows the peer a reset."""
        if self._host.conn is closed and closed.rcv_pending:
            closed.abort()

    # --------------------------------------------------------------------------------- what is ready

    def _poll(self, call: Call) -> Outcome:
        items = call.arguments[0] if call.arguments else None
        if not isinstance(items, list) or not items:
            raise FailureError("poll() needs [{fd=..., events=..., revents=...}]")
        ready = 0
        wanted: list[tuple[set[str], set[str]]] = []
        for item in items:
            if not isinstance(item, dict):
                raise FailureError("poll() needs [{fd=..., events=..., revents=...}]")
            asked, expected = (_names(item.get(key)) for key in ("events", "revents"))
            now = self._events(item.get("fd")) & (asked | {"POLLHUP", "POLLERR"})
            ready += bool(now)
            wanted.append((now, expected))
        if not ready and self._number(call, 2) != 0 and call.until is not None:
            timeout = self._number(call, 2) * MS
            if timeout < 0 or self._host.now < self._user.blocked_at + timeout:
                return None
        for now, expected in wanted:
            if now != expected:
                found, told = ("|".join(sorted(names)) or "nothing" for names in (now, expected))
                raise FailureError(f"poll() tells {found}, not {told}")
        return ready

    def _events(self, fd: Value) -> set[str]:
        conn, found = self._host.conn, set()
        if fd == self._listener:
            opening = self._fd is not None or conn.state in (*_WAITING, State.CLOSED)
            return set() if opening else {"POLLIN"}
        if conn.rcv_pending or conn.fin_received or conn.state is State.CLOSED:
            found.add("POLLIN")
        if conn.fin_received or conn.state is State.CLOSED:
            found.add("POLLRDHUP")
        if conn.state is State.CLOSED or (conn.fin_received and conn.fin_queued):
            found.add("POLLHUP")
        if self._user.error:
            found.add("POLLERR")
        if conn.state not in _WAITING and conn.snd_buf.length < conn.settings.snd_buffer:
            found.add("POLLOUT")
        return found

    def _ioctl(self, call: Call) -> Outcome:
        self._connected(call)
        asked, conn = self._words(call, 1), self._host.conn
        if asked & {"SIOCINQ", "FIONREAD"}:
            found = conn.rcv_pending
        elif asked & {"SIOCOUTQ"}:
            found = conn.snd_buf.length
        else:
            raise UnsupportedError(call.line, "this ioctl()")
        return self._told(call, 2, found)

    def _told(self, call: Call, index: int, found: int) -> int:
        if call.arguments[index] is not None and (expected := self._number(call, index)) != found:
            raise FailureError(f"{call.name}() tells {found}, not {expected}")
        return 0

    # --------------------------------------------------------------------------------------- options

    def _fcntl(self, call: Call) -> Outcome:
        fd = self._number(call, 0)
        if self._words(call, 1) & {"F_GETFL"}:
            return _O_RDWR | (_O_NONBLOCK if fd in self._nonblocking else 0)
        if not self._words(call, 1) & {"F_SETFL"}:
            raise UnsupportedError(call.line, "this fcntl()")
        value = call.arguments[2]
        on = value & _O_NONBLOCK if isinstance(value, int) else _NONBLOCK in self._words(call, 2)
        (self._nonblocking.add if on else self._nonblocking.discard)(fd)
        return 0

    def _getsockopt(self, call: Call) -> Outcome:
        name = self._words(call, 2)
        if name == {"SO_ERROR"}:
            error = self._user.take_error()
            value = call.arguments[3]
            inner = value[0] if isinstance(value, list) and len(value) == 1 else value
            expected = getattr(errno, inner.text, None) if isinstance(inner, Word) else inner
            if expected != error:
                raise FailureError(f"SO_ERROR is {errno.errorcode.get(error, error)}")
            return 0
        if name == {"TCP_NODELAY"}:
            return self._told(call, 3, int(self._host.conn.settings.nodelay))
        if name == {"TCP_MAXSEG"}:
            return self._told(call, 3, self._host.conn.mss)
        if name == {"TCP_CONGESTION"}:
            factory = self._host.conn.settings.congestion
            if ALGORITHMS.get(self._text(call, 3)) is not factory:
                raise FailureError(f"TCP_CONGESTION is {_named(factory)}")
            return 0
        raise UnsupportedError(call.line, f"getsockopt() of {'|'.join(name) or 'a number'}")

    def _setsockopt(self, call: Call) -> Outcome:
        name = "|".join(self._words(call, 2))
        if name in _NOTHING:
            return 0
        settings = self._host.settings
        if name == "SO_LINGER":
            values = call.arguments[3]
            inner = values[0] if isinstance(values, list) and values else values
            if not isinstance(inner, dict):
                raise FailureError("SO_LINGER needs {onoff=1, linger=0}")
            if inner.get("onoff") and inner.get("linger"):
                raise UnsupportedError(call.line, "SO_LINGER with a time")
            self._linger_reset = bool(inner.get("onoff"))
            return 0
        if name == "TCP_CONGESTION":
            return self._set_congestion(call)
        value = self._number(call, 3)
        if name == "TCP_NODELAY":
            self._host.renew(replace(settings, nodelay=bool(value)))
        elif name == "SO_RCVBUF":
            self._host.renew(replace(settings, rcv_buffer=value, rcv_first=value))
        elif name == "SO_SNDBUF":
            self._host.renew(replace(settings, snd_buffer=value))
        elif name == "TCP_MAXSEG":
            self._host.renew(replace(settings, mss=value))
        elif name == "TCP_USER_TIMEOUT":
            self._host.renew(replace(settings, user_timeout=value * MS))
        elif name == "SO_KEEPALIVE":
            self._host.renew(replace(settings, keepalive=bool(value)))
        elif name == "TCP_KEEPIDLE":
            self._host.renew(replace(settings, keepalive_idle=value * SECOND))
        elif name == "TCP_KEEPINTVL":
            self._host.renew(replace(settings, keepalive_interval=value * SECOND))
        elif name == "TCP_KEEPCNT":
            self._host.renew(replace(settings, keepalive_count=max(value, 2)))
        else:
            raise UnsupportedError(call.line, f"setsockopt() of {name or 'a number'}")
        self._host.flush()
        return 0

    def _set_congestion(self, call: Call) -> Outcome:
        chosen = ALGORITHMS.get(self._text(call, 3))
        if chosen is None:
            return -errno.ENOENT  # as Linux says
        old = self._host.conn
        self._host.renew(replace(self._host.settings, congestion=chosen))
        if self._host.conn is old:  # else it is a new one, and has it
            control = chosen(old.mss)
            control.cwnd, control.ssthresh = old.cc.cwnd, old.cc.ssthresh
            old.cc = control
        self._host.flush()
        return 0

    def _text(self, call: Call, index: int) -> str:
        value = call.arguments[index] if index < len(call.arguments) else None
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str):
            raise FailureError(f"{call.name}() needs text as argument {index + 1}")
        return value


def _named(factory: CongestionFactory) -> str:
    return next(name for name, known in ALGORITHMS.items() if known is factory)


def _names(value: Value) -> set[str]:
    return set(value.text.split("|")) if isinstance(value, Word) else set()
