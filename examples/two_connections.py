"""The TCP engine alone: two connections over a wire that loses every tenth segment, in virtual time.

Run it with ``python examples/two_connections.py``. It loads no network, opens no socket and does not wait.
"""

from __future__ import annotations

from random import Random

from slirpy.tcp import Connection, Segment

DELAY = 20_000_000  # nanoseconds that a segment takes
SENT = bytes(range(256)) * 400


def main() -> None:
    """Send from one to the other until everything has arrived."""
    dice, now, lost = Random(1), 0, 0
    wire: list[tuple[int, Connection, Segment]] = []  # in order of arrival, since all take the same time
    arrived = bytearray()
    a, b = Connection(iss=1), Connection(iss=2)
    b.listen(now)
    a.connect(now)
    a.write(SENT)
    while len(arrived) < len(SENT):
        for sender, receiver in ((a, b), (b, a)):
            for segment in sender.segments_to_send(now):
                if dice.random() < 0.1:
                    lost += 1
                else:
                    wire.append((now + DELAY, receiver, segment))
        events = [arrival for arrival, _, _ in wire] + [a.deadline(), b.deadline()]
        now = min(when for when in events if when is not None)
        while wire and wire[0][0] <= now:
            _, receiver, segment = wire.pop(0)
            receiver.receive(segment, now)
        a.handle_timeout(now)
        b.handle_timeout(now)
        arrived += b.read()
    assert arrived == SENT
    print(f"{len(arrived)} bytes arrived after {now / 1e6:.0f} ms, although {lost} segments were lost")
    print(f"sender: {a}")


if __name__ == "__main__":
    main()
