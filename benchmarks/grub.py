"""Boot loader without an MSS option: seconds of GRUB for a file by HTTP, next to QEMU's own network.

A UEFI firmware boots GRUB over the network, without KVM; GRUB measures the transfer itself (``testspeed``). Its SYN
has no MSS option. The server is this process, on 127.0.0.1; the networks take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from processes import BenchmarkError
from report import Bar, Report, count, main, ratio, show

OWN, OURS = "QEMU user", "slirpy"
BAR = 1.2
SECONDS = 180.0
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE.fd")
MODULES = "serial terminal efinet net http testspeed halt echo"
REPOSITORY = Path(__file__).resolve().parents[1]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder without logging."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=3, help="boots with each network; the median counts")
    parser.add_argument("--mib", type=count, default=14, help="size of the file in MiB")


def measure(arguments: argparse.Namespace) -> Report:
    """Boot in turns, and compare.

    Raises:
        BenchmarkError: QEMU, the firmware or GRUB is missing, or a boot failed.
    """
    for what, package in (("grub-mkstandalone", "grub-common grub-efi-amd64-bin"), (str(FIRMWARE), "ovmf")):
        if shutil.which(what) is None and not Path(what).exists():
            raise BenchmarkError(f"needs {what}; on Debian: apt-get install {package}")
    sys.path.append(str(REPOSITORY))  # the tests boot guests the same way
    report = Report(
        "HTTP by GRUB",
        f"Seconds for {arguments.mib} MiB, by GRUB's own measurement, medians of {arguments.rounds} boots.",
        ("network", "seconds", "times QEMU user"),
    )
    with tempfile.TemporaryDirectory(prefix="slirpy-grub-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "file").write_bytes(bytes(arguments.mib << 20))
        with _serving(folder) as port:
            _make_loader(folder, port)
            for _ in range(arguments.rounds):
                for network in (OWN, OURS):
                    report.sample(f"{network} s", _boot(network, folder))
    own, ours = report.median(f"{OWN} s"), report.median(f"{OURS} s")
    report.rows += [(OWN, show(own, 3), ""), (OURS, show(ours, 3), ratio(ours, own))]
    if own and ours:
        report.bars.append(Bar("seconds by HTTP, times QEMU's own", ours / own, BAR, at_least=False, unit="x"))
    return report


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[int]:
    """Start an HTTP server on 127.0.0.1; returns its port."""
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _make_loader(folder: Path, port: int) -> None:
    """Build GRUB with a script that fetches the file, in one EFI program."""
    from tests.system import qemu

    (folder / "grub.cfg").write_text(
        "serial --unit=0 --speed=115200\nterminal_output serial\n"
        f"echo '{qemu.BEGIN}'\ntestspeed (http,10.0.2.2:{port})/file\necho '{qemu.END} 0'\nhalt\n"
    )
    argv = ["grub-mkstandalone", "-O", "x86_64-efi", "-o", "grub.efi", "--locales=", "--fonts=", "--themes="]
    argv += [f"--install-modules={MODULES} tftp", f"--modules={MODULES}", "boot/grub/grub.cfg=grub.cfg"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise BenchmarkError(f"grub-mkstandalone: {done.stderr.strip()}")


def _boot(network: str, folder: Path) -> float:
    from tests.system import qemu

    argv = [
        qemu.QEMU,
        "-M",
        "q35",
        "-m",
        "256",
        "-nographic",
        "-no-reboot",
        "-boot",
        "n",
        "-bios",
        str(FIRMWARE),
    ]
    if network == OWN:
        own = f"user,id=n,tftp={folder},bootfile=grub.efi"
        argv += ["-netdev", own, "-device", "virtio-net-pci,netdev=n,romfile="]
    else:
        slirpy = [sys.executable, "-m", "slirpy", "qemu", "--dns", "127.0.0.1:9"]
        argv = [*slirpy, "--tftp", str(folder), "--bootfile", "grub.efi", "--", *argv]
    try:
        with qemu.Guest(argv) as guest:
            return float(guest.finish(SECONDS).after("Elapsed time:").split()[0])
    except (OSError, AssertionError) as error:
        raise BenchmarkError(f"{network}: {error}") from None


if __name__ == "__main__":
    main(__doc__, options, measure)
