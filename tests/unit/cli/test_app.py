"""The command line without a network: options, mistakes, tables, and what may be imported when."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import detect_legacy_windows

from slirpy import __compiled__
from slirpy._version import __version__
from slirpy.cli.app import COMMANDS, app
from slirpy.cli.tables import MOST_FLOWS, amount, print_report
from slirpy.core.flows import FlowInfo
from slirpy.stats import Stats
from tests.support.repository import REPOSITORY
from tests.unit.cli.command import slirpy

VERSION = f"slirpy {__version__}{' (compiled)' if __compiled__ else ''}\n"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="slirpy")


# ------------------------------------------------------------------------------ the program


def test_version() -> None:
    result = slirpy("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, VERSION, "")


def test_python_m_slirpy_is_the_same() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "slirpy", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout == VERSION


def test_help_names_the_commands_and_has_examples() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    for name, (_, text) in COMMANDS.items():
        assert name in result.output
        assert text in result.output


def test_help_of_run_has_examples_and_every_option() -> None:
    result = invoke("run", "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    options = ["--net", "--host", "--mtu", "--hostfwd", "--dns", "--no-host-loopback", "--capture", "--stats"]
    assert [option for option in options if option not in result.output] == []


def test_an_unknown_command_is_a_usage_error() -> None:
    result = invoke("rum")
    assert result.exit_code == 2
    assert "No such command 'rum'" in result.output


def test_version_and_help_import_nothing_large() -> None:
    """Scripts and completion run these, so rich, pyroute2 and subcommands are not imported."""
    for option in ("--version", "--help"):
        result = slirpy(
            option,
            code="import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))",
        )
        modules = set(result.stderr.split())
        assert "click" in modules
        assert not modules & {"rich", "pyroute2", "slirpy.cli.run", "slirpy.cli.demo"}


def test_without_click_one_line_names_the_extra_to_install() -> None:
    result = slirpy("--version", code="import sys\nsys.modules['click'] = None")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "pip install 'slirpy[cli]'" in result.stderr


def test_run_elsewhere_than_on_linux_says_so() -> None:
    hide = (
        "import sys\nsys.platform = 'darwin'\nfor m in ('fcntl', 'termios', 'pyroute2'): sys.modules[m] = None"
    )
    result = slirpy("run", "true", code=hide)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "slirpy: run needs the namespaces of Linux; on this system try `slirpy demo`, or use slirpy from Python\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--net", "10.0.2.0/33"], "is not an IPv4 network"),
        (["--net", "10.0.2.0/31"], "the prefix must be from /4 to /30"),
        (["--host", "10.0.3.2"], "is not an address of 10.0.2.0/24"),
        (["--mtu", "67"], "is not a number from 68 to 65521"),
        (["--hostfwd", "tcp:80"], "malformed"),
        (["--hostfwd", "sctp::80-:80"], "is none of tcp, udp and unix"),
        (["--hostfwd", "tcp::80-:65536"], "is not a number from 1 to 65535"),
        (["--dns", "nowhere"], "is not ADDR[:PORT]"),
    ],
)
def test_a_mistake_is_reported_in_one_line(options: list[str], said: str) -> None:
    result = slirpy("run", *options, "--", "true")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("slirpy: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert options[1] in result.stderr


def test_an_option_of_click_s_own_kind_exits_with_2_too() -> None:
    assert invoke("run", "--mtu", "many", "true").exit_code == 2
    assert invoke("run", "--unknown", "true").exit_code == 2


# ---------------------------------------------------------------------------------- tables


def flow(number: int, *, inbound: bool = False, udp: bool = False) -> FlowInfo:
    return FlowInfo(
        protocol="udp" if udp else "tcp",
        state="OPEN" if udp else "ESTABLISHED",
        guest=(IPv4Address("10.0.2.15"), 40000 + number),
        host=None if udp else (IPv4Address("192.168.100.200"), 50000 + number),
        inbound=inbound,
        bytes_in=number,
        bytes_out=1 << 30,
        packets_in=3,
        packets_out=4,
        queued_in=0,
        queued_out=0,
        age=1.5,
        idle=0.0,
    )


def report(
    flows: list[FlowInfo], stats: Stats, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        # rich leaves the last column of an old Windows console alone.
        monkeypatch.setenv("COLUMNS", str(width + detect_legacy_windows()))
    file = io.StringIO()
    print_report(flows, stats, file)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 114, 200, None])
def test_tables_fit_and_lose_nothing(width: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    flows = [flow(1), flow(2, inbound=True), flow(3, udp=True)]
    lines = report(flows, Stats(frames_in=12345678, drop_ethernet_short=1), width, monkeypatch)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= (width or 200)
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in text
    for part in ("tcp", "udp", "ESTABLISHED", "10.0.2.15:40001", "1.0 GiB", "any", "->", "<-", "12345678"):
        assert part in text
    assert "drop_ethernet_short" in text
    assert ("packets in" in text) == (width is None or width >= 114)
    if width is None or width >= 80:
        row = next(line for line in lines if "40002" in line)
        assert row.split()[:4] == ["tcp", "ESTABLISHED", "10.0.2.15:40002", "<-"]


def test_many_flows_are_cut_to_those_with_most_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(report([flow(n) for n in range(MOST_FLOWS + 5)], Stats(), None, monkeypatch))
    assert "and 5 more" in text
    assert f":{40000 + MOST_FLOWS + 4}" in text
    assert ":40004" not in text
    assert "No counters have counted." in text


def test_an_empty_report(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report([], Stats(), 80, monkeypatch) == [
        "Flows",
        "No flows.",
        "",
        "Counters",
        "No counters have counted.",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_500, "1.0 MiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 42, "4.0 TiB"),
    ],
)
def test_amounts(count: int, text: str) -> None:
    assert amount(count) == text


# ------------------------------------------------------------------------------- system calls


@pytest.mark.skipif(sys.platform != "linux", reason="signalfd is Linux's")
def test_a_signal_descriptor_gives_the_signals_that_are_pending() -> None:
    from slirpy.cli import linux

    numbers = [signal.SIGUSR1, signal.SIGRTMAX]
    old = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    descriptor = linux.signal_descriptor(numbers)
    try:
        assert linux.read_signals(descriptor) == []
        for number in numbers:
            signal.pthread_kill(threading.get_ident(), number)  # other threads have not blocked them
        assert linux.read_signals(descriptor) == numbers
        assert linux.read_signals(descriptor) == []
    finally:
        os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@pytest.mark.skipif(sys.platform != "linux", reason="system calls of Linux")
def test_a_refused_system_call_raises_the_system_s_error(tmp_path: Path) -> None:
    from slirpy.cli import linux

    with pytest.raises(FileNotFoundError, match="No such file"):
        linux.mount("tmpfs", str(tmp_path / "none"), "tmpfs")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_of_80_columns(command: str) -> None:
    output = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=80).output
    assert [line for line in output.splitlines() if len(line) > 80] == []
