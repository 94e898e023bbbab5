"""MLD of a :class:`~slirpy.testing.guest.Guest`: reports of the groups that it listens to (RFC 3810).

A guest reports nothing until it joins a group (:meth:`~slirpy.testing.guest.Guest.join`) or is queried. From then on
it reports all its groups but "all nodes", including the solicited-node groups of its addresses, and every change.
"""

from __future__ import annotations

from collections.abc import Iterable

from slirpy.core.timers import Alarm
from slirpy.reprs import counted, never_raises
from slirpy.testing.guest.addressing import Addressing6
from slirpy.testing.guest.host import GuestHost
from slirpy.testing.guest.ndp import link_local
from slirpy.units import MS, SECOND
from slirpy.wire import ethernet, ipv6, mld
from slirpy.wire.ipv6 import UNSPECIFIED, IPv6Header
from slirpy.wire.mld import Change, Record

__all__ = ["MldHost"]

UNSOLICITED_INTERVAL = SECOND
"""Time after which a change is reported again (RFC 3810, section 9.11), since a report may be lost."""
RECORDS = 60
"""Records of one report, which has to fit the least MTU."""


class MldHost:
    """Reports the groups of a guest.

    Attributes:
        active: whether the guest reports.
        reports: number of reports sent.
    """

    def __init__(self, guest: GuestHost, addressing: Addressing6) -> None:
        self._guest = guest
        self._addressing = addressing
        self._reported: set[bytes] = set()
        self._again: list[Record] = []
        self._repeat = Alarm(guest.timers, self._repeat_changes)
        self._answer = Alarm(guest.timers, self._answer_query)
        self._asked: set[bytes] = set()
        self.active = False
        self.reports = 0

    @never_raises
    def __repr__(self) -> str:
        state = "active" if self.active else "silent"
        return f"<MldHost {state}: {counted(len(self._reported), 'group')}, {counted(self.reports, 'report')}>"

    def service(self) -> bool:
        """Report changes since the last call; False if there are none."""
        if not self.active:
            return False
        groups = self._groups()
        joined, left = groups - self._reported, self._reported - groups
        if not joined and not left:
            return False
        self._reported = groups
        self._again = [Record(Change.TO_EXCLUDE, group) for group in sorted(joined)]
        self._again += [Record(Change.TO_INCLUDE, group) for group in sorted(left)]
        self._send(self._again)
        self._repeat.set(self._guest.now + UNSOLICITED_INTERVAL)
        return True

    def _groups(self) -> set[bytes]:
        return self._addressing.groups() - {ipv6.ALL_NODES}

    def _repeat_changes(self) -> None:
        groups = self._groups()
        self._send([each for each in self._again if (each.group in groups) == each.joins])

    def query(self, header: IPv6Header, message: memoryview) -> None:
        """Answer a router's query after a random part of the time that it allows (section 6.2)."""
        query = mld.read_query(header, message)
        if query is None:
            self._guest.counters.malformed += 1
            return
        self.active = True
        self._reported = self._groups()
        if query.group != UNSPECIFIED and query.group not in self._reported:
            return
        self._asked |= self._reported if query.group == UNSPECIFIED else {query.group}
        due = self._guest.now + self._guest.random.randrange(max(query.response, 1)) * MS
        deadline = self._answer.when
        if deadline is None or due < deadline:
            self._answer.set(due)

    def _answer_query(self) -> None:
        asked, self._asked = self._asked & self._groups(), set()
        self._send(Record(Change.IS_EXCLUDE, group) for group in sorted(asked))

    def _send(self, records: Iterable[Record]) -> None:
        """Send reports, from the unspecified address if there is no link-local one yet (RFC 3590)."""
        own = link_local(self._guest.mac)
        source = own if own in self._addressing.addresses else UNSPECIFIED
        wanted = list(records)
        for at in range(0, len(wanted), RECORDS):
            message = mld.report(source, wanted[at : at + RECORDS])
            packet = mld.packet(source, mld.ROUTERS_V2, message)
            self._guest.send_frame(ipv6.multicast_mac(mld.ROUTERS_V2), ethernet.TYPE_IPV6, packet)
            self.reports += 1
