"""Options that say what guests are told by DHCP, and who gets which address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

__all__ = ["dhcp_options", "dhcp_values"]

_NAMES = {
    "dhcpstart": "dhcpstart",
    "lease": "static_leases",
    "lease_time": "lease_time",
    "lease_file": "lease_file",
    "hostname": "hostname",
    "domain": "domainname",
    "dns_search": "dnssearch",
    "route": "routes",
    "bootfile": "bootfile",
    "dhcp_option": "dhcp_options",
    "tftp_server_name": "tftp_server_name",
}
"""From the name of an option to that of an argument of :class:`slirpy.Config`."""


def dhcp_options() -> Sequence[Callable[[Any], Any]]:
    """The options, for :func:`dhcp_values`."""
    return (
        click.option(
            "--dhcpstart", metavar="ADDR", help="First address that DHCP gives out.  [default: 10.0.2.15]"
        ),
        click.option(
            "--lease",
            multiple=True,
            metavar="RULE",
            help="Keep an address for one client: MAC=ADDR[,hostname], or id:IDENTIFIER=ADDR[,hostname] for a DHCP"
            " client identifier, as text or as bytes like 01:ab:ff. May be repeated.",
        ),
        click.option(
            "--lease-time", type=int, metavar="SECONDS", help="How long a lease lasts.  [default: 86400]"
        ),
        click.option("--lease-file", metavar="FILE", help="Keep the leases there across restarts."),
        click.option("--hostname", metavar="NAME", help="Host name that DHCP gives to guests."),
        click.option("--domain", metavar="NAME", help="Domain that DHCP gives to guests."),
        click.option(
            "--dns-search",
            multiple=True,
            metavar="DOMAIN",
            help="Domain in which guests are told to look for names. May be repeated.",
        ),
        click.option(
            "--route",
            multiple=True,
            metavar="CIDR[=GATEWAY]",
            help="Route that DHCP tells guests beside the default route; through the gateway if none is given. May be"
            " repeated.",
        ),
        click.option(
            "--bootfile",
            multiple=True,
            metavar="[ARCH=]FILE|URL",
            help="File that guests boot from by TFTP, or URL for HTTP boot and iPXE; of one architecture, such as"
            " efi-x64=grubx64.efi, or of all. May be repeated.",
        ),
        click.option(
            "--dhcp-option",
            multiple=True,
            metavar="OPTION=VALUE",
            help="Give guests a DHCP option, by number or name: 42=10.0.2.2, ntp-server=10.0.2.2, 43=hex:0104c0a8,"
            " 200=u16:5. Without a value, leave it out. May be repeated.",
        ),
        click.option(
            "--tftp-server-name",
            metavar="NAME",
            help="TFTP server that guests are told to boot from.  [default: the gateway]",
        ),
    )


def dhcp_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :class:`slirpy.Config` from the values of :func:`dhcp_options`; None where nothing was given."""
    return {argument: given[option] for option, argument in _NAMES.items()}
