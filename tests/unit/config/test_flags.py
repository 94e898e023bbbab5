"""Every argument of Config can be given on the command line, and every key of QEMU's is known."""

from __future__ import annotations

import inspect
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import click
import pytest

from slirpy import Config, ConfigError, Outbound, Proxy, RulePolicy
from slirpy.config import qemu
from slirpy.config.dhcp import parse_lease, parse_route
from slirpy.config.dhcpoption import DhcpOption
from slirpy.config.dnsrecord import parse_dns_record
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.config.resolver import parse_resolver
from tests.unit.cli.command import command_of, given

COMMANDS = ("run", "listen", "qemu")
ARGUMENTS = [name for name in inspect.signature(Config.__init__).parameters if name != "self"]

FLAGS: dict[str, tuple[list[str], Any]] = {
    "net": (["--net", "192.168.7.0/24"], IPv4Network("192.168.7.0/24")),
    "host": (["--host", "10.0.2.9"], IPv4Address("10.0.2.9")),
    "dns": (["--dns-address", "10.0.2.9"], IPv4Address("10.0.2.9")),
    "dhcpstart": (["--dhcpstart", "10.0.2.50"], IPv4Address("10.0.2.50")),
    "dhcpstart6": (["--dhcpstart6", "fec0::50"], IPv6Address("fec0::50")),
    "net6": (["--net6", "fd00:7::/64"], IPv6Network("fd00:7::/64")),
    "host6": (["--host6", "fec0::9"], IPv6Address("fec0::9")),
    "dns6": (["--dns6-address", "fec0::9"], IPv6Address("fec0::9")),
    "ipv4": (["--no-ipv4"], False),
    "ipv6": (["--no-ipv6"], False),
    "nat64": (["--nat64"], True),
    "nat64_prefix": (["--nat64-prefix", "2001:db8:64::/96"], IPv6Network("2001:db8:64::/96")),
    "dns46": (["--dns46", "198.18.0.0/15"], IPv4Network("198.18.0.0/15")),
    "mtu": (["--mtu", "9000"], 9000),
    "hub": (["--hub"], True),
    "guard": (["--no-guard"], False),
    "isolate": (["--isolate"], True),
    "source_guard": (["--source-guard"], True),
    "rate": (["--rate", "1.5MiB"], 1_572_864),
    "flow_rate": (["--flow-rate", "100"], 100),
    "memory": (["--memory", "64M"], 64_000_000),
    "congestion": (["--congestion", "reno"], "reno"),
    "tcp_keepalive": (["--tcp-keepalive", "60"], 60),
    "hostname": (["--hostname", "guest"], "guest"),
    "domainname": (["--domain", "example.test"], "example.test"),
    "dnssearch": (["--dns-search", "a.test", "--dns-search", "b.test"], ("a.test", "b.test")),
    "bootfile": (["--bootfile", "pxe.0"], "pxe.0"),
    "tftp": (["--tftp", "/"], Path("/")),
    "tftp_write": (["--tftp", "/", "--tftp-write"], True),
    "tftp_ignore_case": (["--tftp", "/", "--tftp-ignore-case"], True),
    "tftp_single_port": (["--tftp", "/", "--tftp-single-port"], True),
    "tftp_server_name": (["--tftp-server-name", "t"], "t"),
    "static_leases": (["--lease", "52:54:00:00:00:09=10.0.2.9"], (parse_lease("52:54:00:00:00:09=10.0.2.9"),)),
    "routes": (["--route", "10.9.0.0/16"], (parse_route("10.9.0.0/16"),)),
    "lease_time": (["--lease-time", "600"], 600),
    "lease_file": (["--lease-file", "/tmp/leases"], Path("/tmp/leases")),
    "hostfwd": (["--hostfwd", "tcp::8080-:80"], (parse_hostfwd("tcp::8080-:80"),)),
    "guestfwd": (["--guestfwd", "tcp:10.0.2.9:80-cmd:cat"], (parse_guestfwd("tcp:10.0.2.9:80-cmd:cat"),)),
    "smb": (["--smb", "/"], Path("/")),
    "smbserver6": (["--smb", "/", "--smbserver6", "fec0::9"], IPv6Address("fec0::9")),
    "smbserver": (["--smb", "/", "--smbserver", "10.0.2.9"], IPv4Address("10.0.2.9")),
    "resolvers": (["--dns", "127.0.0.1:5353"], (parse_resolver("127.0.0.1:5353"),)),
    "dns_records": (["--dns-record", "web.test=10.0.2.9"], (parse_dns_record("web.test=10.0.2.9"),)),
    "dns_cache": (["--dns-cache", "7"], 7),
    "dns_mode": (["--dns-mode", "forward"], "forward"),
    "no_dns": (["--no-dns"], True),
    "dns_refused": (["--dns-refused", "refused"], "refused"),
    "dns_grace": (["--dns-grace", "60"], 60),
    "dns_name_rate": (["--dns-name-rate", "9"], 9),
    "dns_mix_case": (["--dns-mix-case"], True),
    "host_loopback": (["--no-host-loopback"], False),
    "restrict": (["--restrict"], True),
    "proxy": (["--proxy", "http://Proxy.example:3128"], Proxy("http", "proxy.example", 3128)),
    "proxy_auth_file": (
        ["--proxy", "http://proxy.example:3128", "--proxy-auth-file", "/x/auth"],
        Path("/x/auth"),
    ),
    "no_proxy": (["--no-proxy", "*.Example.org", "--no-proxy", "private"], ("example.org", "private")),
    "outbound": (["--outbound", "192.0.2.1"], Outbound(bytes([192, 0, 2, 1]))),
    "dhcp_options": (["--dhcp-option", "ntp-server=10.0.2.2"], (DhcpOption(42, bytes((10, 0, 2, 2))),)),
    "policy": (["--allow", "any:443"], RulePolicy(["allow any:443"])),
    "audit": (["--audit", "unix:/run/log"], "unix:/run/log"),
    "learn": (["--learn", "/tmp/policy.toml"], Path("/tmp/policy.toml")),
    "audit_fail": (["--audit", "fd:9", "--audit-fail", "closed"], "closed"),
}
"""Options of the command line that set an argument, and what it is then."""

