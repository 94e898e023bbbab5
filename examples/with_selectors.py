"""A network in another loop: one thread, one selector, and next to the network a server of the program.

Run it with ``python examples/with_selectors.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from random import Random

from slirpy import Config, Slirp
from slirpy.testing import Guest


def main() -> None:
    """Let a guest talk to a server in the same loop."""
    with Slirp(Config()) as net, selectors.DefaultSelector() as selector, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))  # the guest reaches it at 10.0.2.2
        listening.listen()

        frames: deque[bytes] = deque()
        nic = net.attach(frames.append)
        guest = Guest(nic.send, random=Random(), now=time.monotonic_ns())
        guest.configure("10.0.2.15", 24)
        stream = guest.connect("10.0.2.2", listening.getsockname()[1])
        stream.write(b"hello")

        descriptor = net.fileno()  # None on Windows: use net.start() there, or asyncio
        assert descriptor is not None
        selector.register(descriptor, selectors.EVENT_READ, "network")
        selector.register(listening, selectors.EVENT_READ, "listening")
        rounds = 0
        while True:
            while frames:
                guest.input(frames.popleft(), time.monotonic_ns())
            if stream.received == b"HELLO":
                break
            rounds += 1
            events = selector.select(net.timeout())  # None: nothing is due, wait for a descriptor
            for key, _ in events:
                if key.data == "listening":
                    connection, _ = listening.accept()
                    selector.register(connection, selectors.EVENT_READ, "connection")
                elif key.data == "connection":
                    assert isinstance(key.fileobj, socket.socket)
                    key.fileobj.sendall(key.fileobj.recv(2048).upper())
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            net.poll(0)  # unconditionally: a timer may be due
        print("the guest received", bytes(stream.received), "after", rounds, "rounds")


if __name__ == "__main__":
    main()
