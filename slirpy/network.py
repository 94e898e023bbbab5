"""Slirp: the stack, the operating system's sockets, links and a clock. The ways to drive it are in ``drive/``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from slirpy.addresses import AnyAddress, address_object, port_number
from slirpy.checks import amount
from slirpy.config import Config
from slirpy.config.dnsrecord import DnsRecord
from slirpy.config.guestfwd import GuestForward
from slirpy.config.hostfwd import HostForward
from slirpy.config.values import clock_reading, function
from slirpy.control.controlled import Controlled
from slirpy.core.flows import FlowInfo, NeighborInfo
from slirpy.core.port import LinkPort
from slirpy.drive.nic import Attachment, GuestListener, Nic
from slirpy.errors import ConfigError, LinkError, StateError
from slirpy.host.outbound import Source
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import Buffer, Link, LinkFeatures, Policy
from slirpy.interfaces.links import check_link
from slirpy.logs import warn
from slirpy.reprs import never_raises
from slirpy.stack import Stack
from slirpy.stats import Stats
from slirpy.targets.decisions import Awaiter
from slirpy.targets.opener import LocalTargetOpener

if TYPE_CHECKING:
    from slirpy.audit.learning import Learner
    from slirpy.audit.trail import AuditTrail
    from slirpy.config.policy import Rule
    from slirpy.links.endpoint import Endpoint
    from slirpy.links.listener import StreamListener
    from slirpy.links.stream import StreamLink
    from slirpy.services.dhcp import LeaseInfo, LeaseStore

__all__ = ["Slirp"]


class Slirp(Controlled):
    """A virtual network that relays guests' traffic through ordinary sockets.

    Use it as a context manager, or call :meth:`close`. There are four ways to drive it, each of which needs only the
    calls named here:

    - :meth:`poll` in your own loop;
    - :meth:`fileno` and :meth:`timeout` in another library's loop, and :meth:`poll` when they are due;
    - :meth:`start`, which drives it in a background thread;
    - ``async with``, which lets the running :mod:`asyncio` event loop drive it.

    In the first two, all calls must come from one thread. In the last two they may come from any thread: the network
    belongs to the thread that drives it, frames from other threads wait in a queue, and other calls are made by that
    thread while the caller waits. ``on_frame`` is always called by the thread that drives the network.

    Args:
        config: see :class:`Config`; the default is QEMU's 10.0.2.0/24.
        random: source of sequence numbers and other random values; the default is the system's.
        clock: monotonic nanoseconds.
        wall_clock: nanoseconds since 1970 (UTC), for the times in ``config.lease_file`` and ``config.audit``.

    Raises:
        ConfigError: ``config.smb`` cannot work on this machine.
        ForwardError: a rule in ``config.hostfwd`` or ``config.guestfwd`` cannot be set up.
        LinkError: the log of ``config.audit``, or the file of ``config.learn``, cannot be opened.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        random: Random | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if config is not None and not isinstance(config, Config):
            raise ConfigError(
                f"config must be a slirpy.Config, such as Config() or Config.from_qemu(...); given was {config!r}"
            )
        if random is not None and not isinstance(random, Random):
            raise ConfigError(f"random must be a random.Random, such as Random(1); given was {random!r}")
        now = clock_reading("clock", clock)
        self.config = config if config is not None else Config()
        if self.config.lease_file is None and self.config.audit is None and self.config.learn is None:
            function("wall_clock", wall_clock, " that gives nanoseconds, such as time.time_ns")
        else:
            clock_reading("wall_clock", wall_clock, "time.time")
        self._audit = _audit_trail(self.config, wall_clock)
        self._learner: Learner | None = None
        if self._audit is not None and self.config.learn is not None:
            from slirpy.audit.learning import Learner

            try:
                self._learner = Learner(self.config.learn)
            except LinkError:
                self._audit.close()
                raise
            self._audit.add(self._learner.note)
        super().__init__(clock)
        source = None if self.config.outbound is None else Source(self.config.outbound)
        sockets = self._poller.group()
        self._host = SocketHost(sockets, source)
        self._listeners: list[StreamListener] = []
        self._local = LocalTargetOpener(self._host.sockets)
        self._awaiter = Awaiter(sockets, self._local.event_loop)
        try:
            self._stack = Stack(
                self.config,
                self._host,
                random=random or SystemRandom(),
                now=now,
                target_opener=self._local,
                awaiter=self._awaiter,
                lease_store=_lease_store(self.config, wall_clock),
                audit=self._audit,
            )
            self._serve_smb()
        except BaseException:
            self._local.close()
            self._host.close()
            self._poller.close()
            if self._audit is not None:
                self._audit.close()
            raise

    @never_raises
    def __repr__(self) -> str:
        if self._forked or self._closed:
            return f"<Slirp {self.config.net}, {'of another process' if self._forked else 'closed'}>"
        driver = (
            ", thread" if self._background is not None else ", event loop" if self._loop is not None else ""
        )
        return f"<Slirp {self._stack.summary()}{driver}>"

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
            features: offloads that the guest supports. With ``checksum_offload`` transport checksums are partial in
                both directions; with ``segmentation_offload`` too, TCP frames contain up to 65535 bytes of IP
                packet.
            wrap: wraps the guest's link in another, such as a capture: ``net.attach(on_frame, wrap=lambda link:
                CaptureLink(link, file))``. Both directions pass through it.

        Returns:
            The card, whose ``send`` takes the guest's frames.

        Raises:
            ConfigError: an argument has the wrong type, such as a coroutine function for ``on_frame``.
        """
        from slirpy.links.callback import CallbackLink

        function("on_frame", on_frame, " that takes a frame, bytes")
        if features is not None and not isinstance(features, LinkFeatures):
            raise ConfigError(f"features must be a slirpy.LinkFeatures; given was {features!r}")
        _check_wrap(wrap)

        def plug() -> Nic:
            inner = CallbackLink(on_frame if self._through is None else self._through(on_frame), features)
            outer = inner if wrap is None else _wrapped(wrap, inner)
            port = self._stack.attach(self._limited(outer), self._poller)
            nic = Nic(port, self._detach, inner, self._input)
            self._nics = [nic, *(other for other in self._nics if not other.closed)]
            return nic

        self._check_open()
        return self._call(plug)

    def attach_link(self, link: Link) -> Attachment:
        """Plug in a link, such as a TAP interface.

        It is closed with the network, or earlier by the ``close`` of the returned object.

        Raises:
            ConfigError: ``link`` is not a link.
            StateError: it is plugged in already.
        """

        def plug() -> Attachment:
            if any(link in (port.link, getattr(port.link, "inner", None)) for port in self._stack.ports):
                raise StateError(f"this link is plugged in already: {link!r}; close the attachment first")
            return Attachment(self._stack.attach(self._limited(link), self._poller), self._detach)

        check_link("link", link)
        self._check_open()
        return self._call(plug)

    def _stop_listening(self, listener: StreamListener) -> None:
        if not listener.closed:
            place = listener.address
            self._stack.hide_listener(place.address if not place.local else None, hide=False)
            listener.close()

    def _limited(self, link: Link) -> Link:
        """Limit the bandwidth of a link, if the configuration says so."""
        if self.config.rate is None:
            return link
        from slirpy.links.rate import RateLink

        return RateLink(link, self.config.rate)

    def _detach(self, port: LinkPort) -> None:
        self._call(partial(self._stack.detach, port))

    def serve(
        self, at: str | Endpoint | int, *, wrap: Callable[[Link], Link] | None = None, limit: int = 256
    ) -> GuestListener:
        """Let guests connect, such as QEMU with ``-netdev stream``, and remove each one when it disconnects.

        A guest that reconnects gets its former address, and its connections continue.

        Args:
            at: ``unix:PATH``, ``tcp:HOST:PORT`` (port 0 chooses a free one), or the descriptor of a listening
                socket, as a number or as ``fd:N``, which is taken over. Anyone who can connect is on the network:
                keep to 127.0.0.1, or to a unix socket in a private folder.
            wrap: wraps each guest's link in another, as in :meth:`attach`.
            limit: maximum number of guests at a time; more wait until one disconnects.

        Returns:
            A handle with the listening address, whose ``close`` stops listening.

        Raises:
            ConfigError: an argument has the wrong type.
            LinkError: the address is in use, or not available.
        """
        from slirpy.links.endpoint import Endpoint, parse_listen_address
        from slirpy.links.listener import StreamListener

        if isinstance(at, bool) or not isinstance(at, str | Endpoint | int):
            raise ConfigError(
                f"at must be unix:PATH, tcp:HOST:PORT, or the descriptor of a listening socket; given was {at!r}"
            )
        _check_wrap(wrap)
        amount("limit", limit, 1, " of guests")

        def welcome(link: StreamLink) -> None:
            attachment = self.attach_link(link if wrap is None else _wrapped(wrap, link))
            link.on_state = lambda there: None if there else attachment.close()

        def listen() -> GuestListener:
            address = parse_listen_address(at) if isinstance(at, str) else at
            others = [other for other in self._listeners if not other.closed]
            if any(other.fileno() == address for other in others):
                raise LinkError(f"descriptor {address} is listened at already; give each once")
            listener = StreamListener(address, welcome, limit=limit)
            listener.start(self._poller, self.stats)
            self._listeners = [listener, *others]
            place = listener.address
            self._stack.hide_listener(place.address if not place.local else None)
            return GuestListener(listener, lambda: self._call(lambda: self._stop_listening(listener)))

        self._check_open()
        return self._call(listen)

    # -------------------------------------------------------------------------------- what is going on

    @property
    def stats(self) -> Stats:
        """Live counters."""
        return self._stack.stats

    def flows(self) -> list[FlowInfo]:
        """Return a snapshot of all flows."""
        return self._look(self._stack.flows)

    def closed_flows(self) -> list[FlowInfo]:
        """Return the last flows that ended, at most 256, newest last; ``state`` contains the outcome."""
        return self._look(lambda: list(self._stack.closed_flows))

    def leases(self) -> list[LeaseInfo]:
        """Return a snapshot of the DHCP leases that hold an address now: offered, bound or declined."""
        return self._look(self._stack.leases)

    def neighbors(self) -> list[NeighborInfo]:
        """Return a snapshot of the neighbour table: the guests' addresses seen so far, with MAC addresses."""
        return self._look(self._stack.neighbor_infos)

    def reserve(self, mac: Buffer | str) -> IPv4Address:
        """Reserve an address for the guest with this MAC address (six bytes, or text), unless it has one, and return
        it. DHCP gives that guest the same address, and no other guest.

        Raises:
            ConfigError: ``mac`` is not the MAC address of a network card.
            StateError: all addresses are taken.
        """
        return self._call(partial(self._stack.reserve, mac))

    # ---------------------------------------------------------------------------------------- policy

    @property
    def policy(self) -> Policy | None:
        """The policy in force; None: everything is allowed.

        It may be replaced at any time: by a policy, a list of rules, or None. Flows that the new one does not allow
        are reset.

        Raises:
            ConfigError: neither a policy nor a list of rules.
        """
        return self._look(lambda: self._stack.policy)

    @policy.setter
    def policy(self, policy: Policy | Sequence[Rule | str] | None) -> None:
        def replace() -> None:
            self._stack.policy = policy

        self._check_open()
        self._call(replace)

    @property
    def dns_records(self) -> list[DnsRecord]:
        """The DNS records in force, as in ``Config.dns_records``.

        They may be replaced at any time by another list, of records or their text. Guests keep what they have
        learned before for its time to live.

        Raises:
            ConfigError: not a list of records.
        """
        return self._look(lambda: self._stack.dns_records)

    @dns_records.setter
    def dns_records(self, records: Sequence[DnsRecord | str]) -> None:
        def replace() -> None:
            self._stack.dns_records = records

        self._check_open()
        self._call(replace)

    # -------------------------------------------------------------------------------------- forwards

    def hostfwds(self) -> list[HostForward]:
        """Return the active forwards of host ports, with the ports that were chosen."""
        return self._look(self._stack.hostfwds)

    def add_hostfwd(self, rule: str | HostForward) -> HostForward:
        """Start to forward a port of the host; returns the rule, with the chosen port if it asked for port 0.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: the port is not available, or no guest can have the address.
        """
        return self._call(partial(self._stack.add_hostfwd, rule))

    def remove_hostfwd(self, rule: str | HostForward) -> None:
        """Stop forwarding; connections stay open.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: there is no such forward.
        """
        self._call(partial(self._stack.remove_hostfwd, rule))

    def guestfwds(self) -> list[GuestForward]:
        """Return the active rules that let a program, handler or service answer at an address of the virtual
        network.
        """
        return self._look(self._stack.guestfwds)

    def add_guestfwd(self, rule: str | GuestForward) -> GuestForward:
        """Add a target that answers guests at an address and port; returns the parsed rule.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: another target answers there already, a guest has the address, or the target cannot work.
        """
        return self._call(partial(self._stack.add_guestfwd, rule))

    def remove_guestfwd(self, rule: str | GuestForward) -> None:
        """Remove the target at an address and port; connections stay open, and no guest gets the address.

        Raises:
            ConfigError: ``rule`` cannot be read.
            ForwardError: there is no rule with this server and port.
        """
        self._call(partial(self._stack.remove_guestfwd, rule))

    def mount(self, application: Any, server: AnyAddress, port: int = 80) -> GuestForward:
        """Serve a web application to guests at an address and port, without listening anywhere on the host.

        Needs ``pip install 'slirpy[web]'``. Equivalent to :meth:`add_guestfwd` with :func:`slirpy.targets.web.wsgi`
        or :func:`slirpy.targets.web.asgi`, whichever fits the application.

        Args:
            application: WSGI (PEP 3333) or ASGI 3.
            server: an address of the virtual network that no guest has, or any address outside it.
            port: 1 to 65535.

        Raises:
            ConfigError: the application is not one, ``server`` or ``port`` cannot be, or h11 is not installed.
            ForwardError: as :meth:`add_guestfwd`.
        """
        from slirpy.targets.web import handler_for

        address_object("server", server)
        port_number("port", port, 1)
        return self.add_guestfwd(GuestForward(server, port, handler_for(application)))

    def _serve_smb(self) -> None:
        config = self.config
        if config.smb is not None:
            command = self._local.smb(config.smb)
            for server, on in ((config.smbserver, config.ipv4), (config.smbserver6, config.ipv6)):
                for port in (139, 445) if server is not None and on else ():
                    self._stack.add_guestfwd(GuestForward(server, port, command), listed=False)

    def _release(self) -> None:
        self._end_control()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._awaiter.close()
        self._local.close()
        self._host.close()
        if self._audit is not None:
            self._audit.abandon()
        if self._learner is not None:
            error = self._learner.write()
            if error is not None:
                warn('slirpy: learn "%s": cannot be written: %s', self.config.learn, error.strerror)


def _audit_trail(config: Config, wall_clock: Callable[[], int]) -> AuditTrail | None:
    """The audit trail that a configuration asks for.

    Raises:
        LinkError: the log cannot be opened.
    """
    audit = config.audit
    if audit is None and config.learn is None:
        return None
    from slirpy.audit.trail import AuditTrail

    run = os.urandom(8).hex()
    if isinstance(audit, str):
        from slirpy.audit.log import AuditLog

        log = AuditLog(audit, closed=config.audit_fail == "closed")
        return AuditTrail(wall=wall_clock, run=run, log=log)
    return AuditTrail(wall=wall_clock, run=run, function=audit)


def _lease_store(config: Config, wall_clock: Callable[[], int]) -> LeaseStore | None:
    """The storage of leases that a configuration asks for."""
    if config.lease_file is None:
        return None
    from slirpy.services.dhcp import LeaseFile

    return LeaseFile(config.lease_file, wall_clock)


def _check_wrap(wrap: object) -> None:
    if wrap is not None:
        function("wrap", wrap, " that is given a link and returns a link around it")


def _wrapped(wrap: Callable[[Link], Link], inner: Link) -> Link:
    link = wrap(inner)
    check_link("what wrap returned", link)
    return link
