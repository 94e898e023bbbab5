"""Faults on a link: each alone, counted, in virtual time; a damaged frame is never passed off as a good one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random

import dpkt
import pytest

from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Buffer, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links import FaultLink, Faults
from slirpy.stats import Stats
from slirpy.wire.checksum import ones_sum
from tests.support.clock import Alarm, Clock
from tests.support.harness import NoPoller

MS = 1_000_000
SECOND = 1_000_000_000


class Bench(Clock):
    """The stack's side and the guest's side at once, and the time."""

    features = LinkFeatures(mtu=1400, checksum_offload=True, segmentation_offload=True)

    def __init__(
        self, seed: int = 1, *, to_guest: Faults | None = None, from_guest: Faults | None = None
    ) -> None:
        super().__init__()
        self.stats = Stats()
        self.room = 10**9
        self.to_guest: list[tuple[int, bytes, bool]] = []
        self.to_stack: list[tuple[int, bytes, bool]] = []
        self.writables = self.losses = self.closed = 0
        self.inner: LinkSink | None = None
        self.link = FaultLink(
            self, Random(seed), to_guest=to_guest or Faults(), from_guest=from_guest or Faults()
        )
        self.link.start(_Sink(self), NoPoller())

    # ---- the inner link
    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.inner = sink

    def send(self, frames: Sequence[Frame]) -> int:
        taken = frames[: self.room]
        self.room -= len(taken)
        self.to_guest += [(self.now, b"".join(f.parts), bool(f.csum_start)) for f in taken]
        return len(taken)

    def close(self) -> None:
        self.closed += 1

    def out(self, count: int) -> list[int]:
        """Send numbered frames; which of them have arrived so far."""
        for number in range(count):
            assert self.link.send([Frame((number.to_bytes(4, "big"), bytes(56)))]) == 1
        return self.arrived()

    def arrived(self) -> list[int]:
        return [int.from_bytes(frame[:4], "big") for _, frame, _ in self.to_guest]


class _Sink:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.stats = bench.stats

    @property
    def now(self) -> int:
        return self.bench.now

    def call_at(self, when: int, callback: Callable[[], None]) -> Alarm:
        return self.bench.call_at(when, callback)

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        self.bench.to_stack.append((self.bench.now, bytes(frame), checksummed))

    def writable(self) -> None:
        self.bench.writables += 1

    def lost(self, frames: int) -> None:
        self.bench.losses += frames


def tcp_frame(payload: bytes = b"hello", partial: bool = False) -> bytes:
    """A frame from dpkt; with a partial checksum the field holds the sum of the pseudo-header alone."""
    segment = dpkt.tcp.TCP(sport=4000, dport=80, seq=7, flags=dpkt.tcp.TH_ACK, data=payload)
    packet = dpkt.ip.IP(src=b"\x0a\0\2\x0f", dst=b"\x0a\0\2\2", p=6, data=segment)
    packet.len = len(packet)
    frame = bytearray(bytes(dpkt.ethernet.Ethernet(src=b"\x52" * 6, dst=b"\x54" * 6, data=packet)))
    if partial:
        pseudo = ones_sum(bytes(frame[26:34])) + 6 + len(frame) - 34
        frame[50:52] = (pseudo % 65535).to_bytes(2, "big")
    return bytes(frame)


def wrong_bits(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_without_faults_everything_passes_at_once_and_uncopied() -> None:
    bench = Bench()
    assert bench.out(5) == [0, 1, 2, 3, 4]
    assert bench.inner is not None
    bench.inner.input(b"from the guest", True)
    assert bench.to_stack == [(bench.now, b"from the guest", True)]
    assert (bench.pending, bench.link.to_guest_counters.frames, bench.link.from_guest_counters.frames) == (
        0,
        5,
        1,
    )


def test_features_are_the_inner_ones_without_segmentation_offload() -> None:
    assert Bench().link.features == LinkFeatures(mtu=1400, checksum_offload=True)


@pytest.mark.parametrize("direction", ["to_guest", "from_guest"])
def test_loss_has_the_given_rate_and_direction(direction: str) -> None:
    faults = Faults(loss=0.1)
    bench = Bench(to_guest=faults) if direction == "to_guest" else Bench(from_guest=faults)
    bench.out(2000)
    assert bench.inner is not None
    for _ in range(2000):
        bench.inner.input(b"x" * 60)
    hit, spared = len(bench.to_guest), len(bench.to_stack)
    if direction == "from_guest":
        hit, spared = spared, hit
    assert spared == 2000
    assert 1740 < hit < 1860
    assert getattr(bench.link, f"{direction}_counters").lost == 2000 - hit


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    def fate(seed: int) -> list[tuple[int, bytes, bool]]:
        bench = Bench(seed, to_guest=Faults(0.1, 0.1, 0.1, 5 * MS, 5 * MS, 0.1))
        bench.out(300)
        bench.advance(SECOND)
        return bench.to_guest

    assert fate(1) == fate(1)
    assert fate(1) != fate(2)


def test_delay_holds_each_frame_for_its_time_and_keeps_the_order() -> None:
    bench = Bench(to_guest=Faults(delay=20 * MS))
    start = bench.now
    assert bench.out(3) == []
    bench.advance(5 * MS)
    bench.link.send([Frame((b"\0\0\0\x09",))])
    bench.advance(15 * MS - 1)
    assert bench.arrived() == []
    bench.advance(1)
    assert bench.arrived() == [0, 1, 2]
    bench.advance(5 * MS)
    assert bench.arrived() == [0, 1, 2, 9]
    assert [when - start for when, _, _ in bench.to_guest] == [20 * MS] * 3 + [25 * MS]
    assert bench.link.to_guest_counters.delayed == 4
    assert bench.pending == 0


def test_a_held_frame_is_a_copy() -> None:
    bench = Bench(to_guest=Faults(delay=MS), from_guest=Faults(delay=MS))
    buffer = bytearray(b"before")
    assert bench.inner is not None
    bench.inner.input(memoryview(buffer), True)
    bench.link.send([Frame((memoryview(buffer),))])
    buffer[:] = b"behind"
    bench.advance(MS)
    assert bench.to_stack == [(bench.now, b"before", True)]
    assert bench.to_guest == [(bench.now, b"before", False)]


def test_jitter_varies_and_keeps_the_order() -> None:
    bench = Bench(to_guest=Faults(delay=MS, jitter=10 * MS))
    for number in range(200):
        bench.link.send([Frame((number.to_bytes(4, "big"),))])
        bench.advance(MS)
    bench.advance(SECOND)
    assert bench.arrived() == list(range(200))
    assert len({when for when, _, _ in bench.to_guest}) > 20


def test_reordering_lets_others_overtake() -> None:
    bench = Bench(to_guest=Faults(reorder=0.2, reorder_delay=3 * MS))
    for number in range(100):
        bench.link.send([Frame((number.to_bytes(4, "big"),))])
        bench.advance(MS)
    bench.advance(SECOND)
    arrived = bench.arrived()
    assert sorted(arrived) == list(range(100))
    late = sum(before > after for before, after in itertools.pairwise(arrived))
    assert 5 < late <= bench.link.to_guest_counters.reordered


def test_duplicates_follow_their_original() -> None:
    bench = Bench(to_guest=Faults(duplicate=1.0))
    assert bench.out(3) == [0, 0, 1, 1, 2, 2]
    assert bench.link.to_guest_counters.duplicated == 3


def test_the_rate_is_a_bucket_and_its_queue_is_bounded() -> None:
    faults = Faults(rate=8_000_000, burst=3000, queue=5000)  # 1000 bytes a millisecond
    bench = Bench(to_guest=faults)
    start = bench.now
    for number in range(20):
        bench.link.send([Frame((number.to_bytes(4, "big"), bytes(996)))])
    assert bench.arrived() == [0, 1, 2]
    bench.advance(100 * MS)
    assert bench.arrived() == list(range(8))
    assert [when - start for when, _, _ in bench.to_guest[3:]] == [n * MS for n in range(1, 6)]
    assert bench.link.to_guest_counters.dropped == 12
    for number in range(3):  # the bucket has filled up, and holds no more than it may
        bench.link.send([Frame((number.to_bytes(4, "big"), bytes(996)))])
    assert bench.arrived()[8:] == [0, 1, 2]
    bench.link.send([Frame((bytes(1000),))])
    assert len(bench.to_guest) == 11


def test_delayed_frames_are_bounded() -> None:
    bench = Bench(from_guest=Faults(delay=SECOND, limit=10))
    assert bench.inner is not None
    for _ in range(25):
        bench.inner.input(b"x")
    bench.advance(SECOND)
    assert len(bench.to_stack) == 10
    assert bench.link.from_guest_counters.dropped == 15


@pytest.mark.parametrize("partial", [False, True])
def test_damage_from_the_guest_is_one_bit_and_is_to_be_checked(partial: bool) -> None:
    bench = Bench(from_guest=Faults(corrupt=1.0))
    good = tcp_frame()
    assert bench.inner is not None
    for _ in range(200):
        bench.inner.input(tcp_frame(partial=partial), True)
    for _, frame, checksummed in bench.to_stack:
        assert not checksummed
        assert wrong_bits(frame, good) == 1
    assert len({frame for _, frame, _ in bench.to_stack}) > 100
    assert bench.link.from_guest_counters.corrupted == 200


def test_damage_to_the_guest_comes_after_the_checksum() -> None:
    bench = Bench(to_guest=Faults(corrupt=1.0))
    partial = tcp_frame(partial=True)
    for _ in range(200):
        bench.link.send([Frame((partial[:54], partial[54:]), csum_start=34, csum_offset=16)])
    for _, frame, is_partial in bench.to_guest:
        assert not is_partial
        assert wrong_bits(frame, tcp_frame()) == 1


@pytest.mark.parametrize("frame", [b"", b"x", bytes(60), b"\xff" * 60, tcp_frame()[:40], tcp_frame()[:52]])
def test_damage_takes_any_frame(frame: bytes) -> None:
    bench = Bench(from_guest=Faults(corrupt=1.0))
    assert bench.inner is not None
    bench.inner.input(frame, True)
    assert wrong_bits(bench.to_stack[0][1], frame) == (1 if frame else 0)


def test_a_udp_datagram_without_a_checksum_keeps_none() -> None:
    frame = bytearray(tcp_frame(b"12345678"))
    frame[23], frame[40:42] = 17, b"\0\0"
    bench = Bench(from_guest=Faults(corrupt=1.0))
    assert bench.inner is not None
    bench.inner.input(frame, True)
    assert wrong_bits(bench.to_stack[0][1], bytes(frame)) == 1


def test_an_inner_link_without_room_holds_the_stack_back() -> None:
    bench = Bench(to_guest=Faults(delay=MS))
    bench.room = 2
    bench.out(5)
    bench.advance(MS)
    assert bench.arrived() == [0, 1]
    assert bench.link.send([Frame((b"none",))]) == 0
    bench.room = 1
    assert bench.inner is not None
    bench.inner.writable()
    assert (bench.arrived(), bench.writables) == ([0, 1, 2], 0)
    bench.room = 10
    bench.inner.writable()
    assert (bench.arrived(), bench.writables) == ([0, 1, 2, 3, 4], 1)
    assert bench.link.send([Frame((b"some",))]) == 1


def test_faults_are_changed_while_it_runs() -> None:
    bench = Bench()
    bench.link.to_guest = Faults(loss=1.0)
    assert bench.out(3) == []
    bench.link.to_guest = Faults()
    assert bench.out(3) == [0, 1, 2]
    assert bench.link.to_guest.loss == 0.0
    assert str(bench.link.to_guest_counters).startswith("frames 6, lost 3, ")


def test_close_discards_delayed_frames_and_counts_them() -> None:
    bench = Bench(to_guest=Faults(delay=MS), from_guest=Faults(delay=MS))
    bench.out(3)
    assert bench.inner is not None
    bench.inner.input(b"x" * 60)
    bench.link.close()
    bench.link.close()
    bench.inner.input(b"late")
    bench.inner.writable()
    bench.advance(SECOND)
    assert (bench.to_guest, bench.to_stack, bench.losses, bench.closed, bench.pending) == ([], [], 3, 2, 0)


def test_a_link_that_was_not_started_has_no_time() -> None:
    link = FaultLink(Bench(), Random(1))
    with pytest.raises(StateError, match="attach it"):
        link.call_at(0, lambda: None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.5},
        {"corrupt": -0.1},
        {"delay": -1},
        {"jitter": -5},
        {"rate": 0},
        {"burst": 0},
        {"limit": 0},
        {"queue": -1},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"^{name} {wrong[name]}: "):
        Faults(**wrong)  # type: ignore[arg-type] # the mistake
