"""Named hosts that run whole programs over real segments, in virtual time.

There are no real waits and no real randomness: with the same seed and the same programs every run is the same, frame
by frame. Example::

    net = Network(seed=1, path=Faults(loss=0.05, delay=50_000_000))
    net.host("server").run(serve)
    print(net.run(client, on="client"))
    print(net.report())
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal

from slirpy.addresses import address_bytes
from slirpy.checks import amount, instance, shown, whole
from slirpy.config.values import function, host_name
from slirpy.errors import ConfigError, StateError
from slirpy.links.faultypath import Faults
from slirpy.reprs import counted, never_raises
from slirpy.tcp import Settings
from slirpy.testing.errors import UnmetError
from slirpy.testing.sim.clock import TRUE_CLOCK, Clock
from slirpy.testing.sim.errors import DeadlockError, ProgramError
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.path import Path
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.stack import HostStack
from slirpy.testing.sim.trace import Trace
from slirpy.testing.text import seconds
from slirpy.units import MS, SECOND

__all__ = ["EPOCH", "HOST_SETTINGS", "Network"]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Time of day at which a network begins, unless it is told otherwise."""
HOST_SETTINGS = Settings(
    rcv_buffer=1 << 20, rcv_buffer_initial=1 << 16, snd_buffer=1 << 18, delayed_ack=40 * MS
)
"""Settings of the TCP connections of hosts: about those of Linux."""
DEFAULT_PATH = Faults(delay=1 * MS)
"""A path without faults, of one millisecond."""
_FIRST4 = int.from_bytes(bytes((198, 18, 0, 0)), "big")  # RFC 2544: for tests of networks
_HOSTS_MAX = 65_000
_FIRST6 = bytes.fromhex("20010db8000000000000000000000000")  # RFC 3849: for documentation
_ROUNDS = 1_000_000


