"""Named hosts that run whole programs over real segments, in virtual time.

There are no real waits and no real randomness: with the same seed and the same programs every run is the same, frame
by frame. Example::

    net = Network(seed=1, path=Faults(loss=0.05, delay=50_000_000))
    net.host("server").run(serve)
    print(net.run(client, on="client"))
    print(net.report())
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Literal, TypeVar

from slirpy.checks import instance, switch
from slirpy.config.values import function
from slirpy.errors import ConfigError, StateError
from slirpy.links.faultypath import Faults
from slirpy.testing.sim.connections import find_connections
from slirpy.testing.sim.durations import in_nanoseconds
from slirpy.testing.sim.faults import KINDS, Fault, TimedFault
from slirpy.testing.sim.fork import in_a_copy
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.injected import Injected
from slirpy.testing.sim.netstat import repetitions, sockets_of
from slirpy.testing.sim.partition import Partition
from slirpy.testing.sim.plan import Injections, actions
from slirpy.testing.sim.report import Report
from slirpy.testing.sim.run import Run
from slirpy.testing.sim.setup import DEFAULT_PATH, EPOCH, PATCH, Setup
from slirpy.testing.sim.topology import HOST_SETTINGS
from slirpy.testing.sim.trace import FrameRecord
from slirpy.units import MS

__all__ = ["Network"]

_T = TypeVar("_T")


class Network(Run):
    """A network of named hosts in virtual time, which run unmodified programs over real segments.

    The same seed and the same programs give the same run, frame by frame. Use it as a context manager, or call
    :meth:`close`.

    Args:
        seed: seed of all randomness: faults, sequence numbers, ports, order of ready calls, ``random`` of programs.
        path: faults of every path between two hosts that is not set otherwise.
        mtu: largest IP packet between hosts, in bytes, 1280 to 65521.
        order: order of calls that are ready at the same time: ``"fifo"``, as asyncio has it, or ``"random"``.
        epoch: time of day at which it begins.
        patch: parts of Python that programs see in a version of the network: ``"time"`` (with ``datetime``),
            ``"random"`` (the module's functions, and generators without a seed), ``"socket"`` (with ``select`` and
            ``ssl``), ``"entropy"`` (``os.urandom``, and what uses it, such as ``secrets``).

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
        patch: Collection[str] = PATCH,
    ) -> None:
        super().__init__(Setup(seed, path, mtu, order, epoch, patch))
        self._injections: Injections | None = None
        self.injected: list[Injected] = []
        """The faults of :meth:`inject`, in order, and what each has hit."""
        self.partitions: list[Partition] = []
        """The partitions that :meth:`partition` has made, in order."""

    # -------------------------------------------------------------------------------------- faults

    def partition(
        self,
        *groups: Collection[Host | str],
        oneway: bool = False,
        after: float = 0.0,
        during: float | None = None,
    ) -> Partition:
        """Cut the paths between groups of hosts.

        Args:
            groups: two or more collections of hosts or names; paths within a group stay.
            oneway: whether only the paths from the first group to the others are cut.
            after: seconds of virtual time until the cut.
            during: seconds for which it lasts; None: until :meth:`Partition.heal`.

        Returns:
            The partition, which has a method ``heal``.

        Raises:
            ConfigError: fewer than two groups, a host that is not of the network, or one behind a router that is in
                no group.
        """
        switch("oneway", oneway)
        if len(groups) < 2 or any(not isinstance(group, list | tuple | set | frozenset) for group in groups):
            raise ConfigError("partition() takes two or more collections of hosts, such as ['a'], ['b', 'c']")
        start = self.now + in_nanoseconds("after", after)
        lasting = None if during is None else in_nanoseconds("during", during)
        sides = [[self._host(each) for each in group] for group in groups]
        everybody = [host for side in sides for host in side]
        paths = [
            self.path(a, b)
            for i, one in enumerate(sides)
            for j, other in enumerate(sides)
            if i != j and not (oneway and i)
            for a in one
            for b in other
            if self._between(a, b) not in everybody  # otherwise the cut is at the router
        ]
        names = " | ".join(", ".join(host.name for host in side) for side in sides)
        name = f"partition {names}{' (one way)' if oneway else ''}"
        partition = Partition(self.scheduler, self.trace, name, paths)
        self.partitions.append(partition)
        if after:
            self.scheduler.at(start, partition.begin)
        else:
            partition.begin()
        if lasting is not None:
            self.scheduler.at(start + lasting, partition.heal)
        return partition

    def inject(self, *faults: Fault) -> None:
        """Add faults to the plan; :attr:`injected` shows what each has hit.

        Raises:
            ConfigError: not a fault, or a host that is not of the network, or one behind a router; see :meth:`path`.
            StateError: the network is closed.
        """
        self.check_open()
        for fault in faults:
            instance("fault", fault, KINDS, 'a fault, such as Lose(Flow("client", "server"), 1)')
            injected = Injected(fault)
            if isinstance(fault, TimedFault):
                self._schedule(injected, fault)
            else:
                self.path(fault.flow.client, fault.flow.server)
                self._injecting().add(injected)
            self.injected.append(injected)

    def _injecting(self) -> Injections:
        if self._injections is None:
            past = [record for record in self.trace.records if isinstance(record, FrameRecord)]
            self._injections = Injections(
                past, lambda source, target, *rest: self.path(source, target).insert(*rest)
            )
            self._plan = self._injections.apply
            for path in self._paths.values():
                path.plan = self._injections.apply
        return self._injections

    def _schedule(self, injected: Injected, fault: TimedFault) -> None:
        """Schedule the beginning and the end of a fault."""
        hosts = [self._host(getattr(fault, place)) for place in fault.places]
        begin, end = actions(self, fault, hosts, injected.hits)
        self.scheduler.at(self.now + fault.at * MS, begin)
        self.scheduler.at(self.now + (fault.at + fault.ms) * MS, end)

    def fork(self, branch: Callable[[], _T]) -> _T:
        """Try a branch of the run: ``branch()`` goes on in a copy of this world, which then stays where it is now.

        The copy is one of the whole process (POSIX), so programs of every kind may be in the middle of their work. A
        branch may fork again. Example, a search for the fault that hurts::

            for n in range(10):
                if net.fork(lambda: fails_after(net, Lose(flow, n))):
                    ...

        Args:
            branch: a function whose result can be pickled.

        Raises:
            StateError: within a program, or where processes cannot be forked.
            Exception: the one that ended the branch.
        """
        function("branch", branch)
        if self._running:
            raise StateError("a running network cannot be forked; let it run for a while, and fork it then")
        return in_a_copy(branch)

    def idle_faults(self) -> list[str]:
        """Return the faults that have hit nothing, in words: a test that relies on one of them proves nothing."""
        faults = [str(each.fault) for each in self.injected if not each.hits]
        return faults + [each.name for each in self.partitions if not each.hits]

    def report(self, failure: BaseException | str = "", **details: Any) -> Report:
        """Return everything about the run so far: as text by ``str()``, as files by :meth:`Report.save`.

        Args:
            failure: the exception that a test ended with, or the failure in words.
            details: more for the JSON file, such as the name of a test; values that JSON can express.

        Raises:
            ConfigError: something else.
        """
        instance("failure", failure, (BaseException, str), "an exception or a text")
        if isinstance(failure, BaseException):
            failure = f"{type(failure).__name__}: {failure}".removesuffix(": ")
        again = repetitions(find_connections(self.trace.records))
        return Report(
            seed=self.seed,
            now=self.now,
            trace=self.trace,
            plan=self.injected,
            sockets={name: sockets_of(host.stack, again) for name, host in self.hosts.items()},
            failure=failure,
            epoch=self.epoch_ns,
            keys=self.tls_keys.text(),
            settings=HOST_SETTINGS,
            details=details,
        )

    def close(self) -> None:
        """End all programs, and give back what extensions hold. Harmless when repeated.

        Nothing can be run afterwards, but :meth:`report` works.
        """
        self.closed = True
        for host in self.hosts.values():
            host.stack.dead = True  # nothing is sent any more
        for host in self.hosts.values():
            for program in host.programs:
                program.kill()
        for extension in self.extensions.values():
            extension.close()
        self.extensions.clear()
        self.tls_keys.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
