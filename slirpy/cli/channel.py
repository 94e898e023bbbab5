"""Messages between ``slirpy run`` and the first process of the namespaces: small JSON objects, and descriptors."""

from __future__ import annotations

import json
import os
import socket
from typing import Any, TypeAlias

from slirpy.errors import LinkError

Message: TypeAlias = dict[str, Any]
_LONGEST = 65536
_LINE_MAX = 1000


class GoneError(Exception):
    """The other side has ended or given up."""


class Channel:
    """One end of a socket pair that preserves message boundaries. If either process ends, the other is notified."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Create two connected ends."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(left), Channel(right)

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._sock.fileno()

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send a message, and a descriptor with it. A closed far end is not an error here: receiving reports it."""
        descriptors = [] if descriptor is None else [descriptor]
        try:
            socket.send_fds(self._sock, [json.dumps(message).encode()], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> tuple[Message, int | None] | None:
        """Wait for a message, and the descriptor that may come with it.

        Returns None when the far end has closed, or has sent anything but a message.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, _LONGEST, 1)
        except ConnectionResetError:
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        try:
            message = json.loads(data) if data else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        return message, descriptors[0] if descriptors else None

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def whole(message: Message, key: str, largest: int) -> int:
    """A whole number of a message; 0 if it is anything else, or out of range."""
    value = message.get(key)
    return value if type(value) is int and 0 <= value <= largest else 0


def line(message: Message, key: str) -> str:
    """A text of a message, as one line without control characters."""
    value = message.get(key)
    text = value if isinstance(value, str) else f"unexpected message {message!r}"
    return "".join(each if each.isprintable() else " " for each in text)[:_LINE_MAX]


def expect(channel: Channel, what: str) -> Message:
    """Wait for a message that contains a key.

    Raises:
        GoneError: another one came, or the far end has closed.
    """
    received = channel.receive()
    if received is None or what not in received[0]:
        raise GoneError
    return received[0]


def answer(
    channel: Channel, what: str, process: str = "the process that entered the namespace"
) -> tuple[Message, int | None]:
    """Wait for an answer of a process in a namespace: a message that contains a key, and its descriptor.

    Raises:
        LinkError: the process reports an error, or has ended.
    """
    received = channel.receive()
    if received is None:
        raise LinkError(f"{process} was killed; was memory short?")
    if what not in received[0]:
        raise LinkError(line(received[0], "error"))
    return received
