"""A test in virtual time: a segment is lost and retransmitted, without waiting. Two runs are equal, byte for byte.

Run it with ``python examples/virtual_time.py``. It opens no socket.
"""

from __future__ import annotations

from slirpy.testing import Echo, VirtualNetwork, ladder
from slirpy.wire import ipv4

SERVER = "192.0.2.7"
MS = 1_000_000


def run(seed: int) -> VirtualNetwork:
    """Let a guest talk to an echo server while the first frame with the answer is lost."""
    net = VirtualNetwork(seed=seed, latency_ns=20 * MS)
    net.host.serve_tcp(SERVER, 7, Echo)
    net.boot()

    lost: list[bytes] = []

    def lose_one(direction: str, frame: bytes) -> int | None:
        header = ipv4.parse(frame[14:])
        if direction == "out" and not lost and header is not None and frame.endswith(b"hello"):
            lost.append(frame)
            return None
        return 0

    net.fault = lose_one
    stream = net.guest.connect(SERVER, 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    assert lost
    return net


def main() -> None:
    """Run it twice, and draw it."""
    net, again = run(seed=1), run(seed=1)
    assert net.transcript == again.transcript
    print(ladder(net.transcript))
    print(f"{net.now / MS:.0f} ms of virtual time; sent again by a probe: {net.stack.stats.tcp_tail_probes}")


if __name__ == "__main__":
    main()
