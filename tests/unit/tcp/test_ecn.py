"""Explicit congestion notification (RFC 3168)."""

from __future__ import annotations

import pytest

from slirpy.tcp import Connection, Segment, Settings
from slirpy.tcp.ecn import CE, ECT0
from slirpy.tcp.options import NONE, TcpOptions
from slirpy.wire.tcp import ACK, CWR, ECE, SYN

SECOND, MS = 1_000_000_000, 1_000_000
SYN_OPTIONS = TcpOptions(mss=1000, sack_permitted=True)
CHUNK = bytes(1000)
OFFER = SYN | ECE | CWR


class End:
    """Connection with a scripted peer: 5000 is the number of the peer's SYN, and 1000 that of ours."""

    def __init__(self, offer: int = OFFER, *, ecn: bool = True) -> None:
        self.conn = Connection(Settings(mss=1000, ecn=ecn), 1000)
        self.now = SECOND
        self.conn.listen(self.now)
        (self.syn_ack,) = self.get(offer, seq=5000, options=SYN_OPTIONS)
        self.get(ACK, ack=1001)

    def get(
        self, flags: int, *, ack: int = 0, seq: int = 5001, data: bytes = b"", ecn: int = 0,
        options: TcpOptions = NONE, wnd: int = 60_000,
    ) -> list[Segment]:  # fmt: skip
        """Receive a segment, and return the answers."""
        self.conn.receive(Segment(seq, ack, flags, wnd, options, data, 0, ecn), self.now)
        self.conn.consume(self.conn.rcv_pending)
        return self.conn.segments_to_send(self.now)

    def write(self, count: int) -> list[Segment]:
        """Write full segments; returns those that go out."""
        self.conn.write(CHUNK * count)
        return self.conn.segments_to_send(self.now)


@pytest.mark.rfc("3168", "6.1.1 accept")
@pytest.mark.rfc("3168", "6.1.1 syn")
def test_an_offer_is_accepted() -> None:
    end = End()
    assert end.syn_ack.flags == SYN | ACK | ECE
    assert end.syn_ack.ecn == 0


@pytest.mark.rfc("3168", "6.1.1 neither")
@pytest.mark.parametrize(("offer", "on"), [(SYN, True), (SYN | ECE, True), (SYN | CWR, True), (OFFER, False)])
def test_without_an_agreement_nothing_is_marked(offer: int, on: bool) -> None:
    end = End(offer, ecn=on)
    assert end.syn_ack.flags == SYN | ACK
    assert [(each.ecn, each.flags & (ECE | CWR)) for each in end.write(3)] == [(0, 0)] * 3
    before = end.conn.cc.cwnd
    answers = end.get(ACK | ECE, ack=2001, data=CHUNK, ecn=CE)
    assert not any(each.flags & (ECE | CWR) for each in answers)
    assert end.conn.cc.cwnd >= before


@pytest.mark.rfc("3168", "6.1.1.1 again")
def test_a_repeated_syn_without_the_offer_withdraws_it() -> None:
    conn = Connection(Settings(mss=1000, ecn=True), 1000)
    conn.listen(SECOND)
    conn.receive(Segment(5000, 0, OFFER, 60_000, SYN_OPTIONS), SECOND)
    assert [each.flags for each in conn.segments_to_send(SECOND)] == [SYN | ACK | ECE]
    conn.receive(Segment(5000, 0, SYN, 60_000, SYN_OPTIONS), 2 * SECOND)
    assert [each.flags for each in conn.segments_to_send(2 * SECOND)] == [SYN | ACK]
    assert conn.ecn is None


@pytest.mark.rfc("3168", "6.1.2 data")
@pytest.mark.rfc("3168", "6.1.4 acks")
def test_new_data_is_capable_and_acks_alone_are_not() -> None:
    end = End()
    assert [each.ecn for each in end.write(3)] == [ECT0] * 3
    (answer,) = end.get(ACK, ack=4001, data=CHUNK + CHUNK, ecn=ECT0)
    assert (answer.flags, answer.ecn) == (ACK, 0)


