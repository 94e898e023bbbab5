"""For each public callable: the object that it belongs to, and arguments that make sense."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from slirpy import Action, Config, Decision, FlowRequest, Outbound, Rule, RulePolicy, Slirp, Stack, Verdict
from slirpy.control import ControlClient
from slirpy.interfaces import IcmpReport
from slirpy.links import CallbackLink, CaptureLink, Endpoint, FaultLink, Faults, FaultyPath, Recorder
from slirpy.tcp import Connection, Segment, Settings, State
from slirpy.testing import (
    Clock,
    Flow,
    FrameRecord,
    Guest,
    History,
    Lose,
    Network,
    Pair,
    RegisterModel,
    Remote,
    Report,
    Script,
    SimHost,
    VirtualNetwork,
)
from slirpy.wire import ipv4
from tests.support.traces import Run

__all__ = ["GOOD", "INSTANCES", "Scene"]

MAC = "52:54:00:12:34:56"
V4 = "192.0.2.7"
PACKET = ipv4.build(bytes((10, 0, 2, 15)), bytes((192, 0, 2, 7)), ipv4.UDP, 8) + bytes(8)
SCRIPT = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"


@dataclass
class Scene:
    """One of each object that a call may need; made for each callable."""

    stack: ExitStack

    def __post_init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = getattr(type(self), f"make_{name}")(self)
        return self._made[name]

    def make_slirp(self) -> Slirp:
        read, write = os.pipe()
        for fd in (read, write):
            self.stack.callback(os.close, fd)
        os.write(write, b"x")
        net = self.stack.enter_context(Slirp())
        net.watch(read, lambda events: None)  # no poll has to wait
        return net

    def make_nic(self) -> Any:
        return self.slirp.attach(lambda frame: None)

    def make_world(self) -> SimHost:
        return SimHost(Random(1))

    def make_core(self) -> Stack:
        core = Stack(Config(), self.world)
        self.stack.callback(core.close)
        return core

    def make_guest(self) -> Guest:
        guest = Guest(lambda frame: None, random=Random(1))
        guest.configure("10.0.2.15", 24, "10.0.2.2", "10.0.2.3")
        return guest

    def make_folder(self) -> str:
        return self.stack.enter_context(TemporaryDirectory())

    def make_link(self) -> CallbackLink:
        return CallbackLink(lambda frame: None)

    def make_pair(self) -> Pair:
        return Pair()

    def make_net(self) -> VirtualNetwork:
        return VirtualNetwork(seed=1)

    def make_hosts(self) -> Network:
        """Two hosts, a router, and a host behind it."""
        net = Network()
        net.host("a")
        net.host("b")
        net.router("r")
        net.host("c", behind="r")
        return net

    def make_script(self) -> Script:
        script = Script()
        script.conn.listen(script.now)
        script.inject("S", 0, mss=1460)
        script.expect("SA")
        return script.inject("A", 1, 1)

    def make_connection(self) -> Connection:
        """An established connection with three bytes to read."""
        script = Script()
        script.conn.listen(script.now)
        script.inject("S", 0).inject("A", 1, 1).inject("A", 1, 1, data=b"abc")
        return script.conn

    def make_client(self) -> ControlClient:
        """A client of a network that is controlled, which a thread drives."""
        net = self.stack.enter_context(Slirp())
        net.serve_control(f"unix:{self.path('ctl')}")
        net.start()
        return ControlClient(self.path("ctl"))

    def make_sockets(self) -> tuple[socket.socket, socket.socket]:
        return self._pair(socket.SOCK_STREAM)

    def make_datagram_sockets(self) -> tuple[socket.socket, socket.socket]:
        return self._pair(socket.SOCK_DGRAM)

    def make_packet_sockets(self) -> tuple[socket.socket, socket.socket]:
        return self._pair(socket.SOCK_SEQPACKET)

    def _pair(self, kind: int) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair(socket.AF_UNIX, kind)
        for each in pair:
            self.stack.enter_context(each)
        return pair

    def datagram_socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        return self.stack.enter_context(sock)

    def written(self, name: str, text: str) -> str:
        path = self.path(name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def closed_after(self, link: Any) -> Any:
        self.stack.callback(link.close)
        return link


INSTANCES: dict[str, Callable[[Scene], object]] = {
    "Slirp": lambda scene: scene.slirp,
    "Controlled": lambda scene: scene.slirp,
    "Polled": lambda scene: scene.slirp,
    "Loopbacks": lambda scene: scene.slirp,
    "Nic": lambda scene: scene.nic,
    "Stack": lambda scene: scene.core,
    "IPStack": lambda scene: scene.core,
    "Config": lambda scene: Config(),
    "Outbound": lambda scene: Outbound(V4),
    "Decision": lambda scene: Decision(),
    "Rule": lambda scene: Rule(Action.ALLOW),
    "RulePolicy": lambda scene: RulePolicy(["allow example.org:443"]),
    "links.CaptureLink": lambda scene: scene.closed_after(CaptureLink(scene.link)),
    "links.Endpoint": lambda scene: Endpoint(socket.AF_INET, ("127.0.0.1", 0)),
    "links.FaultLink": lambda scene: FaultLink(scene.link, Random(1)),
    "links.FaultyPath": lambda scene: FaultyPath(Random(1)),
    "links.Recorder": lambda scene: scene.closed_after(Recorder(scene.path("r.pcap"))),
    "control.ControlClient": lambda scene: scene.client,
    "testing.Remote": lambda scene: Remote(),
    "testing.Guest": lambda scene: scene.guest,
    "testing.Dhcp6Client": lambda scene: scene.guest.dhcp6(),
    "testing.History": lambda scene: History(),
    "testing.Invocation": lambda scene: History().invoke("a", "read"),
    "testing.GuestStream": lambda scene: scene.guest.connect(V4, 80),
    "testing.UdpSocket": lambda scene: scene.guest.udp(),
    "testing.IpHost": lambda scene: scene.guest,
    "testing.Pair": lambda scene: scene.pair,
    "testing.VirtualTime": lambda scene: scene.pair,
    "testing.Script": lambda scene: scene.script,
    "testing.SimHost": lambda scene: scene.world,
    "testing.SimWorld": lambda scene: scene.world,
    "testing.SimClock": lambda scene: scene.world,
    "testing.VirtualNetwork": lambda scene: scene.net,
    "testing.Network": lambda scene: scene.hosts,
    "testing.Report": lambda scene: Report(seed=0, now=0, trace=Run().trace),
    "testing.Run": lambda scene: scene.hosts,
    "testing.Topology": lambda scene: scene.hosts,
    "testing.Host": lambda scene: scene.hosts.host("a"),
    "testing.Path": lambda scene: scene.hosts.path("a", "b"),
    "testing.Clock": lambda scene: Clock(),
    "testing.FrameRecord": lambda scene: FrameRecord(0, "a", "b", bytes(60)),
    "tcp.Connection": lambda scene: scene.connection,
    "tcp.Connection.connect": lambda scene: Connection(),
    "tcp.Connection.listen": lambda scene: Connection(),
}
"""The object of a method, by the class that defines it, or by the method."""
RULE_OUT, RULE_IN = "tcp:127.0.0.1:0-:80", "tcp:10.0.2.100:80-tcp:127.0.0.1:80"
REQUEST = FlowRequest(6, "10.0.2.15", 1, V4, 80)
REPORT = IcmpReport(111, 3, 3, 0, bytes(4), bytes(4), 80, b"")
DISCARD = Endpoint(socket.AF_INET, ("127.0.0.1", 9))
PEER = SimpleNamespace(send=print, receive=print, close=print)
FLOW = Flow("a", "b")
ANSWERED = Segment(0xFFFFFFF0 + 4, 0, 16, 0)


def free_port() -> Endpoint:
    return Endpoint(socket.AF_INET, ("127.0.0.1", 0))


GOOD: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "BootChoice": lambda scene: {"bootfile": "a"},
    "Command": lambda scene: {"argv": ("cat",)},
    "Config.contains": lambda scene: {"address": bytes((10, 0, 2, 2))},
    "Config.from_qemu": lambda scene: {"options": "user"},
    "control.ControlClient": lambda scene: {"at": "unix:/run/x.ctl"},
    "control.ControlClient.ask": lambda scene: {"method": "GET", "path": "/v1/flows"},
    "control.ControlClient.events": lambda scene: {},
    "control.ControlClient.stream": lambda scene: {"path": "/v1/events"},
    "sandbox.PrivateRoot": lambda scene: {"folders": ["/etc"], "user": None},
    "sandbox.Spawner": lambda scene: {},
    "sandbox.confine": lambda scene: {},
    "sandbox.use": lambda scene: {"spawner": None},
    "snapshot.tables": lambda scene: {"net": scene.slirp},
    "targets.web.asgi": lambda scene: {"application": print},
    "targets.web.handler_for": lambda scene: {"application": print},
    "targets.web.wsgi": lambda scene: {"application": print},
    "testing.machines.ConnectionSubject": lambda scene: {},
    "testing.machines.from_bytes": lambda scene: {"raw": bytes(20)},
    "testing.machines.initialize": lambda scene: {},
    "testing.machines.rule": lambda scene: {},
    "testing.machines.to_bytes": lambda scene: {"segment": Segment(1, 0, 2, 100)},
    "testing.strategies.Ends": lambda scene: {},
    "testing.strategies.cuts": lambda scene: {"data": b"abc"},
    "testing.strategies.dhcp6_messages": lambda scene: {},
    "testing.strategies.dhcp_messages": lambda scene: {},
    "testing.strategies.dns_messages": lambda scene: {},
    "testing.strategies.fault_plans": lambda scene: {"hosts": ["a", "b"]},
    "testing.strategies.frames": lambda scene: {},
    "testing.strategies.icmp_errors": lambda scene: {"packet": PACKET},
    "testing.strategies.option_strings": lambda scene: {},
    "testing.strategies.segments": lambda scene: {"conn": Connection()},
    "testing.strategies.tftp_packets": lambda scene: {},
    "DhcpAnswer": lambda scene: {},
    "DhcpOption": lambda scene: {"code": 42, "value": b"x"},
    "DnsRecord": lambda scene: {"name": "a.test", "type": "A", "value": V4},
    "Decision.forget": lambda scene: {"done": print},
    "Decision.give": lambda scene: {"verdict": Verdict(Action.ALLOW)},
    "Decision.then": lambda scene: {"done": print},
    "FlowRequest": lambda scene: {
        "protocol": 6, "source": V4, "source_port": 1, "destination": V4, "destination_port": 2
    },
    "GuestForward": lambda scene: {"server": "10.0.2.9", "port": 80, "target": "cmd:cat"},
    "GuestRoute": lambda scene: {"network": "192.0.2.0/24"},
    "HostForward": lambda scene: {
        "protocol": "tcp", "host_address": V4, "host_port": 80, "guest_address": None, "guest_port": 80
    },
    "HostTarget": lambda scene: {"name": "a.test", "port": 80},
    "LinkFeatures": lambda scene: {},
    "Nic.send": lambda scene: {"frame": bytes(60)},
    "Nic.send_many": lambda scene: {"frames": [bytes(60)]},
    "Outbound": lambda scene: {"address": V4},
    "Outbound.source": lambda scene: {"size": 4},
    "Proxy": lambda scene: {"scheme": "http", "host": "proxy.example"},
    "Resolver": lambda scene: {"address": V4},
    "Rule": lambda scene: {"action": Action.ALLOW},
    "Rule.matches": lambda scene: {"request": REQUEST},
    "Rule.verdict": lambda scene: {"request": REQUEST},
    "RulePolicy": lambda scene: {},
    "RulePolicy.explain": lambda scene: {"request": REQUEST},
    "RulePolicy.may_resolve": lambda scene: {"name": "example.org"},
    "RulePolicy.from_file": lambda scene: {"path": scene.written("rules.toml", "rules = []")},
    "Slirp": lambda scene: {},
    "Controlled.serve_control": lambda scene: {"at": "tcp:127.0.0.1:0"},
    "Slirp.add_guestfwd": lambda scene: {"rule": RULE_IN},
    "Slirp.add_hostfwd": lambda scene: {"rule": RULE_OUT},
    "Slirp.attach": lambda scene: {"on_frame": print},
    "Slirp.attach_link": lambda scene: {"link": scene.link},
    "Slirp.mount": lambda scene: {"application": print, "server": "10.0.2.101"},
    "Polled.poll": lambda scene: {},
    "Polled.poll_until": lambda scene: {"done": lambda: True, "timeout": lambda: 0.0},
    "Loopbacks.reach_guest_loopback": lambda scene: {"guest": "10.0.2.15", "open_socket": print},
    "Loopbacks.serve_guest_loopback": lambda scene: {"sock": scene.datagram_socket(), "port": 80},
    "Slirp.remove_guestfwd": lambda scene: {"rule": scene.slirp.add_guestfwd(RULE_IN)},
    "Slirp.remove_hostfwd": lambda scene: {"rule": scene.slirp.add_hostfwd(RULE_OUT)},
    "Slirp.reserve": lambda scene: {"mac": MAC},
    "Slirp.serve": lambda scene: {"at": "tcp:127.0.0.1:0"},
    "Polled.unwatch": lambda scene: {"fd": 0},
    "Polled.watch": lambda scene: {"fd": scene.sockets[0].fileno(), "ready": print},
    "Stack": lambda scene: {"config": Config(), "host": scene.world},
    "Stack.add_guestfwd": lambda scene: {"rule": RULE_IN},
    "Stack.add_hostfwd": lambda scene: {"rule": RULE_OUT},
    "IPStack.attach": lambda scene: {"link": scene.link, "poller": None},
    "IPStack.call_at": lambda scene: {"when": 0, "callback": print},
    "IPStack.detach": lambda scene: {"port": scene.core.attach(scene.link, None)},
    "IPStack.flush": lambda scene: {"now": 0},
    "IPStack.input": lambda scene: {"port": scene.core.attach(scene.link, None), "frame": bytes(60)},
    "Stack.remove_guestfwd": lambda scene: {"rule": scene.core.add_guestfwd(RULE_IN)},
    "Stack.remove_hostfwd": lambda scene: {"rule": scene.core.add_hostfwd(RULE_OUT)},
    "Stack.reserve": lambda scene: {"mac": MAC},
    "IPStack.tick": lambda scene: {"now": 0},
    "StaticLease": lambda scene: {"address": "10.0.2.9", "mac": MAC},
    "StreamFactory": lambda scene: {"open": print},
    "TcpTarget": lambda scene: {"address": V4, "port": 80},
    "UnixTarget": lambda scene: {"path": "/run/x.sock"},
    "Verdict": lambda scene: {"action": Action.ALLOW},
    "links.CallbackLink": lambda scene: {"on_frame": print},
    "links.CaptureLink": lambda scene: {"inner": scene.link},
    "links.CaptureLink.start_capture": lambda scene: {"target": scene.path("c.pcap")},
    "links.DgramLink": lambda scene: {"sock": scene.datagram_sockets[0]},
    "links.DgramLink.from_fd": lambda scene: {"fd": scene.datagram_sockets[0].detach()},
    "links.DgramLink.open": lambda scene: {"local": free_port(), "remote": DISCARD},
    "links.Endpoint": lambda scene: {"family": socket.AF_INET, "address": ("127.0.0.1", 80)},
    "links.Endpoint.bind": lambda scene: {"kind": socket.SOCK_STREAM},
    "links.Endpoint.open": lambda scene: {"kind": socket.SOCK_STREAM},
    "links.Endpoint.qemu": lambda scene: {},
    "links.Endpoint.remove": lambda scene: {"inode": None},
    "links.FaultLink": lambda scene: {"inner": scene.link, "random": Random(1)},
    "links.FaultLink.from_guest =": lambda scene: {"faults": Faults()},
    "links.FaultLink.to_guest =": lambda scene: {"faults": Faults()},
    "links.Faults": lambda scene: {},
    "testing.Faults": lambda scene: {},
    "links.FaultyPath": lambda scene: {"random": Random(1)},
    "links.FaultyPath.faults =": lambda scene: {"faults": Faults()},
    "links.Middleware": lambda scene: {"inner": scene.link},
    "links.Recorder": lambda scene: {"target": scene.path("d.pcap")},
    "links.Recorder.interface": lambda scene: {},
    "links.SeqpacketLink": lambda scene: {"sock": scene.packet_sockets[0]},
    "links.StreamLink": lambda scene: {"sock": scene.sockets[0]},
    "links.StreamLink.connect": lambda scene: {"target": DISCARD},
    "links.StreamLink.from_fd": lambda scene: {"fd": scene.sockets[0].detach()},
    "links.StreamLink.listen": lambda scene: {"endpoint": free_port()},
    "links.StreamListener": lambda scene: {"endpoint": free_port(), "accept": print},
    "links.TraceFile": lambda scene: {"target": scene.path("trace")},
    "links.TraceLink": lambda scene: {"inner": scene.link, "out": print},
    "links.abstract": lambda scene: {"name": "x"},
    "links.inet": lambda scene: {"host": "127.0.0.1", "port": 80},
    "links.open_tap": lambda scene: {"name": "slirpy0"},
    "links.TapLink": lambda scene: {"fd": scene.sockets[0].fileno()},
    "links.multicast": lambda scene: {"group": Endpoint(socket.AF_INET, ("239.0.0.1", 0))},
    "links.parse_endpoint": lambda scene: {"text": "tcp:127.0.0.1:80"},
    "links.parse_netdev": lambda scene: {"text": "stream,addr.type=unix,addr.path=/run/x"},
    "links.unix": lambda scene: {"path": "/run/x.sock"},
    "testing.Remote.paused =": lambda scene: {"value": False},
    "testing.Remote.write": lambda scene: {"data": b"x"},
    "testing.Guest": lambda scene: {"send": print, "random": Random(1)},
    "testing.Dhcp6Client.start": lambda scene: {},
    "testing.Guest.dhcp6": lambda scene: {},
    "testing.Guest.join": lambda scene: {"group": "ff15::1"},
    "testing.Guest.leave": lambda scene: {"group": "ff15::1"},
    "testing.Guest.advance": lambda scene: {"now": 0},
    "testing.Guest.autoconfigure": lambda scene: {},
    "testing.IpHost.configure": lambda scene: {"address": "10.0.2.15", "prefix": 24},
    "testing.Guest.connect": lambda scene: {"address": V4, "port": 80},
    "testing.Guest.input": lambda scene: {"frame": bytes(60)},
    "testing.Guest.listen": lambda scene: {"port": 80},
    "testing.Guest.ping": lambda scene: {"address": V4},
    "testing.Guest.resolve": lambda scene: {"name": "a.test"},
    "testing.Guest.udp": lambda scene: {},
    "testing.GuestStream.write": lambda scene: {"data": b"x"},
    "testing.CounterModel": lambda scene: {},
    "testing.History": lambda scene: {},
    "testing.History.invoke": lambda scene: {"process": "a", "operation": "read"},
    "testing.Invocation.fail": lambda scene: {},
    "testing.Invocation.ok": lambda scene: {},
    "testing.Invocation.unknown": lambda scene: {},
    "testing.Network.report": lambda scene: {},
    "testing.Report.ladder": lambda scene: {},
    "testing.Report.packetdrill": lambda scene: {},
    "testing.Report.pcapng": lambda scene: {},
    "testing.Report.plot": lambda scene: {},
    "testing.Report.save": lambda scene: {"directory": scene.folder, "name": "x"},
    "testing.RegisterModel": lambda scene: {},
    "testing.check_linearizable": lambda scene: {"history": History(), "model": RegisterModel()},
    "testing.LocalPeer": lambda scene: {"send": print, "frames": []},
    "testing.LinkUnderTest": lambda scene: {"link": scene.link, "peer": PEER},
    "testing.Pair": lambda scene: {},
    "testing.VirtualTime.run": lambda scene: {"duration": 1},
    "testing.VirtualTime.run_until": lambda scene: {"predicate": lambda: True},
    "testing.Clock": lambda scene: {},
    "testing.Flow": lambda scene: {"client": "a", "server": "b"},
    **{f"testing.{name}": lambda scene: {"flow": FLOW, "n": 1} for name in ("Lose", "Delay", "Repeat", "Corrupt")},
    "testing.Reset": lambda scene: {"flow": FLOW},
    **{f"testing.{name}": lambda scene: {"at": 1, "ms": 1, "a": "a", "b": "b"} for name in ("Cut", "Slow")},
    **{f"testing.{name}": lambda scene: {"at": 1, "ms": 1, "host": "a"} for name in ("Stall", "Crash")},
    "testing.Host.lookup": lambda scene: {"name": "b", "done": print},
    "testing.Host.note": lambda scene: {"text": "x"},
    "testing.Host.pause": lambda scene: {},
    "testing.Host.crash": lambda scene: {},
    "testing.Network": lambda scene: {},
    "testing.Network.inject": lambda scene: {"faults": Lose(FLOW, 1)},
    "testing.Run.always": lambda scene: {"check": print},
    "testing.Run.eventually": lambda scene: {"check": lambda: True, "within": 1},
    "testing.Topology.host": lambda scene: {"name": "d"},
    "testing.Run.note": lambda scene: {"text": "x"},
    "testing.Run.run_for": lambda scene: {"duration": 1},
    "testing.Run.settle": lambda scene: {"limit": 600},
    "testing.Run.until": lambda scene: {"predicate": lambda: True},
    "testing.Topology.alias": lambda scene: {"name": "www", "hosts": "a"},
    "testing.Topology.path": lambda scene: {"source": "a", "target": "b"},
    "testing.Topology.resolve": lambda scene: {"name": "a"},
    "testing.Topology.router": lambda scene: {"name": "s"},
    "Slirp.policy =": lambda scene: {"policy": ["deny any"]},
    "Stack.policy =": lambda scene: {"policy": ["deny any"]},
    "Slirp.dns_records =": lambda scene: {"records": ["a.test=192.0.2.1"]},
    "Stack.dns_records =": lambda scene: {"records": ["a.test=192.0.2.1"]},
    "testing.FrameRecord.frame =": lambda scene: {"frame": bytes(60)},
    "testing.Path.faults =": lambda scene: {"faults": Faults()},
    "testing.Path.mtu =": lambda scene: {"mtu": 1400},
    "testing.Resetter": lambda scene: {},
    "testing.Script": lambda scene: {},
    "testing.Script.expect": lambda scene: {"flags": "SA"},
    "testing.Script.inject": lambda scene: {"flags": "A", "seq": 1},
    "testing.Script.state": lambda scene: {"state": State.ESTABLISHED},
    "testing.Script.take": lambda scene: {"segment": ANSWERED},
    "testing.Script.wait": lambda scene: {"duration": 1},
    "testing.Script.write": lambda scene: {"data": b"x"},
    "testing.SimHost": lambda scene: {"random": Random(1)},
    "testing.SimHost.add_name": lambda scene: {"name": "a.test"},
    "testing.SimClock.advance": lambda scene: {"now": 0},
    "testing.SimWorld.answer_ping": lambda scene: {},
    "testing.SimWorld.black_hole": lambda scene: {},
    "testing.SimHost.connect": lambda scene: {"address": V4, "port": 80},
    "testing.SimHost.connect_unix": lambda scene: {"path": "/run/x.sock"},
    "testing.SimHost.fail_name": lambda scene: {"name": "a.test"},
    "testing.SimWorld.latency_ns =": lambda scene: {"latency_ns": 1},
    "testing.SimWorld.path": lambda scene: {"address": None},
    "testing.SimWorld.reachable": lambda scene: {},
    "testing.SimHost.report": lambda scene: {"report": REPORT},
    "testing.SimHost.send_udp": lambda scene: {"payload": b"x", "address": V4, "port": 80},
    "testing.SimHost.serve_tcp": lambda scene: {"address": None, "port": None},
    "testing.SimHost.serve_udp": lambda scene: {"address": None, "port": None},
    "testing.SimWorld.unreachable": lambda scene: {},
    "testing.Source": lambda scene: {"data": b"x"},
    "testing.UdpSocket.send": lambda scene: {"payload": b"x", "address": V4, "port": 80},
    "testing.VirtualNetwork": lambda scene: {},
    "testing.VirtualNetwork.add_guest": lambda scene: {},
    "testing.VirtualNetwork.boot": lambda scene: {},
    "testing.VirtualNetwork.from_guest =": lambda scene: {"faults": Faults()},
    "testing.VirtualNetwork.to_guest =": lambda scene: {"faults": Faults()},
    "testing.VirtualNetwork.link_latency_ns =": lambda scene: {"latency_ns": 1},
    "testing.explore": lambda scene: {"scenario": print, "seeds": [1]},
    "testing.flag_bits": lambda scene: {"letters": "S"},
    "testing.flag_letters": lambda scene: {"flags": 1},
    "testing.ladder": lambda scene: {"frames": []},
    "testing.run_file": lambda scene: {"path": scene.written("s.pkt", SCRIPT)},
    "testing.run_text": lambda scene: {"text": SCRIPT},
    "tcp.Connection": lambda scene: {},
    "tcp.Connection.abort": lambda scene: {},
    "tcp.Connection.configure": lambda scene: {"settings": Settings()},
    "tcp.Connection.connect": lambda scene: {"now": 0},
    "tcp.Connection.consume": lambda scene: {"count": 1},
    "tcp.Connection.listen": lambda scene: {"now": 0},
    "tcp.Connection.handle_timeout": lambda scene: {"now": 10**10},
    "tcp.Connection.read": lambda scene: {},
    "tcp.Connection.receive": lambda scene: {"segment": ANSWERED, "now": 10**10},
    "tcp.Connection.segments_to_send": lambda scene: {"now": 10**10},
    "tcp.Connection.write": lambda scene: {"data": b"x"},
    "tcp.Connection.write_urgent": lambda scene: {"data": b"x"},
    "tcp.Settings": lambda scene: {},
    "tcp.initial_sequence_number": lambda scene: {"secret": bytes(16), "flow": b"x", "now": 0},
    "tcp.timestamp_offset": lambda scene: {"secret": bytes(16), "flow": b"x"},
}  # fmt: skip
"""Arguments that make sense, of each callable: its parameters without a default, at least."""
