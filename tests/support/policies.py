"""Flows that each policy lets through: the table that is tried from Python and through frames."""

from __future__ import annotations

from ipaddress import ip_address

from slirpy.interfaces import FlowRequest, IPProtocol
from tests.support.harness import GATEWAY, GUEST

GATEWAY6 = ip_address("fec0::2").packed

PROTOCOLS = {"tcp": IPProtocol.TCP, "udp": IPProtocol.UDP, "icmp": IPProtocol.ICMP}


def flow(text: str) -> FlowRequest:
    """``tcp 198.51.100.7:80``, as a guest asks for it; the gateway is 10.0.2.2 and fec0::2."""
    protocol, _, rest = text.partition(" ")
    host, _, port = rest.rpartition(":") if protocol != "icmp" else (rest, "", "0")
    address = ip_address(host.strip("[]")).packed
    return FlowRequest(PROTOCOLS[protocol], GUEST, 40000, address, int(port), address in (GATEWAY, GATEWAY6))


WEB = ["allow 203.0.113.0/24:443", "deny private"]
PROXY = ["redirect tcp:any:80=127.0.0.1:8080", "redirect udp:any:53=192.0.2.53", "allow any:443"]
HOST = ["allow tcp:host:8000-8010,9000"]
INSIDE = ["deny 10.1.2.0/24", "allow private", "drop any:25"]
CLOUD = ["drop metadata", "reject link-local", "allow any"]
ALL_NET = ["allow 0.0.0.0/0", "allow [::/0]"]
OUTSIDE = ["allow any"]
ASIDE = ["redirect host:80=192.0.2.9", "allow any:80", "allow host:81"]
PING = ["allow icmp", "allow udp:any:33434-33534"]
OPEN = ["deny host", "allow any"]
NARROW = ["allow tcp:198.51.100.7:22", "allow udp:198.51.100.0/28"]
SIX = ["allow [2001:db8::/32]:443", "allow tcp:[2001:db9::7]", "deny any"]
ORDER = ["allow 10.9.9.9:80", "deny private", "allow any"]
WIDE = ["allow 10.0.0.0/8"]
ALL = ["redirect any=192.0.2.1"]
EXACT = ["allow tcp:10.0.2.2:22"]
NO_TEN = ["deny 10.0.0.0/8", "allow any"]
ONLY_TEN = ["allow 10.0.0.0/8", "allow private"]
PORTED = ["allow any:0-65535"]
UNPORTED = ["deny any:0", "drop any:1-65535", "allow any"]
PORTED_PROXY = ["redirect any:0-65535=192.0.2.1"]
SIX_PROXY = ["redirect tcp:any:80=[2001:db8::1]:8080", "redirect udp:[2001:db8::/32]:53=host"]

