"""Slirp: the stack, the operating system's sockets, links and a clock, and who drives them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from random import Random, SystemRandom
from threading import get_ident
from types import TracebackType
from typing import Any, TypeVar

from slirpy.assembly import Stack
from slirpy.config import Config
from slirpy.core.flows import FlowInfo
from slirpy.core.port import LinkPort
from slirpy.errors import ConfigError, StateError
from slirpy.host.drivers import LoopDriver, ThreadDriver, running_loop, through_loop
from slirpy.host.local import LocalTargets
from slirpy.host.mailbox import LIMIT, Mailbox
from slirpy.host.outbound import Source
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import READ, WRITE, Link, LinkFeatures
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

SECOND = 1_000_000_000
ROUNDS = 64
"""How often one call goes round when a guest answers frames from within ``on_frame``."""
BUDGET = 1024
"""Frames of such answers after which the rest waits for the next call."""

_T = TypeVar("_T")


class Slirp:
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
        self._clock = clock
        source = None if self.config.outbound is None else Source(self.config.outbound)
        self._poller = SelectorPoller()
        self._host = SocketHost(self._poller, source)
        self._nics: list[Nic] = []
        self._listeners: list[StreamListener] = []
        self._watched: set[int] = set()
        self._inbox: list[Callable[[], object]] = []
        self._busy = self._interrupted = False
        self._closed = self._closing = False
        self._mailbox: Mailbox | None = None
        self._thread: ThreadDriver | None = None
        self._loop: LoopDriver | None = None
        self._through: Callable[[Callable[[bytes], object]], Callable[[bytes], object]] | None = None
        self._failure: BaseException | None = None
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

    # ------------------------------------------------------------------------------ your descriptors

    def watch(self, fd: int, ready: Callable[[int], object], events: int = READ) -> None:
        """Wait for a descriptor of yours together with those of the network.

        So a program with few things of its own to wait for needs no other loop, however the network is driven.
        ``ready`` is called during each poll at which the descriptor is ready, by the thread that drives the network:
        read what is there. It may send frames, plug in links, and call ``unwatch``. What it raises goes where
        exceptions of ``on_frame`` go.

        Args:
            fd: of a socket, pipe or terminal; on Windows of a socket. It stays yours.
            ready: called with the events that are there.
            events: ``selectors.EVENT_READ``, ``selectors.EVENT_WRITE``, or both together.

        Raises:
            ConfigError: there is no such descriptor, or it cannot be waited for (a regular file).
            StateError: it is watched already, or the network is closed.
        """
        if not isinstance(fd, int) or fd < 0:
            raise ConfigError(f"descriptor {fd!r} cannot be watched: give a number, such as sock.fileno()")
        if not events or events & ~(READ | WRITE):
            raise ConfigError(f"events {events!r}: give selectors.EVENT_READ, EVENT_WRITE, or both")

        def tell(mask: int) -> None:
            ready(mask)

        def register() -> None:
            try:
                self._poller.register(fd, events, tell)
            except ValueError:
                raise StateError(f"descriptor {fd} is watched already; call unwatch({fd}) first") from None
            except OSError as error:
                why = os.strerror(error.errno or 0).lower()
                raise ConfigError(
                    f"descriptor {fd} cannot be watched: {why}; give that of an open socket or pipe"
                ) from None
            self._watched.add(fd)

        self._check_open()
        self._call(register)

    def unwatch(self, fd: int) -> None:
        """Wait for a descriptor no more; before it is closed. Harmless when it is not watched."""

        def unregister() -> None:
            if fd in self._watched:
                self._watched.remove(fd)
                self._poller.unregister(fd)

        if not self._closed:
            self._call(unregister)

    # ----------------------------------------------------------------------------------------- time

    def poll(self, timeout: float = 0.0) -> None:
        """Carry sockets, links and timers on; returns when something was done, or after ``timeout`` seconds.

        What is done in one call is bounded, however much there is: with ``timeout=0`` it takes a few milliseconds at
        most, and :meth:`deadline` is 0 if work is left.

        Args:
            timeout: seconds to wait for something to do, 0 or more.

        Raises:
            StateError: the network is closed, another thread polls it, or the call comes from within ``on_frame``.
        """
        self._check_open()
        if self._busy and not self._foreign():
            raise StateError("poll() was called from within on_frame; return from there first")
        if self._thread is not None or self._foreign():
            raise StateError("another thread polls this network already: that of start(), or of an event loop")
        self._poll(timeout)

    def _poll(self, timeout: float | None) -> None:
        due = self._deadline()
        if due is not None:
            timeout = due if timeout is None else min(timeout, due)
        self._busy = True
        try:
            self._poller.poll(timeout, before=self._tick)
        except BaseException:
            if self._loop is not None:
                self._loop.arm()
            raise
        finally:
            self._busy = False
        self._run()

    def _tick(self) -> None:
        self._stack.tick(self._clock())

    def _input(self, nic: Nic, views: Sequence[memoryview], checksummed: bool, gso_size: int) -> int:
        mailbox = self._mailbox
        if self._busy or self._closed or mailbox is not None:
            if mailbox is None or mailbox.owner == get_ident():
                if self._closing:
                    return len(views)  # the guest's answer to the last frames that it gets
                if self._busy:
                    return self._keep(nic, views, checksummed, gso_size)
            else:
                self._check_usable(nic)
                self._raise_failure()
                deliver = partial(self._deliver, nic, checksummed, gso_size)
                return mailbox.offer([partial(deliver, bytes(view)) for view in views])
        sink = nic.card.sink
        if sink is None:
            self._check_usable(nic)
            self._stack.stats.drop_nic_closed += len(views)  # a link around it has closed it
            return len(views)
        self._stack.tick(self._clock())
        try:
            for view in views:
                sink.input(view, checksummed, gso_size)
        finally:
            self._run()  # in any case before the caller may use the buffers again
        return len(views)

    def _keep(self, nic: Nic, views: Sequence[memoryview], checksummed: bool, gso_size: int) -> int:
        """Frames that come from within ``on_frame``: their turn is after it."""
        self._check_usable(nic)
        taken = min(len(views), max(LIMIT - len(self._inbox), 0))
        deliver = partial(self._deliver, nic, checksummed, gso_size)
        self._inbox += [partial(deliver, bytes(view)) for view in views[:taken]]
        self._refused(len(views) - taken)
        return taken

    def _deliver(self, nic: Nic, checksummed: bool, gso_size: int, frame: bytes) -> None:
        sink = nic.card.sink
        if sink is None:
            self._stack.stats.drop_nic_closed += 1
        else:
            sink.input(frame, checksummed, gso_size)

    def _refused(self, frames: int) -> None:
        self._stack.stats.drop_nic_queue_full += frames

    def _run(self) -> None:
        """Flush, and handle what the guest sent from within ``on_frame``, a bounded number of times."""
        stack = self._stack
        rounds = handled = 0
        try:
            while True:
                if self._inbox:
                    inbox, self._inbox = self._inbox, []
                    for note in inbox:
                        note()
                    handled += len(inbox)
                self._busy = self._interrupted = True
                stack.flush(self._clock())
                self._busy = self._interrupted = False
                rounds += 1
                if not self._inbox or handled >= BUDGET or rounds >= ROUNDS:
                    return
        finally:
            self._busy = (
                False  # if on_frame raised, other links' frames still wait: that is what _interrupted says
            )
            if self._loop is not None:
                self._loop.arm()

    def _deadline(self) -> float | None:
        deadline = self._stack.deadline()
        if self._inbox or self._interrupted:
            return 0.0
        return None if deadline is None else max(deadline - self._clock(), 0) / SECOND

    def deadline(self) -> float | None:
        """Seconds until :meth:`poll` is due, 0 or more, if nothing happens before; None: never.

        It changes with each call of :meth:`poll` and :meth:`Nic.send`: ask again before each wait.
        """
        return self._call(self._deadline)

    def fileno(self) -> int | None:
        """A descriptor that is readable when there is work for :meth:`poll`; None where the system has none.

        It is epoll's (Linux) or kqueue's (macOS, BSD), and stays the same until :meth:`close`. Windows has none. It
        does not become readable because of :meth:`deadline`.
        """
        return self._poller.fileno()

    # ------------------------------------------------------------------------- threads and event loops

    def start(self) -> None:
        """Poll in a background thread, a daemon, until :meth:`stop` or :meth:`close`.

        ``on_frame`` is called in that thread. It may call anything but :meth:`poll`, and must not wait for a lock
        whose holder waits for a call of this network (``Nic.send`` never waits). What it raises does not end the
        thread: the first such exception is raised by the next call from another thread, or by :meth:`stop`.

        Raises:
            StateError: the network is closed or driven already, or the call comes from within ``on_frame``.
        """
        self._check_open()
        if self._busy or self._mailbox is not None:
            raise StateError("this network is driven already; call stop() first, and not from within on_frame")
        self._mailbox = Mailbox(self._poller, self._refused)
        self._thread = ThreadDriver(self._poll, self._mailbox, self._failed)

    def stop(self) -> None:
        """End the background thread, after what was sent before. Harmless when repeated, or when there is none.

        From within ``on_frame`` it only asks for the end; call it again from outside before you poll yourself. After
        that, all calls have to come from one thread again.

        Raises:
            BaseException: what ``on_frame`` raised in that thread, if no other call has told; the thread has ended.
        """
        if self._end_thread():
            self._thread = self._mailbox = None
            self._raise_failure()

    def _end_thread(self) -> bool:
        """Whether the background thread has ended. Its mailbox stays, closed, and refuses what others want."""
        thread, mailbox = self._thread, self._mailbox
        if thread is None or mailbox is None:
            return False
        if not mailbox.foreign():
            thread.halt()
            return False
        try:
            mailbox.call(thread.halt)
        except StateError:
            pass  # it has ended already
        thread.join()
        return True

    def _failed(self, error: BaseException) -> None:
        if self._failure is None and not self._closed:
            self._failure = error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _foreign(self) -> bool:
        """Whether somebody drives the network in another thread."""
        mailbox = self._mailbox
        return mailbox is not None and mailbox.foreign()

    def _call(self, function: Callable[[], _T]) -> _T:
        """Call ``function`` in the thread to which the network belongs."""
        mailbox = self._mailbox
        if mailbox is not None and mailbox.foreign():
            self._raise_failure()
            return mailbox.call(function)
        try:
            return function()
        finally:
            if self._loop is not None and not self._busy:
                self._loop.arm()  # what was done may have moved the deadline

    async def __aenter__(self) -> Slirp:
        """Let the running event loop drive the network, until the end of the ``async with``, which closes it.

        What ``on_frame`` raises goes to the loop's exception handler. For a loop that cannot wait for descriptors
        (that of Windows) a background thread does it, and ``on_frame`` is called in the loop all the same.
        """
        self._check_open()
        if self._busy or self._mailbox is not None:
            raise StateError("this network is driven already; call stop() first, and not from within on_frame")
        descriptor = self.fileno()
        try:
            if descriptor is None:
                raise NotImplementedError  # what asyncio's loops raise that cannot wait for a descriptor
            self._loop = LoopDriver(self._poll, self._deadline, descriptor)
            self._local.loop = self._loop.loop
            self._mailbox = Mailbox(self._poller, self._refused, get_ident())
        except NotImplementedError:
            self._through = through_loop()
            self._local.loop = running_loop()
            for nic in self._nics:
                nic.card.on_frame = self._through(nic.card.on_frame)
            self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

    # ------------------------------------------------------------------------------------------ end

    def _check_open(self) -> None:
        if self._closed:
            raise StateError("this network is closed; make another Slirp")

    def _check_usable(self, nic: Nic) -> None:
        self._check_open()
        if nic.closed:
            raise StateError("this network card has been taken out; attach another")

    def close(self) -> None:
        """Stop, reset all connections on both sides, and release everything. Harmless when repeated.

        Raises:
            StateError: an event loop drives the network in another thread; close it there.
            BaseException: as :meth:`stop`; the network is closed all the same.
        """
        if self._closed:
            return
        if self._loop is not None and self._foreign() and self._loop.running:
            raise StateError("an event loop drives this network; close it in the loop's thread")
        ended = self._end_thread()
        try:
            self._shut()
        finally:
            if ended:
                self._raise_failure()

    def _shut(self) -> None:
        if self._closed:
            return  # another thread was faster
        self._closed = self._closing = True
        try:
            self._stack.close()
        finally:
            self._closing = False
            self._inbox.clear()
            for port in list(self._stack.ports):
                self._stack.detach(port)
            self._nics.clear()
            for listener in self._listeners:
                listener.close()
            self._listeners.clear()
            self._watched.clear()
            if self._loop is not None:
                self._loop.close()
                self._loop = None
            if self._mailbox is not None:
                self._mailbox.close()
            self._local.close()
            self._host.close()
            self._poller.close()
            self._thread = self._mailbox = None

    def __enter__(self) -> Slirp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
