"""Options of TFTP and of booting."""

from __future__ import annotations

from slirpy.config.boot import boot_files
from slirpy.config.kinds import Location, Made, Switch, Word
from slirpy.config.rows import Group, Option

__all__ = ["ROWS"]

ROWS: tuple[Option, ...] = (
    Option(
        name="tftp",
        group=Group.BOOT,
        kind=Location(what="folder", function="open files", metavar="DIR"),
        default=None,
        help="Let guests read the files in this folder by TFTP from the gateway.",
        more="A function is called with a name and returns the content.",
        flag="--tftp",
        qemu="tftp",
    ),
    Option(
        name="tftp_write",
        group=Group.BOOT,
        kind=Switch(),
        default=False,
        help="Let guests write to the TFTP folder, and replace files.",
        flag="--tftp-write",
    ),
    Option(
        name="tftp_ignore_case",
        group=Group.BOOT,
        kind=Switch(),
        default=False,
        help="Ignore the case of file names, as boot loaders of Windows expect.",
        flag="--tftp-ignore-case",
    ),
    Option(
        name="tftp_single_port",
        group=Group.BOOT,
        kind=Switch(),
        default=False,
        help="Answer from port 69 only, as QEMU does, for guests behind a firewall or NAT.",
        flag="--tftp-single-port",
    ),
    Option(
        name="tftp_server_name",
        group=Group.BOOT,
        kind=Word(metavar="NAME"),
        default=None,
        default_text="the gateway",
        help="TFTP server to announce by DHCP.",
        more="An address is announced as the next server as well.",
        flag="--tftp-server-name",
        qemu="tftp-server-name",
    ),
    Option(
        name="bootfile",
        group=Group.BOOT,
        kind=Made(
            make=boot_files,
            form="[ARCH=]FILE|URL, or a list of those or BootChoice objects",
            function="choose one",
            several=True,
            metavar="[ARCH=]FILE|URL",
        ),
        default=None,
        help="File that guests boot by TFTP, or URL for HTTP boot and iPXE; for one architecture, such as"
        " efi-x64=grubx64.efi, or for all.",
        flag="--bootfile",
        qemu="bootfile",
    ),
)
