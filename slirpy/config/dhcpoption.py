"""DHCP options from text: ``42=10.0.2.2``, ``ntp-server=10.0.2.2``, ``43=hex:0104c0a80101``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network

from slirpy.checks import whole
from slirpy.config.dhcp import NOT_YOURS, check_text
from slirpy.config.text import hint
from slirpy.config.values import as_text
from slirpy.errors import ConfigError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["OPTIONS", "DhcpOption", "check_dhcp_options", "parse_dhcp_option"]

VALUE_MAX = 255
"""Largest value, in bytes."""

OPTIONS: dict[int, tuple[str, str]] = {
    1: ("netmask", "ip"), 2: ("time-offset", "i32"), 3: ("router", "ip"), 4: ("time-server", "ip"),
    6: ("dns-server", "ip"), 7: ("log-server", "ip"), 9: ("lpr-server", "ip"), 12: ("hostname", "text"),
    13: ("boot-file-size", "u16"), 15: ("domain-name", "text"), 16: ("swap-server", "ip"), 17: ("root-path", "text"),
    18: ("extension-path", "text"), 19: ("ip-forward-enable", "u8"), 20: ("non-local-source-routing", "u8"),
    21: ("policy-filter", "ip"), 22: ("max-datagram-reassembly", "u16"), 23: ("default-ttl", "u8"),
    24: ("path-mtu-aging", "u32"), 25: ("path-mtu-plateaus", "u16"), 26: ("mtu", "u16"),
    27: ("all-subnets-local", "u8"), 28: ("broadcast", "ip"), 31: ("router-discovery", "u8"),
    32: ("router-solicitation", "ip"), 33: ("static-route", "ip"), 35: ("arp-timeout", "u32"),
    37: ("tcp-ttl", "u8"), 38: ("tcp-keepalive", "u32"), 40: ("nis-domain", "text"), 41: ("nis-server", "ip"),
    42: ("ntp-server", "ip"), 43: ("vendor-encap", "hex"), 44: ("netbios-ns", "ip"), 45: ("netbios-dd", "ip"),
    46: ("netbios-nodetype", "u8"), 47: ("netbios-scope", "text"), 48: ("x-windows-fs", "ip"),
    49: ("x-windows-dm", "ip"), 58: ("renewal-time", "u32"), 59: ("rebinding-time", "u32"),
    60: ("vendor-class", "text"), 64: ("nis+-domain", "text"), 65: ("nis+-server", "ip"), 66: ("tftp-server", "text"),
    67: ("bootfile-name", "text"), 68: ("mobile-ip-home", "ip"), 69: ("smtp-server", "ip"), 70: ("pop3-server", "ip"),
    71: ("nntp-server", "ip"), 72: ("www-server", "ip"), 74: ("irc-server", "ip"), 100: ("posix-timezone", "text"),
    101: ("tzdb-timezone", "text"), 108: ("ipv6-only", "u32"), 114: ("captive-portal", "text"),
    116: ("auto-configure", "u8"), 119: ("domain-search", "domains"), 120: ("sip-server", "hex"),
    121: ("classless-static-route", "routes"), 125: ("vendor-identifying", "hex"), 138: ("capwap", "ip"),
    150: ("tftp-server-address", "ip"), 209: ("pxe-config-file", "text"), 210: ("pxe-path-prefix", "text"),
    211: ("pxe-reboot-time", "u32"), 249: ("ms-static-route", "routes"), 252: ("wpad", "text"),
}  # fmt: skip
"""Name and value type of each known option, by code."""
_CODES = {name: code for code, (name, _) in OPTIONS.items()}
_OURS = {
    50: "the address that a client asks for",
    51: "the lease time; use lease_time (--lease-time)",
    52: "option overload",
    53: "the message type",
    54: "the server's address; use host (--host)",
    55: "a client's list of wanted options",
    57: "the size of messages that a client takes",
    61: "a client's identifier",
    82: "a relay agent's",
    97: "a client's identifier",
}
_HELP = (
    "write CODE=VALUE or NAME=VALUE, such as 42=10.0.2.2, ntp-server=10.0.2.2, 43=hex:0104c0a80101, 200=text:word;"
    " types are ip, u8, u16, u32, i32, text, hex, domains, routes"
)


@dataclass(frozen=True, slots=True)
class DhcpOption:
    """An option sent to all guests.

    Raises:
        ConfigError: a code that is not from 1 to 254 or carries the protocol itself, or a value over 255 bytes.
    """

    code: int
    value: bytes | None
    """Value, or None to omit an option that guests would otherwise get."""

    def __post_init__(self) -> None:
        whole("option", self.code, 1, 254)
        if self.code in NOT_YOURS:
            raise ConfigError(
                f"option {self.code} cannot be set, it carries the protocol itself: {_OURS[self.code]}"
            )
        if self.value is not None and (not isinstance(self.value, bytes) or len(self.value) > VALUE_MAX):
            raise ConfigError(f"option {self.code}: a value is bytes, at most {VALUE_MAX} of them")


def parse_dhcp_option(rule: str) -> DhcpOption:
    """Read ``OPTION=[TYPE:]VALUE``, or ``OPTION`` alone to omit that option.

    OPTION is a number or a name in :data:`OPTIONS`. Without TYPE the value is read as the option has it; that of an
    option that is not known is a list of addresses if it looks like one, else text.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("DHCP option", rule)
    name, equals, text = rule.partition("=")
    try:
        code = _code(name.strip())
        if not equals:
            return DhcpOption(code, None)
        DhcpOption(code, None)  # check whether the option may be set before looking at its value
        kind, colon, rest = text.partition(":")
        if colon and kind in _READERS:
            text = rest
        elif code in OPTIONS:
            kind = OPTIONS[code][1]
        else:
            kind = "ip" if re.fullmatch(_ADDRESSES, text) else "text"
        if not text:
            raise ConfigError(f"there is no value; {name.strip()} alone leaves the option out")
        return DhcpOption(code, _READERS[kind](text))
    except ConfigError as error:
        raise ConfigError(f'dhcp-option "{rule}": {error}') from None


