"""A pytest plugin (``-p tests.spread --processes 3``): tests are collected once, and run by copies of the process.

Copies made with fork() have all modules and all tests already, which saves each of them some ten seconds. They get
their tests in pieces, and report each test with one message. The system tests start real programs and often wait for
them: each of their files is one piece, all copies but one begin with these, and one starts with everything else, so
that the processors have work while the others wait.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

SYSTEM = "tests/system/"
SIZE = 12
"""Most tests of a piece, where a file is divided."""
TOGETHER = {f"tests/system/test_{name}.py": "tests/system/test_containers.py" for name in ("pasta", "recipes")}
"""Files that run in the piece of another: they serve names at port 53 of one loopback address of the host."""
GRACE = 10.0
"""Seconds that copies get to end after an interrupt."""


def pieces(collection: Sequence[str]) -> list[list[int]]:
    """Divide tests, given by their node ids, into pieces that one process runs in a row."""
    counts: Counter[str] = Counter()
    found: dict[str, list[int]] = {}
    for index, nodeid in enumerate(collection):
        file = nodeid.partition("::")[0]
        name = TOGETHER.get(file, file) if file.startswith(SYSTEM) else f"{file} {counts[file] // SIZE}"
        found.setdefault(name, []).append(index)
        counts[file] += 1
    return list(found.values())


class Work:
    """Pieces that are left, and the tests that each process has; processes are known by a number."""

    def __init__(self, collection: Sequence[str]) -> None:
        self._system = [nodeid.startswith(SYSTEM) for nodeid in collection]
        self._left = deque(pieces(collection))
        self._has: dict[int, deque[int]] = {}

    def join(self, process: int) -> None:
        """A process that has nothing yet."""
        self._has[process] = deque()

    def take(self, process: int) -> list[int]:
        """Give the first piece, or the first without system tests if all other processes have system tests."""
        others = [has for other, has in self._has.items() if other != process]
        chosen = 0
        if others and all(any(self._system[index] for index in has) for has in others):
            plain = (place for place, piece in enumerate(self._left) if not self._system[piece[0]])
            chosen = next(plain, 0)
        if not self._left:
            return []
        piece = self._left[chosen]
        del self._left[chosen]
        self._has[process] += piece
        return piece

    def done(self, process: int) -> int:
        """Forget the test that the process has run, the first of those it has."""
        return self._has[process].popleft()

    def leave(self, process: int) -> int | None:
        """Take back what a process has; gives the test that it was running, which is not run again."""
        has = self._has.pop(process)
        running = has.popleft() if has else None
        if has:
            self._left.appendleft(list(has))
        return running

    def remains(self) -> bool:
        """True if there are pieces that no process has."""
        return bool(self._left)


# ------------------------------------------------------------------------------------------------ a copy


class Reports:
    """Plugin of a copy: the reports of the test that runs."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.found: list[object] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep it in a form that can be sent."""
        self.found.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))


def prepare(config: pytest.Config, number: int) -> Reports:
    """Separate a copy from the others: its output, its folder for files. Python has renewed its random numbers."""
    plugins = config.pluginmanager
    plugins.unregister(name="terminalreporter")
    if capture := plugins.getplugin("capturemanager"):
        capture.stop_global_capturing()
        capture.start_global_capturing()
    factory = getattr(config, "_tmp_path_factory")  # noqa: B009 # private, and unknown to mypy
    folder = factory.getbasetemp() / f"process-{number}"
    folder.mkdir(mode=0o700)
    factory._basetemp = folder
    reports = Reports(config)
    plugins.register(reports)
    return reports


def run(session: pytest.Session, reports: Reports, connection: Connection) -> None:
    """Run the tests that are received, and send the reports of each. The next test is known before one ends."""
    left = deque(connection.recv())
    while left:
        item = session.items[left.popleft()]
        if not left:
            connection.send(None)
            left += connection.recv()
        following = session.items[left[0]] if left else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        connection.send(reports.found)
        reports.found = []


# ------------------------------------------------------------------------------------------ the original


class Original:
    """The process that has collected the tests: makes copies, gives them work, and shows what they report."""

    def __init__(self, session: pytest.Session, processes: int) -> None:
        self.session = session
        self.config = session.config
        self.processes = processes
        self.work = Work([item.nodeid for item in session.items])
        self.copies: dict[Connection, tuple[int, int]] = {}  # number and process id
        self.made = 0

    def run(self) -> None:
        """Run all tests."""
        getattr(self.config, "_tmp_path_factory").getbasetemp()  # noqa: B009
        try:
            for _ in range(self.processes):
                self.copy()
            while self.copies:
                for connection in multiprocessing.connection.wait(list(self.copies)):
                    assert isinstance(connection, Connection)
                    self.hear(connection)
        finally:
            self.end()

    def copy(self) -> None:
        """Make a copy of this process, and give it a piece."""
        ours, its = multiprocessing.Pipe()
        number = self.made
        self.made += 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if not (pid := os.fork()):
            code = 1
            try:
                for other in (ours, *self.copies):
                    other.close()
                run(self.session, prepare(self.config, number), its)
                code = 0
            except (KeyboardInterrupt, EOFError):
                self.session._setupstate.teardown_exact(None)  # what fixtures have started
            except BaseException:  # nothing above may see it
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(code)
        its.close()
        self.copies[ours] = number, pid
        self.work.join(number)
        ours.send(self.work.take(number))

    def hear(self, connection: Connection) -> None:
        """React to what a copy says, or to its end."""
        number, pid = self.copies[connection]
        try:
            said = connection.recv()
            if said is None:
                connection.send(self.work.take(number))
                return
        except (EOFError, OSError):
            del self.copies[connection]
            connection.close()
            _, status = os.waitpid(pid, 0)
            self.ended(number, os.waitstatus_to_exitcode(status))
            return
        item = self.session.items[self.work.done(number)]
        self.show(
            item,
            [self.config.hook.pytest_report_from_serializable(config=self.config, data=each) for each in said],
        )

    def ended(self, number: int, code: int) -> None:
        """A copy without tests has done its part; one with tests has failed, and another takes its place."""
        running = self.work.leave(number)
        if running is not None:
            item = self.session.items[running]
            why = f"the process ended in this test, with {code}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")
            self.show(item, [report])
        if self.work.remains():
            self.copy()

    def show(self, item: pytest.Item, reports: list[pytest.TestReport]) -> None:
        """Report a test as if it had run here."""
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(self.session.shouldstop)

    def end(self) -> None:
        """End the copies that are left: with an interrupt, so that tests end what they have started, or for good."""
        pids = [pid for _, pid in self.copies.values()]
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        limit = time.monotonic() + GRACE
        while pids and time.monotonic() < limit:
            pids = [pid for pid in pids if os.waitpid(pid, os.WNOHANG) == (0, 0)]
            time.sleep(0.01)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option."""
    parser.addoption("--processes", type=int, default=1, help="copies of the process that share the tests (1)")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in copies, if there may be several, and if this system can make them."""
    config = session.config
    processes = config.getoption("processes")
    if processes < 2 or config.option.collectonly or not hasattr(os, "fork"):
        return None
    if session.testsfailed and not config.option.continue_on_collection_errors:
        return None  # pytest's own loop tells of the errors
    Original(session, processes).run()
    return True
