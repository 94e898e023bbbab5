"""Input that a peer should not send: what happens, by which RFC, and which counter reports it.

Most of these segments can be forged by somebody who sees nothing of the connection: none may change what is
delivered, end the connection, or make it send more than it was sent.
"""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import pytest

from slirpy.stats import Stats
from slirpy.tcp import Settings, State, options
from slirpy.tcp.delivery import take_text
from slirpy.tcp.seq import MASK
from tests.support.repository import REPOSITORY
from tests.unit.tcp.script import IRS, ISS, MS, SECOND, Script, active, passive

ALL_COUNTERS = ("drop_", "tcp_bad", "tcp_urgent", "tcp_challenge_acks")


def counted(s: Script) -> dict[str, int]:
    """The counters of bad input that have counted."""
    return {name: n for name, n in s.conn.stats.nonzero().items() if name.startswith(ALL_COUNTERS)}


def unharmed(s: Script) -> None:
    """The connection is open, has delivered nothing, and goes on."""
    s.state(State.ESTABLISHED)
    assert s.conn.rcv_pending == 0
    s.out.clear()
    s.now += SECOND
    s.recv("PA", 1, 1, data=b"honest")
    assert s.read() == b"honest"
    s.out.clear()
    s.write(b"answer")
    assert s.send("PA", 1, 7, b"answer").urg == 0


CHALLENGED = {"tcp_challenge_acks": 1}


# ------------------------------------------------------------------------------------------ flags


@pytest.mark.parametrize(
    ("flags", "counters", "answered"),
    [
        ("", {"drop_tcp_flags": 1}, False),
        ("P", {"drop_tcp_flags": 1}, False),
        ("F", {"drop_tcp_flags": 1}, False),
        ("U", {"drop_tcp_flags": 1}, False),
        pytest.param("S", {"drop_tcp_syn": 1, **CHALLENGED}, True, marks=pytest.mark.rfc("5961", "4.2")),
        ("SA", {"drop_tcp_syn": 1, **CHALLENGED}, True),
        ("SF", {"drop_tcp_syn": 1, **CHALLENGED}, True),
        ("SFPU", {"drop_tcp_syn": 1, **CHALLENGED}, True),
    ],
)
@pytest.mark.parametrize("data", [b"", b"blind"])
def test_odd_flags(flags: str, counters: dict[str, int], answered: bool, data: bytes) -> None:
    """Only what has an ACK is heard (RFC 9293, section 3.10.7.4, fifth); no SYN is taken, whatever comes with it."""
    s = passive()
    s.recv(flags, 1, 1, data=data)
    assert counted(s) == counters
    if answered:
        s.send("A", 1, 1, b"")
    s.silence()
    unharmed(s)


@pytest.mark.parametrize("flags", ["SR", "SFRPAU"])
def test_a_reset_with_other_flags_is_a_reset(flags: str) -> None:
    """RFC 9293, section 3.10.7.4: RST is looked at before the rest."""
    s = passive()
    s.recv(flags, 1, 1).silence().state(State.CLOSED)
    assert s.conn.error == errno.ECONNRESET


@pytest.mark.rfc("5961", "4.2")
@pytest.mark.parametrize("seq", [-70_000, -5, 0, 1, 2, 60_000, 70_000, 1 << 30])
@pytest.mark.parametrize("data", [b"", b"x" * 100_000])
def test_a_syn_is_never_taken_wherever_it_is(seq: int, data: bytes) -> None:
    """Also one whose text reaches into the window."""
    s = passive()
    s.recv("SA", seq, 1, data=data)
    s.send("A", 1, 1, b"")
    s.silence()
    unharmed(s)


def test_flags_while_opening() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("", 0).recv("F", 0).recv("PU", 0, data=b"x").recv("A", 0, 1).silence()
    assert counted(s) == {"drop_tcp_flags": 4}
    s.recv("A", 0, 2).send("R", 2)
    s.recv("SA", 0, 2).send("R", 2)
    assert counted(s) == {"drop_tcp_flags": 4, "drop_tcp_ack_opening": 2}
    s.recv("R", 0).recv("RA", 0, 2).recv("RA", 0, 0).silence().state(State.SYN_SENT)
    assert counted(s)["drop_tcp_reset"] == 3
    s.recv("SA", 0, 1).send("A", 1, 1)
    s.state(State.ESTABLISHED)


def test_flags_while_listening() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("", 0).recv("F", 0).recv("R", 0).silence()
    s.recv("SA", 0, 5).send("R", 5)
    s.recv("A", 0, 6).send("R", 6)
    assert counted(s) == {"drop_tcp_flags": 2, "drop_tcp_reset": 1, "drop_tcp_ack_opening": 2}
    s.state(State.LISTEN)


