"""``slirpy unit``: units of systemd for ``slirpy listen``."""

from __future__ import annotations

import os
import shutil
import sys

import click

from slirpy.cli.flags import Command

__all__ = ["KINDS", "unit", "unit_text"]

KINDS = ("service", "socket")

_SERVICE = """\
# A network for virtual machines. Its configuration is in %E/slirpy.
[Unit]
Description=slirpy network %i
Documentation=man:slirpy-listen(1)
Requires=slirpy@%i.socket
After=slirpy@%i.socket network.target

[Service]
Type=notify
ExecStart={program} listen --config %E/slirpy/%i.toml
ExecReload=kill -HUP $MAINPID
Restart=on-failure
WatchdogSec=30
LimitNOFILE=65536
"""
_SYSTEM = """\
# slirpy needs no privileges. For ports below 1024 add: AmbientCapabilities=CAP_NET_BIND_SERVICE
DynamicUser=yes
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
# For lease-file and the like: %S/slirpy/NAME, which is /var/lib/slirpy/NAME.
StateDirectory=slirpy/%i
"""
_SOCKET = """\
# Where guests connect: -netdev stream,addr.type=unix,addr.path=%t/slirpy/NAME.sock
[Unit]
Description=Socket of slirpy network %i
Documentation=man:slirpy-listen(1)

[Socket]
ListenStream=%t/slirpy/%i.sock
# Whoever can connect is on the network. To let a group in: SocketMode=0660 and SocketGroup=kvm.
SocketMode=0600

[Install]
WantedBy=sockets.target
"""

EXAMPLES = """
\b
Examples:
  slirpy unit service | sudo tee /etc/systemd/system/slirpy@.service
  slirpy unit socket | sudo tee /etc/systemd/system/slirpy@.socket
  sudo systemctl enable --now slirpy@NAME.socket  # /etc/slirpy/NAME.toml
"""


def unit_text(kind: str, program: str, *, user: bool = False) -> str:
    """The text of a unit.

    Args:
        kind: one of :data:`KINDS`.
        program: the path of slirpy, or its name.
        user: whether it is for a user's own service manager.
    """
    if kind == "socket":
        return _SOCKET
    return _SERVICE.format(program=_quoted(program)) + ("" if user else _SYSTEM)


def _quoted(path: str) -> str:
    """A path as ``ExecStart=`` has it (systemd.service(5), "Command lines")."""
    plain = path.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{plain}"' if plain != path or any(letter.isspace() or letter in "';" for letter in path) else path


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.option("--user", is_flag=True, help="For systemctl --user, instead of the system.")
@click.argument("kind", type=click.Choice(KINDS), metavar="service|socket")
def unit(kind: str, user: bool) -> None:
    """Print a unit for systemd: a service or its socket, with the path of this program.

    They are templates: slirpy@NAME reads the file of that name in /etc/slirpy or ~/.config/slirpy. The
    guide "Run as a service" in the documentation says more.
    """
    print(unit_text(kind, _program(), user=user), end="")


def _program() -> str:
    """The absolute path of this program."""
    found = shutil.which(sys.argv[0]) or shutil.which("slirpy")
    beside = os.path.join(os.path.dirname(sys.executable), "slirpy")
    return os.path.abspath(found if found and os.path.basename(found).startswith("slirpy") else beside)
