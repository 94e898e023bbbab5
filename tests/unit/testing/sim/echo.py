"""Programs at the seam of host networks, without asyncio: an echo server, and a client that sends one line."""

from __future__ import annotations

from slirpy.interfaces import AcceptedStream, StreamOwner
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.streams import HostStream

__all__ = ["Client", "Echo", "serve"]


class Echo:
    """Sends back what it gets, and closes after the far side's end."""

    def __init__(self, accepted: AcceptedStream) -> None:
        self.peer = accepted.peer
        self.unsent = bytearray()
        self.ended = False

    def connected(self) -> None: ...

    def readable(self) -> None:
        while data := self.peer.recv(65536):
            self.unsent += data
        self.ended = data == b""
        self.writable()

    def writable(self) -> None:
        del self.unsent[: self.peer.send([bytes(self.unsent)])]
        if self.ended and not self.unsent:
            self.peer.close()

    def failed(self, error: int) -> None: ...


class Client:
    """Sends ``line``, and ends its direction once it has come back."""

    def __init__(self, line: bytes = b"hello") -> None:
        self.line = line
        self.got = b""
        self.sent = 0
        self.done = False
        self.error = 0
        self.peer: HostStream

    def connect(
        self, net: Network, source: Host | str, target: str, port: int = 7, ipv6: bool = False
    ) -> Client:
        """Connect from one host to another."""
        host = net.host(source) if isinstance(source, str) else source
        self.peer = host.socket_layer.connect(net.resolve(target)[ipv6], port, self)
        return self

    def connected(self) -> None:
        self.writable()

    def readable(self) -> None:
        while data := self.peer.recv(65536):
            self.got += data
            if self.got == self.line:
                self.peer.shutdown()
        if data == b"":
            self.done = True
            self.peer.close()

    def writable(self) -> None:
        self.sent += self.peer.send([self.line[self.sent :]])

    def failed(self, error: int) -> None:
        self.error = error
        self.done = True


def serve(host: Host, address: bytes = bytes(4), port: int = 7) -> None:
    """Run an echo server on a host."""

    def accept(accepted: AcceptedStream) -> StreamOwner:
        return Echo(accepted)

    host.socket_layer.listen(address, port, accept, dual=len(address) == 16)
