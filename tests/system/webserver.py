"""An HTTP server for the system tests, on the host's side and inside namespaces.

``GET /bytes/N`` gives N bytes, always the same; ``PUT /anything`` answers with the SHA-256 of what came;
``GET /drip`` sends a byte every 50 ms until the client goes. As a program it takes address and port, and writes
the port to standard output when it listens.
"""

from __future__ import annotations

import hashlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BLOCK = random.Random(20260101).randbytes(1 << 20)


def pieces(count: int) -> Iterator[bytes]:
    """The content of ``/bytes/count``. No two blocks are the same, so that a shift or a swap is noticed."""
    view = memoryview(_BLOCK)
    for number in range(-(-count // len(_BLOCK))):
        left = min(count - number * len(_BLOCK), len(_BLOCK))
        head = number.to_bytes(8, "big")[:left]
        yield b"".join((head, view[len(head) : left]))


@cache
def digest(count: int) -> str:
    """SHA-256 of the content of ``/bytes/count``."""
    total = hashlib.sha256()
    for piece in pieces(count):
        total.update(piece)
    return total.hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        if self.path.startswith("/bytes/"):
            count = int(self.path.rpartition("/")[2])
            self._begin(count)
            for piece in pieces(count):
                self.wfile.write(piece)
        elif self.path == "/drip":
            self._begin(1 << 40)
            while True:
                self.wfile.write(b".")
                time.sleep(0.05)
        else:
            body = b"hello from the server\n"
            self._begin(len(body))
            self.wfile.write(body)

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        total = hashlib.sha256()
        buffer = memoryview(bytearray(1 << 18))
        while left:
            count = self.rfile.readinto1(buffer[: min(left, len(buffer))])
            if not count:
                raise ConnectionError("the client went away")
            total.update(buffer[:count])
            left -= count
        body = total.hexdigest().encode()
        self._begin(len(body))
        self.wfile.write(body)

    def _begin(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Be silent."""

    def handle(self) -> None:
        self.server.clients.add(self.client_address)
        try:
            super().handle()
        except OSError as error:
            self.server.ends.append(type(error).__name__)


class WebServer(ThreadingHTTPServer):
    """The server, in a thread of this process as long as the context lasts."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 2000

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), Handler)
        self.clients: set[object] = set()
        self.ends: list[str] = []
        """Names of the exceptions by which transfers ended early."""

    @property
    def port(self) -> int:
        """Address on which it listens."""
        return self.server_port

    def server_bind(self) -> None:
        """Bind, without asking the name service for our name as the base class does."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def __enter__(self) -> WebServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    with WebServer(sys.argv[1], int(sys.argv[2])) as running:
        print(running.port, flush=True)
        threading.Event().wait()
