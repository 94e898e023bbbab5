"""Options of the virtual network itself: addresses, MTU, TCP, and the way out."""

from __future__ import annotations

from slirpy.addresses import mac_bytes
from slirpy.config.kinds import (
    Address,
    Address6,
    Choice,
    Location,
    Made,
    Network,
    Network6,
    Number,
    Object,
    Several,
    Switch,
    TranslationPrefix,
)
from slirpy.config.outbound import Outbound, parse_outbound
from slirpy.config.proxy import Proxy, parse_no_proxy, parse_proxy
from slirpy.config.rows import Group, Option
from slirpy.config.sizes import memory, rate

__all__ = ["CONGESTION", "KEEPALIVE_MAX", "MTU_MAX", "MTU_MIN", "ROWS"]

CONGESTION = ("cubic", "reno")
KEEPALIVE_MAX = 86_400
MTU_MIN = 68  # RFC 791: every link carries 68 bytes
MTU_MAX = 65521  # 65535 less the Ethernet header, as in QEMU


def _mac(value: object) -> bytes:
    return mac_bytes("host_mac", value)


ROWS: tuple[Option, ...] = (
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
        name="host_mac",
        group=Group.NETWORK,
        kind=Made(make=_mac, form="six bytes, or text such as 52:54:00:12:34:56", metavar="MAC"),
        default=None,
        default_text="52:55 and the gateway's address",
        help="MAC address of the gateway.",
        more="Router advertisements name 52:56:00:00:00:02 too.",
        flag=None,
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
        name="transparent",
        group=Group.NETWORK,
        kind=Switch(),
        default=False,
        help="Let the guest stand in a network of the host's, with an address of the host's.",
        more="Every other address of it leads outside, ARP and Neighbor Discovery are answered for all of them, and"
        " DHCP gives out dhcpstart and dhcpstart6 alone. The gateway may be an address outside of the network.",
        flag=None,
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
        name="isolate",
        group=Group.NETWORK,
        kind=Switch(),
        default=False,
        help="Let guests reach the virtual hosts and the outside, but not each other.",
        flag="--isolate",
    ),
    Option(
        name="source_guard",
        group=Group.NETWORK,
        kind=Switch(),
        default=False,
        help="Accept packets only from addresses that DHCP has leased to the same MAC address and link.",
        more="Static leases count, too. Guests of IPv6 need DHCPv6; link-local addresses need no lease.",
        flag="--source-guard",
    ),
    Option(
        name="rate",
        group=Group.NETWORK,
        kind=Made(make=rate, form="bytes a second: a number, or text with a unit such as 10M", metavar="BYTES"),
        default=None,
        default_text="unlimited",
        help="Bandwidth of each guest's link in bytes a second, in each direction, such as 10M or 512KiB.",
        more="Frames beyond wait for up to 200 ms, and are then dropped.",
        flag="--rate",
    ),
    Option(
        name="flow_rate",
        group=Group.NETWORK,
        kind=Number(lowest=0, highest=1_000_000, unit="flows", lowest_means="unlimited", metavar="N"),
        default=0,
        default_text="unlimited",
        help="New TCP, UDP and ping flows a second of each guest's link; more are dropped.",
        more="As many may begin at once after a pause.",
        flag="--flow-rate",
    ),
    Option(
        name="memory",
        group=Group.NETWORK,
        kind=Made(make=memory, form="bytes: a number, or text with a unit such as 256M", metavar="BYTES"),
        default=None,
        default_text="a quarter of the machine's, 512 MiB at most",
        help="Budget for the data of all connections that wait for guests or far sides, such as 256M.",
        more="Beyond it, the link that holds most loses its largest connection.",
        flag="--memory",
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
    Option(
        name="proxy",
        group=Group.NETWORK,
        kind=Object(
            made=Proxy, parse=parse_proxy, form="http://HOST[:PORT] or socks5://HOST[:PORT]", metavar="URL"
        ),
        default=None,
        help="Proxy for TCP connections to the outside, by name where the name is known; UDP and ping are refused.",
        flag="--proxy",
    ),
    Option(
        name="proxy_auth_file",
        group=Group.NETWORK,
        kind=Location(what="file", metavar="FILE"),
        default=None,
        help="File whose first line is USER:PASSWORD for the proxy.",
        flag="--proxy-auth-file",
    ),
    Option(
        name="no_proxy",
        group=Group.NETWORK,
        kind=Several(
            of=Made(make=parse_no_proxy, form="a name, a network, a word such as private, or *"), metavar="DEST"
        ),
        default=(),
        help="Destinations that go without the proxy: a name with all names below it, a network, or private.",
        flag="--no-proxy",
    ),
)
