"""The command line of slirp4netns: options as ``getopt_long`` reads them, its messages, and its checks."""

from __future__ import annotations

import getopt
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NoReturn

from slirpy._version import __version__

__all__ = ["Arguments", "UsageError", "parse", "usage"]

GUEST = 100
"""The guest's address, counted from the network's."""
_NET, _NET6 = IPv4Network("10.0.2.0/24"), IPv6Network("fd00::/64")
_MTU_MAX = 65521
_SHORT = "ce:r:m:6a:hv"
_LONG = (
    "configure", "exit-fd=", "ready-fd=", "mtu=", "enable-ipv6", "api-socket=", "cidr=", "cidr6=", "ipv6-random",
    "disable-host-loopback", "netns-type=", "userns-path=", "enable-sandbox", "enable-seccomp", "outbound-addr=",
    "outbound-addr6=", "disable-dns", "macaddress=", "target-type=", "help", "version",
)  # fmt: skip
_NAMES = {
    "c": "configure", "e": "exit-fd", "r": "ready-fd", "m": "mtu", "6": "enable-ipv6", "a": "api-socket",
    "h": "help", "v": "version",
    "create-sandbox": "enable-sandbox", "no-host-loopback": "disable-host-loopback",
}  # fmt: skip
"""Short options, and names that earlier versions had."""
_HELP = """\
Usage: {program} [OPTION]... PID|PATH [TAPNAME]
User-mode networking for network namespaces, by slirpy.

-c, --configure          set up the interface: address, default route, MTU; and lo
-e, --exit-fd=FD         end when the other end of this descriptor hangs up
-r, --ready-fd=FD        write 1 to this descriptor when the network is there
-m, --mtu=MTU            MTU of the interface (default=1500, max=65521)
-6, --enable-ipv6        IPv6 too
-a, --api-socket=PATH    answer API requests at this path
--cidr=CIDR              network, with a prefix of 1 to 25 (default=10.0.2.0/24)
--cidr6=CIDR             IPv6 network (default=fd00::/64)
--ipv6-random            a random local IPv6 network
--disable-host-loopback  no connections to 127.0.0.1 of the host
--netns-type=TYPE        what names the namespace ([path|pid|tapfd], default=pid)
--userns-path=PATH       user namespace to enter first
--enable-sandbox         give up files, processes and all capabilities but CAP_NET_BIND_SERVICE
--enable-seccomp         give up system calls that are not needed; here the same as --enable-sandbox
--outbound-addr=IPv4     source of IPv4 traffic: an address or an interface
--outbound-addr6=IPv6    source of IPv6 traffic: an address or an interface
--disable-dns            no DNS server in the network
--macaddress=MAC         MAC address of the interface (only with -c)
--target-type=TYPE       what the network is for ([netns|bess], default=netns)
-h, --help               show this help and exit
-v, --version            show the version and exit
"""
_VERSION = f"""\
slirp4netns version 1.3.1
commit: slirpy-{__version__}
libslirp: 4.8.0
SLIRP_CONFIG_VERSION_MAX: 5
libseccomp: 2.5.5
"""
"""The version whose contract this is; callers look for options, and for these numbers."""


class UsageError(Exception):
    """A command line that slirp4netns refuses. The program ends with status 1.

    Args:
        text: for standard error.
        usage: whether the help is shown too.
    """

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


@dataclass
class Arguments:
    """Values of a command line."""

    configure: bool = False
    exit_fd: int | None = None
    ready_fd: int | None = None
    mtu: int = 1500
    ipv6: bool = False
    api_socket: str | None = None
    net: IPv4Network = _NET
    net6: IPv6Network = _NET6
    host_loopback: bool = True
    netns_type: str | None = None
    userns_path: str | None = None
    sandbox: bool = False
    seccomp: bool = False
    outbound: str | None = None
    outbound6: str | None = None
    dns: bool = True
    mac: str = ""
    target_type: str = "netns"
    target: str = ""
    """A process id, a path, or the number of a descriptor."""
    tap: str = ""
    """Name of the interface."""

    @property
    def guest(self) -> IPv4Address:
        """The guest's address, as -c sets it."""
        return self.net.network_address + GUEST

    @property
    def guest6(self) -> IPv6Address:
        """The guest's IPv6 address, as -c sets it."""
        return self.net6.network_address + 0x100


