"""Searches end, whatever the numbers say that they rely on."""

from __future__ import annotations

from random import Random

import pytest

from slirpy.config import Config
from slirpy.core.ports import free_port
from slirpy.errors import StateError
from slirpy.fair import Party
from slirpy.services.dhcp.lease import Client
from slirpy.services.dhcp.leases import LeaseTable
from slirpy.services.dhcp.pool import ipv4_pool
from tests.unit.services.dhcp.world import offer


def test_the_one_port_that_is_left_is_found() -> None:
    for free in (49152, 50000, 65535):
        assert free_port(Random(1), 49152, lambda port, free=free: port != free) == free  # type: ignore[misc] # mypy infers no lambda with a default
    ports = {free_port(Random(seed), 49152, lambda port: False) for seed in range(50)}
    assert len(ports) > 40
    assert min(ports) >= 49152


def test_no_port_is_left() -> None:
    asked: list[int] = []
    with pytest.raises(StateError, match="all ports from 65000"):
        free_port(Random(1), 65000, lambda port: not asked.append(port))  # type: ignore[func-returns-value] # None, so the port is taken
    assert sorted(asked) == list(range(65000, 65536))


def test_a_wrong_number_of_free_addresses_does_not_hang_the_pool() -> None:
    table = LeaseTable(ipv4_pool(Config(net="10.0.2.0/29", dhcpstart="10.0.2.4")))
    table._free += 5
    leases = [offer(table, Client(bytes((2, 0, 0, 0, 0, n)))) for n in range(8)]
    assert [lease.address[3] for lease in leases if lease is not None] == [4, 5, 6, 1]


def test_the_pool_finds_an_address_behind_all_that_are_taken() -> None:
    table = LeaseTable(ipv4_pool(Config(net="10.0.2.0/25", dhcpstart="10.0.2.15")))
    for number in (*range(15, 127), 1, *range(4, 14)):
        assert table.bind(Client(bytes((2, 0, 0, 0, 0, number))), bytes((10, 0, 2, number)), 0) is not None
    last = offer(table, Client(bytes((2, 0, 0, 0, 1, 1))))
    assert last is not None
    assert last.address == bytes((10, 0, 2, 14))
    assert offer(table, Client(bytes((2, 0, 0, 0, 1, 2)))) is None


def test_an_empty_queue_says_so() -> None:
    with pytest.raises(LookupError, match="no oldest entry"):
        Party[Client]("x").longest_idle()  # type: ignore[type-var] # the clients here are texts
