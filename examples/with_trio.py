"""A network in a trio program (``pip install trio``): a task waits for the descriptor and the timeout, and polls.

Run it with ``python examples/with_trio.py``. It needs no privileges and sends nothing beyond this machine. On Windows
there is no such descriptor: use ``net.start()`` and ``trio.from_thread`` there.
"""

from __future__ import annotations

import math
import time
from random import Random

import trio

from slirpy import Config, Slirp
from slirpy.testing import Guest


async def drive(net: Slirp, changed: trio.MemoryReceiveChannel[None]) -> None:
    """Poll when there is work. A frame that the guest sends may shorten the timeout, so it ends a wait too."""
    descriptor = net.fileno()
    assert descriptor is not None
    while True:
        timeout = net.timeout()
        with trio.move_on_after(math.inf if timeout is None else timeout):
            async with trio.open_nursery() as nursery:

                async def work() -> None:
                    await trio.lowlevel.wait_readable(descriptor)
                    nursery.cancel_scope.cancel()

                async def sent() -> None:
                    await changed.receive()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(work)
                nursery.start_soon(sent)
        net.poll(0)


async def serve(stream: trio.SocketStream) -> None:
    """Serve clients of the same program."""
    await stream.send_all((await stream.receive_some()).upper())
    await stream.aclose()


async def main() -> None:
    """Let a guest talk to the server."""
    with Slirp(Config()) as net:
        async with trio.open_nursery() as nursery:
            to_guest, frames = trio.open_memory_channel[bytes](math.inf)
            changed, was_changed = trio.open_memory_channel[None](1)
            (listening,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, [listening])
            nursery.start_soon(drive, net, was_changed)

            def send(frame: bytes) -> None:
                nic.send(frame)
                try:
                    changed.send_nowait(None)
                except trio.WouldBlock:
                    pass  # already notified

            nic = net.attach(to_guest.send_nowait)
            guest = Guest(send, random=Random(), now=time.monotonic_ns())
            guest.configure("10.0.2.15", 24)
            stream = guest.connect("10.0.2.2", listening.socket.getsockname()[1])
            stream.write(b"hello from a guest")
            with trio.fail_after(5):
                while not stream.eof:
                    guest.input(await frames.receive(), time.monotonic_ns())
            print(stream.read().decode())
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
