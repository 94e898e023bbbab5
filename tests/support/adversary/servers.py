"""Servers and proxies of the outside world."""

from __future__ import annotations

from random import Random

from tests.support.adversary.judge import Judge, Listener, Opened

_ANSWERS = (
    b"",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"SSH-2.0-server\r\n",
)


class Server(Listener):
    """A server that answers anything.

    Args:
        random: chooses the answers.
        judge: knows of all connections.
    """

    def __init__(self, random: Random, judge: Judge) -> None:
        super().__init__()
        self._random = random
        self._judge = judge
        self._began = 0
        self.news = False
        """True if it has heard something since the judge looked."""
        self.heard = bytearray()
        self.switched = False
        """True if it has agreed to another protocol."""

    @property
    def goal(self) -> tuple[str, int]:
        """The place that the client wanted to reach."""
        return self.place

    @property
    def opened(self) -> Opened | None:
        """The judge's record of the connection; None if it has not seen it."""
        return self._judge.opened.get((*self.place, self._began))

    def on_established(self) -> None:
        """See :class:`~slirpy.testing.Remote`."""
        host = self._judge.net.host
        self._began = host.now - host.latency_ns

    def on_data(self, data: bytes) -> None:
        """See :class:`~slirpy.testing.Remote`."""
        self.news = True
        self.heard += data
        answer = self._random.choice(_ANSWERS)
        self.switched = self.switched or b" 101 " in answer
        self.write(answer)


class Proxy(Server):
    """A proxy of either kind, which tells the judge what it is asked for."""

    def __init__(self, random: Random, judge: Judge) -> None:
        super().__init__(random, judge)
        self._opened: Opened | None = None
        self._goal: tuple[str, int] | None = None
        self._start = b""

    @property
    def goal(self) -> tuple[str, int]:
        """See :class:`Server`."""
        return self.place if self._goal is None else self._goal

    @property
    def opened(self) -> Opened | None:
        """See :class:`Server`."""
        return self._opened

    def on_data(self, data: bytes) -> None:
        """See :class:`~slirpy.testing.Remote`."""
        if self._goal is not None:
            super().on_data(data)
            return
        self._start += data
        if self._start[:1] == b"\5":
            self._socks()
        else:
            self._connect()

    def _asked(self, host: str | bytes, port: int, size: int) -> None:
        proxy = self.place[0]
        self._opened = self._judge.proxied(proxy, host, port)
        shown = host if isinstance(host, str) else _text(host)
        self._goal = f"{proxy} {shown}", port
        if rest := self._start[size:]:
            super().on_data(rest)

    def _connect(self) -> None:
        head, end, _ = self._start.partition(b"\r\n\r\n")
        if not end:
            return
        words = head.split(b" ")
        if words[0] != b"CONNECT":
            self._judge.fault(f"the proxy {self.place[0]} heard {head[:60]!r}")
            return
        host, _, port = words[1].decode().rpartition(":")
        self.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self._asked(_place(host), int(port), len(head) + 4)

    def _socks(self) -> None:
        start = self._start
        if len(start) == 2 + start[1]:
            self.write(b"\5\0")
        at = 2 + start[1]
        if len(start) < at + 5:
            return
        kind = start[at + 3]
        size = {1: 4, 4: 16, 3: start[at + 4] + 1}[kind]
        if len(start) < at + 6 + size:
            return
        host = start[at + 4 : at + 4 + size]
        port = int.from_bytes(start[at + 4 + size : at + 6 + size], "big")
        self.write(b"\5\0\0\1" + bytes(6))
        self._asked(host[1:].decode() if kind == 3 else host, port, at + 6 + size)


def _place(text: str) -> str | bytes:
    from ipaddress import ip_address

    try:
        return ip_address(text.strip("[]")).packed
    except ValueError:
        return text


def _text(host: bytes) -> str:
    from ipaddress import ip_address

    return str(ip_address(host))
