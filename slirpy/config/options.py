"""The table of options: each option of :class:`~slirpy.config.Config` is described here and nowhere else.

From the table come the checks of :class:`~slirpy.config.Config`, QEMU's keys, the flags of the command line with
their help, the names in error messages, and the reference in the documentation.
"""

from __future__ import annotations

from typing import Any

from slirpy.config.boot import boot_files
from slirpy.config.dhcp import (
    LEASE_TIME_FOREVER,
    LEASE_TIME_MIN,
    GuestRoute,
    StaticLease,
    parse_lease,
    parse_route,
)
from slirpy.config.dhcpoption import DhcpOption, parse_dhcp_option
from slirpy.config.dnsrecord import DnsRecord, parse_dns_record
from slirpy.config.guestfwd import GuestForward, parse_guestfwd
from slirpy.config.hostfwd import HostForward, parse_hostfwd
from slirpy.config.kinds import (
    Address,
    Address6,
    Choice,
    Function,
    HostName,
    Location,
    Made,
    Network,
    Network6,
    Number,
    Object,
    Several,
    Switch,
    TranslationPrefix,
    Word,
)
from slirpy.config.outbound import Outbound, parse_outbound
from slirpy.config.policy import RulePolicy
from slirpy.config.resolver import Resolver, parse_resolver
from slirpy.config.rows import Group, Option
from slirpy.config.values import listed

__all__ = [
    "CONGESTION",
    "DNS_CACHE_MAX",
    "DNS_MODES",
    "KEEPALIVE_MAX",
    "MTU_MAX",
    "MTU_MIN",
    "OPTIONS",
    "option",
]

CONGESTION = ("cubic", "reno")
DNS_MODES = ("auto", "forward", "system")
DNS_CACHE_MAX = 1_000_000
KEEPALIVE_MAX = 86_400
MTU_MIN = 68  # RFC 791: every link carries 68 bytes
MTU_MAX = 65521  # 65535 less the Ethernet header, as in QEMU


def option(name: str) -> Option:
    """The row of an option.

    Raises:
        KeyError: there is no such option.
    """
    return _BY_NAME[name]


def _rule_policy(rules: Any) -> RulePolicy:
    return RulePolicy(listed("policy", rules))


