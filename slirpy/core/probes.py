"""Probes: is an address in use? DHCP asks before it assigns one."""

from __future__ import annotations

from collections.abc import Callable, Container

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm
from slirpy.records import NamedTuple

__all__ = ["Occupant", "Probes"]

MAX_PROBES = 256
"""Maximum number of probes at a time; beyond it an address counts as free."""
REQUESTS = 2
"""Number of requests of a probe, spread over its time, since one may be lost."""


class Occupant(NamedTuple):
    """The user of an address, as last heard."""

    mac: bytes
    port: LinkPort
    """The link behind which it was heard."""
    heard: int
    """Time of its last packet, in monotonic nanoseconds."""


class _Probe:
    """One probe."""

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
    """The probes under way in one stack.

    Args:
        question: asks behind all links for an address.
    """

    def __init__(self, network: Network, question: Callable[[bytes], None]) -> None:
        self._network = network
        self._question = question
        self._asked: dict[bytes, list[_Probe]] = {}
        self._number = 0

    def __len__(self) -> int:
        """Number of probes under way."""
        return self._number

    def ask(
        self, address: bytes, time: int, but: Container[bytes], done: Callable[[Occupant | None], None]
    ) -> None:
        """Call ``done`` with the first host that answers, or with None after ``time`` nanoseconds.

        Answers from the MAC addresses in ``but`` do not count.
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
        """Note that ``address`` was heard at ``mac``."""
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
