"""A real guest whose link is cut, again and again, in the midst of its transfers: they end, with equal sums."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from slirpy import Config, Slirp
from slirpy.links import StreamLink, unix
from tests.system.listening import CARD, Listening
from tests.system.qemu import DHCP, QEMU, Guest, machine
from tests.system.webserver import WebServer, digest

pytestmark = pytest.mark.system

SIZE = 6 << 20
CUTS = [mebibytes << 20 for mebibytes in (1, 3, 4, 8, 10)]
"""After so many bytes in all, most of them in the first half to the guest, in the second from it."""


class Cable:
    """Between QEMU, which listens and accepts again, and slirpy; cut by itself, and mended at once.

    Args:
        guest: path at which QEMU listens.
        join: a new connection to slirpy, whoever of the two connects.
    """

    def __init__(self, guest: Path, join: Callable[[], socket.socket]) -> None:
        self._guest = guest
        self._join = join
        self._over = threading.Event()
        self.carried = self.cuts = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _dial(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(self._guest))
        except OSError:  # not yet
            sock.close()
            self._over.wait(0.05)
            return None
        return sock

    def _run(self) -> None:
        while not self._over.is_set():
            near = self._dial()
            if near is None:
                continue
            with near:
                try:
                    far = self._join()
                except OSError:
                    continue
                with far:
                    self._carry(near, far)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Until one side ends, or it is time for a cut."""
        other = {near: far, far: near}
        with selectors.DefaultSelector() as selector:
            for sock in other:
                sock.settimeout(10)
                selector.register(sock, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in selector.select(0.1):
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        data = key.fileobj.recv(10_007)  # seldom the end of a frame
                        other[key.fileobj].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    self.carried += len(data)
                    if self.cuts < len(CUTS) and self.carried >= CUTS[self.cuts]:
                        self.cuts += 1
                        return

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def slirpy_connects(folder: Path, stack: ExitStack) -> Iterator[Callable[[], socket.socket]]:
    """One link, which connects again."""
    door = stack.enter_context(socket.socket(socket.AF_UNIX))
    door.bind(f"{folder}/door")
    door.listen()
    door.settimeout(1)
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(StreamLink.connect(unix(f"{folder}/door"), reconnect=0.1))
        net.start()
        yield lambda: door.accept()[0]
        net.stop()
        assert net.stats.link_connections > len(CUTS)  # one more may be under way at the end
        assert len(net.leases()) == 1


@contextmanager
def slirpy_listens(folder: Path, stack: ExitStack) -> Iterator[Callable[[], socket.socket]]:
    """``slirpy listen``: each connection is a new link, a guest that has come again."""
    with Listening("--stats", "--dns", "127.0.0.1:9", f"unix:{folder}/net.sock") as slirpy:
        joined = 0

        def join() -> socket.socket:
            nonlocal joined
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(f"{folder}/net.sock")
            joined += 1
            return sock

        yield join
        said = slirpy.end().split()
        # While QEMU ends its socket may take one call more.
        connections = int(said[said.index("link_connections") + 1])
        assert len(CUTS) < connections <= joined <= len(CUTS) + 2


def script(port: int) -> str:
    head = f"PUT /x HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {SIZE}\\r\\nConnection: close\\r\\n\\r\\n"
    return f"""{DHCP}
wget -q -O /f http://10.0.2.2:{port}/bytes/{SIZE}; echo "down $(sha256sum </f)"
echo "up $( (printf "{head}"; cat /f) | nc 10.0.2.2 {port} | tail -n 1)"
{DHCP}
"""


@pytest.mark.long
@pytest.mark.parametrize("how", [slirpy_connects, slirpy_listens], ids=lambda how: how.__name__)
@pytest.mark.usefixtures("kernel")
def test_transfers_and_lease_outlive_cuts(
    how: Callable[[Path, ExitStack], AbstractContextManager[Callable[[], socket.socket]]],
    folder: Path,
    web: WebServer,
) -> None:
    guest_end = folder / "guest"
    netdev: Sequence[str] = ["-netdev", f"stream,id=n,server=on,addr.type=unix,addr.path={guest_end}", *CARD]
    with ExitStack() as stack:
        join = stack.enter_context(how(folder, stack))
        cable = Cable(guest_end, join)
        stack.callback(cable.close)
        boot = stack.enter_context(Guest([QEMU, *machine(script(web.port)), *netdev])).finish()
        assert cable.cuts == len(CUTS)
        assert boot.after("down").split()[0] == digest(SIZE)
        assert boot.after("up") == digest(SIZE)
        leases = [line for line in boot.output.splitlines() if line.startswith("leased")]
        assert len(leases) == 2
        assert len(set(leases)) == 1
