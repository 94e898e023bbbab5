"""The record of a network: its own addresses, and what may be a guest's."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from slirpy.core.network import ROUTER, Network, gateway_for
from slirpy.stats import Stats
from slirpy.wire import ethernet, ipv6
from tests.support.frames6 import (
    ALL_NODES,
    ALL_ROUTERS,
    DNS6,
    GATEWAY6,
    GUEST6,
    LINK_LOCAL,
    WORLD6,
    ip6,
    solicited,
)
from tests.support.harness import DNS, DNS_MAC, GATEWAY, GATEWAY_MAC, GUEST, ROUTER_MAC, WORLD, config, ip

HOST_MAC = "52:54:00:aa:bb:cc"


def record(**options: Any) -> Network:
    return Network(config(**options), Random(1), Stats())


def test_a_network_begins_at_zero_without_ports() -> None:
    network = record()
    assert (network.now, network.flows_begun, network.events) == (0, 0, None)
    assert (network.ports, network.dirty, network.timers.deadline()) == ([], [], None)


def test_its_own_addresses() -> None:
    network = record()
    assert network.addresses == {GATEWAY, DNS, GATEWAY6, DNS6, ROUTER}
    assert network.macs == {ethernet.virtual_mac(each) for each in network.addresses}
    assert {GATEWAY_MAC, DNS_MAC, ROUTER_MAC} < network.macs
    groups = {ALL_NODES, ALL_ROUTERS, *(solicited(each) for each in (GATEWAY6, DNS6, ROUTER))}
    assert network.groups == groups
    assert network.group_macs == {ipv6.multicast_mac(group) for group in groups}


def test_without_ipv6_it_has_no_groups() -> None:
    network = record(ipv6=False)
    assert (network.addresses, network.groups, network.group_macs) == ({GATEWAY, DNS}, set(), set())


def test_an_address_that_is_added() -> None:
    for address in (ip("10.0.2.9"), ip6("fec0::9")):
        network = record(ipv6=False)
        network.add_address(address)
        assert address in network.addresses
        assert network.mac_for(address) == ethernet.virtual_mac(address)
        assert ethernet.virtual_mac(address) in network.macs
        assert network.groups == ({solicited(address)} if len(address) == 16 else set())
        assert not network.may_be_guest(address)


def test_mac_addresses_of_sources() -> None:
    """Hosts outside have that of the gateway of their family."""
    network = record()
    assert [network.mac_for(each) for each in (GATEWAY, DNS, WORLD)] == [GATEWAY_MAC, DNS_MAC, GATEWAY_MAC]
    assert network.mac_for(GATEWAY6) == ethernet.virtual_mac(GATEWAY6)
    assert network.mac_for(ROUTER) == network.mac_for(WORLD6) == ROUTER_MAC


@pytest.mark.parametrize("ipv6_too", [True, False])
def test_a_mac_address_of_the_host_is_that_of_the_gateway(ipv6_too: bool) -> None:
    network = record(host_mac=HOST_MAC, ipv6=ipv6_too)
    mac = bytes.fromhex(HOST_MAC.replace(":", ""))
    assert network.mac_for(GATEWAY) == network.mac_for(WORLD) == network.mac_for(WORLD6) == mac
    assert network.mac_for(DNS) == DNS_MAC
    assert mac in network.macs
    for gateway in (GATEWAY6, ROUTER):
        assert network.mac_for(gateway) == mac


def test_the_gateway_and_the_reporter_have_the_guests_family_and_scope() -> None:
    network = record()
    for guest, gateway in ((GUEST, GATEWAY), (GUEST6, GATEWAY6), (LINK_LOCAL, ROUTER)):
        assert gateway_for(network.config, guest) == network.gateway_for(guest) == gateway
        assert network.reporter_for(guest, WORLD if len(guest) == 4 else WORLD6) == gateway
    assert network.reporter_for(GUEST, DNS) == GATEWAY
    assert network.reporter_for(GUEST6, DNS6) == DNS6


@pytest.mark.parametrize(
    ("address", "is_broadcast"),
    [
        ("255.255.255.255", True),
        ("10.0.2.255", True),
        ("224.0.0.1", True),
        ("239.255.255.255", True),
        ("10.0.3.255", False),
        ("223.255.255.255", False),
        ("240.0.0.1", False),
        ("10.0.2.2", False),
    ],
)
def test_broadcasts(address: str, is_broadcast: bool) -> None:
    assert record().is_broadcast(ip(address)) is is_broadcast


def test_groups_are_broadcasts() -> None:
    network = record()
    assert (network.is_broadcast(ALL_NODES), network.is_broadcast(WORLD6)) == (True, False)


@pytest.mark.parametrize("transparent", [False, True])
def test_addresses_of_guests(transparent: bool) -> None:
    network = record(transparent=transparent)
    for address in ("10.0.2.15", "10.0.2.1", "10.0.2.254"):
        assert network.may_be_guest(ip(address)), address
    for address in ("10.0.2.0", "10.0.2.255", "10.0.2.2", "10.0.2.3", "127.0.0.1", "0.0.0.0", "224.0.0.1"):
        assert not network.may_be_guest(ip(address)), address
    assert network.may_be_guest(GUEST6)
    assert network.may_be_guest(LINK_LOCAL)
    for address6 in ("fec0::", "fe80::", "fec0::2", "fe80::2", "::", "ff02::1"):
        assert not network.may_be_guest(ip6(address6)), address6
    assert network.may_be_guest(WORLD) is network.may_be_guest(WORLD6) is transparent


def test_outside_addresses_of_a_transparent_network() -> None:
    for transparent in (True, False):
        network = record(transparent=transparent)
        assert network.is_outside(WORLD) is network.is_outside(ip("10.0.2.77")) is transparent
        for start in (network.config.dhcpstart_address, network.config.dhcpstart_address6):
            assert start is not None
            assert not network.is_outside(start)


def test_calls_at_a_time() -> None:
    network = record()
    called: list[int] = []
    network.call_at(5, lambda: called.append(5))
    assert network.timers.deadline() == 5
    network.timers.run(4)
    assert called == []
    network.timers.run(5)
    assert called == [5]
