"""Rules for ports of the host that lead to guests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address

from slirpy.errors import ForwardError

__all__ = ["HostForward", "parse_hostfwd"]


@dataclass(frozen=True, slots=True)
class HostForward:
    """A port of the host that leads to a guest."""

    protocol: str
    """``"tcp"`` or ``"udp"``."""
    host_address: IPv4Address
    host_port: int
    """0 to 65535; 0 takes a free port."""
    guest_address: IPv4Address | None
    """None: the address of the first lease, else ``dhcpstart``."""
    guest_port: int

    def __str__(self) -> str:
        guest = self.guest_address or ""
        return f"{self.protocol}:{self.host_address}:{self.host_port}-{guest}:{self.guest_port}"


_HOSTFWD = re.compile(
    r"(?P<protocol>[^:]*):(?P<host>[^:]*):(?P<hport>[^:\-]*)-(?P<guest>[^:]*):(?P<gport>[^:]*)\Z"
)
_HOSTFWD_HELP = "write [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, such as tcp:127.0.0.1:8080-:80"


def parse_hostfwd(rule: str) -> HostForward:
    """Read a rule ``[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport``.

    An empty protocol is tcp. An empty host address is 127.0.0.1 (QEMU listens on every interface there;
    ask for ``0.0.0.0`` to have that). Host port 0 takes a free one.

    Raises:
        ForwardError: the rule cannot be read; the text names the part.
    """
    match = _HOSTFWD.match(rule)
    if match is None:
        raise ForwardError(f'hostfwd "{rule}": malformed; {_HOSTFWD_HELP}')
    protocol = match["protocol"] or "tcp"
    if protocol not in ("tcp", "udp"):
        raise ForwardError(f'hostfwd "{rule}": protocol "{protocol}" is neither tcp nor udp; {_HOSTFWD_HELP}')
    return HostForward(
        protocol,
        _rule_address(rule, "host address", match["host"]) or IPv4Address("127.0.0.1"),
        _rule_port(rule, "host port", match["hport"], lowest=0),
        _rule_address(rule, "guest address", match["guest"]),
        _rule_port(rule, "guest port", match["gport"], lowest=1),
    )


def _rule_address(rule: str, what: str, text: str) -> IPv4Address | None:
    if not text:
        return None
    try:
        return IPv4Address(text)
    except ValueError:
        raise ForwardError(f'hostfwd "{rule}": {what} "{text}" is not an IPv4 address') from None


def _rule_port(rule: str, what: str, text: str, lowest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= 65535):
        raise ForwardError(f'hostfwd "{rule}": {what} "{text}" is not a number from {lowest} to 65535')
    return int(text)
