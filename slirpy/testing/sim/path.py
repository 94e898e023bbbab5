"""The way from one host to another: faults, partitions, and frames that are held back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeAlias

from slirpy.checks import instance, whole
from slirpy.links.faultypath import FaultCounters, Faults, FaultyPath
from slirpy.reprs import never_raises
from slirpy.tcp import Segment
from slirpy.testing.sim.narrow import fragment_frames, too_big_frame
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.segments import Fields
from slirpy.testing.sim.trace import FrameRecord, LateFrame, Trace
from slirpy.wire import ethernet

__all__ = ["Deliver", "DeliverSegment", "Path", "Plan"]

_UNLIMITED = 1 << 62
_IP = ethernet.TYPE_IPV4.to_bytes(2, "big"), ethernet.TYPE_IPV6.to_bytes(2, "big")


Deliver: TypeAlias = Callable[[bytes, bool], None]
"""Takes a frame that has arrived, and whether nothing has changed it on the way."""
DeliverSegment: TypeAlias = Callable[[bytes, Segment], None]
"""Takes a TCP segment that has arrived unchanged, after its flow key."""
Plan: TypeAlias = Callable[["Path", FrameRecord], bool]
"""Faults that a test has chosen: decides about a frame; returns False if it goes its way as usual."""


class Path:
    """One direction between two hosts.

    Attributes:
        source, target: names of the hosts.
        back: takes a frame to the source, and the reason: the way of answers that a router on the way makes.
        faults: the faults of frames to come; see :class:`~slirpy.links.faultypath.Faults`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        source: str,
        target: str,
        deliver: Deliver,
        faults: Faults,
        random: Callable[[], Random],
        back: Callable[[bytes, str], None],
        deliver_segment: DeliverSegment,
    ) -> None:
        self._scheduler = scheduler
        self._records = trace.records
        self._deliver = deliver
        self._deliver_segment = deliver_segment
        self._faulty = FaultyPath(random, faults)
        self._faults = faults
        self._rates: list[tuple[int, list[int]]] = []
        self._held: list[FrameRecord] | None = None
        self._cuts: list[list[int]] = []
        self._mtu: int | None = None
        self._longest = _UNLIMITED
        self._open = True  # neither cut, nor on hold, nor slowed down
        self.source = source
        self.target = target
        self.back = back
        self.plan: Plan | None = None

    @never_raises
    def __repr__(self) -> str:
        state = ", cut" if self._cuts else ", on hold" if self._held is not None else ""
        return f"<Path {self.source} -> {self.target}{state}: {self.counters}>"

    @property
    def faults(self) -> Faults:
        """The faults of frames to come. May be changed at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        instance("faults", faults, Faults, "a Faults, such as Faults(loss=0.05)")
        self._faults = faults
        rates = [rate for rate, _ in self._rates]
        if rates:
            faults = replace(faults, rate=min(rates if faults.rate is None else (*rates, faults.rate)))
        self._faulty.faults = faults

    @property
    def mtu(self) -> int | None:
        """Largest IP packet that a router on the way passes on, 1280 to 65521 bytes; None: whatever the hosts send.

        It fragments larger packets of IPv4, or answers by ICMP that they are too big, as the packets demand.
        """
        return self._mtu

    @mtu.setter
    def mtu(self, mtu: int | None) -> None:
        self._mtu = None if mtu is None else whole("mtu", mtu, 1280, 65521)
        self._longest = _UNLIMITED if mtu is None else ethernet.HEADER_LENGTH + mtu

    def slow(self, rate: int, hits: list[int]) -> None:
        """Limit the path to ``rate`` bits per second until :meth:`unslow`. The lowest of several limits counts.

        Args:
            rate: bits per second.
            hits: gets the time of each frame that is sent meanwhile.
        """
        self._rates.append((rate, hits))
        self._open = False
        self.faults = self._faults

    def unslow(self, hits: list[int]) -> None:
        """Undo the :meth:`slow` with this list. Harmless without one."""
        self._rates = [each for each in self._rates if each[1] is not hits]
        self._reopen()
        self.faults = self._faults

    @property
    def counters(self) -> FaultCounters:
        """Counters of the frames that were neither cut off nor held back."""
        return self._faulty.counters

    @property
    def is_cut(self) -> bool:
        """True while a partition is between the hosts."""
        return bool(self._cuts)

    def cut(self, hits: list[int] | None = None) -> None:
        """Lose every frame from now on. Cuts add up: each needs its :meth:`restore`.

        Args:
            hits: gets the time of each frame that is lost.
        """
        self._cuts.append([] if hits is None else hits)
        self._open = False

    def restore(self, hits: list[int] | None = None) -> None:
        """Undo one :meth:`cut`, that with the same ``hits`` if there are several. Harmless without one."""
        for number, cut in enumerate(self._cuts):
            if hits is None or cut is hits:
                del self._cuts[number]
                break
        self._reopen()

    def hold(self) -> None:
        """Hold back every frame from now on, until :meth:`release`."""
        if self._held is None:
            self._held = []
            self._open = False

    def release(self) -> None:
        """Let the held frames go, in their order. Harmless without a :meth:`hold`."""
        held, self._held = self._held, None
        self._reopen()
        for record in held or ():
            self._put(record)

    def _reopen(self) -> None:
        self._open = not self._cuts and not self._rates and self._held is None

    def carry(self, frame: bytes) -> None:
        """Take a frame from the source."""
        record = FrameRecord(self._scheduler.now, self.source, self.target, frame)
        self._records.append(record)
        self._carry(record, len(frame), None)

    def carry_segment(self, key: bytes, segment: Segment, length: int, frame: LateFrame) -> None:
        """Take a TCP segment from the source as a frame that is made when it is looked at.

        Args:
            key: flow key of the segment.
            segment: the segment.
            length: bytes of the frame.
            frame: makes the frame.
        """
        scheduler = self._scheduler
        now = scheduler.now
        record = FrameRecord(now, self.source, self.target, frame)
        self._records.append(record)
        deliver = self._deliver_segment
        if self._open and self.plan is None and length <= self._longest:
            when = self._faulty.delayed(now)
            if when is not None:  # most segments
                record.arrivals = (when,)
                scheduler.add(when, deliver, (key, segment))
                return
        self._carry(record, length, (key, segment))

    def _carry(self, record: FrameRecord, length: int, fields: Fields | None) -> None:
        now = self._scheduler.now
        if self._cuts:
            record.fault = "partition"
            for hits in self._cuts:
                hits.append(now)
        elif self._held is not None:
            record.fault = "hold"
            self._held.append(record)
        else:
            for _, hits in self._rates:
                hits.append(now)
            if length > self._longest and self._narrow(record):
                return
            if self.plan is None or not self.plan(self, record):
                self._put(record, fields)

    def _narrow(self, record: FrameRecord) -> bool:
        """Handle a packet that is larger than the MTU; False if it is none of IP."""
        mtu, frame = self._mtu, record.frame
        if mtu is None or frame[12:14] not in _IP:
            return False
        pieces = fragment_frames(frame, mtu)
        reason = "fragmentation" if pieces else f"larger than {mtu} bytes"
        record.fault = reason
        for piece in pieces:
            self.insert(piece, reason)
        answer = None if pieces else too_big_frame(frame, mtu)
        if answer is not None:
            self.back(answer, reason)
        return True

    def insert(self, frame: bytes, reason: str) -> None:
        """Send a frame that a device on the path has made."""
        record = FrameRecord(self._scheduler.now, self.source, self.target, frame, fault=reason)
        self._records.append(record)
        self._put(record)

    def send(self, record: FrameRecord, delay: int = 0, copies: int = 1) -> None:
        """Send a frame on its way, later or more than once: for a plan of faults."""
        for _ in range(copies):
            if delay:
                self._scheduler.at(self._scheduler.now + delay, self._put, record)
            else:
                self._put(record)

    def _put(self, record: FrameRecord, fields: Fields | None = None) -> None:
        scheduler, frame, faulty = self._scheduler, record.frame, self._faulty
        counters = faulty.counters
        lost = counters.lost
        arrivals = faulty.put(frame, len(frame), scheduler.now)
        for when, each in arrivals:
            sound = each is frame and not record.changed
            if sound and fields is not None:
                scheduler.add(when, self._deliver_segment, fields)
            else:
                scheduler.at(when, self._deliver, each, sound)
            record.arrivals += (when,)
        if len(arrivals) != 1 or arrivals[0][1] is not frame:
            self._explain(record, counters.lost != lost, [each for _, each in arrivals])

    def _explain(self, record: FrameRecord, lost: bool, copies: list[bytes]) -> None:
        """Note what has happened to a frame."""
        if not copies:
            reason = "loss" if lost else "queue full"
        elif any(each is not record.frame for each in copies):
            record.frame = copies[-1]
            record.changed = True
            reason = "corruption"
        else:
            reason = "duplication"
        record.fault = f"{record.fault}, {reason}" if record.fault else reason
