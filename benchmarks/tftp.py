"""TFTP next to QEMU's built-in server: to a Linux guest in QEMU (without KVM), and to a namespace over a TAP.

Both servers serve the same file. In the QEMU guest the clients are curl, which requests one block at a time, and
atftp, which requests windows of 16; QEMU's server does not support windows and ignores the request. In the namespace
the client is ``endpoint.py``; QEMU carries the frames of the TAP without a machine. Needs root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from processes import ENDPOINT, BenchmarkError, Endpoint, Process
from report import Bar, Report, count, main, ratio, show

REPOSITORY = Path(__file__).resolve().parents[1]
OWN, OURS = "QEMU", "slirpy"
MIB = 1_000_000
SECONDS = 30.0
TAP_CASES = ((1428, 1), (1428, 16), (65464, 1), (65464, 16))
"""blksize and windowsize. QEMU's server supports neither windows nor blocks of more than 1428 bytes."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--mb", type=count, default=10, help="size of the file, in million bytes")
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each; the median counts")
    parser.add_argument("--no-vm", action="store_true", help="leave out the guest in QEMU")


def measure(arguments: argparse.Namespace) -> Report:
    """Measure both in turn.

    Raises:
        BenchmarkError: a tool is missing, or a transfer failed.
    """
    report = Report(
        "TFTP",
        f"MB/s of a file of {arguments.mb} million bytes, medians of {arguments.rounds} rounds in turns.",
        ["guest", "client", "blksize", "windowsize", "server", "MB/s", "times QEMU at 1428"],
    )
    for tool in (
        "qemu-system-x86_64",
        "unshare",
        "nsenter",
        "ip",
        *(() if arguments.no_vm else ("curl", "atftp")),
    ):
        if shutil.which(tool) is None:
            raise BenchmarkError(f"needs {tool}")
    if os.geteuid():
        raise BenchmarkError("needs root, for a namespace with a TAP interface of QEMU")
    with tempfile.TemporaryDirectory(prefix="slirpy-tftp-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "f").write_bytes(os.urandom(arguments.mb * MIB))
        for _ in range(arguments.rounds):
            for server in (OWN, OURS):
                if not arguments.no_vm:
                    _vm(report, server, folder, arguments.mb)
                _tap(report, server, folder)
    _tell(report)
    return report


# ----------------------------------------------------------------------------------- a guest in QEMU


def _vm(report: Report, server: str, folder: Path, mb: int) -> None:
    sys.path.append(str(REPOSITORY))  # the tests boot the same guest
    from tests.system import qemu

    curl = "curl -s --tftp-blksize 1428 -o /f -w 'curl %{speed_download}\\n' tftp://10.0.2.2/f"
    atftp = "atftp --option 'blksize 1428' --option 'windowsize 16' -g -r f -l /f 10.0.2.2 >/dev/null"
    script = (
        f"{qemu.DHCP}\necho 'tftp 69/udp' >/etc/services\n{curl}\nrm /f\n"
        f"read a b </proc/uptime; {atftp}; read c d </proc/uptime\n"
        'echo "atftp $a $c $(wc -c </f)"\n'
    )
    try:
        argv = [qemu.QEMU, *qemu.machine(script, "curl", "atftp")]
    except qemu.MissingError as error:
        raise BenchmarkError(str(error)) from None
    if server == OWN:
        argv += ["-netdev", f"user,id=n,tftp={folder}", "-device", "virtio-net-pci,netdev=n"]
    else:
        slirpy = [sys.executable, "-m", "slirpy", "qemu", "--mtu", "1500", "--dns", "127.0.0.1:9"]
        argv = [*slirpy, "--tftp", str(folder), "--", *argv]
    with qemu.Guest(argv) as guest:
        boot = guest.finish(60 + 2 * SECONDS)
    report.sample(f"vm {server} curl", float(boot.after("curl ")) / MIB)
    start, end, size = boot.after("atftp ").split()
    if int(size) != mb * MIB:
        raise BenchmarkError(f"atftp in the guest: {size} bytes of {mb * MIB}")
    report.sample(f"vm {server} atftp", mb / max(float(end) - float(start), 0.01))


# ------------------------------------------------------------------------------- a namespace, by a TAP


def _tap(report: Report, server: str, folder: Path) -> None:
    with ExitStack() as stack:
        if server == OURS:
            slirpy = [sys.executable, "-m", "slirpy", "run", "--mtu", "65520", "--dns", "127.0.0.1:9"]
            process = Process([*slirpy, "--tftp", str(folder), "--", sys.executable, "-c", ENDPOINT])
            guest = stack.enter_context(Endpoint(process))
        else:
            guest = stack.enter_context(Endpoint(Process(["unshare", "-n", sys.executable, "-c", ENDPOINT])))
            _qemu_on_tap(stack, guest, folder)
        for block, window in TAP_CASES if server == OURS else TAP_CASES[:1]:
            answer = guest.ask("tftp", SECONDS, address="10.0.2.2", name="f", blksize=block, windowsize=window)
            report.sample(f"tap {server} {block} {window}", answer["bytes"] / answer["seconds"] / MIB)


def _qemu_on_tap(stack: ExitStack, guest: Endpoint, folder: Path) -> None:
    """Run QEMU's network in the guest's namespace; not -S, or nothing would be carried."""
    argv = ["nsenter", "-t", str(guest.process.pid), "-n", "qemu-system-x86_64", "-machine", "none"]
    argv += ["-display", "none", "-monitor", "none", "-serial", "none", "-nodefaults"]
    argv += ["-netdev", f"user,id=u,tftp={folder}", "-netdev", "hubport,id=a,hubid=0,netdev=u"]
    argv += [
        "-netdev",
        "tap,id=t,ifname=tap0,script=no,downscript=no",
        "-netdev",
        "hubport,id=b,hubid=0,netdev=t",
    ]
    process = Process(argv)
    stack.callback(process.stop)
    deadline = time.monotonic() + 10
    while guest.ask("run", argv=["ip", "link", "show", "tap0"], timeout=5)["status"]:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"QEMU has made no TAP interface: {process.complaints()}")
        time.sleep(0.05)
    for line in ("ip addr add 10.0.2.15/24 dev tap0", "ip link set tap0 up"):
        guest.ask("run", argv=line.split(), timeout=5)


