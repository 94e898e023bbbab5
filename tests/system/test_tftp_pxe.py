"""A machine without a disk: its boot ROM (iPXE) gets address, boot file, kernel and file system from slirpy."""

from __future__ import annotations

import base64
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.machine import missing
from tests.system.qemu import QEMU, Guest, MissingError, boot_files
from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
]
Need = Callable[..., None]

MARK = "@@@ begun from the network"
SCRIPT = f"echo '{MARK}'; cat /proc/cmdline"
LINE = "console=ttyS0 quiet panic=-1"


@pytest.fixture
def root(folder: Path) -> Path:
    """A folder with a kernel, an initial file system and a script of iPXE that boots them."""
    try:
        kernel, files = boot_files()
    except MissingError as error:
        missing(str(error))
    root = folder / "srv"
    (root / "linux").mkdir(parents=True)
    shutil.copy(kernel, root / "linux" / "vmlinuz")
    shutil.copy(files, root / "linux" / "initrd.gz")
    word = base64.b64encode(SCRIPT.encode()).decode()
    six = "ifconf -c ipv6 net0 || shell\n"  # SLAAC and stateless DHCPv6, which has a boot file too
    (root / "boot.ipxe").write_text(
        f"#!ipxe\nkernel linux/vmlinuz initrd=initrd.gz {LINE} script={word}\n{six}"
        "echo asked for ${net0.dhcpv6/filename}\ninitrd tftp://[fec0::2]/linux/initrd.gz\nboot\n"
    )
    return root


@pytest.mark.client("iPXE in QEMU", "PXE boot", "read", "tsize", "blksize chosen by a ROM")
@pytest.mark.client("iPXE in QEMU", "boot file", service="DHCPv6")
def test_a_machine_boots_over_the_network(slirpy: User, root: Path, need: Need) -> None:
    """Script and kernel over IPv4, initial file system over IPv6; the console shows what was booted."""
    need(QEMU)
    machine = ["-M", "q35", "-m", "512", "-nographic", "-no-reboot", "-boot", "n"]
    options = ["--tftp", str(root), "--bootfile", "boot.ipxe", "--stats", "--dns", "127.0.0.1:9"]
    argv = [sys.executable, "-m", "slirpy", "qemu", *options, "--", QEMU, *machine]
    with Guest(argv, environment=slirpy.environment()) as guest:
        guest.wait_for("asked for tftp://[fec0::2]/boot.ipxe", 40)
        guest.wait_for(MARK, 80)
        boot = guest.finish(20)
    assert boot.status == 0
    assert LINE in boot.output
    for counter in ("tftp_reads", "tftp_done"):
        assert re.search(rf"^{counter} +3 ", guest.errors, re.MULTILINE), guest.errors