class Network:
    """A network of hosts in virtual time; see the description of the module.

    Args:
        seed: seed of all randomness: faults, sequence numbers, ports, order of ready calls, ``random`` of programs.
        path: faults of every path between two hosts that is not set otherwise.
        mtu: largest IP packet between hosts, in bytes, 1280 to 65521.
        order: order of calls that are ready at the same time: ``"fifo"``, as asyncio has it, or ``"random"``.
        epoch: time of day at which it begins.

    Raises:
        ConfigError: an argument that cannot be used.

    Attributes:
        hosts: the hosts by name.
        trace: everything that happened, in order.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        path: Faults = DEFAULT_PATH,
        mtu: int = 1500,
        order: Literal["fifo", "random"] = "fifo",
        epoch: datetime = EPOCH,
    ) -> None:
        instance("path", path, Faults, "a Faults, such as Faults(loss=0.05)")
        instance("epoch", epoch, datetime, "a datetime with a time zone")
        if order not in ("fifo", "random"):
            raise ConfigError(f'order is "fifo" or "random"; given was {order!r}')
        if epoch.tzinfo is None:
            raise ConfigError(f"epoch {epoch} has no time zone; write datetime(..., tzinfo=UTC)")
        self.seed = amount("seed", seed)
        self.epoch = epoch
        self.trace = Trace()
        self.hosts: dict[str, Host] = {}
        self.scheduler = Scheduler(Random(f"{seed} order") if order == "random" else None)
        self._mtu = whole("mtu", mtu, 1280, 65521)
        self._default = path
        self._paths: dict[tuple[str, str], Path] = {}
        self._macs: dict[bytes, bytes] = {}
        self._by_mac: dict[bytes, Host] = {}
        self._names: dict[str, list[bytes]] = {}
        self._failure: tuple[Program, BaseException] | None = None
        self._checks: list[tuple[str, Callable[[], object]]] = []
        self._running = False
        self.extensions: dict[str, Any] = {}
        """What runs programs, such as the asyncio loop, by name; closed with the network."""

    @never_raises
    def __repr__(self) -> str:
        return f"<Network seed {self.seed} at {seconds(self.now)}: {counted(len(self.hosts), 'host')}>"

    @property
    def now(self) -> int:
        """Virtual nanoseconds since the beginning."""
        return self.scheduler.now

    # ------------------------------------------------------------------------------------- building

    def host(
        self,
        name: str,
        address: str | None = None,
        *,
        clock: Clock = TRUE_CLOCK,
        tcp: Settings = HOST_SETTINGS,
    ) -> Host:
        """Return the host of this name, which is made at the first call.

        Args:
            name: letters, digits, dots and hyphens; programs resolve it to the host's addresses.
            address: its IPv4 address; None: the next one of 198.18.0.0/16. Its IPv6 address is in 2001:db8::/64.
            clock: the clock of its programs.
            tcp: settings of its connections.

        Raises:
            ConfigError: a name or address that cannot be used, or one that another host has.
        """
        key = host_name("name", name, dot=True).lower()
        known = self.hosts.get(key)
        if known is not None:
            if address is not None:
                raise ConfigError(f"there is a host {name} already; choose another name, or omit the address")
            return known
        number = len(self.hosts) + 1
        if number > _HOSTS_MAX:
            raise ConfigError(f"a network has at most {_HOSTS_MAX} hosts")
        own4 = (_FIRST4 + number).to_bytes(4, "big") if address is None else address_bytes("address", address)
        if len(own4) != 4 or own4 in self._macs:
            problem = "is not an IPv4 address" if len(own4) != 4 else "belongs to another host"
            raise ConfigError(f"address {address} of host {name} {problem}")
        own6 = _FIRST6[:8] + number.to_bytes(8, "big")
        mac = b"\x02\x00" + number.to_bytes(4, "big")
        instance("clock", clock, Clock, "a Clock")
        instance("tcp", tcp, Settings, "a slirpy.tcp.Settings")

        def make() -> HostStack:
            random = Random(f"{self.seed} host {key} {host.epoch if key in self.hosts else 0}")
            stack = HostStack(
                self.scheduler,
                lambda frame: self._transmit(host, frame),
                random,
                mac,
                self._mtu,
                key,
                self._macs,
                tcp,
            )
            stack.add_address(own4, 0)
            stack.add_address(own6, 0)
            return stack

        host = Host(self, key, clock, make)
        self.hosts[key] = self._by_mac[mac] = host
        for own in host.packed_addresses:
            self._macs[own] = mac
        self._names[key] = [own4, own6]
        return host

    def resolve(self, name: str, host: Host | None = None) -> list[bytes]:
        """Return the addresses of a name, four or sixteen bytes each, IPv4 first; empty: there is no such host.

        Args:
            name: name of a host, ``localhost``, or a name given by :meth:`alias`.
            host: the host that asks; its own name is known to it, too.
        """
        key = name.rstrip(".").lower()
        if key == "localhost" or key.endswith(".localhost"):
            return [bytes((127, 0, 0, 1)), bytes(15) + b"\1"]
        return list(self._names.get(key, ()))

    def alias(self, name: str, *hosts: Host | str) -> None:
        """Make a name resolve to the addresses of hosts.

        Raises:
            ConfigError: no host name, or it is taken.
        """
        key = host_name("name", name, dot=True).lower()
        if key in self._names:
            raise ConfigError(f"name {name} is taken; choose another one")
        found = [self._host(each).packed_addresses for each in hosts]
        self._names[key] = [address for each in found for address in each if address in self._macs]

    def path(self, source: Host | str, target: Host | str) -> Path:
        """Return the path from one host to another; the way back is another path.

        Raises:
            ConfigError: not a host of the network, or twice the same.
        """
        one, other = self._host(source), self._host(target)
        if one is other:
            raise ConfigError(f"a path leads from {one.name} to another host")
        return self._path(one, other)

    def _path(self, source: Host, target: Host) -> Path:
        key = source.name, target.name
        path = self._paths.get(key)
        if path is None:
            random = Random(f"{self.seed} path {source.name} {target.name}")
            path = self._paths[key] = Path(
                self.scheduler, self.trace, *key, target.receive, self._default, random
            )
        return path

    def _host(self, which: Host | str) -> Host:
        host = self.hosts.get(which.lower()) if isinstance(which, str) else which
        if not isinstance(host, Host) or self.hosts.get(host.name) is not host:
            known = ", ".join(self.hosts) or "none yet"
            raise ConfigError(f"{shown(which)} is not a host of this network; there are: {known}")
        return host

    def _transmit(self, host: Host, frame: bytes) -> None:
        """Carry a frame that a host has sent."""
        target = self._by_mac.get(frame[:6])
        if target is not None:
            self._path(host, target).carry(frame)
        elif frame[0] & 1:
            for each in list(self.hosts.values()):
                if each is not host:
                    self._path(host, each).carry(frame)

    # --------------------------------------------------------------------------------------- running

    def run(
        self,
        main: Coroutine[Any, Any, Any] | Callable[[], Any],
        *,
        on: Host | str,
        limit: float = 600.0,
    ) -> Any:
        """Run a program on a host until it ends, and return its result. The programs of other hosts run beside it.

        Args:
            main: a coroutine, or a function without arguments; see :meth:`Host.run`.
            on: the host, or its name; it is made if there is none.
            limit: maximum seconds of virtual time.

        Raises:
            ProgramError: a program of another host failed.
            DeadlockError: everything waits, and nothing is left to happen.
            UnmetError: the limit was reached.
            Exception: the one that ended ``main``.
        """
        host = self.host(on) if isinstance(on, str) else self._host(on)
        program = host.run(main)
        self._drive(self.now + _whole_ns("limit", limit), lambda: program.done, program)
        if not program.done:
            raise UnmetError(
                f"{program.name} did not end within {limit:g} s of virtual time: {program.where()}"
            )
        return program.result()

    def run_for(self, duration: float) -> None:
        """Let ``duration`` seconds of virtual time pass.

        Raises:
            ConfigError: negative, or not a number.
            ProgramError: a program failed.
        """
        self._drive(self.now + _whole_ns("duration", duration), lambda: False)

    def until(self, predicate: Callable[[], object], limit: float = 60.0) -> None:
        """Let time pass until ``predicate()`` is true; it is called after each event.

        Args:
            limit: maximum seconds of virtual time.

        Raises:
            UnmetError: the limit was reached, or nothing is left to happen.
            ProgramError: a program failed.
        """
        function("predicate", predicate)
        if not self._drive(self.now + _whole_ns("limit", limit), predicate):
            raise UnmetError(f"not within {limit:g} s of virtual time")

    def settle(self, limit: float = 600.0) -> None:
        """Let time pass until nothing is left to happen: no frame is under way, and no timer runs.

        Args:
            limit: maximum seconds of virtual time.

        Raises:
            UnmetError: the limit was reached.
            ProgramError: a program failed.
        """
        end = self.now + _whole_ns("limit", limit)
        self._drive(end, lambda: False, settle=True)
        if self.scheduler.following() is not None:
            raise UnmetError(f"the network was not idle within {limit:g} s of virtual time")

    def always(self, check: Callable[[], object], name: str = "") -> None:
        """Call ``check()`` after each event from now on; False, or an exception, ends the run.

        Raises:
            ConfigError: it cannot be called.
        """
        function("check", check)
        self._checks.append((name or getattr(check, "__name__", "a check"), check))

    def eventually(self, check: Callable[[], object], within: float) -> None:
        """Let time pass until ``check()`` is true, at most ``within`` seconds.

        Raises:
            UnmetError: it was never true.
            ProgramError: a program failed.
        """
        self.until(check, within)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.note(self.now, "", "note", text)

    def launch(self, host: Host, program: Any, name: str) -> Program:
        """Start a program; for :meth:`Host.run`."""
        started: Program
        if inspect.iscoroutine(program) or inspect.iscoroutinefunction(program):
            from slirpy.testing.sim.aio import AsyncProgram

            started = AsyncProgram(host, program, name)
        elif callable(program):
            from slirpy.testing.sim.blocking import BlockingProgram

            started = BlockingProgram(host, program, name)
        else:
            raise ConfigError(f"a program is a coroutine or a function; given was {shown(program)}")
        host.programs.append(started)
        return started

    def failed(self, program: Program, error: BaseException) -> None:
        """Take note that an exception has ended a program; the first one ends the run."""
        self.trace.note(self.now, program.host.name, "exception", f"{program.name}: {error!r}")
        if self._failure is None:
            self._failure = program, error

    def _drive(
        self,
        end: int,
        predicate: Callable[[], object],
        program: Program | None = None,
        *,
        settle: bool = False,
    ) -> bool:
        """Go from event to event; returns whether the predicate became true."""
        if self._running:
            raise StateError("the network is running already; wait in the program itself, or start another one")
        self._running = True
        scheduler = self.scheduler
        rounds, at = 0, self.now
        try:
            while True:
                while not scheduler.idle:
                    scheduler.run_ready()
                    rounds += 1
                    if rounds > _ROUNDS:
                        raise DeadlockError(f"endless events at {seconds(at)}: programs never wait")
                    if self._failure is not None:
                        self._raise_failure(program)
                for name, check in self._checks:
                    if check() is False:
                        raise UnmetError(f"{name} was not true at {seconds(self.now)}")
                if predicate():
                    return True
                following = scheduler.following()
                if following is None or following > end:
                    break
                if following > at:
                    rounds, at = 0, following
                scheduler.run_next()
            if following is None and program is not None:
                raise DeadlockError(
                    f"{program.name} on {program.host.name} waits for something that never happens:"
                    f" {program.where()}"
                )
            if not settle:
                scheduler.now = max(scheduler.now, end)
            return bool(predicate())
        finally:
            self._running = False

    def _raise_failure(self, main: Program | None) -> None:
        """End the run, because a program has failed."""
        assert self._failure is not None
        program, error = self._failure
        self._failure = None
        if program is main:
            return  # its result raises
        raise ProgramError(
            f"{program.name} on {program.host.name} failed at {seconds(self.now)}: {error!r}"
        ) from error

    # -------------------------------------------------------------------------------------- faults

    def partition(
        self,
        *groups: Collection[Host | str],
        oneway: bool = False,
        after: float = 0.0,
        during: float | None = None,
    ) -> Callable[[], None]:
        """Cut the paths between groups of hosts.

        Args:
            groups: two or more collections of hosts or names; paths within a group stay.
            oneway: whether only the paths from the first group to the others are cut.
            after: seconds of virtual time until the cut.
            during: seconds for which it lasts; None: until the returned function is called.

        Returns:
            A function that heals the partition; harmless when repeated.

        Raises:
            ConfigError: fewer than two groups, or a host that is not of the network.
        """
        if len(groups) < 2 or any(isinstance(group, str) for group in groups):
            raise ConfigError("partition() takes two or more collections of hosts, such as ['a'], ['b', 'c']")
        sides = [[self._host(each) for each in group] for group in groups]
        paths = [
            self._path(a, b)
            for i, one in enumerate(sides)
            for j, other in enumerate(sides)
            if i != j and not (oneway and i)
            for a in one
            for b in other
        ]
        names = " | ".join(", ".join(host.name for host in side) for side in sides)
        state = {"cut": False, "over": False}

        def cut() -> None:
            if not state["over"]:
                state["cut"] = True
                self.trace.note(self.now, "", "fault", f"partition {names}{' (one way)' if oneway else ''}")
                for path in paths:
                    path.cut()

        def heal() -> None:
            state["over"] = True
            if state["cut"]:
                state["cut"] = False
                self.trace.note(self.now, "", "fault", f"partition {names} is healed")
                for path in paths:
                    path.restore()

        start = self.now + _whole_ns("after", after)
        if after:
            self.scheduler.at(start, cut)
        else:
            cut()
        if during is not None:
            self.scheduler.at(start + _whole_ns("during", during), heal)
        return heal

    def close(self) -> None:
        """End all programs, and give back what extensions hold. Harmless when repeated."""
        for host in self.hosts.values():
            for program in host.programs:
                program.kill()
        for extension in self.extensions.values():
            extension.close()
        self.extensions.clear()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_ns(what: str, duration: Any) -> int:
    """Return a number of seconds in nanoseconds."""
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < 1e9:
        raise ConfigError(f"{what} is a number of seconds, 0 or more; given was {shown(duration)}")
    return round(duration * SECOND)
