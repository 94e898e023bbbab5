"""The two networks that the scripts are played to: QEMU's user network, which is libslirp, and slirpy.

libslirp runs in a QEMU without a machine, which hands its frames over a unix socket; slirpy runs in a thread of this
process.
"""

from __future__ import annotations

import json
import os
import queue
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from slirpy import Action, Config, FlowRequest, Slirp, Verdict
from tests.support.repository import REPOSITORY
from tests.system.resolver import Resolver

__all__ = ["START", "Libslirp", "LibslirpAlone", "Network", "Slirpy"]

START = 10.0
"""Seconds that QEMU may take to start, and the host's programs to answer each other."""


class Network(Protocol):
    """One of the two."""

    name: str

    def send(self, frame: bytes) -> None:
        """A frame from the guest."""

    def receive(self, timeout: float) -> list[bytes]:
        """Frames for the guest; waits until there is one, or for ``timeout`` seconds."""

    def forward(self, rule: str) -> None:
        """Add a ``hostfwd``."""

    def unforward(self, rule: str) -> None:
        """Remove a ``hostfwd``; ``rule`` ends before the guest's part."""

    def flows(self) -> list[str]:
        """Connections and forwards, as QEMU tells by ``info usernet``: ``TCP[STATE] SOURCE > DESTINATION``."""

    def close(self) -> object:
        """End it."""


