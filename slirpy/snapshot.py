"""Tables of a network as plain values, for JSON: the same words wherever a program reads them."""

from __future__ import annotations

import time
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from slirpy.checks import instance
from slirpy.config.guestfwd import GuestForward
from slirpy.config.hostfwd import HostForward

if TYPE_CHECKING:
    from slirpy.network import Slirp

__all__ = ["plain_value", "tables"]

_ENDS = ("guest", "host")
"""Fields of a flow that are an address and a port."""


def plain_value(value: Any) -> Any:
    """Convert a value to the types of JSON.

    Objects such as a :class:`~slirpy.FlowInfo` become a mapping of their fields; addresses, paths and functions
    become text, bytes hexadecimal digits. A forward also has its text, as ``rule``.
    """
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return plain_value(value.value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain_value(each) for key, each in value.items()}
    if isinstance(value, GuestForward):
        server = None if value.server is None else str(value.server)
        return {"rule": str(value), "server": server, "port": value.port}
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: plain_value(getattr(value, field.name)) for field in fields(value)}
        for name in _ENDS:
            if isinstance(end := found.get(name), list):
                found[name] = {"address": end[0], "port": end[1]}
        return {"rule": str(value), **found} if isinstance(value, HostForward) else found
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(each) for each in value]
    return str(value)


def tables(net: Slirp) -> dict[str, Any]:
    """Return all tables of a network as values that JSON can hold.

    ============== ==================================================================================
    ``time``       seconds since 1970 (UTC)
    ``network``    the prefixes ``ipv4`` and ``ipv6``; null: this family is off
    ``flows``      flows that are open, as :class:`~slirpy.FlowInfo`; ``guest`` and ``host`` have an
                   ``address`` and a ``port``
    ``closed``     the last flows that ended
    ``leases``     as :class:`~slirpy.LeaseInfo`
    ``neighbors``  as :class:`~slirpy.NeighborInfo`
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
        "flows": plain_value(net.flows()),
        "closed": plain_value(net.closed_flows()),
        "leases": plain_value(net.leases()),
        "neighbors": plain_value(net.neighbors()),
        "hostfwds": plain_value(net.hostfwds()),
        "guestfwds": plain_value(net.guestfwds()),
        "dns": plain_value(net.dns_records),
        "stats": net.stats.nonzero(),
    }