OPTIONS: tuple[Option, ...] = (
    # ------------------------------------------------------------------------------------- network
    Option(
        name="net",
        group=Group.NETWORK,
        kind=Network(shortest=4, longest=30, metavar="CIDR"),
        default="10.0.2.0/24",
        help="The virtual network.",
        more="Host bits are ignored, as in QEMU.",
        flag="--net",
        qemu="net",
    ),
    Option(
        name="host",
        group=Group.NETWORK,
        kind=Address(metavar="ADDR"),
        default=None,
        default_text="the second address, 10.0.2.2",
        help="The gateway, an alias of the host's 127.0.0.1.",
        flag="--host",
        qemu="host",
    ),
    Option(
        name="dns",
        group=Group.NETWORK,
        kind=Address(metavar="ADDR"),
        default=None,
        default_text="the third address, 10.0.2.3",
        help="The virtual DNS server.",
        more="In a /30 it shares the gateway's address by default.",
        flag="--dns-address",
        qemu="dns",
    ),
    Option(
        name="net6",
        group=Group.NETWORK,
        kind=Network6(shortest=4, longest=126, metavar="CIDR"),
        default="fec0::/64",
        help="The IPv6 network.",
        more="Host bits are ignored. Guests choose their own addresses (SLAAC) only if the prefix is a /64.",
        flag="--net6",
        qemu="ipv6-net",
    ),
    Option(
        name="host6",
        group=Group.NETWORK,
        kind=Address6(metavar="ADDR"),
        default=None,
        default_text="the second address, fec0::2",
        help="The IPv6 gateway, an alias of the host's ::1.",
        more="Guests reach it at fe80::2 too.",
        flag="--host6",
        qemu="ipv6-host",
    ),
    Option(
        name="dns6",
        group=Group.NETWORK,
        kind=Address6(metavar="ADDR"),
        default=None,
        default_text="the third address, fec0::3",
        help="The IPv6 address of the virtual DNS server.",
        flag="--dns6-address",
        qemu="ipv6-dns",
    ),
    Option(
        name="ipv4",
        group=Group.NETWORK,
        kind=Switch(),
        default=True,
        help="Carry IPv4.",
        flag="--no-ipv4",
        qemu="ipv4",
    ),
    Option(
        name="ipv6",
        group=Group.NETWORK,
        kind=Switch(),
        default=True,
        help="Carry IPv6, on links with an MTU of at least 1280.",
        flag="--no-ipv6",
        qemu="ipv6",
    ),
    Option(
        name="nat64",
        group=Group.NETWORK,
        kind=Switch(),
        default=False,
        help="Let guests that have only IPv6 reach IPv4 hosts, by NAT64 and DNS64.",
        more="The policy sees the IPv4 address.",
        flag="--nat64",
    ),
    Option(
        name="nat64_prefix",
        group=Group.NETWORK,
        kind=TranslationPrefix(metavar="PREFIX"),
        default="64:ff9b::/96",
        help="The prefix of NAT64, before the IPv4 address.",
        flag="--nat64-prefix",
    ),
    Option(
        name="dns46",
        group=Group.NETWORK,
        kind=Network(shortest=8, longest=30, metavar="CIDR"),
        default=None,
        help="Let guests that have only IPv4 reach IPv6 hosts by name: the DNS server answers with addresses of this"
        " network, such as 198.18.0.0/15, which stand for them.",
        more="It must not contain addresses that guests want to reach. The policy sees the IPv6 address.",
        flag="--dns46",
    ),
    Option(
        name="mtu",
        group=Group.NETWORK,
        kind=Number(lowest=MTU_MIN, highest=MTU_MAX, metavar="N"),
        default=1500,
        help="Largest IP packet on the virtual network in bytes; DHCP announces it.",
        flag="--mtu",
    ),
    Option(
        name="hub",
        group=Group.NETWORK,
        kind=Switch(),
        default=False,
        help="Deliver every frame to every guest, as QEMU's hub does, instead of learning addresses.",
        flag="--hub",
    ),
    Option(
        name="guard",
        group=Group.NETWORK,
        kind=Switch(),
        default=True,
        help="Between guests, drop router advertisements, DHCP server messages, and ARP and Neighbor Discovery from"
        " an address that is another's.",
        more="A hub guards nothing. Neither is a family guarded that is off.",
        flag="--no-guard",
    ),
    Option(
        name="congestion",
        group=Group.NETWORK,
        kind=Choice(words=CONGESTION, function="make one"),
        default="cubic",
        help="Congestion control of TCP towards the guest.",
        more="A class or function is called with the bytes in a full segment and returns a CongestionControl.",
        flag="--congestion",
    ),
    Option(
        name="tcp_keepalive",
        group=Group.NETWORK,
        kind=Number(lowest=0, highest=KEEPALIVE_MAX, unit="seconds", lowest_means="never", metavar="SECONDS"),
        default=0,
        default_text="never",
        help="Send TCP keep-alives to the guest after this many idle seconds.",
        more="If the guest does not answer, the far side sees a reset.",
        flag="--tcp-keepalive",
    ),
    Option(
        name="outbound",
        group=Group.NETWORK,
        kind=Object(
            made=Outbound, parse=parse_outbound, form="ADDRESS, INTERFACE or both", metavar="ADDR|IFNAME"
        ),
        default=None,
        default_text="the system's choice",
        help="Source address or interface of outgoing traffic; both with a comma between.",
        flag="--outbound",
    ),
    # ----------------------------------------------------------------------- forwards and services
    Option(
        name="hostfwd",
        group=Group.SERVICES,
        kind=Several(
            of=Object(
                made=HostForward,
                parse=parse_hostfwd,
                form="[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport or unix:/path-[guestaddr]:guestport",
            ),
            metavar="RULE",
        ),
        default=(),
        help="Forward a host port to {guest}: [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport. An empty hostaddr"
        " is 127.0.0.1; hostport 0 takes a free port and reports it.",
        flag="--hostfwd",
        qemu="hostfwd",
    ),
    Option(
        name="guestfwd",
        group=Group.SERVICES,
        kind=Several(
            of=Object(made=GuestForward, parse=parse_guestfwd, form="[tcp]:server:port-TARGET"), metavar="RULE"
        ),
        default=(),
        help="Make a host service available at an address of the network: [tcp]:server:port-TARGET, where TARGET is"
        " cmd:COMMAND, unix:/path or tcp:host:port; * stands for every server or port.",
        more="Some targets exist in Python only.",
        flag="--guestfwd",
        qemu="guestfwd",
    ),
    Option(
        name="smb",
        group=Group.SERVICES,
        kind=Location(what="folder", metavar="DIR"),
        default=None,
        help="Serve this folder as the SMB share qemu; needs Samba's smbd.",
        flag="--smb",
        qemu="smb",
    ),
    Option(
        name="smbserver",
        group=Group.SERVICES,
        kind=Address(metavar="ADDR"),
        default=None,
        default_text="the fourth address, 10.0.2.4",
        help="Address of the SMB server.",
        flag="--smbserver",
        qemu="smbserver",
    ),
    Option(
        name="smbserver6",
        group=Group.SERVICES,
        kind=Address6(metavar="ADDR"),
        default=None,
        default_text="the fourth address, fec0::4",
        help="IPv6 address of the SMB server.",
        more="None in a network of four addresses.",
        flag="--smbserver6",
    ),
    # ----------------------------------------------------------------------------------------- DNS
    Option(
        name="resolvers",
        group=Group.DNS,
        kind=Several(of=Object(made=Resolver, parse=parse_resolver, form="ADDR[:PORT]"), metavar="ADDR[:PORT]"),
        default=None,
        default_text="those in /etc/resolv.conf",
        help="Forward DNS queries to this server.",
        flag="--dns",
        item="resolver",
    ),
    Option(
        name="dns_records",
        group=Group.DNS,
        kind=Several(
            of=Object(
                made=DnsRecord,
                parse=parse_dns_record,
                form="NAME=ADDRESS, NAME=OTHERNAME or NAME [TTL] TYPE VALUE",
            ),
            metavar="RECORD",
        ),
        default=(),
        help="Answer a name: NAME=ADDRESS, NAME=OTHERNAME, or 'NAME [TTL] TYPE VALUE', where TYPE is A, AAAA, CNAME,"
        " TXT, PTR, MX, SRV, NS, CAA or HTTPS. *.NAME stands for every name below.",
        flag="--dns-record",
        item="DNS record",
    ),
    Option(
        name="dns_cache",
        group=Group.DNS,
        kind=Number(lowest=0, highest=DNS_CACHE_MAX, unit="answers", metavar="N"),
        default=1000,
        help="Number of DNS answers to cache; 0 turns the cache off.",
        flag="--dns-cache",
    ),
    Option(
        name="dns_mode",
        group=Group.DNS,
        kind=Choice(words=DNS_MODES),
        default="auto",
        help="How to resolve names: forward asks DNS servers; system asks the host's resolver library for addresses;"
        " auto does so only where no server is known.",
        flag="--dns-mode",
    ),
    Option(
        name="dns_mix_case",
        group=Group.DNS,
        kind=Switch(),
        default=False,
        help="Send names in a random mix of upper and lower case, which makes answers harder to forge.",
        more="An answer that does not repeat the mix is ignored.",
        flag="--dns-mix-case",
    ),
    Option(
        name="dns_answer",
        group=Group.DNS,
        kind=Function(takes="a DnsQuestion"),
        default=None,
        help="Called for each question before anything else is looked up.",
        flag=None,
    ),
    # ---------------------------------------------------------------------------------------- DHCP
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
    # ------------------------------------------------------------------------------- TFTP and boot
    Option(
        name="tftp",
        group=Group.BOOT,
        kind=Location(what="folder", function="open files", metavar="DIR"),
        default=None,
        help="Let guests read the files in this folder by TFTP from the gateway.",
        more="A function is called with a name and returns the content.",
        flag="--tftp",
        qemu="tftp",
    ),
    Option(
        name="tftp_write",
        group=Group.BOOT,
        kind=Switch(),
        default=False,
        help="Let guests write to the TFTP folder, and replace files.",
        flag="--tftp-write",
    ),
    Option(
        name="tftp_ignore_case",
        group=Group.BOOT,
        kind=Switch(),
        default=False,
        help="Ignore the case of file names, as boot loaders of Windows expect.",
        flag="--tftp-ignore-case",
    ),
    Option(
        name="tftp_single_port",
        group=Group.BOOT,
        kind=Switch(),
        default=False,
        help="Answer from port 69 only, as QEMU does, for guests behind a firewall or NAT.",
        flag="--tftp-single-port",
    ),
    Option(
        name="tftp_server_name",
        group=Group.BOOT,
        kind=Word(metavar="NAME"),
        default=None,
        default_text="the gateway",
        help="TFTP server to announce by DHCP.",
        more="An address is announced as the next server as well.",
        flag="--tftp-server-name",
        qemu="tftp-server-name",
    ),
    Option(
        name="bootfile",
        group=Group.BOOT,
        kind=Made(
            make=boot_files,
            form="[ARCH=]FILE|URL, or a list of those or BootChoice objects",
            function="choose one",
            several=True,
            metavar="[ARCH=]FILE|URL",
        ),
        default=None,
        help="File that guests boot by TFTP, or URL for HTTP boot and iPXE; for one architecture, such as"
        " efi-x64=grubx64.efi, or for all.",
        flag="--bootfile",
        qemu="bootfile",
    ),
    # ------------------------------------------------------------------------------------ firewall
    Option(
        name="policy",
        group=Group.FIREWALL,
        kind=Made(
            make=_rule_policy,
            form="a RulePolicy, or a list of rules",
            function="decide about a FlowRequest",
            metavar="FILE",
        ),
        default=None,
        default_text="allow everything",
        help="Decide which flows to allow; the first rule that matches a new flow applies.",
        more="A function is called once for each new flow.",
        flag="--policy",
        flag_help="Read rules from a TOML file, at this position among the other rules.",
    ),
    Option(
        name="restrict",
        group=Group.FIREWALL,
        kind=Switch(),
        default=False,
        help="Isolate the guest: it reaches only the virtual network; forwarded connections still reach it.",
        flag="--restrict",
        qemu="restrict",
    ),
    Option(
        name="host_loopback",
        group=Group.FIREWALL,
        kind=Switch(),
        default=True,
        help="Let guests reach the host's 127.0.0.1 at the gateway's address.",
        flag="--no-host-loopback",
    ),
    Option(
        name="on_refused",
        group=Group.FIREWALL,
        kind=Function(takes="a FlowRequest and a Verdict"),
        default=None,
        help="Called for each flow that policy, restrict or host_loopback refuses; for UDP, for each datagram.",
        flag=None,
    ),
)
_BY_NAME = {row.name: row for row in OPTIONS}