class Libslirp:
    """QEMU's user network, with options as ``-netdev user`` takes them.

    Args:
        options: those.
        isolated: in a network namespace of its own.
        resolver: with a name server there, see :mod:`tests.system.oracle_resolver`.
    """

    name = "libslirp"

    def __init__(self, options: str = "", isolated: bool = False, resolver: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="slirpy-oracle-"))
        net, qmp = self._folder / "net", self._folder / "qmp"
        alone = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
        if resolver:  # which ends with QEMU, and QEMU with "unshare"
            beside = (sys.executable, "-m", "tests.system.oracle_resolver", str(self._folder))
            alone = (*alone, "--mount", "--pid", "--fork", "--kill-child", *beside)
        netdev = "user,id=u0" + (f",{options}" if options else "")
        self._process = subprocess.Popen(
            [
                *(alone if isolated else ()),
                *("qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults"),
                *("-qmp", f"unix:{qmp},server=on,wait=off"),
                *("-netdev", netdev, "-netdev", "hubport,hubid=0,id=h0,netdev=u0"),
                *("-netdev", f"stream,id=s0,server=on,addr.type=unix,addr.path={net}"),
                *("-netdev", "hubport,hubid=0,id=h1,netdev=s0"),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._buffer = b""
        try:
            self._net = self._connect(net)
            with self._connect(qmp) as sock:
                self._qmp = sock.makefile("rw")
            self._qmp.readline()
            self._command("qmp_capabilities")
        except OSError as error:
            raise RuntimeError(f"QEMU does not start: {self.close()}") from error

    def _connect(self, path: Path) -> socket.socket:
        end = time.monotonic() + START
        sock = socket.socket(socket.AF_UNIX)
        while True:
            try:
                sock.connect(str(path))
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    sock.close()
                    raise
                time.sleep(0.002)
            else:
                return sock

    def _command(self, name: str, **arguments: str) -> Any:
        self._qmp.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._qmp.flush()
        while True:
            answer = json.loads(self._qmp.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def _monitor(self, line: str) -> str:
        return str(self._command("human-monitor-command", **{"command-line": line}))

    def send(self, frame: bytes) -> None:
        self._net.sendall(len(frame).to_bytes(4, "big") + frame)

    def receive(self, timeout: float) -> list[bytes]:
        if not select.select([self._net], [], [], timeout)[0]:
            return []
        data = self._net.recv(1 << 20)
        if not data:
            raise ConnectionError("QEMU has gone")
        self._buffer += data
        frames = []
        while len(self._buffer) >= 4 and len(self._buffer) >= (
            end := 4 + int.from_bytes(self._buffer[:4], "big")
        ):
            frames.append(self._buffer[4:end])
            self._buffer = self._buffer[end:]
        return frames

    def forward(self, rule: str) -> None:
        assert self._monitor(f"hostfwd_add {rule}") == ""

    def unforward(self, rule: str) -> None:
        assert "removed" in self._monitor(f"hostfwd_remove {rule}")

    def flows(self) -> list[str]:
        return _rows(self.info())

    def info(self) -> str:
        """``info usernet`` as it is."""
        return self._monitor("info usernet")

    def close(self) -> str:
        for one in ("_net", "_qmp"):
            if hasattr(self, one):  # not so if QEMU did not start
                getattr(self, one).close()
        self._process.kill()
        said = self._process.communicate()[1]
        shutil.rmtree(self._folder, ignore_errors=True)
        return said.decode()


class LibslirpAlone:
    """libslirp without QEMU, with the addresses that it has by default: see :mod:`tests.system.oracle_library`.

    Rules of ``hostfwd`` are ``tcp:[ADDRESS]:PORT-[ADDRESS]:PORT``.
    """

    name = "libslirp"

    def __init__(self, options: str = "", isolated: bool = False, resolver: bool = False) -> None:
        assert not options
        assert not isolated
        assert not resolver
        self._frames, frames = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptors = frames.fileno(), control.fileno()
        with frames, control:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.system.oracle_library", *map(str, descriptors)],
                cwd=REPOSITORY,
                pass_fds=descriptors,
            )
        self._control.settimeout(START)

    def _ask(self, *request: object) -> Any:
        self._control.send(json.dumps(request).encode())
        return json.loads(self._control.recv(1 << 20))

    def send(self, frame: bytes) -> None:
        self._frames.send(frame)

    def receive(self, timeout: float) -> list[bytes]:
        if not select.select([self._frames], [], [], timeout)[0]:
            return []
        frame = self._frames.recv(1 << 17)
        if not frame:
            raise ConnectionError("libslirp has gone")
        return [frame]

    def forward(self, rule: str) -> None:
        host, port, guest, guest_port = re.findall(r"\[(.*?)\]:(\d+)-\[(.*?)\]:(\d+)", rule)[0]
        assert self._ask("forward", host, int(port), guest, int(guest_port)) == 0

    def unforward(self, rule: str) -> None:
        host, port = re.findall(r"\[(.*?)\]:(\d+)", rule)[0]
        assert self._ask("unforward", host, int(port)) == 0

    def flows(self) -> list[str]:
        return _rows(self._ask("flows"))

    def close(self) -> None:
        self._frames.close()
        self._control.close()
        self._process.kill()
        self._process.wait()


def _rows(info: str) -> list[str]:
    """The rows of libslirp's table of connections."""
    rows = re.findall(r"^ +(\S+\[\S+\]|\S+\[\d+ sec\]) +\d+ +(\S+) +(\S+) +(\S+) +(\S+) ", info, re.M)
    return [f"{kind} {source}:{sport} > {dest}:{dport}" for kind, source, sport, dest, dport in rows]


def _inside(request: FlowRequest) -> Verdict:
    return Verdict(Action.ALLOW if request.host else Action.DROP)


class Slirpy:
    """slirpy, with the same options."""

    name = "slirpy"

    def __init__(self, options: str = "", isolated: bool = False, resolver: bool = False) -> None:
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._resolver = Resolver("::1") if resolver else None
        # Nobody is at that port; and should all else fail, the policy keeps what is sent inside of this machine.
        server = "127.0.0.1:9" if self._resolver is None else f"[::1]:{self._resolver.port}"
        config = Config.from_qemu(options, resolvers=[server], policy=_inside)
        self._net = Slirp(config, random=random.Random(1))
        self._nic = self._net.attach(self._queue.put)
        self._net.start()

    def send(self, frame: bytes) -> None:
        self._nic.send(frame)

    def receive(self, timeout: float) -> list[bytes]:
        frames = []
        try:
            frames.append(self._queue.get(timeout=timeout))
            while True:
                frames.append(self._queue.get_nowait())
        except queue.Empty:
            return frames

    def forward(self, rule: str) -> None:
        self._net.add_hostfwd(rule)

    def unforward(self, rule: str) -> None:
        self._net.remove_hostfwd(next(f for f in self._net.hostfwds() if str(f).startswith(f"{rule}-")))

    def flows(self) -> list[str]:
        return [
            f"{flow.protocol.upper()}[{flow.state}] {flow.guest[0]}:{flow.guest[1]} > {flow.host[0]}:{flow.host[1]}"
            for flow in self._net.flows()
            if flow.host is not None
        ] + [
            f"{rule.protocol.upper()}[HOST_FORWARD] {rule.host_address}:{rule.host_port}"
            f" > {rule.guest_address or self._net.config.dhcpstart}:{rule.guest_port}"
            for rule in self._net.hostfwds()
        ]

    def close(self) -> None:
        self._net.close()
        if self._resolver is not None:
            self._resolver.close()
