"""A machine with UEFI firmware (OVMF, from Debian's package ``ovmf``) that boots from the network."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.system.qemu import QEMU, MissingError

__all__ = ["ovmf_machine"]

FIRMWARE = Path("/usr/share/OVMF")


def ovmf_machine(folder: Path, without: str = "") -> list[str]:
    """QEMU's command line, with the card at ``slirpy0``. The firmware's variables are kept in ``folder``.

    Args:
        without: versions of IP for which the firmware does not try PXE, such as ``"4"`` or ``"46"``.

    Raises:
        MissingError: the firmware is not installed.
    """
    if not (FIRMWARE / "OVMF_CODE.fd").exists():
        raise MissingError("needs UEFI firmware for QEMU; on Debian: apt-get install ovmf")
    argv = [QEMU, "-M", "q35", "-m", "512", "-nographic", "-no-reboot", "-boot", "n"]
    variables = folder / "variables"
    shutil.copy(FIRMWARE / "OVMF_VARS.fd", variables)
    for file, more in ((FIRMWARE / "OVMF_CODE.fd", ",readonly=on"), (variables, "")):
        argv += ["-drive", f"if=pflash,format=raw,file={file}{more}"]
    for family in without:
        argv += ["-fw_cfg", f"name=opt/org.tianocore/IPv{family}PXESupport,string=n"]
    return [*argv, "-device", "virtio-net-pci,netdev=slirpy0,romfile="]
