"""The networks of one test: made, checked, explained, closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest

from slirpy.testing.plugin import options
from slirpy.testing.plugin.difference import first_difference
from slirpy.testing.plugin.marker import SimMarker, marker_of
from slirpy.testing.sim.errors import StoppedError
from slirpy.testing.sim.network import Network
from slirpy.units import SECOND

if TYPE_CHECKING:
    from slirpy.testing.sim.report import Report

__all__ = [
    "Session",
    "begin",
    "current_session",
    "find_session",
    "last_report",
    "session_of",
    "session_of_network",
]

_KEY = pytest.StashKey["Session"]()
_of_network: WeakKeyDictionary[Network, Session] = WeakKeyDictionary()
_current: list[Session] = []
last_report: list[Report] = []
"""The report of the last test that failed, or of any test with ``--sim-replay``: for ``slirpy replay``."""


class Session:
    """The networks of one test.

    Args:
        item: the test.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._net: Network | None = None
        self._report: Report | None = None
        self._seed = 0
        self.marker = marker_of(item) or SimMarker()

    def open(self, seed: int) -> Network:
        """Make a network."""
        self._seed = seed
        net = self._net = Network(seed, **self.marker.network)
        _of_network[net] = self
        until = self._item.config.getoption("--sim-until")
        if until is not None:
            net.scheduler.at(round(until * SECOND), _stop, until)
        return net

    def close(self) -> None:
        """Close the network."""
        net, self._net = self._net, None
        if net is not None:
            net.close()

    # --------------------------------------------------------------------------- after a test has passed

    def after_call(self, item: pytest.Function) -> None:
        """Check a test that has passed, and run it again if that is wanted."""
        net = self._net
        if net is None:
            return
        self.check(net)
        last_report[:] = [self._made(net, None)] if self._item.config.getoption("--sim-replay") else []
        if self.twice:
            arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
            self.repeat(net, lambda again: item.obj(**arguments | {"net": again}))

    def check(self, net: Network) -> None:
        """Fail a test whose faults have hit nothing, if that is wanted."""
        if self._item.config.getoption("--sim-strict"):
            idle = net.idle_faults()
            if idle:
                pytest.fail("faults that hit nothing:\n  " + "\n  ".join(idle), pytrace=False)

    @property
    def twice(self) -> bool:
        """True to run each test, and each example of one, twice."""
        return bool(self._item.config.getoption("--sim-twice"))

    def repeat(self, first: Network, run: Callable[[Network], object]) -> None:
        """Run a test again with the same seed, and compare the traces."""
        again = self.open(self._seed)
        try:
            run(again)
            difference = first_difference(first.trace, again.trace)
        finally:
            first.close()
        if difference:
            pytest.fail(f"two runs with seed {self._seed} differ: {difference}", pytrace=False)

    # ------------------------------------------------------------------------------- after a failure

    def failed_example(self, error: BaseException) -> None:
        """Keep the report of a failed example; the last one is the smallest that Hypothesis has found."""
        if self._net is not None:
            self._report = self._made(self._net, error)

    def explain(self, report: pytest.TestReport, call: pytest.CallInfo[Any]) -> None:
        """Add the report of the network, and write its files if they are wanted."""
        error = None if call.excinfo is None else call.excinfo.value
        made = self._made(self._net, error) if self._net is not None else self._report
        if made is None:
            return
        last_report[:] = [made]
        text = str(made)
        folder = options.artifacts(self._item.config)
        if folder is not None:
            try:
                written = made.save(folder, self._item.nodeid)
                text += "\nfiles: " + " ".join(map(str, written))
            except OSError as error:
                text += f"\n--sim-artifacts {folder}: {error.strerror or error}: {error.filename or ''}"
        report.sections.append(("slirpy", text))

    def _made(self, net: Network, error: BaseException | None) -> Report:
        return net.report("" if error is None else error, test=self._item.nodeid)


def _stop(until: float) -> None:
    raise StoppedError(f"stopped at {until:g} s of virtual time")


def session_of(item: pytest.Item) -> Session:
    """Return the session of a test, which is made at the first call."""
    session = item.stash.get(_KEY, None)
    if session is None:
        session = item.stash[_KEY] = Session(item)
    return session


def find_session(item: pytest.Item) -> Session | None:
    """Return the session of a test; None: it has no network."""
    return item.stash.get(_KEY, None)


def session_of_network(net: Network) -> Session:
    """Return the session that has made a network."""
    return _of_network[net]


def begin(item: pytest.Item) -> None:
    """Take note of the test that runs now."""
    _current[:] = [session_of(item)]


def current_session() -> Session:
    """Return the session of the test that runs now."""
    return _current[-1]
