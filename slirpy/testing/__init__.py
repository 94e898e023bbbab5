"""Tools for tests of your own protocols, links and programs.

==========================================  ======================================================================
:class:`VirtualNetwork`, :class:`SimHost`   the whole stack in virtual time, with servers and clients outside
:class:`Guest`                              a guest in pure Python: IPv4 and IPv6, DHCP, UDP, DNS, TCP
:class:`History`, :class:`Model`            what clients of a service did, and one order that explains it
:class:`Pair`, :class:`Script`              the TCP engine alone: two connections, or one and a script
:data:`LINK_CHECKS`                         the conformance suite for a link of your own
:func:`run_file`, :func:`run_text`          scripts in packetdrill's language
:func:`ladder`                              frames drawn as a diagram
:mod:`~slirpy.testing.strategies`           streams, frames, segments, messages and faults, drawn by Hypothesis
:mod:`~slirpy.testing.machines`             state machines for programs in a network, and for TCP implementations
==========================================  ======================================================================

None of them needs pytest, and none but the conformance suite opens a socket. The names are imported on first use
(PEP 562).
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.ladder.diagram import ladder
    from slirpy.links.faultypath import Faults
    from slirpy.testing.cable import Captured, Fault
    from slirpy.testing.errors import UnmetError
    from slirpy.testing.guest import (
        DEFAULT_MAC,
        Autoconfiguration,
        Dhcp6Client,
        Dhcp6Lease,
        DhcpClient,
        DhcpLease,
        DhcpMessage,
        Guest,
        GuestCounters,
        GuestStream,
        IcmpError,
        Lookup,
        Message,
        Ping,
        StreamListener,
        UdpSocket,
    )
    from slirpy.testing.history import (
        UNKNOWN,
        CounterModel,
        Event,
        History,
        Invocation,
        KeyValueModel,
        Linearization,
        Model,
        Operation,
        QueueModel,
        RegisterModel,
        SetModel,
        check_linearizable,
    )
    from slirpy.testing.links import LINK_CHECKS
    from slirpy.testing.linkundertest import LinkCheck, LinkFactory, LinkPeer, LinkUnderTest, LocalPeer
    from slirpy.testing.network import VirtualNetwork
    from slirpy.testing.packetdrill import Result, ScriptError, UnsupportedError, run_file, run_text
    from slirpy.testing.sim.clock import Clock
    from slirpy.testing.sim.errors import DeadlockError, EscapeError, ProgramError
    from slirpy.testing.sim.exploring import Failure, explore
    from slirpy.testing.sim.faults import Corrupt, Crash, Cut, Delay, Flow, Lose, Repeat, Reset, Slow, Stall
    from slirpy.testing.sim.host import Host
    from slirpy.testing.sim.injected import Injected
    from slirpy.testing.sim.netstat import SocketInfo
    from slirpy.testing.sim.network import Network
    from slirpy.testing.sim.partition import Partition
    from slirpy.testing.sim.path import Path
    from slirpy.testing.sim.program import Program
    from slirpy.testing.sim.report import Report
    from slirpy.testing.sim.router import Router
    from slirpy.testing.sim.trace import FrameRecord, NoteRecord, Trace
    from slirpy.testing.tcp import Crossing, Pair, Script, Sent, Wire, flag_bits, flag_letters
    from slirpy.testing.world.base import Call
    from slirpy.testing.world.host import SimHost
    from slirpy.testing.world.programs import Echo, Remote, Resetter, SimServer, Sink, Source
    from slirpy.testing.world.udp import Received, SimUdpServer

__all__ = [
    "DEFAULT_MAC",
    "LINK_CHECKS",
    "UNKNOWN",
    "Autoconfiguration",
    "Call",
    "Captured",
    "Clock",
    "Corrupt",
    "CounterModel",
    "Crash",
    "Crossing",
    "Cut",
    "DeadlockError",
    "Delay",
    "Dhcp6Client",
    "Dhcp6Lease",
    "DhcpClient",
    "DhcpLease",
    "DhcpMessage",
    "Echo",
    "EscapeError",
    "Event",
    "Failure",
    "Fault",
    "Faults",
    "Flow",
    "FrameRecord",
    "Guest",
    "GuestCounters",
    "GuestStream",
    "History",
    "Host",
    "IcmpError",
    "Injected",
    "Invocation",
    "KeyValueModel",
    "Linearization",
    "LinkCheck",
    "LinkFactory",
    "LinkPeer",
    "LinkUnderTest",
    "LocalPeer",
    "Lookup",
    "Lose",
    "Message",
    "Model",
    "Network",
    "NoteRecord",
    "Operation",
    "Pair",
    "Partition",
    "Path",
    "Ping",
    "Program",
    "ProgramError",
    "QueueModel",
    "Received",
    "RegisterModel",
    "Remote",
    "Repeat",
    "Report",
    "Reset",
    "Resetter",
    "Result",
    "Router",
    "Script",
    "ScriptError",
    "Sent",
    "SetModel",
    "SimHost",
    "SimServer",
    "SimUdpServer",
    "Sink",
    "Slow",
    "SocketInfo",
    "Source",
    "Stall",
    "StreamListener",
    "Trace",
    "UdpSocket",
    "UnmetError",
    "UnsupportedError",
    "VirtualNetwork",
    "Wire",
    "check_linearizable",
    "explore",
    "flag_bits",
    "flag_letters",
    "ladder",
    "run_file",
    "run_text",
]

_MODULES = {
    "sim.clock": "Clock",
    "sim.errors": "DeadlockError EscapeError ProgramError",
    "sim.exploring": "Failure explore",
    "sim.faults": "Corrupt Crash Cut Delay Flow Lose Repeat Reset Slow Stall",
    "sim.host": "Host",
    "sim.network": "Network",
    "sim.partition": "Partition",
    "sim.path": "Path",
    "sim.injected": "Injected",
    "sim.program": "Program",
    "sim.netstat": "SocketInfo",
    "sim.report": "Report",
    "sim.router": "Router",
    "sim.trace": "FrameRecord NoteRecord Trace",
    "cable": "Captured Fault",
    "slirpy.ladder.diagram": "ladder",
    "slirpy.links.faultypath": "Faults",
    "errors": "UnmetError",
    "guest": "DEFAULT_MAC Autoconfiguration Dhcp6Client Dhcp6Lease DhcpClient DhcpLease DhcpMessage Guest"
    " GuestCounters StreamListener GuestStream IcmpError Lookup Message Ping UdpSocket",
    "history": "UNKNOWN CounterModel Event History Invocation KeyValueModel Linearization Model Operation QueueModel"
    " RegisterModel SetModel check_linearizable",
    "links": "LINK_CHECKS",
    "linkundertest": "LinkCheck LinkFactory LinkPeer LinkUnderTest LocalPeer",
    "network": "VirtualNetwork",
    "packetdrill": "Result ScriptError UnsupportedError run_file run_text",
    "tcp": "Crossing Pair Script Sent Wire flag_bits flag_letters",
    "world.host": "SimHost",
    "world.programs": "Echo Remote Resetter SimServer Sink Source",
    "world.udp": "Received SimUdpServer",
    "world.base": "Call",
}
"""Names by the module that each is imported from."""


if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
