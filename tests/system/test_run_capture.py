"""``slirpy run``: a capture read live through a pipe, files in turn, and the trace."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
PING = "ping -n -c 3 -i 0.05 -W 5 10.0.2.2"


def shell(slirpy: User, line: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command line in which "$@" stands for ``slirpy``."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *slirpy.argv()],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_standard_output_is_the_capture_and_the_commands_goes_to_standard_error(
    slirpy: User, need: Need
) -> None:
    need("tshark", "ping")
    result = shell(slirpy, f'"$@" run --capture -,format=pcapng -- {PING} | tshark -r - -T fields -e icmp.type')
    assert [line for line in result.stdout.splitlines() if line] == ["8", "0"] * 3, result.stderr
    assert "3 received" in result.stderr


def test_wireshark_reads_a_capture_of_ipv6(slirpy: User, need: Need, folder: Path) -> None:
    """Neighbor Discovery, echo and TCP, in the capture and in the trace beside it."""
    need("tshark", "ping", "curl")
    client = "ping -n -c 1 -W 5 fec0::2; curl -s -m 5 http://[fec0::3]/"  # the latter is refused
    options = "--no-ipv4 --capture six.pcapng --trace six.txt"
    result = shell(slirpy, f'"$@" run {options} -- sh -c "{client}"')
    assert "1 received" in result.stdout, result
    read = "tshark -r six.pcapng -T fields -e _ws.malformed -e icmpv6.type -e tcp.flags.reset"
    fields = [line.split("\t") for line in shell(slirpy, read).stdout.splitlines()]
    assert {malformed for malformed, _, _ in fields} == {""}
    kinds = [kind for _, kind, _ in fields]
    assert [kind for kind in kinds if kind in ("128", "129")] == ["128", "129"]
    assert kinds.count("135") == kinds.count("136") >= 2
    assert "1" in [reset for _, _, reset in fields]
    trace = (folder / "six.txt").read_text()
    assert len(trace.splitlines()) == len(fields)
    assert re.search(r"in  IP6 fec0::15 > fec0::2: ICMP6 echo request", trace)
    assert re.search(r"out IP6 fec0::3\.80 > fec0::15\.\d+: Flags \[R", trace)


def test_a_reader_that_goes_away_does_not_end_the_network(slirpy: User, need: Need) -> None:
    need("ping")
    result = shell(slirpy, f'"$@" run --capture - -- {PING} | head -c 24 | wc -c')
    assert result.stdout.strip() == "24"
    assert "3 received" in result.stderr
    assert '--capture "-": ended early: Broken pipe' in result.stderr


def test_a_standard_output_that_is_closed_is_no_place_for_a_capture(slirpy: User) -> None:
    result = shell(slirpy, '"$@" run --capture - -- true >&-; echo $? >&2')
    assert result.stderr == (
        "slirpy: --capture -: standard output is closed; redirect it to a file, or pipe it into a program\n2\n"
    )


def test_a_named_pipe_may_have_no_reader(slirpy: User, need: Need, folder: Path) -> None:
    need("ping")
    os.mkfifo(folder / "live")
    os.chmod(folder / "live", 0o666)
    result = slirpy.run("run", "--capture", "live", "--", *PING.split())
    assert "3 received" in result.stdout, result.stderr
    assert re.search(r'capture "live": \d+ frames are not in it', result.stderr)


def test_files_in_turn_and_the_trace(slirpy: User, need: Need, folder: Path) -> None:
    need("ping")
    result = slirpy.run("run", "--capture", "x.pcap,max=300,files=3", "--trace", "-", "--", *PING.split())
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in folder.glob("x*.pcap")) == ["x.1.pcap", "x.2.pcap", "x.pcap"]
    assert all(path.stat().st_size <= 300 for path in folder.glob("x*.pcap"))
    assert re.search(
        r"^[\d:.]{15} in  ARP, Request who-has 10\.0\.2\.2 tell 10\.0\.2\.15$", result.stderr, re.M
    )
    assert len(re.findall(r" out IP 10\.0\.2\.2 > 10\.0\.2\.15: ICMP echo reply, ", result.stderr)) == 3


@pytest.mark.parametrize("option", ["--capture", "--trace"])
def test_a_named_pipe_without_a_reader_does_not_block(slirpy: User, folder: Path, option: str) -> None:
    os.mkfifo(folder / "live")
    os.chmod(folder / "live", 0o666)
    result = slirpy.run("run", option, "live", "--", "sh", "-c", "exit 7")
    assert (result.returncode, result.stdout) == (7, "")
    assert "Traceback" not in result.stderr


def test_a_full_disk_behind_a_trace_is_one_line(slirpy: User, need: Need) -> None:
    need("ping")
    result = slirpy.run("run", "--trace", "/dev/full", "--", "sh", "-c", "ping -n -c1 -W5 10.0.2.2; exit 7")
    assert result.returncode == 7
    assert "1 received" in result.stdout
    assert result.stderr == 'slirpy: --trace "/dev/full": ended early: No space left on device\n'


@pytest.mark.parametrize("option", ["--capture", "--trace"])
def test_a_file_of_another_program_is_left_alone(slirpy: User, folder: Path, option: str) -> None:
    (folder / "notes").write_text("hello")
    os.chmod(folder / "notes", 0o666)
    result = slirpy.run("run", option, "notes", "--", "echo", "started")
    assert (result.returncode, result.stdout) == (2, "")
    assert "it has content that slirpy did not write" in result.stderr
    assert (folder / "notes").read_text() == "hello"


@pytest.mark.long
def test_a_trace_in_a_pipe_without_a_reader_does_not_block_the_network(slirpy: User, need: Need) -> None:
    """The pipe holds 64 KiB, which is less than the lines of all these frames."""
    need("ping")
    reader, writer = os.pipe()
    try:
        with subprocess.Popen(
            slirpy.argv("run", "--trace", "-", "--", "ping", "-q", "-n", "-c", "1000", "-i", "0.002", "10.0.2.2"),
            cwd=slirpy.folder, env=slirpy.environment(), stdout=subprocess.PIPE, stderr=writer, text=True,
        ) as process:  # fmt: skip
            assert "1000 received" in process.communicate(timeout=30)[0]
    finally:
        os.close(reader)
        os.close(writer)


def test_a_trace_file_that_cannot_be_written_is_one_line(slirpy: User) -> None:
    result = slirpy.run("run", "--trace", "/no/such/folder/x", "--", "echo", "started")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r'slirpy: --trace "/no/such/folder/x": cannot be written: .*\n', result.stderr)
