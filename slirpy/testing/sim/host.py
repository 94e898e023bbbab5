"""A named host of a :class:`~slirpy.testing.sim.network.Network`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from ipaddress import ip_address
from random import Random
from typing import Any

from slirpy.addresses import IPAddress
from slirpy.checks import switch
from slirpy.config.values import as_text, function, host_name
from slirpy.errors import ConfigError, StateError
from slirpy.reprs import counted, never_raises
from slirpy.tcp import Segment
from slirpy.testing.guest.dns import Lookup
from slirpy.testing.sim.clock import Clock
from slirpy.testing.sim.connections import find_connections
from slirpy.testing.sim.durations import in_nanoseconds
from slirpy.testing.sim.netstat import SocketInfo, repetitions, sockets_of
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.sockets import HostSockets
from slirpy.testing.sim.stack import HostStack
from slirpy.testing.sim.standstill import Standstill
from slirpy.testing.sim.world import Machine, World

__all__ = ["Host"]

DNS_PORT = 53
_ANSWERS = ("NOERROR", "NXDOMAIN")
"""Response codes that say whether a name exists."""

CLOCK_READS = 1_000_000
"""Looks at the clock, at one point of time, after which a program is taken to wait for it to move."""


class Host(Machine):
    """A host: programs, sockets, a clock, a disk.

    Attributes:
        name: its name, which programs can resolve.
        net: the network that it belongs to.
        clock: the clock that its programs see.
        disk: files that survive a crash, by name.
        programs: everything that was started on it, in order.
    """

    def __init__(
        self,
        net: World[Program],
        name: str,
        clock: Clock,
        make: Callable[[], HostStack],
        boot: Callable[[HostStack, Callable[[], None]], None],
    ) -> None:
        super().__init__(net, name)
        self.clock = clock
        self.disk: dict[str, bytes] = {}
        self.programs: list[Program] = []
        self.epoch = 0
        """Number of restarts."""
        self.clock_reads = Standstill(CLOCK_READS)
        self.boots: list[Callable[[], None]] = []
        """Functions to call whenever it has booted again, before its programs start."""
        self._make = make
        self._boot = boot
        self._waiting: list[Callable[[], None]] = []
        self._stalls = 0
        self.stack = make()
        self.socket_layer = HostSockets(self.stack, self.lookup)

    @cached_property
    def random(self) -> Random:
        """Source of randomness of its programs."""
        return Random(f"{self.net.seed} program {self.name}")

    @never_raises
    def __repr__(self) -> str:
        running = sum(not program.done for program in self.programs)
        state = " crashed" if self.crashed else " paused" if self.stalled else ""
        addresses = " ".join(map(str, self.addresses))
        return f"<Host {self.name} {addresses}{state}: {counted(running, 'program')} running>"

    @property
    def addresses(self) -> list[IPAddress]:
        """Addresses of the host, IPv4 first, without link-local ones."""
        return [each for each in map(ip_address, self.packed_addresses) if not each.is_link_local]

    @property
    def packed_addresses(self) -> list[bytes]:
        """Addresses of the host as four or sixteen bytes, IPv4 first."""
        return [*self.stack.ipv4.addresses, *self.stack.ipv6.addresses]

    @property
    def address(self) -> str:
        """First address of the host, as text."""
        return str(self.addresses[0])

    @property
    def crashed(self) -> bool:
        """True between :meth:`crash` and :meth:`restart`."""
        return self.stack.dead

    # ------------------------------------------------------------------------------------ for tests

    def run(self, program: Any, *, name: str = "") -> Program:
        """Start a program on the host.

        Args:
            program: a coroutine, or a function without arguments; a coroutine function runs on the asyncio loop, any
                other function as a blocking program (extra ``blocking``). Only functions can be run again by
                :meth:`restart`.
            name: its name in reports; empty: that of the function.

        Returns:
            The running program. An exception in it ends the run of the network, also one in a task that nobody
            awaits; there a ConnectionError is only noted, since servers outlive their clients.

        Raises:
            ConfigError: something else.
            StateError: the host has crashed, or the network is closed.
        """
        self.net.check_open()
        if self.crashed:
            raise StateError(f"host {self.name} has crashed; call restart() first")
        started: Program = self.net.launch(self, program, name)
        return started

    def crash(self, *, reset: bool = False) -> None:
        """End all programs at once, without a FIN, and lose everything but the disk. Harmless when repeated.

        Args:
            reset: whether the peers get a RST for each connection; otherwise the host falls silent, as when the power
                fails. (A kernel whose process is killed sends a FIN, unless data was left unread: end the program for
                that.)
        """
        switch("reset", reset)
        if self.crashed:
            return
        self._note("fault", "crash")
        stack = self.stack
        if reset:
            for stream in list(stack.tcp.streams.values()):
                stream.abort()
        stack.dead = True
        self._waiting.clear()
        self.deferred.clear()
        for program in self.programs:
            program.kill()

    def restart(self) -> None:
        """Boot a crashed host, and start its programs again: those given as functions.

        Raises:
            StateError: the host has not crashed.
        """
        if not self.crashed:
            raise StateError(f"host {self.name} is running; crash() it first")
        self.net.check_open()
        self._note("fault", "restart")
        self.epoch += 1
        self.stalled, self._stalls = False, 0
        self.stack = self._make()
        self.socket_layer = HostSockets(self.stack, self.lookup)
        for booted in self.boots:
            booted()
        programs, self.programs = self.programs, []

        def start() -> None:
            for program in programs:
                if program.again is not None:
                    program.successor = self.run(program.again, name=program.name)

        self._boot(self.stack, start)

    def pause(self, seconds: float | None = None) -> None:
        """Stop the processor of the host: nothing is received, sent or run until :meth:`resume`.

        Args:
            seconds: of virtual time; None: until :meth:`resume` is called.
        """
        length = None if seconds is None else in_nanoseconds("seconds", seconds)
        self._note("fault", "pause")
        self._stalls += 1
        self.stalled = True
        self.stack.stall()
        if length is not None:
            self.net.scheduler.at(self.net.now + length, self.resume)

    def resume(self) -> None:
        """Undo one :meth:`pause`. Harmless without one."""
        self._stalls = max(self._stalls - 1, 0)
        if self._stalls or not self.stalled:
            return
        self._note("fault", "resume")
        self.stalled = False
        waiting, self._waiting = self._waiting, []
        for arrive in waiting:
            arrive()
        self.stack.resume()
        deferred, self.deferred = self.deferred, []
        for call, argument in deferred:
            self.net.scheduler.ready.append((self, call, argument))

    def lookup(self, name: str, done: Callable[[list[bytes] | None], None]) -> None:
        """Find the addresses of a name, by the DNS that the host has been given, or else in the network's table.

        Args:
            name: name of a host, or an alias; what cannot be one is unknown.
            done: called later with the addresses, four or sixteen bytes each, IPv4 first; an empty list: the name is
                unknown; None: the DNS server does not answer, or not this question.
        """
        function("done", done)
        stack = self.stack
        as_text("name", name)
        try:
            key = host_name("name", name, dot=True).rstrip(".").lower()
        except ConfigError:
            self.soon(done, [])
            return
        if not stack.dns or key == self.name or key.split(".")[-1] == "localhost":
            own = key == self.name
            found = [each.packed for each in self.addresses] if own else self.net.resolve(name)
            self.soon(done, found)
            return
        questions: list[Lookup] = []

        def answered() -> None:
            if len(questions) == 2 and all(question.done for question in questions):
                found = [ip_address(each).packed for question in questions for each in question.answers]
                known = all(question.rcode in _ANSWERS for question in questions)
                self.soon(done, found if found or known else None)

        for kind in ("A", "AAAA"):
            question = Lookup(stack, stack.udp_host, key, kind, stack.dns[0], DNS_PORT)
            questions.append(question)
            question.on_done = answered
        stack.flush()

    def boot(self, ready: Callable[[], None]) -> None:
        """Obtain addresses from the router, if the host is behind one, and call ``ready``."""
        self._boot(self.stack, ready)

    def sockets(self) -> list[SocketInfo]:
        """List the sockets of the host: listening ones, then connections, then those of UDP."""
        return sockets_of(self.stack, repetitions(find_connections(self.net.trace.records)))

    def note(self, text: str) -> None:
        """Add a line to the trace, such as the program's view of an event."""
        self._note("note", as_text("text", text))

    # -------------------------------------------------------------------------------------- inside

    def _note(self, kind: Any, text: str) -> None:
        self.net.trace.note(self.net.now, self.name, kind, text)

    def receive(self, frame: bytes, sound: bool = True) -> None:
        """Take a frame that has arrived; see :class:`~slirpy.testing.sim.path.Path`."""
        if self.stalled:
            self._waiting.append(partial(self.receive, frame, sound))
        else:
            self.stack.receive(frame, sound)

    def receive_segment(self, key: bytes, segment: Segment) -> None:
        """Take a TCP segment of this flow key that has arrived unchanged."""
        if self.stalled:
            self._waiting.append(partial(self.receive_segment, key, segment))
        else:
            self.stack.receive_segment(key, segment)

    def soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call ``call(*args)`` as soon as the host's processor is free."""
        self.net.scheduler.soon(self, call, *args)
