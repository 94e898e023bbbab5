"""The command line of slirpy-pasta: how it is read, and what it says about mistakes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from slirpy import Config, Slirp
from slirpy.cli.passt import guest
from slirpy.cli.passt.arguments import OPTIONS, read_arguments
from slirpy.cli.passt.follow import Follower, listening_ports
from slirpy.cli.passt.forwarding import read_ports
from slirpy.cli.passt.guest import GuestNetwork, guest_network
from slirpy.cli.passt.hostnet import FamilySettings, HostInterface
from slirpy.cli.passt.pasta import open_link, pasta, serve_until
from slirpy.cli.passt.ports import parse_port_spec
from slirpy.cli.rtnetlink import InterfaceAddress, Route
from slirpy.errors import ConfigError, SlirpyError
from slirpy.interfaces import Action, FlowRequest, IPProtocol
from tests.support.repository import REPOSITORY
from tests.support.waiting import until

PODMAN = (
    "--config-net -t 8080-8080:80-80 -u none -T none -U none --no-map-gw --dns none --quiet --netns /run/netns/x"
    " --dns-forward 169.254.1.1 --map-guest-addr 169.254.1.2"
)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> HostInterface:
    """A host with two addresses and three routes."""
    gateway, gateway6 = ip_address("192.0.2.1"), ip_address("fe80::1")
    four = FamilySettings(
        [InterfaceAddress(2, "192.0.2.18", 24, 0, 0), InterfaceAddress(2, "198.51.100.9", 32, 0, 0)],
        [Route(2, 0, 3, 0, 0, {5: gateway.packed}), Route(2, 24, 2, 253, 0, {1: bytes((192, 0, 2, 0))})],
        gateway,
    )
    six = FamilySettings(
        [InterfaceAddress(2, "2001:db8::18", 64, 0, 0)], [Route(2, 0, 3, 0, 0, {5: gateway6.packed})], gateway6
    )
    found = HostInterface("wlan0", bytes(6), {4: four, 6: six})

    def find(names: dict[int, str], families: tuple[int, ...]) -> HostInterface:
        return HostInterface(found.name, found.mac, {n: found.families[n] for n in families})

    monkeypatch.setattr(guest, "find_interface", find)
    return found


def network(*words: str) -> GuestNetwork:
    return guest_network(read_arguments("pasta", words))


def test_options_are_read_as_getopt_reads_them() -> None:
    given = read_arguments("pasta", ["-qt22", "--netns", "x", "--tcp-p=80", "-4fi", "eth0", "ls", "-l"])
    assert given.rest == ["ls", "-l"]
    assert given.values["tcp-ports"] == [("-t", "22"), ("--tcp-ports", "80")]
    assert (given.text("netns"), given.text("interface"), given.text("mtu")) == ("x", "eth0", None)
    assert all(map(given.has, ("quiet", "ipv4-only", "foreground")))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nosuch", "no option --nosuch"),
        ("--config-nett", "--config-net"),
        ("-Z", "-Z"),
        ("-t", "-t: requires argument"),
        ("--no-", "no-"),
        ("--no-tcp=1", "--no-tcp"),
        ("-s /tmp/x", "-s is an option of passt"),
        ("--one-off", "--one-off is an option of passt"),
        ("-a 1.2.3.4.5", '-a "1.2.3.4.5" is not an IP address'),
        ("-a 192.0.2.7 -a 192.0.2.8", "there is one of IPv4 already"),
        ("-n 99", '-n "99" is not a netmask'),
        ("-n 255.0.255.0", "is not a netmask"),
        ("-m 67", "an MTU is 0"),
        ("-m 65521", "an MTU is 0"),
        ("-m -1", "an MTU is 0"),
        ("-4 -6", "exclude each other"),
        ("-I averyveryverylongname", "no name of an interface"),
        ("--ns-mac-addr 1", "is not a MAC address"),
        ("--ns-mac-addr 01:00:00:00:00:00", "MAC"),
        ("-D none -D 192.0.2.3", "-D none stands alone"),
        ("-D x", "is not an IP address"),
        ("-t 99999", "-t"),
        ("-t 80-70", "-t"),
        ("-t 22:23-24", "-t"),
        ("-t 22,22", "overlap"),
        ("-t none -t 80", "stands alone"),
        ("-T 5000 -T 4999-5001", "overlaps"),
        ("-q -d", "-q and -d"),
        ("--netns x 17", "leave '17' out"),
        ("--userns /proc/1/ns/user ls", "--userns belongs to"),
        ("--userns /x --netns-only 17", "exclude each other"),
        ("--runas nosuchuser", "no such user"),
        ("-F 99", "no open descriptor"),
        ("-F 99 ls", "leave 'ls' out"),
        ("--log-size x", "not a positive number"),
        ("--outbound-if4 a --outbound-if6 b", "one interface for both"),
    ],
)
def test_mistakes(words: str, said: str) -> None:
    with pytest.raises(SlirpyError, match=r".") as caught:
        pasta(["-f", *words.split()])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_host_is_copied() -> None:
    found = network("--config-net")
    assert found.interface == found.outside == "wlan0"
    assert found.inside.addresses == [("192.0.2.18", 24), ("198.51.100.9", 32), ("2001:db8::18", 64)]
    assert found.inside.mtu == found.config.mtu == 65520
    assert len(found.inside.routes) == 3
    assert found.inside.gateways == []
    config = found.config
    assert (str(config.net), str(config.host), str(config.dhcpstart)) == (
        "192.0.2.0/24",
        "192.0.2.1",
        "192.0.2.18",
    )
    assert (str(config.net6), str(config.host6), config.host_loopback) == ("2001:db8::/64", "fe80::1", True)
    assert (config.no_dns, config.policy) == (True, None)


def test_options_change_it() -> None:
    words = "-4 -a 198.18.0.5 -n 255.255.0.0 -g 198.18.0.9 -m 0 -I e -M 02:00:00:00:00:01"
    found = network(*words.split())
    assert found.inside.addresses == [("198.18.0.5", 16)]
    assert (found.inside.gateways, found.inside.routes) == (["198.18.0.9"], [])
    assert (found.inside.mtu, found.config.mtu, found.interface, found.config.ipv6) == (0, 1500, "e", False)
    assert not found.inside.configure
    few = network("--no-copy-addrs", "--no-copy-routes").inside
    assert few.addresses == [("192.0.2.18", 24), ("2001:db8::18", 64)]
    assert few.gateways == ["192.0.2.1", "fe80::1"]


def test_an_address_without_a_network(host: HostInterface) -> None:
    host.families[4].addresses[0] = InterfaceAddress(2, "192.0.2.0", 32, 0, 0)
    host.families[4].gateway = None
    config = network().config
    assert config.dhcpstart in config.net
    assert str(config.host) == "192.0.0.8"


def test_a_host_without_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "find_interface", lambda names, families: None)
    found = network("--config-net")
    assert (found.interface, found.outside) == ("tap0", "")
    assert found.inside.addresses == [("169.254.2.1", 16), ("fd00:0:0:1::1", 64)]
    assert found.inside.gateways == ["169.254.2.2", "fe80::2"]


def test_podman_asks_for_this() -> None:
    given = read_arguments("pasta", PODMAN.split())
    config = guest_network(given).config
    assert (str(config.dns), config.no_dns, config.host_loopback) == ("169.254.1.1", False, False)
    assert config.resolvers == ()
    ports = read_ports(given)
    assert [spec.maps[0].target for _, spec in ports.inward["tcp"]] == [80]
    assert ports.inward["udp"] == ports.outward["tcp"] == ports.outward["udp"] == []


def verdict(found: GuestNetwork, protocol: int, destination: str) -> Any:
    assert found.config.policy is not None
    return found.config.policy(FlowRequest(protocol, "192.0.2.18", 1, destination, 80))


def test_addresses_that_stand_for_the_host() -> None:
    found = network("--map-guest-addr", "169.254.1.2", "--map-host-loopback", "169.254.1.3")
    assert verdict(found, 6, "169.254.1.2").redirect == (ip_address("192.0.2.18"), 80)
    assert verdict(found, 17, "169.254.1.3").redirect == (ip_address("127.0.0.1"), 80)
    assert verdict(found, 6, "198.51.100.1").redirect is None
    assert not found.config.host_loopback


def test_protocols_that_are_off() -> None:
    found = network("--no-udp")
    assert verdict(found, IPProtocol.UDP, "198.51.100.1").action is Action.DROP
    assert verdict(found, IPProtocol.TCP, "198.51.100.1").action is Action.ALLOW


def test_auto_is_the_default() -> None:
    given = read_arguments("pasta", ["-T", "none", "--no-udp"])
    ports = read_ports(given)
    assert [spec.mode for _, spec in ports.inward["tcp"]] == ["auto"]
    assert ports.outward["tcp"] == ports.inward["udp"] == ports.outward["udp"] == []


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:1F91 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4 2
   broken
"""