# ----------------------------------------------------------------------------------------- resets


@pytest.mark.rfc("5961", "3.2 exact")
@pytest.mark.rfc("5961", "3.2 challenge")
@pytest.mark.rfc("5961", "3.2 outside")
@pytest.mark.parametrize(
    ("seq", "challenged"),
    [(0, False), (2, True), (65_535, True), (65_536, False), (-1 << 30, False)],
)
def test_a_blind_reset(seq: int, challenged: bool) -> None:
    """Only the very number that is due resets; another one in the window is asked about, the rest is not heard."""
    s = passive()
    s.recv("R", seq)
    assert counted(s) == {"drop_tcp_reset": 1, **(CHALLENGED if challenged else {})}
    if challenged:
        s.send("A", 1, 1, b"")
    s.silence()
    unharmed(s)


@pytest.mark.rfc("5961", "3.2 exact")
def test_a_long_reset_hits_no_better() -> None:
    """Text in a reset does not count: or one of 64 KiB would need a try in 64 KiB numbers."""
    s = passive()
    s.recv("RA", -1000, 1, data=bytes(60_000)).silence()  # its number is outside of the window
    assert counted(s) == {"drop_tcp_reset": 1}
    s.recv("RA", 2, 1, data=bytes(60_000))
    s.send("A", 1, 1, b"")
    unharmed(s)


@pytest.mark.rfc("5961", "7")
def test_challenges_do_not_amplify() -> None:
    s = passive()
    for number in range(1000):
        s.recv("R", 2 + number).recv("S", 1 + number).recv("A", 1, 5000).recv("A", -1 - number, 1)
    assert len(s.out) == 1
    assert s.conn.stats.tcp_challenges_suppressed == 3999
    unharmed(s)


# --------------------------------------------------------------------------------- sequence numbers


@pytest.mark.parametrize(
    ("seq", "data", "counter"),
    [
        (-4, b"past", "drop_tcp_old"),
        (0, b"x", "drop_tcp_old"),
        (-(1 << 31) + 2, b"x", "drop_tcp_old"),
        (65_536, b"future", "drop_tcp_out_of_window"),
        (1 << 31, b"x", "drop_tcp_out_of_window"),
    ],
)
def test_text_outside_of_the_window(seq: int, data: bytes, counter: str) -> None:
    """RFC 9293, section 3.10.7.4, first: it is answered by an ACK and dropped."""
    s = passive()
    s.recv("PA", seq, 1, data=data)
    s.send("A", 1, 1, b"")
    s.silence()
    assert counted(s) == {counter: 1}
    unharmed(s)


def test_text_of_the_past_and_the_future_at_once() -> None:
    """Of a segment longer than the window the part inside is taken, neither what was there nor what has no room."""
    s = passive(Settings(rcv_buffer=1000))
    s.recv("A", 1, 1, data=b"first")
    assert s.read() == b"first"
    s.recv("A", 1, 1, data=b"XXXXX" + bytes(3000))
    assert s.conn.rcv_pending == 995
    assert s.read() == bytes(995)


@pytest.mark.rfc("7323", "5.3")
def test_an_old_timestamp() -> None:
    """PAWS: after sequence numbers wrap, only its timestamp identifies an old segment."""
    s = passive(timestamps=(1000, 0))
    s.recv("PA", 1, 1, data=b"wrapped", timestamps=(999, 0))
    s.send("A", 1, 1, b"")
    s.recv("PA", 1, 1, data=b"no timestamp").silence()
    assert counted(s) == {"drop_tcp_paws": 2}
    assert s.conn.rcv_pending == 0


# -------------------------------------------------------------------------------------------- ACKs


@pytest.mark.rfc("9293", "3.10.7.4")
@pytest.mark.parametrize("ack", [2, 70_000, (1 << 31) - 5])
def test_an_ack_of_the_future(ack: int) -> None:
    """Of what was never sent: it is answered, and what it came with is dropped."""
    s = passive()
    s.recv("PA", 1, ack, data=b"optimistic")
    s.send("A", 1, 1, b"")
    assert counted(s) == {"drop_tcp_ack_future": 1, **CHALLENGED}
    assert s.conn.snd_una == s.conn.snd_max
    unharmed(s)


