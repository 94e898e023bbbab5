"""Every structural type of the package is earned: it is public, or two classes of the package implement it."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

from slirpy import interfaces

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "slirpy"

PUBLIC: dict[str, str] = {
    "slirpy.nat.inside.Inside": "slirpy.Stack",
    "slirpy.services.dhcp.store.LeaseStore": "slirpy.Stack",
    "slirpy.services.guestfwd.Openers": "slirpy.Stack",
    "slirpy.testing.links.LinkPeer": "slirpy.testing.links",
}
"""Those that others implement beside the ones in ``slirpy.interfaces``, and what takes them from its callers."""

IMPLEMENTED = {
    "slirpy.core.port.PortOwner": ("slirpy.core.stack:IPStack", "slirpy.core.switchnet:SwitchNetwork"),
    "slirpy.core.port.Waiter": ("slirpy.core.tcpflow:TcpFlow", "slirpy.nat.udp:UdpFlow"),
    "slirpy.core.shares.Entry": ("slirpy.nat.tcp:NatTcpFlow", "slirpy.nat.udp:UdpFlow"),
    "slirpy.core.stack.Marked": ("slirpy.nat.tcp:NatTcpFlow", "slirpy.nat.udp:UdpFlow"),
    "slirpy.host.farstream.Job": ("slirpy.host.process:Process", "slirpy.host.handlers:TaskJob"),
    "slirpy.host.poller._Backend": ("slirpy.host.poller:_Epoll", "slirpy.host.poller:_Selector"),
    "slirpy.links.outputs.Output": ("slirpy.links.outputs:FileOutput", "slirpy.links.outputs:Pipe"),
    "slirpy.links.recorder._Format": ("slirpy.wire.pcap", "slirpy.wire.pcapng"),
    "slirpy.nat.hostfwd._Active": ("slirpy.host.sockets:SocketListener", "slirpy.nat.hostfwd:_UdpForward"),
    "slirpy.services.tftp.files.Sink": (
        "slirpy.services.tftp.files:_FileSink",
        "slirpy.services.tftp.files:NetasciiSink",
    ),
    "slirpy.services.tftp.files.Source": (
        "slirpy.services.tftp.files:_FileSource",
        "slirpy.services.tftp.files:_BytesSource",
    ),
    "slirpy.services.tftp.files._Readable": ("io:BytesIO", "io:BufferedReader"),
    "slirpy.tcp.outgoing.Emit": (
        "slirpy.core.tcpflow:TcpFlow.emit",
        "slirpy.testing.packetdrill.host:Host._emit",
    ),
}
"""From a structural type to two of its implementations, as MODULE:CLASS."""

UNEARNED = {
    "slirpy.core.demux.Opener",
    "slirpy.core.icmp.IcmpOpener",
    "slirpy.core.udppath.UdpSender",
    "slirpy.services.dhcp.occupancy.Neighborhood",
}
"""Each of these has one implementation and is to go. No other may come."""


@cache
def structural_types() -> dict[str, list[str]]:
    """From the full name of each to its methods; the type checker sees to attributes."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
                functions = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                methods = [each.name for each in functions if not each.decorator_list]
                found[f"{module}.{node.name}"] = methods
    return found


def test_each_is_listed() -> None:
    found = structural_types()
    public = {name for name in found if name.startswith("slirpy.interfaces.")}
    assert {name.rpartition(".")[2] for name in public} <= set(interfaces.__all__)
    listed = [*PUBLIC, *IMPLEMENTED, *UNEARNED]
    assert sorted(found.keys() - public) == sorted(listed), "list it here, with two implementations"


@pytest.mark.parametrize("name", IMPLEMENTED)
def test_each_has_two_implementations(name: str) -> None:
    methods = [each for each in structural_types()[name] if each != "__call__"]
    implementations = IMPLEMENTED[name]
    assert len(set(implementations)) == 2
    for place in implementations:
        module, _, attributes = place.partition(":")
        implementation = importlib.import_module(module)
        for attribute in filter(None, attributes.split(".")):
            implementation = getattr(implementation, attribute)
        assert not getattr(implementation, "_is_protocol", False)
        assert [each for each in methods if not hasattr(implementation, each)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_in_the_reference(name: str) -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    assert f"::: {PUBLIC[name]}\n" in text
