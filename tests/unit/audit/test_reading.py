"""Reading of logs: filters, gaps, half lines, and tables that escape what guests wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slirpy import Action, ConfigError, FlowRequest, Verdict
from slirpy.audit.reading import Filter, Integrity, read_records
from slirpy.audit.severity import Severity
from slirpy.cli.audit import moment
from tests.unit.audit.trail import GUEST, MAC, Trail

EVIL = "evil\x1b]0;owned\x07\u202e.example.org"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with flows, refusals, a name and a lease."""
    trail = Trail(tmp_path / "audit.jsonl")
    events = trail.trail
    events.dns_query(GUEST, trail.port, MAC, "www.example.org", 1, "forwarded")
    events.dns_answer(GUEST, trail.port, MAC, "www.example.org", 1, 0, (b"\xcb\0\x71\x07",))
    events.dns_query(GUEST, trail.port, MAC, EVIL, 1, "no rule allows it")
    events.flow_opened(1, trail.request("203.0.113.7"), None, b"\xcb\0\x71\x07", 443, False)
    events.flow_ended(1, "CLOSED", 1000, 2000, 1, 2, 1.5)
    for port in range(20):
        trail.refuse("203.0.113.9", port)
    trail.refuse("10.1.2.3", 22)
    trail.refuse("169.254.169.254", 80)
    events.flow_refused(
        FlowRequest(6, b"\x0a\0\x02\x10", 1, "203.0.113.7", 25), Verdict(Action.DROP, rule=EVIL)
    )
    events.lease(MAC, GUEST, "vm\x1b[2J", "bound")
    trail.end()
    return trail.path


def run(*arguments: object, data: bytes = b"") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "slirpy", "audit", *map(str, arguments)],
        input=data.decode(), capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_the_tables(log: Path) -> None:
    result = run(log)
    assert (result.returncode, result.stderr) == (0, "")
    text = result.stdout
    assert "32 records of 1 run, 32 selected" in text
    assert [line.split() for line in text.splitlines() if line.startswith("www.example.org ")] == [
        ["www.example.org", "1", "0", "1", "1000", "B", "2.0", "KiB"]
    ]
    refused = text[text.index("\nRefused") :].splitlines()[4:]
    assert refused[0].split()[2:5] == ["169.254.169.254:80", "metadata", "1"]
    assert refused[1].split()[2:5] == ["10.1.2.3:22", "private", "1"]
    assert any("203.0.113.9, many ports" in line and " 20 " in line for line in refused)
    assert "10.0.2.15 bound to 52:54:00:12:34:56 vm\\x1b[2J" in text
    assert "tcp 203.0.113.7:443 (www.example.org): CLOSED after 1.5 s, in 1000 B, out 2.0 KiB" in text


@pytest.mark.parametrize("options", [(), ("--json",), ("--refused",)])
def test_nothing_of_a_guest_reaches_the_terminal_as_it_is(log: Path, options: tuple[str, ...]) -> None:
    result = run(*options, log)
    assert "example.org" in result.stdout
    assert all(line.isprintable() for line in result.stdout.splitlines())


def test_filters(log: Path) -> None:
    def count(**more: object) -> int:
        with log.open("rb") as file:
            wanted = Filter(**more)  # type: ignore[arg-type] # of this test's own making
            return sum(map(wanted.matches, read_records(file, Integrity())))

    assert count() == 32
    assert count(refused=True) == 24
    assert count(name="WWW.example.org.") == 4
    assert count(name="*.example.org") == 5
    assert count(name="203.0.113.*") == 23
    assert count(guest="10.0.2.16") == count(guest="10.0.2.16", refused=True) == 1
    assert count(guest="52:54:00:12:34:56") == count(guest="10.0.2.15") == 28
    assert count(severity=Severity.PRIVATE) == 2
    assert count(severity=Severity.METADATA) == 1
    assert count(since="1970-01-01T00:00:01") == 0
    assert count(until="1970-01-01T00:00:01") == 32


def test_json_output_is_that_of_the_log(log: Path) -> None:
    chosen = [json.loads(line) for line in run("--json", "--severity", "metadata", log).stdout.splitlines()]
    assert [record["destination"] for record in chosen] == ["169.254.169.254"]


def test_files_are_read_in_their_order_and_half_lines_are_counted(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    (tmp_path / "old").write_bytes(b"".join(lines[:10]))
    new = b"".join(lines[10:])
    result = run("--json", tmp_path / "old", "-", data=new)
    assert result.stdout.encode() == log.read_bytes()
    assert result.returncode == 0
    cut = run(tmp_path / "old", "-", data=new[:-10])
    assert "\n1 lines could not be read\n" in cut.stdout
    assert cut.returncode == 0
    garbage = run("-", data=b'\n[]\n{"v":1}\n{"seq":true}\nhello\n' + b"[" * 3000)
    assert "5 lines could not be read" in garbage.stdout


def test_a_removed_record_is_noticed(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    kept = b"".join(line for line in lines if b"169.254.169.254" not in line)
    result = run("-", data=kept)
    assert "1 records are missing, and the logs do not say why" in result.stdout
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["/nonexistent"], 'FILE "/nonexistent": no such file or directory'),
        (["/"], 'FILE "/": is a directory'),
        (
            ["--since", "yesterday", "-"],
            '--since "yesterday" is not a time: write 2026-01-31T12:00:00Z, or 90s',
        ),
        ([], "Missing argument 'FILE...'; see slirpy audit --help"),
    ],
)
def test_mistakes(arguments: list[str], text: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"slirpy: {text}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-01-31T11:58:30.000000Z"),
        ("2h", "2026-01-31T10:00:00.000000Z"),
        ("7d", "2026-01-24T12:00:00.000000Z"),
        ("999999999d", "0"),
        ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00.000000Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    assert moment("--since", text, datetime(2026, 1, 31, 12, tzinfo=UTC)) == expected


def test_a_moment_that_is_none() -> None:
    with pytest.raises(ConfigError, match="is not a time"):
        moment("--until", "12:00 o'clock", datetime.now(UTC))
