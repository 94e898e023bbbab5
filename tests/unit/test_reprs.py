"""Output of a debugger or pytest for the objects of a network: one line, whatever state they are in."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from slirpy import Action, Attachment, Config, Decision, GuestListener, Nic, Slirp, Stack, Verdict
from slirpy.core.port import LinkPort
from slirpy.core.switch import HubPort
from slirpy.interfaces import Frame
from slirpy.links import DgramLink, Recorder, StreamLink, StreamListener, TapLink, TraceFile, unix
from slirpy.links.callback import CallbackLink
from slirpy.links.capture import CaptureLink
from slirpy.nat.tcpflow import NatTcpFlow
from slirpy.tcp import Connection
from slirpy.testing import Echo, VirtualNetwork
from tests.property.public_calls import FACES


def test_slirp_and_its_links(tmp_path: Path) -> None:
    net = Slirp(Config(net="192.168.7.0/24"))
    assert repr(net) == "<Slirp 192.168.7.0/24, 0 links, 0 flows>"
    nic = net.attach(print)
    assert repr(nic) == "<Nic of CallbackLink, mtu 1500>"
    link = net.attach_link(CallbackLink(print))
    assert repr(link) == "<Attachment of CallbackLink, mtu 1500>"
    wrapped = net.attach(print, wrap=lambda inner: CaptureLink(inner, tmp_path / "a.pcap"))
    assert repr(wrapped) == "<Nic of CaptureLink, mtu 1500>"
    assert repr(net) == "<Slirp 192.168.7.0/24, 3 links, 0 flows>"
    wrapped.close()
    assert repr(wrapped) == "<Nic of CaptureLink, removed>"
    link.close()
    assert repr(net) == "<Slirp 192.168.7.0/24, 1 link, 0 flows>"
    net.start()
    assert repr(net) == "<Slirp 192.168.7.0/24, 1 link, 0 flows, thread>"
    net.stop()
    listener = net.serve(f"unix:{tmp_path}/net")
    assert repr(listener) == f"<GuestListener at unix:{tmp_path}/net, 0 guests>"
    listener.close()
    assert repr(listener) == "<GuestListener, closed, 0 guests>"
    net.close()
    assert repr(net) == "<Slirp 192.168.7.0/24, closed>"
    assert repr(nic) == "<Nic of CallbackLink, removed>"


def test_slirp_in_an_event_loop() -> None:
    async def shown() -> list[str]:
        async with Slirp() as net:
            inside = repr(net)
        return [inside, repr(net)]

    assert asyncio.run(shown()) == [
        "<Slirp 10.0.2.0/24, 0 links, 0 flows, event loop>",
        "<Slirp 10.0.2.0/24, closed>",
    ]


def test_slirp_from_another_thread_that_does_not_wait_for_its_own() -> None:
    shown: list[str] = []
    with Slirp() as net:
        reached, go_on = threading.Event(), threading.Event()

        def busy() -> None:
            reached.set()
            go_on.wait(10)

        net.start()
        caller = threading.Thread(target=lambda: net._call(busy))
        caller.start()
        assert reached.wait(10)
        shown.append(repr(net))  # the thread that drives the network is stuck
        go_on.set()
        caller.join()
    assert shown == ["<Slirp 10.0.2.0/24, 0 links, 0 flows, thread>"]


def test_the_stack_and_its_flows() -> None:
    net = VirtualNetwork(seed=1)
    assert repr(net.stack) == "<Stack 10.0.2.0/24, 1 link, 0 flows>"
    net.host.serve_tcp("192.0.2.7", 7, Echo)
    net.boot()
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    (flow,) = net.stack.tcp_flows.values()
    assert (
        repr(flow)
        == f"<NatTcpFlow 10.0.2.15:{stream.local_port} -> 192.0.2.7:7, ESTABLISHED, 5 bytes in, 5 out>"
    )
    assert repr(net.stack) == "<Stack 10.0.2.0/24, 1 link, 1 flow>"
    assert len(net.stack.flows()) == 1
    net.stack.close()
    assert repr(flow).startswith(f"<NatTcpFlow 10.0.2.15:{stream.local_port} -> 192.0.2.7:7, CLOSED, ")
    assert repr(net.stack) == "<Stack 10.0.2.0/24, 1 link, 0 flows>"


def test_a_flow_whose_far_end_has_not_answered() -> None:
    net = VirtualNetwork(seed=1)
    net.boot()
    net.host.black_hole("192.0.2.9")
    stream = net.guest.connect("192.0.2.9", 80)
    net.run(1_000_000)
    (flow,) = net.stack.tcp_flows.values()
    assert (
        repr(flow)
        == f"<NatTcpFlow 10.0.2.15:{stream.local_port} -> 192.0.2.9:80, CONNECTING, 0 bytes in, 0 out>"
    )


def test_a_forwarded_flow_points_at_the_guest() -> None:
    net = VirtualNetwork(Config(hostfwd=["tcp:127.0.0.1:8080-:80"]), seed=1)
    net.boot()
    net.guest.listen(80)
    net.host.connect("127.0.0.1", 8080)
    net.run(100_000_000)
    (flow,) = net.stack.tcp_flows.values()
    assert repr(flow).startswith("<NatTcpFlow 10.0.2.15:80 <- 203.0.113.1:")


def test_links(tmp_path: Path) -> None:
    link = CallbackLink(print)
    assert repr(link) == "<CallbackLink: not started>"
    assert repr(CaptureLink(link)) == "<CaptureLink around <CallbackLink: not started>>"
    net = Slirp()
    net.attach_link(link)
    assert repr(link) == "<CallbackLink: started>"
    net.close()
    assert repr(link) == "<CallbackLink: closed>"

    place = unix(f"{tmp_path}/s")
    stream = StreamLink.listen(place)
    assert repr(stream) == f"<StreamLink at unix:{tmp_path}/s: no guest>"
    there = StreamLink.connect(place)
    assert repr(there) == f"<StreamLink to unix:{tmp_path}/s: connected>"
    there.close()
    stream.close()
    assert repr(stream) == "<StreamLink: closed>"
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        assert repr(DgramLink(near, local=place)) == f"<DgramLink at unix:{tmp_path}/s: not started>"

    listener = StreamListener(place, print)
    assert repr(listener) == f"<StreamListener at unix:{tmp_path}/s: 0 guests>"
    listener.close()
    assert repr(listener) == "<StreamListener closed: 0 guests>"


def test_captures_and_traces(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.pcap")
    recorder.record([(b"x" * 60,)], inbound=True, interface=recorder.interface())
    assert repr(recorder) == "<Recorder open, 1 frame>"
    recorder.close()
    assert repr(recorder) == "<Recorder closed, 1 frame>"
    trace = TraceFile(tmp_path / "a.txt")
    assert repr(trace) == "<TraceFile open>"
    trace.close()
    assert repr(trace) == "<TraceFile closed>"


def test_a_decision() -> None:
    decision = Decision()
    assert repr(decision) == "<Decision: not given yet>"
    decision.give(Verdict(Action.DROP))
    assert repr(decision) == "<Decision: drop>"
    assert repr(Decision.__new__(Decision)) == "<Decision: not given yet>"


@pytest.mark.parametrize("face", FACES)
def test_each_public_class_has_a_line(face: str) -> None:
    module = importlib.import_module(face)
    kinds = [getattr(module, name) for name in module.__all__]
    plain = [kind.__name__ for kind in kinds if inspect.isclass(kind) and kind.__repr__ is object.__repr__]
    # A structural type, and a class whose methods a subclass writes.
    assert set(plain) <= {"LinkPeer", "TcpSubject"}


class Slow(CallbackLink):
    """A link without room."""

    def send(self, frames: Any) -> int:
        return 0


@pytest.mark.parametrize(("hub", "kind"), [(False, "LinkPort"), (True, "HubPort")])
def test_a_port(hub: bool, kind: str) -> None:
    net = VirtualNetwork(Config(hub=hub), seed=1)
    port = net.stack.attach(Slow(print), None)  # type: ignore[arg-type] # the link uses no poller
    assert repr(port) == f"<{kind} of Slow, mtu 1500>"
    LinkPort.push(port, Frame((b"x",)), 1)
    assert repr(port) == f"<{kind} of Slow, mtu 1500, 1 frame queued>"
    port.flush()
    assert repr(port) == f"<{kind} of Slow, mtu 1500, 1 frame queued, blocked>"
    net.stack.detach(port)
    assert repr(port) == f"<{kind} of Slow, mtu 1500, closed>"


WHOLE = pytest.mark.needs("interpreted", detail="the class is compiled: its objects are made by __init__ only")


@pytest.mark.parametrize(
    "kind",
    [
        Slirp,
        Stack,
        *(pytest.param(kind, marks=WHOLE) for kind in (Attachment, GuestListener, HubPort, NatTcpFlow, Nic)),
        LinkPort,
        Connection,
        CallbackLink,
        CaptureLink,
        DgramLink,
        Recorder,
        StreamLink,
        StreamListener,
        TapLink,
    ],
)
def test_half_made_objects_have_a_line_too(kind: Any) -> None:
    shown = repr(kind.__new__(kind))
    assert shown.startswith(f"<{kind.__name__}, incomplete: ")
    assert "\n" not in shown
