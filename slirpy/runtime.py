"""Slirp: the stack, the operating system's sockets, links and a clock. Who drives them is in ``driving.py``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from random import Random, SystemRandom
from typing import Any

from slirpy.assembly import Stack
from slirpy.config import Config
from slirpy.core.flows import FlowInfo, NeighborInfo
from slirpy.core.port import LinkPort
from slirpy.driving import Driven
from slirpy.host.local import LocalTargets
from slirpy.host.outbound import Source
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import Link, LinkFeatures
from slirpy.links.callback import CallbackLink
from slirpy.links.endpoint import Endpoint, parse_endpoint
from slirpy.links.listener import StreamListener
from slirpy.links.stream import StreamLink
from slirpy.nic import Attachment, Nic, Serving
from slirpy.rules.guestfwd import GuestForward, make_guestfwd
from slirpy.rules.hostfwd import HostForward, parse_hostfwd
from slirpy.services.lease_file import LeaseFile
from slirpy.services.leases import Lease
from slirpy.stats import Stats

__all__ = ["Slirp"]


class Slirp(Driven):
    """A virtual network that ordinary sockets carry on.

    Use it as a context manager, or call :meth:`close`. There are four ways to drive it; the calls that are named are
    all that the way needs:

    - :meth:`poll` in a loop of your own;
    - :meth:`fileno` and :meth:`deadline` in somebody else's loop, and :meth:`poll` when they say so;
    - :meth:`start`, and a thread in the background does it;
    - ``async with``, and the running event loop of :mod:`asyncio` does it.

    In the first two all calls come from one thread. In the last two they may come from any thread: the network
    belongs to the thread that drives it, frames from others wait in a queue, and other calls are made by that thread
    while the caller waits. ``on_frame`` is always called by the thread that drives the network.

    Args:
        config: see :class:`Config`; the default is QEMU's 10.0.2.0/24.
        random: source of sequence numbers and the like; the default is the system's.
        clock: monotonic nanoseconds.
        wall_clock: nanoseconds since 1970 (UTC), for the times in ``config.lease_file``.

    Raises:
        ConfigError: what ``config.guestfwd`` or ``config.smb`` names cannot work on this machine.
        ForwardError: a rule in ``config.hostfwd`` cannot be set up.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        random: Random | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config = config if config is not None else Config()
        super().__init__(clock)
        source = None if self.config.outbound is None else Source(self.config.outbound)
        self._sockets = self._poller.group()
        self._host = SocketHost(self._sockets, source)
        self._listeners: list[StreamListener] = []
        self._local = LocalTargets(self._host)
        try:
            file = self.config.lease_file
            self._stack = Stack(
                self.config,
                self._host,
                random=random or SystemRandom(),
                now=clock(),
                openers=self._local,
                lease_store=None if file is None else LeaseFile(file, wall_clock),
            )
            self._serve_smb()
        except BaseException:
            self._local.close()
            self._host.close()
            self._sockets.close()
            self._poller.close()
            raise

    # ---------------------------------------------------------------------------------------- links

    def attach(
        self,
        on_frame: Callable[[bytes], object],
        *,
        features: LinkFeatures | None = None,
        wrap: Callable[[Link], Link] | None = None,
    ) -> Nic:
        """Plug in a guest of this process.

        Args:
            on_frame: called with each Ethernet frame for the guest, during ``poll`` and ``Nic.send``.
            features: what the guest can do without: with ``checksum_offload`` transport checksums are partial both
                ways, with ``segmentation_offload`` too TCP frames have up to 65535 bytes of IP packet.
            wrap: puts a link around the guest's, such as a capture:
                ``net.attach(on_frame, wrap=lambda link: CaptureLink(link, file))``. Both directions pass through it.

        Returns:
            The card, whose ``send`` takes the guest's frames.
        """

        def plug() -> Nic:
            card = CallbackLink(on_frame if self._through is None else self._through(on_frame), features)
            port = self._stack.attach(card if wrap is None else wrap(card), self._poller)
            nic = Nic(port, self._detach, card, self._input)
            self._nics = [nic, *(other for other in self._nics if not other.closed)]
            return nic

        self._check_open()
        return self._call(plug)

    def attach_link(self, link: Link) -> Attachment:
        """Plug in a link, such as a TAP interface.

        It is closed with the network, or before by the ``close`` of what is returned.
        """
        self._check_open()
        return self._call(lambda: Attachment(self._stack.attach(link, self._poller), self._detach))

    def _detach(self, port: LinkPort) -> None:
        self._call(partial(self._stack.detach, port))

    def serve(
        self, at: str | Endpoint | int, *, wrap: Callable[[Link], Link] | None = None, limit: int = 256
    ) -> Serving:
        """Let guests connect, such as those of QEMU with ``-netdev stream``, and take each out when it goes.

        One that comes again gets the address that it had, and its connections go on.

        Args:
            at: ``unix:PATH``, ``tcp:HOST:PORT`` (port 0 takes a free one), or the descriptor of a listening socket,
                which is taken over. Whoever can connect is on the network: keep to 127.0.0.1, or to a unix socket
                in a folder of yours.
            wrap: puts a link around each guest's, as in :meth:`attach`.
            limit: guests at a time; more wait until one goes.

        Returns:
            Where it listens, and what ends it.

        Raises:
            LinkError: the address is in use, or cannot be had.
        """

        def welcome(link: StreamLink) -> None:
            attachment = self.attach_link(link if wrap is None else wrap(link))
            link.on_state = lambda there: None if there else attachment.close()

        def listen() -> Serving:
            listener = StreamListener(parse_endpoint(at) if isinstance(at, str) else at, welcome, limit=limit)
            listener.start(self._poller, self.stats)
            self._listeners = [listener, *(other for other in self._listeners if not other.closed)]
            return Serving(listener, lambda: self._call(listener.close))

        self._check_open()
        return self._call(listen)

    # -------------------------------------------------------------------------------- what is going on

    @property
    def stats(self) -> Stats:
        """Counters, live."""
        return self._stack.stats

    def flows(self) -> list[FlowInfo]:
        """Every flow: a snapshot."""
        return self._call(self._stack.flows)

    def closed_flows(self) -> list[FlowInfo]:
        """The last flows that ended, at most 256, the latest last; ``state`` tells how."""
        return self._call(lambda: list(self._stack.closed_flows))

    def leases(self) -> list[Lease]:
        """The DHCP leases: a snapshot."""
        return self._call(self._stack.leases)

    def neighbors(self) -> list[NeighborInfo]:
        """Guests' addresses that were heard, with MAC addresses: the ARP table, a snapshot."""
        return self._call(self._stack.neighbor_infos)

    def lease(self, mac: bytes) -> IPv4Address:
        """The address that DHCP has, or from now on has, for a MAC address of six bytes.

        Raises:
            StateError: all addresses are taken.
        """
        return self._call(partial(self._stack.lease, mac))

    # -------------------------------------------------------------------------------------- forwards

    def forwards(self) -> list[HostForward]:
        """The port forwards that are active, with the host ports that were chosen."""
        return self._call(self._stack.forwards.active)

    def add_hostfwd(self, rule: str | HostForward) -> HostForward:
        """Start to forward a port of the host; returns the rule with the port that was chosen where it had 0.

        Raises:
            ForwardError: the rule is malformed, or the port cannot be had.
        """
        forward = parse_hostfwd(rule) if isinstance(rule, str) else rule
        return self._call(partial(self._stack.forwards.add, forward))

    def remove_hostfwd(self, rule: str | HostForward) -> None:
        """Stop to forward; connections stay open.

        Raises:
            ForwardError: there is no such forward.
        """
        forward = parse_hostfwd(rule) if isinstance(rule, str) else rule
        self._call(partial(self._stack.forwards.remove, forward))

    def guest_forwards(self) -> list[GuestForward]:
        """What answers at addresses of the virtual network: the rules that hold."""
        return self._call(self._stack.guest_forwards.active)

    def add_guestfwd(self, rule: str | GuestForward) -> GuestForward:
        """Let something answer guests at an address and port from now on; returns the rule as it was read.

        Raises:
            ConfigError: the rule is malformed, something answers there already, a guest has the address, or the
                target cannot work.
        """
        forward = make_guestfwd(rule)
        self._call(partial(self._stack.guest_forwards.add, forward))
        return forward

    def remove_guestfwd(self, rule: str | GuestForward) -> None:
        """Let nothing answer there any more; connections stay open, and no guest gets the address.

        Raises:
            ConfigError: there is no rule with this server and port.
        """
        forward = make_guestfwd(rule)
        self._call(partial(self._stack.guest_forwards.remove, forward))

    def mount(self, application: Any, server: str | IPv4Address, port: int = 80) -> GuestForward:
        """Let a web application answer guests at an address and port; it listens nowhere else.

        Needs ``pip install 'slirpy[web]'``. Like :meth:`add_guestfwd` with
        :func:`slirpy.web.wsgi` or :func:`slirpy.web.asgi`, whichever the application looks like.

        Args:
            application: WSGI (PEP 3333) or ASGI 3.
            server: an address of the virtual network that is no guest's, or any outside of it.

        Raises:
            ConfigError: as :meth:`add_guestfwd`; h11 is not installed.
        """
        from slirpy.web import handler_for

        return self.add_guestfwd(GuestForward(IPv4Address(server), port, handler_for(application)))

    def _serve_smb(self) -> None:
        if self.config.smb is not None:
            command = self._local.smb(self.config.smb)
            for port in (139, 445):
                forward = GuestForward(self.config.smbserver, port, command)
                self._stack.guest_forwards.add(forward, listed=False)

    def _release(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._local.close()
        self._host.close()
        self._sockets.close()
