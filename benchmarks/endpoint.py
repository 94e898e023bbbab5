"""One end of the traffic: a small program that executes commands from standard input, one JSON object per line.

It runs on the host (servers) and inside the guests' namespaces (clients), with the standard library alone and
without the other files, because a guest may not be able to read them: ``processes.py`` passes its text. Every answer
is a JSON object; a failure is ``{"error": text}``. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20
"""Seconds that one socket operation may take."""
_BLOCK = random.Random(2).randbytes(1 << 18)
_PERIOD = 65521
_PATTERN = random.Random(1).randbytes(_PERIOD) * 5
_PIECE = 4 * _PERIOD
_idle: list[socket.socket] = []
_bulk: list[socket.socket] = []
_listeners: list[socket.socket] = []
_beside: list[subprocess.Popen[str]] = []
_PAUSE = 0.001
"""Seconds between two measured round trips: who asks now and then waits behind bulk data, who asks without end rides
with it."""


def pin(cpus: list[int]) -> dict[str, Any]:
    """Run on these CPUs only from now on, threads and programs that are started later included."""
    os.sched_setaffinity(0, cpus)
    return {}


def run(argv: list[str], timeout: float) -> dict[str, Any]:
    """Run a program; returns its status and its output."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    return {"status": done.returncode, "output": done.stdout, "errors": done.stderr}


def connect(address: str, port: int) -> socket.socket:
    """Make a connection on which the kernel limits every wait, without extra system calls."""
    sock = socket.socket()
    limit = struct.pack("ll", PATIENCE, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect((address, port))
    return sock


def exchange(sock: socket.socket, payload: bytes = b"x") -> None:
    """Send data to an echo server, and receive it back; one byte by default."""
    sock.send(payload)
    if len(sock.recv(len(payload), socket.MSG_WAITALL)) < len(payload):
        raise ConnectionError("the echo server closed the connection")


def idle(address: str, port: int, count: int) -> dict[str, Any]:
    """Open connections, use each once, and keep them."""
    for _ in range(count):
        sock = connect(address, port)
        _idle.append(sock)
        exchange(sock)
    return {"open": len(_idle)}


def round_trips(address: str, port: int, seconds: float) -> dict[str, Any]:
    """Measure one-byte round trips over one connection."""
    with connect(address, port) as sock:
        exchange(sock)
        count = 0
        start = time.monotonic()
        end = start + seconds
        while (now := time.monotonic()) < end:
            exchange(sock)
            count += 1
        return {"count": count, "seconds": now - start}


def latencies(address: str, port: int, seconds: float) -> dict[str, Any]:
    """Measure the microseconds of each one-byte round trip, a pause apart; returns at most 2,000 of them."""
    found = []
    with connect(address, port) as sock:
        exchange(sock)
        end = time.monotonic() + seconds
        while (start := time.monotonic()) < end:
            exchange(sock)
            found.append(round(1e6 * (time.monotonic() - start), 1))
            time.sleep(_PAUSE)
    return {"us": found[:2000]}


def begin(argv: list[str]) -> dict[str, Any]:
    """Start a program beside the next commands, until :func:`finish`."""
    _beside.append(
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    )
    return {}


def finish(timeout: float) -> dict[str, Any]:
    """Wait for the program that was started last; returns its status and its output."""
    with _beside.pop() as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return {"status": process.returncode, "output": output}


def connects(address: str, port: int, count: int, payload: str = "78") -> dict[str, Any]:
    """Connect, exchange ``payload``, which is in hexadecimal digits, and close, repeatedly.

    A count, not a time, since each connection leaves a TIME-WAIT behind.
    """
    data = bytes.fromhex(payload)
    start, before = time.monotonic(), time.process_time()
    for _ in range(count):
        with connect(address, port) as sock:
            exchange(sock, data)
    return {"count": count, "seconds": time.monotonic() - start, "cpu": time.process_time() - before}


def handshakes(address: str, port: int, count: int, name: str) -> dict[str, Any]:
    """Connect, shake hands by TLS, exchange a byte and close, repeatedly; any certificate will do."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    start, before = time.monotonic(), time.process_time()
    for _ in range(count):
        with connect(address, port) as sock, context.wrap_socket(sock, server_hostname=name) as secure:
            secure.send(b"x")
            secure.recv(1)
    return {"count": count, "seconds": time.monotonic() - start, "cpu": time.process_time() - before}


def serve_tls(certificate: str) -> dict[str, Any]:
    """Send a byte back on each TLS connection from now on, one connection after the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=_serve_tls, args=(listener, context), daemon=True).start()
    return {"port": listener.getsockname()[1]}


def _serve_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), accepted, context.wrap_socket(accepted, server_side=True) as secure:
            secure.send(secure.recv(1))
            secure.recv(1)


def datagrams(address: str, port: int, seconds: float, payload: str) -> dict[str, Any]:
    """Measure exchanges of datagrams, one at a time; ``payload`` is in hexadecimal digits."""
    data = bytes.fromhex(payload)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE, 0))
        sock.connect((address, port))
        sock.send(data)
        sock.recv(2048)
        count = 0
        start = time.monotonic()
        end = start + seconds
        while (now := time.monotonic()) < end:
            sock.send(data)
            sock.recv(2048)
            count += 1
        return {"count": count, "seconds": now - start}


