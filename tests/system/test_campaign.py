"""Machines of a campaign share the failures that Hypothesis has found, by a real Redis."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

TEST = """
from hypothesis import Phase, given, settings, strategies as st

@settings(max_examples={examples}, phases=[{phases}], deadline=None)
@given(n=st.integers(0, 10**9))
def test_it(net, n):
    net.note(f"n is {{n}}")
    assert n < 1000
"""


@pytest.fixture
def redis(need: Callable[..., None], tmp_path: Path) -> Iterator[str]:
    """A server of its own; the URL of its database."""
    need("redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if "Ready to accept connections" in line:
                break
        else:
            pytest.fail("redis-server did not start")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.communicate(timeout=10)


def run(folder: Path, url: str, examples: int, phases: str) -> subprocess.CompletedProcess[str]:
    """Run the test on a machine: a folder with a local database of its own."""
    folder.mkdir()
    (folder / "test_it.py").write_text(TEST.format(examples=examples, phases=phases))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:schemathesis",
    ]
    return subprocess.run(
        [*command, "--sim-database", url], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.long
def test_failures_are_shared(redis: str, tmp_path: Path) -> None:
    """The second machine, which only tries what is stored, fails with the smallest example of the first."""
    one = run(tmp_path / "one", redis, 200, "Phase.generate, Phase.shrink")
    assert one.returncode == 1, one.stdout + one.stderr
    assert "n is 1000" in one.stdout
    alone = run(tmp_path / "alone", redis.replace("/0", "/1"), 1, "Phase.reuse")
    assert alone.returncode == 0, "another database has nothing"
    two = run(tmp_path / "two", redis, 1, "Phase.reuse")
    assert two.returncode == 1, two.stdout + two.stderr
    assert "n is 1000" in two.stdout


@pytest.mark.parametrize("url", ["127.0.0.1", "http://127.0.0.1/"])
def test_a_wrong_url_is_one_line(url: str, tmp_path: Path) -> None:
    done = run(tmp_path / "one", url, 1, "Phase.generate")
    assert done.returncode == 4
    assert f"--sim-database {url}" in done.stderr
