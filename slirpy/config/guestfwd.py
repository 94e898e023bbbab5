"""Rules for addresses of the virtual network at which a service of the host answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TypeAlias

from slirpy.addresses import AnyAddress, IPAddress, address_object, port_number, scoped_address
from slirpy.checks import is_whole, switch, whole
from slirpy.config.text import PORT_MAX, bracketed, decimal, parse_address, with_port
from slirpy.config.values import as_text, function, host_name, path
from slirpy.errors import ConfigError
from slirpy.interfaces import FlowRequest, StreamOwner, StreamPeer

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = [
    "Command",
    "GuestForward",
    "HostTarget",
    "StreamFactory",
    "Target",
    "TcpTarget",
    "UnixTarget",
    "make_guestfwd",
    "parse_guestfwd",
    "parse_target",
]


@dataclass(frozen=True, slots=True)
class Command:
    """A program started for each connection, with the connection as its standard input and output.

    Raises:
        ConfigError: ``argv`` is not a list of texts.
    """

    argv: tuple[str, ...]
    """The program and its arguments, passed without a shell."""
    tcp: bool = False
    """Give it a TCP socket on the host's loopback, for programs that accept nothing else; otherwise a socket pair."""
    quiet: bool = False
    """Discard its standard error instead of sending it to slirpy's own."""

    def __post_init__(self) -> None:
        argv = self.argv
        if not isinstance(argv, tuple | list) or not argv or not all(isinstance(part, str) for part in argv):
            raise ConfigError(f'a command is a list of texts, such as ("cat", "-u"); given was {argv!r}')
        object.__setattr__(self, "argv", tuple(argv))
        switch("tcp", self.tcp)
        switch("quiet", self.quiet)

    def __str__(self) -> str:
        import shlex  # takes longer than this module

        return f"cmd:{shlex.join(self.argv)}"


@dataclass(frozen=True, slots=True)
class UnixTarget:
    """A listening Unix socket of the host.

    Raises:
        ConfigError: ``path`` is not text, or empty.
    """

    path: str

    def __post_init__(self) -> None:
        path("the path of a guestfwd's target", self.path)
        as_text("the path of a guestfwd's target", self.path)

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True, init=False)
class TcpTarget:
    """A listening TCP socket, anywhere that the host reaches.

    Raises:
        ConfigError: an invalid address or port.
    """

    address: IPAddress
    """Given as text, an :mod:`ipaddress` object, or four or sixteen bytes. A link-local one has the interface as its
    ``scope_id``."""
    port: int

    def __init__(self, address: AnyAddress, port: int) -> None:
        put = object.__setattr__
        put(self, "address", scoped_address("the target of a guestfwd", address))
        put(self, "port", port_number("the port of a guestfwd's target", port, 1))

    def __str__(self) -> str:
        return f"tcp:{with_port(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class HostTarget:
    """A listening TCP socket of a named host. The name is looked up for each connection.

    The name is asked of the host's own resolver library; all its addresses are tried in their order.

    Raises:
        ConfigError: an invalid name or port.
    """

    name: str
    port: int

    def __post_init__(self) -> None:
        host_name("the target of a guestfwd", self.name)
        if self.name.rpartition(".")[2].isdigit():
            raise ConfigError(
                f'the target of a guestfwd "{self.name}" is not an IP address, and not a name either'
            )
        whole("the port of a guestfwd's target", self.port, 1, PORT_MAX)

    def __str__(self) -> str:
        return f"tcp:{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class StreamFactory:
    """A callable of the embedding program that makes the far end of each connection, without a socket in between.

    It gets the :class:`~slirpy.interfaces.StreamOwner`, which it must notify once the far end is connected, and the
    guest's request. It works in virtual time too, and must not block. Its exceptions propagate from the call that
    drives the network.

    Raises:
        ConfigError: not callable, or a coroutine function.
    """

    open: Callable[[StreamOwner, FlowRequest], StreamPeer]

    def __post_init__(self) -> None:
        function("the function of a StreamFactory", self.open, " of a StreamOwner and a FlowRequest")

    def __str__(self) -> str:
        return f"factory:{_name(self.open)}"


