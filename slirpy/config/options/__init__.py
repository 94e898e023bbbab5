"""The table of options: each option of :class:`~slirpy.config.Config` is described here and nowhere else.

From the table come the checks of :class:`~slirpy.config.Config`, QEMU's keys, the flags of the command line with
their help, the names in error messages, and the reference in the documentation. Each module of this package has the
rows of one :class:`~slirpy.config.rows.Group`; their order here is that of the reference and of ``--help``.
"""

from __future__ import annotations

from slirpy.config.options import boot, dhcp, dns, firewall, network, services
from slirpy.config.options.dns import DNS_CACHE_MAX, DNS_MODES
from slirpy.config.options.network import CONGESTION, KEEPALIVE_MAX, MTU_MAX, MTU_MIN
from slirpy.config.rows import Option

__all__ = [
    "CONGESTION",
    "DNS_CACHE_MAX",
    "DNS_MODES",
    "KEEPALIVE_MAX",
    "MTU_MAX",
    "MTU_MIN",
    "OPTIONS",
    "option",
]

OPTIONS: tuple[Option, ...] = (
    *network.ROWS, *services.ROWS, *dns.ROWS, *dhcp.ROWS, *boot.ROWS, *firewall.ROWS,
)  # fmt: skip
_BY_NAME = {row.name: row for row in OPTIONS}


def option(name: str) -> Option:
    """The row of an option.

    Raises:
        KeyError: there is no such option.
    """
    return _BY_NAME[name]
