"""An audit trail with time that a test moves, and the events of a guest."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path
from typing import cast

from slirpy import Action, FlowRequest, Verdict
from slirpy.audit.log import AuditLog
from slirpy.audit.trail import AuditTrail
from slirpy.interfaces import ServiceNetwork
from slirpy.units import SECOND
from tests.unit.audit.records import Record, check, check_numbers, lines

GUEST = b"\x0a\0\x02\x0f"

MAC = bytes.fromhex("525400123456")

REJECT = Verdict(Action.REJECT, reason="no rule allows it")


class Clock:
    """Time that a test moves, with timers."""

    def __init__(self) -> None:
        self.now = 0
        self._timers: list[tuple[int, int, Callable[[], None]]] = []

    def call_at(self, when: int, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, len(self._timers), callback))

    def run(self, seconds: float = 0) -> None:
        self.now += round(seconds * SECOND)
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()


class Trail:
    """A trail with a log in a file, and a list of all records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.heard: list[Record] = []
        self.trail = AuditTrail(run="r", log=AuditLog(str(path)), function=self.heard.append)
        self.link, self.port = object(), object()
        self.trail.started(cast(ServiceNetwork, self.clock), ["10.0.2.0/24"], None)
        self.trail.link_changed(self.link, self.port, True)

    def request(
        self, destination: str, port: int = 443, protocol: int = 6, *, host: bool = False
    ) -> FlowRequest:
        return FlowRequest(protocol, GUEST, 40000, destination, port, host, link=self.link, mac=MAC, lease="vm")

    def refuse(self, destination: str, port: int = 443) -> None:
        self.trail.flow_refused(self.request(destination, port), REJECT)

    def end(self) -> list[Record]:
        """Close, and return what the log says, checked."""
        self.trail.close()
        self.trail.close()
        records = lines(self.path.read_bytes())
        check(records[:300])
        check(records[-300:])
        check(self.heard[:100])
        check_numbers(records)
        assert [record["seq"] for record in self.heard] == list(range(len(self.heard)))
        return records