PYTHON_ONLY = {
    "lease_policy": "a function",
    "dns_answer": "a function",
    "asker": "a function; the commands have --ask",
    "on_refused": "a function; the commands tell by themselves",
    "loopback_only": "for programs that stand in for others, such as slirpy-slirp4netns",
    "host_mac": "for the same",
    "transparent": "for programs that know the host's addresses, as slirpy-pasta does",
}
"""Arguments without an option, and why."""

NOT_IN = {
    "hub": (("run", "qemu"), "there is one guest"),
    "guard": (("run", "qemu"), "there is one guest"),
    "isolate": (("run", "qemu"), "there is one guest"),
    "source_guard": (("run", "qemu"), "there is one guest"),
}
"""Options that some commands do not have, and why."""

QEMU_KEYS = (
    "id", "restrict", "ipv4", "ipv6", "net", "host", "dns", "dhcpstart", "hostname", "domainname", "dnssearch",
    "tftp", "tftp-server-name", "bootfile", "smb", "smbserver", "hostfwd", "guestfwd", "ipv6-net", "ipv6-host",
    "ipv6-prefix", "ipv6-prefixlen", "ipv6-dns",
)  # fmt: skip
"""Of ``-netdev user`` in QEMU's manual, ``ipv6-prefix`` and ``ipv6-prefixlen`` in its QAPI schema."""


def test_every_argument_is_in_one_of_the_tables() -> None:
    assert sorted(ARGUMENTS) == sorted([*FLAGS, *PYTHON_ONLY])
    assert set(NOT_IN) <= set(FLAGS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FLAGS)
def test_every_argument_has_its_option(name: str, command: str) -> None:
    arguments, expected = FLAGS[name]
    if command in NOT_IN.get(name, ((), ""))[0]:
        with pytest.raises(click.NoSuchOption):
            given(*arguments, command=command)
        return
    assert getattr(given(*arguments, command=command), name) == expected
    assert getattr(given(command=command), name) != expected


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (words, _) in FLAGS.items()
        if words[0].startswith("--no-") and len(words) == 1 and name != "no_dns"
    ],
)
def test_the_last_of_two_opposite_flags_holds(name: str) -> None:
    off = FLAGS[name][0][0]
    on = "--" + off.removeprefix("--no-")
    command = "listen"
    assert getattr(given(on, command=command), name) is True
    assert getattr(given(off, on, command=command), name) is True
    assert getattr(given(on, off, command=command), name) is False


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_tried_above(command: str) -> None:
    used = {word for arguments, _ in FLAGS.values() for word in arguments if word.startswith("--")}
    # One list with --allow:
    same = {"--deny", "--reject", "--drop", "--redirect", "--deny-private", "--policy", "--profile"}
    others = {"--capture", "--trace", "--stats", "--top", "--mac", "--hostfwd-loopback"}  # not of Config
    others |= {"--ask", "--ask-save", "--card", "--replace", "--verbose"}
    others |= {"--config", "--log-level", "--log-format", "--pid-file"}
    others |= {"--capture-dir", "--control", "--control-token-file", "--web"}
    others |= {"--hide", "--no-hide", "--keep", "--keep-fd", "--keep-env", "--uid", "--privileged", "--sandbox"}
    for option in command_of(command).params:
        if isinstance(option, click.Option):
            assert {*option.opts, *option.secondary_opts} & (used | same | others), option.opts


# ------------------------------------------------------------------------------- QEMU's keys


def test_every_key_of_qemu_s_is_known() -> None:
    known = [*qemu.KEYS, *qemu.SWITCHES, *qemu.REPEATED, *qemu.OLDER, "id"]
    assert sorted(known) == sorted(QEMU_KEYS)


@pytest.mark.parametrize("key", [*qemu.KEYS, *qemu.SWITCHES, *qemu.REPEATED])
def test_every_key_sets_an_argument(key: str) -> None:
    name = {**qemu.KEYS, **qemu.SWITCHES, **qemu.REPEATED}[key]
    arguments, expected = FLAGS[name]
    values = [word for word in arguments if not word.startswith("--")] or ["on" if expected else "off"]
    smb = ["smb=/"] if key == "smbserver" else []
    values = [value for value in values if not smb or value != "/"]
    config = Config.from_qemu(",".join(["user", *smb, *(f"{key}={value}" for value in values)]))
    assert getattr(config, name) == expected
    assert getattr(Config(), name) != expected


@pytest.mark.parametrize(
    ("value", "texts"), [(True, ("on", "yes", "y", "true")), (False, ("off", "no", "n", "false"))]
)
def test_switches_are_written_as_in_qemu(value: bool, texts: tuple[str, ...]) -> None:
    for key, name in qemu.SWITCHES.items():
        for text in texts:
            assert getattr(Config.from_qemu(f"user,{key}={text}"), name) is value
        with pytest.raises(ConfigError, match=f'"{key}=maybe": "maybe" is neither on nor off'):
            Config.from_qemu(f"user,{key}=maybe")
