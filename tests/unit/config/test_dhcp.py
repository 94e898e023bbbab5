"""Rules about leases as people write them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, GuestRoute, StaticLease, parse_lease, parse_route
from slirpy.errors import ConfigError

MAC = bytes.fromhex("525400123456")
A = IPv4Address("10.0.2.50")


@pytest.mark.parametrize(
    ("rule", "lease"),
    [
        ("52:54:00:12:34:56=10.0.2.50", StaticLease(A, MAC)),
        ("52-54-00-12-34-56=10.0.2.50,web", StaticLease(A, MAC, hostname="web")),
        ("id:ff:00:ab=10.0.2.50", StaticLease(A, client_id=b"\xff\0\xab")),
        ("id:web-1=10.0.2.50,w.x_y", StaticLease(A, client_id=b"web-1", hostname="w.x_y")),
        ("id:a=b=10.0.2.50", StaticLease(A, client_id=b"a=b")),
        ("id:01:52:54:00:12:34:56=10.0.2.50", StaticLease(A, MAC)),
        ("52:54:00:12:34:56=10.0.2.50,", StaticLease(A, MAC)),
    ],
)
def test_leases_are_read(rule: str, lease: StaticLease) -> None:
    assert parse_lease(rule) == lease
    assert parse_lease(str(lease)) == lease


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("", "malformed"),
        ("52:54:00:12:34:56", "malformed"),
        ("=10.0.2.50", "malformed"),
        ("52:54:00:12:34:56=", "malformed"),
        ("52:54:00:12:34=10.0.2.50", "not a MAC address"),
        ("52:54-00:12:34:56=10.0.2.50", "not a MAC address"),
        ("53:54:00:12:34:56=10.0.2.50", "not the MAC address of a network card"),
        ("00:00:00:00:00:00=10.0.2.50", "not the MAC address of a network card"),
        ("52:54:00:12:34:56=10.0.2", "not an IP address"),
        ("52:54:00:12:34:56=10.0.2.50,a b", "not a host name"),
        ("52:54:00:12:34:56=10.0.2.50,-a", "not a host name"),
        ("id:x=10.0.2.50", "2 to 255 bytes"),
    ],
)
def test_leases_that_cannot_be_read(rule: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        parse_lease(rule)
    assert f'lease "{rule}"' in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"mac": MAC, "client_id": b"ab"}])
def test_a_lease_is_for_one_client(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="either mac or client_id"):
        StaticLease(A, **given)


@pytest.mark.parametrize(
    ("rule", "route"),
    [
        ("192.0.2.0/24", GuestRoute(IPv4Network("192.0.2.0/24"))),
        ("192.0.2.0/24=10.0.2.9", GuestRoute(IPv4Network("192.0.2.0/24"), IPv4Address("10.0.2.9"))),
        ("0.0.0.0/0=0.0.0.0", GuestRoute(IPv4Network("0.0.0.0/0"), IPv4Address("0.0.0.0"))),
    ],
)
def test_routes_are_read(rule: str, route: GuestRoute) -> None:
    assert parse_route(rule) == route
    assert str(route) == rule


@pytest.mark.parametrize("rule", ["", "x", "192.0.2.1/24", "192.0.2.0/24=", "192.0.2.0/24=x", "2001:db8::/32"])
def test_routes_that_cannot_be_read(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"write CIDR\[=GATEWAY\]"):
        parse_route(rule)


def test_config_takes_text_and_objects() -> None:
    config = Config(
        static_leases=["52:54:00:12:34:56=10.0.2.50", StaticLease(IPv4Address("10.0.2.51"), client_id=b"ab")],
        routes=["192.0.2.0/24", GuestRoute(IPv4Network("198.51.100.0/24"))],
        lease_file="/tmp/leases",
        bootfile="pxelinux.0",
        tftp_server_name="tftp",
        lease_time=60,
    )
    assert [lease.address for lease in config.static_leases] == [A, IPv4Address("10.0.2.51")]
    assert [str(route) for route in config.routes] == ["192.0.2.0/24", "198.51.100.0/24"]
    assert config.lease_file == Path("/tmp/leases")
    assert (config.bootfile, config.tftp_server_name, config.lease_time) == ("pxelinux.0", "tftp", 60)
    hash(config)


def test_the_defaults_of_config() -> None:
    config = Config()
    assert (config.bootfile, config.tftp_server_name, config.lease_file) == (None, None, None)
    assert (config.lease_time, config.static_leases, config.routes) == (86_400, (), ())


def test_qemu_has_words_for_booting() -> None:
    config = Config.from_qemu("user,bootfile=http://10.0.2.2/a,,b,tftp-server-name=10.0.2.9")
    assert (config.bootfile, config.tftp_server_name) == ("http://10.0.2.2/a,b", "10.0.2.9")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"static_leases": "52:54:00:12:34:56=10.0.2.50"}, "must be a list"),
        ({"static_leases": ["52:54:00:12:34:56=10.0.3.50"]}, r"not an address of a host in 10\.0\.2\.0/24"),
        ({"static_leases": ["52:54:00:12:34:56=10.0.2.255"]}, "not an address of a host"),
        ({"static_leases": ["52:54:00:12:34:56=10.0.2.2"]}, "belongs to a virtual server"),
        ({"static_leases": ["52:54:00:12:34:56=10.0.2.50", "id:ab=10.0.2.50"]}, "another rule"),
        ({"static_leases": ["id:ab=10.0.2.50", "id:ab=10.0.2.51"]}, "another rule"),
        ({"routes": "192.0.2.0/24"}, "must be a list"),
        ({"routes": ["x"]}, "write CIDR"),
        ({"lease_time": 1}, "lease_time 1 is not"),
        ({"lease_time": 2**32}, "lease_time 4294967296 is not"),
        ({"lease_time": "60"}, "lease_time '60' is not"),
        ({"bootfile": "x" * 256}, "at most 255 ASCII"),
        ({"bootfile": "a\nb"}, "at most 255 ASCII"),
        ({"tftp_server_name": "bücher"}, "at most 255 ASCII"),
    ],
)
def test_invalid_options_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Config(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"lease_time": 0},
        {"hostname": "bücher"},
        {"bootfile": "x" * 256},
        {"tftp_server_name": "x" * 256},
        *({"options": {code: b"x"}} for code in (0, 255, 256, -1, 51, 53, 54, 61, 82)),
    ],
)
def test_invalid_answers_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DhcpAnswer(**given)
