"""Imports go one way, load little, and load everywhere."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import slirpy
from tests.support.repository import PACKAGE

# From a part of the package to the parts that it may import; every part may import itself. "slirpy" is the package's
# own __init__.py, the public API.
BASE = {
    "addresses",
    "checks",
    "lazy",
    "logs",
    "mypyc",
    "records",
    "units",
    "fair",
    "forks",
    "paths",
    "reprs",
    "ownfile",
    "winapi",
    "errortext",
    "errors",
    "stats",
    "interfaces",
    "config",
}
WIRE = BASE | {"wire"}
AUDIT = WIRE | {"audit"}
CORE = AUDIT | {"tcp", "core"}
ALLOWED: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "forks": set(),
    "lazy": set(),
    "logs": set(),
    "mypyc": {"records"},
    "records": set(),
    "stats": set(),
    "units": {"mypyc"},
    "checks": {"errors", "mypyc", "units"},
    "addresses": {"checks", "errors"},
    "interfaces": {"addresses", "checks", "errors", "lazy", "records", "stats"},
    "fair": {"records", "units"},
    "paths": set(),
    "reprs": set(),
    "winapi": set(),
    "errortext": set(),
    "ownfile": {"errors", "errortext"},
    "sandbox": {"errors", "lazy"},
    "config": {"addresses", "errortext", "checks", "lazy", "records", "units", "paths", "errors", "interfaces"},
    "wire": BASE | {"_version"},
    "audit": WIRE | {"_version"},
    "tcp": WIRE,
    "core": AUDIT | {"tcp"},
    "nat": CORE,
    "services": CORE,
    "links": WIRE,
    "host": WIRE,
    "targets": WIRE | {"host", "sandbox"},
    "stack": CORE | {"nat", "services"},
    "drive": CORE | {"stack", "links", "host", "targets"},
    "ladder": WIRE | {"tcp"},
    "control": CORE | {"nat", "services", "stack", "links", "host", "drive", "ladder", "_version"},
    "network": CORE | {"nat", "services", "stack", "links", "host", "targets", "drive", "control"},
    "snapshot": CORE | {"network", "control"},
    "slirpy": CORE | {"services", "stack", "drive", "network", "_version"},
}
ALLOWED["testing"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text()


def part(module: str) -> str:
    """``slirpy.tcp.seq`` belongs to ``tcp``."""
    return module.split(".")[1] if "." in module else module


def imported(text: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import, wherever it stands, also for type checkers only."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                # `from slirpy import config` names a module; `from slirpy import Config` a name of the public API.
                inner = f"{node.module}.{alias.name}"
                is_module = node.module == "slirpy" and alias.name in ALLOWED
                yield node.lineno, inner if is_module else node.module or ""


def wrong_arrows(module: str, text: str) -> list[str]:
    """The imports of a module that point the wrong way."""
    own = part(module)
    return [
        f"{module}:{line} imports {target}: {own} may know {', '.join(sorted(ALLOWED[own])) or 'nothing'}"
        for line, target in imported(text)
        if target.split(".")[0] == "slirpy" and part(target) != own and part(target) not in ALLOWED[own]
    ]


def test_imports_go_one_way() -> None:
    found = [wrong for module, text in sources() for wrong in wrong_arrows(module, text)]
    assert not found, "\n".join(found)


def arrows() -> dict[str, set[str]]:
    """From each module to the modules that it imports, wherever the import stands.

    A name taken from a package leads to the module of that name, if there is one.
    """
    texts = dict(sources())
    found: dict[str, set[str]] = {}
    for module, text in texts.items():
        targets = found[module] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= inner & texts.keys() or {node.module or ""}
        targets.intersection_update(texts)
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules in which each imports each other, directly or by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    reach = {module: reached(module) for module in graph}
    found: list[set[str]] = []
    for module in sorted(graph):
        if module in reach[module] and not any(module in circle for circle in found):
            found.append({other for other in reach[module] if module in reach[other]})
    return found


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = arrows()
    assert "slirpy.core.offload" in graph["slirpy.core.switch"]  # from slirpy.core import offload
    assert "slirpy.interfaces" in graph["slirpy.core.switch"]  # from slirpy.interfaces import Frame
    assert "slirpy.cli.capture" in graph["slirpy.cli.reporting"]  # within a function
    found = circles(graph)
    assert not found, "; ".join(", ".join(sorted(circle)) for circle in found)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"a"}}, [{"a"}]),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [{"a", "b"}]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}}, [{"a", "b", "c"}, {"d", "e"}]),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: list[set[str]]) -> None:
    assert circles(graph) == expected


def test_every_part_has_its_place() -> None:
    assert {part(module) for module, _ in sources()} <= set(ALLOWED)
    assert len(list(sources())) > 40


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("slirpy.wire.udp", "from slirpy.core.stack import IPStack"),
        ("slirpy.tcp.receive", "import slirpy.nat.tcp"),
        ("slirpy.core.stack", "from slirpy import Config"),
        ("slirpy.core.stack", "def later():\n    from slirpy.services.dns import DnsService"),
        ("slirpy.core.port", "if TYPE_CHECKING:\n    from slirpy.nat.tcp import TcpNat"),
        ("slirpy.links.tap", "from slirpy.core.port import LinkPort"),
        ("slirpy.host.sockets", "from slirpy import network"),
        ("slirpy.nat.udp", "from slirpy.services.dhcp import DhcpService"),
        ("slirpy.testing.clock", "from slirpy.cli import tables"),
        ("slirpy.stats", "from slirpy.interfaces import Buffer"),
        ("slirpy", "from slirpy.cli.main import main"),
    ],
)
def test_an_arrow_the_other_way_is_seen(module: str, text: str) -> None:
    assert len(wrong_arrows(module, text)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("slirpy.tcp.receive", "from slirpy.wire.tcp import ACK\nimport struct"),
        ("slirpy.tcp.receive", "from slirpy.tcp.seq import MASK"),
        ("slirpy.cli.run", "from slirpy import Slirp\nfrom slirpy.cli import namespace"),
    ],
)
def test_an_arrow_the_right_way_is_not(module: str, text: str) -> None:
    assert wrong_arrows(module, text) == []


def run_python(code: str, *options: str) -> str:
    """Return the output of a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# What Windows or macOS do not have. Modules of the standard library that choose their form by sys.platform are
