"""The ports of pasta: those of the host that lead into the namespace, and those of the namespace that lead out."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from slirpy.addresses import IPAddress
from slirpy.cli.passt.arguments import Given
from slirpy.cli.passt.follow import Follower, listening_ports
from slirpy.cli.passt.inside import TABLES, Inside
from slirpy.cli.passt.ports import (
    ALL_ADDRESSES,
    PortMap,
    PortSpec,
    check_together,
    ephemeral_ports,
    host_forwards,
    parse_port_spec,
)
from slirpy.config.hostfwd import HostForward
from slirpy.errors import ConfigError, ForwardError
from slirpy.records import NamedTuple

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.host.opensockets import OpenSocket

__all__ = ["PortOptions", "Ports", "read_ports"]

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_SPARE = 128
"""Descriptors to leave for flows."""
_AUTO = PortSpec("auto")
_NONE = PortSpec("none")
_LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class PortOptions(NamedTuple):
    """Port specifications, by protocol."""

    inward: dict[str, list[tuple[str, PortSpec]]]
    """For ``-t`` and ``-u``: the option as typed with its value, and the specification."""
    outward: dict[str, list[tuple[str, PortSpec]]]
    """For ``-T`` and ``-U``, likewise."""


def read_ports(given: Given, *, machine: bool = False) -> PortOptions:
    """Read the options for ports.

    Args:
        given: the command line.
        machine: whether the guest is a machine, whose listeners nobody sees from outside: no ports are followed.

    Raises:
        ConfigError: one that cannot be read, or that excludes another.
    """
    options = PortOptions({}, {})
    for names, found in (
        ({"tcp": "tcp-ports", "udp": "udp-ports"}, options.inward),
        ({"tcp": "tcp-ns", "udp": "udp-ns"}, options.outward),
    ):
        for protocol, name in names.items():
            specs = [
                (typed, text, parse_port_spec(typed, text, auto=not machine))
                for typed, text in given.values.get(name, ())
            ]
            if specs:
                check_together(specs[0][0], [(text, spec) for _, text, spec in specs])
            if any(spec.mode == "none" for *_, spec in specs):
                specs = []
                found[protocol] = []
                continue
            off = given.has(f"no-{protocol}")
            found[protocol] = [(f'{typed} "{text}"', spec) for typed, text, spec in specs]
            if not specs and not off and not machine:
                found[protocol] = [("", _AUTO)]
            elif off:
                found[protocol] = []
    return options


class Ports:
    """All ports of one run.

    Args:
        net: the network.
        inside: the process in the namespace; None: there is no namespace to look into.
        guests: the guest's addresses, by 4 and 6.
        stack: closes what is opened here.
    """

    def __init__(
        self, net: Slirp, inside: Inside | None, guests: Mapping[int, IPAddress], stack: ExitStack
    ) -> None:
        self._net = net
        self._inside = inside
        self._guests = guests
        self._addresses = [each for each in ALL_ADDRESSES if each.version in guests]
        self._rules: dict[tuple[str, int], list[HostForward]] = {}
        self._served: dict[tuple[str, int], list[OpenSocket]] = {}
        self._followers: list[tuple[str, bool, Follower]] = []
        self._clients = ephemeral_ports()  # of the host's; later, this process may not read it
        self._own: dict[str, int] = {}
        for name in TABLES:
            with suppress(OSError):
                self._own[name] = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, self._own[name])

    @property
    def follows(self) -> bool:
        """True if :meth:`follow` has something to do."""
        return bool(self._followers)

    def open(self, options: PortOptions) -> None:
        """Open the ports that the options name.

        Raises:
            ConfigError: one of them cannot be opened.
        """
        for protocol, specs in options.inward.items():
            for where, spec in specs:
                self._open_inward(protocol, where, spec)
        for protocol, specs in options.outward.items():
            for where, spec in specs:
                self._open_outward(protocol, where, spec)

    def follow(self) -> None:
        """Follow the listeners of both sides; to be called about once a second."""
        if self._inside is None:
            return
        for protocol, inward, follower in self._followers:
            kind = _KINDS[protocol]
            tables = self._inside.tables if inward else self._own
            wanted = listening_ports(_of(tables, protocol), kind, self._clients)
            if inward and protocol == "udp":  # as QUIC goes with TLS
                wanted |= listening_ports(_of(tables, "tcp"), socket.SOCK_STREAM, self._clients)
            ours = self._served if inward else self._rules
            follower.follow(wanted - {port for known, port in ours if known == protocol})

    # ----------------------------------------------------------------------------------- to the namespace

    def _open_inward(self, protocol: str, where: str, spec: PortSpec) -> None:
        if spec.mode == "auto":
            follower = Follower(
                spec, lambda port: self._add(protocol, port), lambda port: self._remove(protocol, port)
            )
            self._followers.append((protocol, True, follower))
            return
        several = spec.mode == "all"
        opened = 0
        addresses = _of_interface(where, spec.interface) if spec.interface else self._addresses
        rules = [
            HostForward(
                protocol,
                rule.host_address,
                rule.host_port + n,
                self._guest(rule.host_address),
                rule.guest_port + n,
            )
            if several
            else HostForward(
                protocol,
                rule.host_address,
                rule.host_port,
                self._guest(rule.host_address),
                rule.guest_port,
                None,
                rule.count,
            )
            for rule in host_forwards(protocol, spec, addresses)
            for n in range(rule.count if several else 1)
        ]
        _check_room(where, sum(rule.count for rule in rules))
        for rule in rules:
            try:
                self._note(protocol, self._net.add_hostfwd(rule))
                opened += 1
            except ForwardError as error:
                if not several and not (opened and rule.host_address == ALL_ADDRESSES[1]):
                    text = str(error).partition(": ")[2]
                    raise ConfigError(f"{where}: {text}") from None
        if not opened:
            raise ConfigError(f"{where}: none of these ports can be opened")

    def _guest(self, host: IPAddress) -> IPAddress:
        """The guest's address of a family, or else of the other one."""
        return self._guests.get(host.version) or next(iter(self._guests.values()))

    def _note(self, protocol: str, rule: HostForward) -> None:
        for port in range(rule.host_port, rule.host_port + rule.count):
            self._rules.setdefault((protocol, port), []).append(rule)

    def _add(self, protocol: str, port: int) -> bool:
        for address in self._addresses:
            rule = HostForward(protocol, address, port, self._guest(address), port)
            try:
                self._note(protocol, self._net.add_hostfwd(rule))
            except ForwardError:
                continue  # in use, or it takes privileges
        return (protocol, port) in self._rules

    def _remove(self, protocol: str, port: int) -> None:
        for rule in self._rules.pop((protocol, port), ()):
            with suppress(ForwardError):
                self._net.remove_hostfwd(rule)

    # --------------------------------------------------------------------------------- from the namespace

    def _open_outward(self, protocol: str, where: str, spec: PortSpec) -> None:
        if self._inside is None:
            return
        if spec.mode == "auto":
            follower = Follower(
                spec, lambda port: self._serve(protocol, port, port), lambda port: self._unserve(protocol, port)
            )
            self._followers.append((protocol, False, follower))
            return
        for one in spec.maps:
            self._serve_range(protocol, one, spec.address)

    def _serve_range(self, protocol: str, ports: PortMap, address: IPAddress | None) -> None:
        for offset in range(ports.last - ports.first + 1):
            self._serve(protocol, ports.first + offset, ports.target + offset, address)

    def _serve(self, protocol: str, port: int, target: int, address: IPAddress | None = None) -> bool:
        assert self._inside is not None
        self._served[protocol, port] = []
        for family, loopback in _LOOPBACKS.items():
            version = 4 if family == socket.AF_INET else 6
            if version not in self._guests or (address is not None and address.version != version):
                continue

            def arrived(sock: socket.socket | None) -> None:
                served = self._served.get((protocol, port))
                if sock is None:
                    return  # in use inside
                if served is None:
                    sock.close()
                else:
                    served.append(self._net.serve_guest_loopback(sock, target))

            text = loopback if address is None else str(address)
            self._inside.bind(_KINDS[protocol], family, text, port, arrived)
        return True

    def _unserve(self, protocol: str, port: int) -> None:
        for served in self._served.pop((protocol, port), ()):
            served.close()


