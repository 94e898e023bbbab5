"""Scripts of connections: those of orderly ones pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slirpy.interfaces import AcceptedStream, StreamPeer
from slirpy.links.faultypath import Faults
from slirpy.tcp import Segment, Settings
from slirpy.tcp.congestion import ALGORITHMS
from slirpy.testing import run_text
from slirpy.testing.sim.connections import find_connections
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.pktscript import SIGNATURE, packetdrill_script
from slirpy.testing.sim.topology import HOST_SETTINGS
from slirpy.units import MS, US
from tests.support.traces import Run, Verdict

FaultsOf = Callable[[str, int, Segment], Verdict | None]
SOME = {("client", 4), ("server", 5), ("server", 9)}
KINDS: dict[str, FaultsOf] = {
    "clean": lambda *_: None,
    "loss": lambda source, number, _: ("loss", ()) if (source, number) in SOME else None,
    "duplication": lambda source, number, _: ("dup", (0, MS)) if (source, number) in SOME else None,
    "reordering": lambda source, number, _: ("delay", (3 * MS,)) if (source, number) in SOME else None,
    "lost SYN": lambda source, number, _: ("loss", ()) if (source, number) == ("client", 0) else None,
    "lost FIN": lambda source, _, segment: ("loss", ()) if source == "client" and segment.flags & 1 else None,
}


def script_of(run: Run, host: str) -> str:
    (found,) = find_connections(run.trace.records)
    return packetdrill_script(found, host)


def passes(text: str) -> None:
    result = run_text(text)
    assert result.outcome == "pass", f"{result}\n{text}\n{result.ladder}"


@pytest.mark.parametrize("host", ["client", "server"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_script_of_an_orderly_connection_passes(kind: str, host: str) -> None:
    left = 1 if kind == "lost FIN" else 99  # of the losses

    def faults(source: str, number: int, segment: Segment) -> Verdict | None:
        nonlocal left
        found = KINDS[kind](source, number, segment)
        left -= found is not None
        return found if left >= 0 else None

    # Arrivals must not fall on the end of the 10 ms of a delayed acknowledgement.
    run = Run(faults, delay=13 * MS, spacing=20_011)
    run.send("client", bytes(8000))
    run.send("server", bytes(30_000))
    run.send("client", bytes(10))
    run.close()
    text = script_of(run, host)
    assert text.startswith(f"{SIGNATURE}: connection 0: client ")
    assert f"--open={'active' if host == 'client' else 'passive'}\n" in text
    passes(text)


def test_lines() -> None:
    run = Run(lambda source, number, _: ("partition", ()) if (source, number) == ("client", 2) else None)
    run.send("client", bytes(100))
    run.close()
    assert script_of(run, "client").splitlines()[3:10] == [
        "0.000000 > S 0:0(0) <mss 1460,sackOK,TS val 0 ecr 0,nop,wscale 5>",
        "0.020000 < S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 10 ecr 0,nop,wscale 5>",
        "0.020000 > . 1:1(0) ack 1 <nop,nop,TS val 20 ecr 10>",
        "0.030000 write(100)",
        "0.030000 > P. 1:101(100) ack 1 <nop,nop,TS val 30 ecr 10>  // lost: partition",
        "0.120000 > . 1:101(100) ack 1 <nop,nop,TS val 120 ecr 10>",
        "0.130000 close()",
    ]
    server = script_of(run, "server").splitlines()
    assert server[3] == "0.000000 < S 0:0(0) win 65535 <mss 1460,sackOK,TS val 0 ecr 0,nop,wscale 5>"
    assert "0.120000 < . 1:101(100) ack 1 win 2048 <nop,nop,TS val 120 ecr 10>" in server
    assert "0.320000 read(100)" in server  # before it closes


def test_settings_are_written() -> None:
    settings = Settings(rcv_buffer=1 << 21, sack=False, congestion=ALGORITHMS["reno"])
    run = Run()
    (found,) = find_connections(run.trace.records)
    text = packetdrill_script(found, "client", settings)
    assert text.splitlines()[2:5] == ["--rcv_buffer=2097152", "--sack=false", "--congestion=reno"]


class Program:
    """Sends what it received last, and closes at the end."""

    def __init__(self, first: bytes = b"") -> None:
        self.peer: StreamPeer | None = None
        self.first = first
        self.received = 0
        self.done = False

    def connected(self) -> None:
        assert self.peer is not None
        self.peer.send([self.first])

    def readable(self) -> None:
        assert self.peer is not None
        while data := self.peer.recv(65536):
            self.received += len(data)
            if not self.first:
                self.peer.send([data])
        if data == b"" or (self.first and self.received == len(self.first)):
            self.done = True
            self.peer.close()

    def writable(self) -> None: ...

    def failed(self, error: int) -> None: ...


@pytest.mark.parametrize("family", [0, 1])
@pytest.mark.parametrize("host", ["client", "server"])
def test_the_script_of_hosts_passes(host: str, family: int) -> None:
    net = Network(seed=1, path=Faults(delay=7_000_123, rate=50_000_000))
    client, server = net.host("client"), net.host("server")
    programs = [Program(bytes(20_000)), Program()]

    def accept(stream: AcceptedStream) -> Program:
        programs[1].peer = stream.peer
        return programs[1]

    address = server.packed_addresses[family]
    server.socket_layer.listen(bytes(len(address)), 80, accept)
    programs[0].peer = client.socket_layer.connect(address, 80, programs[0])
    net.until(lambda: all(program.done for program in programs))
    net.run_for(1)
    (found,) = find_connections(net.trace.records)
    text = packetdrill_script(found, host, HOST_SETTINGS)
    assert ("--ip_version=ipv6" in text) is bool(family)
    passes(text)
    assert net.now > 14 * US
