"""Leases seen from outside: options of the command line, and a Slirp that keeps them in a file."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import click
import pytest

from slirpy import Config, ConfigError, Slirp
from slirpy.cli.app import app
from slirpy.cli.options import network_config

SECOND = 1_000_000_000
A, B = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")

OPTIONS = [
    "--dhcpstart", "10.0.2.100", "--lease", "52:54:00:12:34:56=10.0.2.50,web", "--lease", "id:db=10.0.2.51",
    "--lease-time", "600", "--lease-file", "/tmp/l.json", "--hostname", "guest", "--domain", "example.test",
    "--dns-search", "a.test", "--dns-search", "b.test", "--route", "192.0.2.0/24=10.0.2.9",
    "--bootfile", "http://10.0.2.2/x.efi", "--tftp-server-name", "tftp.test",
]  # fmt: skip
MEANT = Config(
    dhcpstart="10.0.2.100",
    static_leases=["52:54:00:12:34:56=10.0.2.50,web", "id:db=10.0.2.51"],
    lease_time=600,
    lease_file="/tmp/l.json",
    hostname="guest",
    domainname="example.test",
    dnssearch=["a.test", "b.test"],
    routes=["192.0.2.0/24=10.0.2.9"],
    bootfile="http://10.0.2.2/x.efi",
    tftp_server_name="tftp.test",
)


COMMANDS = [("run", ["--", "true"]), ("listen", ["unix:/tmp/x"]), ("qemu", ["--", "qemu-system-x86_64"])]


@pytest.mark.parametrize(("command", "rest"), COMMANDS)
def test_the_options_of_the_command_line(command: str, rest: list[str]) -> None:
    found = app.get_command(click.Context(app), command)
    assert found is not None
    assert network_config(found.make_context(command, [*OPTIONS, *rest]).params) == MEANT
    assert network_config(found.make_context(command, rest).params) == Config()


def test_a_network_keeps_its_leases_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "leases.json"
    wall = [1_767_225_600 * SECOND]
    with Slirp(Config(lease_file=file), wall_clock=lambda: wall[0]) as net:
        assert net.reserve(A) == IPv4Address("10.0.2.15")
        assert net.reserve(B) == IPv4Address("10.0.2.16")
    assert '"expires": "2026-01-01T00:00:00Z"' in file.read_text()
    wall[0] += 10 * SECOND
    with Slirp(Config(lease_file=file), wall_clock=lambda: wall[0]) as net:
        assert net.leases() == []
        assert net.reserve(B) == IPv4Address("10.0.2.16")
        assert net.reserve(A) == IPv4Address("10.0.2.15")
        assert net.stats.dhcp_leases_lost == 0
    assert '"expires": "2026-01-01T00:00:10Z"' in file.read_text()


def test_an_unwritable_lease_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; name a file to write to"):
        Slirp(Config(lease_file=tmp_path / "no" / "leases"))
