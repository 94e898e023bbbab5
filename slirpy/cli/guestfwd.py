"""Options about what answers inside the network: guestfwd and SMB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

__all__ = ["guestfwd_options", "guestfwd_values"]

_F = TypeVar("_F", bound=Callable[..., object])


def guestfwd_options() -> tuple[Callable[[_F], _F], ...]:
    """``--guestfwd``, ``--smb`` and ``--smbserver``, for :func:`guestfwd_values`."""
    return (
        click.option(
            "--guestfwd",
            multiple=True,
            metavar="RULE",
            help="Let something of the host answer at an address of the network: [tcp]:server:port-TARGET, with"
            " TARGET cmd:COMMAND, unix:/path or tcp:host:port; * is every server or port. May be repeated.",
        ),
        click.option("--smb", metavar="DIR", help="Serve DIR as the share qemu, by Samba's smbd."),
        click.option("--smbserver", metavar="ADDR", help="The SMB server.  [default: 10.0.2.4]"),
    )


def guestfwd_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :class:`slirpy.Config`."""
    return {name: given[name] for name in ("guestfwd", "smb", "smbserver")}
