"""Machines without a disk that boot where IPv4 is off: a boot ROM (iPXE), and UEFI firmware (OVMF)."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.machine import missing
from tests.system.ovmf import ovmf_machine
from tests.system.qemu import QEMU, Guest, MissingError, boot_files
from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
]
Need = Callable[..., None]

MARK = "@@@ begun from the network"
SLIRPY = [sys.executable, "-m", "slirpy", "qemu", "--no-ipv4", "--stats", "--dns", "127.0.0.1:9"]


@pytest.mark.client("iPXE in QEMU", "IPv6 only", "boot file", service="DHCPv6")
@pytest.mark.client("iPXE in QEMU", "PXE boot over IPv6", service="TFTP")
def test_ipxe_boots(slirpy: User, folder: Path, need: Need) -> None:
    """The ROM configures itself, asks DHCPv6 for a boot file, and runs the script that TFTP sends."""
    need(QEMU)
    root = folder / "srv"
    root.mkdir()
    (root / "boot.ipxe").write_text(f"#!ipxe\necho {MARK}\nsleep 1\nreboot\n")
    machine = [QEMU, "-M", "q35", "-m", "256", "-nographic", "-no-reboot", "-boot", "n"]
    argv = [*SLIRPY, "--tftp", str(root), "--bootfile", "boot.ipxe", "--", *machine]
    with Guest(argv, environment=slirpy.environment()) as guest:
        guest.wait_for("Filename: tftp://[fec0::2]/boot.ipxe", 60)
        guest.wait_for(MARK, 30)
        guest.wait_for("tftp_done", 30)
    for name in ("dhcp6_inform", "tftp_done"):
        assert re.search(rf"^{name} +1 ", guest.errors, re.MULTILINE), guest.errors


@pytest.mark.client("OVMF in QEMU", "lease", "boot file", service="DHCPv6")
@pytest.mark.client("OVMF in QEMU", "PXE boot over IPv6", service="TFTP")
def test_uefi_firmware_boots(slirpy: User, folder: Path, need: Need) -> None:
    """The firmware gets an address and a boot file, loads a Linux kernel by TFTP, and starts it."""
    need(QEMU)
    root = folder / "srv"
    root.mkdir()
    try:
        kernel = boot_files()[0]
        machine = ovmf_machine(folder, without="4")
    except MissingError as error:
        missing(str(error))
    shutil.copy(kernel, root / "kernel.efi")
    argv = [*SLIRPY, "--tftp", str(root), "--bootfile", "kernel.efi", "--", *machine]
    with Guest(argv, environment=slirpy.environment()) as guest:
        guest.wait_for(">>Start PXE over IPv6", 60)
        guest.wait_for("NBP file downloaded successfully", 60)
        guest.wait_for('starting Boot0002 "UEFI PXEv6', 30)