@pytest.mark.rfc("3168", "6.1.3 echo")
@pytest.mark.rfc("3168", "6.1.3 new")
def test_a_mark_is_echoed_until_the_peer_has_reduced() -> None:
    end = End()
    (answer,) = end.get(ACK, ack=1001, data=CHUNK, ecn=CE)
    assert answer.flags == ACK | ECE, "at once"
    for number in (1, 3):
        (answer,) = end.get(ACK, ack=1001, seq=5001 + 1000 * number, data=CHUNK * 2, ecn=ECT0)
        assert answer.flags == ACK | ECE
    assert end.write(1)[0].flags & ECE
    (answer,) = end.get(ACK | CWR, ack=2001, seq=10_001, data=CHUNK * 2, ecn=ECT0)
    assert answer.flags == ACK
    (answer,) = end.get(ACK | CWR, ack=2001, seq=12_001, data=CHUNK, ecn=CE)
    assert answer.flags == ACK | ECE
    assert end.conn.stats.tcp_ecn_marks == 2


@pytest.mark.rfc("9293", "SHLD-8")
@pytest.mark.rfc("3168", "6.1.2 reduce")
@pytest.mark.rfc("3168", "6.1.2 once")
@pytest.mark.rfc("3168", "6.1.2 CWR")
def test_an_echo_reduces_the_window_once_a_round_trip() -> None:
    end = End()
    end.write(10)
    before = end.conn.cc.cwnd
    assert end.get(ACK | ECE, ack=2001) == [], "nothing is retransmitted"
    reduced = end.conn.cc.cwnd
    assert reduced == 7 * before // 10
    for ack in (3001, 4001, 5001):
        end.get(ACK | ECE, ack=ack)
    assert end.conn.cc.cwnd >= reduced
    assert end.conn.stats.tcp_ecn_reductions == 1
    sent = end.write(5)
    assert [bool(each.flags & CWR) for each in sent] == [True] + [False] * (len(sent) - 1)
    end.get(ACK | ECE, ack=end.conn.snd_max)
    assert end.conn.stats.tcp_ecn_reductions == 2, "the next window of data"


@pytest.mark.rfc("3168", "6.1.2 once")
def test_an_echo_during_a_recovery_does_not_reduce_the_window_again() -> None:
    end = End()
    end.write(10)
    for last in (3001, 4001, 5001, 6001):
        end.get(ACK, ack=1001, options=TcpOptions(sack=((2001, last),)))
    assert end.conn.in_recovery
    threshold = end.conn.cc.ssthresh
    end.get(ACK | ECE, ack=1001, options=TcpOptions(sack=((2001, 7001),)))
    assert end.conn.cc.ssthresh == threshold
    assert end.conn.stats.tcp_ecn_reductions == 0


@pytest.mark.rfc("3168", "6.1.5 again")
@pytest.mark.rfc("3168", "6.1.2 CWR")
def test_a_retransmission_is_not_capable_and_its_reduction_is_reported() -> None:
    end = End()
    end.write(4)
    end.now = end.conn.deadline() or 0
    end.conn.handle_timeout(end.now)
    end.now = max(end.now, end.conn.timer_at)
    end.conn.handle_timeout(end.now)
    again = end.conn.segments_to_send(end.now)
    assert again
    assert {(each.ecn, each.flags & CWR) for each in again if each.seq < 5001} == {(0, 0)}
    end.get(ACK, ack=5001)
    (new,) = end.write(1)
    assert (new.ecn, new.flags & CWR) == (ECT0, CWR)


@pytest.mark.rfc("3168", "6.1.6 probes")
def test_a_probe_of_a_closed_window_is_not_capable() -> None:
    end = End()
    end.write(1)
    end.get(ACK, ack=2001, wnd=0)
    assert end.write(1) == []
    end.now = end.conn.timer_at
    end.conn.handle_timeout(end.now)
    (probe,) = end.conn.segments_to_send(end.now)
    assert (len(probe.payload), probe.ecn) == (1, 0)
