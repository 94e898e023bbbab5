"""``slirpy replay``: the failed test of a report, once more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
import asyncio, pytest

async def handle(reader, writer):
    writer.write(await reader.read(100))
    writer.close()

@pytest.mark.sim(seeds=2)
async def test_it(net):
    async def serve():
        await asyncio.start_server(handle, port=7)
    net.host("server").run(serve)
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(b"hello")
    assert await reader.read() == b"hallo"
"""


ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "slirpy.testing.plugin"}
"""Environment without the plugins of others, whose imports take most of the time."""


def run(folder: Path, *arguments: str, environment: dict[str, str] = ALONE) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a failed test, and its report."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_it.py").write_text(TEST)
    done = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "--sim-artifacts", "reports")
    assert done.returncode == 1, done.stdout + done.stderr
    return folder


REPORT = "reports/test_it.py-test_it-seed1.json"


def test_replay(project: Path) -> None:
    """The run is the same; drawings go where they are wanted, and replace nothing that slirpy did not write."""
    (project / "mine.svg").write_text("<svg/>")
    done = run(project, "slirpy", "replay", "--ladder", "--pcapng", "run.pcapng", "--html", "run.html", REPORT)
    assert done.returncode == 1, done.stderr
    assert "the same run as before" in done.stderr
    assert "hallo" in done.stdout
    assert done.stdout.count("SYN seq=0") == 2, "the report's last rows, and the ladder"
    assert (project / "run.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert "<html" in (project / "run.html").read_text()
    done = run(project, "slirpy", "replay", "--until", "0.0015", "--plot", "mine.svg", REPORT)
    assert done.returncode == 2
    assert "stopped at 0.0015 s of virtual time" in done.stdout
    assert "mine.svg" in done.stderr
    assert (project / "mine.svg").read_text() == "<svg/>"


@pytest.mark.long
def test_changed_program(project: Path, tmp_path: Path) -> None:
    """A test that passes now says that the run is another one."""
    (tmp_path / "test_it.py").write_text(TEST.replace("hallo", "hello"))
    (tmp_path / "r.json").write_text((project / REPORT).read_text())
    done = run(tmp_path, "slirpy", "replay", "r.json", environment={})  # with all plugins that are installed
    assert done.returncode == 0, done.stdout
    assert "another run than before" in done.stderr


CAMPAIGN = """
import pytest

@pytest.mark.sim(seeds=3)
def test_many(net):
    assert net.seed != 57

@pytest.mark.sim
async def test_one(net):
    assert net.seed != 57

@pytest.mark.sim
@pytest.mark.parametrize("text", ["a", "b"])
def test_each(net, text):
    assert text == "a"
"""


@pytest.mark.parametrize(
    ("options", "reports"),
    [
        (["--sim-seeds", "58"], ["test_many-seed57", "test_one-seed57", "test_each-seed0-b"]),
        pytest.param(
            ["--sim-seeds", "60", "--sim-shard", "2/4"],
            ["test_many-seed57", "test_one-seed57"],
            marks=pytest.mark.long,
        ),
        pytest.param(["--sim-shard", "1/2"], ["test_each-seed0-b"], marks=pytest.mark.long),
        ([], ["test_each-b"]),
    ],
)
def test_campaigns(tmp_path: Path, options: list[str], reports: list[str]) -> None:
    """The report of a campaign is of a seed that the test alone does not have; warnings may be errors there."""
    (tmp_path / "test_it.py").write_text(CAMPAIGN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "--sim-artifacts", "reports", *options)
    for report in reports:
        done = run(tmp_path, "slirpy", "replay", f"reports/test_it.py-{report}.json")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "1 failed in" in done.stdout
        assert "the same run as before" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "nowhere.json: No such file"),
        (["test_it.py"], "no JSON file of a report"),
        (["--host", "nobody", REPORT], "--host nobody: there is no such host"),
        (["--until", "x", REPORT], "--until"),
    ],
)
def test_mistakes(project: Path, arguments: list[str], message: str) -> None:
    """A mistake is one line."""
    done = run(project, "slirpy", "replay", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
