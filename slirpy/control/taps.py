"""Captures and faults of a network while it runs: links that are inserted around those of the guests.

All of this is done by the thread that drives the network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from slirpy.core.inserted import inserted_at
from slirpy.core.port import LinkPort
from slirpy.errors import ConfigError, LinkError, StateError
from slirpy.links.capture import CaptureLink
from slirpy.links.faults import FaultLink
from slirpy.links.faultypath import Faults
from slirpy.links.memory import RecordQueue, RecordRing
from slirpy.links.recorder import Recorder

if TYPE_CHECKING:
    from slirpy.core.switchnet import SwitchNetwork
    from slirpy.interfaces import Poller
    from slirpy.stack import Stack

__all__ = ["CAPTURES_MAX", "FILE_BYTES", "Capture", "Taps", "Target"]

CAPTURES_MAX = 16
"""Maximum number of captures, with those that have ended and are still listed."""
FILE_BYTES = 1_000_000_000
"""Default size at which a capture begins another file."""

Target = str | RecordQueue | RecordRing


class Capture:
    """A capture of some or all links.

    Attributes:
        number: its number, from 1; no other has had it.
        target: the name of its file, or the memory that it fills.
        everywhere: True if links that are attached later are recorded, too.
        recorder: writes the frames.
        began: time of its start, in seconds since 1970.
        running: False once it has ended.
    """

    def __init__(self, number: int, target: Target, recorder: Recorder, *, everywhere: bool) -> None:
        self.number = number
        self.target = target
        self.everywhere = everywhere
        self.recorder = recorder
        self.began = time.time()
        self.running = True
        self._taps: dict[LinkPort, tuple[int, CaptureLink]] = {}

    @property
    def links(self) -> int:
        """Number of links that it records."""
        self._forget_closed()
        return len(self._taps)

    def record(self, port: LinkPort, poller: Poller) -> None:
        """Record one more link. Its name is ``link1``, ``link2`` and so on: the first that is free."""
        self._forget_closed()
        taken = {number for number, _ in self._taps.values()}
        number = next(each for each in count(1) if each not in taken)
        tap = inserted_at(port).add(
            lambda inner: CaptureLink(inner, self.recorder, name=f"link{number}"), poller
        )
        self._taps[port] = number, tap

    def end(self) -> None:
        """Leave the links as they were before, and close the file."""
        for port, (_, tap) in self._taps.items():
            inserted_at(port).remove(tap)
        self._taps.clear()
        self.running = False
        self.recorder.close()

    def _forget_closed(self) -> None:
        self._taps = {port: tap for port, tap in self._taps.items() if not port.closed}


class Taps:
    """The captures and faults of a network.

    Args:
        network: the network.
        poller: of the thread that drives it.
    """

    def __init__(self, network: Stack | SwitchNetwork, poller: Poller) -> None:
        self._network = network
        self._poller = poller
        self._captures: dict[int, Capture] = {}
        self._numbers = count(1)
        self._faults: dict[LinkPort, FaultLink] = {}

    # ---------------------------------------------------------------------------------- captures

    def captures(self) -> list[Capture]:
        """The captures, including those that have ended."""
        return list(self._captures.values())

    def capture(self, number: int) -> Capture | None:
        """The capture of this number, if there is one."""
        return self._captures.get(number)

    def start(
        self,
        target: Target,
        links: Sequence[int] | None = None,
        *,
        file_format: str | None = None,
        max_bytes: int = FILE_BYTES,
        max_files: int = 2,
        overwrite: bool = False,
    ) -> Capture:
        """Start a capture.

        Args:
            target: the absolute name of a file, or memory.
            links: numbers of links; None: all, and those that are attached later.
            file_format: as for :class:`~slirpy.links.Recorder`, like the others.
            max_bytes: for a file.
            max_files: for a file.
            overwrite: for a file.

        Raises:
            ConfigError: a value that cannot be used, or no link of this number.
            LinkError: the file cannot be written, or exists.
            StateError: too many captures run.
        """
        ports = self._ports(links)
        self._make_room()
        if not isinstance(target, str):
            recorder = Recorder(target, file_format=file_format)
        elif not os.path.isabs(target):
            raise ConfigError(
                f'capture file "{target[:200]}": is not an absolute path, such as /tmp/net.pcapng'
            )
        else:
            try:
                recorder = Recorder(
                    target,
                    file_format=file_format,
                    max_bytes=max_bytes,
                    max_files=max_files,
                    overwrite=overwrite,
                )
            except LinkError as error:
                if "ermission denied" not in str(error):
                    raise
                raise LinkError(
                    f"{error}; a program that --sandbox confines writes captures only to the folder that it was"
                    " started with, --capture-dir FOLDER; a stream needs none"
                ) from None
        capture = Capture(next(self._numbers), target, recorder, everywhere=links is None)
        recorder.on_dropped = self._count_lost
        recorder.on_error = lambda error: self._end_soon(capture)
        for port in ports:
            capture.record(port, self._poller)
        self._captures[capture.number] = capture
        if capture.everywhere:
            self._network.on_attach = self._attached
        return capture

    def stop(self, capture: Capture) -> None:
        """End a capture, which stays in the list. Harmless when repeated."""
        if capture.running:
            capture.end()
        if not any(each.running and each.everywhere for each in self._captures.values()):
            self._network.on_attach = None

    def remove(self, capture: Capture) -> None:
        """End a capture, and forget it. Its files stay."""
        self.stop(capture)
        self._captures.pop(capture.number, None)

    def _make_room(self) -> None:
        for capture in list(self._captures.values()):
            if len(self._captures) < CAPTURES_MAX:
                return
            if not capture.running:
                self.remove(capture)
        if len(self._captures) >= CAPTURES_MAX:
            raise StateError(f"{CAPTURES_MAX} captures are running already; stop one first")

    def _attached(self, port: LinkPort, poller: Poller) -> None:
        for capture in self._captures.values():
            if capture.running and capture.everywhere:
                capture.record(port, poller)

    def _end_soon(self, capture: Capture) -> None:
        """End a capture that has failed, once the frame is through that it failed at."""
        self._network.call_at(self._network.now, lambda: self.stop(capture))

    def _count_lost(self, frames: int) -> None:
        self._network.stats.control_capture_lost += frames

    # ------------------------------------------------------------------------------------ faults

    def faults(self) -> list[tuple[int, FaultLink]]:
        """The number of each link that has faults, and these."""
        self._faults = {port: link for port, link in self._faults.items() if not port.closed}
        ports = enumerate(self._network.ports)
        return [(number, self._faults[port]) for number, port in ports if port in self._faults]

    def set_faults(
        self, links: Sequence[int] | None, to_guest: Faults, from_guest: Faults, seed: int | None = None
    ) -> None:
        """Set the faults of links; those of a link that has some are replaced.

        Args:
            links: numbers of links; None: all that there are.
            to_guest: faults of frames to the guest.
            from_guest: faults of frames from the guest.
            seed: makes the chances of links that have no faults yet repeatable.

        Raises:
            ConfigError: no link of this number.
        """
        for port in self._ports(links):
            link = self._faults.get(port)
            if link is None:
                link = inserted_at(port).add(
                    partial(FaultLink, random=Random(seed)),
                    self._poller,
                    innermost=True,
                )
                self._faults[port] = link
            link.to_guest, link.from_guest = to_guest, from_guest

    def clear_faults(self, links: Sequence[int] | None) -> None:
        """End the faults of links; frames that they hold are passed on at once.

        Args:
            links: numbers of links; None: all.

        Raises:
            ConfigError: no link of this number.
        """
        for port in self._ports(links):
            link = self._faults.pop(port, None)
            if link is not None:
                link.release()
                inserted_at(port).remove(link)

    # ------------------------------------------------------------------------------------- both

    def _ports(self, links: Sequence[int] | None) -> list[LinkPort]:
        """The ports of these numbers, or all."""
        ports = self._network.ports
        if links is None:
            return list(ports)
        for number in links:
            if not 0 <= number < len(ports):
                raise ConfigError(f"there is no link {number}; /v1/links lists the {len(ports)} that there are")
        return [ports[number] for number in dict.fromkeys(links)]

    def close(self) -> None:
        """End all captures. Harmless when repeated."""
        for capture in list(self._captures.values()):
            self.stop(capture)
