"""Standard streams that are closed or full, limits of the system, and interrupts: one line, and the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.repository import REPOSITORY
from tests.unit.cli.command import slirpy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors and limits of Unix")
SHOW = [["--version"], ["--help"], ["run", "--help"], ["packetdrill", "--help"], ["demo", "--size", "1"]]


# ------------------------------------------------------------------------------------- streams

NEEDS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@NEEDS_FULL
@pytest.mark.parametrize("arguments", [*SHOW, ["listen", "tcp:127.0.0.1:0"]], ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_line(arguments: list[str]) -> None:
    result = slirpy(*arguments, redirect=">/dev/full")
    assert result.stderr == "slirpy: standard output: No space left on device\n"
    assert result.returncode == 1


@pytest.mark.parametrize("arguments", [*SHOW, ["listen", "tcp:127.0.0.1:0"]], ids=" ".join)
def test_a_closed_standard_output_is_one_line(arguments: list[str]) -> None:
    result = slirpy(*arguments, redirect=">&-")
    assert result.stderr == "slirpy: standard output: Bad file descriptor\n"
    assert result.returncode == 1


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--size", "1"]], ids=" ".join)
def test_a_reader_of_standard_output_that_goes_away_is_no_line(arguments: list[str]) -> None:
    """Like ``slirpy --help | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "slirpy", *arguments],
        cwd=REPOSITORY,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (1, b"")


@NEEDS_FULL
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-"])
def test_a_mistake_that_cannot_be_printed_keeps_its_status(redirect: str) -> None:
    result = slirpy("run", "--mtu", "1", "--", "true", redirect=redirect)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "")


@NEEDS_FULL
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-", ">/dev/full", ">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", [[], ["--stats"], ["--stats", "--trace", "-"]])
def test_the_status_of_qemu_outlives_full_and_closed_streams(redirect: str, options: list[str]) -> None:
    result = slirpy("qemu", *options, "--", "sh", "-c", "exit 7", redirect=redirect)
    assert result.returncode == 7
    assert "Traceback" not in result.stderr


def test_descriptors_of_closed_streams_are_not_used_for_anything_else() -> None:
    """Else what is printed goes into a socket or a file."""
    names = "(os.path.realpath(f'/proc/self/fd/{n}') for n in range(3))"
    result = slirpy(
        program=f"from slirpy.cli.streams import StandardOutput\nStandardOutput()\n"
        f"import os\nprint(*{names}, file=open('/dev/fd/9', 'w'))",
        redirect="9>&1 <&- >&- 2>&-",
    )
    if not os.path.exists("/proc/self/fd"):
        pytest.skip("needs /proc")
    assert result.stdout == "/dev/null /dev/null /dev/null\n"


# -------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("arguments", [["listen", "tcp:127.0.0.1:0"], ["qemu", "--", "true"], ["demo"]])
@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_out_of_descriptors_is_one_line(arguments: list[str], room: int) -> None:
    """Like ``ulimit -n``. The modules are imported before, because importing takes descriptors too."""
    limit = f"""
import resource, os, sys, signal
from slirpy.cli import demo, listen, qemu, capture, serving, streams, linux, main
import slirpy.network, slirpy.links.stream
low = os.open("/dev/null", os.O_RDONLY)
os.close(low)
resource.setrlimit(resource.RLIMIT_NOFILE, (low + {room}, low + {room}))
"""
    result = slirpy(*arguments, code=limit)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "Too many open files" in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("MemoryError()", "Cannot allocate memory; see `ulimit -v`"),
        ("OSError(12, 'x')", "Cannot allocate memory; see `ulimit -v`"),
        ("OSError(24, 'x', '/some/file')", "/some/file: Too many open files; allow more with `ulimit -n`"),
        ("ImportError('x.so: failed to map')", "x.so: failed to map; see `ulimit -a`"),
    ],
)
def test_a_resource_that_gives_out_is_one_line(error: str, said: str) -> None:
    code = f"import slirpy.cli.app as a\ndef fail(**_): raise {error}\na.app = fail"
    result = slirpy("--version", code=code)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"slirpy: {said}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of resources")
@pytest.mark.parametrize("error", ["SystemError", "SyntaxError"])
def test_out_of_memory_is_reported_in_one_line(error: str) -> None:
    """Parts of the interpreter, such as the compiler, do not raise MemoryError."""
    code = f"import slirpy.cli.app as a\ndef fail(**_): raise {error}('x')\na.app = fail"
    limited = f"{code}\nimport resource\nresource.getrlimit = lambda which: (2**40, 2**40)"
    result = slirpy("--version", code=limited)
    assert (result.returncode, result.stderr) == (1, "slirpy: Cannot allocate memory; see `ulimit -v`\n")
    assert "Traceback" in slirpy("--version", code=code).stderr


def test_a_bug_still_has_its_traceback() -> None:
    code = "import slirpy.cli.app as a\ndef fail(**_): raise FileNotFoundError(2, 'a bug')\na.app = fail"
    assert "Traceback" in slirpy("--version", code=code).stderr


@pytest.mark.parametrize("missing", ["rich", "click"])
def test_a_package_that_is_missing_is_named_with_its_remedy(missing: str) -> None:
    result = slirpy("demo", code=f"import sys\nsys.modules[{missing!r}] = None")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "slirpy: the command line needs more than the library does: pip install 'slirpy[cli]'\n"
    )


# ----------------------------------------------------------------------------------- interrupts

# Interrupts the process when it imports a module.
INTERRUPT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("slirpy.cli.streams", ["--version"]),
        ("click", ["--version"]),
        ("slirpy.cli.app", ["run", "true"]),
        ("slirpy.config", ["run", "true"]),
        ("slirpy.cli.session", ["run", "true"]),
        ("slirpy.cli.qemuline", ["qemu", "true"]),
        ("slirpy.network", ["listen", "tcp:127.0.0.1:0"]),
        ("slirpy.testing.guest", ["demo"]),
        ("slirpy.testing.packetdrill", ["packetdrill", "x"]),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_in_silence(module: str, arguments: list[str]) -> None:
    result = slirpy(*arguments, code=INTERRUPT.format(module=module))
    assert (result.stdout, result.stderr) == ("", "")
    assert result.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.needs("interpreted", detail="all compiled modules are in one library, which is loaded first")
def test_main_imports_nothing_before_interrupts_are_settled() -> None:
    """Modules that are loaded before are loaded with Python's own handler, which ends in a traceback."""
    result = slirpy(
        program="import sys, os, enum, re, __future__\nbefore = set(sys.modules)\nfrom slirpy.cli.main import main\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    assert result.stdout.split() == [
        "slirpy",
        "slirpy._version",
        "slirpy.cli",
        "slirpy.cli.main",
        "slirpy.lazy",
    ]


def test_an_interrupt_that_was_ignored_stays_ignored() -> None:
    code = (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nos.kill(os.getpid(), signal.SIGINT)"
    )
    assert slirpy("--version", code=code).returncode == 0


def test_the_demo_obeys_an_interrupt_at_once_and_shows_the_cursor_again() -> None:
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "slirpy", "demo", "--size", "100"],
        cwd=REPOSITORY,
        stdout=follower,
        stderr=follower,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(follower)
    written = b""
    try:
        while chunk := os.read(leader, 65536):
            written += chunk
            if b"\x1b[?25l" in written and process.poll() is None:
                process.send_signal(signal.SIGINT)
    except OSError:
        pass  # the other end is closed
    os.close(leader)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")
    assert b"Traceback" not in written
