"""Rules for host ports and Unix sockets that are forwarded to guests."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from slirpy.addresses import AnyAddress, IPAddress, address_object, port_number, scoped_address
from slirpy.checks import switch, whole
from slirpy.config.text import PORT_MAX, bracketed, parse_address, parse_ports
from slirpy.config.values import as_text
from slirpy.errors import ConfigError
from slirpy.paths import PATH_MAX, is_unix_path

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["HostForward", "parse_hostfwd"]


@dataclass(frozen=True, slots=True, init=False)
class HostForward:
    """A host port, a range of ports, or a Unix socket that is forwarded to a guest.

    The addresses of host and guest may be of different families. The guest then sees the gateway as the client.

    Raises:
        ConfigError: an invalid part; the text says which.
    """

    protocol: str
    """``"tcp"``, ``"udp"`` or ``"unix"``."""
    host_address: IPAddress
    """Address to listen on: ``0.0.0.0`` is every IPv4 address of the host, ``::`` every IPv6 address. A link-local
    one has the interface as its ``scope_id``. For a Unix socket 127.0.0.1, which the guest sees as the client's
    address."""
    host_port: int
    """0 to 65535; 0 picks a free port. Always 0 for a Unix socket."""
    guest_address: IPAddress | None
    """None: the address of the first lease, or else of the guest that was heard first."""
    guest_port: int
    path: str | None
    """Path of the Unix socket."""
    count: int
    """Number of consecutive ports, on both sides: the first host port leads to the first guest port."""
    proxy_header: bool
    """True if each TCP connection begins with a header of the PROXY protocol, version 2: the guest's server learns
    the client's address, also where the guest sees the gateway as the client."""

    def __init__(
        self,
        protocol: str,
        host_address: AnyAddress,
        host_port: int,
        guest_address: AnyAddress | None,
        guest_port: int,
        path: str | None = None,
        count: int = 1,
        proxy_header: bool = False,
    ) -> None:
        if protocol not in ("tcp", "udp", "unix"):
            raise ConfigError(f"hostfwd: protocol {protocol!r} is none of tcp, udp and unix")
        put = object.__setattr__
        put(self, "protocol", protocol)
        put(self, "host_address", scoped_address("hostfwd: host address", host_address))
        guest = None if guest_address is None else _guest_address(guest_address)
        put(self, "guest_address", guest)
        put(self, "host_port", port_number("hostfwd: host port", host_port))
        put(self, "guest_port", port_number("hostfwd: guest port", guest_port, 1))
        put(self, "count", whole("hostfwd: count", count, 1, PORT_MAX + 1 - max(host_port, guest_port)))
        if (protocol == "unix") != (path is not None):
            raise ConfigError(f"hostfwd: a path belongs to unix, and to nothing else; given was {path!r}")
        if path is not None:
            check_unix_path("hostfwd:", path)
        put(self, "path", path)
        put(self, "proxy_header", switch("hostfwd: proxy_header", proxy_header))
        if proxy_header and protocol != "tcp":
            raise ConfigError(f"hostfwd: a header of the PROXY protocol belongs to tcp, not to {protocol}")

    def __str__(self) -> str:
        address = "" if self.guest_address is None else bracketed(self.guest_address)
        guest = f"{address}:{_ports(self.guest_port, self.count)}"
        if self.path is not None:
            return f"unix:{self.path}-{guest}"
        host = f"{bracketed(self.host_address)}:{_ports(self.host_port, self.count)}"
        return f"{self.protocol}{_HEADER if self.proxy_header else ''}:{host}-{guest}"


def _guest_address(value: AnyAddress) -> IPAddress:
    """An address of a guest.

    Raises:
        ConfigError: not an address, or one with a scope.
    """
    text = str(value)
    if not isinstance(value, bytes) and "%" in text:
        raise ConfigError(f"hostfwd: guest address {text} has a scope; a guest has only one link")
    return address_object("hostfwd: guest address", value)