def test_optimistic_acks_open_no_window() -> None:
    """An ACK ahead of the data gains nothing."""
    s = passive()
    s.write(bytes(100_000))
    sent, window = s.conn.snd_max, s.conn.cc.cwnd
    s.out.clear()
    for ahead in range(1, 50):
        s.recv("A", 1, ((sent - ISS) & MASK) + 1460 * ahead)
    assert s.conn.cc.cwnd == window
    assert [out for out in s.out if out.data] == []
    assert s.conn.stats.drop_tcp_ack_future == 49


@pytest.mark.rfc("5961", "5.2 old")
@pytest.mark.parametrize("ack", [1 - 65_536, -(1 << 30), 1 - (1 << 31)])
def test_blind_data(ack: int) -> None:
    """An attacker who sees nothing has to guess the ACK too."""
    s = passive()
    s.recv("PA", 1, ack, data=b"forged")
    s.send("A", 1, 1, b"")
    assert counted(s) == {"drop_tcp_ack_old": 1, **CHALLENGED}
    unharmed(s)


@pytest.mark.rfc("5961", "5.2 old")
def test_a_late_ack_is_no_forgery() -> None:
    s = passive()
    s.recv("PA", 1, 1 - 65_535, data=b"late")
    assert s.read() == b"late"
    assert counted(s) == {}


@pytest.mark.rfc("3465", "2.1")
def test_an_ack_in_a_thousand_parts_opens_no_more_than_one() -> None:
    """ACK division: bytes count, not acknowledgements."""
    whole, divided = passive(), passive()
    for s in (whole, divided):
        s.write(bytes(1460))
    for part in range(1, 1461):
        divided.recv("A", 1, 1 + part)
    whole.recv("A", 1, 1461)
    assert divided.conn.cc.cwnd == whole.conn.cc.cwnd


@pytest.mark.rfc("5681", "4.3")
@pytest.mark.parametrize("sack", [False, True])
def test_spoofed_duplicates_send_no_more_than_was_there(sack: bool) -> None:
    """Duplicate ACKs add to the window, in the end one segment each; the peer's window bounds that, and with SACK
    only what blocks tell of counts."""
    s = passive(wnd=65_535, sack_permitted=sack)
    s.write(bytes(200_000))
    flight = sum(len(sent.data) for sent in s.out)
    for _ in range(1000):
        s.recv("A", 1, 1)
    sent = sum(len(sent.data) for sent in s.out)
    assert sent <= 65_535 + 1460
    if sack:
        assert sent == flight


def test_a_shrinking_window() -> None:
    """RFC 9293, SHLD-16: what is in flight beyond the new edge is not sent again before there is room, nor lost."""
    s = passive(wnd=10_000)
    s.write(bytes(10_000))
    s.out.clear()
    s.recv("A", 1, 1461, wnd=1000).silence()
    s.recv("A", 1, 1461, wnd=0).silence()
    s.wait(3 * SECOND)
    assert all(sent.seq == 1461 for sent in s.out)
    s.out.clear()
    s.recv("A", 1, 10_001, wnd=10_000).silence()
    assert s.conn.snd_buf.length == 0


# ----------------------------------------------------------------------------------------- options

MSS_1460 = b"\x02\x04\x05\xb4"


@pytest.mark.rfc("9293", "MUST-7")
@pytest.mark.parametrize(
    ("data", "bad", "mss"),
    [
        (b"\x08\x00" + MSS_1460 + b"\0\0", True, None),  # length 0
        (b"\x08\x01" + MSS_1460 + b"\0\0", True, None),  # length 1
        (b"\xfe\x00" + MSS_1460 + b"\0\0", True, None),  # of an unknown kind too
        (MSS_1460 + b"\x08\x0a\0\0", True, 1460),  # beyond the end
        (MSS_1460 + b"\x01\x01\x01\x08", True, 1460),  # no room for a length
        (b"\x02\x03\x05\x01" + MSS_1460, True, 1460),  # a known kind of another length is skipped
        (b"\x03\x04\x05\x01" + MSS_1460, True, 1460),
        (b"\x04\x03\x05\x01" + MSS_1460, True, 1460),
        (b"\x08\x03\x05\x01" + MSS_1460, True, 1460),
        (b"\x05\x03\x05\x01" + MSS_1460, True, 1460),
        (b"\x05\x0bAAAABBBBC\x01" + MSS_1460, True, 1460),  # SACK and a half
        (b"\xfd\x04\xab\xcd" + MSS_1460, False, 1460),  # unknown: skipped (MUST-6)
        (b"\x13\x12" + bytes(16) + MSS_1460, False, 1460),  # a signature that nobody asked for (RFC 2385)
        (b"\x02\x04\x02\x00" + MSS_1460, False, 1460),  # twice: the last one counts
        (b"\x00" + MSS_1460 + b"\0\0\0", False, None),  # behind the end
        (b"\x02\x04\x00\x00", True, 0),
        (b"\x03\x03\x0f\x01" + MSS_1460, True, 1460),
    ],
)
def test_impossible_options(data: bytes, bad: bool, mss: int | None) -> None:
    """Options are read up to a length that cannot be; and it is counted."""
    parsed = options.parse(data)
    assert (parsed.bad, parsed.mss) == (bad, mss)
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0, **parsed._asdict())
    s.send("SA", 0, 1)
    assert counted(s) == ({"tcp_bad_options": 1} if bad else {})