def _of(tables: Mapping[str, int], protocol: str) -> list[int]:
    return [tables[name] for name in (protocol, f"{protocol}6") if name in tables]


def _check_room(where: str, ports: int) -> None:
    """Check that so many sockets can be open, and some for flows.

    Raises:
        ConfigError: the limit on descriptors is too low.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    used = len(os.listdir("/proc/self/fd"))
    if limit != resource.RLIM_INFINITY and ports > limit - used - _SPARE:
        raise ConfigError(
            f"{where}: these are {ports} sockets, and {limit} descriptors are allowed; name fewer, or allow more"
            " with `ulimit -n`"
        )


def _of_interface(where: str, name: str) -> list[IPAddress]:
    """The addresses of an interface of the host.

    Raises:
        ConfigError: there is no such interface, or it has none.
    """
    from ipaddress import ip_address

    from slirpy.cli.rtnetlink import Interfaces

    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise ConfigError(f'{where}: there is no interface "{name}"') from None
    with Interfaces() as interfaces:
        found = [
            ip_address(each.address)
            for family in _LOOPBACKS
            for each in interfaces.addresses(family)
            if each.interface == index and not ip_address(each.address).is_link_local
        ]
    if not found:
        raise ConfigError(f'{where}: interface "{name}" has no address')
    return found