def check_dhcp_options(options: Iterable[DhcpOption]) -> None:
    """Reject an option that is given twice.

    Raises:
        ConfigError: an option occurs twice.
    """
    seen: set[int] = set()
    for option in options:
        if option.code in seen:
            raise ConfigError(
                f"dhcp-option {option.code} is given twice; write all values in one, with commas between them"
            )
        seen.add(option.code)


def _code(name: str) -> int:
    if name.isdecimal() and name.isascii() and len(name) < 6:
        return int(name)
    code = _CODES.get(name.lower())
    if code is None:
        raise ConfigError(f'there is no option "{name}"; {hint(name, _CODES, _HELP)}')
    return code


# ----------------------------------------------------------------------------------------------- values

_ADDRESSES = r"\s*\d+(?:\.\d+){3}(?:\s*,\s*\d+(?:\.\d+){3})*\s*"


def _addresses(text: str) -> bytes:
    try:
        return b"".join(IPv4Address(item.strip()).packed for item in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{error}; write addresses with commas between them") from None


def _numbers(size: int, *, signed: bool = False) -> Callable[[str], bytes]:
    low, high = (-(1 << size * 8 - 1), (1 << size * 8 - 1) - 1) if signed else (0, (1 << size * 8) - 1)

    def read(text: str) -> bytes:
        try:
            return b"".join(
                int(item.strip(), 0).to_bytes(size, "big", signed=signed) for item in text.split(",")
            )
        except (ValueError, OverflowError):
            raise ConfigError(f'"{text}" is not a number from {low} to {high}') from None

    return read


def _text(text: str) -> bytes:
    check_text("the value", text)
    return text.encode("ascii")


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x").replace(":", "").replace("-", ""))
    except ValueError:
        raise ConfigError(f'"{text}" is not hexadecimal, such as 0104c0a80101 or 01:04:c0:a8:01:01') from None


def _domains(text: str) -> bytes:
    """Encode names without compression (RFC 3397 allows it, but does not require it)."""
    out = b""
    for name in text.split(","):
        labels = name.strip().removesuffix(".").split(".")
        if not name.isascii() or not all(1 <= len(label) <= 63 for label in labels):
            raise ConfigError(f'"{name}" is not a domain name')
        out += b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels) + b"\0"
    return out


def _routes(text: str) -> bytes:
    """Encode routes ``NETWORK=GATEWAY``, separated by commas (RFC 3442)."""
    out = b""
    for item in text.split(","):
        network, _, gateway = item.strip().partition("=")
        try:
            to, by = IPv4Network(network), IPv4Address(gateway)
        except ValueError as error:
            raise ConfigError(f"{error}; write NETWORK=GATEWAY, such as 192.0.2.0/24=10.0.2.9") from None
        out += bytes((to.prefixlen,)) + to.network_address.packed[: -(-to.prefixlen // 8)] + by.packed
    return out


_READERS: dict[str, Callable[[str], bytes]] = {
    "ip": _addresses,
    "u8": _numbers(1),
    "u16": _numbers(2),
    "u32": _numbers(4),
    "i32": _numbers(4, signed=True),
    "text": _text,
    "hex": _hex,
    "domains": _domains,
    "routes": _routes,
}
