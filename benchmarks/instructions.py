"""Instructions of slirpy for a frame, and of a start, counted by callgrind.

Load does not matter, and runs agree to 0.3 %.

The network works in one process with scripted guests (``scripted.py``), without the kernel's part. A count depends on
the build of Python and of the C library, but not on the clock or on other programs, so a change of 2 % is a change of
the code. ``instructions.json`` has the counts of the last change that was meant to alter them::

    python benchmarks/instructions.py --compare
    python benchmarks/instructions.py --write
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from processes import BenchmarkError
from report import Bar, Report, main, positive, show
from scripted import (
    NAME,
    OFFLOAD,
    PLAIN,
    BareStack,
    Case,
    Echo,
    Guest,
    RealNetwork,
    Sink,
    Source,
    TapNetwork,
    client_hello,
    ethernet,
    first_contact,
)
from simulated import serve, visit, world

from slirpy import Config, RulePolicy
from slirpy.interfaces import StreamPeer
from slirpy.testing import Network
from slirpy.wire import udp

STORED = Path(__file__).parent / "instructions.json"
TOLERANCE = 2.0
CHANGE = ", change"
"""The end of a bar's name that belongs to a comparison; a missed one sets the exit status."""
FAMILY_BAR = 1.1
"""Maximum count over IPv6, in that over IPv4."""
LIMIT = 600
"""Seconds that the count may take; callgrind is some fifty times slower than the processor."""
WARM, SIZE, FRAMES = 1 << 20, 1 << 20, 200
CONNECTIONS = 100
WORLDS = 30
GUEST_PORT, PORT = 40000, 9999
PATIENCE = 20.0
RESOLVER = bytes([192, 0, 2, 53])
DNS_QUERY = bytes.fromhex("12340100000100000000000007") + b"example\3org\0\0\1\0\1"
"""A query for the address of example.org."""
DNS_ANSWER = bytes.fromhex("c00c0001000100000e100004c0000207")
"""The record of an answer to it."""
RULES = 100
"""Rules by name before the one that allows the server; more cost the same."""
_MEASURED, _MARK = "ffi_call", "getppid"
_WORKER = "--below-callgrind"
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_Counted = Callable[[Callable[[], object]], object]
_Row = Callable[[int, _Counted], int]


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--compare", action="store_true", help=f"compare with {STORED.name}")
    parser.add_argument("--write", action="store_true", help=f"write {STORED.name}")
    parser.add_argument(
        "--tolerance",
        type=positive,
        default=TOLERANCE,
        help="per cent above the stored counts that are allowed",
    )
    parser.add_argument("--rows", metavar="TEXT", default="", help="only rows whose name contains TEXT")


# ------------------------------------------------------------------------------------- the rows