# --------------------------------------------------------------------------------------------- report


def _tell(report: Report) -> None:
    for client, window in (("curl", 1), ("atftp", 16)):
        own = report.median(f"vm {OWN} {client}")
        ours = report.median(f"vm {OURS} {client}")
        if own is None or ours is None:
            continue
        for server, rate in ((OWN, own), (OURS, ours)):
            asked = "-" if window == 1 else f"{window} (not granted)" if server == OWN else str(window)
            report.rows.append(
                ("Linux in QEMU", client, "1428", asked, server, show(rate, 1), ratio(rate, own))
            )
        if window > 1:
            what = "to a guest in QEMU at blksize 1428, windowsize 16 asked for, times QEMU's own"
            report.bars.append(Bar(what, ours / own, 1.0, at_least=True, unit="x"))
    own, ours = report.median(f"tap {OWN} 1428 1"), None
    report.rows.append(("namespace", "endpoint", "1428", "-", OWN, show(own, 1), ratio(own, own)))
    for block, window in TAP_CASES:
        ours = report.median(f"tap {OURS} {block} {window}")
        asked = str(window) if window > 1 else "-"
        report.rows.append(("namespace", "endpoint", str(block), asked, OURS, show(ours, 1), ratio(ours, own)))
    if ours and own:  # the last case
        what = "over a TAP at blksize 65464 and windowsize 16, times QEMU's at 1428"
        report.bars.append(Bar(what, ours / own, 5.0, at_least=True, unit="x"))


if __name__ == "__main__":
    main(__doc__, options, measure)
