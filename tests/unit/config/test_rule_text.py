"""Forms that many rules share: numbers, ports, an address with its port, words that are nearly right."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy import Action, Config, ConfigError, LinkError, TcpTarget, Verdict
from slirpy.config.boot import parse_bootfile
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.config.policy import Rule, parse_rule
from slirpy.config.resolver import Resolver, parse_resolver
from slirpy.config.text import bracketed, decimal, hint, parse_port, parse_ports, split_port, with_port
from slirpy.links import parse_endpoint, parse_netdev
from slirpy.paths import PATH_MAX, is_unix_path

MANY = "9" * 5000
"""More digits than ``int`` takes."""


@given(st.integers(0, 70000), st.integers(0, 5))
def test_a_number_in_digits(number: int, zeros: int) -> None:
    text = "0" * zeros + str(number)
    assert decimal(text, 0, 65535) == (number if number <= 65535 else None)


@pytest.mark.parametrize("text", ["", "+1", "-1", " 1", "1 ", "1_0", "0x1", "1.0", "٣", "²", MANY, "65536"])
def test_malformed_numbers_are_refused(text: str) -> None:
    assert decimal(text, 0, 65535) is None
    with pytest.raises(ConfigError, match=r"it .* is not a number from 0 to 65535"):
        parse_port("it", text, 0)


def test_the_bounds_of_a_number() -> None:
    assert [decimal(text, 3, 5) for text in ("2", "3", "5", "6")] == [None, 3, 5, None]
    assert decimal("0" * 5000, 0, 9) == 0


def test_ports_and_ranges_of_ports() -> None:
    assert parse_ports("port", "80") == (80, 80)
    assert parse_ports("port", "1-65535") == (1, 65535)
    for text, says in (
        ("0", "from 1 to 65535"),
        ("2-1", "ports 2-1 end before they begin"),
        ("1-", '"" is not'),
        ("1-2-3", '"2-3" is not'),
    ):
        with pytest.raises(ConfigError, match=says):
            parse_ports("port", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", ("192.0.2.7", None)),
        ("192.0.2.7:80", ("192.0.2.7", "80")),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("[2001:db8::1]:80", ("2001:db8::1", "80")),
        ("[fe80::1%eth0]:53", ("fe80::1%eth0", "53")),
        (":80", ("", "80")),
        ("host:", ("host", "")),
        ("2001:db8::1", None),
        ("a:1:2", None),
        ("[a:1", None),
        ("[a]1", None),
        ("[[a]]:1", None),
    ],
)
def test_a_host_and_its_port(text: str, expected: tuple[str, str | None] | None) -> None:
    assert split_port(text) == expected


@given(st.ip_addresses(), st.integers(0, 65535))
def test_written_addresses_can_be_read(address: object, port: int) -> None:
    assert split_port(with_port(address, port)) == (str(address), str(port))
    assert split_port(bracketed(address)) == (str(address), None)


def test_words_that_are_nearly_right() -> None:
    known = ("format", "max", "files")
    assert hint("fromat", known, "no") == "did you mean format?"
    assert hint("maxsize", known, "no") == "did you mean max?"
    assert hint("xyz", known, "no") == "no"


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (parse_hostfwd, "tcp::{}-:80"),
        (parse_hostfwd, "tcp::80-:{}"),
        (parse_hostfwd, "udp::1-{}-:80"),
        (parse_hostfwd, "unix:/s-:{}"),
        (parse_guestfwd, "tcp:10.0.2.100:{}-tcp:127.0.0.1:80"),
        (parse_guestfwd, "tcp:10.0.2.100:80-tcp:127.0.0.1:{}"),
        (parse_guestfwd, "tcp:10.0.2.100:80-tcp:example.test:{}"),
        (parse_rule, "allow any:{}"),
        (parse_rule, "allow any:1-{}"),
        (parse_rule, "redirect any=127.0.0.1:{}"),
        (parse_resolver, "127.0.0.1:{}"),
        (parse_resolver, "[::1]:{}"),
        (parse_endpoint, "127.0.0.1:{}"),
        (parse_bootfile, "{}=file"),
        (parse_netdev, "stream,addr.type=inet,addr.port={}"),
        (parse_netdev, "socket,connect=127.0.0.1:{}"),
        (parse_netdev, "socket,fd={}"),
    ],
)
@pytest.mark.parametrize("number", [MANY, "99999999999"])
def test_numbers_that_are_too_long_are_refused_like_others(
    read: Callable[[str], Any], text: str, number: str
) -> None:
    with pytest.raises((ConfigError, LinkError), match=r"number|is not"):
        read(text.format(number))


@pytest.mark.parametrize("port", ["+53", " 53", "5_3", "٥٣", "0", ""])
def test_a_resolver_s_port_is_written_in_digits(port: str) -> None:
    for host in ("127.0.0.1", "[::1]"):
        with pytest.raises(ConfigError, match="is not ADDR"):
            parse_resolver(f"{host}:{port}")


# ------------------------------------------------------------------------------------- paths of unix sockets


def test_the_length_of_a_unix_path_is_the_same_everywhere() -> None:
    assert (107 if sys.platform == "linux" else 103) == PATH_MAX
    fits, too_long = "/" + "x" * (PATH_MAX - 1), "/" + "ä" * (PATH_MAX // 2 + 1)
    assert len(too_long) < PATH_MAX < len(too_long.encode())
    assert is_unix_path(fits)
    assert not any(map(is_unix_path, (too_long, "", "/a\0", b"/a", None)))
    Config(hostfwd=[f"unix:{fits}-:80"])
    assert parse_endpoint(f"unix:{fits}").path == fits
    with pytest.raises(ConfigError, match=f"1 to {PATH_MAX} bytes"):
        Config(hostfwd=[f"unix:{too_long}-:80"])
    with pytest.raises(LinkError, match=f"1 to {PATH_MAX} bytes"):
        parse_endpoint(f"unix:{too_long}")


def test_a_resolver_keeps_the_scope_of_its_address() -> None:
    for made in (
        Resolver("fe80::1%eth0"),
        Resolver(IPv6Address("fe80::1%eth0")),
        Resolver("fe80::1", scope="eth0"),
    ):
        assert (str(made.address), made.scope, str(made)) == ("fe80::1", "eth0", "[fe80::1%eth0]:53")
        assert parse_resolver(str(made)) == made


@pytest.mark.parametrize("made", ["fe80::1%eth0", IPv6Address("fe80::1%eth0")])
def test_addresses_for_sockets_of_the_host_keep_their_scope(made: str | IPv6Address) -> None:
    target = TcpTarget(made, 80)
    assert parse_guestfwd("tcp:[fec0::100]:80-tcp:[fe80::1%eth0]:80").target == target
    assert str(target) == "tcp:[fe80::1%eth0]:80"
    redirect = Verdict(Action.ALLOW, redirect=(made, 80)).redirect
    assert (
        redirect == Rule(Action.ALLOW, "any", redirect=(made, 80)).redirect == (IPv6Address("fe80::1%eth0"), 80)
    )


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("fe80::1", "fe80::1 is link-local; write the interface too, for example fe80::1%eth0"),
        (IPv6Address("fe80::1").packed, "fe80::1 is link-local; write the interface too"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7 is IPv4 written as IPv6; write 192.0.2.7"),
    ],
)
def test_addresses_that_lead_nowhere_or_elsewhere(address: str | bytes, text: str) -> None:
    for make in (TcpTarget, lambda *place: Verdict(Action.ALLOW, redirect=place)):
        with pytest.raises(ConfigError, match=re.escape(text)):
            make(address, 80)
    if isinstance(address, str):
        with pytest.raises(ConfigError, match=re.escape(text)) as caught:
            Config(guestfwd=[f"tcp:10.0.2.100:80-tcp:[{address}]:80"])
        assert str(caught.value).startswith('guestfwd "tcp:10.0.2.100:80-tcp:[')


@pytest.mark.parametrize("prefix", ["129", "0", "3", "127", "-1", "999"])
def test_prefixes_beyond_the_range_are_refused_with_the_range(prefix: str) -> None:
    with pytest.raises(ConfigError, match=f"net6 fec0::/{prefix}: the prefix must be from /4 to /126"):
        Config(net6=f"fec0::/{prefix}")


@pytest.mark.parametrize(
    "net6", ["fec0::/", "fec0::/x", "fec0::1%eth0/64", "fec0::/+64", "fec0::/64/64", "", "10.0.2.0/24"]
)
def test_networks_that_are_none(net6: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(net6=net6)
    assert str(caught.value) == f'net6 "{net6}" is not an IPv6 network; write for example fec0::/64'
