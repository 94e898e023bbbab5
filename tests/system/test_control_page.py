"""The page of ``--web`` in a real browser."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import dpkt
import pytest

from slirpy import Config, Slirp
from slirpy.tcp import State
from tests.support.live_guest import LiveGuest
from tests.support.waiting import until
from tests.system.browser import Browser, browser

pytestmark = pytest.mark.system
Need = Callable[..., None]
MANY = 10_000
BACKLOG, FEW = 4000, 100


@pytest.mark.long
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

        # A flow shows within a second: at the first look after it has opened, and looks are half a second apart. The
        # page counts them, so that this needs no clock.
        assert page.value("EVERY") <= 500
        looks = page.value("looks")
        with net.connect("10.0.2.15", 7):
            looks = page.value("looks")
            page.until(f"looks >= {looks + 2}")
            assert page.value("document.querySelector('#flows').innerText.includes('10.0.2.15:7')")
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

        _record(net, page, tmp_path)
        page.resize(390, 844)
        assert page.value("document.documentElement.scrollWidth") <= 390
        assert page.value("parseFloat(getComputedStyle(document.body).fontSize)") >= 12
        assert page.problems == []


def test_each_of_several_networks_has_a_page(need: Need, tmp_path: Path) -> None:
    need("chromium")
    with ExitStack() as stack:
        net, other = (
            stack.enter_context(Slirp(Config(net=subnet, resolvers=[])))
            for subnet in ("10.0.2.0/24", "10.8.0.0/24")
        )
        page = stack.enter_context(browser(tmp_path))
        for network, name in ((net, "first"), (other, "second")):
            LiveGuest(network, hostname=name).serve_echo(7)
        server = net.serve_control("tcp:127.0.0.1:0", name="lan", others={"dmz": other})
        for network in (net, other):
            network.start()
            stack.callback(network.stop)
        page.open(f"http://{server.address}/?token={server.token}")
        page.until("document.querySelector('#leases')?.innerText.includes('first')")
        page.until("document.querySelector('#networks').innerText.includes('dmz')")
        page.value("document.querySelector('#networks a').click()")
        page.until("document.querySelector('#leases')?.innerText.includes('second')")
        page.until("document.querySelector('#networks b')?.innerText == 'dmz'")
        page.value("document.querySelector('#rule').value = 'tcp::0-:7'")
        page.value("document.querySelector('#add').requestSubmit()")
        page.until("document.querySelector('#forwards').innerText.includes('127.0.0.1')")
        assert len(other.hostfwds()) == 1
        assert net.hostfwds() == []
        assert page.problems == []


_SLOW_LADDER = """
    var drawing = false, quick = fetched;
    fetched = async (method, url, ...more) => {
      if (!url.includes("/ladder")) return quick(method, url, ...more);
      drawing = true;
      await new Promise((done) => setTimeout(done, 500));
      drawing = false;
      return quick(method, url, ...more);
    };
    0
"""
"""Delays the page's requests for a ladder."""


def _record(net: Slirp, page: Browser, folder: Path) -> None:
    """Record with the button; the ladder is drawn, and what is downloaded is a capture."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.value("document.querySelector('#record').click()")
    page.until("document.querySelector('#record').innerText == 'Stop'")
    with net.connect("10.0.2.15", 7) as sock:
        sock.sendall(b"recorded")
        assert sock.recv(8, socket.MSG_WAITALL) == b"recorded"
        page.until("document.querySelector('#ladder').innerText.includes('len=8')")
    page.value("document.querySelector('#record').click()")
    page.until("document.querySelector('#record').innerText == 'Record'")
    assert page.value("document.querySelector('#ladder').innerText.includes('SYN,ACK')")
    page.value("document.querySelector('#save').click()")
    file = folder / "slirpy-1.pcapng"
    until(file.exists, lambda: page.value("1"))
    with file.open("rb") as capture:
        frames = [bytes(frame) for _, frame in dpkt.pcapng.Reader(capture)]
    assert sum(frame.endswith(b"recorded") for frame in frames) == 2
    # Again, with another capture in its place, while a drawing of the old one is under way.
    page.value(_SLOW_LADDER)
    page.value("document.querySelector('#record').click()")
    page.until("document.querySelector('#record').innerText == 'Stop'")
    page.until("drawing")
    page.value("document.querySelector('#record').click()")
    page.until("document.querySelector('#record').innerText == 'Record'")
    page.value("document.querySelector('#record').click()")
    page.until("document.querySelector('#record').innerText == 'Stop'")
    page.value("document.querySelector('#record').click()")
    page.until("document.querySelector('#record').innerText == 'Record' && !drawing")


@pytest.mark.long
def test_ten_thousand_flows(need: Need, tmp_path: Path) -> None:
    need("chromium")
    _allow_descriptors()
    with Slirp(Config(resolvers=[])) as net, browser(tmp_path) as page, ExitStack() as stack:
        guest = LiveGuest(net)
        guest.serve_echo(7)
        server = net.serve_control("tcp:127.0.0.1:0")
        net.start()
        page.open(f"http://{server.address}/?token={server.token}")
        page.until("document.querySelector('#leases')?.innerText.includes('guest')")
        # Nobody accepts them, so that each takes one descriptor of this process and not two.
        for part in range(0, MANY, BACKLOG):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
            _connect(net, guest, listener.getsockname()[1], min(BACKLOG, MANY - part))
        assert net.stats.tcp_flows_evicted == 0
        page.until(f"document.querySelector('#count').innerText == '300 of {MANY}'")
        with net.connect("10.0.2.15", 7) as sock:
            page.until("document.querySelector('#flows').innerText.includes('10.0.2.15:7')")
            sock.sendall(b"still there")
            assert sock.recv(11, socket.MSG_WAITALL) == b"still there"
        assert page.value("document.querySelectorAll('#flows tr').length") == 301
        assert len(net.flows()) >= MANY
        assert page.problems == []


def _connect(net: Slirp, guest: LiveGuest, port: int, number: int) -> None:
    """Open so many connections from the guest to a port of the host, a few at a time."""
    before = net.stats.tcp_flows
    while number:
        few = min(FEW, number)
        _connect_few(net, guest, port, few)
        number -= few
        before += few
    assert net.stats.tcp_flows == before


def _connect_few(net: Slirp, guest: LiveGuest, port: int, number: int) -> None:
    streams = net._call(lambda: [guest.guest.connect("10.0.2.2", port) for _ in range(number)])
    until(
        lambda: all(stream.state is State.ESTABLISHED for stream in streams),
        lambda: net._call(lambda: guest.guest.advance(time.monotonic_ns())),
        lambda: str([stream.state.name for stream in streams]),
    )


def _allow_descriptors() -> None:
    """Allow this process a descriptor for each flow."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < MANY + 1000:
        pytest.skip(f"the system gives a process {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
