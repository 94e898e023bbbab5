"""The same script of frames for QEMU's user network (libslirp) and for slirpy, and a record of what comes out.

libslirp runs in a QEMU without a machine, which hands its frames over a unix socket; slirpy runs in a thread of this
process. A script is a function that takes a :class:`Talk`, sends frames by steps, and plays the host's programs; it
must do the same whichever network it talks to. :mod:`oracle_compare` runs it against both.

Scripts speak to the gateway (which is this machine's loopback), to the network's own services and to addresses that
nobody has. Those that name anything else are ``isolated``: QEMU then has a network namespace of its own, in which
there is nothing but its loopback interface.
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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from slirpy import Action, Config, FlowRequest, Slirp, Verdict
from slirpy.wire import arp, ethernet
from tests.system.oracle_decode import Decoder, Seen, merge_streams

__all__ = ["GATEWAY", "GUEST", "MAC", "Libslirp", "Network", "Slirpy", "Talk"]

MAC = bytes.fromhex("525400123456")
GUEST = bytes((10, 0, 2, 15))
GATEWAY = bytes((10, 0, 2, 2))
START = 10.0
"""Seconds that QEMU may take to start, and the host's programs to answer each other."""
WITHIN = 0.3
"""Seconds that a step waits for what it awaits."""
QUIET = 0.015
"""Seconds of silence that end a step in which sockets have a part."""
WATCHER = bytes.fromhex("5254000000c8")
"""Who asks for the gateway at the end of each step: once he has his answer, so has everybody before him."""


Until: TypeAlias = int | Callable[[list[Seen]], bool]


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
    """QEMU's user network, with options as ``-netdev user`` takes them."""

    name = "libslirp"

    def __init__(self, options: str = "", isolated: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="slirpy-oracle-"))
        net, qmp = self._folder / "net", self._folder / "qmp"
        alone = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
        netdev = "user,id=u0,ipv6=off" + (f",{options}" if options else "")
        self._process = subprocess.Popen(
            [
                *(alone if isolated else ()),
                *("qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults"),
                *("-qmp", f"unix:{qmp},server=on,wait=off"),
                *("-netdev", netdev, "-netdev", "hubport,hubid=0,id=h0,netdev=u0"),
                *("-netdev", f"stream,id=s0,server=on,addr.type=unix,addr.path={net}"),
                *("-netdev", "hubport,hubid=0,id=h1,netdev=s0"),
            ],
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
        rows = re.findall(
            r"^ +(\S+\[\S+\]|\S+\[\d+ sec\]) +\d+ +(\S+) +(\S+) +(\S+) +(\S+) ", self.info(), re.M
        )
        return [f"{kind} {source}:{sport} > {dest}:{dport}" for kind, source, sport, dest, dport in rows]

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


def _inside(request: FlowRequest) -> Verdict:
    return Verdict(Action.ALLOW if request.host else Action.DROP)


class Slirpy:
    """slirpy, with the same options."""

    name = "slirpy"

    def __init__(self, options: str = "", isolated: bool = False) -> None:
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # Nobody is at that port; and should all else fail, the policy keeps what is sent inside of this machine.
        config = Config.from_qemu(options, resolvers=["127.0.0.1:9"], policy=_inside)
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


class Talk:
    """One run of a script against one network, and the record of it."""

    def __init__(self, net: Network, options: str = "", patience: float = 1.0) -> None:
        self.net = net
        self.patience = patience
        """All times to wait are multiplied by this: more where the machine is busy."""
        self._config = Config.from_qemu(options)
        self.record: dict[str, list[Seen]] = {}
        """By step: what came out, and what was noted."""
        self.decoder = Decoder()
        self._step = ""
        self._asked = 0

    def step(self, name: str, *frames: bytes, until: Until = 0, within: float = WITHIN) -> list[Seen]:
        """Send frames and write down under ``name`` what comes; returns it, undigested.

        Args:
            name: of the step; a new one.
            frames: from the guest.
            until: for what sockets have a part in: how many frames are awaited, or what is. The rest that comes is
                taken too. 0: what comes at once.
            within: seconds to wait at most.
        """
        assert name not in self.record
        self._step = name
        seen = self.exchange(*frames, until=until, within=within)
        self.record[name] = merge_streams(seen)
        return seen

    def listen(self, name: str, *, until: Until = 0, within: float = WITHIN) -> list[Seen]:
        """Go on with a step, after something was done at the host."""
        self._step = name
        seen = self.exchange(until=until, within=within)
        self.record.setdefault(name, []).extend(merge_streams(seen))
        return seen

    def exchange(self, *frames: bytes, until: Until = 0, within: float = WITHIN) -> list[Seen]:
        """The same as :meth:`step`, and nothing is written down: for what depends on timing in its parts."""
        for frame in frames:
            self.decoder.watch(frame)
            self.net.send(frame)
        seen: list[Seen] = []
        enough = (lambda all_of: len(all_of) >= until) if isinstance(until, int) else until
        end = time.monotonic() + within * self.patience
        while until and not enough(seen) and (left := end - time.monotonic()) > 0:
            self._take(seen, self.net.receive(left))
        self._settle(seen)
        while until and self._take(seen, self.net.receive(QUIET * self.patience)):
            pass
        return seen

    def note_flows(self, state: str) -> None:
        """Write down what the network tells of connections, or forwards, in a state."""
        rows = sorted(self.decoder.names(row) for row in self.net.flows() if f"[{state}]" in row)
        self.note("flows", rows=", ".join(rows) or "none")

    def note(self, what: str, **fields: object) -> None:
        """Write down in the present step what was seen elsewhere, as at the host."""
        self.record.setdefault(self._step, []).append(
            Seen(what, {f"{what}.{name}": str(value) for name, value in fields.items()})
        )

    def _settle(self, seen: list[Seen]) -> None:
        """Wait until the network has done with all that it was sent.

        Twice: the first answer may stand before others in the same batch.
        """
        gateway, own = self._config.gateway_address, self._config.net[200].packed
        request = arp.build(arp.ArpPacket(arp.REQUEST, WATCHER, own, bytes(6), gateway))
        for _ in range(2):
            self.net.send(ethernet.BROADCAST + WATCHER + b"\x08\x06" + request)
            self._asked += 1
            end = time.monotonic() + START
            while self._asked:
                assert time.monotonic() < end, f"{self.net.name} does not answer any more"
                self._take(seen, self.net.receive(1.0))

    def _take(self, seen: list[Seen], frames: list[bytes]) -> bool:
        came = False
        for frame in frames:
            if frame[:6] == WATCHER:
                self._asked -= 1
            else:
                seen.append(self.decoder.decode(frame))
                came = True
        return came