def serve_datagrams() -> dict[str, Any]:
    """Send every datagram back from now on."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    threading.Thread(target=_serve_datagrams, args=(sock,), daemon=True).start()
    return {"port": sock.getsockname()[1]}


def _serve_datagrams(sock: socket.socket) -> None:
    while True:
        data, sender = sock.recvfrom(2048)
        sock.sendto(data, sender)


def serve(kind: str, address: str = "127.0.0.1") -> dict[str, Any]:
    """Serve at an address from now on: "echo", "sink" (discards everything) or "source" (sends endlessly)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family, backlog=1024)
    threading.Thread(target=_serve, args=(listener, kind), daemon=True).start()
    return {"port": listener.getsockname()[1]}


def _serve(listener: socket.socket, kind: str) -> None:
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    room = bytearray(1 << 20)
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_WRITE if kind == "source" else selectors.EVENT_READ)
                continue
            try:
                moved = sock.send(_BLOCK) if kind == "source" else sock.recv_into(room)
                if kind == "echo" and moved:
                    sock.send(room[:moved])
            except BlockingIOError:
                continue
            except OSError:
                moved = 0
            if not moved:
                selector.unregister(sock)
                sock.close()


def bulk_listen(address: str, congestion: str = "cubic") -> dict[str, Any]:
    """Listen for connections of :func:`bulk_connect`."""
    listener = socket.create_server((address, 0), backlog=128)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    listener.settimeout(PATIENCE)
    _listeners.append(listener)
    return {"port": listener.getsockname()[1]}


def bulk_connect(address: str, port: int, count: int, congestion: str = "cubic") -> dict[str, Any]:
    """Open connections for :func:`bulk`, all at once; only root may choose the congestion control."""
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
            sock.setblocking(False)
            sock.connect_ex((address, port))
            selector.register(sock, selectors.EVENT_WRITE)
            _bulk.append(sock)
        end = time.monotonic() + PATIENCE
        while selector.get_map():
            ready = selector.select(end - time.monotonic())
            if not ready:
                raise TimeoutError(f"{len(selector.get_map())} of {count} connections are not open")
            for key, _ in ready:
                selector.unregister(key.fileobj)
        for sock in _bulk:
            sock.getpeername()  # an error if it has failed
    return {}


def bulk_accept(count: int) -> dict[str, Any]:
    """Accept connections for :func:`bulk` from the listener, which is then closed."""
    with _listeners.pop() as listener:
        _bulk.extend(listener.accept()[0] for _ in range(count))
    return {}


def bulk(send: bool, seconds: float) -> dict[str, Any]:
    """Send, or receive and check, on all connections at once for some time; returns the bytes of each."""
    counts = [0] * len(_bulk)
    room = bytearray(_PIECE)
    with selectors.DefaultSelector() as selector:
        for number, sock in enumerate(_bulk):
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_WRITE if send else selectors.EVENT_READ, number)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                sock, at = _bulk[key.data], counts[key.data] % _PERIOD
                try:
                    moved = sock.send(_PATTERN[at : at + _PIECE]) if send else sock.recv_into(room)
                except BlockingIOError:
                    continue
                if not send and (not moved or room[:moved] != _PATTERN[at : at + moved]):
                    raise OSError(f"connection {key.data} ended, or is wrong, after {counts[key.data]} bytes")
                counts[key.data] += moved
    return {"bytes": counts}


def bulk_close() -> dict[str, Any]:
    """Reset the connections of :func:`bulk`, so that data in flight is discarded."""
    while _bulk:
        with _bulk.pop() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return {}


def tftp(address: str, name: str, blksize: int, windowsize: int) -> dict[str, Any]:
    """Read a file by TFTP (RFC 1350, 2348, 7440), and discard it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        words = [name, "octet", "blksize", str(blksize)]
        if windowsize > 1:
            words += ["windowsize", str(windowsize)]
        start = time.monotonic()
        sock.sendto(b"\0\1" + b"".join(word.encode() + b"\0" for word in words), (address, 69))
        data, peer = sock.recvfrom(65535)
        granted = data[2:].decode(errors="replace").split("\0")
        if data[:2] != b"\0\6" or str(blksize) not in granted:
            raise OSError(f"the server does not grant blocks of {blksize} bytes: {data[:100]!r}")
        window = int(granted[granted.index("windowsize") + 1]) if "windowsize" in granted else 1
        sock.connect(peer)
        buffer = bytearray(65536)
        answer = b"\0\4\0\0"
        sock.send(answer)
        total, block, count, gap = 0, 1, 0, 0
        while True:
            try:
                length = sock.recv_into(buffer) - 4
            except TimeoutError:
                sock.send(answer)
                continue
            if int.from_bytes(buffer[2:4], "big") != block & 0xFFFF:
                if gap != block:  # one acknowledgement for all blocks after the gap
                    sock.send(answer)
                    gap, count = block, 0
                continue
            total += length
            count += 1
            answer = b"\0\4" + buffer[2:4]
            block += 1
            if length < blksize or count == window:
                sock.send(answer)
                count = 0
            if length < blksize:
                return {"bytes": total, "seconds": time.monotonic() - start, "window": window}


_COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "pin": pin,
    "run": run,
    "idle": idle,
    "round_trips": round_trips,
    "latencies": latencies,
    "begin": begin,
    "finish": finish,
    "connects": connects,
    "handshakes": handshakes,
    "serve_tls": serve_tls,
    "datagrams": datagrams,
    "serve_datagrams": serve_datagrams,
    "serve": serve,
    "bulk_listen": bulk_listen,
    "bulk_connect": bulk_connect,
    "bulk_accept": bulk_accept,
    "bulk": bulk,
    "bulk_close": bulk_close,
    "tftp": tftp,
}


def main() -> None:
    """Execute commands, line by line."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = _COMMANDS[command.pop("do")](**command)
        except (OSError, subprocess.SubprocessError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