Target: TypeAlias = (
    Command | UnixTarget | TcpTarget | HostTarget | StreamFactory | Callable[..., Awaitable[None] | None]
)
"""Types of far ends; see :class:`GuestForward`."""


@dataclass(frozen=True, slots=True, init=False)
class GuestForward:
    """An address and port that guests can connect to, and the target that answers there.

    Raises:
        ConfigError: one of the three is invalid.
    """

    server: IPAddress | None
    """An address of the virtual network that no guest has, or any address outside it; None: every address
    outside of it, the gateway and the other servers."""
    port: int | None
    """1 to 65535; None: every port."""
    target: Target
    """The far end:

    - a :class:`Command`, :class:`UnixTarget`, :class:`TcpTarget` or :class:`HostTarget`, or their text:
      ``cmd:COMMAND``, ``unix:/path``, ``tcp:host:port``;
    - a coroutine function ``async def handler(reader, writer)``, as :func:`asyncio.start_server` takes it. It runs in
      the event loop that drives the network, or, if there is none, in slirpy's loop in a background thread;
    - any other callable ``handler(connection, flow)``, called in a separate thread with a blocking
      :class:`socket.socket` and the :class:`~slirpy.interfaces.FlowRequest`;
    - a :class:`StreamFactory`.
    """

    def __init__(self, server: AnyAddress | None, port: int | None, target: Target | str) -> None:
        shown = "*" if server is None else server if isinstance(server, str) else repr(server)
        if server is not None:
            try:
                server = address_object("server", server)
            except ConfigError:
                raise ConfigError(
                    f'guestfwd {shown}:{"*" if port is None else port}: server "{shown}" is not an IP address'
                ) from None
            shown = bracketed(server)
        where = f"guestfwd {shown}:{'*' if port is None else port}"
        if port is not None and not (is_whole(port) and 1 <= port <= PORT_MAX):
            raise ConfigError(
                f"{where}: port {port!r} is not a number from 1 to {PORT_MAX}, or None for every port"
            )
        if isinstance(target, str):
            target = parse_target(target, where)
        elif isinstance(target, Command | UnixTarget):
            parse_target(str(target), where)  # reject what text could not have expressed
        elif not isinstance(target, TcpTarget | HostTarget | StreamFactory) and not callable(target):
            raise ConfigError(f"{where}: {target!r} can be no target; see GuestForward.target")
        for name, value in (("server", server), ("port", port), ("target", target)):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        target = self.target
        written = isinstance(target, Command | UnixTarget | TcpTarget | HostTarget | StreamFactory)
        told = str(target) if written else _name(target)
        server = "*" if self.server is None else bracketed(self.server)
        return f"tcp:{server}:{self.port or '*'}-{told}"


_HELP = (
    "write [tcp]:server:port-TARGET with TARGET cmd:COMMAND, unix:/path or tcp:host:port,"
    " such as tcp:10.0.2.100:80-tcp:127.0.0.1:8080 or tcp:[fec0::100]:80-tcp:[::1]:8080;"
    " * stands for every server or port"
)


_PLACE = r"([^:]*):(\[[^\[\]]*\]|[^:]*):([^:]*)"