# imported before it lies, and so is Hypothesis.
ELSEWHERE = """
import hypothesis.stateful
import fastapi.responses, prometheus_client.openmetrics.exposition, uvicorn.protocols.http.h11_impl
import asyncio, ctypes, selectors, subprocess, tempfile, uuid, pathlib, os, select, signal, socket, sys
for name in ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog", "spwd", "crypt", "nis", "curses"):
    sys.modules[name] = None
for module, names in (
    (select, "epoll poll kqueue EPOLLIN"),
    (os, "fork readv writev sched_setaffinity geteuid getuid getgid unshare setns memfd_create mkfifo openpty"),
    (socket, "AF_UNIX AF_NETLINK AF_PACKET AF_VSOCK SO_REUSEPORT SO_BINDTODEVICE SCM_RIGHTS send_fds recv_fds"),
    (signal, "SIGKILL SIGHUP SIGCHLD SIGUSR1 SIGWINCH pthread_sigmask set_wakeup_fd sigwait"),
):
    for name in names.split():
        module.__dict__.pop(name, None)
sys.platform = {platform!r}
import importlib
for name in {modules!r}:
    importlib.import_module(name)
print(len([name for name in sys.modules if name.split(".")[0] == "slirpy"]))
"""


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_modules_can_be_imported_on_other_systems(platform: str) -> None:
    modules = [module for module, _ in sources() if part(module) not in ("cli", "__main__")]
    assert "slirpy.links.tap" in modules
    assert int(run_python(ELSEWHERE.format(platform=platform, modules=modules))) >= len(modules)


