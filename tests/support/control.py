"""Requests to a control socket, well formed and otherwise."""

from __future__ import annotations

import json
import socket
from typing import Any

from slirpy.control import ControlServer

__all__ = ["connect", "exchange", "request"]


def connect(server: ControlServer) -> socket.socket:
    """A connection to the server."""
    sock = socket.socket(server.address.family, socket.SOCK_STREAM)
    try:
        # It waits for room in the backlog, which it would not with a time limit.
        sock.connect(server.address.address)
    except OSError:
        sock.close()
        raise
    sock.settimeout(20)
    return sock


def exchange(server: ControlServer, data: bytes) -> bytes:
    """Send bytes, and return all that comes back until the server closes, or has answered once."""
    with connect(server) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end
        return read_answer(sock)


def read_answer(sock: socket.socket) -> bytes:
    """One answer, with a body that has a length; or everything, if it has none."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = sock.recv(65536)
        if not piece:
            return found
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
    )
    while len(body) < length:
        piece = sock.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def request(
    server: ControlServer, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Make a request; returns the status, and the JSON of the answer."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(data)}",
        "Connection: close",
    ]
    if server.token is not None:
        lines.append(f"Authorization: Bearer {server.token}")
    given = {name.lower() for name in headers or {}}
    lines = [line for line in lines if line.partition(":")[0].lower() not in given]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items() if value]
    answer = exchange(server, ("\r\n".join(lines) + "\r\n\r\n").encode() + data)
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest) if rest else None
