"""No public callable takes a value outside its documented range: what makes no sense is refused, at the call.

The callables come from the faces of the package, the values from the annotations of their parameters, so a new
callable fails here until it is described below, or left out with a reason. Options of ``Config`` are tried one by one
in ``test_options.py``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings

from slirpy import SlirpyError
from slirpy.checks import ERRNO_MAX, is_whole
from slirpy.tcp import Connection
from slirpy.testing.machines import ConnectionSubject
from tests.property.public_calls import (
    NO_MAC,
    PublicCall,
    Range,
    Values,
    coroutine,
    public_calls,
    wrong_values,
)
from tests.property.public_scenes import GOOD, INSTANCES, Scene
from tests.support.extent import THOROUGH

PORT, ANY_PORT = (1, 65535), (0, 65535)
TIME, ALL = (0, math.inf), (-math.inf, math.inf)
WORD = (0, 2**32 - 1)
SOME = 25 if THOROUGH else 8
"""Values for each parameter."""

# ------------------------------------------------------------------------------------------------ left out

LEFT_OUT: dict[str, str] = {
    "records, which slirpy makes and callers read": """
        DhcpRequest DnsQuestion FlowInfo LeaseInfo NeighborInfo Stats links.FaultCounters links.LinkOptions
        testing.Call testing.Captured testing.Crossing testing.Dhcp6Lease testing.DhcpLease testing.DhcpMessage
        testing.Event testing.Failure testing.GuestCounters testing.IcmpError testing.Linearization testing.Message
        testing.Operation testing.Ping testing.Received testing.Result testing.Sent
        testing.FrameRecord testing.NoteRecord testing.Report testing.SocketInfo testing.Trace.note""",
    "steps of state machines, which Hypothesis draws": """
        testing.machines.NetworkMachine.crash testing.machines.NetworkMachine.cut testing.machines.NetworkMachine.run
        testing.machines.NetworkMachine.wait testing.machines.TcpMachine.arrive testing.machines.TcpMachine.forge
        testing.machines.TcpMachine.lose testing.machines.TcpMachine.opens testing.machines.TcpMachine.overtake
        testing.machines.TcpMachine.peer_writes testing.machines.TcpMachine.repeat
        testing.machines.TcpMachine.subject_writes testing.machines.TcpMachine.wait""",
    "the adapter of a TCP, which a machine calls": """
        testing.machines.ConnectionSubject.input testing.machines.ConnectionSubject.open
        testing.machines.ConnectionSubject.output testing.machines.ConnectionSubject.write
        testing.machines.TcpSubject.input testing.machines.TcpSubject.open testing.machines.TcpSubject.output
        testing.machines.TcpSubject.write""",
    "records, which a strategy draws": "testing.strategies.Shape testing.strategies.Shape.on",
    "called for the programs behind guestfwd: tests/system/test_sandbox.py": """
        sandbox.Spawner.allow sandbox.Spawner.ended sandbox.Spawner.open sandbox.Spawner.register sandbox.Spawner.run
        sandbox.Spawner.signal""",
    "handles, which other calls make and return": """
        control.ControlServer Attachment GuestListener GuestSocket GuestSocket.recv GuestSocket.recv_into Nic
        testing.Autoconfiguration testing.Dhcp6Client testing.DhcpClient
        testing.GuestStream testing.Host testing.Injected testing.Invocation testing.Lookup testing.Partition
        testing.Path testing.Program testing.Router testing.SimServer testing.SimUdpServer testing.StreamListener
        testing.UdpSocket""",
    "programs, which are coroutines or functions: tests/unit/testing/sim tries others": """
        testing.Run.run testing.Host.run""",
    "waits for a guest: tests/unit/drive/test_dialing.py": "Dialing.connect Dialing.open_connection",
    "waits for a guest: tests/system/test_slirp4netns.py": "links.SeqpacketLink.accept",
    "called by Dialing, with the stream of its own socket": "Stack.connect_guest",
    "runs in another process: tests/unit/testing/sim/test_fork.py": "testing.Network.fork",
    "takes groups of hosts: tests/unit/testing/sim/test_network.py": "testing.Network.partition",
    "methods that the parts of a simulated network call among themselves": """
        testing.Run.launch testing.Run.failed testing.Run.follow testing.Host.boot testing.Host.receive
        testing.Host.receive_segment testing.Host.soon testing.Path.carry_segment
        testing.Path.carry testing.Path.cut testing.Path.restore testing.Path.insert testing.Path.send
        testing.Path.slow testing.Path.unslow testing.Program.ended testing.Program.exited testing.Program.fail
        testing.Router.plug_in testing.Clock.monotonic
        testing.Clock.network_time""",
    "every option is tried in test_options.py": "Config",
    "called by policies for each flow, with what was checked": """
        Rule.holds_all_of Rule.leads_as Rule.matches_name Rule.may_match Rule.verdict_for RulePolicy.may_say_name
        RulePolicy.opens_address""",
    "called by the control server: tests/unit/drive/test_dialing.py": "Dialing.dial",
    "a structural type, which has no code": "testing.LinkPeer testing.LinkPeer.send",
    "the guest's side of a link, which the conformance suite calls": "testing.LocalPeer.send",
    "methods of Link, which the stack calls, some of them for each batch of frames": """
        links.CallbackLink.send links.CallbackLink.start links.CaptureLink.send links.CaptureLink.start
        links.DgramLink.send links.DgramLink.start links.FaultLink.send links.Middleware.send links.Middleware.start
        links.StreamLink.send links.StreamLink.start links.TapLink.send links.TapLink.start links.TraceLink.send
        links.TraceLink.start links.StreamListener.start links.Written.start""",
    "methods of LinkSink, which the link inside calls, some of them for each frame": """
        links.CaptureLink.input links.FaultLink.input links.Middleware.call_at links.Middleware.input
        links.Middleware.lost links.TraceLink.input""",
    "called by the link of a capture or a trace, for each frame": "links.Recorder.record links.TraceFile.write",
    "called by a link or a simulation for each frame": "links.FaultyPath.delayed links.FaultyPath.put",
    "calls for services, which are part of a network and give it bytes; see slirpy.interfaces": """
        IPStack.bind IPStack.open_port IPStack.close_port IPStack.send_datagram IPStack.send_datagrams
        Stack.lead_inside Stack.outward_acceptor Stack.outward_datagrams""",
    "called by confine, in a process that it confines": "sandbox.PrivateRoot.enter",
    "called by Slirp.serve, with the place of its own listener": "Stack.hide_listener",
    "methods of HostNetwork, which the stack calls with bytes": """
        testing.SimHost.bind_udp testing.SimHost.connect_tcp testing.SimHost.listen_tcp testing.SimHost.listen_unix
        testing.SimHost.lookup testing.SimHost.open_ping testing.SimHost.open_udp testing.SimWorld.is_own""",
    "methods of the simulated world, which its own sockets and programs call": """
        testing.SimClock.schedule testing.SimHost.carry testing.SimHost.echo testing.SimHost.released
        testing.SimServer.accept testing.SimUdpServer.deliver testing.SimWorld.limit_recv testing.SimWorld.limit_send
        testing.SimWorld.record testing.SimWorld.source_for testing.Remote.assign testing.Remote.failed
        testing.VirtualNetwork.carry""",
    "structural, and its steps, which the checker of histories makes": """
        testing.Model testing.Model.step testing.Model.key testing.CounterModel.step testing.KeyValueModel.step
        testing.KeyValueModel.key testing.QueueModel.step testing.RegisterModel.step testing.SetModel.step""",
    "methods for subclasses to override": """
        testing.Remote.on_data testing.Echo.on_data testing.Sink.on_data testing.Resetter.on_data""",
    "methods that the protocols of a guest call, for each packet": """
        testing.Autoconfiguration.advertisement testing.GuestHost.send_frame
        testing.IpHost.add_address testing.IpHost.has_address testing.IpHost.is_own testing.IpHost.mtu_for
        testing.IpHost.path_mtu testing.IpHost.send_ip testing.IpHost.send_packet testing.IpHost.source_for
        testing.UdpSocket.take testing.ProtocolHost.deliver testing.ProtocolHost.refuse_datagram
        testing.ProtocolHost.take_frame testing.ProtocolHost.undeliverable testing.TcpStream.input
        testing.TcpStream.transmit testing.GuestStream.service""",
    "the engine's fast lane, for each segment": """
        tcp.expire tcp.output tcp.segment_arrives tcp.reset_for tcp.reopens tcp.next_iss tcp.ControlBlock.close_with
        tcp.ControlBlock.enter tcp.ControlBlock.flight_before tcp.ControlBlock.give_up
        tcp.ControlBlock.take_syn_options tcp.ControlBlock.timestamp""",
    "tuples, made for each segment; Connection.receive() checks them": "tcp.Segment tcp.TcpOptions",
}
"""Callables that are not tried, by the reason."""
TRUSTED: dict[str, str] = {
    "Config.contains address": "asked for many packets; it is the stack that asks",
    "IPStack.attach poller": "passed to the link unread, and None where there is no descriptor to watch",
    "testing.History.invoke value": "anything",
    "control.ControlClient.ask body": "what JSON can hold; tests/unit/control/test_client.py",
    **{f"testing.machines.{name} arguments": "checked by Hypothesis" for name in ("initialize", "rule")},
    "FlowRequest link": "anything: it is compared by identity",
    "FlowRequest lease": "a function is called later, if ever",
    **{f"{owner}.policy = policy": "as the option of Config, test_options.py" for owner in ("Slirp", "Stack")},
    **{f"testing.Invocation.{name} reason": "anything" for name in ("fail", "unknown")},
    "testing.Invocation.ok output": "anything",
    "testing.RegisterModel value": "anything",
    **{f"IPStack.input {name}": "passed on for each frame" for name in ("port", "checksummed", "gso_size")},
}
"""Parameters that are not tried, by the reason."""


def left_out() -> dict[str, str]:
    return {name: reason for reason, names in LEFT_OUT.items() for name in names.split()}


RECORDED = "str | os.PathLike[str] | int | BinaryIO"
ANNOTATIONS: dict[str, str] = {
    "links.Recorder target": RECORDED,
    "links.CaptureLink target": f"{RECORDED} | Recorder | None",
    "links.CaptureLink.start_capture target": f"{RECORDED} | Recorder",
    "Slirp.mount application": "Callable",
    **{f"targets.web.{name} application": "Callable" for name in ("asgi", "handler_for", "wsgi")},
    "links.Endpoint address": "str | bytes | tuple",
    "GuestForward target": "str | Callable",
    "testing.History.invoke process": "str | int",
    "testing.LinkUnderTest peer": "LinkPeer",
    "testing.LocalPeer frames": "List",
}
"""Annotations that say less than the documentation."""
MORE: dict[str, Values] = {
    "Slirp.reserve mac": NO_MAC,
    "Stack.reserve mac": NO_MAC,
    "StaticLease mac": NO_MAC,
    "testing.Guest mac": NO_MAC,
    "testing.VirtualNetwork.add_guest mac": NO_MAC,
}
"""Further values that make no sense."""
MAY_BE_EMPTY = (
    "Config.from_qemu options", "DhcpAnswer hostname", "DhcpAnswer bootfile", "DhcpAnswer tftp_server_name",
    "Resolver scope", "Verdict reason", "Verdict rule", "Verdict names", "Verdict proxy",
    "FlowRequest names", "RulePolicy.may_resolve name", "links.CaptureLink name", "links.Recorder.interface name",
    "links.TraceLink name", "links.inet host", "links.multicast interface", "testing.Guest hostname",
    "testing.History.invoke process", "testing.Run.always name", "testing.Run.note text", "testing.Host.note text",
    "testing.Topology.resolve name", "testing.Host.lookup name", "testing.Network.report failure",
    "testing.Script.inject flags", "testing.Script.expect flags", "testing.flag_bits letters",
    "testing.run_text text", "testing.run_text name",
)  # fmt: skip
"""Texts that may be empty."""
PER_FRAME = ("Nic.send", "Nic.send_many")


def is_true(value: Any) -> bool:
    return bool(value)


def is_plain(value: Any) -> bool:
    return value is not coroutine


LESS: dict[str, Callable[[Any], bool]] = {
    # An argument that is false is not looked at: that would cost time for each frame.
    **{f"{call} {name}": is_true for call in PER_FRAME for name in ("checksummed", "gso_size")},
    "Nic.send_many frames": is_true,  # there are no frames in what is empty
    "testing.Network patch": is_true,  # none of the parts
    # Any name of a parameter may be asked for.
    **{
        f"control.ControlClient.{name} query": lambda value: value != {"x": 1}
        for name in ("ask", "events", "stream")
    },
    "IPStack.call_at callback": is_plain,  # only a slow check could tell, and links set timers often
    "tcp.Connection.consume count": is_whole,  # called for every piece of data
    "testing.LocalPeer frames": lambda value: not isinstance(value, list),  # the link appends to it
    "Slirp.mount application": is_plain,  # ASGI
    **{f"targets.web.{name} application": is_plain for name in ("asgi", "handler_for", "wsgi")},
    "GuestForward target": is_plain,
    "tcp.Settings congestion": is_plain,  # only a slow import could tell
    **dict.fromkeys(MAY_BE_EMPTY, lambda value: value != ""),
}
"""Values to try among those that make no sense, by parameter."""

# --------------------------------------------------------------------------------- ranges, and values inside

RANGES: dict[str, Range] = {
    "sandbox.PrivateRoot user": (0, 2**31 - 1),
    "now": TIME, "delay": TIME, "jitter": TIME, "duration": TIME, "limit": TIME, "reorder_delay": TIME,
    "when": ALL, "latency_ns": TIME, "link_latency_ns": TIME, "port": PORT, "host_port": ANY_PORT,
    "guest_port": PORT, "source_port": ANY_PORT, "destination_port": ANY_PORT, "last_port": ANY_PORT,
    "prefix": (0, 32), "iss": WORD, "irs": WORD, "ts_offset": WORD, "seq": ALL, "ack": ALL, "wnd": ANY_PORT,
    "urg": ANY_PORT, "gso_size": ANY_PORT, "mtu": (68, 65521), "fd": (0, 2**31 - 1), "error": (1, ERRNO_MAX),
    "max_bytes": (1, math.inf), "max_files": (1, math.inf), "loss": (0, 1), "duplicate": (0, 1),
    "corrupt": (0, 1), "reorder": (0, 1), "kind": (1, 2), "ttl": (1, 255), "rcv_buffer": (1, math.inf),
    "protocol": (0, 255), "lease_time": (2, 2**32 - 1), "DnsRecord ttl": (0, 2**31 - 1),
    "HostForward count": (1, 65535), "LinkFeatures mtu": (68, 65535), "DhcpOption code": (1, 254),
    "Outbound.source size": (4, 16), "Polled.poll timeout": ALL, "Polled.watch events": (1, 3),
    "Slirp.serve at": (0, 2**31 - 1), "Slirp.serve limit": (1, math.inf), "IPStack.flush now": ALL,
    "IPStack.tick now": ALL, "Stack now": ALL, "links.Endpoint family": (1, 10),
    "links.Endpoint.remove inode": TIME, "testing.SimWorld.path mtu": (68, 65535),
    "links.inet family": (0, 10), "links.inet port": ANY_PORT, "links.Faults rate": (1, math.inf),
    "testing.Faults rate": (1, math.inf), "testing.Faults burst": (1, math.inf),
    "testing.Faults queue": (0, math.inf), "testing.Faults limit": (1, math.inf),
    "links.Faults burst": (1, math.inf), "links.Faults queue": (0, math.inf),
    "links.Faults limit": (1, math.inf), "links.Recorder target": (0, 2**31 - 1),
    "links.CaptureLink target": (0, 2**31 - 1), "links.CaptureLink.start_capture target": (0, 2**31 - 1),
    "links.TapLink mtu": (68, 65535),
    "links.TraceFile target": (0, 2**31 - 1), "links.StreamLink.connect reconnect": (0, 86400),
    "links.StreamListener endpoint": (0, 2**31 - 1), "links.StreamListener limit": (1, math.inf),
    "testing.CounterModel value": ALL, "testing.History.invoke process": ALL,
    "testing.Report.ladder connection": (0, 0), "testing.Report.plot connection": (0, 0),
    "testing.Report.packetdrill connection": (0, 0), "testing.Report.ladder width": (60, math.inf),
    "testing.Report.ladder last": (0, math.inf),
    "testing.check_linearizable max_steps": (1, math.inf),
    "testing.Guest now": ALL, "testing.Guest.advance now": ALL, "testing.Guest.input now": ALL,
    "testing.Guest.udp port": ANY_PORT, "testing.LinkUnderTest longest": (14, 65549),
    "testing.strategies.dns_messages identifier": ANY_PORT, "testing.strategies.fault_plans horizon": (0, 1e9),
    "testing.strategies.fault_plans max_faults": (0, math.inf),
    "testing.LinkUnderTest shortest": (14, 65549), "testing.Resetter after": (0, math.inf),
    "testing.SimHost buffer_bytes": (1, 2**40), "testing.VirtualNetwork seed": ALL,
    "testing.flag_letters flags": (0, 255), "testing.ladder width": (60, math.inf),
    "testing.ladder limit": (2, math.inf), "testing.ladder last": (0, math.inf),
    "testing.run_file tolerance_usecs": TIME, "testing.run_text tolerance_usecs": TIME,
    "n": TIME, "at": TIME, "ms": TIME, "bit": TIME, "connection": TIME, "after_bytes": TIME,
    "testing.Slow rate": (1, math.inf), "testing.Clock offset": ALL, "testing.Clock drift": (-500_000, 500_000),
    "testing.Network seed": TIME, "testing.Network mtu": (1280, 65521), "testing.Path.mtu = mtu": (1280, 65521),
    "testing.Run.eventually within": (0, 1e9),
    "testing.Run.run_for duration": (0, 1e9), "testing.Run.settle limit": (0, 1e9),
    "testing.Run.until limit": (0, 1e9), "testing.Host.pause seconds": (0, 1e9),
    "tcp.Connection.abort error": (0, ERRNO_MAX), "tcp.Connection.consume count": (0, 3),
    "tcp.Connection.read limit": (0, math.inf),
    "tcp.Settings mss": (1, 65535), "tcp.Settings peer_mss": (1, 65535),
    "tcp.Settings max_burst": (0, math.inf), "tcp.Settings rcv_buffer": (1, math.inf),
    "tcp.Settings rcv_buffer_initial": (1, math.inf), "tcp.Settings snd_buffer": (1, math.inf),
    "tcp.Settings delayed_ack": (0, 499_999_999), "tcp.Settings syn_timeout": TIME,
    "tcp.Settings user_timeout": TIME, "tcp.Settings r1": (1, math.inf),
    "tcp.Settings keepalive_idle": (1, math.inf), "tcp.Settings keepalive_interval": (1, math.inf),
    "tcp.Settings keepalive_count": (1, math.inf), "tcp.Settings time_wait": TIME,
    "tcp.Settings rto_margin": TIME, "tcp.Settings peer_ack_delay": TIME, "tcp.Settings syn_linear_timeouts": TIME,
}  # fmt: skip
"""Range of a number, by the name of the parameter, or of the callable and the parameter."""


def number_range(call: str, parameter: str) -> Range | None:
    return RANGES.get(f"{call} {parameter}", RANGES.get(parameter))


ELSEWHERE = {
    "links.TapLink": "needs a TAP interface",
    "links.open_tap": "needs a TAP interface",
    "links.multicast": "needs a route for groups",
    "sandbox.Spawner": "forks a process",
    "sandbox.confine": "holds for the rest of the process",
    "testing.Script.expect": "nothing more is expected in this scene",
}
"""Callables whose success is tested in other files, by the reason."""


def tried() -> dict[str, PublicCall]:
    """The callables with parameters that are not left out."""
    out = left_out()
    return {name: call for name, call in public_calls().items() if call.parameters and name not in out}


CHECKED_BY_COMPILED = {
    "Stack now",
    "testing.Script iss",
    *(f"testing.Script.inject {name}" for name in ("urg", "wnd")),
    "testing.Script.write data",
    "testing.machines.ConnectionSubject iss",
}
"""Parameters that an interpreted callable leaves to a function of a compiled module."""


def case(name: str, call: PublicCall, parameter: inspect.Parameter) -> Any:
    """A parameter to try with wrong values; compiled code refuses those of a wrong type with a TypeError."""
    marks: list[pytest.MarkDecorator] = []
    if "__mypyc_attrs__" in vars(call.item):
        marks = [pytest.mark.needs("interpreted", detail="the class is compiled, without annotations to read")]
    elif f"{name} {parameter.name}" in CHECKED_BY_COMPILED:
        marks = [pytest.mark.needs("interpreted", detail="compiled functions raise TypeError")]
    return pytest.param(name, parameter, marks=marks, id=f"{name}({parameter.name})")


TRIED = [
    case(name, call, parameter)
    for name, call in tried().items()
    for parameter in call.parameters
    if parameter.kind is not parameter.VAR_KEYWORD and f"{name} {parameter.name}" not in TRUSTED
]


def invoke(call: PublicCall, instance: object, arguments: dict[str, Any]) -> object:
    """Call with arguments by name, or by position where they have none."""
    values = dict(arguments)
    rest: list[Any] = []
    for parameter in call.parameters:
        if parameter.kind is parameter.VAR_POSITIONAL and parameter.name in values:
            rest = [values.pop(parameter.name)]
    if rest or call.is_setter:
        return call.on(instance)(*values.values(), *rest)
    return call.on(instance)(**values)


def shown(value: Any) -> Iterator[str]:
    """Return the forms in which a message may show a value, or one of several; it may be long."""
    yield from (repr(value)[:30], str(value)[:30])
    if isinstance(value, list | tuple | dict):
        for each in value:
            yield from shown(each)


@contextmanager
def scene_of(call: PublicCall) -> Iterator[tuple[object, dict[str, Any]]]:
    with ExitStack() as stack:
        scene = Scene(stack)
        owner = call.name.rpartition(".")[0]
        make = INSTANCES.get(call.name) or INSTANCES[owner] if call.owner is not None else None
        instance = None if make is None else make(scene)
        yield instance, GOOD[call.name](scene)


@pytest.mark.parametrize("name", [name for name in tried() if name not in ELSEWHERE])
def test_valid_arguments_are_accepted(name: str) -> None:
    call = public_calls()[name]
    with scene_of(call) as (instance, arguments):
        made = invoke(call, instance, arguments)
        if hasattr(made, "close") and not isinstance(made, Connection | ConnectionSubject):
            made.close()


@pytest.mark.parametrize(("name", "parameter"), TRIED)
def test_invalid_arguments_are_refused(name: str, parameter: inspect.Parameter) -> None:
    call = public_calls()[name]
    where = f"{name} {parameter.name}"
    values = wrong_values(ANNOTATIONS.get(where, parameter.annotation), number_range(name, parameter.name))
    if where in MORE:
        values |= MORE[where]
    if where in LESS:
        values = values.filter(LESS[where])

    with scene_of(call) as (instance, arguments):

        @settings(max_examples=SOME)
        @given(values)
        def check(value: Any) -> None:
            with pytest.raises(SlirpyError) as caught:
                invoke(call, instance, {**arguments, parameter.name: value})
            text = str(caught.value)
            assert any(
                words in text for words in (parameter.name, call.name.rpartition(".")[2], *shown(value))
            ), text

        check()


@pytest.mark.needs("interpreted", detail="inspect finds no functions in compiled classes")
def test_each_callable_is_tried_or_left_out_with_a_reason() -> None:
    out, calls = left_out(), public_calls()
    assert set(GOOD) == set(tried()), "describe a new callable in GOOD, or give a reason in LEFT_OUT"
    assert set(out) <= set(calls)
    assert len(out) == sum(len(names.split()) for names in LEFT_OUT.values())
    parameters = {f"{name} {p.name}" for name in tried() for p in calls[name].parameters}
    for table in (TRUSTED, ANNOTATIONS, MORE, LESS):
        assert set(table) <= parameters
    assert {entry for entry in RANGES if " " in entry and not entry.endswith("=")} <= parameters
