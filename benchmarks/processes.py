"""Common parts of the benchmarks: processes with time limits that end with this one, and their data in /proc.

Nothing waits without a deadline. Only processes that were started here are ended, each by its own handle.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = [
    "ENDPOINT",
    "GATEWAY",
    "BenchmarkError",
    "Endpoint",
    "Iperf",
    "Process",
    "congestion",
    "cpu_nanoseconds",
    "cpu_seconds",
    "memory_kib",
    "pin",
    "raise_limits",
]

START_SECONDS = 20.0
GRACE_SECONDS = 3.0
ENDPOINT = (Path(__file__).parent / "endpoint.py").read_text()
"""The text of ``endpoint.py``, for ``python3 -c``."""


class BenchmarkError(Exception):
    """A measurement failed; the text gives the reason."""


def raise_limits() -> None:
    """Raise the limits of this process and its children to the descriptors that a thousand connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, without its dead children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_nanoseconds(pid: int) -> int:
    """Return the processor time of a process by the scheduler's account, without that of threads that have ended."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def pin(pids: Sequence[int], cpus: Collection[int]) -> None:
    """Let all threads of some processes run on these CPUs only; threads that they start later inherit that."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cpus)


def memory_kib(pid: int, name: str) -> int:
    """Return a line of /proc/PID/status in KiB: ``VmRSS`` is the resident memory now, ``VmHWM`` its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise BenchmarkError(f"/proc/{pid}/status has no {name}")


class Process:
    """A child process with a pipe in each direction; its standard error is kept for error messages."""

    def __init__(self, argv: Sequence[str], *, pass_fds: Sequence[int] = ()) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._buffer = b""
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                bufsize=0,
                pass_fds=pass_fds,
            )
        except OSError as error:
            self._complaints.close()
            raise BenchmarkError(f"{argv[0]}: {error.strerror}") from None
        self.argv = argv
        self.pid = self._process.pid

    def complaints(self) -> str:
        """Return its output on standard error."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace").strip()

    def write(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except OSError:
            raise BenchmarkError(f"{self.argv[0]} has ended: {self.complaints()}") from None

    def line(self, timeout: float) -> str:
        """Return the next line of its output.

        Raises:
            BenchmarkError: it ended, or printed nothing for ``timeout`` seconds.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise BenchmarkError(
                        f"{self.argv[0]}: no answer within {timeout:.0f} s; {self.complaints()}"
                    )
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    raise BenchmarkError(f"{self.argv[0]} has ended: {self.complaints()}")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        """End it: by the end of its input, then by a signal, then by force. Harmless when repeated."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        for end in (None, signal.SIGTERM, signal.SIGKILL):
            if end is not None:
                process.send_signal(end)
            try:
                process.wait(GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        if process.stdout is not None:
            process.stdout.close()
        self._complaints.close()

    def stop(self) -> None:
        """End a program that ignores its input."""
        self._process.terminate()
        self.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Endpoint:
    """A running ``endpoint.py``.

    Args:
        process: its process, just started. None starts it on the host.
    """

    def __init__(self, process: Process | None = None) -> None:
        self.process = process or Process([sys.executable, "-c", ENDPOINT])
        try:
            self._answer(START_SECONDS)
        except BenchmarkError:
            self.process.close()
            raise

    def ask(self, do: str, patience: float = START_SECONDS, /, **arguments: Any) -> dict[str, Any]:
        """Execute a command, and return its answer.

        Raises:
            BenchmarkError: it failed, or took longer than ``patience`` seconds.
        """
        self.process.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return self._answer(patience)

    def _answer(self, timeout: float) -> dict[str, Any]:
        answer = json.loads(self.process.line(timeout))
        assert isinstance(answer, dict)
        if "error" in answer:
            raise BenchmarkError(answer["error"])
        return answer

    def close(self) -> None:
        """End it."""
        self.process.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


GATEWAY = {4: "10.0.2.2", 6: "fec0::2"}
"""The address by which a guest knows the host, by IP family."""


_ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


def congestion() -> str:
    """Return the congestion control that kernels use in measurements: cubic, or reno where only root may choose that.

    A system's own may be one that paces (bbr): it then sends small bursts, and the pacing is what is measured.
    """
    try:
        allowed = _ALLOWED.read_text().split()
    except OSError:  # another network namespace than the first has no such file
        allowed = []
    return "cubic" if "cubic" in allowed else "reno"


class Iperf:
    """An iperf3 server on the host's loopback, for one test over an IP family.

    Attributes:
        gateway: its address, as guests know it.
        port: its port.
        tcp: command line of a client for TCP; its options follow.
    """

    def __init__(self, family: int = 4) -> None:
        self.gateway = GATEWAY[family]
        kind, address = (socket.AF_INET, "127.0.0.1") if family == 4 else (socket.AF_INET6, "::1")
        self._address = address
        for _ in range(5):
            with socket.create_server((address, 0), family=kind) as probe:
                self.port = probe.getsockname()[1]
            argv = ["iperf3", "-s", "-1", "-B", address, "-p", str(self.port), "--forceflush"]
            self._process = Process(argv)
            try:
                while "listening" not in self._process.line(START_SECONDS):
                    pass
                self.tcp = ["iperf3", "-c", self.gateway, "-p", str(self.port), "-C", congestion()]
                return
            except BenchmarkError:
                self._process.stop()  # another process took the port in between
        raise BenchmarkError("iperf3: found no free port")

    def client(self, guest: Endpoint, seconds: float, *options: str, local: bool = False) -> tuple[float, int]:
        """Run the client in a guest, or by the loopback if ``guest`` is ``local``; returns the bits per second and
        the bytes that arrived.
        """
        argv = [*self.tcp, "-J", *options]
        if local:
            argv[argv.index(self.gateway)] = self._address
        limit = seconds + START_SECONDS
        answer = guest.ask("run", limit + 5, argv=argv, timeout=limit)
        try:
            result = json.loads(answer["output"])
            total = result["end"]["sum_received"]
            return float(total["bits_per_second"]), int(total["bytes"])
        except (ValueError, KeyError):
            raise BenchmarkError(f"iperf3: {(answer['output'] or answer['errors']).strip()[-300:]}") from None

    def __enter__(self) -> Iperf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()
