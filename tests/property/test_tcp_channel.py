"""Two connections over a channel that loses, repeats, reorders and delays, in virtual time.

Hypothesis chooses the channel and the traffic. What must hold: what is delivered is a prefix of what was written;
no more is in flight than the window allows; nothing is acknowledged that was not received; deadlines lie ahead;
with fair loss everything arrives and both sides close.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.interfaces import Buffer
from slirpy.tcp import Connection, Segment, Settings, State, expire, options, output, segment_arrives
from slirpy.tcp.output import Emit
from slirpy.tcp.seq import HALF, MASK

MS = 1_000_000


@dataclass(frozen=True)
class Channel:
    """How the path treats segments."""

    loss: float
    duplicate: float
    reorder: float
    delay: int
    """Nanoseconds one way."""


@dataclass
class End:
    """One side: a connection and its user."""

    conn: Connection
    to_send: bytes
    read_limit: int
    written: int = 0
    received: bytearray = field(default_factory=bytearray)

    def user(self) -> None:
        """Write what there is room for, read some, shut down at the end."""
        conn = self.conn
        if conn.state in (State.ESTABLISHED, State.CLOSE_WAIT) and not conn.fin_queued:
            room = conn.write_room()
            conn.write(self.to_send[self.written : self.written + room])
            self.written += min(room, len(self.to_send) - self.written)
            if self.written == len(self.to_send):
                conn.shutdown()
        take = min(conn.rcv_pending, self.read_limit)
        if take:
            self.received += b"".join(conn.rcv_queue)[:take]
            conn.consume(take)
        conn.own()


@given(
    seed=st.integers(0, 1 << 32),
    channel=st.builds(
        Channel,
        loss=st.sampled_from([0.0, 0.01, 0.1, 0.3]),
        duplicate=st.sampled_from([0.0, 0.1]),
        reorder=st.sampled_from([0.0, 0.2]),
        delay=st.sampled_from([0, MS // 10, 20 * MS, 300 * MS]),
    ),
    sizes=st.tuples(st.sampled_from([0, 1, 5000, 30_000]), st.sampled_from([0, 1, 5000, 30_000])),
    mss=st.tuples(st.sampled_from([40, 536, 1460, 9000]), st.sampled_from([88, 1460])),
    buffers=st.tuples(st.sampled_from([300, 5000, 1 << 20]), st.sampled_from([1000, 1 << 20])),
    burst=st.sampled_from([0, 20_000]),
    iss=st.tuples(st.integers(0, MASK), st.sampled_from([0, MASK, MASK - 1000, 1 << 31])),
    simultaneous=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_everything_arrives(
    seed: int,
    channel: Channel,
    sizes: tuple[int, int],
    mss: tuple[int, int],
    buffers: tuple[int, int],
    burst: int,
    iss: tuple[int, int],
    simultaneous: bool,
) -> None:
    rng = Random(seed)
    patient = 10**6 * 1_000 * MS  # nobody gives up
    ends = [
        End(
            Connection(
                Settings(
                    mss=mss[i],
                    rcv_buffer=buffers[i],
                    max_burst=burst,
                    syn_timeout=patient,
                    user_timeout=patient,
                    time_wait=patient,
                ),
                iss[i],
                ts_offset=rng.getrandbits(32),
            ),
            rng.randbytes(sizes[i]),
            rng.choice([100, 1 << 20]),
        )
        for i in (0, 1)
    ]
    now = 1000 * MS
    count = itertools.count()
    wire: list[tuple[int, int, int, Segment]] = []  # arrival, order, whom to, what

    def emitter(to: int) -> Emit:
        sender = ends[1 - to].conn

        def emit(
            seq: int,
            ack: int,
            flags: int,
            wnd: int,
            opts: bytes,
            parts: list[Buffer],
            length: int,
            urg: int = 0,
            /,
        ) -> None:
            data = b"".join(parts)
            assert len(data) == length
            assert length <= sender.burst()
            seg = Segment(seq, ack, flags, wnd, options.parse(opts), data, urg)
            for _ in range(1 + (rng.random() < channel.duplicate)):
                if rng.random() >= channel.loss:
                    late = rng.randrange(5 * MS + channel.delay) if rng.random() < channel.reorder else 0
                    heapq.heappush(wire, (now + channel.delay + late, next(count), to, seg))

        return emit

    emitters = [emitter(1), emitter(0)]
    ends[0].conn.connect(now)
    if simultaneous:
        ends[1].conn.connect(now)
    else:
        ends[1].conn.listen(now)
    for _ in range(30_000):
        for i, end in enumerate(ends):
            end.user()
            expire(end.conn, now)
            edge = (end.conn.snd_una + max(end.conn.snd_wnd, end.conn.snd_wnd_max, 1)) & MASK
            while output(end.conn, now, emitters[i]):
                pass
            check(end, ends[1 - i], edge)
        if all(e.conn.state in (State.CLOSED, State.TIME_WAIT) and not e.conn.rcv_pending for e in ends):
            break
        more_to_read = any(e.conn.rcv_pending for e in ends)
        times = [e.conn.deadline() for e in ends] + [wire[0][0] if wire else None]
        upcoming = [t for t in times if t is not None]
        if more_to_read:
            upcoming.append(now + MS)
        assert upcoming, f"stuck: {[e.conn.state for e in ends]}"
        assert min(t for t in times[:2] if t is not None) > now if any(times[:2]) else True, (
            "deadlines lie ahead"
        )
        now = min(upcoming)
        while wire and wire[0][0] <= now:
            _, _, to, seg = heapq.heappop(wire)
            segment_arrives(ends[to].conn, seg, now)
    for end, other in zip(ends, reversed(ends), strict=True):
        assert end.conn.state in (State.CLOSED, State.TIME_WAIT), (end.conn.state, other.conn.state)
        assert end.conn.error == 0
        assert bytes(end.received) == other.to_send


def check(end: End, other: End, edge: int) -> None:
    """What holds after every step."""
    conn, peer = end.conn, other.conn
    assert other.to_send.startswith(bytes(end.received)), "what is delivered is a prefix of what was written"
    assert conn.rcv_pending == sum(map(len, conn.rcv_queue))
    if conn.state is not State.CLOSED and conn.snd_max != conn.iss:
        assert (conn.snd_nxt - conn.snd_una) & MASK <= (conn.snd_max - conn.snd_una) & MASK < HALF
        assert (edge + 1 - conn.snd_max) & MASK < HALF, "no more is in flight than the window ever allowed"
    if conn.state not in (State.CLOSED, State.LISTEN, State.SYN_SENT):
        assert (peer.snd_max - conn.rcv_nxt) & MASK < HALF, "nothing is received that was not sent"
    assert conn.rcv_pending + conn.reassembly.size <= conn.settings.rcv_buffer + 128
