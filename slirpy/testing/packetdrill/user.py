"""The user of the connection: writes and reads, checks every byte, and the actions of scripts without sockets."""

from __future__ import annotations

from slirpy.tcp import Connection, State
from slirpy.testing.packetdrill import language
from slirpy.testing.packetdrill.host import FailureError, Host, pattern
from slirpy.testing.packetdrill.script import Call, UnsupportedError

__all__ = ["User"]

MOST_BYTES = 1 << 26
"""Maximum bytes of one call: a foreign script must not fill the memory."""


class User:
    """The data written and read so far."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._conn = host.conn
        self._written = 0
        self._taken = 0
        self._error_told = False
        self.blocked_at = 0
        """Time at which the blocking call was made."""

    def _look(self) -> Connection:
        """Return the current connection; counting restarts with a new one."""
        if self._conn is not self._host.conn:
            self._conn = self._host.conn
            self._written = self._taken = 0
            self._error_told = False
        return self._conn

    @property
    def error(self) -> int:
        """Return the error that closed the connection, until it has been reported."""
        error = self._look().error
        return 0 if self._error_told else error

    def take_error(self) -> int:
        """Return the error that closed the connection, and mark it as reported."""
        error = self.error
        self._error_told = self._error_told or bool(error)
        return error

    def write(self, count: int, *, urgent: bool = False) -> None:
        """Write the next ``count`` bytes of the pattern.

        Raises:
            FailureError: too many bytes for a test.
        """
        if count > MOST_BYTES:
            raise FailureError(f"write() of {count} bytes; the maximum is {MOST_BYTES}")
        data = pattern(self._written, count)
        self._written += count
        if urgent:
            self._look().write_urgent(data)
        else:
            self._look().write(data)

    def read(self, most: int, *, peek: bool = False) -> int:
        """Read up to ``most`` bytes and check that they are those that the peer has sent; or only peek at them.

        Raises:
            FailureError: the bytes differ.
        """
        conn = self._look()
        data = b"".join(conn.rcv_queue)
        if len(data) != conn.rcv_pending:
            raise FailureError(f"there are {len(data)} bytes to read, and {conn.rcv_pending} are counted")
        data = data[:most]
        if data != pattern(self._taken, len(data)):
            raise FailureError(f"the bytes from {self._taken + 1} on are not those that were received")
        if not peek:
            self._taken += len(data)
            conn.consume(len(data))
        return len(data)

    def act(self, call: Call) -> int | None:
        """Perform an action of a script without sockets, and return the value that it may assert.

        Raises:
            FailureError: the action cannot be performed.
        """
        host, conn = self._host, self._host.conn
        found: int | None = None
        numbers = [value for value in call.arguments if isinstance(value, int)]
        known = {text.partition("(")[0]: text for text in language.ACTIONS}
        if call.name not in known:
            why = f"{call.name}() in a script with --open; there are {', '.join(known.values())}"
            raise UnsupportedError(call.line, why)
        if len(numbers) != len(call.arguments) or len(numbers) > 1 or any(number < 0 for number in numbers):
            raise FailureError(f"write {known[call.name]}")
        if call.name in ("write", "urgent"):
            if not numbers:
                raise FailureError(f"{call.name}(N) needs a number of bytes")
            if conn.state is State.CLOSED or conn.fin_queued:
                why = f"the connection is {conn.state.value}, or our direction has ended"
                raise FailureError(f"{call.name}(): {why}")
            self.write(numbers[0], urgent=call.name == "urgent")
            found = numbers[0]
        elif call.name == "read":
            found = self.read(numbers[0] if numbers else conn.rcv_pending)
            if numbers and call.result is None and found != numbers[0]:
                raise FailureError(f"read({numbers[0]}): only {found} bytes have arrived")
        elif call.name == "close":
            host.listening = host.listening and conn.state is not State.LISTEN
            conn.close()
        else:
            conn.abort()
        host.flush()
        return found