def _ports(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


_HEADER = "+proxy"
_GUEST = r"(?P<guest>\[[^\[\]]*\]|[^:\[\]\-]*):(?P<gport>[^:{}]*)\Z"
_HOSTFWD = (
    r"(?P<protocol>[^:]*):(?P<host>\[[^\[\]]*\]|[^:\[\]]*):(?P<hport>[^:\-]*(?:-[^:.\-]+(?=-))?)-"
    + _GUEST.format("")
)
_UNIX = r"unix:(?P<path>.*)-" + _GUEST.format(r"\-")
_LOOPBACK = IPv4Address("127.0.0.1")
_HELP = (
    "write [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, such as tcp:127.0.0.1:8080-:80 or tcp:[::1]:8080-:80,"
    " or unix:/path-[guestaddr]:guestport"
)


def parse_hostfwd(rule: str) -> HostForward:
    """Read a rule ``[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`` or ``unix:/path-[guestaddr]:guestport``.

    An empty protocol is tcp. An empty host address is 127.0.0.1 (QEMU listens on every interface there;
    ask for ``0.0.0.0`` to have that). IPv6 addresses stand in brackets: ``tcp:[::1]:8080-[fec0::15]:80``. Host port 0
    takes a free one. Ports may be ranges of one length, such as ``tcp::8000-8010-:9000-9010``; a single guest port is
    where the guest's range begins.

    With ``tcp+proxy`` in place of ``tcp`` each connection begins with a header of the PROXY protocol, version 2.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("hostfwd", rule)
    if rule.startswith("unix:"):
        return _parse_unix(rule)
    match = re.match(_HOSTFWD, rule)
    if match is None:
        raise ConfigError(f'hostfwd "{rule}": malformed; {_HELP}')
    protocol = match["protocol"].removesuffix(_HEADER) or "tcp"
    proxy_header = match["protocol"].endswith(_HEADER)
    if protocol not in ("tcp", "udp"):
        raise ConfigError(f'hostfwd "{rule}": protocol "{protocol}" is none of tcp, udp and unix; {_HELP}')
    host_port, count = _rule_ports(rule, "host port", match["hport"], lowest=0)
    guest_port, guest_count = _rule_ports(rule, "guest port", match["gport"], lowest=1)
    if guest_count not in (1, count):
        raise ConfigError(f'hostfwd "{rule}": {count} host ports cannot lead to {guest_count} guest ports')
    if count > 1 and not host_port:
        raise ConfigError(f'hostfwd "{rule}": host port 0 takes one free port; a range begins at 1 or above')
    if guest_port + count > 65536:
        raise ConfigError(f'hostfwd "{rule}": guest ports {guest_port} and {count - 1} more end above 65535')
    host = _rule_address(rule, "host address", match["host"]) or _LOOPBACK
    guest = _rule_address(rule, "guest address", match["guest"])
    try:
        return HostForward(protocol, host, host_port, guest, guest_port, count=count, proxy_header=proxy_header)
    except ConfigError as error:
        raise ConfigError(f'hostfwd "{rule}": {str(error).removeprefix("hostfwd: ")}') from None


def _parse_unix(rule: str) -> HostForward:
    match = re.match(_UNIX, rule, re.DOTALL)
    if match is None:
        raise ConfigError(f'hostfwd "{rule}": malformed; {_HELP}')
    path = match["path"]
    check_unix_path(f'hostfwd "{rule}":', path)
    guest_port, count = _rule_ports(rule, "guest port", match["gport"], lowest=1)
    return HostForward(
        "unix", _LOOPBACK, 0, _rule_address(rule, "guest address", match["guest"]), guest_port, path, count
    )


def check_unix_path(where: str, path: str) -> None:
    """Reject a value that cannot be the path of a Unix socket.

    Raises:
        ConfigError: not text, empty, or too long.
    """
    if not is_unix_path(path):
        raise ConfigError(f"{where} the path of a unix socket has 1 to {PATH_MAX} bytes")


def _rule_address(rule: str, what: str, text: str) -> IPAddress | None:
    if not text:
        return None
    try:
        return parse_address(what, text)
    except ConfigError as error:
        raise ConfigError(f'hostfwd "{rule}": {error}') from None


def _rule_ports(rule: str, what: str, text: str, lowest: int) -> tuple[int, int]:
    """Parse a port or range. Returns its first port and the number of ports."""
    try:
        first, last = parse_ports(what, text, lowest)
    except ConfigError as error:
        raise ConfigError(f'hostfwd "{rule}": {error}') from None
    return first, last - first + 1
