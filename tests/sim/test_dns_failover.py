"""The first resolver dies while a guest asks: the second takes over within two seconds, and no answer is lost."""

from __future__ import annotations

import dpkt
import pytest

from slirpy.config import Config
from tests.support.harness import GUEST, Net, udp

MS = 1_000_000
DNS = bytes((10, 0, 2, 3))
FIRST, SECOND = bytes((192, 0, 2, 53)), bytes((192, 0, 2, 54))


def query(number: int) -> bytes:
    """A query for a name of its own."""
    label = b"name%06d" % number
    return (
        number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + bytes((len(label),)) + label + b"\4test\0\0\1\0\1"
    )


def answer(message: bytes, address: object, port: int) -> bytes:
    """Answers of a resolver."""
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"
    return message[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + message[12:] + record


class Load:
    """A guest that asks without pause, each time for another name, and notes when the answers come."""

    def __init__(self, rate: int) -> None:
        self.net = Net(Config(resolvers=["192.0.2.53", "192.0.2.54"]))
        for server in (FIRST, SECOND):
            self.net.host.serve_udp(server, 53, answer)
        self.net.know()
        self.step = 1 / rate
        self.sent: list[int] = []
        self.waited: dict[int, float] = {}

    def ask(self, seconds: float) -> None:
        """Ask for so long."""
        end = self.net.now + seconds * 1000 * MS
        while self.net.now < end:
            number = len(self.sent)
            self.sent.append(self.net.now)
            frame = udp(query(number), sport=5000 + number % 5000, dport=53, destination=DNS)
            self.net.send(frame)
            self.run(self.step)

    def rest(self, seconds: float) -> None:
        """Wait, and note each answer when it comes."""
        for _ in range(round(seconds * 200)):
            self.run(0.005)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.net.run(seconds)
        for frame in self.net.take():
            datagram = frame.data.data
            assert isinstance(datagram, dpkt.udp.UDP)
            assert (frame.data.src, frame.data.dst, datagram.sport) == (DNS, GUEST, 53)
            number = int.from_bytes(datagram.data[:2], "big")
            assert datagram.dport == 5000 + number % 5000
            assert datagram.data[3] & 0x0F == 0, "not the answer"
            assert number not in self.waited, "answered twice"
            self.waited[number] = (self.net.now - self.sent[number]) / (1000 * MS)


@pytest.mark.long
@pytest.mark.parametrize("rate", [20, 2000])
@pytest.mark.parametrize("death", ["silent", "refused"])
def test_nothing_is_lost_when_the_first_resolver_dies(rate: int, death: str) -> None:
    load = Load(rate)
    load.ask(0.4)
    assert max(load.waited.values()) < 0.1
    if death == "silent":
        load.net.host.black_hole(FIRST)
    else:
        load.net.host.unreachable(FIRST)
    died = len(load.sent)
    load.ask(1.5)
    load.rest(2)
    assert len(load.waited) == len(load.sent)
    assert max(load.waited.values()) < (1.5 if death == "silent" else 0.1)
    late = [number for number, wait in load.waited.items() if number > died and wait > 0.1]
    assert len(late) < 500, "most are asked of the second at once"
    stats = load.net.stats
    assert (stats.dns_answers, stats.dns_servfail, stats.drop_dns_limit) == (len(load.sent), 0, 0)
    assert stats.dns_servers_failed == 1


def test_the_first_resolver_is_used_again_when_it_is_back() -> None:
    load = Load(50)
    load.net.host.black_hole(FIRST)
    load.ask(2)
    load.net.host.reachable(FIRST)
    load.ask(10)
    before = len(load.net.calls("send_udp"))
    load.ask(0.2)
    load.rest(1)
    assert len(load.waited) == len(load.sent)
    assert {call.address for call in load.net.calls("send_udp")[before:]} == {FIRST}
    assert max(wait for number, wait in load.waited.items() if number > 150) < 0.1
