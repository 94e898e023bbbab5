"""A connection in each of the states, with what the peer has to know written down beside it."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.tcp import State
from tests.support.slots import slots
from tests.unit.tcp.script import Script, passive

DATA = bytes(range(100))
ANSWER = {"ack_now", "challenge_after", "noted", "reset", "stats", "settings"}
"""Parts of an answer."""


def snapshot(thing: object) -> object:
    """A value that can be compared later."""
    if isinstance(thing, bytes | bytearray | memoryview):
        return bytes(thing)
    if isinstance(thing, list | tuple):
        return [snapshot(each) for each in thing]
    names = slots(thing)
    if not names or isinstance(thing, State):
        return thing
    return {name: snapshot(getattr(thing, name)) for name in names if name not in ANSWER}


def listening() -> Script:
    """Passive open without a client."""
    s = Script()
    s.conn.listen(s.now)
    return s


def syn_sent() -> Script:
    """Active open without an answer."""
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    return s


def syn_received() -> Script:
    """Passive open, and a SYN."""
    return listening().recv("S", 0)


def simultaneous() -> Script:
    """Active open, and a SYN: SYN-RECEIVED by the other way."""
    return syn_sent().recv("S", 0)


def ended() -> Script:
    """A connection that was open until the peer reset it."""
    return passive().recv("R", 1)


def open_() -> Script:
    """ESTABLISHED, with 100 bytes on their way."""
    return passive().write(DATA)


WAYS: dict[str, tuple[State, Callable[[], Script]]] = {
    "never opened": (State.CLOSED, Script),
    "ended": (State.CLOSED, ended),
    "LISTEN": (State.LISTEN, listening),
    "SYN-SENT": (State.SYN_SENT, syn_sent),
    "SYN-RECEIVED": (State.SYN_RECEIVED, syn_received),
    "SYN-RECEIVED, active": (State.SYN_RECEIVED, simultaneous),
    "ESTABLISHED": (State.ESTABLISHED, open_),
    "FIN-WAIT-1": (State.FIN_WAIT_1, lambda: open_().shutdown()),
    "FIN-WAIT-2": (State.FIN_WAIT_2, lambda: open_().shutdown().recv("A", 1, 102)),
    "CLOSE-WAIT": (State.CLOSE_WAIT, lambda: open_().recv("FA", 1, 1)),
    "CLOSING": (State.CLOSING, lambda: open_().shutdown().recv("FA", 1, 1)),
    "LAST-ACK": (State.LAST_ACK, lambda: open_().recv("FA", 1, 1).shutdown()),
    "TIME-WAIT": (State.TIME_WAIT, lambda: open_().shutdown().recv("FA", 1, 102)),
}
"""Sequence numbers. Ours: 0 is the SYN, 1 to 100 the data, 101 the FIN, if any. The peer's: 0 the SYN, 1 the FIN."""


def build(name: str) -> Script:
    """A connection that has come to the state by its way, and what it has sent is forgotten."""
    state, make = WAYS[name]
    s = make().state(state)
    s.out.clear()
    return s