@pytest.mark.rfc("9293", "MUST-16")
@pytest.mark.parametrize("mss", [0, 1, 7])
def test_no_mss_is_too_small_to_get_on(mss: int) -> None:
    s = passive(mss=mss)
    s.write(bytes(80))
    assert [len(sent.data) for sent in s.out] == [8] * 10


@pytest.mark.rfc("7323", "2.3")
def test_a_scale_beyond_the_most_is_the_most() -> None:
    """2**30 is the largest window."""
    parsed = options.parse(b"\x03\x03\xff\x01")
    assert parsed.wscale == 14
    s = passive(wscale=parsed.wscale, wnd=65_535)
    assert s.conn.snd_wnd_max == 65_535 << 14


@pytest.mark.rfc("2018", "8 nonsense")
@pytest.mark.parametrize(
    "block",
    [
        pytest.param((5000, 2000), id="inverted"),
        pytest.param((2000, 2000), id="empty"),
        pytest.param((1461, 50_001), id="of what was never sent"),
        pytest.param((60_000, 61_460), id="all of it beyond"),
    ],
)
def test_blocks_that_cannot_be(block: tuple[int, int]) -> None:
    """Such blocks carry no information, and trigger no retransmission."""
    s = passive(sack_permitted=True)
    s.write(bytes(14_600))
    s.out.clear()
    edges = tuple((ISS + edge) & MASK for edge in block)
    for _ in range(10):
        s.recv("A", 1, 1, sack=((edges[0], edges[1]),)).silence()
    assert counted(s) == {"tcp_bad_sacks": 10}
    assert s.conn.sacked == []
    s.recv("A", 1, 14_601).silence()


@pytest.mark.rfc("2018", "8 keep")
def test_reneging() -> None:
    """The peer may throw away what it has told of: it is kept here until it is acknowledged, and sent again."""
    s = passive(sack_permitted=True)
    s.write(bytes(14_600))
    s.out.clear()
    block = ((ISS + 2921) & MASK, (ISS + 14_601) & MASK)
    s.recv("A", 1, 1, sack=(block,))
    s.recv("A", 1, 1, sack=(block,))
    s.out.clear()
    s.recv("A", 1, 2921)  # it lacks what it has told of
    assert s.conn.stats.tcp_sack_reneging == 1
    s.wait(20 * SECOND)
    assert {sent.seq for sent in s.out} >= {2921}
    s.recv("A", 1, 14_601)
    assert s.conn.snd_buf.length == 0


# ---------------------------------------------------------------------- the same number, other data


