"""A TCP that somebody else has written, tried by a state machine (``pip install slirpy[testing] "PyTCP>=2.7.6,<3"``).

PyTCP is a TCP/IP stack in Python that runs on a TAP interface. Here its TCP runs alone, against slirpy's, in virtual
time: an adapter takes the places of its timer, which is a thread, and of the layer below. Then Hypothesis opens,
writes, loses, repeats, reorders and closes, and shrinks what goes wrong to the few steps that matter.

Run it with ``python examples/tcp_of_others.py``. It needs no privileges and opens no socket.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from pytcp import config
from pytcp.lib import stack
from pytcp.lib.ip4_address import Ip4Address
from pytcp.lib.socket import AF_INET4
from pytcp.protocols.tcp.metadata import TcpMetadata
from pytcp.protocols.tcp.session import FsmState, SysCall, TcpSession
from pytcp.protocols.tcp.socket import TcpSocket

from slirpy.tcp import Segment, TcpOptions
from slirpy.testing.machines import TcpMachine, TcpSubject
from slirpy.wire.tcp import ACK, FIN, RST, SYN

MS = 1_000_000
ENDS = Ip4Address("10.0.0.1"), 1000, Ip4Address("10.0.0.2"), 2000
OPEN = FsmState.ESTABLISHED, FsmState.CLOSE_WAIT
ENDED = FsmState.CLOSE_WAIT, FsmState.LAST_ACK, FsmState.CLOSING, FsmState.TIME_WAIT

config.LOG_CHANEL = set()


class Timer:
    """In place of PyTCP's: it follows the time of the machine."""

    def __init__(self) -> None:
        self.now = 0
        self.due: dict[str, int] = {}

    def register_method(self, method: object, kwargs: object) -> None:
        """Ignore the wish to be called each millisecond: the adapter does that when there is something to do."""

    def register_timer(self, name: str, timeout: int) -> None:
        """Start a timer of so many milliseconds."""
        self.due[name] = self.now + timeout * MS

    def is_expired(self, name: str) -> bool:
        """Report whether a timer has run out, or has never been started."""
        return self.now >= self.due.get(name, 0)


class PyTcp(TcpSubject):
    """PyTCP's TCP as the subject of a TcpMachine."""

    def __init__(self) -> None:
        self.timer = stack.timer = Timer()
        self.segments: list[Segment] = []
        self.next: int | None = None
        self.closing = False
        listener = TcpSocket(AF_INET4)
        self.session = listener._tcp_session = TcpSession(*ENDS, socket=listener)

    def step(self, now: int, packet: TcpMetadata | None = None, **event: Any) -> None:
        """Run PyTCP's state machine, and again at once, as its timer does a millisecond later."""
        self.timer.now = now
        stack.timer, stack.packet_handler = self.timer, SimpleNamespace(send_tcp_packet=self.send)
        stack.sockets.setdefault(str(self.session.socket), self.session.socket)
        self.session.tcp_fsm(packet, **event)
        self.next = now

    def send(self, *, seq: int, ack: int, win: int, mss: int | None, data: bytes | None, **more: Any) -> None:
        """Take a segment that PyTCP sends."""
        assert max(seq, ack) < 1 << 32, f"PyTCP cannot pack seq {seq}, ack {ack}: they have not wrapped around"
        bits = {"flag_syn": SYN, "flag_ack": ACK, "flag_fin": FIN, "flag_rst": RST}
        flags = sum(bit for name, bit in bits.items() if more[name])
        self.segments.append(Segment(seq, ack, flags, win, TcpOptions(mss=mss), data or b""))

    def open(self, now: int, *, active: bool) -> None:
        """Connect, or listen."""
        self.step(now, syscall=SysCall.CONNECT if active else SysCall.LISTEN)

    def input(self, segment: Segment, now: int) -> None:
        """Translate a segment into what PyTCP's parser makes of a packet."""
        flags = (bool(segment.flags & bit) for bit in (SYN, ACK, FIN, RST))
        numbers = segment.seq, segment.ack, segment.wnd
        data = memoryview(bytes(segment.payload))
        self.step(now, TcpMetadata(*ENDS, *flags, *numbers, None, segment.options.mss or 536, data, None))

    def output(self, now: int) -> list[Segment]:
        """Do what PyTCP does each millisecond, if there is anything to do."""
        if self.next is not None and now >= self.next:
            before = len(self.segments), self.session.state
            if self.closing and self.session.state in OPEN:
                self.closing = False
                self.step(now, syscall=SysCall.CLOSE)
            self.step(now, timer=True)
            busy = before != (len(self.segments), self.session.state)
            self.next = now + MS if busy else self._timer_after(now)
        segments, self.segments = self.segments, []
        return segments

    def _timer_after(self, now: int) -> int | None:
        # The timer of delayed acknowledgments is started again and again.
        unacknowledged = self.session._rcv_nxt > self.session._rcv_una
        times = [
            at for name, at in self.timer.due.items() if unacknowledged or not name.endswith("delayed_ack")
        ]
        return min((at for at in times if at > now), default=None)

    def deadline(self) -> int | None:
        """Return when :meth:`output` has something to do."""
        return None if self.closed else self.next

    def write(self, data: bytes) -> int:
        """Write, once the connection is open."""
        if self.session.state not in OPEN:
            return 0
        self.next = self.timer.now
        return int(self.session.send(data))

    def read(self) -> bytes:
        """Take what PyTCP has received."""
        data = bytes(self.session._rx_buffer)
        self.session._rx_buffer.clear()
        return data

    def close(self) -> None:
        """Close, but not before the connection is open."""
        self.closing, self.next = True, self.timer.now

    @property
    def ended(self) -> bool:
        """True once the peer's FIN has arrived."""
        return self.session.state in ENDED

    @property
    def closed(self) -> bool:
        """True in the state CLOSED."""
        return self.session.state is FsmState.CLOSED


class PyTcpMachine(TcpMachine):
    """PyTCP against slirpy."""

    most_bytes = 20_000

    def make_subject(self) -> PyTcp:
        """Return a new connection of PyTCP's."""
        return PyTcp()


FAST = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

if __name__ == "__main__":
    try:
        run_state_machine_as_test(PyTcpMachine, settings=FAST)
    except AssertionError as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n")
    else:
        print("no mistake was found")
