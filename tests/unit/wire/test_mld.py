"""Multicast Listener Discovery messages."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.testing.strategies.neighbors import mld_records
from slirpy.wire import icmpv6, ipv6, mld
from slirpy.wire.extension import walk
from slirpy.wire.ipv6 import UNSPECIFIED, IPv6Header
from slirpy.wire.mld import Change, Query, Record


def address(text: str) -> bytes:
    return IPv6Address(text).packed


ROUTER, GUEST, GROUP = address("fe80::2"), address("fe80::15"), address("ff15::1234")


def header(source: bytes = GUEST, hop_limit: int = 1) -> IPv6Header:
    found = ipv6.parse(ipv6.build(source, mld.ROUTERS_V2, ipv6.ICMPV6, 0, hop_limit))
    assert found is not None
    return found


@given(st.lists(mld_records, max_size=5), st.sampled_from([GUEST, UNSPECIFIED]))
def test_reports_come_back(records: list[Record], source: bytes) -> None:
    message = mld.report(source, records)
    assert icmpv6.checksum_ok(source, mld.ROUTERS_V2, message)
    assert mld.read_report(header(source), memoryview(message)) == tuple(records)


def test_the_bytes_of_a_report() -> None:
    message = mld.report(GUEST, [Record(Change.TO_EXCLUDE, GROUP)])
    assert message[:2].hex() == "8f00"
    assert message[4:].hex() == "0000000104000000" + GROUP.hex()


def test_version_1() -> None:
    joins = memoryview(icmpv6.build(GUEST, GROUP, mld.REPORT, 0, 0, GROUP))
    leaves = memoryview(icmpv6.build(GUEST, GROUP, mld.DONE, 0, 0, GROUP))
    assert mld.read_report(header(), joins) == (Record(Change.IS_EXCLUDE, GROUP),)
    assert mld.read_report(header(), leaves) == (Record(Change.TO_INCLUDE, GROUP),)
    assert mld.read_report(header(), joins[:-1]) is None
    assert mld.read_report(header(), memoryview(icmpv6.build(GUEST, GROUP, mld.REPORT, 0, 0, GUEST))) is None


@pytest.mark.parametrize(("record", "joins", "leaves"), [
    (Record(Change.IS_INCLUDE, GROUP), False, True),
    (Record(Change.IS_EXCLUDE, GROUP), True, False),
    (Record(Change.TO_INCLUDE, GROUP), False, True),
    (Record(Change.TO_EXCLUDE, GROUP, (GUEST,)), True, False),
    (Record(Change.TO_INCLUDE, GROUP, (GUEST,)), True, False),
    (Record(Change.ALLOW_NEW, GROUP, (GUEST,)), True, False),
    (Record(Change.ALLOW_NEW, GROUP), False, False),
    (Record(Change.BLOCK_OLD, GROUP, (GUEST,)), False, False),
])  # fmt: skip
def test_joining_and_leaving(record: Record, joins: bool, leaves: bool) -> None:
    assert (record.joins, record.leaves) == (joins, leaves)


def test_invalid_reports_are_refused() -> None:
    message = memoryview(mld.report(GUEST, [Record(Change.TO_EXCLUDE, GROUP)]))
    assert mld.read_report(header(hop_limit=2), message) is None
    assert mld.read_report(header(address("fec0::15")), message) is None
    assert mld.read_report(header(), message[:-1]) is None
    assert mld.read_report(header(), message[:6]) is None


def test_records_that_are_odd() -> None:
    def records(*items: tuple[int, int, int, bytes], rest: bytes = b"") -> memoryview:
        body = b"".join(struct.pack("!BBH16s", *item) for item in items) + rest
        return memoryview(icmpv6.build(GUEST, mld.ROUTERS_V2, mld.REPORT_V2, 0, len(items), body))

    assert mld.read_report(header(), records((9, 0, 0, GROUP), (4, 0, 0, GROUP))) == (
        Record(Change.TO_EXCLUDE, GROUP),
    )
    assert mld.read_report(header(), records((4, 1, 0, GROUP), rest=b"data")) == (
        Record(Change.TO_EXCLUDE, GROUP),
    )
    assert mld.read_report(header(), records((4, 0, 1, GROUP), rest=bytes(15))) is None
    assert mld.read_report(header(), records((4, 0, 65535, GROUP))) is None
    assert mld.read_report(header(), records((4, 255, 0, GROUP), (4, 0, 0, GROUP))) is None
    assert mld.read_report(header(), records((4, 0, 0, GUEST))) is None
    many = mld.read_report(header(), records(*[(4, 0, 0, GROUP)] * 200))
    assert many is not None
    assert len(many) == mld.RECORDS_MAX


def test_queries() -> None:
    general = mld.query(ROUTER, ipv6.ALL_NODES, response=10_000)
    assert icmpv6.checksum_ok(ROUTER, ipv6.ALL_NODES, general)
    assert general[4:].hex() == "27100000" + 16 * "00" + "027d0000"
    assert mld.read_query(header(ROUTER), memoryview(general)) == Query(UNSPECIFIED, 10_000, 2)
    assert mld.read_query(header(ROUTER), memoryview(general)[:24]) == Query(UNSPECIFIED, 10_000, 1)
    one = mld.query(ROUTER, GROUP, GROUP, response=1000)
    assert mld.read_query(header(ROUTER), memoryview(one)) == Query(GROUP, 1000, 2)
    for length in (*range(4, 24), 25, 26, 27):
        assert mld.read_query(header(ROUTER), memoryview(general)[:length]) is None
    assert mld.read_query(header(UNSPECIFIED), memoryview(general)) is None
    assert mld.read_query(header(ROUTER, 255), memoryview(general)) is None
    assert mld.read_query(header(ROUTER), memoryview(mld.query(ROUTER, GROUP, GUEST, response=1))) is None
    sources = memoryview(one[:26] + b"\0\1" + GUEST)
    assert mld.read_query(header(ROUTER), sources) == Query(GROUP, 1000, 2, (GUEST,))
    assert mld.read_query(header(ROUTER), sources[:-1]) is None


def test_long_response_times_are_floating_point() -> None:
    """RFC 3810 section 5.1.3: (mantissa | 0x1000) << (exponent + 3)."""
    general = bytearray(mld.query(ROUTER, ipv6.ALL_NODES, response=0))
    general[4:6] = b"\x80\0"
    found = mld.read_query(header(ROUTER), memoryview(general))
    assert found is not None
    assert found.response == 32768
    general[4:6] = b"\xff\xff"
    found = mld.read_query(header(ROUTER), memoryview(general))
    assert found is not None
    assert found.response == 8387584


def test_the_router_alert_is_a_header_that_is_skipped() -> None:
    message = mld.report(GUEST, [])
    body = mld.router_alert() + message
    packet = ipv6.build(GUEST, mld.ROUTERS_V2, ipv6.HOP_BY_HOP, len(body), mld.HOP_LIMIT) + body
    parsed = ipv6.parse(packet)
    assert parsed is not None
    found = walk(packet, parsed)
    assert isinstance(found, IPv6Header)
    assert (found.protocol, packet[found.header_length :]) == (ipv6.ICMPV6, message)


@given(st.sampled_from([130, 131, 132, 143]), st.binary(max_size=120))
def test_garbage(kind: int, data: bytes) -> None:
    message = memoryview(bytes((kind, 0, 0, 0)) + data)
    mld.read_report(header(), message)
    mld.read_query(header(), message)


@given(st.lists(mld_records, min_size=1, max_size=3), st.data())
def test_near_valid_reports(records: list[Record], data: st.DataObject) -> None:
    message = bytearray(mld.report(GUEST, records))
    message[data.draw(st.integers(4, len(message) - 1))] = data.draw(st.integers(0, 255))
    mld.read_report(header(), memoryview(message))


def test_the_packet_of_a_message() -> None:
    message = mld.report(GUEST, [Record(Change.TO_EXCLUDE, GROUP)])
    built = mld.packet(GUEST, mld.ROUTERS_V2, message)
    found = ipv6.parse(built)
    assert found is not None
    assert (found.hop_limit, found.next_header, found.total_length) == (1, ipv6.HOP_BY_HOP, len(built))
    assert built[40:48].hex() == "3a00050200000100"
    assert built[48:] == message
    assert mld.has_router_alert(built)


@pytest.mark.parametrize(("options", "alert"), [
    ("3a00050200000100", True), ("3a00010005020000", True), ("3a00000005020000", True),
    ("3a00050200010100", False), ("3a00010400000000", False), ("3a00050200", False), ("3a000000000005020000", False),
    ("3aff01000502000001", True),
])  # fmt: skip
def test_the_router_alert_is_found_after_padding(options: str, alert: bool) -> None:
    body = bytes.fromhex(options)
    assert mld.has_router_alert(ipv6.build(GUEST, GROUP, ipv6.HOP_BY_HOP, len(body), 1) + body) == alert
    assert not mld.has_router_alert(ipv6.build(GUEST, GROUP, ipv6.ICMPV6, len(body), 1) + body)
