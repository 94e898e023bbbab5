"""``--log-level`` and ``--log-format``: which messages are written to standard error, and how."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slirpy import logs as library
from slirpy.cli import logs, streams
from tests.support.repository import environment
from tests.unit.cli.command import slirpy


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    yield
    vars(logs.style).clear()


def test_a_message_is_an_object() -> None:
    logs.style.format = "json"
    found = json.loads(logs.style.line("warning", 'a "b"\n', prefix="slirpy: ", tables={"x": 1}))
    when = datetime.fromisoformat(found.pop("time"))
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60
    assert found == {"level": "warning", "message": 'a "b"\n', "tables": {"x": 1}}
    logs.style.format = "text"
    assert logs.style.line("warning", "a", prefix="slirpy: ", tables={}) == "slirpy: a"


@pytest.mark.parametrize("level", logs.LEVELS)
def test_levels(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.style.level = level
    for each in logs.LEVELS:
        assert streams.tell(each, level=each)
    written = capsys.readouterr().err.splitlines()
    assert written == [f"slirpy: {each}" for each in logs.LEVELS[logs.LEVELS.index(level) :]]


def test_long_lines_are_written_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert streams.write_line("x" * 100_000)
    assert capsys.readouterr().err == "x" * 100_000 + "\n"


def test_the_library_s_messages_have_the_same_form(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Commands that other tests called in this process have left their own.
    monkeypatch.setattr(library, "prepare", None)
    for logger in (logging.getLogger("slirpy"), logging.root):
        monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logging.getLogger("slirpy"), "propagate", True)
    streams.relay_library()
    streams.relay_library()
    logs.style.format = "json"
    library.warn("slirpy: %s", "a")
    library.logger("tftp").error("b")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["level"], each["message"]) for each in found] == [("warning", "a"), ("error", "b")]


def test_mistakes_are_objects_too() -> None:
    result = slirpy("run", "--log-format", "json", "--mtu", "5", "x")
    assert result.returncode == 2
    found = json.loads(result.stderr)
    assert found["level"] == "error"
    assert found["message"].startswith("--mtu 5 ")
    assert slirpy("run", "--log-format", "xml", "x").stderr.startswith(
        "slirpy: Invalid value for '--log-format'"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_service_that_logs_json_writes_nothing_else(tmp_path: Path) -> None:
    words = ["--log-format", "json", "--stats", "--deny", "any:22", "--drop", "any:22"]
    words += ["--hostfwd", "tcp:127.0.0.1:0-:9"]
    with subprocess.Popen(
        [sys.executable, "-m", "slirpy", "listen", *words, f"unix:{tmp_path}/s"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("-netdev")
        seen = [json.loads(process.stderr.readline()) for _ in range(2)]
        # A rule that never matches, and the port that was chosen.
        assert [each["level"] for each in seen] == ["warning", "info"]
        assert seen[1]["message"].startswith("hostfwd tcp 127.0.0.1:")
        process.send_signal(signal.SIGUSR1)
        dumped = json.loads(process.stderr.readline())
        assert dumped["message"] == "tables"
        assert "leases" in dumped["tables"]
        process.terminate()
        rest = [json.loads(line) for line in process.communicate(timeout=20)[1].splitlines()]
        assert [each["message"] for each in rest] == ["statistics"]
