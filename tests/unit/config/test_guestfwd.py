"""Rules of guestfwd and options of SMB as people write them: read, and refused with words that help."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from slirpy import Command, Config, ConfigError, FlowRequest, GuestForward, StreamFactory, TcpTarget, UnixTarget
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.interfaces import StreamOwner, StreamPeer


@pytest.mark.parametrize(
    ("text", "server", "port", "target"),
    [
        ("tcp:10.0.2.100:80-tcp:127.0.0.1:8080", "10.0.2.100", 80, TcpTarget(bytes([127, 0, 0, 1]), 8080)),
        (":10.0.2.100:80-tcp:localhost:1", "10.0.2.100", 80, TcpTarget(bytes([127, 0, 0, 1]), 1)),
        ("tcp:10.0.2.100:1-tcp:[::1]:65535", "10.0.2.100", 1, TcpTarget(bytes(15) + b"\1", 65535)),
        ("tcp:192.0.2.1:65535-unix:/run/a-b:c", "192.0.2.1", 65535, UnixTarget("/run/a-b:c")),
        ("tcp:*:25-cmd:cat", None, 25, Command(("cat",))),
        ("tcp:*:*-cmd:sh -c 'echo a:b-c, $1' x", None, None, Command(("sh", "-c", "echo a:b-c, $1", "x"))),
    ],
)
def test_a_rule_is_read(text: str, server: str | None, port: int | None, target: Any) -> None:
    rule = parse_guestfwd(text)
    assert rule == GuestForward(None if server is None else IPv4Address(server), port, target)
    assert parse_guestfwd(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "malformed"),
        ("10.0.2.100:80-cmd:cat", "malformed"),
        ("tcp:10.0.2.100:80", "malformed"),
        ("tcp::80-cmd:cat", 'server "" is not an IPv4 address'),
        ("udp:10.0.2.100:80-cmd:cat", 'protocol "udp" is not tcp'),
        ("tcp:example.org:80-cmd:cat", 'server "example.org" is not an IPv4 address'),
        ("tcp:fd00::1:80-cmd:cat", "malformed"),
        ("tcp:10.0.2.100:0-cmd:cat", 'port "0" is not a number'),
        ("tcp:10.0.2.100:65536-cmd:cat", 'port "65536" is not'),
        ("tcp:10.0.2.100:\u0667-cmd:cat", "is not a number"),
        ("tcp:10.0.2.100:80-cmd:", "no command after cmd:"),
        ("tcp:10.0.2.100:80-cmd:echo 'a", "cannot be read: no closing quotation"),
        ("tcp:10.0.2.100:80-unix:", "is none of cmd:COMMAND"),
        ("tcp:10.0.2.100:80-tcp:10.0.2.300:80", "with an IP address or a name as host"),
        ("tcp:10.0.2.100:80-tcp:127.0.0.1", "is not host:port"),
        ("tcp:10.0.2.100:80-tcp:127.0.0.1:x", 'port "x" of the target'),
        ("tcp:10.0.2.100:80-chardev0", 'target "chardev0" is none of'),
    ],
)
def test_a_rule_that_cannot_be_names_the_part(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(guestfwd=[text])
    assert says in str(caught.value)
    assert str(caught.value).startswith("guestfwd ")


def handler(connection: socket.socket, flow: FlowRequest) -> None: ...


def opened(owner: StreamOwner, flow: FlowRequest) -> StreamPeer:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("10.0.2.300", 80, handler), 'server "10.0.2.300" is not an IP address'),
        (("10.0.2.100", "80", handler), "port '80' is not a number"),
        (("10.0.2.100", 70000, handler), "port 70000 is not"),
        (("10.0.2.100", 80, None), "None can be no target"),
        (("10.0.2.100", 80, "cat"), 'target "cat" is none of'),
        (("10.0.2.100", 80, "cmd:a\0b"), "NUL byte"),
        (("10.0.2.100", 80, Command(("a", "\0"))), "NUL byte"),
    ],
)
def test_made_in_python_it_is_checked_too(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GuestForward(*arguments)
    assert says in str(caught.value)


@pytest.mark.parametrize("path", ["", "\0abstract"])
def test_a_unix_target_has_a_path(path: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        UnixTarget(path)


def test_how_a_rule_shows() -> None:
    assert str(GuestForward("10.0.2.100", 80, handler)) == "tcp:10.0.2.100:80-handler"
    assert str(GuestForward(None, None, StreamFactory(opened))) == "tcp:*:*-factory:opened"
    assert str(GuestForward(None, 1, "tcp:[::1]:2")) == "tcp:*:1-tcp:[::1]:2"


def test_a_lone_string_is_no_list() -> None:
    with pytest.raises(ConfigError, match="guestfwd must be a list"):
        Config(guestfwd="tcp:*:*-cmd:cat")
    with pytest.raises(ConfigError, match="neither text nor a GuestForward"):
        Config(guestfwd=[handler])  # type: ignore[list-item] # the mistake


def test_servers_of_rules_are_virtual_hosts() -> None:
    config = Config(
        guestfwd=["tcp:10.0.2.100:1-cmd:cat", "tcp:192.0.2.1:1-cmd:cat", "tcp:*:2-cmd:cat"],
        smb="/tmp",
        ipv6=False,
    )
    assert {str(IPv4Address(address)) for address in config.server_addresses} == {
        "10.0.2.2", "10.0.2.3", "10.0.2.4", "10.0.2.100",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ SMB


def test_the_smb_server_s_address() -> None:
    assert Config().smbserver is None
    assert Config(smb="/tmp").smbserver == IPv4Address("10.0.2.4")
    assert Config(smb="/tmp").smb == Path("/tmp")
    assert Config(smb="/tmp", net="192.168.7.0/24", smbserver="192.168.7.9").smbserver == IPv4Address(
        "192.168.7.9"
    )
    assert Config(smb="/tmp", net="10.0.2.0/29", host="10.0.2.4").smbserver == IPv4Address("10.0.2.1")


def test_its_ipv6_address() -> None:
    assert Config().smbserver6 is None
    config = Config(smb="/tmp")
    assert config.smbserver6 == IPv6Address("fec0::4")
    assert config.smbserver6.packed in config.server_addresses
    assert Config(smb="/tmp", host6="fec0::4").smbserver6 == IPv6Address("fec0::5")
    assert Config(smb="/tmp", net6="fec0::/125").smbserver6 == IPv6Address("fec0::4")
    assert Config(smb="/tmp", net6="fec0::/126").smbserver6 is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"smbserver": "10.0.2.4"}, "there is no SMB server without smb=DIR"),
        ({"smb": "/tmp", "smbserver": "10.0.3.4"}, "smbserver 10.0.3.4 is not an address of 10.0.2.0/24"),
        ({"smb": "/tmp", "smbserver": "x"}, 'smbserver "x" is not an IPv4 address'),
        ({"smb": "/tmp", "net": "10.0.2.0/30"}, "has no room"),
        ({"smbserver6": "fec0::4"}, "there is no SMB server without smb=DIR"),
        ({"smb": "/tmp", "smbserver6": "fd00::4"}, "smbserver6 fd00::4 is not an address of fec0::/64"),
        ({"smb": "/tmp", "dhcpstart6": "fec0::4"}, "dhcpstart6 fec0::4 is the smbserver6 address"),
        ({"smb": "/tmp", "net6": "fec0::/126", "smbserver6": "fec0::1"}, "net6 fec0::/126 has no room"),
        ({"smb": "/tmp", "dhcpstart": "10.0.2.4"}, "dhcpstart 10.0.2.4 is a server's address"),
    ],
)
def test_invalid_rules_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**arguments)
    assert says in str(caught.value)


def test_qemu_s_options() -> None:
    config = Config.from_qemu(
        "user,smb=/srv/a,,b,smbserver=10.0.2.9,guestfwd=tcp:10.0.2.100:80-cmd:echo a,,b"
        ",guestfwd=:10.0.2.100:81-unix:/x"
    )
    assert (config.smb, config.smbserver) == (Path("/srv/a,b"), IPv4Address("10.0.2.9"))
    assert [str(rule) for rule in config.guestfwd] == [
        "tcp:10.0.2.100:80-cmd:echo a,b", "tcp:10.0.2.100:81-unix:/x",
    ]  # fmt: skip