def parse(program: str, words: Sequence[str]) -> Arguments:
    """Read the words after the program's name. For ``--help`` and ``--version``, write those and exit.

    Raises:
        UsageError: slirp4netns would refuse them.
    """
    try:
        options, rest = getopt.gnu_getopt([*words], _SHORT, [*_LONG, "create-sandbox", "no-host-loopback"])
    except getopt.GetoptError as error:
        raise UsageError(f"{program}: {_explain(error)}", usage=True) from None
    found = Arguments()
    for spelled, value in options:
        name = spelled.lstrip("-")
        name = _NAMES.get(name, name)
        if name == "help":
            _show(_HELP.format(program=program))
        if name == "version":
            _show(_VERSION)
        _OPTIONS[name](found, value)
    _check(found, dict(options))
    _positional(found, rest)
    return found


def usage(program: str) -> str:
    """The help."""
    return _HELP.format(program=program)


def _show(text: str) -> NoReturn:
    sys.stdout.write(text)
    raise SystemExit(0)


def _explain(error: getopt.GetoptError) -> str:
    """The message in the C library's words."""
    text = error.msg
    if found := re.match(r"option (-\S+) not recognized", text):
        name = found[1]
        return f"unrecognized option '{name}'" if name.startswith("--") else f"invalid option -- '{name[1:]}'"
    if found := re.match(r"option (-\S+) requires argument", text):
        name = found[1]
        shown = f"option '{name}' requires an argument"
        return shown if name.startswith("--") else f"option requires an argument -- '{name[1:]}'"
    if found := re.match(r"option (-\S+) not a unique prefix", text):
        near = " ".join(f"'--{name.rstrip('=')}'" for name in _LONG if f"--{name}".startswith(found[1]))
        return f"option '{found[1]}' is ambiguous; possibilities: {near}"
    if found := re.match(r"option (-\S+) must not have an argument", text):
        return f"option '{found[1]}' doesn't allow an argument"
    return text


def _number(text: str) -> int | None:
    """A number as strtol(3) reads it: its beginning counts. None if there is none."""
    found = re.match(r"\s*[+-]?\d+", text)
    return int(found[0]) if found else None


def _descriptor(option: str) -> Callable[[Arguments, str], None]:
    def take(found: Arguments, value: str) -> None:
        number = _number(value)
        if number is None or number < 0:
            raise UsageError(f"--{option} {value}: FD must be a non-negative integer", usage=True)
        setattr(found, option.replace("-", "_"), number)

    return take


def _mtu(found: Arguments, value: str) -> None:
    number = _number(value)
    if number is None or not 0 < number <= _MTU_MAX:
        raise UsageError(f"MTU must be a positive integer (< {_MTU_MAX + 1})", usage=True)
    found.mtu = number


def _cidr(found: Arguments, value: str) -> None:
    address, slash, prefix = value.partition("/")
    try:
        host = IPv4Address(address)
        length = int(prefix) if slash and prefix.isascii() and prefix.isdigit() else None
    except ValueError:
        length = None
    if length is None:
        raise UsageError(f"invalid CIDR: {value}")
    if not 1 <= length <= 25:
        raise UsageError("prefix length needs to be 1-25")
    network = IPv4Network((host, length), strict=False)
    if network.network_address != host:
        raise UsageError(f"CIDR needs to be a network address like {network}, not like {value}")
    found.net = network


def _cidr6(found: Arguments, value: str) -> None:
    address, slash, prefix = value.partition("/")
    try:
        host = IPv6Address(address)
        length = int(prefix) if slash and prefix.isascii() and prefix.isdigit() else None
    except ValueError:
        length = None
    if length is None:
        raise UsageError(f"invalid CIDR: {value}")
    if not 8 <= length <= 128:
        raise UsageError("prefix length needs to be 8-128")
    network = IPv6Network((host, length), strict=False)
    if network.network_address != host:
        raise UsageError(f"CIDR needs to be a network address like {network}, not like {value}")
    found.net6 = network


def _ipv6_random(found: Arguments, _: str) -> None:
    # A locally assigned prefix with random bits (RFC 4193, section 3.1).
    found.net6 = IPv6Network((int.from_bytes(b"\xfd" + os.urandom(7)) << 64, 64))


def _mac(found: Arguments, value: str) -> None:
    if not re.fullmatch(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}", value):
        raise UsageError(f"macaddress has to be six octets in hexadecimal with colons: {value}")
    octets = bytes(int(octet, 16) for octet in value.split(":"))
    if octets[0] & 1:
        raise UsageError(f"macaddress has to be that of one station, not of a group: {value}")
    found.mac = octets.hex(":")


def _outbound(found: Arguments, value: str) -> None:
    address = _source(value, 4)
    if address is None:
        raise UsageError("outbound-addr has to be valid ipv4 address or interface name.")
    found.outbound = address


