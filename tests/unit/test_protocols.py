"""Every structural type of the package is earned: it is public, or two classes of the package implement it."""

from __future__ import annotations

import ast
import importlib
import io
import re
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from slirpy import interfaces
from slirpy.wire import pcap, pcapng
from tests.support.repository import PACKAGE, REPOSITORY

PUBLIC = {
    "Inside": "slirpy.Stack",
    "LeaseStore": "slirpy.Stack",
    "LinkPeer": "slirpy.testing.LinkPeer",
    "TargetOpener": "slirpy.Stack",
}
"""Protocols that callers implement, in addition to those in ``slirpy.interfaces``, and what takes them."""

IMPLEMENTED: dict[str, tuple[Any, Any]] = {
    "Emit": ("TcpFlow.emit", "Host._emit"),
    "Entry": ("NatTcpFlow", "UdpFlow"),
    "Header": ("IPv4Header", "IPv6Header"),
    "InsertedLink": ("CaptureLink", "FaultLink"),
    "Marked": ("NatTcpFlow", "UdpFlow"),
    "NdpOption": ("LinkAddress", "PrefixInformation"),
    "Output": ("FileOutput", "Pipe"),
    "PortOwner": ("IPStack", "SwitchNetwork"),
    "Prologue": ("HttpConnect", "Socks5Connect"),
    "Sink": ("_FileSink", "NetasciiSink"),
    "Source": ("_FileSource", "_BytesSource"),
    "Waiter": ("TcpFlow", "UdpFlow"),
    "Watchable": ("SimLock", "SimThread"),
    "Worker": ("ProcessWorker", "TaskWorker"),
    "_Active": ("SocketListener", "_UdpForward"),
    "_Backend": ("_Epoll", "_Selector"),
    "_Format": (pcap, pcapng),
    "_Readable": (io.BytesIO, io.BufferedReader),
}
"""Two implementations of each, by their names in the package."""

BETWEEN = {
    "GuestNames": ("services/dns", "services/dhcp"),
    "NameSource": ("nat", "services/dns"),
}
"""Seams between two folders that must not import each other: the one that calls, and the one that implements."""


def structural_types() -> dict[str, list[str]]:
    """From the name of each outside of ``slirpy.interfaces`` to its methods; mypy sees to attributes."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name == "interfaces":
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "Protocol" in text else ():
            if isinstance(node, ast.ClassDef) and any(
                re.fullmatch(r"Protocol(\[.*\])?", ast.unparse(base)) for base in node.bases
            ):
                name = f"{path.stem}.{node.name}" if node.name in found else node.name  # two of one name
                functions = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                found[name] = [each.name for each in functions if not each.decorator_list]
    return found


STRUCTURAL = structural_types()


@cache
def classes() -> dict[str, list[type]]:
    """From each name to the classes of the package that have it."""
    found: dict[str, list[type]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        if parts[-1] in ("__init__", "__main__") or parts[1] == "cli":
            continue
        module = importlib.import_module(".".join(parts))
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                found.setdefault(value.__name__, []).append(value)
    return found


def named(name: str) -> Any:
    """Return the class of a name in :data:`IMPLEMENTED`."""
    first, _, attribute = name.partition(".")
    found = [each for each in classes()[first] if not attribute or hasattr(each, attribute)]
    assert len(found) == 1, f"{name}: {found}"
    return getattr(found[0], attribute) if attribute else found[0]


def test_each_is_listed() -> None:
    listed = [*PUBLIC, *IMPLEMENTED, *BETWEEN]
    assert sorted(STRUCTURAL) == sorted(listed), "list it here, with two implementations"


@pytest.mark.parametrize("name", sorted(BETWEEN))
def test_a_seam_between_folders_is_needed(name: str) -> None:
    caller, implementer = BETWEEN[name]
    assert len([name for path in (PACKAGE / caller).rglob("*.py") if f"class {name}(" in path.read_text()]) == 1
    for path in (PACKAGE / caller).rglob("*.py"):
        assert f"from slirpy.{implementer.replace('/', '.')}" not in path.read_text(), path
    methods = STRUCTURAL[name]
    classes_there = [
        value
        for found in classes().values()
        for value in found
        if value.__module__.startswith(f"slirpy.{implementer.replace('/', '.')}.")
    ]
    assert any(all(hasattr(value, method) for method in methods) for value in classes_there)


def test_those_of_the_interfaces_are_public() -> None:
    for path in (PACKAGE / "interfaces").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                assert node.name in interfaces.__all__


@pytest.mark.parametrize("name", IMPLEMENTED)
def test_each_has_two_implementations(name: str) -> None:
    methods = [each for each in STRUCTURAL[name] if each != "__call__"]
    two = [each if isinstance(each, type | ModuleType) else named(each) for each in IMPLEMENTED[name]]
    assert two[0] is not two[1]
    for implementation in two:
        assert not getattr(implementation, "_is_protocol", False)
        assert [each for each in methods if not hasattr(implementation, each)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_parameter_protocols_are_in_the_reference(name: str) -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "docs" / "reference").glob("*.md"))
    assert f"::: {PUBLIC[name]}\n" in text