@pytest.mark.parametrize("sack", [False, True])
def test_the_first_copy_wins_in_the_queue(sack: bool) -> None:
    """Also over a segment in its turn that covers what waits: or what was checked could be changed afterwards."""
    s = passive(sack_permitted=sack)
    s.recv("A", 6, 1, data=b"FIRST")
    s.recv("A", 16, 1, data=b"FIRST")
    s.recv("A", 4, 1, data=b"xxxxxxxxxxxxxxxxxxxx")
    assert s.conn.rcv_pending == 0
    s.recv("A", 1, 1, data=b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")
    assert s.read() == b"yyyxxFIRSTxxxxxFIRSTxxxyyyyyyy"


def test_delivered_data_is_not_overwritten_by_a_second_copy() -> None:
    s = passive()
    s.recv("A", 1, 1, data=b"FIRST")
    s.recv("A", 8, 1, data=b"SECOND")
    s.recv("A", 1, 1, data=b"xxxxxxxxxxxxxxxx")
    assert s.read() == b"FIRSTxxSECONDxxx"


def test_data_waiting_for_the_user_is_copied_from_frames() -> None:
    """Frames are used again after a flush; nothing that stays may lie in one."""
    s = passive()
    s.recv("A", 5, 1, data=b"late")
    frame = bytearray(b"text")
    seg_before = len(s.conn.rcv_queue)
    s.recv("A", 1, 1, data=b"")
    take_text(s.conn, (IRS + 1) & MASK, memoryview(frame), s.now)
    assert len(s.conn.rcv_queue) > seg_before
    s.conn.copy_received()
    frame[:] = b"XXXX"
    assert s.read() == b"textlate"


# --------------------------------------------------------------------------------- behind the end


def test_text_behind_the_end_is_none() -> None:
    s = passive()
    s.recv("FA", 1, 1, data=b"end")
    s.recv("PA", 5, 1, data=b"more")
    s.recv("FA", 9, 1)
    assert s.read() == b"end"
    s.state(State.CLOSE_WAIT)
    assert s.conn.stats.drop_tcp_after_fin >= 1


def test_text_behind_an_end_that_came_early() -> None:
    s = passive()
    s.recv("FA", 4, 1, data=b"end")
    s.recv("PA", 6, 1, data=b"d and more")
    assert s.conn.stats.drop_tcp_after_fin == 1
    s.recv("A", 1, 1, data=b"the")
    assert s.read() == b"theend"
    s.state(State.CLOSE_WAIT)


def test_an_end_before_text_that_has_come_is_none() -> None:
    """The copies contradict each other, and the first one wins here too."""
    s = passive()
    s.recv("A", 11, 1, data=b"later")
    s.recv("FA", 4, 1, data=b"end")
    assert s.conn.stats.drop_tcp_after_fin == 1
    s.recv("A", 1, 1, data=b"the")
    s.recv("A", 7, 1, data=b"more")
    assert s.read() == b"theendmorelater"
    s.state(State.ESTABLISHED)


# ------------------------------------------------------------------------------------ while opening


def test_a_wrong_ack_of_our_syn() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0, mss=1460)
    s.send("SA", 0, 1)
    s.recv("A", 1, 2).send("R", 2)
    assert counted(s) == {"drop_tcp_ack_opening": 1}
    s.recv("A", 1, 1).state(State.ESTABLISHED)


def test_two_that_are_out_of_step_fall_silent() -> None:
    """Each finds the other's ACKs out of place, and answers: that must come to an end (RFC 5961, section 7)."""
    a, b = passive(), active()
    a.recv("A", 5000, 5000, wnd=1000)
    rounds = 0
    while a.out or b.out:
        rounds += 1
        assert rounds < 10
        for one, other in ((a, b), (b, a)):
            for sent in one.out:
                other.recv(sent.flags, sent.seq + 100_000, (sent.ack or 0) + 100_000)
            one.out.clear()


def test_the_page_lists_every_counter() -> None:
    page = (REPOSITORY / "docs" / "tcp.md").read_text()
    table = page[page.index("## Bad segments") : page.index("## Urgent data")]
    elsewhere = {"drop_tcp_policy", "drop_tcp_broadcast"}  # of the network, not of the engine
    for name in Stats.describe():
        if name.startswith(("drop_tcp_", "tcp_bad_", "tcp_challenge")) and name not in elsewhere:
            assert f"`{name}`" in table, name


def test_random_segments_break_nothing() -> None:
    """Ten thousand of them: no exception, and whatever was delivered once stays in order."""
    rng = Random(9293)
    for _ in range(20):
        s = passive(Settings(rcv_buffer=20_000), sack_permitted=True, timestamps=(1, 1))
        for _ in range(500):
            more: dict[str, Any] = {}
            if rng.random() < 0.9:
                more["timestamps"] = (rng.choice((1, 2, 3, rng.getrandbits(32))), rng.getrandbits(32))
            if rng.random() < 0.3:
                more["sack"] = tuple(
                    (rng.getrandbits(32), rng.getrandbits(32)) for _ in range(rng.randrange(1, 5))
                )
            flags = "".join(letter for letter in "SFRPAU" if rng.random() < (0.9 if letter == "A" else 0.03))
            near = rng.random() < 0.8
            seq = (
                ((s.conn.rcv_nxt - IRS) & MASK) + rng.randrange(-3000, 25_000) if near else rng.getrandbits(32)
            )
            ack = ((s.conn.snd_una - ISS) & MASK) + rng.randrange(0, 3) if near else rng.getrandbits(32)
            s.recv(flags, seq, ack, data=bytes(rng.randrange(0, 2000)), urg=rng.getrandbits(16), **more)
            assert s.conn.rcv_pending + s.conn.reassembly.size <= 20_000
            s.out.clear()
            if rng.random() < 0.1 and s.conn.rcv_queue:
                s.read()
            if rng.random() < 0.1:
                s.conn.write(bytes(rng.randrange(3000)))
                s.wait(rng.randrange(50) * MS)
