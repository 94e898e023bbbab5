"""Budgets of an audit log: a flood fills neither the disk nor the reader's screen, and hides nothing.

Each kind of event has a budget for each link and each class of severity, so what one guest does in one class never
costs a line of another guest or of another class. Events beyond the budget are counted, and the counts are written
every second while there are any. No event is lost without a trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slirpy.audit.severity import Severity
from slirpy.fair import TokenBucket

__all__ = ["BUDGETS", "Budget", "Omitted"]

BUDGETS = {"flow": (10_000, 1_000), "refused": (1_000, 100), "dns": (10_000, 1_000), "lease": (1_000, 100)}
"""By kind: the number of events that may be written at once, and a second in the long run."""
KEYS_MAX = 4096
"""Maximum number of budgets; beyond it the oldest is forgotten, and its link begins with a full one."""
SAMPLE = 8
"""Number of destinations or names that are named in a count."""

Key = tuple[str, object, Severity]
"""Kind, link and class."""


class Omitted:
    """Counts of the events of one kind that were not written.

    Attributes:
        count: their number.
        first, last: their sequence numbers.
        bytes_in, bytes_out: bytes of the flows among them that have ended.
        sample: the first few destinations or names, without repetition.
    """

    __slots__ = ("bytes_in", "bytes_out", "count", "first", "last", "sample")

    def __init__(self, first: int) -> None:
        self.count = 0
        self.first = self.last = first
        self.bytes_in = self.bytes_out = 0
        self.sample: dict[str, None] = {}

    def add(self, seq: int, record: dict[str, Any]) -> None:
        """Count a record."""
        self.count += 1
        self.last = seq
        self.bytes_in += record.get("bytes_in") or 0
        self.bytes_out += record.get("bytes_out") or 0
        if len(self.sample) < SAMPLE:
            text = record.get("name") or record.get("destination") or record.get("address")
            port = record.get("destination_port")
            if text:
                text = f"[{text}]" if port and ":" in text else text
                self.sample[f"{text}:{port}" if port else text] = None


class Budget:
    """The budgets of one log."""

    def __init__(self) -> None:
        self._buckets: dict[Key, TokenBucket] = {}
        self._omitted: dict[Key, Omitted] = {}

    def take(self, kind: str, link: object, severity: Severity, now: int) -> bool:
        """Take room for one event. Returns False if there is none.

        Args:
            kind: a key of :data:`BUDGETS`.
            link: the link of the guest; compared, and shown, as it is.
            now: monotonic nanoseconds.
        """
        key = kind, link, severity
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= KEYS_MAX:
                del self._buckets[next(iter(self._buckets))]
            burst, rate = BUDGETS[kind]
            bucket = self._buckets[key] = TokenBucket(rate, burst, now)
        return bucket.take(now)

    def omit(self, kind: str, link: object, severity: Severity, seq: int, record: dict[str, Any]) -> bool:
        """Count an event that is not written. Returns True if nothing was counted before."""
        first = not self._omitted
        key = kind, link, severity
        omitted = self._omitted.get(key)
        if omitted is None:
            omitted = self._omitted[key] = Omitted(seq)
        omitted.add(seq, record)
        return first

    def take_omitted(self) -> Iterator[tuple[Key, Omitted]]:
        """Remove all counts, and return them."""
        omitted, self._omitted = self._omitted, {}
        return iter(omitted.items())
