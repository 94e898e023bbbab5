"""Web applications that guests reach at http://10.0.2.80/ and http://10.0.2.81/, without a listening port.

No port of this machine is opened: the guest's connections lead straight to the applications. Needs the library h11:
``pip install 'slirpy[web]'``.

Run it with ``python examples/wsgi_in_the_network.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from slirpy import Config, Slirp
from slirpy.testing import Guest

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Stand for any WSGI application, such as one of Flask's or Django's."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"you asked for {environ['PATH_INFO']}\n".encode()]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Stand for any ASGI application, such as one of Starlette's or FastAPI's."""
    if scope["type"] == "http":
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": f"and then for {scope['path']}\n".encode()})


def main() -> None:
    """Let a guest request a page from both."""
    with Slirp(Config()) as net:
        net.mount(wsgi, "10.0.2.80")
        net.mount(asgi, "10.0.2.81")

        frames: deque[bytes] = deque()
        nic = net.attach(frames.append)
        guest = Guest(nic.send, random=Random(), now=time.monotonic_ns())
        guest.configure("10.0.2.15", 24)
        for server in ("10.0.2.80", "10.0.2.81"):
            stream = guest.connect(server, 80)
            stream.write(b"GET /a/page HTTP/1.0\r\n\r\n")
            end = time.monotonic() + 5
            while not stream.eof and time.monotonic() < end:
                while frames:
                    guest.input(frames.popleft(), time.monotonic_ns())
                net.poll(0.05)
            head, _, body = stream.read().partition(b"\r\n\r\n")
            print(head.split(b"\r\n")[0].decode())
            print(body.decode().strip())


if __name__ == "__main__":
    main()
