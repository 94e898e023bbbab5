"""Places that guests try to reach, and the judge's own knowledge of addresses."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

MS, SECOND = 1_000_000, 1_000_000_000
RESOLVER = "192.0.2.53"
NAMES = (
    "a.good.example",
    "b.good.example",
    "good.example",
    "evil.example",
    "x.evil.example",
    "one.test",
    "two.test",
)
PUBLIC = ("203.0.113.7", "203.0.113.8", "203.0.113.66", "198.51.100.1", "198.51.100.2", "8.8.8.8")
PUBLIC6 = ("2001:db8:7::7", "2001:db8:7::8", "2001:db8:66::1", "2606:4700::1111", "2a00::1")
OWN = ("192.0.2.1", "2001:db8::1")
"""The addresses of the simulated host."""
SPECIAL = ("10.1.2.3", "192.168.1.1", "172.16.5.5", "100.64.0.9", "127.0.0.1", "127.9.9.9", "169.254.169.254",
           "169.254.3.3", "192.0.2.1", "224.0.0.5", "255.255.255.255", "0.0.0.0", "10.0.2.2", "10.0.2.255",
           "10.0.2.3", "10.0.2.77", "168.63.129.16", "100.100.100.200", "239.1.2.3", "203.0.113.255")  # fmt: skip
SPECIAL6 = ("::1", "::", "fe80::1", "fe80::2", "fe80::a9fe:a9fe", "fd00:ec2::254", "fd12::1", "fec0::2", "fec0::3",
            "fec0::77", "fec0:1::1", "ff02::1", "ff02::2", "ff05::2", "ff0e::1", "2001:db8::1", "100::1")  # fmt: skip
"""Addresses that no answer from outside may open."""
CLOSED = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "198.18.0.0/15", "224.0.0.0/3", "192.0.2.1/32", "168.63.129.16/32",
)))  # fmt: skip
CLOSED6 = tuple(map(ip_network, ("2001::/32", "2001:10::/28", "2001:20::/28", "2002::/16", "2001:db8::1/128")))
UNICAST6 = ip_network("2000::/3")
NAT64 = "64:ff9b::/96"
NAT64_OWN = "2001:db8:64::/96"
DNS46 = "198.18.0.0/24"
WORDS = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "metadata": ("169.254.169.254/32", "100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128",
                 "fe80::a9fe:a9fe/128"),
}  # fmt: skip
NETWORKS = ("203.0.113.0/29", "203.0.113.66", "198.51.100.0/24", "10.0.0.0/8", "2001:db8:7::/48", "2606:4700::1111",
            "fec0::/64", "169.254.169.254", "192.0.2.1")  # fmt: skip
GATEWAYS = {4: ip_address("10.0.2.2"), 6: ip_address("fec0::2")}
PORTS = (22, 80, 443)
TARGETS = (("9.9.9.9", 8080), ("9.9.9.9", 0), ("2620:fe::9", 8443))
"""Targets of redirects."""
RELAY = "relay.internal"
"""Another one, by name: the host's resolver library knows it, and the adversary what it answers."""
PROXIES = ("http://9.9.9.10:3128", "socks5://9.9.9.11:1080")
PROXY_PLACES = {"9.9.9.10": 3128, "9.9.9.11": 1080}
BACKEND = ("9.9.9.12", 80)
"""The server behind guestfwd, which guests reach at ``FORWARDED``."""
FORWARDED = ("10.0.2.100", 80)
OWN_PORTS = {
    ("tcp", "127.0.0.1", 2222),
    ("tcp", "127.0.0.1", 2223),
    ("tcp", "192.0.2.1", 2223),
    ("udp", "127.0.0.1", 5353),
}
"""Places of the host where the network itself listens."""
HOSTFWD = ("tcp:127.0.0.1:2222-10.0.2.15:22", "tcp:0.0.0.0:2223-10.0.2.15:22", "udp:127.0.0.1:5353-10.0.2.15:9")

Address = IPv4Address | IPv6Address
parse = cache(ip_address)
network = cache(ip_network)


def forms(text: str) -> tuple[str, ...]:
    """The IPv6 addresses that may lead to an IPv4 address."""
    number = int(IPv4Address(text))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    other = number ^ 0xFFFFFFFF
    found = (
        f"::ffff:{text}",
        f"::{text}",
        f"::ffff:0:{text}",
        f"64:ff9b::{text}",
        f"64:ff9b:1::{text}",
        f"2001:db8:64::{text}",
        f"2002:{high}:{low}::1",
        f"2001:0:{high}:{low}::1",
        f"2001:0:808:808::{other >> 16:x}:{other & 0xFFFF:x}",
        f"2001:db8:7::5efe:{text}",
        f"2606:4700::200:5efe:{text}",
        f"fe80::5efe:{text}",
    )
    return tuple(str(IPv6Address(each)) for each in found)


@cache
def inside(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses to which traffic for an address may lead."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    found: list[IPv4Address] = []
    if address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None:
        found = [*filter(None, (address.ipv4_mapped, address.sixtofour)), *(address.teredo or ())]
    elif number >> 32 in (0, 0xFFFF0000) or number >> 32 & 0xFDFFFFFF == 0x5EFE:
        found = [last]  # compatible, translated, ISATAP
    elif any(address in ip_network(net) for net in (NAT64, "64:ff9b:1::/48")):
        found = [last]
    return tuple(found)


@cache
def is_special(address: Address) -> bool:
    """Report whether no name may open an address."""
    if isinstance(address, IPv4Address):
        return any(address in closed for closed in CLOSED)
    led = inside(address)
    if address in ip_network(NAT64):
        return any(map(is_special, led))
    closed = address not in UNICAST6 or any(address in each for each in CLOSED6)
    return closed or any(map(is_special, led))


@cache
def is_internet(address: Address) -> bool:
    """Report whether an address is one of the Internet at large."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not is_special(address)
    if address in ip_network(NAT64):
        return all(map(is_internet, inside(address)))
    return address.is_global and not is_special(address) and all(map(is_internet, inside(address)))
