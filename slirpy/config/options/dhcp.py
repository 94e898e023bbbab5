"""Options of DHCP."""

from __future__ import annotations

from slirpy.config.dhcp import (
    LEASE_TIME_FOREVER,
    LEASE_TIME_MIN,
    GuestRoute,
    StaticLease,
    parse_lease,
    parse_route,
)
from slirpy.config.dhcpoption import DhcpOption, parse_dhcp_option
from slirpy.config.kinds import Address, Address6, Function, HostName, Location, Number, Object, Several
from slirpy.config.rows import Group, Option

__all__ = ["ROWS"]

ROWS: tuple[Option, ...] = (
    Option(
        name="dhcpstart",
        group=Group.DHCP,
        kind=Address(metavar="ADDR"),
        default=None,
        default_text="the 15th address, 10.0.2.15",
        help="First address that DHCP assigns.",
        more="If the 15th is taken or does not exist, the first free address.",
        flag="--dhcpstart",
        qemu="dhcpstart",
    ),
    Option(
        name="dhcpstart6",
        group=Group.DHCP,
        kind=Address6(metavar="ADDR"),
        default=None,
        default_text="fec0::15",
        help="First address that DHCPv6 assigns.",
        more="If ::15 is taken or does not exist in the network, the first free address.",
        flag="--dhcpstart6",
    ),
    Option(
        name="static_leases",
        group=Group.DHCP,
        kind=Several(
            of=Object(
                made=StaticLease,
                parse=parse_lease,
                form="MAC=ADDR[,hostname] or id:IDENTIFIER=ADDR[,hostname]",
            ),
            metavar="RULE",
        ),
        default=(),
        help="Reserve an address for one client: MAC=ADDR[,hostname], or id:IDENTIFIER=ADDR[,hostname] for a DHCP"
        " client identifier, as text or as bytes like 01:ab:ff.",
        flag="--lease",
        item="lease",
    ),
    Option(
        name="lease_time",
        group=Group.DHCP,
        kind=Number(
            lowest=LEASE_TIME_MIN,
            highest=LEASE_TIME_FOREVER,
            unit="seconds",
            highest_means="forever",
            metavar="SECONDS",
        ),
        default=86_400,
        help="Duration of a lease.",
        flag="--lease-time",
    ),
    Option(
        name="lease_file",
        group=Group.DHCP,
        kind=Location(what="file", metavar="FILE"),
        default=None,
        help="Keep leases in this file across restarts.",
        flag="--lease-file",
    ),
    Option(
        name="lease_policy",
        group=Group.DHCP,
        kind=Function(takes="a DhcpRequest"),
        default=None,
        help="Called for each DHCP request for an address or for parameters; decides what the client gets.",
        flag=None,
    ),
    Option(
        name="hostname",
        group=Group.DHCP,
        kind=HostName(metavar="NAME"),
        default=None,
        help="Host name that guests get by DHCP.",
        flag="--hostname",
        qemu="hostname",
    ),
    Option(
        name="domainname",
        group=Group.DHCP,
        kind=HostName(domain=True, metavar="NAME"),
        default=None,
        help="Domain name that guests get by DHCP.",
        flag="--domain",
        qemu="domainname",
    ),
    Option(
        name="dnssearch",
        group=Group.DHCP,
        kind=Several(of=HostName(domain=True), metavar="DOMAIN"),
        default=(),
        help="Domain to add to the guests' DNS search list.",
        flag="--dns-search",
        qemu="dnssearch",
    ),
    Option(
        name="routes",
        group=Group.DHCP,
        kind=Several(
            of=Object(made=GuestRoute, parse=parse_route, form="CIDR[=GATEWAY]"),
            metavar="CIDR[=GATEWAY]",
        ),
        default=(),
        help="Route to announce by DHCP in addition to the default route; by way of slirpy's gateway if it"
        " names none.",
        flag="--route",
        item="route",
    ),
    Option(
        name="dhcp_options",
        group=Group.DHCP,
        kind=Several(
            of=Object(made=DhcpOption, parse=parse_dhcp_option, form="OPTION=[TYPE:]VALUE, or OPTION"),
            metavar="OPTION=VALUE",
        ),
        default=(),
        help="Send guests a DHCP option, by number or name: 42=10.0.2.2, ntp-server=10.0.2.2, 43=hex:0104c0a8,"
        " 200=u16:5. Without a value, leave the option out.",
        more="It replaces the value that slirpy would send.",
        flag="--dhcp-option",
        item="dhcp-option",
    ),
)
