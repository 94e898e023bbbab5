"""Tables that guests can make grow, and the transfers that end at the bound."""

from __future__ import annotations

from pathlib import Path

from slirpy.services.tftp import transfer as tftp_module
from tests.support.fake_network import FakeSink
from tests.unit.services.tftp.client import OTHER, Server, request


def test_a_guest_that_shows_many_addresses(root: Path) -> None:
    """Guests behind another link keep transfers, even several and idle ones; the idlest of the flood ends."""
    server = Server(root)
    mine, others = FakeSink(), FakeSink()
    for number in range(5):
        server.give(request("full"), guest=OTHER, port=1 + number, link=mine)
    for number in range(1000):
        server.net.run(1e-6)
        server.give(request("full"), guest=bytes((10, 0, 3 + number // 250, 1 + number % 250)), link=others)
    guests = [transfer.guest for transfer in server.service._transfers.by_client.values()]
    assert len(guests) == tftp_module.TRANSFERS_MAX
    assert guests.count(OTHER) == 5
    assert guests[5:][-1] == bytes((10, 0, 6, 250)), "the last one has room"
    assert guests[5:][0] == bytes((10, 0, 5, 250)), "the oldest of the flood went"
