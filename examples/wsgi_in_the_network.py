"""A WSGI application that guests find in their network, at http://10.0.2.2/.

The application has an ordinary server on a free port of 127.0.0.1, and a policy sends to it what guests want of port
80 of their gateway. Whatever else they want is refused.

Run it with ``python examples/wsgi_in_the_network.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from slirpy import Action, Config, FlowRequest, Slirp, Verdict
from slirpy.testing import Guest

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

GATEWAY = bytes([10, 0, 2, 2])


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Any WSGI application."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"you asked for {environ['PATH_INFO']}\n".encode()]


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    """A guest asks for a page."""
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()

        def policy(flow: FlowRequest) -> Verdict:
            if (flow.destination, flow.destination_port) == (GATEWAY, 80):
                return Verdict(Action.ALLOW, redirect=(bytes([127, 0, 0, 1]), server.server_port))
            return Verdict(Action.REJECT)

        try:
            with Slirp(Config(policy=policy)) as net:
                frames: deque[bytes] = deque()
                nic = net.attach(frames.append)
                guest = Guest(nic.send, random=Random(), now=time.monotonic_ns())
                guest.configure("10.0.2.15", 24)
                stream = guest.connect("10.0.2.2", 80)
                stream.write(b"GET /a/page HTTP/1.0\r\n\r\n")
                end = time.monotonic() + 5
                while not stream.eof and time.monotonic() < end:
                    while frames:
                        guest.input(frames.popleft(), time.monotonic_ns())
                    net.poll(0.05)
                head, _, body = stream.read().partition(b"\r\n\r\n")
                print(head.split(b"\r\n")[0].decode())
                print(body.decode().strip())
        finally:
            server.shutdown()


if __name__ == "__main__":
    main()
