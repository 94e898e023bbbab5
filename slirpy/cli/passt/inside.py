"""A process in the namespace of pasta: it makes the TAP interface, configures the namespace, and opens sockets there.

A socket belongs to the namespace of the process that opened it, so one process stays inside for as long as ports are
relayed, and passes sockets out. It also passes out the tables of sockets in /proc/net, which show the namespace in
which they were opened, whoever reads them.

The conversation, over a :class:`~slirpy.cli.channel.Channel`:

========================  ====================================================
from inside               to inside
========================  ====================================================
``tap`` + descriptor      ``settings``
``table`` + descriptor,
for each of :data:`TABLES`
``ready``                 ``socket`` (kind), ``family``, and ``bind`` (address
                          and port, or null), any number of times, answered in
                          order
``socket`` (errno) and a
descriptor
``error`` (text)          (up to ``ready``, in place of the others)
========================  ====================================================
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface
from typing import Any, NoReturn

from slirpy.cli import linux
from slirpy.cli.attach.target import Namespaces
from slirpy.cli.channel import Channel, GoneError, Message, answer, expect, whole
from slirpy.cli.rtnetlink import Interfaces, Route
from slirpy.errors import LinkError
from slirpy.records import NamedTuple

__all__ = ["TABLES", "Inside", "InsideSettings"]

TABLES = ("tcp", "tcp6", "udp", "udp6")
"""Tables of sockets in /proc/net."""
ASKED_MAX = 32
"""Largest number of requests at the process inside. Further ones wait here, so that sending never blocks."""
_BACKLOG = 128

Taker = Callable[[socket.socket | None], None]


class InsideSettings(NamedTuple):
    """Configuration of the namespace."""

    configure: bool
    """Configure addresses and routes; otherwise only the loopback interface comes up."""
    mtu: int
    """0: the kernel's choice stays."""
    mac: str
    """MAC address of the interface; empty: the kernel's choice stays."""
    ipv6: bool
    addresses: Sequence[tuple[str, int]]
    """Addresses, and the length of their prefixes."""
    routes: Sequence[Any]
    """Family and parts of each :class:`~slirpy.cli.rtnetlink.Route`, with attributes in hexadecimal digits."""
    gateways: Sequence[str]
    """Gateways of default routes, which are made where ``routes`` contains none."""


