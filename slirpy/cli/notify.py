"""Messages to the service manager that has started this process, as systemd reads them (sd_notify(3)).

Each is one datagram to the socket that ``NOTIFY_SOCKET`` names. Nothing here needs systemd: whoever sets this
variable gets them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from slirpy.cli.streams import tell
from slirpy.units import SECOND, US

__all__ = ["Notifier"]

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_SECOND_USEC = SECOND // US


class Notifier:
    """Tells the service manager about the life of this process. Without one, does nothing.

    The variables are taken out of the environment, so that programs started by this one do not speak for it. The
    socket is connected at once, since a sandbox may prevent that later.
    """

    def __init__(self) -> None:
        found = {name: os.environ.pop(name, "") for name in _VARIABLES}
        self._sock = _connected(found["NOTIFY_SOCKET"])
        self._status = ""
        self._every = _watchdog(found) if self._sock is not None else 0.0
        self._due = 0.0

    @property
    def active(self) -> bool:
        """True if somebody is notified."""
        return self._sock is not None

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is complete."""
        self._status = status
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """Describe the state, if that is news."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """Say that a reload begins. :meth:`ready` ends it, whether or not it worked."""
        self._send(
            "RELOADING=1",
            f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}",
            "STATUS=Reloading",
        )

    def stopping(self) -> None:
        """Say that the end begins."""
        self._send("STOPPING=1", "STATUS=Stopping")

    def look(self) -> float:
        """Report to the watchdog when that is due. Returns the seconds until it is due again."""
        if not self._every:
            return float("inf")
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every
            self._send("WATCHDOG=1")
        return self._due - now

    def beside(self, others: Callable[[], float] | None) -> Callable[[], float] | None:
        """Return a function for the loop that does what ``others`` does, and :meth:`look`. None: nothing is to do."""
        if not self.active:
            return others
        if others is None:
            return self.look
        return lambda: min(others(), self.look())

    def close(self) -> None:
        """Close the socket. Harmless when repeated."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, *lines: str) -> None:
        if self._sock is None:
            return
        try:
            self._sock.send("\n".join(line.replace("\n", " ") for line in lines).encode())
        except OSError:
            pass  # the manager restarts, or is slow; the service goes on


def _connected(name: str) -> socket.socket | None:
    """A socket that is connected to the manager's; None: there is none."""
    if not name:
        return None
    sock = None
    try:
        if name[0] not in "/@":
            raise OSError("it must begin with / or @")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.connect("\0" + name[1:] if name[0] == "@" else name)
        sock.settimeout(1.0)
    except (OSError, ValueError) as error:
        if sock is not None:
            sock.close()
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        tell(f'NOTIFY_SOCKET "{name}": {why.lower()}; nobody is notified', level="warning")
        return None
    return sock


def _watchdog(found: dict[str, str]) -> float:
    """Seconds between two reports to the watchdog, half of its limit; 0: there is none for this process."""
    usec, number = found["WATCHDOG_USEC"], found["WATCHDOG_PID"]
    if number and number != str(os.getpid()):
        return 0.0
    return int(usec) / _SECOND_USEC / 2 if usec.isascii() and usec.isdigit() and len(usec) < 18 else 0.0
