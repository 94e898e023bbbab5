"""A script of frames, played to QEMU's user network (libslirp) and to slirpy, and a record of the responses.

A script is a function that takes a :class:`Talk`, sends frames by steps, and plays the host's programs; it must do
the same whichever network it talks to, and may be played over either IP family. :mod:`tests.system.oracle_compare`
runs it against both networks.

Scripts speak to the gateway (which is this machine's loopback), to the network's own services and to addresses that
nobody has. Those that name anything else are ``isolated``: QEMU then has a network namespace of its own, in which
there is nothing but its loopback interface.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from slirpy import Config
from slirpy.wire import arp, ethernet
from tests.support import frames6
from tests.support.harness import GUEST_MAC
from tests.system.oracle_decode import Decoder, Seen, merge_streams
from tests.system.oracle_networks import START, Network

__all__ = ["GATEWAY", "GUEST", "MAC", "PLAN4", "PLAN6", "Plan", "Talk"]

MAC = GUEST_MAC
GUEST = bytes((10, 0, 2, 15))
GATEWAY = bytes((10, 0, 2, 2))
WITHIN = 0.3
"""Seconds that a step waits for what it awaits."""
QUIET = 0.015
"""Seconds of silence that end a step in which sockets have a part."""
WATCHER = bytes.fromhex("5254000000c8")
"""MAC address of a guest that asks for the gateway at the end of each step, and so is answered last."""


Until: TypeAlias = int | Callable[[list[Seen]], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """The addresses of one IP family, as both networks have them without options.

    Attributes:
        guest, gateway, dns: of the guest and the virtual hosts.
        nobody: of the network, but nobody's.
        other: another address that a guest may have.
        foreign: of another network.
        outside: of a host that does not exist (RFC 5737, RFC 3849).
        loopback: of the host, for its programs.
        sockets: family of those programs' sockets.
        segment, datagram, piece: bytes of payload of a TCP segment, a UDP datagram and a fragment in a packet of
            1500 bytes.
    """

    guest: bytes
    gateway: bytes
    dns: bytes
    nobody: bytes
    other: bytes
    foreign: bytes
    outside: bytes
    loopback: str
    sockets: socket.AddressFamily
    segment: int
    datagram: int
    piece: int


PLAN4 = Plan(
    guest=GUEST,
    gateway=GATEWAY,
    dns=bytes((10, 0, 2, 3)),
    nobody=bytes((10, 0, 2, 99)),
    other=bytes((10, 0, 2, 50)),
    foreign=bytes((192, 168, 1, 9)),
    outside=bytes((198, 51, 100, 1)),
    loopback="127.0.0.1",
    sockets=socket.AF_INET,
    segment=1460,
    datagram=1472,
    piece=1480,
)
PLAN6 = Plan(
    guest=frames6.GUEST6,
    gateway=frames6.GATEWAY6,
    dns=frames6.DNS6,
    nobody=frames6.ip6("fec0::99"),
    other=frames6.ip6("fec0::50"),
    foreign=frames6.ip6("fd00::9"),
    outside=frames6.ip6("2001:db8::1"),
    loopback="::1",
    sockets=socket.AF_INET6,
    segment=1440,
    datagram=1452,
    piece=1448,
)


class Talk:
    """One run of a script against one network, and the record of it."""

    def __init__(self, net: Network, options: str = "", patience: float = 1.0, plan: Plan = PLAN4) -> None:
        self.net = net
        self.plan = plan
        self.patience = patience
        """All times to wait are multiplied by this: more where the machine is busy."""
        config = Config.from_qemu(options)
        own, gateway = config.net[200].packed, config.gateway_address
        request = arp.build(arp.ArpPacket(arp.REQUEST, WATCHER, own, bytes(6), gateway))
        self._question = ethernet.BROADCAST + WATCHER + b"\x08\x06" + request
        self.record: dict[str, list[Seen]] = {}
        """By step: what came out, and what was noted."""
        self.decoder = Decoder()
        self.at_end: list[Callable[[], bytes]] = []
        """Functions that make the frames which end whatever a script has left open."""
        self._step = ""
        self._asked = 0
        self._solicited = False

    def end(self) -> None:
        """Leave the network as it was, for another script."""
        self.exchange(*(make() for make in self.at_end))

    def step(self, name: str, *frames: bytes, until: Until = 0, within: float = WITHIN) -> list[Seen]:
        """Send frames and write down under ``name`` what comes; returns it, undigested.

        Args:
            name: of the step; a new one.
            frames: from the guest.
            until: for what sockets have a part in: how many frames are awaited, or what is. The rest that comes is
                taken too. 0: what comes at once.
            within: seconds to wait at most.
        """
        assert name not in self.record
        self._step = name
        seen = self.exchange(*frames, until=until, within=within)
        self.record[name] = merge_streams(seen)
        return seen

    def listen(self, name: str, *, until: Until = 0, within: float = WITHIN) -> list[Seen]:
        """Go on with a step, after something was done at the host."""
        self._step = name
        seen = self.exchange(until=until, within=within)
        self.record.setdefault(name, []).extend(merge_streams(seen))
        return seen

    def exchange(self, *frames: bytes, until: Until = 0, within: float = WITHIN) -> list[Seen]:
        """Do the same as :meth:`step` without recording it, for exchanges whose details depend on timing."""
        self._solicited = any(frame[12:14] == b"\x86\xdd" and frame[54:55] == b"\x85" for frame in frames)
        for frame in frames:
            self.decoder.watch(frame)
            self.net.send(frame)
        seen: list[Seen] = []
        enough = (lambda all_of: len(all_of) >= until) if isinstance(until, int) else until
        end = time.monotonic() + within * self.patience
        while until and not enough(seen) and (left := end - time.monotonic()) > 0:
            self._take(seen, self.net.receive(left))
        self._settle(seen)
        while until and self._take(seen, self.net.receive(QUIET * self.patience)):
            pass
        return seen

    def note_flows(self, state: str) -> None:
        """Record the network's list of connections, or forwards, in a state."""
        rows = sorted(self.decoder.names(row) for row in self.net.flows() if f"[{state}]" in row)
        self.note("flows", rows=", ".join(rows) or "none")

    def note(self, what: str, **fields: object) -> None:
        """Write down in the present step what was seen elsewhere, as at the host."""
        self.record.setdefault(self._step, []).append(
            Seen(what, {f"{what}.{name}": str(value) for name, value in fields.items()})
        )

    def _settle(self, seen: list[Seen]) -> None:
        """Wait until the network has done with all that it was sent.

        Twice: the first answer may stand before others in the same batch.
        """
        for _ in range(2):
            self.net.send(self._question)
            self._asked += 1
            end = time.monotonic() + START
            while self._asked:
                assert time.monotonic() < end, f"{self.net.name} does not answer any more"
                self._take(seen, self.net.receive(1.0))

    def _take(self, seen: list[Seen], frames: list[bytes]) -> bool:
        came = False
        for frame in frames:
            if frame[:6] == WATCHER:
                self._asked -= 1
                continue
            one = self.decoder.decode(frame)
            # Advertisements of the router that nobody has asked for come at random times.
            if one.kind != "ndp ra" or self._solicited:
                seen.append(one)
                came = True
        return came
