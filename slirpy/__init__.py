"""slirpy: a user-mode TCP/IP stack. A guest's Ethernet frames in, ordinary sockets out.

from slirpy import Config, Slirp

with Slirp(Config(hostfwd=["tcp:127.0.0.1:8080-:80"])) as net:
    nic = net.attach(on_frame)
    nic.send(frame)
    net.poll(timeout=0.05)

The names below are imported on first use (PEP 562): ``import slirpy`` alone costs next to nothing.
"""

from __future__ import annotations

from slirpy._version import __version__

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 2 ms that importing typing takes
if TYPE_CHECKING:
    from slirpy.assembly import Stack
    from slirpy.config import Config
    from slirpy.core.flows import FlowInfo, NeighborInfo
    from slirpy.errors import ConfigError, ForwardError, LinkError, SlirpyError, StateError
    from slirpy.interfaces import Action, FlowRequest, LinkFeatures, Verdict
    from slirpy.nic import Attachment, Nic, Serving
    from slirpy.rules.boot import BootChoice
    from slirpy.rules.dhcp import DhcpAnswer, DhcpRequest, GuestRoute, StaticLease
    from slirpy.rules.dhcpoption import DhcpOption
    from slirpy.rules.dnsrecord import DnsQuestion, DnsRecord, DnsReply
    from slirpy.rules.guestfwd import Command, GuestForward, HostTarget, Peers, TcpTarget, UnixTarget
    from slirpy.rules.hostfwd import HostForward
    from slirpy.rules.outbound import Outbound
    from slirpy.rules.policy import Rule, RulePolicy
    from slirpy.rules.resolver import Resolver
    from slirpy.runtime import Slirp
    from slirpy.services.dhcp import Lease, LeaseState
    from slirpy.stats import Stats

__all__ = [
    "Action",
    "Attachment",
    "BootChoice",
    "Command",
    "Config",
    "ConfigError",
    "DhcpAnswer",
    "DhcpOption",
    "DhcpRequest",
    "DnsQuestion",
    "DnsRecord",
    "DnsReply",
    "FlowInfo",
    "FlowRequest",
    "ForwardError",
    "GuestForward",
    "GuestRoute",
    "HostForward",
    "HostTarget",
    "Lease",
    "LeaseState",
    "LinkError",
    "LinkFeatures",
    "NeighborInfo",
    "Nic",
    "Outbound",
    "Peers",
    "Resolver",
    "Rule",
    "RulePolicy",
    "Serving",
    "Slirp",
    "SlirpyError",
    "Stack",
    "StateError",
    "StaticLease",
    "Stats",
    "TcpTarget",
    "UnixTarget",
    "Verdict",
    "__version__",
]

_MODULES = {
    "assembly": "Stack",
    "config": "Config",
    "core.flows": "FlowInfo NeighborInfo",
    "errors": "ConfigError ForwardError LinkError SlirpyError StateError",
    "interfaces": "Action FlowRequest LinkFeatures Verdict",
    "nic": "Attachment Nic Serving",
    "rules.boot": "BootChoice",
    "rules.dhcp": "DhcpAnswer DhcpRequest GuestRoute StaticLease",
    "rules.dhcpoption": "DhcpOption",
    "rules.dnsrecord": "DnsQuestion DnsRecord DnsReply",
    "rules.guestfwd": "Command GuestForward HostTarget Peers TcpTarget UnixTarget",
    "rules.hostfwd": "HostForward",
    "rules.outbound": "Outbound",
    "rules.policy": "Rule RulePolicy",
    "rules.resolver": "Resolver",
    "runtime": "Slirp",
    "services.dhcp": "Lease LeaseState",
    "stats": "Stats",
}
"""Names of the public API, by the module that each is imported from."""


if not TYPE_CHECKING:  # type checkers assume that a module with this function has every name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names.split():
                value = getattr(import_module(f"slirpy.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'slirpy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
