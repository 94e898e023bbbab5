"""ICMP says that segments are too big (RFC 1191), or not wanted (RFC 1122): what is believed of it (RFC 5927)."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from slirpy.tcp import Connection, Settings, State
from slirpy.tcp.pathmtu import in_flight, refused_by_icmp, too_big
from slirpy.tcp.seq import MASK
from slirpy.wire.icmp import read_error
from tests.unit.tcp.script import ISS, Script, passive

MSS = 1460
V4: dict[str, Any] = {"ip_header": 20, "least_mtu": 68}
V6: dict[str, Any] = {"ip_header": 40, "least_mtu": 1280}


def sending(segments: int) -> Script:
    """Return a connection with ``segments`` in flight."""
    s = passive(Settings(rack=False))
    s.write(bytes(segments * MSS))
    s.out.clear()
    return s


def refused(conn: Connection, seq: int, kind: int, code: int) -> bool:
    trouble = read_error(kind, code, 0)
    return refused_by_icmp(conn, seq, trouble.error, trouble.hard)


def number(seq: int) -> int:
    return (ISS + seq) & MASK


@pytest.mark.rfc("5927", "4.1")
def test_data_in_flight_is_sent_and_not_acknowledged() -> None:
    s = sending(3)
    s.recv("A", 1, 1 + MSS)
    first, end = 1 + MSS, 1 + 3 * MSS
    answers = [
        in_flight(s.conn, number(seq)) for seq in (0, first - 1, first, first + 1, end - 1, end, end + 1)
    ]
    assert answers == [False, False, True, True, True, False, False]


def believed(s: Script, seq: int, mtu: int, length: int) -> bool:
    before = s.conn.mss, s.conn.cc.mss, s.conn.cc.cwnd
    taken = too_big(s.conn, number(seq), mtu, length, **V4)
    mss, of_control, window = s.conn.mss, s.conn.cc.mss, s.conn.cc.cwnd
    assert mss == of_control
    assert window == before[2], "nothing was lost for want of room (RFC 1191, section 6.5)"
    assert taken == (mss < before[0])
    return taken


@pytest.mark.rfc("5927", "7.2")
@pytest.mark.parametrize(
    ("seq", "mtu", "length", "mss"),
    [
        (1, 1400, 1500, 1360),
        (1, 1400, 1400, None),  # it would have fitted
        (1, 1399, 1400, 1359),
        (0, 1400, 1500, None),  # is not on its way
        (1 + 3 * MSS, 1400, 1500, None),
        (1, 1500, 1501, None),  # no less than before
        (1, 1499, 1500, 1459),
        (1, 68, 1500, 28),
        (1, 67, 1500, None),  # less than every link carries
        (1, 0, 1500, None),
    ],
)
def test_a_smaller_path_is_believed_if_that_makes_sense(
    seq: int, mtu: int, length: int, mss: int | None
) -> None:
    s = sending(3)
    assert believed(s, seq, mtu, length) == (mss is not None)
    assert s.conn.mss == (mss or MSS)
    s.flush()
    if mss is None:
        s.silence()
    else:
        assert [len(sent.data) for sent in s.out[:-1]] == [mss] * (3 * MSS // mss)
        assert b"".join(sent.data for sent in s.out) == bytes(3 * MSS)
        assert s.out[0].seq == 1


def test_timestamps_take_their_room() -> None:
    s = passive(timestamps=(1, 0))
    s.write(bytes(3 * MSS))
    assert too_big(s.conn, number(1), 1000, 1500, **V4)
    assert s.conn.mss == 1000 - 40 - 12
    assert too_big(s.conn, number(1), 68, 1500, **V4)
    assert s.conn.mss == 16
    assert not too_big(s.conn, number(1), 68, 1500, **V4), "it is reported once"


def test_another_family_has_another_header_and_another_least_mtu() -> None:
    s = sending(3)
    assert not too_big(s.conn, number(1), 1279, 1500, **V6)
    assert too_big(s.conn, number(1), 1280, 1500, **V6)
    assert s.conn.mss == 1220


def test_before_the_connection_is_open_nothing_is_too_big() -> None:
    conn = Connection(Settings(), ISS)
    conn.connect(0)
    conn.snd_max = conn.snd_nxt = number(1)
    assert in_flight(conn, ISS)
    assert not too_big(conn, ISS, 1000, 1500, **V4)


@pytest.mark.rfc("9293", "SHLD-25")
@pytest.mark.rfc("9293", "MUST-56")
@pytest.mark.rfc("9293", "MUST-56 time exceeded")
@pytest.mark.rfc("9293", "MUST-56 parameter problem")
@pytest.mark.rfc("5927", "5.2")
@pytest.mark.parametrize(
    ("kind", "code", "soft"),
    [
        (3, 0, errno.ENETUNREACH),
        (3, 1, errno.EHOSTUNREACH),
        (3, 2, errno.EHOSTUNREACH),
        (3, 3, errno.EHOSTUNREACH),
        (3, 5, errno.EHOSTUNREACH),
        (3, 6, errno.ENETUNREACH),
        (3, 7, errno.EHOSTUNREACH),
        (3, 9, errno.ENETUNREACH),
        (3, 10, errno.EHOSTUNREACH),
        (3, 11, errno.ENETUNREACH),
        (3, 12, errno.EHOSTUNREACH),
        (3, 13, errno.EHOSTUNREACH),
        (4, 0, 0),  # source quench says nothing (RFC 6633)
        (5, 0, 0),
        (11, 0, errno.EHOSTUNREACH),
        (11, 1, errno.EHOSTUNREACH),
        (12, 0, errno.EPROTO),
    ],
)
def test_icmp_errors_are_soft_for_an_established_connection(kind: int, code: int, soft: int) -> None:
    s = sending(2)
    assert not refused(s.conn, number(0), kind, code)
    assert s.conn.soft_error == 0
    assert refused(s.conn, number(1), kind, code)
    assert (s.conn.soft_error, s.conn.state) == (soft, State.ESTABLISHED)
    s.recv("A", 1, 1 + MSS)
    assert s.conn.soft_error == 0, "an answer has come"


@pytest.mark.rfc("9293", "SHLD-26")
@pytest.mark.parametrize("code", range(16))
def test_hard_icmp_errors_end_an_opening_connection(code: int) -> None:
    conn = Connection(Settings(), ISS)
    conn.connect(0)
    conn.snd_max = conn.snd_nxt = number(1)
    assert refused(conn, ISS, 3, code)
    if code in (2, 3, 9, 10, 13):
        assert (conn.state, conn.error) == (State.CLOSED, errno.ECONNREFUSED)
        assert conn.reset is None
    else:
        assert conn.state is State.SYN_SENT
        assert conn.soft_error


@pytest.mark.rfc("9293", "MUST-56 time exceeded")
@pytest.mark.rfc("9293", "MUST-56 parameter problem")
@pytest.mark.parametrize("kind", [11, 12])
def test_an_opening_connection_survives_soft_icmp_errors(kind: int) -> None:
    conn = Connection(Settings(), ISS)
    conn.connect(0)
    conn.snd_max = conn.snd_nxt = number(1)
    assert refused(conn, ISS, kind, 3)
    assert conn.state is State.SYN_SENT
    assert conn.soft_error == (errno.EHOSTUNREACH if kind == 11 else errno.EPROTO)


@pytest.mark.parametrize(("message", "expected"), [
    ((3, 0, 0), (errno.ENETUNREACH, False, 0)),
    ((3, 1, 0), (errno.EHOSTUNREACH, False, 0)),
    ((3, 2, 0), (errno.EHOSTUNREACH, True, 0)),
    ((3, 3, 0), (errno.ECONNREFUSED, True, 0)),
    ((3, 4, 0xABCD0578), (errno.EMSGSIZE, False, 1400)),  # the first half of the word is unused (RFC 1191)
    ((3, 9, 7), (errno.ENETUNREACH, True, 0)),
    ((3, 200, 0), (errno.EHOSTUNREACH, False, 0)),
    ((4, 0, 0), (0, False, 0)),
    ((5, 3, 1), (0, False, 0)),
    ((11, 3, 0), (errno.EHOSTUNREACH, False, 0)),
    ((12, 3, 0), (errno.EPROTO, False, 0)),
])  # fmt: skip
def test_errors_in_words_of_both_families(
    message: tuple[int, int, int], expected: tuple[int, bool, int]
) -> None:
    assert read_error(*message) == expected
