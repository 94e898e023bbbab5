"""All tables of a network for JSON, in one piece."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from slirpy.checks import instance
from slirpy.control.rows import (
    flow_row,
    forward_row,
    guest_forward_row,
    lease_row,
    neighbor_row,
    record_row,
)

if TYPE_CHECKING:
    from slirpy.network import Slirp

__all__ = ["tables"]


def tables(net: Slirp) -> dict[str, Any]:
    """Return all tables of a network as values that JSON can hold, with the rows of the control API.

    ============== ==================================================================================
    ``time``       seconds since 1970 (UTC)
    ``network``    the prefixes ``ipv4`` and ``ipv6``; null: this family is off
    ``flows``      flows that are open
    ``closed``     the last flows that ended
    ``leases``     DHCP leases
    ``neighbors``  addresses of guests
    ``hostfwds``   forwards of host ports, with the ports that were chosen
    ``guestfwds``  addresses of the network that lead to something on the host
    ``dns``        the operator's DNS records
    ``stats``      counters that are not zero
    ============== ==================================================================================

    Raises:
        ConfigError: not a Slirp.
    """
    from slirpy.network import Slirp

    instance("net", net, Slirp, "a slirpy.Slirp")
    config = net.config
    return {
        "time": round(time.time(), 3),
        "network": {
            "ipv4": str(config.net) if config.ipv4 else None,
            "ipv6": str(config.net6) if config.ipv6 else None,
        },
        "flows": list(map(flow_row, net.flows())),
        "closed": list(map(flow_row, net.closed_flows())),
        "leases": list(map(lease_row, net.leases())),
        "neighbors": list(map(neighbor_row, net.neighbors())),
        "hostfwds": list(map(forward_row, net.hostfwds())),
        "guestfwds": list(map(guest_forward_row, net.guestfwds())),
        "dns": list(map(record_row, net.dns_records)),
        "stats": net.stats.nonzero(),
    }
