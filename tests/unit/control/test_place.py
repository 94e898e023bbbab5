"""Places for a control server: who may connect, and whose sockets are replaced."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from slirpy import ConfigError, LinkError, Slirp
from slirpy.control.place import bind, parse_place, read_token
from tests.support.control import request


def test_a_socket_for_its_owner_only(net: Slirp, folder: Path) -> None:
    path = folder / "ctl"
    with Slirp() as other:
        other.serve_control(f"unix:{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(LinkError, match="in use"):
            net.serve_control(f"unix:{path}")
    assert not path.exists()


def test_the_socket_of_a_program_that_has_ended_is_replaced(net: Slirp, folder: Path) -> None:
    path = folder / "ctl"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = net.serve_control(f"unix:{path}")
    net.start()
    assert request(server, "GET", "/v1")[0] == 200


def test_a_file_is_left_alone(net: Slirp, folder: Path) -> None:
    path = folder / "ctl"
    path.write_text("mine")
    with pytest.raises(LinkError, match="is not a socket"):
        net.serve_control(f"unix:{path}")
    assert path.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_dead_socket_of_another_user_is_left_alone(net: Slirp, folder: Path) -> None:
    path = folder / "ctl"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, 1234, 1234)
    with pytest.raises(LinkError, match="another user"):
        net.serve_control(f"unix:{path}")
    assert path.exists()


def test_a_path_that_another_has_replaced_is_left_alone(net: Slirp, folder: Path) -> None:
    path = folder / "ctl"
    server = net.serve_control(f"unix:{path}")
    path.unlink()
    path.write_text("new")
    server.close()
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/tmp/x", "write unix:PATH, or tcp:ADDRESS:PORT"),
        ("", "write unix:PATH"),
        ("unix:", "unix"),
        ("unix:" + "x" * 200, "bytes"),
        ("tcp:127.0.0.1", "tcp"),
        ("tcp:127.0.0.1:x", "tcp"),
        ("tcp:127.0.0.1:70000", "tcp"),
        ("fd:3", "write unix:PATH"),
        (7, "7 is not a place"),
    ],
)
def test_places_that_are_none(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_place(text)


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(LinkError, match="does not have the address"):
        bind(parse_place("tcp:192.0.2.1:0"))


def test_the_file_of_a_token(folder: Path) -> None:
    path = folder / "token"
    token = read_token(str(path))
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_token(str(path)) == token
    for bad in ("", "short", "with space in between it", "ö" * 20, "x" * 5000):
        path.write_text(bad)
        with pytest.raises(ConfigError, match="16 to 4096 visible"):
            read_token(str(path))
        assert path.read_text() == bad
    with pytest.raises(LinkError, match="cannot be created"):
        read_token(f"{folder}/none/token")
    with pytest.raises(LinkError, match="cannot be read"):
        read_token(str(folder))


def test_a_token_for_a_unix_socket_and_a_weak_one(net: Slirp, folder: Path) -> None:
    server = net.serve_control(f"unix:{folder}/ctl", token="0123456789abcdef")
    net.start()
    assert request(server, "GET", "/v1")[0] == 200
    assert request(server, "GET", "/v1", headers={"Authorization": ""})[0] == 401
    with pytest.raises(ConfigError, match="visible ASCII"):
        net.serve_control(f"unix:{folder}/two", token="weak")
