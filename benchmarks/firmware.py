"""UEFI firmware (OVMF) as a guest: seconds until it starts a program that it has loaded, by each way of network boot.

The program is the kernel of the tests' guests, about 8 MB. Each boot starts from a machine that was just switched on,
without KVM, and has no other way. HTTP over IPv6 includes the half minute in which the firmware tries IPv4, which it
cannot leave out.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import BenchmarkError
from report import Report, count, main, show

SECONDS = 180.0
REPOSITORY = Path(__file__).resolve().parents[1]
WAYS = {
    "PXE over IPv4": "PXEv4",
    "PXE over IPv6": "PXEv6",
    "HTTP over IPv4": "HTTPv4",
    "HTTP over IPv6": "HTTPv6",
}


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=1, help="boots by each way; the median counts")


def measure(arguments: argparse.Namespace) -> Report:
    """Boot by each way.

    Raises:
        BenchmarkError: QEMU, its firmware or the kernel is missing, or the program was not started.
    """
    report = Report(
        "Firmware that boots from the network",
        f"Seconds from QEMU's start to the start of the program, medians of {arguments.rounds} boots.",
        ("way", "seconds"),
    )
    sys.path.append(str(REPOSITORY))  # the tests boot a guest the same way
    from tests.system import qemu

    with tempfile.TemporaryDirectory(prefix="slirpy-firmware-") as name, _served(name) as port:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            shutil.copy(qemu.boot_files()[0], folder / "kernel.efi")
            for _ in range(arguments.rounds):
                for way in WAYS:
                    report.sample(f"{way} s", _boot(WAYS[way], folder, port))
        except (OSError, AssertionError, qemu.MissingError) as error:
            raise BenchmarkError(str(error)) from None
    report.rows += [(way, show(report.median(f"{way} s"), 3)) for way in WAYS]
    return report


@contextmanager
def _served(folder: str) -> Iterator[int]:
    """An HTTP server of the folder on the loopback; yields its port."""
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Be silent."""


def _boot(way: str, folder: Path, port: int) -> float:
    from tests.system.ovmf import ovmf_machine
    from tests.system.qemu import Guest

    version, other = way[-1], "6" if way[-1] == "4" else "4"
    argv = [sys.executable, "-m", "slirpy", "qemu", "--dns", "127.0.0.1:9", f"--no-ipv{other}"]
    if way.startswith("PXE"):
        argv += ["--tftp", str(folder), "--bootfile", "kernel.efi"]
        without = other
    else:
        gateway = "10.0.2.2" if version == "4" else "[fec0::2]"
        argv += ["--bootfile", f"http://{gateway}:{port}/kernel.efi"]
        without = "46"
    argv += ["--", *ovmf_machine(folder, without)]
    started = time.monotonic()
    with Guest(argv) as guest:
        # The only entry left before it is the DVD drive, and for HTTP over IPv6 that over IPv4.
        guest.wait_for(f'starting Boot000{3 if way == "HTTPv6" else 2} "UEFI {way}', SECONDS)
        return time.monotonic() - started


if __name__ == "__main__":
    main(__doc__, options, measure)
