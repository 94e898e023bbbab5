"""Short options that sound as if this host were shut: nothing of it is reached."""

from __future__ import annotations

import pytest

from slirpy import Config, RulePolicy
from slirpy.testing import Remote, VirtualNetwork
from tests.support.harness import config
from tests.unit.cli.command import given

OWN, OWN6, OTHER, OTHER6 = "192.0.2.1", "2001:db8::1", "203.0.113.7", "2606:4700::1111"
HERE = ("10.0.2.2", "fec0::2", OWN, OWN6, "64:ff9b::c000:201", "169.254.169.254", "fd00:ec2::254")
NEAR = ("10.1.2.3", "fd12::1")
OPTIONS = {
    "--deny-private": (False, True),
    "--allow tcp:any:80": (True, True),
    "--allow any": (True, True),
    "--allow any --deny host": (True, True),
    "--allow tcp": (True, True),
    "--allow internet": (False, True),
    "--profile agent --allow any": (False, True),
    "--no-host-loopback": (True, True),
    "--no-host-loopback --allow 0.0.0.0/0 --allow [::/0]": (True, True),
}
"""Options, and whether they open private networks and the rest of the world."""


def reached(settings: Config, *places: str) -> set[str]:
    """The places of which a server on the simulated host hears a guest."""
    net = VirtualNetwork(settings)
    net.boot(ipv6=True)
    servers = {place: net.host.serve_tcp(place, 80, Remote) for place in (*places, "127.0.0.1", "::1")}
    for place in places:
        net.guest.connect(place, 80)
        net.run(500_000_000)
    return {place for place, server in servers.items() if server.connections}


@pytest.mark.parametrize("options", OPTIONS)
def test_nothing_of_this_host(options: str) -> None:
    private, world = OPTIONS[options]
    here: tuple[str, ...] = HERE
    if options.startswith("--no-host-loopback"):  # which says nothing of metadata services elsewhere
        here = tuple(place for place in HERE if place not in ("169.254.169.254", "fd00:ec2::254"))
    settings = given(*options.split())
    expected = {*(NEAR if private else ()), *((OTHER6,) if world else ())}
    assert reached(settings, *here, *NEAR, OTHER6) == expected


def test_where_the_loopback_alone_is_shut() -> None:
    """Containers behind slirp4netns reach their host by its other addresses, and keep doing so."""
    shut = config(host_loopback=False)
    assert reached(shut, *HERE[:5]) == set()
    alone = config(host_loopback=False, loopback_only=True)
    assert reached(alone, *HERE[:5]) == {OWN, OWN6, "64:ff9b::c000:201"}


OPENED = {
    "allow 192.0.2.1": {OWN},
    "allow tcp:[2001:db8::1]:80": {OWN6},
    "allow tcp:192.0.2.1:443": set(),
    "allow udp:192.0.2.1:80": set(),
    "allow 192.0.2.0/31": set(),
    "allow self": set(),
    "deny self, allow 192.0.2.1": set(),
    "allow any, allow 192.0.2.1": {OWN},
    "allow 10.0.2.2, allow host": set(),
    "redirect tcp:192.0.2.1:80=203.0.113.7:80": set(),
}
"""Rules of a network without the host's loopback, and which addresses of this host they open."""


@pytest.mark.parametrize("rules", OPENED)
def test_a_rule_about_one_address_opens_it(rules: str) -> None:
    assert reached(config(host_loopback=False, policy=rules.split(", ")), *HERE[:5]) == OPENED[rules]


def test_a_flow_to_this_host_ends_with_the_rule_about_its_address() -> None:
    """A wider rule, which would not have opened it, does not keep it either."""
    net = VirtualNetwork(config(host_loopback=False, policy=["allow 192.0.2.1"]))
    net.boot()
    server = net.host.serve_tcp(OWN, 80, Remote)
    stream = net.guest.connect(OWN, 80)
    net.run(500_000_000)
    assert server.connections
    net.stack.policy = RulePolicy(["allow 192.0.2.1", "allow any"])
    assert len(net.stack.flows()) == 1
    net.stack.policy = RulePolicy(["allow 0.0.0.0/0"])
    net.run(500_000_000)
    assert not net.stack.flows()
    assert stream.error is not None
