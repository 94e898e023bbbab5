"""Every call of the user in every state, against a table after RFC 9293, sections 3.10.1 to 3.10.5."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from slirpy.errors import StateError
from slirpy.tcp import State
from tests.unit.tcp.script import Script, passive
from tests.unit.tcp.states import WAYS, build

CALLS: dict[str, Callable[[Script], None]] = {
    "connect": lambda s: s.conn.connect(s.now),
    "listen": lambda s: s.conn.listen(s.now),
    "write": lambda s: s.conn.write(b"more"),
    "urgent": lambda s: s.conn.write_urgent(b"more"),
    "consume": lambda s: s.conn.consume(1),
    "shutdown": lambda s: s.conn.shutdown(),
    "close": lambda s: s.conn.close(),
    "abort": lambda s: s.conn.abort(),
}

NOTHING = "there are 0 bytes"
BEFORE = "opened before"
AGAIN = "make another one"
SAME = ("", "")
"""No error, the same state, and nothing is sent."""
RESET = ("CLOSED", "RA")
GONE = ("CLOSED", "")

# For each way to a state and each call: an error's text, or the state after it ("" for the same) and the flags of
# what is sent. Where the RFC leaves a choice, or we do not follow it, a comment says so.
TABLE: dict[str, dict[str, str | tuple[str, str]]] = {
    "never opened": {
        "connect": ("SYN-SENT", "S"),
        "listen": ("LISTEN", ""),
        "write": "does not exist",
        "urgent": "does not exist",
        "consume": NOTHING,
        "shutdown": "does not exist",
        "close": "does not exist",
        "abort": "does not exist",
    },
    # The RFC has errors for the last three. A peer may end a connection at any moment, and who ends it then is right.
    "ended": {
        "connect": BEFORE, "listen": BEFORE, "write": "closed by ECONNRESET", "urgent": AGAIN, "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": SAME,
    },
    # OPEN in LISTEN could make it active; make another connection. SEND would have to name the peer; here it waits
    # for one, and so does the end of what is sent.
    "LISTEN": {
        "connect": BEFORE, "listen": BEFORE, "write": SAME, "urgent": SAME, "consume": NOTHING,
        "shutdown": SAME, "close": GONE, "abort": GONE,
    },
    "SYN-SENT": {
        "connect": BEFORE, "listen": BEFORE, "write": SAME, "urgent": SAME, "consume": NOTHING,
        "shutdown": SAME, "close": GONE, "abort": GONE,
    },
    # CLOSE with nothing to send may send the FIN before the handshake is over; ours waits.
    "SYN-RECEIVED": {
        "connect": BEFORE, "listen": BEFORE, "write": SAME, "urgent": SAME, "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": RESET,
    },
    "SYN-RECEIVED, active": {
        "connect": BEFORE, "listen": BEFORE, "write": SAME, "urgent": SAME, "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": RESET,
    },
    "ESTABLISHED": {
        "connect": BEFORE, "listen": BEFORE, "write": ("", "PA"), "urgent": ("", "PAU"), "consume": NOTHING,
        "shutdown": ("FIN-WAIT-1", "FA"), "close": ("FIN-WAIT-1", "FA"), "abort": RESET,
    },
    "CLOSE-WAIT": {
        "connect": BEFORE, "listen": BEFORE, "write": ("", "PA"), "urgent": ("", "PAU"), "consume": NOTHING,
        "shutdown": ("LAST-ACK", "FA"), "close": ("LAST-ACK", "FA"), "abort": RESET,
    },
    # A second CLOSE may be answered "ok" as long as no second FIN is sent.
    "FIN-WAIT-1": {
        "connect": BEFORE, "listen": BEFORE, "write": "closing", "urgent": "closing", "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": RESET,
    },
    "FIN-WAIT-2": {
        "connect": BEFORE, "listen": BEFORE, "write": "closing", "urgent": "closing", "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": RESET,
    },
    # ABORT sends no reset in these two, says the RFC. But the peer has not acknowledged everything, and would wait
    # for what is sent no more.
    "CLOSING": {
        "connect": BEFORE, "listen": BEFORE, "write": "closing", "urgent": "closing", "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": RESET,
    },
    "LAST-ACK": {
        "connect": BEFORE, "listen": BEFORE, "write": "closing", "urgent": "closing", "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": RESET,
    },
    "TIME-WAIT": {
        "connect": BEFORE, "listen": BEFORE, "write": "closing", "urgent": "closing", "consume": NOTHING,
        "shutdown": SAME, "close": SAME, "abort": GONE,
    },
}  # fmt: skip


@pytest.mark.rfc("9293", "3.10.1")
@pytest.mark.rfc("9293", "3.10.2")
@pytest.mark.rfc("9293", "3.10.3")
@pytest.mark.rfc("9293", "3.10.4")
@pytest.mark.rfc("9293", "3.10.5")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("way", WAYS)
def test_call(way: str, call: str) -> None:
    s = build(way)
    wanted = TABLE[way][call]
    before = s.conn.state
    if isinstance(wanted, str):
        with pytest.raises(StateError, match=wanted):
            CALLS[call](s)
        wanted = SAME
    else:
        CALLS[call](s)
    s.flush()
    assert s.conn.state is (State(wanted[0]) if wanted[0] else before)
    assert [sent.flags for sent in s.out] == ([wanted[1]] if wanted[1] else [])
    if s.conn.state is State.CLOSED is not before:
        assert s.conn.error == errno.ECONNABORTED
    if wanted == RESET:
        assert s.out[0].seq == (s.conn.snd_max - s.iss) & 0xFFFFFFFF  # the RFC's SND.NXT: every peer takes it
    s.flush()
    assert len(s.out) <= 1


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(WAYS)
    assert {state for state, _ in WAYS.values()} == set(State)
    for row in TABLE.values():
        assert set(row) == set(CALLS)


@pytest.mark.rfc("9293", "3.10.2")
@pytest.mark.parametrize("way", ["LISTEN", "SYN-SENT", "SYN-RECEIVED", "SYN-RECEIVED, active"])
def test_data_written_early_follows_the_handshake(way: str) -> None:
    s = build(way)
    s.conn.write(b"early")
    s.conn.shutdown()
    s.flush()
    s.silence()
    if way == "LISTEN":
        s.recv("S", 0)
    s.recv("SA" if way == "SYN-SENT" else "A", 0 if way == "SYN-SENT" else 1, 1)
    assert (s.out[-1].seq, s.out[-1].data, s.out[-1].flags) == (1, b"early", "FPA")
    s.state(State.FIN_WAIT_1)


@pytest.mark.rfc("9293", "3.10.3")
def test_received_data_can_be_consumed_after_a_reset() -> None:
    s = passive()
    s.recv("PA", 1, 1, data=b"last words")
    s.recv("R", 11).state(State.CLOSED)
    for count in (-1, 11):
        with pytest.raises(StateError, match="there are 10 bytes"):
            s.conn.consume(count)
    assert s.read() == b"last words"
