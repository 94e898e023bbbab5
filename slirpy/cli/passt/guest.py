"""The guest's network: the host's addresses and routes, as the options change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, ip_address
from typing import Any

from slirpy.addresses import IPAddress, mac_bytes
from slirpy.cli.passt.arguments import Given
from slirpy.cli.passt.hostnet import FAMILIES, FamilySettings, HostInterface, find_interface
from slirpy.cli.passt.inside import InsideSettings
from slirpy.cli.resolvconf import read_host
from slirpy.config import Config
from slirpy.config.dhcp import LEASE_TIME_FOREVER
from slirpy.config.dhcpoption import DhcpOption
from slirpy.config.outbound import Outbound
from slirpy.errors import ConfigError
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict

__all__ = ["GuestNetwork", "guest_network"]

MTU = 65520
"""Largest multiple of four bytes below the largest packet with an Ethernet header."""
MTU_MIN = 68
PLAIN_MTU = 1500
"""MTU of an interface to which none was assigned."""
_MTU_MIN6 = 1280
_NONE4, _NONE6 = IPv4Address("192.0.0.8"), IPv6Address("100::1")
"""Addresses that stand for no host: the dummy address (RFC 7600), and one of the discard prefix (RFC 6666)."""
_DNS4 = IPv4Address("192.0.0.11")
"""Address of the DNS server for a machine whose host asks a server on its own loopback: of RFC 6890's block for
protocols.
"""
_LOCAL4, _LOCAL_GATEWAY4 = IPv4Interface("169.254.2.1/16"), IPv4Address("169.254.2.2")
_LOCAL6, _LOCAL_GATEWAY6 = IPv6Interface("fd00:0:0:1::1/64"), IPv6Address("fe80::2")
"""For a host without a default route."""
_NAME_MAX = 15
_MAC_SIZE = 6
_PROTOCOLS = {"no-tcp": IPProtocol.TCP, "no-udp": IPProtocol.UDP, "no-icmp": IPProtocol.ICMP}
_ALLOW = Verdict(Action.ALLOW)
_DROP = Verdict(Action.DROP, reason="switched off by an option")


@dataclass
class GuestNetwork:
    """The network that the guest gets."""

    config: Config
    inside: InsideSettings
    interface: str
    """Name of the interface in the namespace."""
    outside: str
    """Name of the host's interface; empty: there is none."""
    addresses: dict[int, IPAddress] = field(default_factory=dict)
    """The guest's address of each family, by 4 and 6."""
    gateways: dict[int, IPAddress] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A description for people."""
        where = f"outbound interface {self.outside or 'none'}, namespace interface {self.interface}"
        return [
            where,
            *(
                f"IPv{version}: address {each}, gateway {self.gateways[version]}"
                for version, each in self.addresses.items()
            ),
        ]


def guest_network(given: Given, *, machine: bool = False) -> GuestNetwork:
    """Work out the guest's network from the options and the host's interfaces.

    Args:
        given: the command line.
        machine: whether the guest is a machine, which learns everything by DHCP; a namespace is configured.

    Raises:
        ConfigError: a value that cannot be used.
        LinkError: there is no interface of a name.
    """
    families = _families(given)
    addresses, gateways = _addresses_of(given, "address"), _addresses_of(given, "gateway")
    names = {4: given.text("outbound-if4"), 6: given.text("outbound-if6")}
    chosen = {version: given.text("interface") or names[version] for version in families}
    host = find_interface({version: name for version, name in chosen.items() if name}, families)
    if host is None and not addresses:
        host = _local(families)
    assert host is not None or addresses
    mtu = _mtu(given)
    values: dict[str, Any] = {"ipv4": False, "ipv6": False, "transparent": True, "mtu": mtu or PLAIN_MTU}
    values["lease_time"] = LEASE_TIME_FOREVER
    network = _Builder(given, host, values)
    for version in families:
        network.add(version, addresses.get(version), gateways.get(version))
    if not network.addresses:
        raise ConfigError("the host has no address of that family that the guest could get; give one with -a")
    gateway_mac = given.last("mac-addr")
    if gateway_mac is not None:
        values["host_mac"] = _mac(*gateway_mac)
    elif host is not None and len(host.mac) == _MAC_SIZE and any(host.mac):
        values["host_mac"] = host.mac
    _set_names(given, values, machine)
    _set_outbound(given, values, names)
    _set_policy(given, values, network.addresses)
    config = Config(**values)
    name = given.last("ns-ifname")
    interface = name[1] if name else (host.name if host is not None and host.name else "tap0")
    if not 0 < len(interface) <= _NAME_MAX or any(each in interface for each in "/ \0%"):
        raise ConfigError(
            f'{name[0] if name else "-I"} "{interface}" is no name of an interface: 1 to {_NAME_MAX} characters'
        )
    mac = given.last("ns-mac-addr")
    inside = InsideSettings(
        configure=given.has("config-net"),
        mtu=mtu,
        mac="" if mac is None else _mac(*mac),
        ipv6=config.ipv6 and (mtu or PLAIN_MTU) >= _MTU_MIN6,
        addresses=network.inside_addresses,
        routes=network.inside_routes,
        gateways=network.inside_gateways,
    )
    outside = host.name if host is not None else ""
    return GuestNetwork(config, inside, interface, outside, network.addresses, network.gateways)


class _Builder:
    """The families of the guest's network, one after the other."""

    def __init__(self, given: Given, host: HostInterface | None, values: dict[str, Any]) -> None:
        self._given = given
        self._host = host
        self._values = values
        self.addresses: dict[int, IPAddress] = {}
        self.gateways: dict[int, IPAddress] = {}
        self.inside_addresses: list[tuple[str, int]] = []
        self.inside_routes: list[Any] = []
        self.inside_gateways: list[str] = []

    def add(self, version: int, address: IPAddress | None, gateway: IPAddress | None) -> None:
        """Add a family, if it has an address."""
        given = self._given
        host = self._host.families.get(version) if self._host is not None else None
        if address is None and host is None:
            return
        own = host.addresses if host is not None else []
        prefix = next((each.prefix for each in own if ip_address(each.address) == address), None)
        if address is None:
            address, prefix = ip_address(own[0].address), own[0].prefix
            if given.has("no-copy-addrs"):
                own = own[:1]
            copied = not given.has("no-copy-routes") and gateway is None
        else:
            prefix = prefix or _default_prefix(address)
            own, copied = [], False
        mask = given.last("netmask")
        if version == 4 and mask is not None:
            prefix = _netmask(*mask)
        self.inside_addresses.append((str(address), prefix))
        self.inside_addresses += [(each.address, each.prefix) for each in own if each.address != str(address)]
        if host is not None and copied:
            self._copy_routes(version, host)
        found = gateway or (host.gateway if host is not None else None)
        has_default = copied and host is not None and any(not route.prefix for route in host.routes)
        if found is not None and not has_default:
            self.inside_gateways.append(str(found))
        self.addresses[version] = address
        self.gateways[version] = found or (_NONE4 if version == 4 else _NONE6)
        if version == 4:
            self._set4(IPv4Address(address), prefix, IPv4Address(self.gateways[4]))
        else:
            self._set6(IPv6Address(address), prefix, IPv6Address(self.gateways[6]))

    def _copy_routes(self, version: int, host: FamilySettings) -> None:
        for route in host.routes:
            attributes = {str(code): value.hex() for code, value in route.attributes.items()}
            self.inside_routes.append(
                (int(FAMILIES[version]), route.prefix, route.protocol, route.scope, route.flags, attributes)
            )

    def _set4(self, address: IPv4Address, prefix: int, gateway: IPv4Address) -> None:
        net = IPv4Network((address, min(prefix, 30)), strict=False)
        while address in (net.network_address, net.broadcast_address):
            net = net.supernet()  # a point-to-point link has no such addresses
        self._values |= {"ipv4": True, "net": net, "host": gateway}
        self._values["dhcpstart"] = address

    def _set6(self, address: IPv6Address, prefix: int, gateway: IPv6Address) -> None:
        net = IPv6Interface((address, min(prefix, 64))).network
        self._values |= {"ipv6": True, "net6": net, "host6": gateway, "dhcpstart6": address}


