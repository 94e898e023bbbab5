"""Questions whether anybody uses an address, for whoever is about to give it away."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NamedTuple

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm

__all__ = ["Occupant", "Probes"]

MAX_PROBES = 256
"""Questions at a time; more are not asked."""
REQUESTS = 2
"""Requests for each, spread over its time: one may be lost."""


class Occupant(NamedTuple):
    """Where an address was last heard."""

    mac: bytes
    port: LinkPort
    """The link that it is behind."""
    heard: int
    """When, in monotonic nanoseconds."""


class _Probe:
    """One question."""

    __slots__ = ("address", "alarm", "but", "done", "left", "step")

    def __init__(
        self, address: bytes, but: Container[bytes], step: int, done: Callable[[Occupant | None], None]
    ) -> None:
        self.address = address
        self.but = but
        self.step = step
        self.done = done
        self.left = REQUESTS
        self.alarm: Alarm | None = None


class Probes:
    """The questions that are under way in one stack.

    Args:
        question: asks behind all links where an address is.
    """

    def __init__(self, network: Network, question: Callable[[bytes], None]) -> None:
        self._network = network
        self._question = question
        self._asked: dict[bytes, list[_Probe]] = {}
        self._number = 0

    def __len__(self) -> int:
        """Questions under way."""
        return self._number

    def ask(
        self, address: bytes, time: int, but: Container[bytes], done: Callable[[Occupant | None], None]
    ) -> None:
        """Call ``done`` with the first that answers, or with None when ``time`` nanoseconds have passed.

        An answer from one of the MAC addresses ``but`` does not count.
        """
        if self._number >= MAX_PROBES:
            done(None)
            return
        probe = _Probe(address, but, time // REQUESTS, done)
        self._asked.setdefault(address, []).append(probe)
        self._number += 1
        self._request(probe)

    def _request(self, probe: _Probe) -> None:
        network = self._network
        if not probe.left:
            self._end(probe, None)
            return
        probe.left -= 1
        self._question(probe.address)
        probe.alarm = network.call_at(network.now + probe.step, lambda: self._request(probe))

    def heard(self, address: bytes, mac: bytes, port: LinkPort) -> None:
        """``address`` was heard at ``mac``."""
        for probe in list(self._asked.get(address, ())):
            if mac not in probe.but:
                self._end(probe, Occupant(mac, port, self._network.now))

    def _end(self, probe: _Probe, answer: Occupant | None) -> None:
        if probe.alarm is not None:
            probe.alarm.cancel()
        rest = self._asked[probe.address]
        rest.remove(probe)
        if not rest:
            del self._asked[probe.address]
        self._number -= 1
        probe.done(answer)