def parse_guestfwd(rule: str) -> GuestForward:
    """Read a rule ``[tcp]:server:port-TARGET``.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("guestfwd", rule)
    left, dash, target = rule.partition("-")
    parts = re.fullmatch(_PLACE, left)
    if not dash or parts is None:
        raise ConfigError(f'guestfwd "{rule}": malformed; {_HELP}')
    protocol, server, port = parts.groups()
    if protocol not in ("", "tcp"):
        raise ConfigError(f'guestfwd "{rule}": protocol "{protocol}" is not tcp; {_HELP}')
    return GuestForward(_server(rule, server), _port(rule, port), parse_target(target, f'guestfwd "{rule}"'))


def _server(rule: str, text: str) -> IPAddress | None:
    if text == "*":
        return None
    try:
        return parse_address("server", text)
    except ConfigError as error:
        raise ConfigError(f'guestfwd "{rule}": {error}, or *; {_HELP}') from None


def _port(rule: str, text: str) -> int | None:
    if text == "*":
        return None
    port = decimal(text, 1, PORT_MAX)
    if port is None:
        raise ConfigError(f'guestfwd "{rule}": port "{text}" is not a number from 1 to {PORT_MAX} or *')
    return port


def parse_target(text: str, where: str) -> Command | UnixTarget | TcpTarget | HostTarget:
    """Read ``cmd:COMMAND``, ``unix:/path`` or ``tcp:host:port``.

    QEMU's options of a client's character device may follow the last two, such as ``,server=off``.

    Args:
        where: begins the text of an error.

    Raises:
        ConfigError: not in any of these forms.
    """
    kind, _, rest = text.partition(":")
    if "\0" in text:
        raise ConfigError(f"{where}: the target has a NUL byte in it, which no program and no path can have")
    if kind == "cmd":
        import shlex

        try:
            argv = tuple(shlex.split(rest))
        except ValueError as error:
            raise ConfigError(f"{where}: the command cannot be read: {str(error).lower()}") from None
        if not argv:
            raise ConfigError(f"{where}: there is no command after cmd:")
        return Command(argv)
    if kind in ("unix", "tcp"):
        rest = _without_options(rest, where)
    if kind == "unix" and rest:
        return UnixTarget(rest)
    if kind == "tcp":
        return _tcp_target(rest, where)
    if kind in _CHARDEVS or text.startswith("/dev/"):
        raise ConfigError(
            f'{where}: target "{text}" is a character device of QEMU\'s, which only QEMU has; name what is behind it'
            " as tcp:host:port, unix:/path or cmd:COMMAND"
        )
    raise ConfigError(f'{where}: target "{text}" is none of cmd:COMMAND, unix:/path, tcp:host:port')


_CHARDEVS = (
    "chardev", "mon", "stdio", "pty", "null", "vc", "con", "file", "pipe", "udp", "telnet", "tn3270", "websocket",
    "serial", "spicevmc", "msmouse", "braille", "testdev",
)  # fmt: skip
"""QEMU's names for character devices. QEMU accepts each of them as a target."""
_CLIENTS_OPTIONS = (
    r",(?:server=(?:off|no|false|n)|noserver|(?:no)?delay(?:=\w+)?|reconnect(?:-ms)?=\d+|ipv[46](?:=\w+)?"
    r"|wait=\w+|nowait|mux=(?:off|no|false|n))\Z"
)
_SERVER = r",server(?:=(?:on|yes|true|y))?\Z"


def _without_options(rest: str, where: str) -> str:
    """Strip QEMU's options of a client character device. They make no difference here."""
    while True:
        if re.search(_SERVER, rest):
            raise ConfigError(
                f"{where}: with server=on QEMU waits there for a connection; slirpy connects, so leave it out"
            )
        shorter = re.sub(_CLIENTS_OPTIONS, "", rest)
        if shorter == rest:
            return rest
        rest = shorter


def _tcp_target(rest: str, where: str) -> TcpTarget | HostTarget:
    """Read ``host:port``."""
    host, _, port = rest.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    number = decimal(port, 1, PORT_MAX)
    if number is None and host:
        raise ConfigError(f'{where}: port "{port}" of the target is not a number from 1 to {PORT_MAX}')
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is not None:
        try:
            return TcpTarget(address, number or 0)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    try:
        return HostTarget(host, number or 0)
    except ValueError:
        raise ConfigError(f'{where}: "{rest}" is not host:port with an IP address or a name as host') from None


def make_guestfwd(rule: object) -> GuestForward:
    """Convert a rule as :class:`slirpy.Config` accepts it: text, or an object.

    Raises:
        ConfigError: it cannot be used.
    """
    if isinstance(rule, str):
        return parse_guestfwd(rule)
    if not isinstance(rule, GuestForward):
        raise ConfigError(f"guestfwd {rule!r} is neither text nor a GuestForward; {_HELP}")
    return rule


def _name(function: object) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
