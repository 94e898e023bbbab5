"""slirpy: a user-mode TCP/IP stack. A guest's Ethernet frames in, ordinary sockets out.

from slirpy import Config, Slirp

with Slirp(Config(hostfwd=["tcp:127.0.0.1:8080-:80"])) as net:
    nic = net.attach(on_frame)
    nic.send(frame)
    net.poll(timeout=0.05)

The names below are imported on first use (PEP 562): ``import slirpy`` alone costs next to nothing.
"""

from __future__ import annotations

from slirpy._version import __compiled__, __version__
from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 2 ms that importing typing takes
if TYPE_CHECKING:
    from slirpy.config import Config
    from slirpy.config.boot import BootChoice
    from slirpy.config.dhcp import DhcpAnswer, DhcpRequest, GuestRoute, StaticLease
    from slirpy.config.dhcpoption import DhcpOption
    from slirpy.config.dnsrecord import DnsQuestion, DnsRecord, DnsReply
    from slirpy.config.guestfwd import Command, GuestForward, HostTarget, StreamFactory, TcpTarget, UnixTarget
    from slirpy.config.hostfwd import HostForward
    from slirpy.config.outbound import Outbound
    from slirpy.config.policy import Rule, RulePolicy
    from slirpy.config.proxy import Proxy
    from slirpy.config.resolver import Resolver
    from slirpy.core.flows import FlowInfo, NeighborInfo
    from slirpy.drive.dialing import GuestSocket
    from slirpy.drive.nic import Attachment, GuestListener, Nic
    from slirpy.errors import ConfigError, ForwardError, LinkError, SlirpyError, StateError
    from slirpy.interfaces import Action, Decision, FlowRequest, LinkFeatures, Verdict
    from slirpy.network import Slirp
    from slirpy.services.dhcp import LeaseInfo, LeaseState
    from slirpy.stack import Stack
    from slirpy.stats import Stats

__all__ = [
    "Action",
    "Attachment",
    "BootChoice",
    "Command",
    "Config",
    "ConfigError",
    "Decision",
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
    "GuestListener",
    "GuestRoute",
    "GuestSocket",
    "HostForward",
    "HostTarget",
    "LeaseInfo",
    "LeaseState",
    "LinkError",
    "LinkFeatures",
    "NeighborInfo",
    "Nic",
    "Outbound",
    "Proxy",
    "Resolver",
    "Rule",
    "RulePolicy",
    "Slirp",
    "SlirpyError",
    "Stack",
    "StateError",
    "StaticLease",
    "Stats",
    "StreamFactory",
    "TcpTarget",
    "UnixTarget",
    "Verdict",
    "__compiled__",
    "__version__",
]

_MODULES = {
    "stack": "Stack",
    "config": "Config",
    "core.flows": "FlowInfo NeighborInfo",
    "errors": "ConfigError ForwardError LinkError SlirpyError StateError",
    "interfaces": "Action Decision FlowRequest LinkFeatures Verdict",
    "drive.dialing": "GuestSocket",
    "drive.nic": "Attachment GuestListener Nic",
    "config.boot": "BootChoice",
    "config.dhcp": "DhcpAnswer DhcpRequest GuestRoute StaticLease",
    "config.dhcpoption": "DhcpOption",
    "config.dnsrecord": "DnsQuestion DnsRecord DnsReply",
    "config.guestfwd": "Command GuestForward HostTarget StreamFactory TcpTarget UnixTarget",
    "config.hostfwd": "HostForward",
    "config.outbound": "Outbound",
    "config.policy": "Rule RulePolicy",
    "config.proxy": "Proxy",
    "config.resolver": "Resolver",
    "network": "Slirp",
    "services.dhcp": "LeaseInfo LeaseState",
    "stats": "Stats",
}
"""Names of the public API, by the module that each is imported from."""


if not TYPE_CHECKING:  # type checkers assume that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