class Inside:
    """The process inside, seen from outside. Use it as a context manager.

    Args:
        namespaces: the namespaces to enter.
        tap: name of the interface to make.
    """

    def __init__(self, namespaces: Namespaces, tap: str) -> None:
        self._asking: deque[tuple[Message, Taker]] = deque()
        self._asked: deque[tuple[Message, Taker]] = deque()
        self._channel, inner = Channel.pair()
        self._child: int | None = os.fork()
        if self._child == 0:
            self._channel.close()
            _live(inner, namespaces, tap)
        inner.close()
        self.tap = -1
        """Descriptor of the interface. The caller must close it."""
        self.tables: dict[str, int] = {}
        """Descriptor of each table of sockets that the kernel has."""
        try:
            self.tap = answer(self._channel, "tap")[1] or -1
            if self.tap < 0:
                raise LinkError(
                    "the TAP device was opened but did not arrive: out of descriptors? see `ulimit -n`"
                )
            for name in TABLES:
                descriptor = answer(self._channel, "table")[1]
                if descriptor is not None:
                    self.tables[name] = descriptor
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`read` has something to read."""
        return self._channel.fileno()

    def configure(self, settings: InsideSettings) -> None:
        """Configure the namespace.

        Raises:
            LinkError: the system refused.
        """
        self._channel.send({"settings": settings})
        answer(self._channel, "ready")

    def open_socket(self, kind: socket.SocketKind, done: Taker, family: int = socket.AF_INET) -> None:
        """Request a socket of the namespace. :meth:`read` calls ``done`` with it, or with None."""
        self._ask({"socket": int(kind), "family": int(family), "bind": None}, done)

    def bind(self, kind: socket.SocketKind, family: int, address: str, port: int, done: Taker) -> None:
        """Request a socket that is bound inside, and listens if it is one of TCP; see :meth:`open_socket`."""
        self._ask({"socket": int(kind), "family": int(family), "bind": [address, port]}, done)

    def _ask(self, message: Message, done: Taker) -> None:
        if self._child is None:
            done(None)
            return
        self._asking.append((message, done))
        self._send()

    def _send(self) -> None:
        while self._asking and len(self._asked) < ASKED_MAX:
            self._asked.append(self._asking.popleft())
            self._channel.send(self._asked[-1][0])

    def read(self) -> bool:
        """Handle a message from inside. Returns False if the process inside has ended."""
        received = self._channel.receive()
        if received is None:
            while self._asked or self._asking:
                (self._asked or self._asking).popleft()[1](None)
            return False
        message, descriptor = received
        if "socket" in message and self._asked:
            asked, done = self._asked.popleft()
            self._send()
            sock = None
            if descriptor is not None:
                sock = socket.socket(asked["family"], asked["socket"], 0, descriptor)
            done(sock)
        elif descriptor is not None:
            os.close(descriptor)
        return True

    def close(self) -> None:
        """End the process inside. Harmless when repeated."""
        self._channel.close()
        for descriptor in self.tables.values():
            os.close(descriptor)
        self.tables.clear()
        if self._child is not None:
            child, self._child = self._child, None
            try:
                os.waitpid(child, 0)
            except ChildProcessError:
                pass  # the program ignores SIGCHLD


def _live(channel: Channel, namespaces: Namespaces, tap: str) -> NoReturn:
    """Act as the process inside, newly forked."""
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the end of the conversation is the end
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # a caller waits for the end of its pipes
            os.dup2(null, standard)
        _enter(channel, namespaces, tap)
        _configure(channel, tap)
        while True:
            _open(channel)
    except GoneError:
        pass
    except Exception as error:
        # Report every exception to the other side: nothing would catch it here, in a copy of the program.
        channel.send({"error": str(error) or type(error).__name__})
    finally:
        os._exit(0)


def _enter(channel: Channel, namespaces: Namespaces, tap: str) -> None:
    from slirpy.links.tuntap import open_tap

    for descriptor, flag, kind in (
        (namespaces.user, linux.CLONE_NEWUSER, "user"),
        (namespaces.net, linux.CLONE_NEWNET, "network"),
    ):
        if descriptor is not None:
            try:
                linux.setns(descriptor, flag)
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                raise LinkError(
                    f"cannot enter the {kind} namespace: {why}; it takes the user who made it, or root"
                ) from None
    descriptor, _ = open_tap(tap)
    channel.send({"tap": tap}, descriptor)
    os.close(descriptor)
    for name in TABLES:
        try:
            table = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            channel.send({"table": name})  # a kernel without IPv6
            continue
        channel.send({"table": name}, table)
        os.close(table)


def _configure(channel: Channel, tap: str) -> None:
    settings = InsideSettings(*expect(channel, "settings")["settings"])
    try:
        with Interfaces() as interfaces:
            interfaces.bring_up("lo")
            mac = bytes.fromhex(settings.mac.replace(":", "")) or None
            if settings.configure:
                _set_up(interfaces, tap, settings, mac)
            elif mac is not None:
                interfaces.set_mac(tap, mac)
    except OSError as error:
        raise LinkError(
            f"cannot configure {tap} in the namespace: {(error.strerror or str(error)).lower()}"
        ) from None
    channel.send({"ready": True})


def _set_up(interfaces: Interfaces, tap: str, settings: InsideSettings, mac: bytes | None) -> None:
    from slirpy.cli import namespace

    namespace.set_ipv6_parameters(tap, ipv6=settings.ipv6)
    interfaces.bring_up(tap, mac=mac, mtu=settings.mtu or None)
    has_ipv6 = os.path.exists(f"/proc/sys/net/ipv6/conf/{tap}")
    for address, prefix in settings.addresses:
        if ":" not in address:
            interfaces.add_address(tap, address, prefix, _broadcast(address, prefix))
        elif has_ipv6:
            interfaces.add_address(tap, address, prefix)
    routes = [
        (
            family,
            Route(0, prefix, protocol, scope, flags, {int(k): bytes.fromhex(v) for k, v in attributes.items()}),
        )
        for family, prefix, protocol, scope, flags, attributes in settings.routes
        if family == socket.AF_INET or has_ipv6
    ]
    for _ in range(2):  # a route may need another one, that to its gateway
        left = []
        for family, route in routes:
            try:
                interfaces.add_route(tap, family, route)
            except OSError:
                left.append((family, route))
        routes = left
    for gateway in settings.gateways:
        if ":" not in gateway or has_ipv6:
            interfaces.add_default_route(tap, gateway, on_link=True)


def _broadcast(address: str, prefix: int) -> str | None:
    network = IPv4Interface(f"{address}/{prefix}").network
    return None if prefix > 30 else str(network.broadcast_address)


def _open(channel: Channel) -> None:
    """Answer a request for a socket."""
    message = expect(channel, "socket")
    family, kind = whole(message, "family", 255), whole(message, "socket", 255)
    try:
        with socket.socket(family, kind) as sock:
            if message["bind"] is not None:
                address, port = message["bind"]
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(_BACKLOG)
            channel.send({"socket": 0}, sock.fileno())
    except OSError as error:
        channel.send({"socket": error.errno})
