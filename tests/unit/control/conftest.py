"""Networks that are controlled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slirpy import Slirp
from slirpy.control import ControlServer
from tests.support.live_guest import LiveGuest


@pytest.fixture
def guest(net: Slirp) -> LiveGuest:
    guest = LiveGuest(net, hostname="build-7")
    guest.serve_echo(7)
    return guest


@pytest.fixture
def server(net: Slirp, guest: LiveGuest, folder: Path) -> Iterator[ControlServer]:
    """A Unix socket, for a network with a guest, driven by a thread."""
    server = net.serve_control(f"unix:{folder}/ctl")
    net.start()
    yield server
    net.stop()


@pytest.fixture
def tcp(net: Slirp, guest: LiveGuest) -> Iterator[ControlServer]:
    """A TCP port with a token, likewise."""
    server = net.serve_control("tcp:127.0.0.1:0")
    net.start()
    yield server
    net.stop()