def _outbound6(found: Arguments, value: str) -> None:
    address = _source(value, 6)
    if address is None:
        raise UsageError("outbound-addr6 has to be valid ipv6 address or interface name.")
    found.outbound6 = address


def _source(value: str, version: int) -> str | None:
    """An address, or the first one of an interface; None if it is neither."""
    kind = IPv4Address if version == 4 else IPv6Address
    try:
        return str(kind(value))
    except ValueError:
        pass
    if not 0 < len(os.fsencode(value)) < 16:
        return None
    return _address_of(value) if version == 4 else _address6_of(value)


def _address_of(interface: str) -> str | None:
    import fcntl

    siocgifaddr = 0x8915
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, siocgifaddr, struct.pack("16s24x", os.fsencode(interface)))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def _address6_of(interface: str) -> str | None:
    try:
        with open("/proc/net/if_inet6") as file:
            rows = [line.split() for line in file]
    except OSError:
        return None
    found = sorted((scope, digits) for digits, _, _, scope, _, name in rows if name == interface)
    return str(IPv6Address(bytes.fromhex(found[0][1]))) if found else None  # a global one first


def _choice(name: str, *values: str) -> Callable[[Arguments, str], None]:
    def take(found: Arguments, value: str) -> None:
        if value not in values:
            known = " or ".join(f'"{each}"' for each in values)
            raise UsageError(f"--{name.replace('_', '-')} must be either {known}", usage=True)
        setattr(found, name, value)

    return take


def _text(name: str) -> Callable[[Arguments, str], None]:
    return lambda found, value: setattr(found, name, value)


def _flag(name: str, value: bool = True) -> Callable[[Arguments, str], None]:
    return lambda found, _: setattr(found, name, value)


_OPTIONS: dict[str, Callable[[Arguments, str], None]] = {
    "configure": _flag("configure"),
    "exit-fd": _descriptor("exit-fd"),
    "ready-fd": _descriptor("ready-fd"),
    "mtu": _mtu,
    "enable-ipv6": _flag("ipv6"),
    "api-socket": _text("api_socket"),
    "cidr": _cidr,
    "cidr6": _cidr6,
    "ipv6-random": _ipv6_random,
    "disable-host-loopback": _flag("host_loopback", False),
    "netns-type": _choice("netns_type", "path", "pid", "tapfd"),
    "userns-path": _text("userns_path"),
    "enable-sandbox": _flag("sandbox"),
    "enable-seccomp": _flag("seccomp"),
    "outbound-addr": _outbound,
    "outbound-addr6": _outbound6,
    "disable-dns": _flag("dns", False),
    "macaddress": _mac,
    "target-type": _choice("target_type", "netns", "bess"),
}
"""For each option, the function that takes its value."""


def _check(found: Arguments, given: dict[str, str]) -> None:
    """Check that the options belong together."""
    if found.mac and not found.configure:
        raise UsageError("--macaddr cannot be specified when --configure or -c is not specified", usage=True)
    if found.target_type == "bess":
        for name, is_given in (
            ("configure", found.configure),
            ("netns-type", found.netns_type is not None),
            ("userns-path", found.userns_path is not None),
        ):
            if is_given:
                raise UsageError(f"--{name} conflicts with --target-type=bess", usage=True)
    if found.netns_type == "tapfd":
        for name, is_given in (
            ("configure", found.configure),
            ("userns-path", found.userns_path is not None),
        ):
            if is_given:
                raise UsageError(f"--{name} conflicts with --netns-type=tapfd", usage=True)
    if found.userns_path is not None and not os.path.exists(found.userns_path):
        raise UsageError(f"userns path doesn't exist: {found.userns_path}", usage=True)


def _positional(found: Arguments, rest: Sequence[str]) -> None:
    """Take PID, PATH or the descriptor, and TAPNAME."""
    with_tap = found.target_type == "netns" and found.netns_type != "tapfd"
    if len(rest) < (2 if with_tap else 1):
        raise UsageError("", usage=True)
    if len(rest) > 2:
        print("WARNING: too many arguments", flush=True)
    found.target = rest[0]
    found.tap = rest[1] if len(rest) > 1 else ""
    if not with_tap:
        if found.netns_type == "tapfd" and not (found.target.isascii() and found.target.isdigit()):
            raise UsageError("FD must be a non-negative integer when --netns-type=tapfd", usage=True)
        return
    if found.netns_type == "path":
        if not os.path.exists(found.target):
            raise UsageError(
                "existing path expected when --netns-type=path: No such file or directory", usage=True
            )
    else:
        number = _number(found.target)
        if number is None or number <= 0:
            raise UsageError("PID must be a positive integer", usage=True)
        found.target = str(number)
