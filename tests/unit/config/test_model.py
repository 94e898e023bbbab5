"""The configuration: defaults, what is refused and with what words, and QEMU's option strings."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

import pytest

from slirpy import Action, Config, ConfigError, HostForward, Resolver, SlirpyError, Verdict
from slirpy.config import qemu
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.config.resolver import parse_resolver
from slirpy.paths import PATH_MAX

A = ip_address


def refusal(error: type[SlirpyError], **arguments: Any) -> str:
    with pytest.raises(error) as caught:
        Config(**arguments)
    return str(caught.value)


# ------------------------------------------------------------------------------------------ addresses


def test_defaults_are_those_of_qemu() -> None:
    config = Config()
    assert config.net == IPv4Network("10.0.2.0/24")
    assert (config.host, config.dns, config.dhcpstart) == (A("10.0.2.2"), A("10.0.2.3"), A("10.0.2.15"))
    assert config.mtu == 1500
    assert config.host_loopback
    assert config.hostfwd == ()
    assert config.resolvers is None


@pytest.mark.parametrize(
    ("net", "host", "dns", "dhcpstart"),
    [
        ("192.168.7.0/24", "192.168.7.2", "192.168.7.3", "192.168.7.15"),
        ("172.16.0.0/12", "172.16.0.2", "172.16.0.3", "172.16.0.15"),
        ("16.0.0.0/4", "16.0.0.2", "16.0.0.3", "16.0.0.15"),
        ("10.0.2.16/28", "10.0.2.18", "10.0.2.19", "10.0.2.17"),  # .31 is the broadcast address
        ("10.0.2.8/29", "10.0.2.10", "10.0.2.11", "10.0.2.9"),
        ("10.0.2.4/30", "10.0.2.6", "10.0.2.6", "10.0.2.5"),  # gateway and DNS share one
    ],
)
def test_everything_follows_from_net(net: str, host: str, dns: str, dhcpstart: str) -> None:
    config = Config(net=net)
    assert (config.host, config.dns, config.dhcpstart) == (A(host), A(dns), A(dhcpstart))


def test_a_30_network_has_room_for_one_guest_and_no_more() -> None:
    text = refusal(ConfigError, net="10.0.2.4/30", host="10.0.2.5", dns="10.0.2.6")
    assert text == "net 10.0.2.4/30 has no room for gateway, DNS server and a guest; use a larger one"
    config = Config(net="10.0.2.4/30", host="10.0.2.5")
    assert (config.dns, config.dhcpstart) == (A("10.0.2.5"), A("10.0.2.6"))


def test_host_bits_of_net_are_ignored() -> None:
    assert Config(net="10.1.2.3/16").net == IPv4Network("10.1.0.0/16")


def test_defaults_step_aside() -> None:
    config = Config(host="10.0.2.3")
    assert config.dns == A("10.0.2.1")
    config = Config(host="10.0.2.15")
    assert config.dhcpstart == A("10.0.2.1")


def test_addresses_as_bytes() -> None:
    config = Config()
    assert config.network_address == bytes([10, 0, 2, 0])
    assert config.netmask == bytes([255, 255, 255, 0])
    assert config.broadcast_address == bytes([10, 0, 2, 255])
    assert config.gateway_address == bytes([10, 0, 2, 2])
    assert config.dns_address == bytes([10, 0, 2, 3])
    assert config.dhcpstart_address == bytes([10, 0, 2, 15])
    assert config.contains(bytes([10, 0, 2, 255]))
    assert not config.contains(bytes([10, 0, 3, 0]))


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().mtu = 9000  # type: ignore[misc] # frozen


@pytest.mark.parametrize("mtu", [68, 1500, 65521])
def test_mtu_bounds_are_inside(mtu: int) -> None:
    assert Config(mtu=mtu).mtu == mtu


def test_policy_is_kept() -> None:
    def policy(_: object) -> Verdict:
        return Verdict(Action.ALLOW)

    assert Config(policy=policy).policy is policy


# ---------------------------------------------------------------------- every refusal, word for word

NETWORK = "is not an IPv4 network; write for example 10.0.2.0/24"
INSIDE = "is not an address of 10.0.2.0/24; choose one from 10.0.2.1 to 10.0.2.254"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"net": "10.0.2"}, f'net "10.0.2" {NETWORK}'),
        ({"net": "10.0.2.0/33"}, f'net "10.0.2.0/33" {NETWORK}'),
        ({"net": "fec0::/64"}, f'net "fec0::/64" {NETWORK}'),
        ({"net": ""}, f'net "" {NETWORK}'),
        *(
            ({"net": net}, f"net {net}: the prefix must be from /4 to /30, so that it holds guests and servers")
            for net in ("10.0.2.0/31", "10.0.2.1/32", "32.0.0.0/3", "0.0.0.0/0")
        ),
        *(
            ({"net": net}, f"net {net} is a loopback or multicast network; choose one such as 10.0.2.0/24")
            for net in ("127.0.0.0/8", "127.0.1.0/24", "224.0.0.0/4", "239.1.2.0/24")
        ),
        ({"host": "10.0.3.2"}, f"host 10.0.3.2 {INSIDE}"),
        ({"host": "10.0.2.0"}, f"host 10.0.2.0 {INSIDE}"),
        ({"host": "10.0.2.255"}, f"host 10.0.2.255 {INSIDE}"),
        ({"host": "gateway"}, 'host "gateway" is not an IPv4 address, such as 10.0.2.2'),
        ({"dns": "8.8.8.8"}, f"dns 8.8.8.8 {INSIDE}"),
        ({"dns": "::1"}, 'dns "::1" is not an IPv4 address, such as 10.0.2.2'),
        ({"dhcpstart": "10.0.3.15"}, f"dhcpstart 10.0.3.15 {INSIDE}"),
        ({"dhcpstart": "10.0.2.2"}, "dhcpstart 10.0.2.2 is the host address; choose another"),
        ({"dhcpstart": "10.0.2.3"}, "dhcpstart 10.0.2.3 is the dns address; choose another"),
        ({"mtu": 67}, "mtu 67 is not a number from 68 to 65521"),
        ({"mtu": 65522}, "mtu 65522 is not a number from 68 to 65521"),
        ({"tcp_keepalive": -1}, "tcp_keepalive -1 is not a number of seconds from 0 (never) to 86400"),
        ({"tcp_keepalive": 86_401}, "tcp_keepalive 86401 is not a number of seconds from 0 (never) to 86400"),
        ({"tcp_keepalive": 1.5}, "tcp_keepalive 1.5 is not a number of seconds from 0 (never) to 86400"),
        ({"mtu": "1500"}, "mtu '1500' is not a number from 68 to 65521"),
        ({"mtu": 1500.0}, "mtu 1500.0 is not a number from 68 to 65521"),
        ({"hostfwd": "tcp::80-:80"}, "hostfwd must be a list, such as hostfwd=[...]; given was 'tcp::80-:80'"),
        (
            {"dnssearch": "example.org"},
            "dnssearch must be a list, such as dnssearch=[...]; given was 'example.org'",
        ),
        ({"resolvers": 53}, "resolvers must be a list, such as resolvers=[...]; given was 53"),
        *(
            (
                {"resolvers": [given]},
                f'resolver "{given}" is not ADDR[:PORT]; write for example 127.0.0.53 or 127.0.0.1:5353',
            )
            for given in ("dns.example", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "[::1]:x", "[127", "")
        ),
    ],
)
def test_invalid_options_are_refused(arguments: dict[str, Any], text: str) -> None:
    assert refusal(ConfigError, **arguments) == text


def test_a_config_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="prefix must be"):
        Config(net="10.0.0.0/31")


# ------------------------------------------------------------------------------------------- hostfwd


@pytest.mark.parametrize(
    ("rule", "forward"),
    [
        ("tcp:127.0.0.1:8080-:80", HostForward("tcp", A("127.0.0.1"), 8080, None, 80)),
        ("::2222-:22", HostForward("tcp", A("127.0.0.1"), 2222, None, 22)),
        ("udp::53-10.0.2.16:5353", HostForward("udp", A("127.0.0.1"), 53, A("10.0.2.16"), 5353)),
        ("tcp:0.0.0.0:0-:65535", HostForward("tcp", A("0.0.0.0"), 0, None, 65535)),
        ("tcp::8000-8010-:9000-9010", HostForward("tcp", A("127.0.0.1"), 8000, None, 9000, count=11)),
        ("udp::8000-8001-10.0.2.16:1", HostForward("udp", A("127.0.0.1"), 8000, A("10.0.2.16"), 1, count=2)),
        ("tcp::1-65535-:1", HostForward("tcp", A("127.0.0.1"), 1, None, 1, count=65535)),
        ("tcp::80-80-:80", HostForward("tcp", A("127.0.0.1"), 80, None, 80)),
        ("unix:/run/a.sock-:80", HostForward("unix", A("127.0.0.1"), 0, None, 80, "/run/a.sock")),
        ("unix:/a-b:c-10.0.2.9:80", HostForward("unix", A("127.0.0.1"), 0, A("10.0.2.9"), 80, "/a-b:c")),
        ("unix:relative-:1", HostForward("unix", A("127.0.0.1"), 0, None, 1, "relative")),
        ("tcp:[::1]:8080-[fec0::15]:80", HostForward("tcp", A("::1"), 8080, A("fec0::15"), 80)),
        ("udp:[::]:53-:53", HostForward("udp", A("::"), 53, None, 53)),
        (":[::1]:1-2-10.0.2.16:3-4", HostForward("tcp", A("::1"), 1, A("10.0.2.16"), 3, count=2)),
        ("tcp::80-[fe80::15]:80", HostForward("tcp", A("127.0.0.1"), 80, A("fe80::15"), 80)),
        ("tcp:[fe80::1%eth0]:80-:80", HostForward("tcp", A("fe80::1%eth0"), 80, None, 80)),
        ("unix:/a-[b]:c-[fec0::15]:80", HostForward("unix", A("127.0.0.1"), 0, A("fec0::15"), 80, "/a-[b]:c")),
    ],
)
def test_rules(rule: str, forward: HostForward) -> None:
    assert parse_hostfwd(rule) == forward
    assert parse_hostfwd(str(forward)) == forward  # what is shown can be typed again
    assert Config(hostfwd=[rule]).hostfwd == (forward,)
    assert Config(hostfwd=[forward]).hostfwd == (forward,)


NEITHER = "is not an IPv4 address, or an IPv6 address in brackets"
HOW = (
    "write [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, such as tcp:127.0.0.1:8080-:80 or"
    " tcp:[::1]:8080-:80, or unix:/path-[guestaddr]:guestport"
)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("", f"malformed; {HOW}"),
        ("8080:80", f"malformed; {HOW}"),
        ("tcp::8080:80", f"malformed; {HOW}"),
        ("tcp::8080-80", f"malformed; {HOW}"),
        ("tcp:::8080-:80", f"malformed; {HOW}"),
        ("sctp::8080-:80", f'protocol "sctp" is none of tcp, udp and unix; {HOW}'),
        ("TCP::8080-:80", f'protocol "TCP" is none of tcp, udp and unix; {HOW}'),
        (
            "tcp:localhost:8080-:80",
            'host address "localhost" is not an IPv4 address, or an IPv6 address in brackets',
        ),
        ("tcp::8080-guest:80", f'guest address "guest" {NEITHER}'),
        ("tcp::-:80", 'host port "" is not a number from 0 to 65535'),
        ("tcp::65536-:80", 'host port "65536" is not a number from 0 to 65535'),
        ("tcp::http-:80", 'host port "http" is not a number from 0 to 65535'),
        ("tcp::٣-:80", 'host port "٣" is not a number from 0 to 65535'),
        ("tcp::8080-:0", 'guest port "0" is not a number from 1 to 65535'),
        ("tcp::8080-:", 'guest port "" is not a number from 1 to 65535'),
        ("tcp::8080-:+80", 'guest port "+80" is not a number from 1 to 65535'),
        ("tcp::8010-8000-:80", "host ports 8010-8000 end before they begin"),
        ("tcp::8000-8002-:80-81", "3 host ports cannot lead to 2 guest ports"),
        ("tcp::8000-:80-81", "1 host ports cannot lead to 2 guest ports"),
        ("tcp::0-5-:80", "host port 0 takes one free port; a range begins at 1 or above"),
        ("tcp::1-10-:65530", "guest ports 65530 and 9 more end above 65535"),
        ("tcp::1-65536-:1", 'host port "65536" is not a number from 0 to 65535'),
        ("tcp::1-x-:1", 'host port "x" is not a number from 0 to 65535'),
        ("tcp::-5-:1", 'host port "" is not a number from 0 to 65535'),
        ("unix:/a", f"malformed; {HOW}"),
        ("unix:-:80", f"the path of a unix socket has 1 to {PATH_MAX} bytes"),
        (f"unix:/{'x' * PATH_MAX}-:80", f"the path of a unix socket has 1 to {PATH_MAX} bytes"),
        ("unix:/a-:0", 'guest port "0" is not a number from 1 to 65535'),
        ("unix:/a-:80-81", f"malformed; {HOW}"),
        ("unix:/a-10.0.2:80", f'guest address "10.0.2" {NEITHER}'),
        ("tcp:::1:8080-:80", f"malformed; {HOW}"),
        ("tcp:[::1:8080-:80", f"malformed; {HOW}"),
        ("tcp:[::1]8080-:80", f"malformed; {HOW}"),
        ("tcp::80-fec0::15:80", f"malformed; {HOW}"),
        ("tcp::80-[fec0::15]80", f"malformed; {HOW}"),
        (
            "tcp:[127.0.0.1]:80-:80",
            'host address "[127.0.0.1]" is not an IPv4 address, or an IPv6 address in brackets',
        ),
        ("tcp:[]:80-:80", 'host address "[]" is not an IPv4 address, or an IPv6 address in brackets'),
        (
            "tcp::80-[fec0::/64]:80",
            'guest address "[fec0::/64]" is not an IPv4 address, or an IPv6 address in brackets',
        ),
        (
            "tcp:[::ffff:127.0.0.1]:80-:80",
            "host address ::ffff:127.0.0.1 is IPv4 written as IPv6; write 127.0.0.1",
        ),
        (
            "tcp:[fe80::1]:80-:80",
            "host address fe80::1 is link-local; write the interface too, for example fe80::1%eth0",
        ),
        ("tcp::80-[fec0::15%eth0]:80", "guest address fec0::15%eth0 has a scope; a guest has only one link"),
        ("tcp::8080-:80\n", 'guest port "80\n" is not a number from 1 to 65535'),
    ],
)
def test_rules_that_are_refused(rule: str, text: str) -> None:
    assert refusal(ConfigError, hostfwd=[rule]) == f'hostfwd "{rule}": {text}'


# ------------------------------------------------------------------------------------------ resolvers


@pytest.mark.parametrize(
    ("text", "resolver", "shown"),
    [
        ("127.0.0.53", Resolver(bytes([127, 0, 0, 53])), "127.0.0.53:53"),
        ("127.0.0.1:5353", Resolver(bytes([127, 0, 0, 1]), 5353), "127.0.0.1:5353"),
        ("::1", Resolver(bytes(15) + b"\1"), "[::1]:53"),
        ("[::1]", Resolver(bytes(15) + b"\1"), "[::1]:53"),
        ("[::1]:5353", Resolver(bytes(15) + b"\1", 5353), "[::1]:5353"),
    ],
)
def test_resolvers(text: str, resolver: Resolver, shown: str) -> None:
    assert parse_resolver(text) == resolver
    assert str(resolver) == shown
    assert parse_resolver(shown) == resolver
    assert Config(resolvers=[text]).resolvers == (resolver,)


# -------------------------------------------------------------------------------------- QEMU's strings


def test_from_qemu() -> None:
    config = Config.from_qemu(
        "user,id=n0,net=192.168.7.0/24,host=192.168.7.1,dns=192.168.7.4,dhcpstart=192.168.7.50,hostname=guest,"
        "domainname=example.org,dnssearch=a.example,dnssearch=b.example,ipv4=on,ipv6=on,"
        "hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:5353-192.168.7.50:53",
        mtu=9000,
    )
    assert config == Config(
        net=IPv4Network("192.168.7.0/24"),
        host=IPv4Address("192.168.7.1"),
        dns=IPv4Address("192.168.7.4"),
        dhcpstart=IPv4Address("192.168.7.50"),
        hostname="guest",
        domainname="example.org",
        dnssearch=["a.example", "b.example"],
        hostfwd=[parse_hostfwd("tcp::2222-:22"), parse_hostfwd("udp:127.0.0.1:5353-192.168.7.50:53")],
        mtu=9000,
    )


@pytest.mark.parametrize("options", ["user", "", "user,"])
def test_from_qemu_with_nothing(options: str) -> None:
    assert Config.from_qemu(options) == Config()


def test_a_doubled_comma_is_one() -> None:
    assert Config.from_qemu("user,bootfile=a,,b,domainname=c").bootfile == "a,b"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("ipv6=off", Config(ipv6=False)),
        ("noipv6", Config(ipv6=False)),
        ("ipv4=off", Config(ipv4=False)),
        # One that is switched on alone switches the other off.
        ("ipv6=on", Config(ipv4=False)),
        ("ipv4=on", Config(ipv6=False)),
        ("ipv4=on,ipv6=on", Config()),
        ("ipv6-net=fd00:7::/48", Config(net6="fd00:7::/48")),
        ("ipv6-net=fd00:7::", Config(net6="fd00:7::/64")),
        (
            "ipv6-net=fd00:7::,ipv6-host=fd00:7::9,ipv6-dns=fd00:7::8",
            Config(net6="fd00:7::/64", host6="fd00:7::9", dns6="fd00:7::8"),
        ),
        ("ipv6-prefix=fd00:7::", Config(net6="fd00:7::/64")),
        ("ipv6-prefixlen=56", Config(net6="fec0::/56")),
        ("ipv6-prefix=fd00:7::,ipv6-prefixlen=56", Config(net6="fd00:7::/56")),
    ],
)
def test_the_families_of_qemu(options: str, expected: Config) -> None:
    assert Config.from_qemu(f"user,{options}") == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ipv4": False, "ipv6": False},
         "both ipv4 and ipv6 are off: a network carries at least one of them; leave one on"),
        ({"nat64": True, "ipv6": False},
         "nat64 is for guests that have only IPv6, and ipv6 is off; leave one of the two out"),
        ({"nat64": True, "net6": "64:ff9b::/64"},
         "nat64_prefix 64:ff9b::/96 overlaps net6 64:ff9b::/64; choose another prefix"),
        pytest.param({"nat64_prefix": "2001:db8::/33"},
         "nat64_prefix 2001:db8::/33: the prefix must be one of /32, /40, /48, /56, /64, /96; write for example"
         " 64:ff9b::/96", marks=[
             pytest.mark.rfc("6052", "2.2 lengths"),
             pytest.mark.rfc("6146", "3.5.4 length"),
             pytest.mark.rfc("6147", "5.2 length"),
         ]),
        ({"nat64_prefix": "2001:db8::1/96"},
         'nat64_prefix "2001:db8::1/96" is not an IPv6 prefix without further bits; write for example 64:ff9b::/96'),
        pytest.param({"nat64_prefix": "2001:db8:0:0:100::/96"},
         "nat64_prefix 2001:db8:0:0:100::/96: bits 64 to 71 must be zero (RFC 6052); write for example 64:ff9b::/96",
         marks=pytest.mark.rfc("6052", "2.2 prefix")),
        ({"dns46": "10.0.0.0/8"}, "dns46 10.0.0.0/8 overlaps 10.0.2.0/24; choose another network, such as"
         " 198.18.0.0/15"),
        ({"dns46": "240.0.0.0/8"}, "dns46 240.0.0.0/8 overlaps 224.0.0.0/3; choose another network, such as"
         " 198.18.0.0/15"),
        ({"dns46": "198.18.0.0/15", "ipv4": False},
         "dns46 is for guests that have only IPv4, and ipv4 is off; leave one of the two out"),
        ({"mtu": 1279, "ipv4": False},
         "mtu 1279: ipv4 is off, and IPv6 needs an MTU of at least 1280; choose that or more"),
        ({"net6": "fec0::/129"},
         "net6 fec0::/129: the prefix must be from /4 to /126, so that it holds guests and servers"),
        ({"net6": "10.0.2.0/24"}, 'net6 "10.0.2.0/24" is not an IPv6 network; write for example fec0::/64'),
        ({"net6": "fec0::/127"},
         "net6 fec0::/127: the prefix must be from /4 to /126, so that it holds guests and servers"),
        ({"net6": "fe80::/64"},
         "net6 fe80::/64 contains or is part of fe80::/10, the link-local addresses; choose one such as fec0::/64"),
        ({"net6": "::/4"},
         "net6 ::/4 contains or is part of ::/80, the loopback address and IPv4-mapped ones; choose one such as"
         " fec0::/64"),
        ({"net6": "ff02::/64"},
         "net6 ff02::/64 contains or is part of ff00::/8, the multicast groups; choose one such as fec0::/64"),
        ({"host6": "fec0::"},
         "host6 fec0:: is not an address of fec0::/64; choose one from fec0::1 to fec0::ffff:ffff:ffff:ffff"),
        ({"dns6": "fd00::3"},
         "dns6 fd00::3 is not an address of fec0::/64; choose one from fec0::1 to fec0::ffff:ffff:ffff:ffff"),
        ({"host6": "10.0.2.2"}, 'host6 "10.0.2.2" is not an IPv6 address, such as fec0::2'),
        ({"host6": "fec0::3", "dns6": "fec0::3"},
         "dns6 fec0::3 is the host6 address; choose another, or leave it out"),
        ({"smb": "/tmp", "smbserver6": "fec0::2"}, "smbserver6 fec0::2 is the host6 address; choose another"),
        ({"dns6": "fe80::3%eth0"}, 'dns6 "fe80::3%eth0" is not an IPv6 address, such as fec0::2'),
    ],
)  # fmt: skip
def test_ipv6_networks_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "host", "dns"),
    [
        ({}, "fec0::2", "fec0::3"),
        ({"net6": "fd00::5/126"}, "fd00::6", "fd00::7"),
        ({"net6": "fd00::/126", "dns6": "fd00::2"}, "fd00::3", "fd00::2"),
        ({"net6": "2001:db8::/4"}, "2000::2", "2000::3"),
        ({"host6": "fec0::3"}, "fec0::3", "fec0::4"),
        ({"net6": "fd00::/126", "host6": "fd00::3"}, "fd00::3", "fd00::1"),
    ],
)
def test_ipv6_servers(given: dict[str, Any], host: str, dns: str) -> None:
    config = Config(**given)
    assert (str(config.host6), str(config.dns6)) == (host, dns)
    assert {config.gateway_address6, config.dns_address6} < config.server_addresses


def test_the_network_contains_its_addresses() -> None:
    inside = ["10.0.2.15", "fec0::77", "fe80::1", "febf::1"]
    outside = ["10.0.3.1", "fec0:0:0:1::1", "fec0::1:0:0:0:1", "::1", "ff02::1", "::ffff:10.0.2.15"]
    assert [text for text in inside + outside if Config().contains(ip_address(text).packed)] == inside
    only = {"ipv4": Config(ipv6=False), "ipv6": Config(ipv4=False)}
    assert [text for text in inside if only["ipv4"].contains(ip_address(text).packed)] == inside[:1]
    assert [text for text in inside if only["ipv6"].contains(ip_address(text).packed)] == inside[1:]
    assert {len(address) for address in only["ipv4"].server_addresses} == {4}
    assert {len(address) for address in only["ipv6"].server_addresses} == {16}


@pytest.mark.parametrize(
    ("item", "key", "hint"),
    [
        ("hostfw=tcp::80-:80", "hostfw", "did you mean hostfwd?"),
        ("dhcp-start=10.0.2.9", "dhcp-start", "did you mean dhcpstart?"),
        ("domain=x", "domain", "did you mean domainname?"),
        ("restict=on", "restict", "did you mean restrict?"),
        ("network=10.0.0.0/8", "network", "did you mean net?"),
        ("zzzz=1", "zzzz", f"known are {', '.join(qemu.KEYS)}"),
        ("user=1", "user", f"known are {', '.join(qemu.KEYS)}"),
    ],
)
def test_an_unknown_key_names_the_nearest(item: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_qemu(item)
    assert str(caught.value) == f'"{item}": unknown option "{key}"; {hint}'


def test_bad_values_in_qemus_string() -> None:
    with pytest.raises(ConfigError, match=r'^net "10\." is not an IPv4 network'):
        Config.from_qemu("user,net=10.")
    with pytest.raises(ConfigError, match="malformed"):
        Config.from_qemu("user,hostfwd=80")
