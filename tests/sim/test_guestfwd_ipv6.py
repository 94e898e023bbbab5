"""Services of the host at IPv6 addresses of the virtual network."""

from __future__ import annotations

from ipaddress import ip_address
from socket import if_nameindex

import pytest

from slirpy import Config, ConfigError, ForwardError
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.testing import Echo, VirtualNetwork
from slirpy.wire.scope import with_scope


def network(*rules: str, ipv4: bool = True) -> VirtualNetwork:
    net = VirtualNetwork(Config(guestfwd=rules, ipv4=ipv4), seed=1)
    net.boot(ipv6=True)
    return net


@pytest.mark.parametrize("server", ["fec0::100", "2001:db8:9::9"])
@pytest.mark.parametrize("target", ["[::1]:8080", "127.0.0.1:8080", "[2001:db8::7]:8080"])
def test_a_server_of_ipv6_leads_to_a_target_of_either_family(server: str, target: str) -> None:
    net = network(f"tcp:[{server}]:80-tcp:{target}", ipv4=False)
    net.host.serve_tcp(target.rpartition(":")[0].strip("[]"), 8080, Echo)
    stream = net.guest.connect(server, 80)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    ping = net.guest.ping(server)
    net.run(1_000_000)
    assert (ping.reply is not None) == (server == "fec0::100")


def test_an_ipv4_server_leads_to_an_ipv6_target() -> None:
    net = network("tcp:10.0.2.100:80-tcp:[::1]:8080")
    net.host.serve_tcp("::1", 8080, Echo)
    stream = net.guest.connect("10.0.2.100", 80)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")


def test_every_server_is_of_both_families() -> None:
    net = network("tcp:*:80-tcp:[::1]:8080")
    net.host.serve_tcp("::1", 8080, Echo)
    for address in ("192.0.2.7", "2001:db8::7"):
        stream = net.guest.connect(address, 80)
        stream.write(b"hello")
        net.run_until(lambda stream=stream: stream.received == b"hello")  # type: ignore[misc] # mypy infers no lambda with a default


@pytest.mark.parametrize("rule", ["tcp:[fec0::100]:80-tcp:[::1]:8080", "tcp:*:80-tcp:[2001:db8::1]:1"])
def test_the_text_of_a_rule_can_be_parsed_again(rule: str) -> None:
    assert str(parse_guestfwd(rule)) == rule
    assert parse_guestfwd(str(parse_guestfwd(rule))) == parse_guestfwd(rule)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("tcp:fec0::100:80-cmd:cat", "malformed"),
        ("tcp:[fec0::100:80-cmd:cat", "malformed"),
        (
            "tcp:[10.0.2.100]:80-cmd:cat",
            r'server "\[10\.0\.2\.100\]" is not an IPv4 address, or an IPv6 address in',
        ),
    ],
)
def test_rules_that_cannot_be_read(rule: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_guestfwd(rule)


@pytest.mark.parametrize(
    ("server", "more", "text"),
    [
        ("ff02::1", {}, "no address that a server can have"),
        ("::1", {}, "no address that a server can have"),
        ("fec0::", {}, "no address that a server can have"),
        ("fec0::100", {"ipv6": False}, "this network has no IPv6"),
    ],
)
def test_addresses_that_no_server_can_have(server: str, more: dict[str, bool], text: str) -> None:
    with pytest.raises(ForwardError, match=rf"guestfwd \[{server}\]:80: .*{text}"):
        VirtualNetwork(Config(guestfwd=[f"tcp:[{server}]:80-tcp:[::1]:80"], **more))  # type: ignore[arg-type] # each value fits its argument


def test_the_interface_of_a_link_local_target_is_kept() -> None:
    index, name = if_nameindex()[0]
    net = network(f"tcp:[fec0::100]:80-tcp:[fe80::7%{name}]:8080")
    net.guest.connect("fec0::100", 80)
    net.run(100_000_000)
    (call,) = [call for call in net.host.calls if call.name == "connect_tcp"]
    assert call.address == with_scope(ip_address("fe80::7").packed, index)


def test_an_interface_that_does_not_exist() -> None:
    with pytest.raises(ForwardError, match=r"guestfwd \[fec0::100\]:80: fe80::7%gone0: no such interface"):
        network("tcp:[fec0::100]:80-tcp:[fe80::7%gone0]:8080")