def _addresses_of(given: Given, option: str) -> dict[int, IPAddress]:
    """Parse an option that may be given once for each family. Returns the address of each, by 4 and 6.

    Raises:
        ConfigError: no address, or two of one family.
    """
    found: dict[int, IPAddress] = {}
    for typed, text in given.values.get(option, ()):
        address = _parse_ip(typed, text)
        if address.version in found and found[address.version] != address:
            raise ConfigError(
                f'{typed} "{text}": there is one of IPv{address.version} already, {found[address.version]}'
            )
        found[address.version] = address
    return found


def _parse_ip(typed: str, text: str) -> IPAddress:
    """Parse an address.

    Raises:
        ConfigError: it is none.
    """
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        raise ConfigError(f'{typed} "{text}" is not an IP address, such as 192.0.2.1 or 2001:db8::1') from None


def _families(given: Given) -> tuple[int, ...]:
    if given.has("ipv4-only") and given.has("ipv6-only"):
        raise ConfigError("-4 and -6 exclude each other; leave one out")
    return (4,) if given.has("ipv4-only") else (6,) if given.has("ipv6-only") else (4, 6)


def _local(families: tuple[int, ...]) -> HostInterface:
    """Stand in for the interface of a host that has no way out."""
    from slirpy.cli.rtnetlink import InterfaceAddress

    found = {}
    for version, own, gateway in ((4, _LOCAL4, _LOCAL_GATEWAY4), (6, _LOCAL6, _LOCAL_GATEWAY6)):
        if version in families:
            address = InterfaceAddress(0, str(own.ip), own.network.prefixlen, 0, 0)
            found[version] = FamilySettings([address], [], gateway)
    return HostInterface("", b"", found)


