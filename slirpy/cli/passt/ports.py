"""Port specifications of passt and pasta: the values of ``-t``, ``-u``, ``-T`` and ``-U`` (passt(1))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from pathlib import Path

from slirpy.addresses import IPAddress
from slirpy.config.hostfwd import HostForward
from slirpy.config.text import PORT_MAX, parse_ports
from slirpy.errors import ConfigError

__all__ = [
    "ALL_ADDRESSES",
    "PortMap",
    "PortSpec",
    "check_together",
    "ephemeral_ports",
    "host_forwards",
    "parse_port_spec",
]

WORDS = ("none", "all", "auto")
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_INTERFACE = re.compile(r"[^\s/%]{1,15}")
ALL_ADDRESSES: tuple[IPAddress, ...] = (IPv4Address(0), IPv6Address(0))
"""Every address of the host, by family."""
_HELP = "write ports such as 22, 22-80, 22:2222, 2000-5000,~3000-3010 or 192.0.2.1/22"


@dataclass(frozen=True, slots=True)
class PortMap:
    """Consecutive ports, and where they lead."""

    first: int
    last: int
    target: int
    """The port that ``first`` leads to; the others follow in order."""

    def __str__(self) -> str:
        shift = self.target - self.first
        ends = (self.first, self.last) if self.last > self.first else (self.first,)
        text = "-".join(map(str, ends))
        return text if not shift else f"{text}:{'-'.join(str(end + shift) for end in ends)}"


@dataclass(frozen=True, slots=True)
class PortSpec:
    """One specification, parsed."""

    mode: str
    """``"none"``; ``"auto"``: the ports that the other side listens on; ``"all"``: every port outside the ephemeral
    range that can be bound; ``"ports"``: those of :attr:`maps`, each of which must be bound."""
    maps: tuple[PortMap, ...] = ()
    """In ascending order, without overlaps, and without the excluded ports. Empty for ``"none"`` and ``"auto"``."""
    excluded: tuple[tuple[int, int], ...] = ()
    """First and last port of each exclusion, as written."""
    address: IPAddress | None = None
    """The address to listen on; None: all."""
    interface: str = ""
    """The interface to listen on; empty: all."""

    def excludes(self, port: int) -> bool:
        """Report whether a port was excluded by ``~``; of interest for ``"auto"``."""
        return any(first <= port <= last for first, last in self.excluded)


def parse_port_spec(option: str, text: str, *, auto: bool = True) -> PortSpec:
    """Parse a port specification.

    It is ``none``, ``all``, ``auto``, or a list of ports separated by commas. An entry is a port, a range
    ``22-80``, either with the ports that they lead to (``22-80:32-90``), or an exclusion ``~25`` or ``~20-30``. A
    list of exclusions alone means all other ports; ``auto`` and ``all`` may be followed by exclusions. Before the
    list there may be an address, an interface, or both: ``192.0.2.1/22``, ``192.0.2.1%eth0/22``, ``%eth0/22``.

    Args:
        option: the option as typed, for messages.
        text: its value.
        auto: whether ``auto`` makes sense: pasta sees the ports that are bound in a namespace, but nobody sees those
            of a machine.

    Raises:
        ConfigError: the text cannot be read, entries overlap, or nothing is left after the exclusions.
    """
    where = f'{option} "{text}"'
    place, slash, listed = text.rpartition("/")
    address, interface = _place(where, place) if slash else (None, "")
    mode, maps, excluded = "ports", list[PortMap](), list[tuple[int, int]]()
    for number, entry in enumerate(listed.split(",")):
        if entry in WORDS:
            if number or (entry == "none" and "," in listed):
                raise ConfigError(f"{where}: {entry} cannot follow or precede ports; give it alone")
            mode = entry
        elif entry.startswith("~"):
            excluded.append(_range(where, entry[1:]))
        elif mode != "ports":
            raise ConfigError(f"{where}: only exclusions such as ~{entry} can follow {mode}")
        else:
            maps.append(_map(where, entry))
    if mode == "auto" and not auto:
        raise ConfigError(
            f"{where}: auto is for namespaces; the ports of a machine are not visible, so name them"
        )
    if mode in ("none", "auto") and slash:
        raise ConfigError(f"{where}: {mode} takes no address or interface")
    if mode == "ports" and not maps:
        mode = "all"
    if mode == "all":
        low, high = ephemeral_ports()
        maps = [
            PortMap(first, last, first) for first, last in ((1, low - 1), (high + 1, PORT_MAX)) if first <= last
        ]
    maps.sort(key=lambda one: one.first)
    for one, other in pairwise(maps):
        if other.first <= one.last:
            raise ConfigError(f"{where}: {one} and {other} overlap; a port leads to one port only")
    left = tuple(_without(maps, excluded))
    if mode in ("ports", "all") and not left:
        raise ConfigError(f"{where}: the exclusions leave no port; write none if that is meant")
    return PortSpec(mode, left, tuple(excluded), address, interface)


def check_together(option: str, specs: Sequence[tuple[str, PortSpec]]) -> None:
    """Check the specifications of one option that was given several times.

    Args:
        option: the option as typed, for messages.
        specs: the text of each specification, and what :func:`parse_port_spec` returned.

    Raises:
        ConfigError: one of them is none, all or auto, which stand alone, or two claim a port of the same address.
    """
    for text, spec in specs:
        if len(specs) > 1 and spec.mode != "ports":
            raise ConfigError(f'{option} "{text}" stands alone; it excludes every other {option}')
    for number, (text, spec) in enumerate(specs):
        for before, other in specs[:number]:
            if not _same_place(spec, other):
                continue
            for one in spec.maps:
                for claimed in other.maps:
                    if one.first <= claimed.last and claimed.first <= one.last:
                        raise ConfigError(
                            f'{option} "{text}": {one} overlaps {claimed} of {option} "{before}"; a port leads to'
                            " one port only"
                        )


def host_forwards(
    protocol: str, spec: PortSpec, addresses: Iterable[IPAddress], guest: IPAddress | None = None
) -> Iterator[HostForward]:
    """Express a specification as rules of :class:`slirpy.Config`, one for each range and address.

    Args:
        protocol: ``"tcp"`` or ``"udp"``.
        spec: the specification; ``"none"`` and ``"auto"`` have no rules.
        addresses: the addresses to listen on if the specification names none, such as :data:`ALL_ADDRESSES`.
        guest: the guest's address; None: that of its lease.
    """
    for address in (spec.address,) if spec.address is not None else addresses:
        for one in spec.maps:
            count = one.last - one.first + 1
            yield HostForward(protocol, address, one.first, guest, one.target, count=count)


def ephemeral_ports() -> tuple[int, int]:
    """The first and last port that the system gives to outgoing sockets, which ``all`` leaves alone.

    Where the system does not say it, those of RFC 6335, section 6.
    """
    try:
        low, high = map(int, _RANGE_FILE.read_text().split())
    except (OSError, ValueError):
        return 49152, PORT_MAX
    return low, high


def _place(where: str, text: str) -> tuple[IPAddress | None, str]:
    """Parse what precedes the slash."""
    host, percent, interface = text.partition("%")
    if percent and not _INTERFACE.fullmatch(interface):
        raise ConfigError(f'{where}: "{interface}" is not the name of an interface, such as eth0')
    if not host:
        if not percent:
            raise ConfigError(f"{where}: there is no address before the slash; {_HELP}")
        return None, interface
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    for family in (IPv4Address, IPv6Address):
        try:
            return family(bare), interface
        except ValueError:
            continue
    raise ConfigError(f'{where}: "{host}" is not an IP address')


def _range(where: str, text: str) -> tuple[int, int]:
    try:
        return parse_ports("port", text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}; {_HELP}") from None


def _map(where: str, text: str) -> PortMap:
    """Parse a port or range, with or without those that it leads to."""
    source, colon, target = text.partition(":")
    first, last = _range(where, source)
    to, end = _range(where, target) if colon else (first, last)
    if end - to != last - first:
        raise ConfigError(
            f"{where}: {last - first + 1} ports cannot lead to {end - to + 1}; ranges on both sides have one length"
        )
    return PortMap(first, last, to)


def _without(maps: Iterable[PortMap], excluded: Sequence[tuple[int, int]]) -> Iterator[PortMap]:
    """Cut the excluded ports out."""
    for one in maps:
        start, shift = one.first, one.target - one.first
        for first, last in sorted(excluded):
            if last < start or first > one.last:
                continue
            if first > start:
                yield PortMap(start, first - 1, start + shift)
            start = last + 1
        if start <= one.last:
            yield PortMap(start, one.last, start + shift)


def _same_place(one: PortSpec, other: PortSpec) -> bool:
    """Report whether two specifications can claim the same port: on one address, or one of them on all."""
    addresses = one.address == other.address or None in (one.address, other.address)
    interfaces = one.interface == other.interface or "" in (one.interface, other.interface)
    return addresses and interfaces
