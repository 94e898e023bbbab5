"""The pytest plugin beside those of others, each in a process of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester",)

TESTS = """
import asyncio, pytest
from hypothesis import given, strategies as st

@pytest.mark.sim
async def test_sim(net):
    await asyncio.sleep(100)
    assert net.now == 100 * 10**9

class TestClass:
    @pytest.mark.sim
    async def test_sim(self, net):
        await asyncio.sleep(100)

@pytest.mark.sim
@given(n=st.integers(0, 3))
async def test_examples(net, n):
    await asyncio.sleep(n)
"""
ASYNCIO = """
@pytest.mark.asyncio
async def test_real():
    await asyncio.sleep(0.001)
"""
ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_real():
    await asyncio.sleep(0.001)
"""
SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")


@pytest.mark.parametrize(
    ("options", "more", "count"),
    [
        ((*SCOPE, "-p", "no:anyio"), ASYNCIO, 4),
        pytest.param((*SCOPE, "-o", "asyncio_mode=auto"), ASYNCIO, 4, marks=pytest.mark.long),
        (("-p", "no:asyncio"), ANYIO, 4),
        (("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest"), "", 3),
        pytest.param(("-p", "no:asyncio", "-n", "2"), "", 3, marks=pytest.mark.long),
    ],
    ids=["asyncio", "asyncio-auto", "anyio", "alone", "xdist"],
)
def test_beside(pytester: pytest.Pytester, options: tuple[str, ...], more: str, count: int) -> None:
    """Tests of other plugins run as usual, and tests of networks run in networks."""
    pytester.makepyfile(test_it=TESTS + more)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:schemathesis", *options)
    result.assert_outcomes(passed=count)
