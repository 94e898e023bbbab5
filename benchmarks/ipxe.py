"""Diskless boot: seconds until QEMU's boot ROM (iPXE) runs its script, next to QEMU's own network.

The script comes by TFTP. Each boot starts from a machine that was just switched on, without KVM; the networks take
turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from processes import BenchmarkError
from report import Bar, Report, count, main, ratio, show

OWN, OURS = "QEMU user", "slirpy"
BAR = 1.2
SECONDS = 120.0
MARK = "@@@ the script runs"
REPOSITORY = Path(__file__).resolve().parents[1]


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=3, help="boots with each network; the median counts")


def measure(arguments: argparse.Namespace) -> Report:
    """Boot in turns, and compare.

    Raises:
        BenchmarkError: QEMU or its boot ROM is missing, or the script did not run.
    """
    report = Report(
        "Network boot",
        f"Seconds from QEMU's start to the first line of the boot script, medians of {arguments.rounds} boots.",
        ("network", "seconds", "times QEMU user"),
    )
    with tempfile.TemporaryDirectory(prefix="slirpy-ipxe-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "boot.ipxe").write_text(f"#!ipxe\necho {MARK}\npoweroff\n")
        for _ in range(arguments.rounds):
            for network in (OWN, OURS):
                report.sample(f"{network} s", _boot(network, folder))
    own, ours = report.median(f"{OWN} s"), report.median(f"{OURS} s")
    report.rows += [(OWN, show(own, 3), ""), (OURS, show(ours, 3), ratio(ours, own))]
    if own and ours:
        report.bars.append(
            Bar("seconds to the script, times QEMU's own", ours / own, BAR, at_least=False, unit="x")
        )
    return report


def _boot(network: str, folder: Path) -> float:
    sys.path.append(str(REPOSITORY))  # the tests boot a guest the same way
    from tests.system import qemu

    argv = [qemu.QEMU, "-M", "q35", "-m", "256", "-nographic", "-no-reboot", "-boot", "n"]
    if network == OWN:
        own = f"user,id=n,tftp={folder},bootfile=boot.ipxe"
        argv += ["-netdev", own, "-device", "virtio-net-pci,netdev=n"]
    else:
        slirpy = [sys.executable, "-m", "slirpy", "qemu", "--dns", "127.0.0.1:9"]
        argv = [*slirpy, "--tftp", str(folder), "--bootfile", "boot.ipxe", "--", *argv]
    started = time.monotonic()
    try:
        with qemu.Guest(argv) as guest:
            guest.wait_for(MARK, SECONDS)
            return time.monotonic() - started
    except (OSError, AssertionError) as error:
        raise BenchmarkError(f"{network}: {error}") from None


if __name__ == "__main__":
    main(__doc__, options, measure)