TABLE: list[tuple[list[str], str, str]] = [
    (WEB, "tcp 203.0.113.9:443", "allow"),
    (WEB, "udp 203.0.113.9:443", "allow"),
    (WEB, "tcp 203.0.113.9:80", "reject"),
    (WEB, "tcp 203.0.112.255:443", "reject"),
    (WEB, "tcp 203.0.114.0:443", "reject"),
    (WEB, "tcp 203.0.113.0:443", "allow"),
    (WEB, "tcp 203.0.113.255:443", "allow"),
    (WEB, "tcp 192.168.1.1:443", "reject"),
    (WEB, "tcp 10.0.2.2:443", "reject"),
    (WEB, "icmp 203.0.113.9", "reject"),
    (WEB, "tcp [2001:db8::1]:443", "reject"),
    (PROXY, "tcp 198.51.100.7:80", "127.0.0.1:8080"),
    (PROXY, "tcp 10.0.2.2:80", "127.0.0.1:8080"),
    (PROXY, "udp 198.51.100.7:80", "reject"),
    (PROXY, "udp 8.8.8.8:53", "192.0.2.53:53"),
    (PROXY, "tcp 8.8.8.8:53", "reject"),
    (PROXY, "tcp 198.51.100.7:443", "allow"),
    (PROXY, "udp 198.51.100.7:443", "allow"),
    (PROXY, "icmp 198.51.100.7", "reject"),
    (HOST, "tcp 10.0.2.2:8000", "allow"),
    (HOST, "tcp 10.0.2.2:8010", "allow"),
    (HOST, "tcp 10.0.2.2:7999", "reject"),
    (HOST, "tcp 10.0.2.2:8011", "reject"),
    (HOST, "tcp 10.0.2.2:9000", "allow"),
    (HOST, "udp 10.0.2.2:9000", "reject"),
    (HOST, "tcp 198.51.100.7:8000", "reject"),
    (HOST, "tcp 10.0.2.3:8000", "reject"),
    (INSIDE, "tcp 10.1.2.3:80", "reject"),
    (INSIDE, "tcp 10.1.3.3:80", "allow"),
    (INSIDE, "tcp 172.16.0.1:80", "allow"),
    (INSIDE, "tcp 172.31.255.255:80", "allow"),
    (INSIDE, "tcp 172.32.0.0:80", "reject"),
    (INSIDE, "tcp 192.168.255.1:25", "allow"),
    (INSIDE, "tcp 198.51.100.7:25", "drop"),
    (INSIDE, "udp 198.51.100.7:25", "drop"),
    (INSIDE, "tcp 100.64.0.1:1", "allow"),
    (INSIDE, "tcp 100.128.0.1:1", "reject"),
    (INSIDE, "tcp 10.0.2.2:80", "reject"),  # the gateway is no private network, though its address is
    (INSIDE, "tcp [fd12::1]:80", "allow"),
    (INSIDE, "tcp [fe80::1]:80", "reject"),
    (INSIDE, "icmp 192.168.0.9", "allow"),
    (CLOUD, "tcp 169.254.169.254:80", "drop"),
    (CLOUD, "tcp 100.100.100.200:80", "drop"),
    (CLOUD, "tcp 168.63.129.16:32526", "drop"),
    (CLOUD, "tcp [fd00:ec2::254]:80", "drop"),
    (CLOUD, "tcp 169.254.1.1:80", "reject"),
    (CLOUD, "udp [fe80::1]:80", "reject"),
    (CLOUD, "tcp 169.255.0.0:80", "allow"),
    (CLOUD, "tcp 10.0.2.2:80", "reject"),  # any is other hosts
    (PING, "icmp 198.51.100.7", "allow"),
    (PING, "icmp 10.0.2.2", "reject"),
    (PING, "udp 198.51.100.7:33434", "allow"),
    (PING, "udp 198.51.100.7:33535", "reject"),
    (PING, "tcp 198.51.100.7:33434", "reject"),
    (OPEN, "tcp 10.0.2.2:1", "reject"),
    (OPEN, "udp 10.0.2.2:0", "reject"),
    (OPEN, "icmp 10.0.2.2", "reject"),
    (OPEN, "tcp 198.51.100.7:1", "allow"),
    (OPEN, "udp 255.255.255.254:65535", "allow"),
    (NARROW, "tcp 198.51.100.7:22", "allow"),
    (NARROW, "tcp 198.51.100.8:22", "reject"),
    (NARROW, "udp 198.51.100.15:9", "allow"),
    (NARROW, "udp 198.51.100.16:9", "reject"),
    (SIX, "tcp [2001:db8:ffff::1]:443", "allow"),
    (SIX, "tcp [2001:db8:ffff::1]:80", "reject"),
    (SIX, "tcp [2001:db9::7]:80", "allow"),
    (SIX, "udp [2001:db9::7]:80", "reject"),
    (SIX, "tcp 32.1.13.184:443", "reject"),  # whose bytes begin as those of the network do
    (ORDER, "tcp 10.9.9.9:80", "allow"),
    (ORDER, "tcp 10.9.9.9:81", "reject"),
    (ORDER, "tcp 198.51.100.7:81", "allow"),
    (WIDE, "tcp 10.255.0.1:9", "allow"),
    (WIDE, "tcp 10.0.2.2:9", "allow"),  # as it is written: the network holds the gateway
    (EXACT, "tcp 10.0.2.2:22", "allow"),
    (EXACT, "tcp 10.0.2.2:23", "reject"),
    (ALL, "tcp 198.51.100.7:80", "192.0.2.1:80"),
    (ALL, "udp 198.51.100.7:1", "192.0.2.1:1"),
    (ALL, "icmp 198.51.100.7", "192.0.2.1:0"),
    (CLOUD, "icmp 169.254.169.254", "drop"),
    (OPEN, "tcp [fec0::2]:1", "reject"),
    (OPEN, "icmp fec0::2", "reject"),
    (OPEN, "tcp [2001:db8::7]:1", "allow"),
    (OUTSIDE, "tcp 10.0.2.2:80", "reject"),
    (OUTSIDE, "udp 10.0.2.2:80", "reject"),
    (OUTSIDE, "tcp [fec0::2]:80", "reject"),
    (OUTSIDE, "tcp 169.254.169.254:80", "reject"),
    (OUTSIDE, "tcp 100.100.100.200:80", "reject"),
    (OUTSIDE, "tcp 169.254.1.1:80", "reject"),
    (OUTSIDE, "tcp [fd00:ec2::254]:80", "reject"),
    (OUTSIDE, "tcp [64:ff9b::a9fe:a9fe]:80", "reject"),
    (OUTSIDE, "tcp [::ffff:169.254.169.254]:80", "reject"),
    (OUTSIDE, "tcp [64:ff9b::10.1.2.3]:80", "allow"),
    (OUTSIDE, "tcp 192.168.1.1:80", "allow"),
    (ALL_NET, "tcp 10.0.2.2:80", "allow"),
    (ALL_NET, "tcp 169.254.169.254:80", "allow"),
    (ALL_NET, "tcp [fec0::2]:80", "allow"),
    (ASIDE, "tcp 10.0.2.2:80", "192.0.2.9:80"),
    (ASIDE, "tcp 10.0.2.2:81", "allow"),
    (ASIDE, "tcp 10.0.2.2:82", "reject"),
    (HOST, "tcp [fec0::2]:8000", "allow"),
    (HOST, "tcp [fec0::2]:7999", "reject"),
    (HOST, "tcp [fec0::3]:8000", "reject"),
    (INSIDE, "tcp [fec0::2]:80", "reject"),
    (INSIDE, "tcp [fec0:0:0:1::7]:80", "allow"),
    (INSIDE, "tcp [fc00::1]:80", "allow"),
    (INSIDE, "tcp [fe00::1]:80", "reject"),
    (INSIDE, "tcp [feff:ffff::1]:80", "allow"),
    (CLOUD, "tcp [fd00:ec2::23]:80", "drop"),
    (CLOUD, "tcp [fd20:ce::254]:80", "drop"),
    (CLOUD, "tcp [fd00:c1::a9fe:a9fe]:80", "drop"),
    (CLOUD, "tcp [fd00:42::42]:80", "drop"),
    (CLOUD, "tcp [fd00:a9fe:a9fe::1]:80", "drop"),
    (CLOUD, "tcp [fe80::a9fe:a9fe]:80", "drop"),
    (CLOUD, "tcp 169.254.42.42:80", "drop"),
    (CLOUD, "tcp [fd00:ec3::254]:80", "allow"),
    (CLOUD, "tcp [febf::1]:80", "reject"),
    (CLOUD, "tcp [fec0::2]:80", "reject"),
    (NO_TEN, "tcp [::ffff:10.1.2.3]:80", "reject"),
    (NO_TEN, "tcp [::10.1.2.3]:80", "reject"),
    (NO_TEN, "tcp [::ffff:0:10.1.2.3]:80", "reject"),
    (NO_TEN, "tcp [64:ff9b::10.1.2.3]:80", "reject"),
    (NO_TEN, "tcp [64:ff9b::11.1.2.3]:80", "allow"),
    (NO_TEN, "tcp [64:ff9b:1::10.1.2.3]:80", "reject"),
    (NO_TEN, "tcp [64:ff9b:1:a01:2:300::]:80", "reject"),
    (NO_TEN, "tcp [64:ff9b:1:a:1:203::]:80", "reject"),
    (NO_TEN, "tcp [64:ff9b:1:0:a:102:300:0]:80", "reject"),
    (NO_TEN, "tcp [64:ff9b:1:b01:2:300::]:80", "allow"),
    (NO_TEN, "tcp [64:ff9b:2::10.1.2.3]:80", "allow"),
    (NO_TEN, "tcp [2002:a01:203::7]:80", "reject"),
    (NO_TEN, "tcp [2002:b01:203::7]:80", "allow"),
    (NO_TEN, "tcp [2001:0:a01:203:1:2:3f57:fefe]:80", "reject"),
    (NO_TEN, "tcp [2001:0:c000:202:1:2:f5fe:fdfc]:80", "reject"),
    (NO_TEN, "tcp [2001:0:c000:202:1:2:3fff:fdfd]:80", "allow"),
    (NO_TEN, "tcp [2001:db8::5efe:a01:203]:80", "reject"),
    (NO_TEN, "tcp [2001:db8::200:5efe:a01:203]:80", "reject"),
    (NO_TEN, "tcp [2001:db8::10.1.2.3]:80", "allow"),
    (ONLY_TEN, "tcp [::ffff:10.1.2.3]:80", "reject"),
    (ONLY_TEN, "tcp [64:ff9b::10.1.2.3]:80", "reject"),
    (ONLY_TEN, "tcp [2002:a01:203::7]:80", "reject"),
    (ONLY_TEN, "tcp 10.1.2.3:80", "allow"),
    (CLOUD, "tcp [64:ff9b::169.254.169.254]:80", "drop"),
    (CLOUD, "tcp [64:ff9b::169.254.1.1]:80", "reject"),
    (CLOUD, "tcp [2002:a9fe:a9fe::1]:80", "drop"),
    (CLOUD, "icmp ::ffff:169.254.169.254", "drop"),
    (OPEN, "tcp [64:ff9b::127.0.0.1]:80", "reject"),
    (OPEN, "tcp [::ffff:0.0.0.0]:80", "reject"),
    (OPEN, "tcp [64:ff9b::192.0.2.7]:80", "allow"),
    (OPEN, "tcp [2002:7f00:1::]:80", "reject"),
    (HOST, "tcp [64:ff9b::127.0.0.1]:8000", "reject"),
    (WEB, "tcp [64:ff9b::203.0.113.9]:443", "reject"),
    (ORDER, "tcp [64:ff9b::10.9.9.9]:80", "reject"),
    (ORDER, "tcp [64:ff9b::198.51.100.7]:80", "allow"),
    (SIX_PROXY, "tcp [2001:db8::7]:80", "2001:db8::1:8080"),
    (SIX_PROXY, "tcp 192.0.2.7:80", "2001:db8::1:8080"),
    (SIX_PROXY, "udp [2001:db8::7]:53", "127.0.0.1:53"),
    (SIX_PROXY, "udp 192.0.2.7:53", "reject"),
    # ICMP has no ports, so no rule with ports is about it: neither those that allow, nor those that refuse.
    (PORTED, "icmp 198.51.100.7", "reject"),
    (PORTED, "icmp 2001:db8::1", "reject"),
    (PORTED, "icmp 10.0.2.2", "reject"),
    (PORTED, "tcp 198.51.100.7:65535", "allow"),
    (PORTED, "udp [2001:db8::7]:1", "allow"),
    (UNPORTED, "icmp 198.51.100.7", "allow"),
    (UNPORTED, "icmp 2001:db8::7", "allow"),
    (UNPORTED, "tcp 198.51.100.7:65535", "drop"),
    (UNPORTED, "udp [2001:db8::1]:1", "drop"),
    (PORTED_PROXY, "icmp 198.51.100.7", "reject"),
    (PORTED_PROXY, "icmp 2001:db8::1", "reject"),
    (PORTED_PROXY, "udp 198.51.100.7:7", "192.0.2.1:7"),
    ([], "tcp 198.51.100.7:80", "reject"),
    ([], "udp 10.0.2.2:80", "reject"),
]
