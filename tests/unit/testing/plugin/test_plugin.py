"""The pytest plugin, in test projects of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import settings

import slirpy.testing.plugin.examples
import slirpy.testing.plugin.session
import slirpy.testing.plugin.wrapping
import slirpy.testing.sim.aio
import slirpy.testing.sim.report  # noqa: F401 # pytester forgets what is imported in its runs: classes would be made twice

pytest_plugins = ("pytester",)

ECHO = """
import asyncio, itertools, pytest
from hypothesis import given, strategies as st
from slirpy.links import Faults
from slirpy.testing import Flow, Lose, Network

async def handle(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()

async def serve():
    server = await asyncio.start_server(handle, port=7)
    await server.serve_forever()

async def echo(line):
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(line)
    answer = await reader.readexactly(len(line))
    writer.close()
    return answer
"""


PLAIN = [
    argument
    for name in ("cacheprovider", "xdist", "asyncio", "anyio", "schemathesis")  # the last imports requests
    for argument in ("-p", f"no:{name}")
]


def run(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """Run tests, with those of ``ECHO`` before them, in this process."""
    pytester.makepyfile(test_it=ECHO + tests)
    return pytester.runpytest_inprocess(*PLAIN, *options)


def test_passing_tests(pytester: pytest.Pytester) -> None:
    """Coroutines, functions, methods and examples of Hypothesis run in networks of their own."""
    result = run(
        pytester,
        """
@pytest.mark.sim(seeds=3, path=Faults(loss=0.05, delay=50_000_000))
async def test_seeds(net):
    net.host("server").run(serve)
    assert await echo(b"hello") == b"hello"

@pytest.mark.sim(host="me")
async def test_without_the_fixture():
    await asyncio.sleep(500)

def test_function(net):
    net.host("server").run(serve)
    assert net.run(lambda_(), on="client") == b"x"

async def lambda_():
    return await echo(b"x")

@given(n=st.integers(0, 3))
def test_examples(net, n):
    assert isinstance(net, Network) and net.now == 0
    net.run_for(n)

@pytest.mark.sim
@given(n=st.integers(0, 3))
async def test_coroutine_examples(net, n):
    await asyncio.sleep(n)
    assert net.now == n * 10**9

class TestClass:
    pytestmark = pytest.mark.sim(seeds=2)

    async def test_method(self, net):
        await asyncio.sleep(1)

@pytest.mark.sim(leftovers=True)
async def test_leftovers():
    asyncio.get_running_loop().create_task(asyncio.sleep(1e6))
    await asyncio.sleep(1)
""",
        "-v",
        "--sim-twice",
        "--sim-strict",
    )
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["*test_seeds?seed2? PASSED*", "*test_method?seed1? PASSED*"])


FAILURES = """
@pytest.mark.sim
async def test_wrong(net):
    net.host("server").run(serve)
    net.inject(Lose(Flow("client", "server"), 1))
    assert await echo(b"hello") == b"hallo"

@pytest.mark.sim
@given(n=st.integers(0, 9))
async def test_example(net, n):
    net.note(f"n is {n}")
    assert n < 5

@pytest.mark.sim
async def test_left():
    asyncio.get_running_loop().create_task(asyncio.sleep(1e6), name="worker")
    await asyncio.sleep(1)

@pytest.mark.sim
async def test_hangs():
    await asyncio.Event().wait()

@pytest.mark.sim(limit=5)
async def test_long():
    await asyncio.sleep(100)

@pytest.mark.sim
async def test_dead_server(net):
    async def bad():
        raise ValueError("boom")
    net.host("server").run(bad)
    await asyncio.sleep(5)

def test_clean(net):
    assert net.now == 0 and not net.hosts
"""


def test_failures_are_explained(pytester: pytest.Pytester) -> None:
    """A failure comes with the report of its network, and the next test starts clean."""
    result = run(pytester, FAILURES, "--sim-artifacts", "reports")
    result.assert_outcomes(failed=6, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: assert b'hello' == b'hallo'*",
            "*lose new segment 1 of connection 0 from client to server: hit at*",
            "*client    server*",
            "*assert 5 < 5*",
            "*n is 5*",
            "*LeftoverError: the test has left tasks*",
            "*worker at *",
            "*DeadlockError: test_hangs on client waits for something that never happens: *test_it.py:*",
            "*UnmetError: test_long did not end within 5 s of virtual time*",
            "*ProgramError: bad on server failed at*boom*",
        ]
    )
    reports = {path.name for path in (pytester.path / "reports").iterdir()}
    stem = "test_it.py-test_wrong"
    assert {f"{stem}.{kind}" for kind in ("txt", "html", "json", "pcapng", "svg", "pkt")} <= reports
    content = json.loads((pytester.path / "reports" / f"{stem}.json").read_text())
    assert content["test"] == "test_it.py::test_wrong"
    assert content["plan"][0]["hits"]
    again = pytester.runpytest_inprocess(*PLAIN, "--sim-replay", f"reports/{stem}.json")
    again.assert_outcomes(failed=1, deselected=6)
    again.stdout.fnmatch_lines([f"*trace {content['trace'][:16]}*"])


def test_twice_and_strict(pytester: pytest.Pytester) -> None:
    """A test that does not repeat fails, and one whose faults hit nothing."""
    result = run(
        pytester,
        """
count = itertools.count()

@pytest.mark.sim
async def test_different(net):
    net.note(f"run {next(count)}")

@pytest.mark.sim
async def test_idle(net):
    net.host("server")
    net.inject(Lose(Flow("client", "server"), 3))
    net.partition(["client"], ["server"], after=5)
    await asyncio.sleep(1)

@given(n=st.integers(0, 9))
def test_idle_example(net, n):
    net.host("a"), net.host("b")
    net.inject(Lose(Flow("a", "b"), n))

@given(n=st.integers(0, 9))
def test_different_example(net, n):
    net.note(f"run {next(count)}")

@given(n=st.integers(0, 9))
async def test_equal_example(net, n):
    await asyncio.sleep(n)

@given(data=st.data())
def test_drawing_example(net, data):
    data.draw(st.integers(0, 9))
""",
        "--sim-twice",
        "--sim-strict",
    )
    result.assert_outcomes(failed=4, passed=2)
    result.stdout.fnmatch_lines(
        [
            "*two runs with seed 0 differ: record 1: *run 0, *run 1*",
            "*faults that hit nothing*",
            "*lose new segment 3*",
            "*partition client | server*",
            "*faults that hit nothing*",
            "*two runs with seed 0 differ: record 0: *run *, *run *",
        ]
    )


def test_seeds_and_shards(pytester: pytest.Pytester) -> None:
    """The seeds are split without remainder, and a test without seeds runs in the first part only."""
    tests = """
@pytest.mark.sim(seeds=5)
async def test_many():
    await asyncio.sleep(1)

@pytest.mark.sim
async def test_one():
    await asyncio.sleep(1)
"""
    names: list[str] = []
    for part in ("1/2", "2/2"):
        result = run(pytester, tests, "-v", "--sim-shard", part)
        names += [line.split()[0] for line in result.outlines if "PASSED" in line]
    assert sorted(names) == [
        *(f"test_it.py::test_many[seed{seed}]" for seed in range(5)),
        "test_it.py::test_one[seed0]",
    ]
    result = run(pytester, tests, "--sim-seeds", "7")
    result.assert_outcomes(passed=14)


def test_own_fixture(pytester: pytest.Pytester) -> None:
    """A project's own fixture of the same name is left alone."""
    result = run(
        pytester,
        """
@pytest.fixture
def net():
    return 5

def test_it(net):
    assert net == 5

@given(n=st.integers())
def test_argument(n):
    pass

@given(net=st.integers())
def test_of_hypothesis(net):
    assert isinstance(net, int)
""",
    )
    result.assert_outcomes(passed=3)


def test_profile(pytester: pytest.Pytester) -> None:
    """The profile ``sim`` can be chosen for all tests of Hypothesis, those without a network, too."""
    before = settings.get_current_profile_name()
    try:
        result = run(
            pytester,
            """
from hypothesis import Phase, settings

def test_phases():
    assert Phase.explain not in settings().phases
    assert Phase.shrink in settings().phases
    assert settings().deadline is None
""",
            "--hypothesis-profile", "sim",
        )  # fmt: skip
    finally:
        settings.load_profile(before)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sim-shard", "3/2"], "--sim-shard 3/2: give a part from 1 to 2"),
        (["--sim-shard", "x"], "--sim-shard x: give two numbers"),
        (["--sim-seeds", "0"], "--sim-seeds 0: give a number from 1"),
        (["--sim-replay", "nowhere.json"], "--sim-replay nowhere.json: No such file"),
        (["--sim-replay", "test_it.py"], "--sim-replay test_it.py: this is no JSON file of a report"),
        (["--sim-artifacts", "test_it.py"], "--sim-artifacts test_it.py: this is not a folder"),
    ],
)
def test_bad_options(pytester: pytest.Pytester, options: list[str], message: str) -> None:
    """A mistake in an option is one line."""
    result = run(pytester, "\ndef test_it(): pass\n", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("sim(3)", "keywords only"),
        ("sim(seeds=0)", "seeds of the marker sim is a number from 1"),
        ("sim(seed=3)", "seeds=N"),
        ("sim(mtu=5)", "mtu 5"),
        ("sim(pth=5)", "pth"),
    ],
)
def test_bad_marker(pytester: pytest.Pytester, marker: str, message: str) -> None:
    """A mistake in a marker says what is allowed."""
    result = run(pytester, f"\n@pytest.mark.{marker}\nasync def test_it(): pass\n")
    assert result.ret != 0
    assert message in result.stdout.str() + result.stderr.str()


def test_reports_do_not_overwrite(pytester: pytest.Pytester) -> None:
    """A file that slirpy did not write stays."""
    folder = Path(pytester.mkdir("reports"))
    (folder / "test_it.py-test_wrong.txt").write_text("my notes")
    result = run(pytester, FAILURES, "--sim-artifacts", "reports", "-k", "test_wrong")
    result.assert_outcomes(failed=1, deselected=6)
    assert (folder / "test_it.py-test_wrong.txt").read_text() == "my notes"
    result.stdout.fnmatch_lines(["*test_it.py-test_wrong.txt*"])