def test_the_hidden_modules_are_hidden() -> None:
    code = ELSEWHERE.format(platform="win32", modules=[]) + (
        "try:\n    import fcntl\nexcept ImportError:\n    print('hidden', hasattr(select, 'epoll'))"
    )
    assert run_python(code).split()[1:] == ["hidden", "False"]


def test_importing_slirpy_loads_little() -> None:
    """Start-up time and memory: an emulator that embeds slirpy pays for what it uses."""
    loaded = set(run_python("import slirpy, sys; slirpy.Slirp; print(*sys.modules)").split())
    assert "slirpy.network" in loaded
    assert not loaded & {"click", "rich", "pyroute2", "hypothesis", "asyncio", "pytest", "slirpy.cli"}


RUN = """
import sys
old = set(sys.modules)
from slirpy.cli import main, namespace, sandbox
import slirpy.cli.app, slirpy.cli.session, slirpy.links.tap, slirpy.sandbox.confinement
from slirpy import Slirp
from slirpy.cli.options import network_config
from slirpy.cli.run import run
with run.make_context("run", ["true"]) as context:
    config = network_config(context.params)
with Slirp(config) as net:
    namespace.guest_settings(net)
print(*sys.modules.keys() - old)
"""


@pytest.mark.needs("linux")
def test_slirpy_run_loads_only_used_modules() -> None:
    """Half of the time that it takes to start goes into imports."""
    loaded = set(run_python(RUN).split())
    assert {"click", "slirpy.cli.session", "slirpy.network", "slirpy.nat.udp"} <= loaded
    standard = {
        "asyncio", "dataclasses", "email", "http", "logging", "multiprocessing", "pathlib", "pickle", "queue",
        "shutil", "ssl", "subprocess", "tempfile", "traceback", "unittest", "urllib.parse",
    }  # fmt: skip
    packages = {"dnslib", "dpkt", "fastapi", "h11", "rich", "tftpy"}
    own = {
        "slirpy.audit.severity", "slirpy.audit.trail", "slirpy.cli.refused", "slirpy.config.policy.rules",
        "slirpy.control.server", "slirpy.host.lookups", "slirpy.links.capture", "slirpy.links.endpoint",
        "slirpy.links.outputs", "slirpy.links.stream", "slirpy.nat.inspection.streams", "slirpy.nat.proxies",
        "slirpy.nat.tcp", "slirpy.services.dhcp.server", "slirpy.services.dhcp6.server", "slirpy.services.dns.server",
        "slirpy.services.tftp", "slirpy.targets.commands", "slirpy.targets.tasks", "slirpy.targets.threads",
        "slirpy.tcp.connection", "slirpy.testing",
    }  # fmt: skip
    assert loaded & (standard | packages | own) == set()


@pytest.mark.needs(
    "interpreted", detail="all compiled modules are in one library, which imports what they need"
)
def test_the_tcp_engine_is_usable_alone() -> None:
    """Importing it loads the engine, the codec of its headers, and little of the standard library.

    Without the site module, which loads some of it by itself in an environment with editable packages.
    """
    unwanted = {"socket", "threading", "selectors", "ssl", "dpkt"}
    costly = {"typing", "re", "contextlib", "importlib", "hashlib", "random", "dataclasses", "pathlib"}
    new = "import sys, __future__; old = set(sys.modules)\n{}\nprint(*sys.modules.keys() - old)"
    loaded = set(run_python(new.format("from slirpy.tcp import Connection"), "-S").split())
    assert not loaded & (unwanted | costly)
    assert {name for name in loaded if name.partition(".")[0] != "slirpy" and not name.startswith("_")} <= {
        "bisect", "collections", "collections.abc", "enum", "errno", "functools", "genericpath", "itertools",
        "keyword", "operator", "os", "os.path", "posixpath", "reprlib", "stat", "struct", "types",
    }  # fmt: skip
    parts = {part(name) for name in loaded if name.startswith("slirpy.")}
    assert parts == {
        "_version", "checks", "errors", "errortext", "interfaces", "lazy", "mypyc", "records", "reprs", "tcp",
        "units", "wire",
    }  # fmt: skip
    two_ends = (
        "from slirpy.tcp import Connection; a, b = Connection(iss=1), Connection(iss=2)\n"
        "a.connect(0); b.listen(0); a.write(b'hello')\n"
        "for end, other in [(a, b), (b, a), (a, b)]:\n"
        "    for segment in end.segments_to_send(0): other.receive(segment, 0)\n"
        "assert b.read() == b'hello'"
    )
    used = set(run_python(new.format(two_ends)).split())
    new_names = {name for name in used - loaded if name.split(".")[0] == "slirpy"}
    assert new_names == {"slirpy.stats", "slirpy.tcp.settings"}
    assert not used & unwanted


