"""The conformance test of links: rules for every carrier of frames.

A test file provides a factory for each kind of link, and runs all of :data:`LINK_CHECKS`::

    @pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
    def test_my_link(check: LinkCheck) -> None:
        check(make_my_link)

A factory makes one link and the guest at its other end, a :class:`LinkPeer`.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from slirpy.host.poller import Handler, SelectorPoller
from slirpy.interfaces import Buffer, Frame
from slirpy.stats import Stats
from slirpy.testing.linkundertest import LinkCheck, LinkFactory, LinkUnderTest

__all__ = ["LINK_CHECKS"]

_SECONDS = 10.0
_LENGTHS = (14, 15, 42, 59, 60, 61, 342, 1513, 1514, 1515, 4096, 9014, 32768, 65507, 65521, 65535, 65549)
_HEADER = bytes.fromhex("525500000001 525500000002 88b5")  # an EtherType for local experiments

_HELLO = _HEADER + b"hello".ljust(46, b"\0")


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _CountingPoller(SelectorPoller):
    """Tracks the registered descriptors."""

    __slots__ = ("registered",)

    def __init__(self) -> None:
        super().__init__()
        self.registered: set[int] = set()

    def register(self, fd: int, events: int, ready: Handler) -> None:
        super().register(fd, events, ready)
        self.registered.add(fd)

    def unregister(self, fd: int) -> None:
        super().unregister(fd)
        self.registered.discard(fd)


class _Bench:
    """A stack that only records: it copies a frame at the flush, until which the link must not change it."""

    def __init__(self, make: LinkFactory) -> None:
        self.stats = Stats()
        self.poller = _CountingPoller()
        self.frames: list[bytes] = []
        self.dropped = 0
        self.may_write = False
        self._fresh: list[memoryview] = []
        self._timers: list[tuple[int, int, _Timer]] = []
        self._count = itertools.count()
        self.now = time.monotonic_ns()
        self.case = make(self)
        self.link, self.peer = self.case.link, self.case.peer

    # ------------------------------------------------------------------------------- as a LinkSink

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        self._fresh.append(memoryview(frame))

    def writable(self) -> None:
        self.may_write = True

    def lost(self, frames: int) -> None:
        self.dropped += frames

    def call_at(self, when: int, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._count), timer))
        return timer

    # ------------------------------------------------------------------------------------ driving

    def __enter__(self) -> _Bench:
        self.link.start(self, self.poller)
        try:
            self._greet()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _greet(self) -> None:
        self.from_guest([_HELLO])  # a link may take time to come up, and drops frames until then
        self.until("the guest's first frame", partial(self.has, 1))
        assert self.frames == [_HELLO]
        self.frames.clear()

    def __exit__(self, *_: object) -> None:
        self.link.close()
        self.peer.close()
        self.poller.close()

    def pending(self) -> int:
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def step(self) -> None:
        """Run one poll and its flush."""
        self.poller.poll(0.002, before=self._tick)
        while self._timers and self._timers[0][0] <= self.now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()
        # An interface also carries frames of the system itself.
        self.frames += [bytes(view) for view in self._fresh if view[12:14] == _HEADER[12:]]
        self._fresh.clear()

    def _tick(self) -> None:
        self.now = time.monotonic_ns()

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Step until ``condition`` holds."""
        end = time.monotonic() + _SECONDS
        while not condition():
            self.step()
            assert time.monotonic() < end, f"not within {_SECONDS:.0f} s: {what}"

    def from_guest(self, frames: Sequence[bytes]) -> None:
        """Make the peer send all frames."""
        for frame in frames:
            self.until(f"room for a frame of {len(frame)} bytes from the guest", partial(self._offer, frame))

    def _offer(self, frame: bytes) -> bool:
        sent: object = self.peer.send(frame)
        assert isinstance(sent, bool), (
            f"the peer's send returned {sent!r}; it must return True, or False for no room"
        )
        return sent

    def to_guest(self, frames: Sequence[Frame], got: list[bytes]) -> None:
        """Send all frames, while the peer reads into ``got``."""
        rest = list(frames)
        while rest:
            self.may_write = False
            taken = self.link.send(rest)
            _check_taken(taken, len(rest))
            rest = rest[taken:]
            if rest:
                self.until("writable() after a short send", lambda: self._read(got) or self.may_write)

    def _read(self, got: list[bytes]) -> bool:
        received: object = self.peer.receive()
        assert isinstance(received, list), (
            f"the peer's receive returned {type(received).__name__}; it must return a list of frames"
        )
        got += received
        return False

    def has(self, count: int) -> bool:
        """Report whether this many frames have arrived from the guest."""
        return len(self.frames) >= count

    def arrived(self, wanted: Sequence[bytes], got: list[bytes]) -> None:
        """Wait until the peer has received the expected number of frames, and compare."""
        self.until(f"{len(wanted)} frames for the guest", lambda: self._read(got) or len(got) >= len(wanted))
        _equal(got, wanted)


