"""slirpy: a user-mode TCP/IP stack. A guest's Ethernet frames in, ordinary sockets out.

from slirpy import Config, Slirp

with Slirp(Config(hostfwd=["tcp:127.0.0.1:8080-:80"])) as net:
    nic = net.attach(on_frame)
    nic.send(frame)
    net.poll(timeout=0.05)
"""

from slirpy._version import __version__
from slirpy.assembly import Stack
from slirpy.config import Config
from slirpy.core.flows import FlowInfo, NeighborInfo
from slirpy.errors import ConfigError, ForwardError, LinkError, SlirpyError, StateError
from slirpy.interfaces import Action, FlowRequest, LinkFeatures, Verdict
from slirpy.nic import Attachment, Nic, Serving
from slirpy.rules.dhcp import DhcpAnswer, DhcpRequest, GuestRoute, StaticLease
from slirpy.rules.dnsrecord import DnsQuestion, DnsRecord, DnsReply
from slirpy.rules.guestfwd import Command, GuestForward, Peers, TcpTarget, UnixTarget
from slirpy.rules.hostfwd import HostForward
from slirpy.rules.outbound import Outbound
from slirpy.rules.policy import Rule, RulePolicy
from slirpy.rules.resolver import Resolver
from slirpy.runtime import Slirp
from slirpy.services.lease import Lease, LeaseState
from slirpy.stats import Stats

__all__ = [
    "Action",
    "Attachment",
    "Command",
    "Config",
    "ConfigError",
    "DhcpAnswer",
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