def _mtu(given: Given) -> int:
    last = given.last("mtu")
    if last is None:
        return MTU
    typed, text = last
    if not (text.isascii() and text.isdigit() and (int(text) == 0 or MTU_MIN <= int(text) <= MTU)):
        raise ConfigError(f'{typed} "{text}": an MTU is 0, which assigns none, or {MTU_MIN} to {MTU}')
    return int(text)


def _netmask(typed: str, text: str) -> int:
    bits = int(text) if text.isascii() and text.isdigit() else -1
    if not 1 <= bits <= 32:
        try:
            bits = IPv4Network(f"0.0.0.0/{text}").prefixlen if "." in text else -1
        except ValueError:
            bits = -1
    if bits < 1:
        raise ConfigError(f'{typed} "{text}" is not a netmask, such as 24 or 255.255.255.0')
    return bits


def _default_prefix(address: IPAddress) -> int:
    """The prefix of an address of which nothing is known: the class of IPv4 (RFC 4632, section 3.1), or one host."""
    if address.version == 6:
        return 64
    first = address.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24 if first < 224 else 32


def _mac(typed: str, text: str) -> str:
    try:
        mac = mac_bytes("mac", text)
    except ConfigError:
        raise ConfigError(f'{typed} "{text}" is not a MAC address, such as 52:54:00:12:34:56') from None
    if mac[0] & 1 or not any(mac):
        raise ConfigError(
            f'{typed} "{text}" is the address of a group or of nobody; an interface cannot have it'
        )
    return mac.hex(":")


# ------------------------------------------------------------------------------------------------ names


