"""Both ends of DNS traffic: a resolver on the loopback, and a load like dnsperf's.

It runs on the host and inside the guest's namespace, with the standard library alone: ``dns.py`` hands over its text.

    python dns_traffic.py serve                             prints its port as JSON, and ends with its standard input
    python dns_traffic.py load ADDRESS {JSON}               prints what it has measured as JSON
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from typing import Any

RECORD = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4\x7f\0\0\1"  # A 127.0.0.1, for an hour
PATIENCE = 5.0
"""Seconds after which an answer counts as lost."""


def serve() -> None:
    """Answer every query with an address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("127.0.0.1", 0))
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    threading.Thread(target=_answer, args=(sock,), daemon=True).start()
    sys.stdin.read()


def _answer(sock: socket.socket) -> None:
    while True:
        message, client = sock.recvfrom(2048)
        sock.sendto(message[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + message[12:] + RECORD, client)


def query(number: int, name: int) -> bytes:
    """Make a query for an address."""
    label = b"name%08d" % name
    head = (number & 0xFFFF).to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0"
    return head + bytes((len(label),)) + label + b"\5bench\4test\0\0\1\0\1"


def load(
    address: str, rate: float | None, seconds: float, names: int | None, outstanding: int, first: int
) -> dict[str, Any]:
    """Send queries, and measure the answers.

    Args:
        address: address of the server.
        rate: queries per second, evenly spread; None: the next after each answer.
        seconds: duration.
        names: number of different names, repeated; None: a new name for each query.
        outstanding: maximum number of queries in progress.
        first: number of the first name.

    Returns:
        ``sent``, ``answered``, ``seconds``, ``delays`` in milliseconds, sorted. A delay counts from the moment when
        the query was due, even if it was sent later because the load was late.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.connect((address, 53))
    sock.setblocking(False)
    due_at: dict[int, float] = {}
    delays: list[float] = []
    sent = 0
    start = time.monotonic()
    while True:
        now = time.monotonic()
        running = now - start < seconds
        if not running and (not due_at or now - start > seconds + PATIENCE):
            break
        while running and len(due_at) < outstanding:
            due = now if rate is None else start + sent / rate
            if due > now:
                break
            name = first + (sent if names is None else sent % names)
            due_at[sent & 0xFFFF] = due
            sock.send(query(sent, name))
            sent += 1
        wait = 0.05 if rate is None or not running else max(start + sent / rate - time.monotonic(), 0)
        if select.select([sock], [], [], min(wait, 0.05))[0]:
            try:
                while True:
                    answer = sock.recv(2048)
                    due = due_at.pop(int.from_bytes(answer[:2], "big"), -1.0)
                    if due >= 0 and answer[3] & 0x0F == 0:
                        delays.append((time.monotonic() - due) * 1000)
            except BlockingIOError:
                pass
    delays.sort()
    return {"sent": sent, "answered": len(delays), "seconds": seconds, "delays": delays}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(json.dumps(load(sys.argv[2], **json.loads(sys.argv[3]))))
