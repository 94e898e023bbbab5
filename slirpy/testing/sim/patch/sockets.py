"""``socket``, ``select``, ``selectors`` and ``ssl`` in programs: those of their host."""

from __future__ import annotations

import select
import selectors
import socket
import ssl
from functools import partial
from typing import Any

from slirpy.testing.sim import names
from slirpy.testing.sim.current import current_host
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.processes import refusal
from slirpy.testing.sim.patch.switches import Replacements
from slirpy.testing.sim.socketapi.ends import FIRST_DESCRIPTOR, close_descriptor, descriptors
from slirpy.testing.sim.socketapi.polling import SimEpoll, SimPoll, select_ends
from slirpy.testing.sim.socketapi.simsocket import SimSocket, pair
from slirpy.testing.sim.socketapi.tls import SimTLSSocket, wrap_socket
from slirpy.testing.sim.waiting import current_waiter, wait_for

__all__ = ["replace_sockets"]

_REAL_NEW = socket.socket.__new__
_REAL_WRAP = ssl.SSLContext.wrap_socket
_REAL_CLOSE = socket.close


def _new(cls: type[socket.socket], /, *args: Any, **kwargs: Any) -> socket.socket:
    """Make a simulated socket where a program makes a socket."""
    host = current_host()
    if host is None or "socket" not in host.net.patch:
        return _REAL_NEW(cls)
    if cls is socket.socket:
        return _REAL_NEW(SimSocket)
    if issubclass(cls, SimSocket):
        return _REAL_NEW(cls)
    refused: socket.socket = refusal(
        f"a subclass of socket.socket, {cls.__module__}.{cls.__qualname__}", "use socket.socket itself"
    )(host)
    return refused


class _Answer:
    """Addresses of a name that a host has asked for."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self._found: list[bytes] | None = None
        self._waits = True
        self._calls: list[Any] = []
        host.lookup(name, self._done)

    def _done(self, found: list[bytes] | None) -> None:
        self._found, self._waits = found, False
        for call in tuple(self._calls):
            call()

    def watch(self, call: Any) -> None:
        self._calls.append(call)

    def unwatch(self, call: Any) -> None:
        self._calls.remove(call)

    def get(self) -> list[bytes] | None:
        if self._waits:
            raise BlockingIOError
        return self._found


def _resolve(host: Host, name: str) -> list[bytes] | None:
    """Return the addresses of a name, which takes its time if the host asks a DNS server; None: nobody answers."""
    if current_waiter() is None or not names.asks_a_server(host, name):
        return host.net.resolve(name)
    answer = _Answer(host, name)
    return wait_for(answer, "socket.getaddrinfo()", answer.get, None)


def _getaddrinfo(
    host: Host,
    name: Any,
    port: Any,
    family: int = 0,
    type: int = 0,  # noqa: A002 - the name of socket.getaddrinfo
    proto: int = 0,
    flags: int = 0,
) -> list[Any]:
    found = names.getaddrinfo(host, name, port, family, type, proto, flags, partial(_resolve, host))
    return [(socket.AddressFamily(a), socket.SocketKind(b), *rest) for a, b, *rest in found]


def _gethostbyname(host: Host, name: str, /) -> str:
    return _gethostbyname_ex(host, name)[2][0]


def _gethostbyname_ex(host: Host, name: str, /) -> tuple[str, list[str], list[str]]:
    found = _getaddrinfo(host, name, 0, socket.AF_INET, socket.SOCK_STREAM)
    return name, [], [each[4][0] for each in found]


def _gethostbyaddr(host: Host, name: str, /) -> tuple[str, list[str], list[str]]:
    address = _getaddrinfo(host, name, 0, type=socket.SOCK_STREAM)[0][4]
    try:
        found, _ = names.getnameinfo(host, address, socket.NI_NAMEREQD)
    except socket.gaierror:
        raise socket.herror(1, "Unknown host") from None
    return found, [], [address[0]]


def _getnameinfo(host: Host, address: Any, flags: int, /) -> tuple[str, str]:
    return names.getnameinfo(host, address, flags)


def _gethostname(host: Host) -> str:
    return host.name


def _socketpair(host: Host, family: Any = None, type: int = 1, proto: int = 0) -> Any:  # noqa: A002
    if type & ~(getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)) != socket.SOCK_STREAM:
        refusal("socket.socketpair() of datagrams", "use SOCK_STREAM")(host)
    return pair(host)


def _fromfd(host: Host, fd: int, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002
    return SimSocket.of(descriptors(host.net).find(fd).acquire())


def _close(host: Host, fd: int, /) -> None:
    if fd < FIRST_DESCRIPTOR:
        _REAL_CLOSE(fd)
        return
    close_descriptor(host.net, fd)


def _wrap(host: Host, context: ssl.SSLContext, sock: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(sock, SimTLSSocket):
        refusal("TLS within TLS", "wrap a plain socket")(host)
    if isinstance(sock, SimSocket):
        return wrap_socket(context, sock, *args, **kwargs)
    return _REAL_WRAP(context, sock, *args, **kwargs)


def replace_sockets(all_of_it: Replacements) -> None:
    """Replace everything that makes sockets, resolves names, or waits for sockets."""
    for name, simulated in (
        ("getaddrinfo", _getaddrinfo),
        ("gethostbyname", _gethostbyname),
        ("gethostbyname_ex", _gethostbyname_ex),
        ("gethostbyaddr", _gethostbyaddr),
        ("getnameinfo", _getnameinfo),
        ("gethostname", _gethostname),
        ("socketpair", _socketpair),
        ("fromfd", _fromfd),
        ("close", _close),
        ("sethostname", refusal("socket.sethostname", "choose the name by net.host(name)")),
        ("if_nameindex", refusal("socket.if_nameindex", "hosts have one interface")),
        ("send_fds", refusal("socket.send_fds", "there are no processes that could have them")),
        ("recv_fds", refusal("socket.recv_fds", "there are no processes that could have them")),
    ):
        real = getattr(socket, name, None)
        if real is not None:
            all_of_it.value("socket", real, simulated)
    all_of_it.attribute(socket.socket, "__new__", _new)
    all_of_it.method("socket", ssl.SSLContext, "wrap_socket", _wrap)
    all_of_it.value("socket", select.select, select_ends)
    for name, simulated_class in (("poll", SimPoll), ("epoll", SimEpoll)):
        real = getattr(select, name, None)
        if real is not None:
            all_of_it.value("socket", real, simulated_class)
    for name in ("kqueue", "devpoll"):
        if hasattr(select, name):
            instead = "use selectors.PollSelector, or select.poll()"
            all_of_it.value("socket", getattr(select, name), refusal(f"select.{name}", instead))
    if hasattr(selectors, "KqueueSelector"):
        all_of_it.value("socket", selectors.KqueueSelector, lambda host: selectors.PollSelector())