def _set_names(given: Given, values: dict[str, Any], machine: bool) -> None:
    """Set the DNS server, and what DHCP says about names."""
    servers = [
        _parse_ip(typed, text) for typed, text in given.values.get("dns", ()) if text not in ("", "none")
    ]
    none = any(text in ("", "none") for _, text in given.values.get("dns", ()))
    if none and servers:
        raise ConfigError("-D none stands alone; leave out the other -D")
    asked = [_parse_ip(*each) for each in given.values.get("dns-host", ())] or servers
    forward = _addresses_of(given, "dns-forward")
    values["no_dns"] = not forward
    if forward:
        values |= {"dns": forward.get(4, _NONE4), "dns6": forward.get(6, _NONE6)}
        if asked or none:
            values["resolvers"] = [str(address) for address in asked]
    if (given.has("dhcp-dns") or machine) and not (given.has("no-dhcp-dns") or forward or none):
        four = [each for each in servers or _host_servers() if each.version == 4]
        if four:
            values["dhcp_options"] = [DhcpOption(6, b"".join(each.packed for each in four))]
        elif machine:  # the host's servers are on its loopback, where only we reach them
            values |= {"no_dns": False, "dns": _DNS4, "dns6": _NONE6}
    if (given.has("dhcp-search") or machine) and not given.has("no-dhcp-search"):
        texts = [text for _, text in given.values.get("search", ())]
        words = " ".join(texts).split() if texts else _host_words(b"search")
        values["dnssearch"] = [] if words == ["none"] else words
    name = given.text("hostname") or given.text("fqdn")
    if name:
        values["hostname"] = name


def _host_servers() -> list[IPAddress]:
    """The host's name servers, as far as a guest can reach them."""
    found: list[IPAddress] = []
    for text in _host_words(b"nameserver"):
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            continue
        if not address.is_loopback:
            found.append(address)
    return found


def _host_words(keyword: bytes) -> list[str]:
    """The values of a keyword in the host's resolv.conf."""
    lines = [line.split() for line in read_host().splitlines()]
    return [word.decode("ascii", "replace") for line in lines if line[:1] == [keyword] for word in line[1:]]


# ------------------------------------------------------------------------------------- the way outside


def _set_outbound(given: Given, values: dict[str, Any], names: Mapping[int, str | None]) -> None:
    sources = _addresses_of(given, "outbound")
    interfaces = {name for name in names.values() if name}
    if len(interfaces) > 1:
        raise ConfigError(
            "--outbound-if4 and --outbound-if6 differ; slirpy uses one interface for both families"
        )
    interface = interfaces.pop() if interfaces else None
    if sources or interface:
        values["outbound"] = Outbound(sources.get(4), sources.get(6), interface)


def _set_policy(given: Given, values: dict[str, Any], addresses: Mapping[int, IPAddress]) -> None:
    """Decide which addresses stand for the host, and which protocols are dropped."""
    dropped = frozenset(protocol for option, protocol in _PROTOCOLS.items() if given.has(option))
    mapped: dict[IPAddress, IPAddress] = {}
    loopback = _mapped(given, "map-host-loopback")
    values["host_loopback"] = not given.has("no-map-gw") and loopback is None
    values["loopback_only"] = True
    for address in loopback or ():
        mapped[address] = ip_address("127.0.0.1" if address.version == 4 else "::1")
    for address in _mapped(given, "map-guest-addr") or ():
        if address.version in addresses:
            mapped[address] = addresses[address.version]
    if dropped or mapped:
        values["policy"] = partial(_judge, dropped, {key.packed: value for key, value in mapped.items()})


def _mapped(given: Given, option: str) -> list[IPAddress] | None:
    """The addresses of an option that may be ``none``; None: it was not given."""
    if not given.has(option):
        return None
    return [_parse_ip(typed, text) for typed, text in given.values[option] if text != "none"]


def _judge(dropped: frozenset[IPProtocol], mapped: Mapping[bytes, IPAddress], request: FlowRequest) -> Verdict:
    """The policy of a network with such options."""
    if request.protocol in dropped:
        return _DROP
    target = mapped.get(request.destination_bytes)
    if target is None or request.protocol is IPProtocol.ICMP:
        return _ALLOW
    return Verdict(Action.ALLOW, redirect=(target, request.destination_port))