def _check_taken(taken: object, offered: int) -> None:
    """Check a result of the link's ``send``."""
    counted = type(taken) is int and 0 <= taken <= offered
    assert counted, f"send returned {taken!r} for {offered} frames; it must return how many of them it took"


def _check_dropped(taken: object, offered: int) -> None:
    """Check the result of a ``send`` that cannot deliver."""
    _check_taken(taken, offered)
    assert taken == offered, (
        f"send returned {taken} for {offered} frames, which nobody can get: take and drop them all"
    )


def _equal(got: Sequence[bytes], wanted: Sequence[bytes]) -> None:
    assert len(got) == len(wanted), f"{len(got)} frames arrived, {len(wanted)} were sent"
    for number, (one, other) in enumerate(zip(got, wanted, strict=True)):
        assert len(one) == len(other), f"frame {number}: {len(one)} bytes arrived, {len(other)} were sent"
        assert one == other, f"frame {number} of {len(one)} bytes arrived changed"


def _frames(case: LinkUnderTest, lengths: Sequence[int]) -> list[bytes]:
    """Make distinct frames of these lengths, as far as the link carries them."""
    random = Random(1)
    fitting = [n for n in dict.fromkeys((*lengths, case.longest)) if case.shortest <= n <= case.longest]
    return [_HEADER + random.randbytes(length - len(_HEADER)) for length in fitting]


