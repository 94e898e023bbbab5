"""The configuration: each option checked by itself, then all of them together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from slirpy.config.boot import BootChoice
from slirpy.config.dhcp import BootFile, GuestRoute, LeasePolicy, StaticLease
from slirpy.config.dhcpoption import DhcpOption
from slirpy.config.dnsrecord import DnsAnswerer, DnsRecord
from slirpy.config.guestfwd import GuestForward
from slirpy.config.hostfwd import HostForward
from slirpy.config.options import OPTIONS
from slirpy.config.outbound import Outbound
from slirpy.config.proxy import Proxy
from slirpy.config.relations import servers_of, settle
from slirpy.config.resolver import Resolver
from slirpy.config.tftp import TftpSource
from slirpy.errors import ConfigError
from slirpy.interfaces import Asker, CongestionFactory, Policy, RefusedHook

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass
    from pathlib import Path

    from slirpy.config.policy import Rule

__all__ = ["Config"]


@dataclass(frozen=True, init=False)
class Config:
    """The virtual network: its addresses, what guests learn by DHCP and DNS, and what they may reach.

    Every option is given by keyword and has a default that works. Text is accepted where an address or a rule is
    expected; the attributes contain the parsed values. :data:`slirpy.config.OPTIONS` describes each option.
    Names are those of QEMU's ``-netdev user``; :meth:`from_qemu` reads its option strings.

    Raises:
        ConfigError: a value that cannot be used; the text names the option and what is allowed.
    """

    net: IPv4Network
    host: IPv4Address
    host_mac: bytes | None
    dns: IPv4Address
    net6: IPv6Network
    host6: IPv6Address
    dns6: IPv6Address
    transparent: bool
    ipv4: bool
    ipv6: bool
    nat64: bool
    nat64_prefix: IPv6Network
    dns46: IPv4Network | None
    mtu: int
    hub: bool
    guard: bool
    isolate: bool
    source_guard: bool
    rate: int | None
    flow_rate: int
    memory: int
    congestion: str | CongestionFactory
    tcp_keepalive: int
    outbound: Outbound | None
    proxy: Proxy | None
    proxy_auth_file: Path | None
    no_proxy: tuple[str, ...]
    hostfwd: tuple[HostForward, ...]
    guestfwd: tuple[GuestForward, ...]
    smb: Path | None
    smbserver: IPv4Address | None
    smbserver6: IPv6Address | None
    resolvers: tuple[Resolver, ...] | None
    dns_records: tuple[DnsRecord, ...]
    dns_cache: int
    dns_mode: str
    dns_mix_case: bool
    no_dns: bool
    dns_refused: str
    dns_grace: int
    dns_name_rate: int
    dns_answer: DnsAnswerer | None
    dhcpstart: IPv4Address
    dhcpstart6: IPv6Address
    static_leases: tuple[StaticLease, ...]
    lease_time: int
    lease_file: Path | None
    lease_policy: LeasePolicy | None
    hostname: str | None
    domainname: str | None
    dnssearch: tuple[str, ...]
    routes: tuple[GuestRoute, ...]
    dhcp_options: tuple[DhcpOption, ...]
    tftp: Path | TftpSource | None
    tftp_write: bool
    tftp_ignore_case: bool
    tftp_single_port: bool
    tftp_server_name: str | None
    bootfile: str | tuple[BootChoice, ...] | BootFile | None
    policy: Policy | None
    restrict: bool
    host_loopback: bool
    loopback_only: bool
    on_refused: RefusedHook | None
    asker: Asker | None
    audit: str | Callable[[dict[str, Any]], object] | None
    audit_fail: str
    learn: Path | None

    def __init__(
        self,
        *,
        net: IPv4Network | str = "10.0.2.0/24",
        host: IPv4Address | str | None = None,
        host_mac: bytes | str | None = None,
        dns: IPv4Address | str | None = None,
        net6: IPv6Network | str = "fec0::/64",
        host6: IPv6Address | str | None = None,
        dns6: IPv6Address | str | None = None,
        transparent: bool = False,
        ipv4: bool = True,
        ipv6: bool = True,
        nat64: bool = False,
        nat64_prefix: IPv6Network | str = "64:ff9b::/96",
        dns46: IPv4Network | str | None = None,
        mtu: int = 1500,
        hub: bool = False,
        guard: bool = True,
        isolate: bool = False,
        source_guard: bool = False,
        rate: int | str | None = None,
        flow_rate: int = 0,
        memory: int | str | None = None,
        congestion: str | CongestionFactory = "cubic",
        tcp_keepalive: int = 0,
        outbound: Outbound | str | None = None,
        proxy: Proxy | str | None = None,
        proxy_auth_file: str | os.PathLike[str] | None = None,
        no_proxy: Sequence[str] = (),
        hostfwd: Sequence[HostForward | str] = (),
        guestfwd: Sequence[GuestForward | str] = (),
        smb: str | os.PathLike[str] | None = None,
        smbserver: IPv4Address | str | None = None,
        smbserver6: IPv6Address | str | None = None,
        resolvers: Sequence[Resolver | str] | None = None,
        dns_records: Sequence[DnsRecord | str] = (),
        dns_cache: int = 1000,
        dns_mode: str = "auto",
        dns_mix_case: bool = False,
        no_dns: bool = False,
        dns_refused: str = "nxdomain",
        dns_grace: int = 3600,
        dns_name_rate: int = 120,
        dns_answer: DnsAnswerer | None = None,
        dhcpstart: IPv4Address | str | None = None,
        dhcpstart6: IPv6Address | str | None = None,
        static_leases: Sequence[StaticLease | str] = (),
        lease_time: int = 86_400,
        lease_file: str | os.PathLike[str] | None = None,
        lease_policy: LeasePolicy | None = None,
        hostname: str | None = None,
        domainname: str | None = None,
        dnssearch: Sequence[str] = (),
        routes: Sequence[GuestRoute | str] = (),
        dhcp_options: Sequence[DhcpOption | str] = (),
        tftp: str | os.PathLike[str] | TftpSource | None = None,
        tftp_write: bool = False,
        tftp_ignore_case: bool = False,
        tftp_single_port: bool = False,
        tftp_server_name: str | None = None,
        bootfile: str | BootFile | Sequence[BootChoice | str] | None = None,
        policy: Policy | Sequence[Rule | str] | None = None,
        restrict: bool = False,
        host_loopback: bool = True,
        loopback_only: bool = False,
        on_refused: RefusedHook | None = None,
        asker: Asker | None = None,
        audit: str | os.PathLike[str] | Callable[[dict[str, Any]], object] | None = None,
        audit_fail: str = "open",
        learn: str | os.PathLike[str] | None = None,
    ) -> None:
        given = locals()  # the arguments by name
        values = {option.name: option.check(given[option.name]) for option in OPTIONS}
        settle(values)
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way to assign in a frozen class

    # ------------------------------------------------------------------------ addresses as bytes

    @cached_property
    def network_address(self) -> bytes:
        """First address of the network, four bytes."""
        return self.net.network_address.packed

    @cached_property
    def netmask(self) -> bytes:
        """The network mask, four bytes."""
        return self.net.netmask.packed

    @cached_property
    def broadcast_address(self) -> bytes:
        """The network's directed broadcast address, four bytes."""
        return self.net.broadcast_address.packed

    @cached_property
    def gateway_address(self) -> bytes:
        """The gateway, four bytes."""
        return self.host.packed

    @cached_property
    def dns_address(self) -> bytes:
        """The DNS server, four bytes."""
        return self.dns.packed

    @cached_property
    def network_address6(self) -> bytes:
        """First address of the IPv6 network, sixteen bytes; it stands for any router (RFC 4291, section 2.6.1)."""
        return self.net6.network_address.packed

    @cached_property
    def gateway_address6(self) -> bytes:
        """The IPv6 gateway, sixteen bytes."""
        return self.host6.packed

    @cached_property
    def dns_address6(self) -> bytes:
        """The DNS server's IPv6 address, sixteen bytes."""
        return self.dns6.packed

    @cached_property
    def first_guest6(self) -> bytes:
        """The IPv6 address of a guest of which nothing is known, sixteen bytes: fec0::15, or the first free one."""
        net, taken = self.net6, (self.net6.network_address, self.host6, self.dns6)
        offsets = (0x15, *range(4))
        return next(net[n] for n in offsets if n < net.num_addresses and net[n] not in taken).packed

    @cached_property
    def dhcpstart_address(self) -> bytes:
        """The first address of the DHCP pool, four bytes."""
        return self.dhcpstart.packed

    @cached_property
    def dhcpstart_address6(self) -> bytes:
        """The first address of the DHCPv6 pool, sixteen bytes."""
        return self.dhcpstart6.packed

    @cached_property
    def server_addresses(self) -> frozenset[bytes]:
        """The addresses of all virtual servers, four or sixteen bytes each, which no guest gets.

        Those of a family that is off are left out.
        """
        four = servers_of(self.net, self.host, self.dns, self.smbserver, self.guestfwd) if self.ipv4 else ()
        outside = (self.gateway_address,) if self.ipv4 and self.transparent else ()
        named = (self.host6, self.dns6, self.smbserver6, *(rule.server for rule in self.guestfwd))
        six = [server.packed for server in named if server is not None and server in self.net6]
        if self.transparent:  # the gateway may be outside
            six.append(self.gateway_address6)
        if not self.ipv6:
            six.clear()
        return frozenset((*four, *outside, *six))

    @property
    def names_dns(self) -> bool:
        """True if guests learn the DNS server's address: a transparent network without one has none to tell."""
        return not (self.transparent and self.no_dns)

    @cached_property
    def _prefixes(self) -> dict[int, tuple[int, int]]:
        """By the length of an address: the shift that reduces it to its network part, and that of the network."""
        found = {}
        for on, net in ((self.ipv4, self.net), (self.ipv6, self.net6)):
            if on:
                shift = net.max_prefixlen - net.prefixlen
                found[net.max_prefixlen // 8] = shift, int(net.network_address) >> shift
        return found

    def contains(self, address: bytes) -> bool:
        """Report whether an address, as bytes, belongs to the virtual network; those of a family that is off
        never do.

        All link-local IPv6 addresses do, since they have no meaning beyond a link.
        """
        prefix = self._prefixes.get(len(address))
        if prefix is None:
            return False
        shift, network = prefix
        return int.from_bytes(address, "big") >> shift == network or (
            len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80
        )

    # ------------------------------------------------------------------------ QEMU's option strings

    @classmethod
    def from_qemu(cls, options: str, **more: Any) -> Config:
        """Read the options of QEMU's ``-netdev user,...``, with or without the leading ``user``.

        Args:
            options: for example ``"user,net=10.0.2.0/24,dhcpstart=10.0.2.50,hostfwd=tcp::2222-:22"``. A comma
                inside a value is written twice, as in QEMU. QEMU's JSON is read too:
                ``'{"type": "user", "id": "n0", "hostfwd": [{"str": "tcp::2222-:22"}]}'``.
            more: further arguments of :class:`Config`, for which QEMU has no keys.

        Raises:
            ConfigError: an unknown key (the nearest is named), one that is not built yet, or a bad value.
        """
        from slirpy.config.qemu import fill_in, in_keys, read_qemu

        try:
            return cls(**fill_in({**more, **read_qemu(options)}))
        except ConfigError as error:
            raise ConfigError(in_keys(str(error), more)) from None
