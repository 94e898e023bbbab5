"""States of a connection and the transitions between them, as data (RFC 9293, section 3.3.2)."""

from __future__ import annotations

import enum

from slirpy.mypyc import Final

__all__ = ["SYNCHRONIZED", "TRANSITIONS", "State", "TimerKind"]


class State(enum.Enum):
    """States of RFC 9293, section 3.3.2."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    # Members are singletons. Enum's own hash is a Python function, and each segment is looked up in sets of states.
    __hash__ = object.__hash__


# Globals for the members: in CPython 3.11 State.CLOSED costs fifty times as much as a global, and the engine compares
# states ten times per segment.
CLOSED: Final = State.CLOSED
LISTEN: Final = State.LISTEN
SYN_SENT: Final = State.SYN_SENT
SYN_RECEIVED: Final = State.SYN_RECEIVED
ESTABLISHED: Final = State.ESTABLISHED
FIN_WAIT_1: Final = State.FIN_WAIT_1
FIN_WAIT_2: Final = State.FIN_WAIT_2
CLOSE_WAIT: Final = State.CLOSE_WAIT
CLOSING: Final = State.CLOSING
LAST_ACK: Final = State.LAST_ACK
TIME_WAIT: Final = State.TIME_WAIT

TRANSITIONS: Final[dict[tuple[State, State], str]] = {
    (CLOSED, LISTEN): "passive open",
    (CLOSED, SYN_SENT): "active open",
    (LISTEN, SYN_RECEIVED): "SYN",
    (SYN_SENT, ESTABLISHED): "SYN,ACK",
    (SYN_SENT, SYN_RECEIVED): "SYN (simultaneous open)",
    (SYN_RECEIVED, ESTABLISHED): "ACK of our SYN",
    (ESTABLISHED, FIN_WAIT_1): "shutdown",
    (ESTABLISHED, CLOSE_WAIT): "FIN",
    (FIN_WAIT_1, FIN_WAIT_2): "ACK of our FIN",
    (FIN_WAIT_1, CLOSING): "FIN",
    (FIN_WAIT_2, TIME_WAIT): "FIN",
    (CLOSING, TIME_WAIT): "ACK of our FIN",
    (CLOSE_WAIT, LAST_ACK): "shutdown",
    **{(state, CLOSED): "reset, abort or timeout" for state in State if state is not CLOSED},
    (LAST_ACK, CLOSED): "ACK of our FIN, reset, abort or timeout",
    (TIME_WAIT, CLOSED): "2 MSL have passed, or reset",
}
"""All transitions, with their causes. ``Connection.enter`` asserts them, and the documentation draws them."""

SYNCHRONIZED: Final = frozenset(State) - {CLOSED, LISTEN, SYN_SENT, SYN_RECEIVED}
"""States in which both sides know each other's sequence numbers."""


class TimerKind(enum.Enum):
    """Purposes of the connection's one long timer, which are mutually exclusive."""

    NONE = 0
    RETRANSMIT = 1
    PERSIST = 2
    TIME_WAIT = 3
    KEEPALIVE = 4


NO_TIMER: Final = TimerKind.NONE
RETRANSMIT: Final = TimerKind.RETRANSMIT
PERSIST: Final = TimerKind.PERSIST
TIME_WAIT_TIMER: Final = TimerKind.TIME_WAIT
KEEPALIVE: Final = TimerKind.KEEPALIVE
