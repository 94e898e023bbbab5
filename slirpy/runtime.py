"""Slirp: the stack, the operating system's sockets, links and a clock, driven by whoever calls ``poll``."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random, SystemRandom
from types import TracebackType

from slirpy.assembly import Stack
from slirpy.config import Config, HostForward, parse_hostfwd
from slirpy.core.flows import FlowInfo
from slirpy.core.port import LinkPort
from slirpy.errors import StateError
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import Buffer, Link, LinkFeatures
from slirpy.links.callback import CallbackLink
from slirpy.services.leases import Lease
from slirpy.stats import Stats

__all__ = ["Nic", "Slirp"]

SECOND = 1_000_000_000
ROUNDS = 64
"""How often one call goes round when a guest answers frames from within ``on_frame``."""


class Nic:
    """A guest's network card, as :meth:`Slirp.attach` returns it."""

    def __init__(self, net: Slirp, port: LinkPort) -> None:
        self._net = net
        self._port = port

    def send(self, frame: Buffer, *, checksummed: bool = False) -> None:
        """Take one Ethernet frame (without check sequence) from the guest.

        The frame is used before the call returns; frames for the guest may come during it. From within ``on_frame``
        it is copied, and handled when that has returned.

        Args:
            frame: any contiguous bytes-like object. What is wrong with it is counted in ``net.stats``.
            checksummed: its transport checksum need not be checked.

        Raises:
            StateError: the network is closed, or this card was detached.
        """
        self._net._input(self._port, frame, checksummed)

    def close(self) -> None:
        """Take the card out. Harmless when repeated."""
        self._net._stack.detach(self._port)


