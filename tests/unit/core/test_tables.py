"""Tables of flows and services: what is looked up under which address and port."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import pytest

from slirpy.core import tables as module
from slirpy.core.tables import HISTORY, FlowTables
from slirpy.interfaces import Datagram, StreamService
from slirpy.wire.ip import flow_key
from tests.support.harness import DNS, GATEWAY, GUEST, ip

OTHER_GUEST = ip("10.0.2.16")


class Nothing:
    """A service that answers nothing."""

    def datagram(self, datagram: Datagram) -> None: ...


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> FlowTables:
    """Tables whose free ports begin with 49152."""

    def first(random: Random, least: int, is_taken: Any) -> int:
        assert random is made._random
        return next(port for port in range(least, 65536) if not is_taken(port))

    monkeypatch.setattr(module, "free_port", first)
    made = FlowTables(Random(1))
    return made


def test_tables_begin_empty(tables: FlowTables) -> None:
    for name in ("tcp_flows", "udp_paths", "services", "conversations", "stream_services"):
        assert getattr(tables, name) == {}
    for number in range(HISTORY + 1):
        tables.closed_flows.append(cast("Any", lambda number=number: number))
    assert cast("list[int]", list(tables.closed_flows)) == list(range(1, HISTORY + 1))
    assert len(tables.closed_flows) == HISTORY


def test_a_service_is_bound_to_each_address_at_one_port(tables: FlowTables) -> None:
    first, second = Nothing(), Nothing()
    tables.bind([GATEWAY, DNS], 53, first)
    tables.bind([DNS], 69, second)
    assert tables.services == {(GATEWAY, 53): first, (DNS, 53): first, (DNS, 69): second}


def test_a_port_serves_one_flow_for_each_guest_port(tables: FlowTables) -> None:
    one, two = Nothing(), Nothing()
    tables.bind([GATEWAY], 49152, Nothing())
    assert tables.open_port(GATEWAY, GUEST, 1000, one) == 49153  # 49152 is that of a service
    # The same port of the guest already has a flow at 49153.
    assert tables.open_port(GATEWAY, GUEST, 1000, two) == 49154
    assert tables.open_port(GATEWAY, GUEST, 1001, two) == 49153  # each of these is another conversation
    assert tables.open_port(GATEWAY, OTHER_GUEST, 1000, two) == 49153
    assert tables.open_port(DNS, GUEST, 1000, two) == 49152
    assert tables.conversations[GATEWAY, 49153, GUEST, 1000] is one
    assert tables.conversations[GATEWAY, 49153, GUEST, 1001] is two
    assert len(tables.conversations) == 5


def test_a_port_to_which_a_flow_has_a_path_is_not_taken(tables: FlowTables) -> None:
    path: Any = object()
    tables.udp_paths[flow_key(GUEST, 1000, GATEWAY, 49152)] = path
    assert tables.open_port(GATEWAY, GUEST, 1000, Nothing()) == 49153
    assert tables.open_port(GATEWAY, GUEST, 1001, Nothing()) == 49152


def test_closing_a_port_ends_its_path_only(tables: FlowTables) -> None:
    path: Any = object()
    for guest_port in (1000, 1001):
        port = tables.open_port(GATEWAY, GUEST, guest_port, Nothing())
        tables.udp_paths[flow_key(GUEST, guest_port, GATEWAY, port)] = path
    tables.close_port(GATEWAY, 49152, GUEST, 1000)
    assert list(tables.conversations) == [(GATEWAY, 49152, GUEST, 1001)]
    assert list(tables.udp_paths) == [flow_key(GUEST, 1001, GATEWAY, 49152)]
    tables.udp_paths.clear()
    tables.close_port(GATEWAY, 49152, GUEST, 1001)  # one without a path
    assert tables.conversations == {}


def test_the_most_specific_stream_service_counts(tables: FlowTables) -> None:
    """The order is: address and port, address, port, any."""
    services: list[StreamService] = [cast("Any", name) for name in ("both", "address", "port", "any")]
    keys = [(GATEWAY, 80), (GATEWAY, None), (None, 80), (None, None)]
    for at in range(4):
        tables.stream_services = dict(zip(keys[at:], services[at:], strict=True))
        assert tables.stream_service(GATEWAY, 80) is services[at]
        assert tables.stream_service(DNS, 80) is services[max(at, 2)]
        assert tables.stream_service(GATEWAY, 81) is services[3 if at > 1 else 1]
        assert tables.stream_service(DNS, 81) is services[3]
    tables.stream_services = {}
    assert tables.stream_service(GATEWAY, 80) is None