def _tcp(direction: str, size: int | None = None, *, offload: bool = False, batch: int = 1) -> _Row:
    """Return a row that carries TCP data; ``size`` is that of a payload, None for as much as fits."""

    def row(family: int, counted: _Counted) -> int:
        plain = PLAIN[family]
        payload = size or (65160 // plain * plain if offload else plain)
        case = Case("", payload, OFFLOAD if offload else None, batch, family=family)
        peer: StreamPeer = Sink() if direction == "up" else Source()
        guest = Guest(case, 80, peer, counted)
        guest.connect()
        move = guest.upload if direction == "up" else guest.download
        large = payload > 100
        _uncounted(guest, lambda: move(WARM if large else FRAMES * payload))
        return move(SIZE if large else FRAMES * payload)[0]

    return row


def _tcp_sockets(direction: str) -> _Row:
    """Return a row of 64 KiB frames between the complete network and a socket of this process.

    The kernel's part is not counted. The socket is drained or filled between the counts, a frame at a time, so the
    system calls and their sizes are the same in each run.
    """

    def row(family: int, counted: _Counted) -> int:
        size = 65160 // PLAIN[family] * PLAIN[family]
        case = Case("", size, OFFLOAD, sockets=True, family=family)
        with _listener(socket.SOCK_STREAM, family) as listener:
            guest = Guest(case, listener.getsockname()[1], None, counted)
            try:
                guest.connect()
                server, _ = listener.accept()
                with server:
                    step = (
                        partial(_up, guest, server, size)
                        if direction == "up"
                        else partial(_down, guest, server, size)
                    )
                    _uncounted(guest, lambda: [step() for _ in range(FRAMES)])
                    return sum(step() for _ in range(FRAMES))
            finally:
                guest.network.close()

    return row


def _listener(kind: int, family: int) -> socket.socket:
    """Return a socket bound to the loopback."""
    sock = socket.socket(_FAMILIES[family], kind)
    sock.bind(("127.0.0.1" if family == 4 else "::1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def _up(guest: Guest, server: socket.socket, size: int) -> int:
    """Let the guest send a frame, and take it from the socket; returns the frames."""
    frames, moved = guest.upload(1)
    while moved:
        moved -= len(server.recv(moved))
    return frames


def _down(guest: Guest, server: socket.socket, size: int) -> int:
    """Send a frame to the guest; returns the frames that it received."""
    server.sendall(bytes(size))
    return guest.download(1)[0]


def _uncounted(guest: Guest, work: Callable[[], object]) -> None:
    """Let a guest work without counting."""
    counted = guest.measured
    guest.measured = lambda action: action()
    work()
    guest.measured = counted


def _exchange(family: int, counted: _Counted) -> int:
    """Exchange single bytes with a server that answers at once."""
    guest = Guest(Case("", 1, family=family), 80, Echo(), counted)
    guest.connect()
    _uncounted(guest, lambda: guest.exchange(FRAMES))
    guest.exchange(FRAMES)
    return FRAMES


def _connections(family: int, counted: _Counted) -> int:
    """Open, use and close connections, with a server that answers at once."""
    guest = Guest(Case("", 1, family=family), 80, Echo(), counted)
    guest.connect()
    _repeat(guest, lambda: guest.visit(_nothing))
    return CONNECTIONS


def _repeat(guest: Guest, visit: Callable[[], None]) -> None:
    """Make as many connections without counting, then as many that count."""

    def visits() -> None:
        for _ in range(CONNECTIONS):
            visit()

    _uncounted(guest, visits)
    visits()


def _connections_sockets(family: int, counted: _Counted, *, tap: bool = False) -> int:
    """Open, use and close connections to a socket of this process."""
    with _listener(socket.SOCK_STREAM, family) as listener:
        case = Case("", 1, OFFLOAD if tap else None, sockets=True, family=family, tap=tap)
        guest = Guest(case, listener.getsockname()[1], None, counted)
        try:
            return _visits(guest, listener)
        finally:
            guest.network.close()


def _visits(guest: Guest, listener: socket.socket) -> int:
    """Open, use and close connections beside one that stays; returns the number of those that count."""
    guest.connect()
    first, _ = listener.accept()
    with first:
        _repeat(guest, lambda: _visit(guest, listener))
    return CONNECTIONS


def _exchange_tap(family: int, counted: _Counted) -> int:
    """Exchange single bytes with a socket of this process, through a TAP link, as ``slirpy run`` does."""
    with _listener(socket.SOCK_STREAM, family) as listener:
        case = Case("", 1, OFFLOAD, sockets=True, family=family, tap=True)
        guest = Guest(case, listener.getsockname()[1], None, counted)
        try:
            guest.connect(sack=True)
            server, _ = listener.accept()
            with server:
                _uncounted(guest, lambda: guest.converse(server, FRAMES))
                guest.converse(server, FRAMES)
            return FRAMES
        finally:
            guest.network.close()


def _connections_tap(family: int, counted: _Counted) -> int:
    """Open, use and close connections to a socket of this process, through a TAP link."""
    return _connections_sockets(family, counted, tap=True)


def _connections_named(rule: str = "") -> _Row:
    """Return a row of connections that begin with a ClientHello; with a rule, it is the last of many by name."""

    def row(family: int, counted: _Counted) -> int:
        rules = [*(f"allow name-{number}.example:443" for number in range(RULES)), rule]
        records = [f"{NAME} A 10.0.2.2", f"{NAME} AAAA fec0::2"]
        config = Config(dns_records=records, policy=RulePolicy(rules) if rule else None)
        case = Case("", 1, OFFLOAD, sockets=True, family=family, config=config, greeting=client_hello())
        with _listener(socket.SOCK_STREAM, family) as listener:
            guest = Guest(case, listener.getsockname()[1], None, counted)
            try:
                guest.find_gateway()
                kind, server = (b"\1", "10.0.2.3") if family == 4 else (b"\x1c", "fec0::3")
                query = DNS_QUERY[:12] + b"\6server\7example\0\0" + kind + b"\0\1"
                to = ip_address(server).packed
                guest.network.send([_datagram(family, guest.mac, 0, 53, content=query, to=to)])
                guest.received.clear()
                return _visits(guest, listener)
            finally:
                guest.network.close()

    return row


def _visit(guest: Guest, listener: socket.socket) -> None:
    """Let the guest make one connection."""

    def acts() -> Generator[None, None, None]:
        server, _ = listener.accept()
        with server:
            yield
            server.send(server.recv(4096))
            yield
            assert not server.recv(1)
        yield

    steps = acts()
    guest.visit(lambda: next(steps))


class _Datagrams:
    """A guest that sends and receives datagrams through one flow."""

    def __init__(self, family: int, size: int, batch: int) -> None:
        received: list[bytes] = []
        self.stack = BareStack(Case("", size, batch=batch, family=family), received.append, Sink())
        self.stack.send([first_contact(family)])
        self.frame = _datagram(family, received[0][6:12], size)
        self.stack.send([self.frame] * 32)

    def upload(self) -> None:
        """Send."""
        self.stack.send([self.frame] * FRAMES)

    def download(self, payload: bytes, address: bytes, batch: int) -> None:
        """Receive."""
        owner = self.stack.host.datagrams
        assert owner is not None
        for _ in range(0, FRAMES, batch):
            for _ in range(batch):
                owner.datagram(payload, address, PORT)
            self.stack.carry_on()


def _datagram(
    family: int,
    mac: bytes,
    size: int,
    port: int = PORT,
    *,
    content: bytes | None = None,
    to: bytes | None = None,
) -> bytes:
    """Return the frame of a datagram, to the gateway by default."""
    payload = bytes(size) if content is None else content
    header = ethernet(family, mac, 17, 8 + len(payload), destination=to)
    source, destination = (header[26:30], header[30:34]) if family == 4 else (header[22:38], header[38:54])
    return header + udp.build(source, GUEST_PORT, destination, port, payload) + payload


def _udp_up(size: int, batch: int = 1) -> _Row:
    def row(family: int, counted: _Counted) -> int:
        guest = _Datagrams(family, size, batch)
        counted(guest.upload)
        return FRAMES

    return row


def _udp_down(size: int, batch: int = 1) -> _Row:
    def row(family: int, counted: _Counted) -> int:
        guest = _Datagrams(family, size, 1)
        address = b"\x7f\0\0\1" if family == 4 else bytes(15) + b"\1"
        guest.download(bytes(size), address, batch)
        counted(lambda: guest.download(bytes(size), address, batch))
        return FRAMES

    return row


def _udp_exchange_tap(family: int, counted: _Counted) -> int:
    """Exchange datagrams of 64 bytes, one at a time, through a TAP link."""
    return _udp_exchange(family, counted, TapNetwork)


def _udp_exchange(family: int, counted: _Counted, network_type: type[RealNetwork] = RealNetwork) -> int:
    """Exchange datagrams of 64 bytes with a socket of this process, one at a time."""
    received: list[bytes] = []
    network = network_type(Case("", 0, family=family), received.append)
    with _listener(socket.SOCK_DGRAM, family) as server:
        server.settimeout(PATIENCE)
        try:
            network.send([first_contact(family)])
            frame = _datagram(family, received[0][6:12], 64, server.getsockname()[1])

            def answer() -> None:
                while not received:
                    network.carry_on()

            def exchange(counted: _Counted) -> None:
                counted(lambda: network.send([frame]))
                data, sender = server.recvfrom(128)
                received.clear()
                server.sendto(data, sender)
                counted(answer)

            for _ in range(32):
                exchange(lambda action: action())
            for _ in range(FRAMES):
                exchange(counted)
            return FRAMES
        finally:
            network.close()


def _dns_cached(family: int, counted: _Counted) -> int:
    """Answer a guest's DNS query from the cache."""
    received: list[bytes] = []
    case = Case("", 0, family=family)
    stack = BareStack(case, received.append, Sink(), Config(resolvers=["192.0.2.53"]))
    stack.send([first_contact(family)])
    server = ip_address("10.0.2.3" if family == 4 else "fec0::3").packed
    frame = _datagram(family, received[0][6:12], 0, 53, content=DNS_QUERY, to=server)
    stack.send([frame])
    owner = stack.host.datagrams
    assert owner is not None
    asked = stack.host.sent[-1]
    owner.datagram(asked[:2] + b"\x81\x80\0\1\0\1\0\0" + b"\0\0" + asked[12:] + DNS_ANSWER, RESOLVER, 53)
    stack.carry_on()
    stack.send([frame] * 32)
    received.clear()
    counted(lambda: stack.send([frame] * FRAMES))
    if len(received) != FRAMES:
        raise BenchmarkError(f"{len(received)} answers to {FRAMES} queries")
    return FRAMES


def _nic_send(family: int, counted: _Counted) -> int:
    """``Nic.send`` of the complete network, to a socket that nobody reads: the kernel discards what is too much."""
    received: list[bytes] = []
    network = RealNetwork(Case("", 0, family=family), received.append)
    with _listener(socket.SOCK_DGRAM, family) as server:
        try:
            network.send([first_contact(family)])
            frames = [_datagram(family, received[0][6:12], 64, server.getsockname()[1])] * FRAMES
            network.send(frames[:32])
            counted(lambda: network.send(frames))
            return FRAMES
        finally:
            network.close()


def _simulated_connections(family: int, counted: _Counted) -> int:
    """Open, use and close connections between programs on two simulated hosts."""
    with Network() as net:
        net.host("server").run(serve)
        for count in (lambda work: work(), counted):
            count(lambda: net.run(visit(CONNECTIONS, _FAMILIES[family]), on="client"))
    return CONNECTIONS


def _simulated_worlds(family: int, counted: _Counted) -> int:
    """Make and close simulated networks of two hosts, with one connection each."""

    def worlds() -> None:
        for _ in range(WORLDS):
            world(_FAMILIES[family])

    for count in (lambda work: work(), counted):
        count(worlds)
    return WORLDS


ROWS: dict[str, _Row] = {
    "TCP guest to host, 1500-byte segments": _tcp("up"),
    "TCP guest to host, 1500-byte segments, 16 to a flush": _tcp("up", batch=16),
    "TCP guest to host, segments of 1 byte": _tcp("up", 1),
    "TCP guest to host, 64 KiB frames, offloads": _tcp("up", offload=True),
    "TCP guest to host, 64 KiB frames, offloads, 8 to a flush": _tcp("up", offload=True, batch=8),
    "TCP guest to host, segments of 1 byte, offloads": _tcp("up", 1, offload=True),
    "TCP host to guest, 1500-byte segments": _tcp("down"),
    "TCP host to guest, 64 KiB frames, offloads": _tcp("down", offload=True),
    "TCP guest to host, 64 KiB frames, offloads, sockets": _tcp_sockets("up"),
    "TCP host to guest, 64 KiB frames, offloads, sockets": _tcp_sockets("down"),
    "TCP round trip of 1 byte": _exchange,
    "TCP connection, 1 byte each way": _connections,
    "TCP connection, 1 byte each way, sockets": _connections_sockets,
    "TCP connection, ClientHello each way, sockets": _connections_named(),
    "TCP connection, ClientHello each way, sockets, 100 rules by name": _connections_named(f"allow {NAME}"),
    "TCP connection, ClientHello each way, sockets, 100 rules by name, tls=off": _connections_named(
        f"allow {NAME} tls=off"
    ),
    "UDP guest to host, 1400 bytes": _udp_up(1400),
    "UDP guest to host, 64 bytes, 16 to a flush": _udp_up(64, 16),
    "UDP host to guest, 1400 bytes": _udp_down(1400),
    "UDP host to guest, 64 bytes, 16 to a flush": _udp_down(64, 16),
    "UDP exchange of 64 bytes, sockets": _udp_exchange,
    "TCP round trip of 1 byte, sockets and TAP": _exchange_tap,
    "TCP connection, 1 byte each way, sockets and TAP": _connections_tap,
    "UDP exchange of 64 bytes, sockets and TAP": _udp_exchange_tap,
    "DNS query answered from the cache": _dns_cached,
    "Nic.send, UDP, 64 bytes": _nic_send,
    "simulated connection, 5 bytes each way": _simulated_connections,
    "simulated network of two hosts, one connection": _simulated_worlds,
}
"""The work that is counted, by name."""
NOT_STORED = tuple(name for name in ROWS if "ClientHello" in name)
"""Rows that are only shown: the real clock beside their sockets moves them by more than the tolerance."""


STARTS = {
    "start: import slirpy": "import slirpy",
    "start: from slirpy import Slirp": "from slirpy import Slirp",
    "start: slirpy run, its modules": "import slirpy.cli.main, slirpy.cli.run",
}
"""Programs whose whole run is counted, less that of an empty one, by name."""
ONCE = "once"
"""Stands in the place of the IP family for what has none."""


# -------------------------------------------------------------------------------------- the count


def work(rows: Sequence[_Row]) -> None:
    """Execute rows below callgrind, with a mark before and after it; prints the frames of each row as JSON.

    Counting is on only inside libffi's ``ffi_call``, through which :mod:`ctypes` calls a C function, here one that
    calls back at once. Callgrind starts a new file at each ``getppid``.
    """
    gc.disable()
    prototype = ctypes.CFUNCTYPE(None)
    calls = 0

    def counted(action: Callable[[], object]) -> None:
        nonlocal calls
        calls += 1

        def call() -> None:
            action()

        prototype(call)()

    frames: list[list[int]] = []
    for row in (_empty, *rows):
        for family in (4, 6):
            calls = 0
            os.getppid()
            frames.append([row(family, counted), 0])
            frames[-1][1] = calls
            gc.collect()
    os.getppid()
    print(json.dumps(frames))


def _empty(family: int, counted: _Counted) -> int:
    """Count what counting itself costs."""
    for _ in range(FRAMES):
        counted(_nothing)
    return FRAMES


def _nothing() -> None:
    pass


def selected(text: str) -> dict[str, _Row]:
    """Return the rows whose name contains ``text``."""
    return {name: row for name, row in ROWS.items() if text in name}


def count(text: str) -> dict[str, dict[str, int]]:
    """Run :func:`work` below callgrind; returns the instructions for a frame, by selected row and IP family.

    Raises:
        BenchmarkError: there is no valgrind, or it counted nothing.
    """
    if shutil.which("valgrind") is None:
        raise BenchmarkError("needs valgrind")
    rows = _count_rows(text) if selected(text) else {}
    starts = [name for name in STARTS if text in name]
    empty = _start("pass") if starts else 0
    return rows | {name: {ONCE: _start(STARTS[name]) - empty} for name in starts}


def _start(program: str) -> int:
    """Return the instructions of a Python that runs ``program``; its byte code is compiled before."""
    command = [sys.executable, "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONHASHSEED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        for tool in ([], ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]):
            done = subprocess.run(
                [*tool, *command], capture_output=True, text=True, timeout=LIMIT, check=False, env=environment
            )
            if done.returncode:
                raise BenchmarkError(f"{program}: {done.stderr.strip()[-500:]}")
        return _total(out)


def _count_rows(text: str) -> dict[str, dict[str, int]]:
    """Count the selected rows of :data:`ROWS`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        argv = [
            "valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", f"--toggle-collect={_MEASURED}",
            f"--dump-before={_MARK}", sys.executable, str(Path(__file__).resolve()), _WORKER, text,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"callgrind took longer than {LIMIT} s") from None
        if done.returncode:
            raise BenchmarkError(f"callgrind: {done.stderr.strip()[-500:]}")
        frames = json.loads(done.stdout)
        totals = [_total(out.with_name(f"out.{number + 2}")) for number in range(len(frames))]
    if not totals[0]:
        raise BenchmarkError(f"callgrind saw no {_MEASURED}: this Python's ctypes has libffi inside")
    call = totals[0] / frames[0][1]
    figures = [
        round((total - calls * call) / number)
        for total, (number, calls) in zip(totals[2:], frames[2:], strict=True)
    ]
    return {
        name: {"IPv4": figures[2 * number], "IPv6": figures[2 * number + 1]}
        for number, name in enumerate(selected(text))
    }


def _total(path: Path) -> int:
    """Return the sum of a file of callgrind's."""
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise BenchmarkError(f"callgrind wrote no sum into {path.name}")


def build() -> dict[str, str]:
    """Return what the counts depend on, apart from slirpy."""
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}",
        "C library": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
    }


def measure(arguments: argparse.Namespace) -> Report:
    """Count, and compare with what is stored."""
    report = Report(
        "Instructions",
        "Instructions of the process for a frame with its share of acknowledgements and flushes, by callgrind.",
        ["what", "IPv4", "IPv6", "IPv6 is"],
    )
    counts = count(arguments.rows)
    for name, figures in counts.items():
        for family, value in figures.items():
            report.sample(f"{name}, {family}", value)
        if ONCE in figures:
            report.rows.append((name, show(figures[ONCE], 0), "", ""))
            continue
        old, new = figures["IPv4"], figures["IPv6"]
        report.rows.append((name, show(old, 0), show(new, 0), f"{new / old:.2f}x"))
        report.bars.append(Bar(f"{name}, IPv6 to IPv4", new / old, FAMILY_BAR, at_least=False, unit="x"))
    if arguments.compare:
        compare(report, counts, json.loads(STORED.read_text()), build(), arguments.tolerance)
    if arguments.write:
        # --rows leaves the others alone.
        kept = json.loads(STORED.read_text())["counts"] if arguments.rows else {}
        stored = {name: figures for name, figures in counts.items() if name not in NOT_STORED}
        STORED.write_text(json.dumps({"build": build(), "counts": {**kept, **stored}}, indent=1) + "\n")
    return report


def compare(
    report: Report,
    counts: dict[str, dict[str, int]],
    stored: dict[str, Any],
    here: dict[str, str],
    tolerance: float,
) -> None:
    """Add a bar to the report for each count that another build of slirpy has stored.

    Counts of another Python, C library or machine are not comparable; a remark says so.
    """
    if stored["build"] != here:
        report.remarks.append(f"{STORED.name} is of another build, {stored['build']}: not compared")
        return
    for name, figures in counts.items():
        for family, value in () if name in NOT_STORED else figures.items():
            old = stored["counts"].get(name, {}).get(family)
            if old is None:
                report.remarks.append(f"{name}, {family}: not stored yet")
                continue
            change = (value - old) / old * 100
            report.bars.append(Bar(f"{name}, {family}{CHANGE}", change, tolerance, at_least=False, unit=" %"))


if __name__ == "__main__":
    if sys.argv[1:2] == [_WORKER]:
        work(list(selected(sys.argv[2]).values()))
    else:
        bars = main(__doc__, options, measure).bars
        raise SystemExit(any(not bar.held for bar in bars if bar.what.endswith(CHANGE)))
