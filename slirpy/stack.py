"""The complete stack: the core below, NAT and services above it.

:class:`Stack` does no I/O, reads no clock and has no hidden randomness. Its input is frames, host events and the
time, its output frames and a deadline, so the same class serves an emulator, a namespace and a test in virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, ip_address
from itertools import zip_longest
from random import Random
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from slirpy import forks, services
from slirpy.addresses import AnyAddress, mac_bytes, port_number
from slirpy.checks import has_method, instance, switch
from slirpy.config import Config, option
from slirpy.config.dnsrecord import DnsRecord
from slirpy.config.guestfwd import GuestForward, make_guestfwd
from slirpy.config.hostfwd import HostForward, parse_hostfwd
from slirpy.config.relations import check_redirects
from slirpy.config.values import function, one
from slirpy.core.arrival import FlowOpeners
from slirpy.core.flows import FlowInfo
from slirpy.core.network import ROUTER
from slirpy.core.parts import Parts
from slirpy.core.stack import IPStack
from slirpy.core.translation import Translation
from slirpy.errors import ConfigError, ForwardError
from slirpy.fair import TokenBuckets
from slirpy.interfaces import (
    Acceptor,
    Buffer,
    Decision,
    FlowRequest,
    HostNetwork,
    IPProtocol,
    Policy,
    StreamOwner,
    StreamPeer,
    Verdict,
)
from slirpy.nat.hostfwd import Forwards
from slirpy.nat.icmp import IcmpNat
from slirpy.nat.inside import Inside, LoopbackForwards
from slirpy.nat.inspection import first_bytes, load_for
from slirpy.nat.limits import DescriptorLimit
from slirpy.nat.ownports import OwnAddresses
from slirpy.nat.questions import Questions
from slirpy.nat.routes import LOOPBACK, LOOPBACK6, Router
from slirpy.nat.targets import NamedTargets
from slirpy.nat.tcpdemand import TcpOnDemand
from slirpy.nat.udp import UdpNat
from slirpy.reprs import counted, never_raises
from slirpy.services.dhcp import LeaseBook
from slirpy.services.guestfwd import GuestForwards, TargetOpener
from slirpy.services.ondemand import DnsOnDemand, OnDemand
from slirpy.stats import Stats
from slirpy.wire import dhcp6

if TYPE_CHECKING:
    from slirpy.audit.trail import AuditTrail
    from slirpy.config.policy import Rule
    from slirpy.nat.outside import OutwardDatagrams
    from slirpy.nat.tcp import TcpNat
    from slirpy.services.dhcp import LeaseInfo, LeaseStore
    from slirpy.services.dns.pinning import PinnedNames
    from slirpy.services.tftp import TftpService

__all__ = ["Stack"]

_DHCP_PORT: Final = 67
_DNS_PORT: Final = 53
_TFTP_PORT: Final = 69
_LIMITED_BROADCAST: Final = b"\xff\xff\xff\xff"


def _same(info: FlowInfo) -> FlowInfo:
    return info


class Stack(IPStack):
    """A virtual network: :meth:`input`, :meth:`flush` and :meth:`deadline`.

    Args:
        config: the network.
        host: the outside world: :class:`~slirpy.host.sockets.SocketHost` or
            :class:`~slirpy.testing.world.host.SimHost`.
        random: the only source of randomness; use a seeded one to repeat the same frames.
        now: nanoseconds, the start of time.
        lease_store: storage of DHCP leases across restarts; None: none.
        target_opener: opens streams to commands, Unix sockets and functions, which ``config.guestfwd`` may name.
        audit: makes records of what happens; None: none, unless ``config.audit`` is a function.
        awaiter: runs the coroutines of a policy, each of which makes a decision; None: they may wait for nothing.

    Raises:
        ConfigError: an argument has the wrong type.
        ForwardError: a rule in ``config.hostfwd`` or ``config.guestfwd`` cannot be set up.
    """

    def __init__(
        self,
        config: Config,
        host: HostNetwork,
        *,
        random: Random | None = None,
        stats: Stats | None = None,
        now: int = 0,
        lease_store: LeaseStore | None = None,
        target_opener: TargetOpener | None = None,
        audit: AuditTrail | None = None,
        awaiter: Callable[[Awaitable[Verdict]], Decision] | None = None,
    ) -> None:
        instance("config", config, Config, "a Config")
        instance("random", random, (Random, NoneType), "a random.Random")
        instance("stats", stats, (Stats, NoneType), "a Stats")
        has_method("host", host, "connect_tcp", optional=False)
        has_method("lease_store", lease_store, "load")
        has_method("target_opener", target_opener, "opener")
        if audit is not None:
            from slirpy.audit.trail import AuditTrail

            instance("audit", audit, AuditTrail, "an AuditTrail")
        elif callable(config.audit):
            from slirpy.audit.trail import AuditTrail

            audit = AuditTrail(function=config.audit)
        self._audit = audit
        self._host_network = host
        self._made_at = forks.count
        parts = self._parts = Parts(config, random or Random(), Stats() if stats is None else stats)
        translation = Translation(config)
        router = self._router = Router(config, parts.network.addresses, translation, parts.network)
        self.questions = Questions(parts.network, config.asker)
        """Questions about flows for which the policy says ask."""
        router.asker = self.questions
        if awaiter is not None:
            function("awaiter", awaiter, " of an awaitable")
            router.awaiter = awaiter
        is_own = getattr(host, "is_own", None)
        if is_own is not None:
            router.is_own = OwnAddresses(is_own)
        router.targets = NamedTargets(host.lookup)
        if config.flow_rate:
            router.openings = TokenBuckets(parts.network.ports, config.flow_rate)
        descriptors = self._descriptors = DescriptorLimit(parts.network.stats)
        tcp = self._tcp_on_demand = TcpOnDemand(parts, host, router, descriptors, first_bytes, self.load_tcp)
        self._udp = UdpNat(parts, host, router, descriptors)
        self._udp.holding.inspector = first_bytes
        load_for(config.policy)
        self._ping = IcmpNat(parts, host, router, self._udp, descriptors)
        flow_openers = FlowOpeners(
            tcp.open_tcp, self._udp.input_udp, self._ping.input_echo, self._ping.input_error
        )
        super().__init__(parts, flow_openers)
        if config.proxy is not None:
            self._udp.proxies = self._ping.proxies = tcp.load().load_proxies()
        self.tick(now)
        if audit is not None:
            parts.network.events = audit
            nets = [net for on, net in ((config.ipv4, config.net), (config.ipv6, config.net6)) if on]
            audit.started(self, nets, config.policy)
        self._leases = LeaseBook(
            config,
            self,
            lease_store,
            lambda: len(self.ports),
            self.neighbors,
            self._lease_changed,
        )
        self.neighbors.tenant = self._leases.tenant
        asked = (config.gateway_address, _LIMITED_BROADCAST, config.broadcast_address)
        # DHCP may be unable to carry these.
        texts = bool(config.hostname or config.domainname or config.dnssearch)
        dhcp = OnDemand(lambda: services.DhcpService(config, self, self._leases), now=texts)
        self.bind(asked, _DHCP_PORT, dhcp)
        if config.ipv6:
            parts.network.join(dhcp6.ALL_SERVERS)
            parts.network.join(dhcp6.SITE_SERVERS)
            self.bind(
                (dhcp6.ALL_SERVERS, dhcp6.SITE_SERVERS, ROUTER, config.gateway_address6),
                dhcp6.SERVER_PORT,
                OnDemand(lambda: services.Dhcp6Service(config, self, self._leases), now=texts),
            )
        self._dns = DnsOnDemand(
            config,
            self,
            host,
            guests=self._leases,
            translation=translation,
            is_own=router.is_own,
            policy=lambda: router.policy,
            events=lambda: parts.network.events,
            made=self._use_names,
        )
        if config.policy is not None:
            self._dns.load()
        router.lease_of = self._leases.hostname_of
        if audit is not None:
            audit.lease_of = self._leases.hostname_of
        if not config.no_dns and not config.restrict:  # these queries leave this machine
            for address in (config.dns_address, config.dns_address6):
                self.bind((address,), _DNS_PORT, self._dns)
                self.stream_services[address, _DNS_PORT] = self._dns_stream
        self._guestfwds = GuestForwards(parts, self, host, target_opener, self._leases.exclude)
        for target in config.guestfwd:
            self._guestfwds.add(target)
        self._tftp: TftpService | None = None
        if config.tftp is not None:
            from slirpy.services.tftp import TftpService

            self._tftp = TftpService(config, self)
            self.bind((config.gateway_address, config.gateway_address6, ROUTER), _TFTP_PORT, self._tftp)
        self._hostfwds = Forwards(host, tcp.open_inbound, self._udp, self._forward_target)
        try:
            for rule in config.hostfwd:
                self._hostfwds.add(rule)
        except ForwardError:
            self._hostfwds.close()  # all or none
            raise

    @never_raises
    def __repr__(self) -> str:
        return f"<Stack {self.summary()}>"

    def summary(self) -> str:
        """Describe the network in a few words: ``10.0.2.0/24, 1 link, 3 flows``."""
        return f"{self.config.net}, {counted(len(self.ports), 'link')}, {counted(self.flow_count, 'flow')}"

    @property
    def flow_count(self) -> int:
        """Number of flows."""
        return len(self.tcp_flows) + len(self._udp.flows) + len(self._ping.flows) + self._hostfwds.flow_count

    @property
    def _tcp(self) -> TcpNat:
        """The NAT of TCP."""
        return self._tcp_on_demand.load()

    def lead_inside(self, inside: Inside, *, local: bool = False) -> None:
        """Retry forwards that a guest refuses on that guest's own loopback, which ``inside`` reaches.

        With ``local``, the host's own clients go there at once, and no others do.
        """
        self._hostfwds.lead_inside(LoopbackForwards(self._parts, inside, self._descriptors, local=local))

    def outward_acceptor(self, size: int, port: int) -> Acceptor:
        """Return the function that connects clients on a guest's loopback to a port of the host's.

        Addresses have ``size`` bytes.
        """
        from slirpy.nat.outside import accept_outward

        return partial(accept_outward, self._outward(size), port)

    def outward_datagrams(self, size: int, port: int) -> OutwardDatagrams:
        """Make the owner of a UDP socket on a guest's loopback, whose datagrams go to a port of the host's."""
        from slirpy.nat.outside import OutwardDatagrams

        return OutwardDatagrams(self._outward(size), port)

    def _outward(self, size: int) -> LoopbackForwards:
        from slirpy.nat.outside import HostLoopback

        return self._hostfwds.outward(
            size,
            lambda: LoopbackForwards(
                self._parts, HostLoopback(self._host_network, size), self._descriptors, outward=True
            ),
        )

    def hide_listener(self, place: tuple[str, int] | None, *, hide: bool = True) -> None:
        """Refuse guests' connections to a TCP port of the host where this network listens for guests, or no longer.

        ``place`` begins with an address and a port; None: it is no port.
        """
        if place is not None:
            ports = self._router.own_ports
            address = ip_address(place[0].partition("%")[0]).packed
            (ports.add if hide else ports.remove)(IPProtocol.TCP, address, place[1])

    @property
    def policy(self) -> Policy | None:
        """The policy in force; None: everything is allowed. A new one also applies to flows that are open: those that
        it does not allow are reset.

        Raises:
            ConfigError: neither a policy nor a list of rules.
        """
        return self._router.policy

    @policy.setter
    def policy(self, policy: Policy | Sequence[Rule | str] | None) -> None:
        checked: Policy | None = option("policy").check(policy)
        check_redirects(checked, self.config.net, self.config.net6)
        load_for(checked)
        if checked is not None:
            self._dns.load()  # for its names
        self._router.policy = checked
        from slirpy.nat.recheck import recheck

        reset = recheck(self._tcp, self._udp, self._ping, self.neighbors)
        if self.network.events is not None:
            self.network.events.policy_changed(checked, reset)

    @property
    def dns_records(self) -> list[DnsRecord]:
        """The operator's DNS records in force.

        Raises:
            ConfigError: not a list of records.
        """
        return list(self._dns.load().local.records)

    @dns_records.setter
    def dns_records(self, records: Sequence[DnsRecord | str]) -> None:
        self._dns.load().local.replace(option("dns_records").check(records))

    def _lease_changed(self, mac: bytes, address: bytes, hostname: str, what: str) -> None:
        if self.network.events is not None:
            self.network.events.lease(mac, address, hostname, what)
            self._leases.watch()

    def watch_leases(self) -> None:
        """Report leases that expire to a sink of events that came later than they."""
        self._leases.watch()

    def _forward_target(self) -> bytes:
        config = self.config
        if not config.ipv4:
            return self.neighbors.first_heard(config.first_guest6) or config.first_guest6
        first = config.dhcpstart_address
        return self._leases.v4.first_lease() or self.neighbors.first_heard(first) or first

    def _use_names(self, names: PinnedNames) -> None:
        self._router.names = names
        self.on_detach = names.lost

    def _dns_stream(self, owner: StreamOwner, flow: FlowRequest) -> StreamPeer:
        link = self.neighbors.get(flow.source_bytes).port
        return self._dns.stream(owner, flow.source_bytes, link, flow.mac_bytes)

    def flows(self) -> list[FlowInfo]:
        """Return every TCP, UDP and ICMP echo flow."""
        now = self.now
        tcp = [flow.info(now) for flow in self.tcp_flows.values()]
        udp = [flow.info(now) for flow in self._udp.flows.values()]
        ping = [flow.info(now) for flow in self._ping.flows.values()]
        return tcp + udp + ping + self._hostfwds.flows()

    def flow_counts(self) -> dict[str, int]:
        """Return the number of flows by protocol: ``"tcp"``, ``"udp"`` and ``"icmp"``."""
        return {"tcp": len(self.tcp_flows), "udp": len(self._udp.flows), "icmp": len(self._ping.flows)}

    def flow_views(self) -> list[Callable[[], FlowInfo | None]]:
        """Return functions that each return a snapshot of one flow, or None once it has ended; the newest come first.

        So the snapshots of many flows can be made in pieces, between which the stack does its work.
        """
        tables: tuple[dict[bytes, Any], ...] = (self.tcp_flows, self._udp.flows, self._ping.flows)
        views: list[list[Callable[[], FlowInfo | None]]] = [
            [partial(self._view, table, key) for key in reversed(table)] for table in tables
        ]
        views.append([partial(_same, info) for info in self._hostfwds.flows()])
        return [view for round_ in zip_longest(*views) for view in round_ if view is not None]

    def _view(self, table: dict[bytes, Any], key: bytes) -> FlowInfo | None:
        flow = table.get(key)
        info: FlowInfo | None = None if flow is None else flow.info(self.now)
        return info

    def leases(self) -> list[LeaseInfo]:
        """Return the DHCP leases that hold an address now: offered, bound or declined."""
        return [lease.info(self.now) for lease in self._leases.leases()]

    def hostfwds(self) -> list[HostForward]:
        """Return the active forwards of host ports, with the ports that were chosen."""
        return self._hostfwds.active()

    def add_hostfwd(self, rule: str | HostForward) -> HostForward:
        """Start to forward a port of the host; returns the rule, with the chosen port if it asked for port 0.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: the port is not available, or no guest can have the address.
        """
        return self._hostfwds.add(one("hostfwd", rule, HostForward, parse_hostfwd))

    def remove_hostfwd(self, rule: str | HostForward) -> None:
        """Stop forwarding; connections stay open.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: there is no such forward.
        """
        self._hostfwds.remove(one("hostfwd", rule, HostForward, parse_hostfwd))

    def connect_guest(
        self, peer: StreamPeer, guest: AnyAddress, port: int, outcome: Callable[[int], None]
    ) -> StreamOwner:
        """Connect a program of the host to a guest's TCP port, as a forward does; the gateway is the client.

        Args:
            peer: the program's stream. It must not call its owner before this has returned.
            guest: an address of the network that guests may have, or the host name of a guest that has a lease.
            port: 1 to 65535.
            outcome: called with 0 once the guest has accepted the connection, and with an ``errno`` value if it
                resets it. Without such a call before ``peer.abort``, the guest's loopback has refused it.

        Returns:
            The owner of ``peer``.

        Raises:
            ConfigError: no guest can have the address, or none has the name, or ``port`` is out of range.
        """
        port_number("port", port, 1)
        address = self._guest_address(guest)
        source = LOOPBACK if len(address) == len(LOOPBACK) else LOOPBACK6
        return self._hostfwds.open(peer, (source, 0), address, port, outcome)

    def _guest_address(self, guest: AnyAddress) -> bytes:
        address = self._leases.guest_address(guest)
        if not self.network.may_be_guest(address):
            config = self.config
            nets = " and ".join(
                str(net) for on, net in ((config.ipv4, config.net), (config.ipv6, config.net6)) if on
            )
            raise ConfigError(
                f"guest {ip_address(address)}: no guest can have this address; guests are in {nets}"
            )
        return address

    def guestfwds(self) -> list[GuestForward]:
        """Return the active rules about addresses of the virtual network, in the order in which they were added."""
        return self._guestfwds.active()

    def add_guestfwd(self, rule: str | GuestForward, *, listed: bool = True) -> GuestForward:
        """Add a target that answers guests at an address and port; returns the parsed rule.

        Args:
            listed: whether :meth:`guestfwds` includes it.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: something answers there already, a guest has the address, or the target cannot work.
        """
        forward = make_guestfwd(rule)
        self._guestfwds.add(forward, listed=switch("listed", listed))
        return forward

    def remove_guestfwd(self, rule: str | GuestForward) -> None:
        """Remove the target at an address and port; connections stay open, and no guest gets the address.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: there is no rule with this server and port.
        """
        self._guestfwds.remove(make_guestfwd(rule))

    def reserve(self, mac: Buffer | str) -> IPv4Address:
        """Reserve an address for the guest with this MAC address (six bytes, or text), unless it has one, and return
        it. DHCP gives that guest the same address, and no other guest.

        Raises:
            ConfigError: ``mac`` is not the MAC address of a network card.
            StateError: all addresses are taken.
        """
        address = self._leases.v4.reserve(mac_bytes("mac", mac))
        self._leases.save_changes()
        return IPv4Address(address)

    def close(self) -> None:
        """End all flows, guests' connections by a RST, and release the host's resources. Flushes once.

        Does nothing in a forked child: flows, links and leases belong to the parent.
        """
        if forks.is_fork(self._made_at):
            return
        self._hostfwds.close()
        for flow in list(self.tcp_flows.values()):
            self._tcp.evict(flow)
        for udp_flow in list(self._udp.flows.values()):
            self._udp.remove(udp_flow)
        for echo_flow in list(self._ping.flows.values()):
            self._ping.remove(echo_flow)
        for nat in (self._udp, self._ping):
            nat.holding.close()
        self._ndp.close()
        self._dns.close()
        self._leases.close()
        if self._tftp is not None:
            self._tftp.close()
        self.flush(self.now)
        if self._audit is not None:
            self._audit.close()