class Slirp:
    """A virtual network that ordinary sockets carry on.

    Use it as a context manager, or call :meth:`close`. All calls come from one thread.

    Args:
        config: see :class:`Config`; the default is QEMU's 10.0.2.0/24.
        random: source of sequence numbers and the like; the default is the system's.
        clock: monotonic nanoseconds.

    Raises:
        ForwardError: a rule in ``config.hostfwd`` cannot be set up.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        random: Random | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.config = config if config is not None else Config()
        self._clock = clock
        self._poller = SelectorPoller()
        self._host = SocketHost(self._poller)
        self._inbox: list[tuple[LinkPort, bytes, bool]] = []
        self._busy = False
        self._closed = self._closing = False
        try:
            self._stack = Stack(self.config, self._host, random=random or SystemRandom(), now=clock())
        except BaseException:
            self._host.close()
            self._poller.close()
            raise

    # ---------------------------------------------------------------------------------------- links

    def attach(self, on_frame: Callable[[bytes], object], *, features: LinkFeatures | None = None) -> Nic:
        """Plug in a guest of this process.

        Args:
            on_frame: called with each Ethernet frame for the guest, during ``poll`` and ``Nic.send``.
            features: what the guest can do without: with ``checksum_offload`` transport checksums are partial both
                ways, with ``segmentation_offload`` too TCP frames have up to 65535 bytes of IP packet.

        Returns:
            The card, whose ``send`` takes the guest's frames.
        """
        return Nic(self, self.attach_link(CallbackLink(on_frame, features)))

    def attach_link(self, link: Link) -> LinkPort:
        """Plug in a link, such as a TAP interface; it is closed with the network."""
        self._check_open()
        return self._stack.attach(link, self._poller)

    # ----------------------------------------------------------------------------------------- time

    def poll(self, timeout: float = 0.0) -> None:
        """Carry sockets, links and timers on; returns when something was done, or after ``timeout`` seconds.

        Args:
            timeout: seconds to wait for something to do, 0 or more.

        Raises:
            StateError: the network is closed, or the call comes from within ``on_frame``.
        """
        self._check_open()
        if self._busy:
            raise StateError("poll() was called from within on_frame; return from there first")
        stack = self._stack
        deadline = stack.deadline()
        if self._inbox:
            timeout = 0.0
        elif deadline is not None:
            timeout = min(timeout, max(deadline - self._clock(), 0) / SECOND)
        self._busy = True
        try:
            self._poller.poll(timeout, before=self._tick)
        finally:
            self._busy = False
        self._run()

    def _tick(self) -> None:
        self._stack.tick(self._clock())

    def _input(self, port: LinkPort, frame: Buffer, checksummed: bool) -> None:
        if self._closing:
            return  # the guest's answer to the last frames that it gets
        self._check_open()
        if port not in self._stack.ports:
            raise StateError("this network card has been taken out; attach another")
        view = memoryview(frame).cast("B")
        if self._busy:
            self._inbox.append((port, bytes(view), checksummed))
            return
        self._tick()
        self._stack.input(port, view, checksummed)
        self._run()

    def _run(self) -> None:
        """Flush, and handle what the guest sent from within ``on_frame``, a bounded number of times."""
        stack = self._stack
        for _ in range(ROUNDS):
            inbox, self._inbox = self._inbox, []
            for port, frame, checksummed in inbox:
                stack.input(port, frame, checksummed)
            self._busy = True
            try:
                stack.flush(self._clock())
            finally:
                self._busy = False
            if not self._inbox:
                return

    def deadline(self) -> float | None:
        """Seconds until :meth:`poll` is due, 0 or more, if nothing happens before; None: never."""
        deadline = self._stack.deadline()
        if self._inbox:
            return 0.0
        return None if deadline is None else max(deadline - self._clock(), 0) / SECOND

    def fileno(self) -> int | None:
        """A descriptor that is readable when there is work for :meth:`poll`; None where the system has none."""
        return self._poller.fileno()

    # -------------------------------------------------------------------------------- what is going on

    @property
    def stats(self) -> Stats:
        """Counters, live."""
        return self._stack.stats

    def flows(self) -> list[FlowInfo]:
        """Every flow: a snapshot."""
        return self._stack.flows()

    def closed_flows(self) -> list[FlowInfo]:
        """The last flows that ended, at most 256, the latest last; ``state`` tells how."""
        return list(self._stack.closed_flows)

    def leases(self) -> list[Lease]:
        """The DHCP leases: a snapshot."""
        return self._stack.leases()

    def lease(self, mac: bytes) -> IPv4Address:
        """The address that DHCP has, or from now on has, for a MAC address of six bytes.

        Raises:
            StateError: all addresses are taken.
        """
        return self._stack.lease(mac)

    # -------------------------------------------------------------------------------------- forwards

    def forwards(self) -> list[HostForward]:
        """The port forwards that are active, with the host ports that were chosen."""
        return self._stack.forwards.active()

    def add_hostfwd(self, rule: str | HostForward) -> HostForward:
        """Start to forward a port of the host; returns the rule with the port that was chosen where it had 0.

        Raises:
            ForwardError: the rule is malformed, or the port cannot be had.
        """
        return self._stack.forwards.add(parse_hostfwd(rule) if isinstance(rule, str) else rule)

    def remove_hostfwd(self, rule: str | HostForward) -> None:
        """Stop to forward; connections stay open.

        Raises:
            ForwardError: there is no such forward.
        """
        self._stack.forwards.remove(parse_hostfwd(rule) if isinstance(rule, str) else rule)

    # ------------------------------------------------------------------------------------------ end

    def _check_open(self) -> None:
        if self._closed:
            raise StateError("this network is closed; make another Slirp")

    def close(self) -> None:
        """Reset all connections, on both sides, and release everything. Harmless when repeated."""
        if self._closed:
            return
        self._closed = self._closing = True
        try:
            self._stack.close()
        finally:
            self._closing = False
            self._inbox.clear()
            for port in list(self._stack.ports):
                self._stack.detach(port)
            self._host.close()
            self._poller.close()

    def __enter__(self) -> Slirp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