@pytest.mark.parametrize(
    "package", ["slirpy", "slirpy.tcp", "slirpy.interfaces", "slirpy.links", "slirpy.testing"]
)
def test_no_name_of_a_face_is_that_of_a_module(package: str) -> None:
    """A module that is imported becomes an attribute of its package, and would hide the name."""
    face = importlib.import_module(package)
    assert not set(face.__all__) & {module.name for module in pkgutil.iter_modules(face.__path__)}


@pytest.mark.parametrize("package", ["slirpy.tcp", "slirpy.interfaces", "slirpy.links", "slirpy.testing"])
def test_every_name_of_a_face_can_be_imported_and_no_other(package: str) -> None:
    code = f"import {package} as face; from {package} import *; assert set(face.__all__) <= set(dir(face))"
    run_python(f"{code}; assert all(getattr(face, name) is globals()[name] for name in face.__all__)")
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        getattr(importlib.import_module(package), "Nothing")  # noqa: B009


@pytest.mark.parametrize(
    ("package", "first", "its_own"),
    [
        ("slirpy.interfaces", "Frame", {"links", "basics"}),
        ("slirpy.links", "TapLink", {"tap", "tuntap", "starting"}),
        ("slirpy.tcp", "State", {"states"}),
        ("slirpy.testing", "UnmetError", {"errors"}),
    ],
)
def test_a_face_loads_only_used_modules(package: str, first: str, its_own: set[str]) -> None:
    """Importing a face loads nothing else; using a name loads its module, and not those of the others."""
    before = "sys, __future__"
    if slirpy.__compiled__:
        before += ", importlib.machinery"  # mypyc's modules load it
    new = f"import {before}; old = set(sys.modules)\nimport {{0}}\n{{1}}\nprint(*sys.modules.keys() - old)"
    loaded = set(run_python(new.format(package, "")).split())
    loaded.discard("slirpy__mypyc")  # the library of all compiled modules
    assert loaded == {"slirpy", "slirpy._version", "slirpy.lazy", package}
    used = set(run_python(new.format(package, f"{package}.{first}")).split())
    assert {name for name in used if name.startswith(f"{package}.")} == {
        f"{package}.{name}" for name in its_own
    }


def test_the_public_names_are_imported_on_first_use() -> None:
    loaded = run_python("import slirpy, sys; slirpy.ConfigError; print(*sys.modules)").split()
    assert {name for name in loaded if name.split(".")[0] == "slirpy"} == {
        "slirpy",
        "slirpy._version",
        "slirpy.errors",
        "slirpy.lazy",
    }


def test_every_public_name_can_be_imported_and_no_other() -> None:
    names = run_python(
        "import slirpy; print(*[name for name in slirpy.__all__ if getattr(slirpy, name) is not None]);"
        "assert set(slirpy.__all__) <= set(dir(slirpy)); from slirpy import *; assert Slirp is slirpy.Slirp"
    ).split()
    assert "Slirp" in names
    with pytest.raises(AttributeError, match="module 'slirpy' has no attribute 'Slrip'"):
        slirpy.Slrip  # type: ignore[attr-defined] # noqa: B018
