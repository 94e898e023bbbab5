"""Static leases and the lease policy: their decision about a request, of either IP family."""

from __future__ import annotations

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple
from slirpy.services.dhcp.lease import Client
from slirpy.services.dhcp.leases import LeaseTable

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import replace
else:
    from dataclasses import replace

__all__ = ["Ruling", "rule_on"]

_NO_CHANGES = DhcpAnswer()


class Ruling(NamedTuple):
    """The decision about a request."""

    answer: DhcpAnswer
    """The policy's answer, with the host name of the static lease if the policy gave none."""
    fixed: bytes | None
    """The only address that the client may have."""
    by_rule: bool
    """True if that is the address of its static lease, and not one from the lease policy."""


def rule_on(config: Config, table: LeaseTable, request: DhcpRequest, client: Client, now: int) -> Ruling:
    """Apply the static leases and the lease policy to a request of ``client``; the policy takes precedence.

    Raises:
        ConfigError: the policy returned something other than a DhcpAnswer or None.
    """
    policy = config.lease_policy
    answer = (None if policy is None else policy(request)) or _NO_CHANGES
    if not isinstance(answer, DhcpAnswer):
        raise ConfigError(f"lease_policy gave {answer!r}; it must give a DhcpAnswer or None")
    address = answer.address
    fixed = None if address is None or address.version != request.version else address.packed
    rule = table.static(client, now)
    if rule is None:
        return Ruling(answer, fixed, False)
    answer = replace(answer, hostname=answer.hostname or rule.hostname)
    return Ruling(answer, fixed or rule.address.packed, fixed is None)
