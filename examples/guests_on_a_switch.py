"""Three guests on one network: they get addresses, ping each other, and one serves another over TCP.

Run it with ``python examples/guests_on_a_switch.py``. Each guest has its own card; slirpy is the switch between
them, and the gateway. It needs no privileges and sends nothing beyond this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from slirpy import Config, Nic, Slirp
from slirpy.testing import Guest


def plug_in(net: Slirp, number: int) -> Guest:
    """Make a guest with its own card and MAC address."""
    nic: Nic

    def send(frame: bytes) -> None:
        nic.send(frame)

    guest = Guest(
        send,
        random=Random(number),
        now=time.monotonic_ns(),
        mac=f"52:54:00:00:00:{number:02x}",
    )
    nic = net.attach(lambda frame: guest.input(frame, time.monotonic_ns()))
    return guest


def main() -> None:
    """Run all steps, and print the results."""
    with Slirp(Config(resolvers=[])) as net:
        guests = [plug_in(net, number) for number in range(3)]

        def until(done: Callable[[], object]) -> None:
            end = time.monotonic() + 10
            while not done():
                if time.monotonic() > end:
                    raise TimeoutError("not within ten seconds")
                net.poll(0.01)
                for guest in guests:
                    guest.advance(time.monotonic_ns())

        clients = [guest.dhcp() for guest in guests]
        until(lambda: all(client.bound for client in clients))
        print("addresses:", ", ".join(str(guest.address) for guest in guests))

        pings = [a.ping(b.address) for a in guests for b in guests if a is not b and b.address is not None]
        until(lambda: all(ping.reply for ping in pings))
        print("pings answered:", len(pings))

        first, second, _ = guests
        assert second.address is not None
        listener = second.listen(80)
        stream = first.connect(second.address, 80)
        until(lambda: listener.accepted)
        listener.accepted[0].write(b"hello from the guest next door")
        until(lambda: stream.received.endswith(b"door"))
        print("over TCP:", bytes(stream.received).decode())

        stats = net.stats
        print(f"{stats.switch_forwarded} frames went to one guest, {stats.switch_flooded} to all the others")


if __name__ == "__main__":
    main()
