"""The hosts of a network, their names and addresses, and the paths between them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from slirpy.addresses import address_bytes
from slirpy.checks import instance, shown
from slirpy.config import Config
from slirpy.config.values import as_text, host_name
from slirpy.errors import ConfigError
from slirpy.links.faultypath import Faults
from slirpy.reprs import counted, never_raises
from slirpy.tcp import Settings
from slirpy.testing.guest.dhcp import DhcpClient
from slirpy.testing.sim.clock import TRUE_CLOCK, Clock
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.path import Deliver, Path, Plan
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.router import Router
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.setup import Setup
from slirpy.testing.sim.stack import HostStack
from slirpy.testing.sim.tlskeys import TlsKeys
from slirpy.testing.sim.trace import CarrySegment, Trace
from slirpy.testing.sim.wellknown import LOOPBACK, MAIN_HOST
from slirpy.testing.sim.world import World
from slirpy.testing.text import seconds
from slirpy.units import MS, SECOND

__all__ = ["HOST_SETTINGS", "Topology"]

HOST_SETTINGS = Settings(
    rcv_buffer=1 << 20,
    rcv_buffer_initial=1 << 16,
    snd_buffer=1 << 18,
    delayed_ack=40 * MS,
    rto_margin=200 * MS,
    peer_ack_delay=200 * MS,
    syn_linear_timeouts=4,
    syn_timeout=131 * SECOND,
    user_timeout=924_600 * MS,
)
"""Settings of the TCP connections of hosts: those of Linux 6.5 and later, as far as programs notice them. Buffers are
smaller than those to which Linux may grow. Linux counts retransmissions; its defaults end after these times."""
_FIRST4 = int.from_bytes(bytes((198, 18, 0, 0)), "big")  # RFC 2544: for tests of networks
_HOSTS_MAX = 65_000
_PREFIX6 = bytes.fromhex("20010db800000000")  # RFC 3849: for documentation


class Topology(World[Program]):
    """The part of a :class:`~slirpy.testing.sim.network.Network` that its hosts depend on."""

    def __init__(self, setup: Setup) -> None:
        setup.check()
        self.seed = seed = setup.seed
        self.epoch = setup.epoch
        self.epoch_ns = setup.epoch_ns
        """:attr:`epoch` in nanoseconds since 1970."""
        self.patch = frozenset({*setup.patch, "always"})
        """The parts of Python that programs see in another version; see :mod:`slirpy.testing.sim.patch`."""
        self.trace = Trace()
        self.hosts: dict[str, Host] = {}
        self.scheduler = Scheduler(Random(f"{seed} order") if setup.order == "random" else None)
        self._mtu = setup.mtu
        self._default = setup.path
        self._paths: dict[tuple[str, str], Path] = {}
        self._macs: dict[bytes, bytes] = {}
        self._by_mac: dict[bytes, Host] = {}
        self._routers: dict[str, Router] = {}
        self._behind: dict[str, Router] = {}
        self._names: dict[str, list[bytes]] = {}
        self._plan: Plan | None = None
        self.tls_keys = TlsKeys()
        """Secrets of TLS connections, for captures."""
        self.extensions: dict[str, Any] = {}
        """Runners of programs, such as the asyncio loop, by name; closed with the network."""

    @never_raises
    def __repr__(self) -> str:
        return f"<Network seed {self.seed} at {seconds(self.now)}: {counted(len(self.hosts), 'host')}>"

    # ------------------------------------------------------------------------------------- building

    def host(
        self,
        name: str,
        address: str | None = None,
        *,
        behind: Router | str | None = None,
        clock: Clock = TRUE_CLOCK,
        tcp: Settings = HOST_SETTINGS,
    ) -> Host:
        """Return the host of this name, which is made at the first call.

        Later calls with the name alone return it. The host ``client``, on which tests run by default, is also made
        where a fault, a path or a partition names it first.

        Args:
            name: letters, digits, dots and hyphens; programs resolve it to the host's addresses.
            address: its IPv4 address; None: the next one of 198.18.0.0/16. Its IPv6 address is in 2001:db8::/64.
            behind: the router that is between it and the others; it gives the host its addresses.
            clock: the clock of its programs.
            tcp: settings of its connections.

        Raises:
            ConfigError: a name or address that cannot be used, or one that another host has; more than the name of
                a host that has been made.
        """
        key = host_name("name", name, dot=True).lower()
        known = self.hosts.get(key)
        if known is not None:
            if address is not None or behind is not None or clock is not TRUE_CLOCK or tcp is not HOST_SETTINGS:
                raise ConfigError(
                    f"there is a host {name} already; choose another name, or omit its place, clock and settings"
                )
            return known
        instance("clock", clock, Clock, "a Clock")
        instance("tcp", tcp, Settings, "a slirpy.tcp.Settings")
        number = len(self.hosts) + 1
        if number > _HOSTS_MAX:
            raise ConfigError(f"a network has at most {_HOSTS_MAX} hosts")
        mac = b"\x02\x00" + number.to_bytes(4, "big")
        if behind is not None:
            if address is not None:
                raise ConfigError(f"host {name} gets its address from the router; omit address {address}")
            return self._add_inside(key, mac, self._router(behind), clock, tcp)
        own4 = (_FIRST4 + number).to_bytes(4, "big") if address is None else address_bytes("address", address)
        if len(own4) != 4 or own4 in self._macs:
            problem = "is not an IPv4 address" if len(own4) != 4 else "belongs to another host"
            raise ConfigError(f"address {address} of host {name} {problem}")
        own6 = _PREFIX6 + number.to_bytes(8, "big")

        def make() -> HostStack:
            stack = self._make_stack(
                key,
                lambda frame: self._transmit(host, frame),
                mac,
                self._macs,
                tcp,
                lambda target: self._path(host, self._by_mac[target]).carry_segment,
            )
            stack.add_address(own4, 0)
            stack.add_address(own6, 0)
            return stack

        host = Host(self, key, clock, make, lambda _, ready: ready())
        self.hosts[key] = self._by_mac[mac] = host
        for own in host.packed_addresses:
            self._macs[own] = mac
        self._names[key] = [own4, own6]
        return host

    def _make_stack(
        self,
        name: str,
        send: Callable[[bytes], None],
        mac: bytes,
        neighbors: Mapping[bytes, bytes],
        tcp: Settings,
        path_to: Callable[[bytes], CarrySegment] | None = None,
    ) -> HostStack:
        epoch = self.hosts[name].epoch if name in self.hosts else 0
        random = Random(f"{self.seed} host {name} {epoch}")
        return HostStack(self.scheduler, send, random, mac, self._mtu, name, neighbors, tcp, path_to)

    def _add_inside(self, name: str, mac: bytes, router: Router, clock: Clock, tcp: Settings) -> Host:
        """Add a host behind a router."""
        config, outside = router.config, router.outside

        def make() -> HostStack:
            return self._make_stack(name, send, mac, {}, tcp)

        def send(frame: bytes) -> None:
            there.carry(frame)

        def boot(stack: HostStack, ready: Callable[[], None]) -> None:
            waiting = int(config.ipv4) + int(config.ipv6)

            def configured() -> None:
                nonlocal waiting
                waiting -= 1
                if not waiting:
                    ready()

            if config.ipv4:
                dhcp = DhcpClient(stack, stack.udp_host)
                dhcp.on_bound = partial(_once, dhcp, configured)
                dhcp.start()
            if config.ipv6:
                stack.autoconfigure(configured)
            stack.flush()

        host = Host(self, name, clock, make, boot)
        self.hosts[name] = host
        self._behind[name] = router
        back = self._add_path(outside, host, Faults(), host.receive)
        there = self._add_path(host, outside, Faults(), router.plug_in(host, self._mtu, back.carry))
        self._boot(host)
        return host

    @abc.abstractmethod
    def _boot(self, host: Host) -> None:
        """Let time pass until a host has its addresses from its router."""

    def router(self, name: str, config: Config | None = None) -> Router:
        """Add a router: a host of this name outside, and slirpy's stack inside.

        Args:
            name: its name, which other hosts resolve to its outer address.
            config: its configuration; None: 10.0.2.0/24 with DHCP, and a DNS that knows the hosts of this network.

        Raises:
            ConfigError: a name that is taken, or a configuration that would ask the real machine.
            ForwardError: a rule of the configuration cannot be set up.
        """
        if host_name("name", name, dot=True).lower() in self.hosts:
            raise ConfigError(f"there is a host {name} already; choose another name for the router")
        if config is None:
            config = Config(dns_mode="system")
        instance("config", config, Config, "a slirpy.Config")
        router = self._routers[name.lower()] = Router(self.host(name), config)
        return router

    def _router(self, which: Router | str) -> Router:
        router = self._routers.get(which.lower()) if isinstance(which, str) else which
        if not isinstance(router, Router) or router not in self._routers.values():
            known = ", ".join(self._routers) or "none yet"
            raise ConfigError(f"{shown(which)} is not a router of this network; there are: {known}")
        return router

    def resolve(self, name: str) -> list[bytes]:
        """Return the addresses of a name, four or sixteen bytes each, IPv4 first; empty: there is no such host.

        Args:
            name: name of a host, ``localhost``, or a name given by :meth:`alias`.
        """
        key = as_text("name", name).rstrip(".").lower()
        if key == "localhost" or key.endswith(".localhost"):
            return list(LOOPBACK.values())
        return list(self._names.get(key, ()))

    def alias(self, name: str, *hosts: Host | str) -> None:
        """Make a name resolve to the addresses of hosts.

        Raises:
            ConfigError: no host name, or it is taken.
        """
        key = host_name("name", name, dot=True).lower()
        if key in self._names:
            raise ConfigError(f"name {name} is taken; choose another one")
        found = [self._host(each).packed_addresses for each in hosts]
        self._names[key] = [address for each in found for address in each if address in self._macs]

    def path(self, source: Host | str, target: Host | str) -> Path:
        """Return the path from one host to another; the way back is another path.

        Raises:
            ConfigError: not a host of the network, or twice the same; or one of them is behind a router, so that
                several paths lead to the other.
        """
        one, other = self._host(source), self._host(target)
        if one is other:
            raise ConfigError(f"a path leads from {one.name} to another host")
        router = self._between(one, other)
        if router is not None:
            inside = one if one.name in self._behind else other
            raise ConfigError(
                f"no single path leads from {one.name} to {other.name}, because {inside.name} is behind router"
                f" {router.name}; name {router.name} and one of them"
            )
        return self._path(one, other)

    def _between(self, one: Host, other: Host) -> Host | None:
        """Return a router through which packets of two hosts go; None: a path connects them."""
        if (one.name, other.name) in self._paths:
            return None
        router = self._behind.get(one.name) or self._behind.get(other.name)
        return None if router is None else router.outside

    def _path(self, source: Host, target: Host) -> Path:
        path = self._paths.get((source.name, target.name))
        return self._add_path(source, target, self._default, target.receive) if path is None else path

    def _add_path(self, source: Host, target: Host, faults: Faults, deliver: Deliver) -> Path:
        key = source.name, target.name
        seed = f"{self.seed} path {source.name} {target.name}"

        def back(frame: bytes, reason: str) -> None:
            self._paths[target.name, source.name].insert(frame, reason)

        path = self._paths[key] = Path(
            self.scheduler,
            self.trace,
            *key,
            deliver,
            faults,
            partial(Random, seed),
            back,
            target.receive_segment,
        )
        path.plan = self._plan
        return path

    def _host(self, which: Host | str) -> Host:
        host = self.hosts.get(which.lower()) if isinstance(which, str) else which
        if host is None and which == MAIN_HOST:
            return self.host(MAIN_HOST)
        if not isinstance(host, Host) or self.hosts.get(host.name) is not host:
            known = ", ".join(self.hosts) or "none yet"
            raise ConfigError(f"{shown(which)} is not a host of this network; there are: {known}")
        return host

    def _transmit(self, host: Host, frame: bytes) -> None:
        """Carry a frame that a host has sent."""
        target = self._by_mac.get(frame[:6])
        if target is not None:
            self._path(host, target).carry(frame)
        elif frame[0] & 1:
            for each in list(self.hosts.values()):
                if each is not host:
                    self._path(host, each).carry(frame)


def _once(dhcp: DhcpClient, call: Callable[[], None]) -> None:
    """Call a function for the first lease, and not for renewals."""
    dhcp.on_bound = None
    call()
