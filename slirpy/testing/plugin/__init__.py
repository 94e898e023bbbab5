"""The pytest plugin: the fixture ``net``, the marker ``sim``, and options that begin with ``--sim-``.

It is an entry point of the group ``pytest11``, so pytest loads it in each run; the parts that need the simulator are
imported when a test asks for a network.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from slirpy.testing.plugin import options, replay
from slirpy.testing.plugin.marker import MARKER, marker_of

if TYPE_CHECKING:
    from slirpy.testing.sim.network import Network

__all__: list[str] = []

_SEED = "slirpy_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks for the profile
def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker, and check the options."""
    config.addinivalue_line("markers", MARKER)
    options.check(config)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[pytest.Item | pytest.Collector] | None:
    """Let coroutine functions, and those of Hypothesis, run in a network."""
    from slirpy.testing.plugin import wrapping

    return wrapping.collect(collector, name, obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make an item for each seed."""
    marker = marker_of(metafunc.definition)
    if marker is None:
        return
    if "net" not in metafunc.fixturenames:
        if hasattr(metafunc.function, "hypothesis"):
            return  # each example has a network of its own
        metafunc.fixturenames.append("net")
    seeds = options.seeds(metafunc.config, marker.seeds)
    if seeds is None:
        return
    if _SEED not in metafunc.fixturenames:
        metafunc.fixturenames.append(_SEED)
    metafunc.parametrize(_SEED, seeds, indirect=True, ids=[f"seed{seed}" for seed in seeds])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the test of ``--sim-replay``."""
    replay.select(config, items)


@pytest.fixture(name=_SEED)
def _slirpy_seed(request: pytest.FixtureRequest) -> int:
    """The seed of the network."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def net(request: pytest.FixtureRequest, slirpy_seed: int) -> Iterator[Network]:
    """A network in virtual time, made as the marker ``sim`` says, and closed after the test."""
    from slirpy.testing.plugin.session import session_of

    session = session_of(request.node)
    yield session.open(slirpy_seed)
    session.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Take note of the test whose examples are about to run."""
    if hasattr(getattr(item, "obj", None), "slirpy_wrapped"):
        from slirpy.testing.plugin.session import begin

        begin(item)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Check a test that has passed: its faults, and whether it repeats."""
    result = yield
    if "net" in pyfuncitem.funcargs:
        from slirpy.testing.plugin.session import session_of

        session_of(pyfuncitem).after_call(pyfuncitem)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the report of the network to that of a failed test."""
    report = yield
    if report.when == "call" and report.failed:
        from slirpy.testing.plugin.session import find_session

        session = find_session(item)
        if session is not None:
            session.explain(report, call)
    return report
