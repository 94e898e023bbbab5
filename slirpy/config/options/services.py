"""Options of forwards, in both directions, and of the SMB server."""

from __future__ import annotations

from slirpy.config.guestfwd import GuestForward, parse_guestfwd
from slirpy.config.hostfwd import HostForward, parse_hostfwd
from slirpy.config.kinds import Address, Address6, Location, Object, Several
from slirpy.config.rows import Group, Option

__all__ = ["ROWS"]

ROWS: tuple[Option, ...] = (
    Option(
        name="hostfwd",
        group=Group.SERVICES,
        kind=Several(
            of=Object(
                made=HostForward,
                parse=parse_hostfwd,
                form="[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport or unix:/path-[guestaddr]:guestport",
            ),
            metavar="RULE",
        ),
        default=(),
        help="Forward a host port to {guest}: [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport. An empty hostaddr"
        " is 127.0.0.1; hostport 0 takes a free port and reports it.",
        flag="--hostfwd",
        qemu="hostfwd",
    ),
    Option(
        name="guestfwd",
        group=Group.SERVICES,
        kind=Several(
            of=Object(made=GuestForward, parse=parse_guestfwd, form="[tcp]:server:port-TARGET"), metavar="RULE"
        ),
        default=(),
        help="Make a host service available at an address of the network: [tcp]:server:port-TARGET, where TARGET is"
        " cmd:COMMAND, unix:/path or tcp:host:port; * stands for every server or port.",
        more="Some targets exist in Python only.",
        flag="--guestfwd",
        qemu="guestfwd",
    ),
    Option(
        name="smb",
        group=Group.SERVICES,
        kind=Location(what="folder", metavar="DIR"),
        default=None,
        help="Serve this folder as the SMB share qemu; needs Samba's smbd.",
        flag="--smb",
        qemu="smb",
    ),
    Option(
        name="smbserver",
        group=Group.SERVICES,
        kind=Address(metavar="ADDR"),
        default=None,
        default_text="the fourth address, 10.0.2.4",
        help="Address of the SMB server.",
        flag="--smbserver",
        qemu="smbserver",
    ),
    Option(
        name="smbserver6",
        group=Group.SERVICES,
        kind=Address6(metavar="ADDR"),
        default=None,
        default_text="the fourth address, fec0::4",
        help="IPv6 address of the SMB server.",
        more="None in a network of four addresses.",
        flag="--smbserver6",
    ),
)
