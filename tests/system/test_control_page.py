"""The page of ``--web`` in a real browser."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from slirpy import Config, FlowInfo, Slirp, Stack
from tests.support.live_guest import LiveGuest
from tests.system.browser import browser

pytestmark = pytest.mark.system
Need = Callable[..., None]
MANY = 10_000
WITHIN = 1.0
"""Seconds until the page shows a flow, as it promises; it asks twice a second."""


def test_the_page(need: Need, tmp_path: Path) -> None:
    need("chromium")
    with Slirp(Config(resolvers=[], dns_records=["web.test=192.0.2.7"])) as net, browser(tmp_path) as page:
        guest = LiveGuest(net, hostname="build-7")
        guest.serve_echo(7)
        server = net.serve_control("tcp:127.0.0.1:0")
        net.start()
        page.resize(1200, 900)
        page.open(f"http://{server.address}/?token={server.token}")
        page.until("document.querySelector('#leases')?.innerText.includes('build-7')")

        with net.connect("10.0.2.15", 7):
            taken = page.until("document.querySelector('#flows').innerText.includes('10.0.2.15:7')")
            assert taken < 5 * WITHIN  # on a busy machine
        page.value("document.querySelector('#rule').value = 'tcp::0-:7'")
        page.value("document.querySelector('#add').requestSubmit()")
        page.until("document.querySelector('#forwards').innerText.includes('127.0.0.1')")
        (forward,) = net.hostfwds()
        with socket.create_connection(("127.0.0.1", forward.host_port), 10) as sock:
            sock.sendall(b"by the page")
            assert sock.recv(11, socket.MSG_WAITALL) == b"by the page"
        page.value("document.querySelector('#forwards button').click()")
        page.until("document.querySelector('#forwards').innerText.includes('none yet')")
        assert net.hostfwds() == []

        lookup = net._call(lambda: guest.guest.resolve("web.test"))
        page.until("document.querySelector('#names').innerText.includes('192.0.2.7')")
        assert lookup.done
        net.policy = ["reject tcp:192.0.2.0/24"]
        net._call(lambda: guest.guest.connect("192.0.2.7", 80))
        page.until("/(192.0.2.7|web.test):80/.test(document.querySelector('#refusals').innerText)")

        page.resize(390, 844)
        assert page.value("document.documentElement.scrollWidth") <= 390
        assert page.value("parseFloat(getComputedStyle(document.body).fontSize)") >= 12
        assert page.problems == []


def test_ten_thousand_flows(need: Need, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("chromium")
    with Slirp(Config(resolvers=[], host_loopback=False)) as net, browser(tmp_path) as page:
        guest = LiveGuest(net)
        guest.serve_echo(7)
        server = net.serve_control("tcp:127.0.0.1:0")
        net.start()
        page.open(f"http://{server.address}/?token={server.token}")
        page.until("document.querySelector('#leases')?.innerText.includes('guest')")
        _report_many(net, monkeypatch)
        page.until(f"document.querySelector('#count').innerText == '300 of {MANY}'")
        with net.connect("10.0.2.15", 7):
            page.until("document.querySelector('#flows').innerText.includes('10.0.2.15:7')")
        assert page.value("document.querySelectorAll('#flows tr').length") == 301
        assert page.problems == []


def _report_many(net: Slirp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stack report many flows, which hold no descriptors."""
    with net.connect("10.0.2.15", 7):
        (sample,) = net.flows()
    infos = [replace(sample, guest=(sample.guest[0], 10_000 + number), idle=60.0) for number in range(MANY)]
    views = [partial(_same, info) for info in infos]
    real = Stack.flow_views
    monkeypatch.setattr(Stack, "flow_views", lambda stack: [*real(stack), *views][:MANY])


def _same(info: FlowInfo) -> FlowInfo:
    return info
