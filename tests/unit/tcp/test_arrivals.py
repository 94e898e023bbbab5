"""Every kind of segment in every state: the next state and the answer, by RFC 9293, section 3.10.7.

What is wanted is written down here from the text of the RFC: its steps in its order, and for each step a table of the
states. Nothing of it is taken from the engine but RCV.WND. Numbers are relative, as in ``tcp_states``.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from slirpy.tcp import Segment, Settings, State, reset_for
from slirpy.tcp.states import TRANSITIONS
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK
from tests.unit.tcp.script import SECOND, Script, flag_bits, passive
from tests.unit.tcp.states import DATA, WAYS, build

Answer = tuple[str, int, int | None]
"""Flags, SEQ, and ACK if there is one."""


class Known(NamedTuple):
    """The variables of section 3.3.1, for one way to a state."""

    una: int
    nxt: int
    rcv: int
    fin: bool = False
    """True if our FIN is in flight: then it is the last number before SND.NXT."""


CLOSED_WINDOW = "ESTABLISHED, window closed"
KNOWN = {
    "SYN-RECEIVED": Known(0, 1, 1),
    "SYN-RECEIVED, active": Known(0, 1, 1),
    "ESTABLISHED": Known(1, 101, 1),
    CLOSED_WINDOW: Known(1, 101, 1001),
    "FIN-WAIT-1": Known(1, 102, 1, fin=True),
    "FIN-WAIT-2": Known(102, 102, 1),
    "CLOSE-WAIT": Known(1, 101, 2),
    "CLOSING": Known(1, 102, 2, fin=True),
    "LAST-ACK": Known(1, 102, 2, fin=True),
    "TIME-WAIT": Known(102, 102, 2),
}
MAX_SND_WND = 65535

# Second, RST: what the connection ends by. In SYN-RECEIVED after a passive OPEN the RFC returns to LISTEN; whoever
# makes our connections does so by making another one.
ERROR_OF_A_RESET = {
    "SYN-RECEIVED": errno.ECONNRESET,
    "SYN-RECEIVED, active": errno.ECONNREFUSED,
    "ESTABLISHED": errno.ECONNRESET,
    CLOSED_WINDOW: errno.ECONNRESET,
    "FIN-WAIT-1": errno.ECONNRESET,
    "FIN-WAIT-2": errno.ECONNRESET,
    "CLOSE-WAIT": errno.ECONNRESET,
    "CLOSING": errno.ECONNRESET,
    "LAST-ACK": errno.ECONNRESET,
    "TIME-WAIT": 0,
}
# Fifth, ACK of our FIN.
OUR_FIN_IS_ACKNOWLEDGED = {"FIN-WAIT-1": "FIN-WAIT-2", "CLOSING": "TIME-WAIT", "LAST-ACK": "CLOSED"}
# Seventh and eighth: where text and FIN are looked at. Elsewhere the peer's FIN has come before; another one behind
# it would be an end of a stream that has ended, and is ignored like the text.
AFTER_FIN = {"ESTABLISHED": "CLOSE-WAIT", "FIN-WAIT-1": "CLOSING", "FIN-WAIT-2": "TIME-WAIT"}


class Kind(NamedTuple):
    """A segment."""

    flags: str
    seq: int
    ack: int
    data: int

    @property
    def length(self) -> int:
        """SEG.LEN."""
        return self.data + ("S" in self.flags) + ("F" in self.flags)


def in_listen(seg: Kind) -> tuple[str, list[Answer]]:
    """Section 3.10.7.2."""
    if "R" in seg.flags:
        return "LISTEN", []
    if "A" in seg.flags:
        return "LISTEN", [("R", seg.ack, None)]
    if "S" in seg.flags:
        return "SYN-RECEIVED", [("SA", 0, seg.seq + 1)]
    return "LISTEN", []


def in_syn_sent(seg: Kind) -> tuple[str, list[Answer]]:
    """Section 3.10.7.3."""
    has_ack = "A" in seg.flags
    if has_ack and seg.ack != 1:
        return "SYN-SENT", [] if "R" in seg.flags else [("R", seg.ack, None)]
    if "R" in seg.flags:
        return ("CLOSED" if has_ack else "SYN-SENT"), []
    if "S" not in seg.flags:
        return "SYN-SENT", []
    if not has_ack:
        return "SYN-RECEIVED", [("SA", 0, seg.seq + 1)]
    return ("CLOSE-WAIT" if "F" in seg.flags else "ESTABLISHED"), [("A", 1, seg.seq + seg.length)]


def acceptable(seg: Kind, rcv: int, wnd: int) -> bool:
    """Table 6 of section 3.4, and an ACK at the right edge of the window.

    Of a reset the number counts alone (RFC 5961, section 3.2).
    """
    length = 0 if "R" in seg.flags else seg.length
    first = rcv <= seg.seq < rcv + wnd
    if length == 0:
        at_edge = seg.seq == rcv + wnd and "A" in seg.flags and "R" not in seg.flags
        return seg.seq == rcv if wnd == 0 else first or at_edge
    return wnd > 0 and (first or rcv <= seg.seq + length - 1 < rcv + wnd)


def otherwise(way: str, seg: Kind, wnd: int) -> tuple[str, list[Answer]]:
    """Section 3.10.7.4."""
    known, state = KNOWN[way], WAYS[way][0].value if way in WAYS else "ESTABLISHED"
    opening = state == "SYN-RECEIVED"
    rcv = known.rcv
    challenge: list[Answer] = [("A", known.nxt, rcv)]
    if opening and seg.seq == 0 and "S" in seg.flags and "R" not in seg.flags:
        if "A" not in seg.flags:
            # By the letter an ACK; but our SYN,ACK was lost, or the peer would not ask again.
            return state, [("SA", 0, 1)]
        if way.endswith("active"):
            # By the letter an ACK; two sides that open at the same time would go on with those for ever.
            seg = seg._replace(flags=seg.flags.replace("S", ""), seq=1)
    # First.
    if not acceptable(seg, rcv, wnd):
        if "R" in seg.flags:
            return state, []
        if wnd or seg.seq != rcv:
            return state, challenge
        # MUST-66: at a closed window a segment with the right number has its text left out.
    due = not acceptable(seg, rcv, wnd)
    # Second.
    if "R" in seg.flags:
        return ("CLOSED", []) if seg.seq == rcv else (state, challenge)
    # Fourth.
    if "S" in seg.flags:
        return ("CLOSED", []) if way == "SYN-RECEIVED" else (state, challenge)
    # Fifth.
    answers = challenge if due else []
    if "A" not in seg.flags:
        return state, answers
    if opening:
        if not known.una < seg.ack <= known.nxt:
            return state, [*answers, ("R", seg.ack, None)]
        state = "ESTABLISHED"
    elif not known.una - MAX_SND_WND <= seg.ack <= known.nxt:
        return state, challenge
    elif known.fin and seg.ack == known.nxt:
        state = OUR_FIN_IS_ACKNOWLEDGED[state]
        if state == "CLOSED":
            return state, []
    # Seventh and eighth, tailored to the window.
    end = min(seg.seq + seg.data, rcv + wnd)
    if state not in AFTER_FIN:
        return state, answers
    if end > max(seg.seq, rcv):
        due = True
        if seg.seq <= rcv:
            rcv = end
    if "F" in seg.flags and seg.seq + seg.data < known.rcv + wnd:
        due = True
        if seg.seq + seg.data == rcv:
            rcv += 1
            state = AFTER_FIN[state]
    return state, [("A", known.nxt, rcv)] if due else []


def kinds(way: str, wnd: int) -> Iterator[Kind]:
    """Every combination of flags, with numbers on both sides of every edge there is."""
    known = KNOWN.get(way, Known(0, 1, 0))
    edges = (-5000, -10, -1, 0, 10, wnd - 3, wnd) if way in KNOWN else (0, 5000)
    seqs = sorted({known.rcv + at for at in edges})
    una, nxt = known.una, known.nxt
    acks = sorted({una - MAX_SND_WND - 1, una - MAX_SND_WND, una - 1, una, una + 1, nxt, nxt + 1})
    for number in range(5):
        for letters in itertools.combinations("SAFR", number):
            flags = "".join(letters)
            for seq, data in itertools.product(seqs, (0, 5, 20)):
                for ack in acks if "A" in flags else [0]:
                    yield Kind(flags, seq, ack, data)


def made(way: str) -> Script:
    if way == CLOSED_WINDOW:
        s = passive(Settings(rcv_buffer=1000)).write(DATA).recv("A", 1, 1, data=bytes(1000))
        s.out.clear()
        return s
    return build(way)


def wanted(way: str, seg: Kind, wnd: int) -> tuple[str, list[Answer]]:
    if way == "LISTEN":
        return in_listen(seg)
    if way == "SYN-SENT":
        return in_syn_sent(seg)
    return otherwise(way, seg, wnd)


def modulo(answers: list[Answer]) -> list[Answer]:
    return [(flags, seq % (1 << 32), None if ack is None else ack % (1 << 32)) for flags, seq, ack in answers]


OPEN = [way for way in (*WAYS, CLOSED_WINDOW) if way not in ("never opened", "ended")]


@pytest.mark.rfc("9293", "3.10.7.2")
@pytest.mark.rfc("9293", "3.10.7.3")
@pytest.mark.rfc("9293", "3.10.7.4")
@pytest.mark.rfc("5961", "3.2 exact")
@pytest.mark.rfc("5961", "3.2 challenge")
@pytest.mark.rfc("5961", "3.2 outside")
@pytest.mark.rfc("5961", "3.2 syn-received")
@pytest.mark.rfc("5961", "4.2")
@pytest.mark.rfc("5961", "5.2 old")
@pytest.mark.rfc("5961", "5.2 future")
@pytest.mark.parametrize("marks", ["", "PU"], ids=["plain", "urgent"])
@pytest.mark.parametrize("way", OPEN)
def test_segment(way: str, marks: str) -> None:
    wnd = 0
    if way in KNOWN:
        wnd = made(way).conn.rcv_wnd
        assert wnd == (0 if way == CLOSED_WINDOW else 65536 - KNOWN[way].rcv)
    for kind in kinds(way, wnd):
        if marks and kind.data != 5:
            continue
        s = made(way)
        s.recv(kind.flags + marks, kind.seq, kind.ack, data=bytes(kind.data))
        s.wait(s.conn.settings.delayed_ack)
        state, answers = wanted(way, kind, wnd)
        found = [(sent.flags, sent.seq, sent.ack) for sent in s.out]
        assert (s.conn.state.value, found) == (state, modulo(answers)), f"{way}: {kind}"
        if s.conn.state is State.CLOSED and "R" in kind.flags:
            assert s.conn.error == ERROR_OF_A_RESET.get(way, errno.ECONNREFUSED), f"{way}: {kind}"
            assert s.conn.peer_reset is (way != "TIME-WAIT")


@pytest.mark.rfc("9293", "3.10.7.1")
def test_segment_without_a_connection() -> None:
    for kind in kinds("CLOSED", 0):
        seg = Segment(kind.seq, kind.ack % (1 << 32), flag_bits(kind.flags), 1000, payload=bytes(kind.data))
        answer = reset_for(seg)
        if "R" in kind.flags:
            assert answer is None
        elif "A" in kind.flags:
            assert answer == (seg.ack, 0, flag_bits("R"))
        else:
            assert answer == (0, kind.seq + kind.length, flag_bits("R") | ACK)


def test_every_state_is_here() -> None:
    assert {WAYS[way][0] for way in WAYS} == set(State)
    assert set(KNOWN) == set(ERROR_OF_A_RESET) == set(OPEN) - {"LISTEN", "SYN-SENT"}


@pytest.mark.needs("interpreted", detail="patches a method")
def test_every_move_of_the_table_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transition that is in the table and in the diagram, and never happens, would be a lie."""
    moves: set[tuple[State, State]] = set()
    enter = ControlBlock.enter

    def spy(conn: ControlBlock, state: State) -> None:
        moves.add((conn.state, state))
        enter(conn, state)

    monkeypatch.setattr(ControlBlock, "enter", spy)
    for way in OPEN:
        made(way).conn.close()
        made(way).conn.abort()
        made(way).wait(4000 * SECOND)
        known = KNOWN.get(way, Known(0, 1, 0))
        for flags in ("S", "SA", "A", "FA"):
            made(way).recv(flags, known.rcv, known.nxt)
    assert moves == set(TRANSITIONS)