def test_listeners_are_found_in_the_tables(tmp_path: Path) -> None:
    file = tmp_path / "tcp"
    file.write_text(TABLE)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for _ in range(2):
            assert listening_ports([descriptor], socket.SOCK_STREAM, (32768, 60999)) == {8080, 22}
        assert listening_ports([descriptor], socket.SOCK_DGRAM, (32768, 60999)) == {5353}
        assert listening_ports([descriptor], socket.SOCK_DGRAM, (5000, 60999)) == set()
    finally:
        os.close(descriptor)


class Clock:
    """A network with traffic all the time: each turn takes a millisecond."""

    def __init__(self) -> None:
        self.now = 100.0
        self.turns = 0

    def poll(self, timeout: float | None) -> None:
        self.turns += 1
        self.now += 0.001

    def poll_until(self, done: Callable[[], object]) -> None:
        while not done():
            self.poll(None)


def test_tables_are_read_once_a_second_at_any_load(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    looks: list[float] = []
    monkeypatch.setattr("slirpy.cli.passt.pasta.time.monotonic", lambda: clock.now)
    net: Any = clock

    def look() -> bool:
        looks.append(clock.now)
        return len(looks) == 5

    serve_until(net, lambda: clock.turns > 4500, look)
    assert looks == pytest.approx([100, 101, 102, 103, 104], abs=0.01)
    assert 3990 <= clock.turns <= 4010
    serve_until(net, lambda: clock.turns > 6000, None)
    assert len(looks) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of sockets that a caller passes on")
def test_the_other_end_of_a_socket_hangs_up() -> None:
    ours, theirs = socket.socketpair()
    ended: list[bool] = []
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(open_link(ours.detach(), 1500, lambda: ended.append(True)))
        net.poll(0)
        assert not ended
        theirs.close()
        until(lambda: bool(ended), lambda: net.poll(0.05))
    assert ended == [True]


def test_ports_follow() -> None:
    calls: list[tuple[str, int]] = []

    def start(port: int) -> bool:
        calls.append(("start", port))
        return port != 22

    follower = Follower(parse_port_spec("-t", "auto,~9"), start, lambda port: calls.append(("stop", port)))
    follower.follow({9, 22, 80})
    follower.follow({9, 22, 80, 81})
    follower.follow({22, 81})
    follower.follow({81})
    follower.follow({22, 81})
    assert calls == [("start", 22), ("start", 80), ("start", 81), ("stop", 80), ("start", 22)]


def test_the_documentation_has_all_options() -> None:
    page = (REPOSITORY / "docs" / "howto" / "pasta.md").read_text()
    missing = [row.long for row in OPTIONS if "pasta" in row.programs.split() and f"`--{row.long}" not in page]
    assert missing == []


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert pasta(["--help"]) == pasta(["--version"]) == 0
    said = capsys.readouterr().out
    assert all(len(line) < 80 for line in said.splitlines())
    assert "--config-net" in said
    assert "--one-off" not in said
    with pytest.raises(ConfigError):
        read_arguments("pasta", ["--config-net=1"])