def _batch(count: int, length: int = 1514) -> list[bytes]:
    filler = bytes(range(256)) * (length // 256 + 1)
    return [_HEADER + number.to_bytes(4, "big") + filler[: length - 18] for number in range(count)]


def _split(frame: bytes, pieces: int) -> Frame:
    """Split a frame into parts of several kinds."""
    cuts = [len(frame) * i // pieces for i in range(pieces + 1)]
    parts: list[Buffer] = [memoryview(frame)[a:b] for a, b in itertools.pairwise(cuts)]
    parts[0] = bytes(parts[0])
    return Frame(parts)


def frames_from_the_guest(make: LinkFactory) -> None:
    """Check frames of every length: in order, unchanged until the flush."""
    with _Bench(make) as bench:
        frames = _frames(bench.case, _LENGTHS)
        for number, frame in enumerate(frames):
            bench.from_guest([frame])
            bench.until("a frame from the guest", partial(bench.has, number + 1))
        _equal(bench.frames, frames)


def frames_to_the_guest(make: LinkFactory) -> None:
    """Check frames of every length and number of parts, in order."""
    with _Bench(make) as bench:
        frames = _frames(bench.case, _LENGTHS)
        got: list[bytes] = []
        for number, frame in enumerate(frames):
            bench.to_guest([_split(frame, number % 4 + 1)], got)
            bench.arrived(frames[: number + 1], got)
        assert bench.dropped == 0


def batches(make: LinkFactory) -> None:
    """Check many frames at once, in both directions at the same time."""
    with _Bench(make) as bench:
        got: list[bytes] = []
        for start in range(0, 640, 32):
            frames = _batch(640)[start : start + 32]
            bench.to_guest([_split(frame, 2) for frame in frames], got)
            bench.from_guest(frames)
            bench.until("a batch from the guest", partial(bench.has, start + 32))
            bench.arrived(_batch(start + 32), got)
        _equal(bench.frames, _batch(640))


def back_pressure(make: LinkFactory) -> None:
    """Check that a guest that does not read blocks nothing, that room is announced again, and that no frame is
    lost.
    """
    with _Bench(make) as bench:
        frames = _batch(20_000)
        taken = 0
        for start in range(0, len(frames), 100):
            chunk = [Frame((frame,)) for frame in frames[start : start + 100]]
            count = bench.link.send(chunk)
            _check_taken(count, len(chunk))
            taken += count
            if count < len(chunk):
                break
        if not bench.case.blocks:
            assert taken == len(frames)
            return
        assert taken < len(frames), (
            "30 MB were taken for a guest that does not read; a link that always takes all declares blocks=False"
        )
        assert bench.link.send([Frame((frames[taken],))]) == 0, "took a frame while there was no room"
        got: list[bytes] = []
        bench.to_guest([Frame((frame,)) for frame in frames[taken : taken + 500]], got)
        bench.arrived(frames[: taken + 500], got)
        assert bench.dropped == 0


def garbage(make: LinkFactory) -> None:
    """Check that malformed data has no lasting effect: the next guest, or the next frame, is served."""
    with _Bench(make) as bench:
        if bench.case.garbage is None:
            return
        frames = _batch(3)
        bench.from_guest(frames[:1])
        bench.until("a frame", lambda: len(bench.frames) == 1)
        bench.case.garbage()
        bench.from_guest(frames[1:2])
        bench.until("a frame after garbage", lambda: frames[1] in bench.frames)
        got: list[bytes] = []
        bench.to_guest([Frame((frames[2],))], got)
        bench.until("a frame to the guest after garbage", lambda: bench._read(got) or frames[2] in got)


def a_guest_that_vanishes(make: LinkFactory) -> None:
    """Check that the link drops frames for a guest that vanished, without spinning or raising."""
    with _Bench(make) as bench:
        bench.peer.close()
        for _ in range(5):
            bench.step()
            _check_dropped(bench.link.send([_split(frame, 2) for frame in _batch(3)]), 3)
        began = time.process_time()
        end = time.monotonic() + 0.05
        steps = 0
        while time.monotonic() < end:
            bench.step()
            steps += 1
        used = time.process_time() - began
        assert steps < 200, (
            f"polling does not wait: {steps} polls and {used:.3f} CPU s; "
            "unregister the descriptor of a guest that has gone"
        )


def closing(make: LinkFactory) -> None:
    """Check that closing releases everything, repeatedly, started or not; a closed link accepts frames."""
    bench = _Bench(make)
    bench.link.close()
    bench.link.close()
    bench.peer.close()
    with _Bench(make) as bench:
        bench.from_guest(_batch(1))
        bench.until("a frame", lambda: len(bench.frames) == 1)
        bench.link.close()
        bench.link.close()
        assert bench.poller.registered == set(), "descriptors are still registered"
        assert bench.pending() == 0, "timers are still set"
        _check_dropped(bench.link.send([Frame((_batch(1)[0],))]), 1)
        bench.step()
        assert len(bench.frames) == 1


def features_are_constant(make: LinkFactory) -> None:
    """Check that features are known before the start and constant: they are read once."""
    bench = _Bench(make)
    before = bench.link.features
    with bench:
        assert bench.link.features == before
        bench.from_guest(_batch(1))
        bench.until("a frame", lambda: len(bench.frames) == 1)
        assert bench.link.features == before
        assert before.checksum_offload or not before.segmentation_offload
    assert bench.link.features == before


LINK_CHECKS: tuple[LinkCheck, ...] = (
    frames_from_the_guest,
    frames_to_the_guest,
    batches,
    back_pressure,
    garbage,
    a_guest_that_vanishes,
    closing,
    features_are_constant,
)
"""All checks."""
