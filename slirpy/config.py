"""Configuration: given once, checked once, frozen.

Names are those of QEMU's ``-netdev user``; :meth:`Config.from_qemu` reads its option strings. Inside slirpy
addresses are ``bytes``; the properties that end in ``_address`` give them so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from slirpy.errors import ConfigError
from slirpy.interfaces import CongestionFactory, Policy, Refused
from slirpy.rules.boot import BootChoice, boot_files
from slirpy.rules.dhcp import (
    BootFile,
    GuestRoute,
    LeasePolicy,
    StaticLease,
    check_lease_time,
    check_static_leases,
    make_route,
    parse_lease,
)
from slirpy.rules.dhcpoption import DhcpOption, check_dhcp_options, parse_dhcp_option
from slirpy.rules.dnsrecord import DnsAnswerer, DnsRecord, parse_dns_record
from slirpy.rules.guestfwd import GuestForward, make_guestfwd
from slirpy.rules.hostfwd import HostForward, parse_hostfwd
from slirpy.rules.outbound import Outbound, parse_outbound
from slirpy.rules.policy import Rule, RulePolicy
from slirpy.rules.qemu import fill_in, read_qemu
from slirpy.rules.resolver import Resolver, parse_resolver
from slirpy.rules.tftp import TftpSource, check_tftp
from slirpy.rules.values import function, host_name, instances, ipv4, listed, path, printable, switch, whole

__all__ = ["Config"]

CONGESTION = ("cubic", "reno")
DNS_MODES = ("auto", "forward", "system")
DNS_CACHE_MAX = 1_000_000
KEEPALIVE_MAX = 86_400
MTU_MIN = 68  # RFC 791: every link carries 68 bytes
MTU_MAX = 65521  # 65535 less the Ethernet header, as QEMU has it


@dataclass(frozen=True, init=False)
class Config:
    """The virtual network: its addresses, what it tells guests, and what it lets through.

    All arguments are given by name and have defaults that work. Text is accepted where an address or a rule is
    wanted; the attributes are what it was read as.

    Raises:
        ConfigError: a value that cannot be used; the text says what is allowed.
        ForwardError: a rule in ``hostfwd`` that cannot be read.
    """

    net: IPv4Network
    """The virtual network, ``/4`` to ``/30``. Host bits are ignored, as QEMU ignores them."""
    host: IPv4Address
    """The gateway, alias of the host's loopback. Default: the second address (10.0.2.2)."""
    dns: IPv4Address
    """The virtual DNS server. Default: the third address (10.0.2.3); in a /30 the gateway's own."""
    dhcpstart: IPv4Address
    """The first address that DHCP gives out. Default: the 15th (10.0.2.15), or the first that is free."""
    mtu: int
    """Largest IP packet in bytes on the guest's network, 68 to 65521; told to guests by DHCP."""
    hub: bool
    """Whether every guest hears every frame, as on QEMU's hub; else each hears what is for it or for all."""
    congestion: str | CongestionFactory
    """Congestion control of TCP towards guests: ``"cubic"``, ``"reno"``, or what makes one of your own: a class or
    function that is given the bytes in a full segment and returns a :class:`~slirpy.interfaces.CongestionControl`."""
    tcp_keepalive: int
    """Seconds of silence after which a guest is asked whether it still has a TCP connection, 1 to 86400; if it does
    not answer, the far side sees a reset. 0: never, and what a guest leaves behind stays until somebody sends."""
    hostname: str | None
    """Name that DHCP gives to guests."""
    domainname: str | None
    """Domain that DHCP gives to guests."""
    dnssearch: tuple[str, ...]
    """DNS search list that DHCP gives to guests."""
    bootfile: str | tuple[BootChoice, ...] | BootFile | None
    """Boot file that DHCP names: a path for TFTP, an http URL for HTTP boot and iPXE, several with the architecture
    that each is for, as :func:`parse_bootfile` reads them, or a function that chooses."""
    tftp_server_name: str | None
    """TFTP server that DHCP names; an address is told as the next server too. Default: the gateway's address."""
    dhcp_options: tuple[DhcpOption, ...]
    """Further DHCP options for all guests, in place of ours; as :func:`parse_dhcp_option` reads them, or parsed."""
    static_leases: tuple[StaticLease, ...]
    """Addresses that are one client's only; rules as :func:`parse_lease` reads them, or parsed."""
    routes: tuple[GuestRoute, ...]
    """Routes that DHCP gives to guests beside the default route; as :func:`parse_route` reads them, or parsed."""
    lease_time: int
    """Seconds that a lease lasts, 2 to 4294967295, which means for ever. Default: a day."""
    lease_file: Path | None
    """Where leases are kept across restarts. Default: nowhere."""
    lease_policy: LeasePolicy | None
    """Asked about each DHCP request for an address or for parameters; None answers all alike."""
    hostfwd: tuple[HostForward, ...]
    """Ports of the host that lead to guests; rules as :func:`parse_hostfwd` reads them, or parsed."""
    guestfwd: tuple[GuestForward, ...]
    """Addresses at which something of the host's answers; rules as :func:`parse_guestfwd` reads them, or with targets
    that only Python has."""
    smb: Path | None
    """A folder of the host that guests find as the share ``qemu`` of an SMB server; needs Samba's ``smbd``."""
    smbserver: IPv4Address | None
    """The SMB server, if there is one. Default: the fourth address (10.0.2.4)."""
    resolvers: tuple[Resolver, ...] | None
    """DNS servers to forward to, ``ADDR[:PORT]`` each. Default: those of the host's resolv.conf."""
    tftp: Path | TftpSource | None
    """What guests read by TFTP from the gateway: a folder, or a callable that gives the content for a name."""
    tftp_write: bool
    """Whether guests may write to the folder ``tftp``, and replace what is there."""
    tftp_ignore_case: bool
    """Whether a name of TFTP finds a file whose name differs in case only, as Windows' boot loaders expect."""
    tftp_single_port: bool
    """Whether TFTP answers from port 69 only, as QEMU does, for guests behind a firewall or a NAT of their own."""
    dns_records: tuple[DnsRecord, ...]
    """Names that guests are told; text as :func:`parse_dns_record` reads it, or parsed."""
    dns_answer: DnsAnswerer | None
    """Asked for each name before all else; None asks nobody."""
    dns_cache: int
    """Most answers that are kept, 0 to 1000000; 0 keeps none."""
    dns_mode: str
    """Who is asked for names outside: ``"forward"``, the DNS servers; ``"system"``, the host's own resolver library
    for IPv4 and IPv6 addresses, and the servers for all else; ``"auto"``, the servers, or the library if
    ``resolvers`` is not given and the host's resolv.conf names no server."""
    dns_mix_case: bool
    """Whether names go out in a random mix of upper and lower case, which makes answers harder to forge. A server
    that does not repeat it is not heard."""
    host_loopback: bool
    """Whether the gateway's address leads to the host's 127.0.0.1."""
    restrict: bool
    """Whether guests are shut in: they reach what is inside the network, and answer what is forwarded to them."""
    outbound: Outbound | None
    """Source address and interface of sockets that go outward, as :func:`parse_outbound` reads them, or parsed."""
    policy: Policy | None
    """Asked once for each new flow; None allows all. A list of rules makes a :class:`RulePolicy` of them."""
    on_refused: Refused | None
    """Told of each flow that ``policy``, ``restrict`` or ``host_loopback`` refuses; of UDP, of each datagram."""

    def __init__(
        self,
        *,
        net: IPv4Network | str = "10.0.2.0/24",
        host: IPv4Address | str | None = None,
        dns: IPv4Address | str | None = None,
        dhcpstart: IPv4Address | str | None = None,
        mtu: int = 1500,
        hub: bool = False,
        congestion: str | CongestionFactory = "cubic",
        tcp_keepalive: int = 0,
        hostname: str | None = None,
        domainname: str | None = None,
        dnssearch: Sequence[str] = (),
        bootfile: str | BootFile | Sequence[BootChoice | str] | None = None,
        tftp: str | os.PathLike[str] | TftpSource | None = None,
        tftp_write: bool = False,
        tftp_ignore_case: bool = False,
        tftp_single_port: bool = False,
        tftp_server_name: str | None = None,
        dhcp_options: Sequence[DhcpOption | str] = (),
        static_leases: Sequence[StaticLease | str] = (),
        routes: Sequence[GuestRoute | str] = (),
        lease_time: int = 86_400,
        lease_file: str | os.PathLike[str] | None = None,
        lease_policy: LeasePolicy | None = None,
        hostfwd: Sequence[HostForward | str] = (),
        guestfwd: Sequence[GuestForward | str] = (),
        smb: str | os.PathLike[str] | None = None,
        smbserver: IPv4Address | str | None = None,
        resolvers: Sequence[Resolver | str] | None = None,
        dns_records: Sequence[DnsRecord | str] = (),
        dns_answer: DnsAnswerer | None = None,
        dns_cache: int = 1000,
        dns_mode: str = "auto",
        dns_mix_case: bool = False,
        host_loopback: bool = True,
        restrict: bool = False,
        outbound: Outbound | str | None = None,
        policy: Policy | Sequence[Rule | str] | None = None,
        on_refused: Refused | None = None,
    ) -> None:
        put = partial(object.__setattr__, self)  # the way round "frozen"
        network = self._network(net)
        put("net", network)
        gateway = self._inside("host", host, 2)
        put("host", gateway)
        if dns is None and network.prefixlen == 30:
            dns = gateway  # the other of the two addresses is the guest's
        put("dns", self._inside("dns", dns, 3, gateway))
        put("guestfwd", tuple(make_guestfwd(rule) for rule in listed("guestfwd", guestfwd)))
        put("smb", None if smb is None else path("smb", smb))
        if smb is not None:
            smbserver = self._inside("smbserver", smbserver, 4, gateway, self.dns)
        elif smbserver is not None:
            raise ConfigError(f"smbserver {smbserver}: there is no SMB server without smb=DIR")
        put("smbserver", smbserver)
        servers = {IPv4Address(address): "a server's" for address in self.server_addresses}
        servers |= {self.dns: "the dns", gateway: "the host"}
        put("dhcpstart", self._inside("dhcpstart", dhcpstart, 15, *servers))
        if self.dhcpstart in servers:
            other = servers[self.dhcpstart]
            raise ConfigError(f"dhcpstart {self.dhcpstart} is {other} address; choose another")
        put("mtu", whole("mtu", mtu, MTU_MIN, MTU_MAX))
        put("hub", switch("hub", hub))
        if congestion not in CONGESTION and not callable(congestion):
            raise ConfigError(
                f"congestion {congestion!r} is none of {', '.join(CONGESTION)}, and cannot be called to make one"
            )
        if callable(congestion):
            function("congestion", congestion)
        put("congestion", congestion)
        seconds = whole("tcp_keepalive", tcp_keepalive, 0, KEEPALIVE_MAX, " of seconds", " (never)")
        put("tcp_keepalive", seconds)
        put("hostname", None if hostname is None else host_name("hostname", hostname))
        put("domainname", None if domainname is None else host_name("domainname", domainname, dot=True))
        put(
            "dnssearch",
            tuple(host_name("dnssearch", name, dot=True) for name in listed("dnssearch", dnssearch)),
        )
        if callable(bootfile):
            function("bootfile", bootfile)
        put("bootfile", bootfile if callable(bootfile) else boot_files(bootfile))
        if callable(tftp):
            function("tftp", tftp)
        put("tftp_write", switch("tftp_write", tftp_write))
        put("tftp", check_tftp(tftp, tftp_write))
        put("tftp_ignore_case", switch("tftp_ignore_case", tftp_ignore_case))
        put("tftp_single_port", switch("tftp_single_port", tftp_single_port))
        if tftp_server_name is not None and " " in printable("tftp_server_name", tftp_server_name):
            raise ConfigError(
                f'tftp_server_name "{tftp_server_name}" has a space in it; give one name or address'
            )
        put("tftp_server_name", tftp_server_name)
        put("dhcp_options", instances("dhcp_options", dhcp_options, DhcpOption, parse_dhcp_option))
        check_dhcp_options(self.dhcp_options)
        put("static_leases", instances("static_leases", static_leases, StaticLease, parse_lease))
        put("routes", tuple(map(make_route, listed("routes", routes))))
        check_lease_time(lease_time)
        put("lease_time", lease_time)
        put("lease_file", None if lease_file is None else path("lease_file", lease_file))
        for what, asked in (("lease_policy", lease_policy), ("dns_answer", dns_answer)):
            if asked is not None:
                function(what, asked, " that is asked")
            put(what, asked)
        put("hostfwd", instances("hostfwd", hostfwd, HostForward, parse_hostfwd))
        if resolvers is not None:
            resolvers = instances("resolvers", resolvers, Resolver, parse_resolver)
        put("resolvers", resolvers)
        put("dns_records", instances("dns_records", dns_records, DnsRecord, parse_dns_record))
        put("dns_cache", whole("dns_cache", dns_cache, 0, DNS_CACHE_MAX, " of answers"))
        if dns_mode not in DNS_MODES:
            raise ConfigError(f"dns_mode {dns_mode!r} is none of {', '.join(DNS_MODES)}")
        put("dns_mode", dns_mode)
        put("dns_mix_case", switch("dns_mix_case", dns_mix_case))
        put("host_loopback", switch("host_loopback", host_loopback))
        put("restrict", switch("restrict", restrict))
        if isinstance(outbound, str):
            outbound = parse_outbound(outbound)
        if outbound is not None and not isinstance(outbound, Outbound):
            raise ConfigError(f"outbound is text or a slirpy.Outbound; given was {outbound!r}")
        put("outbound", outbound)
        if policy is not None and not callable(policy):
            policy = RulePolicy(listed("policy", policy))
        elif policy is not None:
            function("policy", policy)
        put("policy", policy)
        self._check_redirects()
        if on_refused is not None:
            function("on_refused", on_refused, " of a request and a verdict")
        put("on_refused", on_refused)
        check_static_leases(self.static_leases, network, self.server_addresses)  # which want all that is above

    def _check_redirects(self) -> None:
        """A target lies in the host's world, where the addresses of this network mean something else, or nothing."""
        for rule in self.policy.rules if isinstance(self.policy, RulePolicy) else ():
            if rule.redirect is not None and len(rule.redirect[0]) == 4 and self.contains(rule.redirect[0]):
                raise ConfigError(
                    f'rule "{rule}": its target is in the virtual network, not in the host\'s world; write host for'
                    " the host's loopback"
                )

    @staticmethod
    def _network(value: IPv4Network | str) -> IPv4Network:
        try:
            if not isinstance(value, str | IPv4Network):
                raise ValueError
            net = IPv4Network(value, strict=False)
        except ValueError:
            raise ConfigError(f'net "{value}" is not an IPv4 network; write for example 10.0.2.0/24') from None
        if not 4 <= net.prefixlen <= 30:
            raise ConfigError(
                f"net {net}: the prefix must be from /4 to /30, so that it holds guests and servers"
            )
        if net.is_loopback or net.is_multicast:
            raise ConfigError(f"net {net} is a loopback or multicast network; choose one such as 10.0.2.0/24")
        return net

    def _inside(
        self, what: str, value: IPv4Address | str | None, offset: int, *taken: IPv4Address
    ) -> IPv4Address:
        """``value`` as an address of the network that a host may have; by default the one at ``offset``.

        If that is taken, or the network is too small for it, it is the first that is free.
        """
        net = self.net
        if value is None:
            if offset < net.num_addresses - 1 and net[offset] not in taken:
                return net[offset]
            for free in net.hosts():
                if free not in taken:
                    return free
            raise ConfigError(f"net {net} has no room for gateway, DNS server and a guest; use a larger one")
        address = ipv4(what, value)
        if address not in net or address in (net.network_address, net.broadcast_address):
            raise ConfigError(
                f"{what} {address} is not an address of {net}; choose one from {net[1]} to {net[-2]}"
            )
        return address

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
    def dhcpstart_address(self) -> bytes:
        """The first address of the DHCP pool, four bytes."""
        return self.dhcpstart.packed

    @cached_property
    def server_addresses(self) -> frozenset[bytes]:
        """The addresses of all virtual hosts, four bytes each: no guest gets one of them."""
        named = (*(rule.server for rule in self.guestfwd), self.smbserver)
        inside = {server.packed for server in named if server is not None and server in self.net}
        return frozenset((self.gateway_address, self.dns_address, *inside))

    @cached_property
    def _prefix(self) -> tuple[int, int]:
        """How far to shift an address so that its network is left, and that network."""
        shift = 32 - self.net.prefixlen
        return shift, int(self.net.network_address) >> shift

    def contains(self, address: bytes) -> bool:
        """Whether four bytes are an address of the virtual network."""
        shift, network = self._prefix
        return int.from_bytes(address, "big") >> shift == network

    # ------------------------------------------------------------------------ QEMU's option strings

    @classmethod
    def from_qemu(cls, options: str, **more: Any) -> Config:
        """Read the options of QEMU's ``-netdev user,...``, with or without the leading ``user``.

        Args:
            options: for example ``"user,net=10.0.2.0/24,dhcpstart=10.0.2.50,hostfwd=tcp::2222-:22"``. A comma
                inside a value is written twice, as in QEMU. QEMU's JSON is read too:
                ``'{"type": "user", "id": "n0", "hostfwd": [{"str": "tcp::2222-:22"}]}'``.
            more: further arguments of :class:`Config`, which QEMU has no words for.

        Raises:
            ConfigError: an unknown key (the nearest is named), one that is not built yet, or a bad value.
            ForwardError: a malformed ``hostfwd``.
        """
        try:
            return cls(**fill_in({**more, **read_qemu(options)}))
        except ConfigError as error:
            if "tftp_server_name" in more:
                raise
            raise ConfigError(str(error).replace("tftp_server_name", "tftp-server-name")) from None
