"""Messages of DHCP, DHCPv6, DNS and TFTP, ICMP errors, and option strings: taken, refused, and simple first."""

from __future__ import annotations

from typing import Any

import pytest
from dnslib import DNSRecord
from hypothesis import find, given, settings
from hypothesis import strategies as st

from slirpy import Config, ConfigError
from slirpy.testing.strategies import (
    dhcp6_messages,
    dhcp_messages,
    dns_messages,
    icmp_errors,
    option_strings,
    tftp_packets,
)
from slirpy.wire import dhcp, dhcp6, icmp, ipv4, ipv6
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import family_of
from tests.unit.testing.strategies.reading import dhcp6_ok, dhcp_ok, dns_ok, tftp_ok

FEW = settings(max_examples=20, deadline=None)
ONCE = settings(database=None)
DATAGRAM4 = ipv4.build(b"\x0a\0\2\2", b"\x0a\0\2\x0f", 17, 20) + b"\0\x07\0\x09\0\x14\0\0" + bytes(12)
DATAGRAM6 = ipv6.build(b"\xfe" * 16, b"\xfd" * 16, 17, 20) + b"\0\x07\0\x09\0\x14\0\0" + bytes(12)


@pytest.mark.long
@pytest.mark.parametrize("sender", ["client", "server"])
def test_dhcp(sender: Any) -> None:
    @FEW
    @given(dhcp_messages(sender=sender))
    def valid(message: bytes) -> None:
        assert dhcp_ok(message)
        assert len(message) >= dhcp.MESSAGE_MIN

    @FEW
    @given(dhcp_messages("near", sender=sender) | dhcp_messages("garbage"))
    def others(message: bytes) -> None:
        dhcp_ok(message)

    valid()
    others()
    simple = dhcp.read_message(find(dhcp_messages(sender=sender), lambda message: True, settings=ONCE))
    assert simple is not None
    assert simple[1][dhcp.MESSAGE_TYPE] == (b"\1" if sender == "client" else b"\2")
    assert set(simple[1]) == ({53} if sender == "client" else {51, 53, 54})


@pytest.mark.long
def test_dhcp_shrinks_to_the_required_options() -> None:
    def is_request(message: bytes) -> bool:
        read = dhcp.read_message(message)
        return read is not None and read[1][53] == b"\3" and dhcp.HOSTNAME in read[1]

    read = dhcp.read_message(find(dhcp_messages(), is_request, settings=settings(ONCE, max_examples=2000)))
    assert read is not None
    assert set(read[1]) == {50, 53, 54, 12}
    assert read[1][12] in (b"a", b"0", b"A")


@pytest.mark.long
@pytest.mark.parametrize("sender", ["client", "server"])
def test_dhcp6(sender: Any) -> None:
    @FEW
    @given(dhcp6_messages(sender=sender))
    def valid(message: bytes) -> None:
        assert dhcp6_ok(message)

    @FEW
    @given(dhcp6_messages("near", sender=sender) | dhcp6_messages("garbage"))
    def others(message: bytes) -> None:
        dhcp6_ok(message)

    valid()
    others()
    simple = dhcp6.read_message(find(dhcp6_messages(sender=sender), lambda message: True, settings=ONCE))
    assert simple is not None
    assert simple.kind == (dhcp6.SOLICIT if sender == "client" else dhcp6.ADVERTISE)
    assert list(simple.options) == ([1, 3] if sender == "client" else [1, 2, 3])


@pytest.mark.parametrize("answer", [False, True])
def test_dns(answer: bool) -> None:
    @FEW
    @given(dns_messages(answer=answer))
    def valid(message: bytes) -> None:
        assert dns_ok(message)
        assert DNSRecord.parse(message).header.qr == answer

    @FEW
    @given(dns_messages("near", answer=answer))
    def near(message: bytes) -> None:
        assert not dns_ok(message)

    @FEW
    @given(dns_messages("garbage"))
    def garbage(message: bytes) -> None:
        dns_ok(message)

    valid()
    near()
    garbage()
    simple = DNSRecord.parse(find(dns_messages(answer=answer), lambda message: True, settings=ONCE))
    assert (str(simple.q.qname), simple.q.qtype, simple.header.id) == ("example.test.", 1, 0)
    assert simple.rr == simple.auth == simple.ar == []


def test_dns_names_and_identifiers_are_chosen() -> None:
    @FEW
    @given(dns_messages(names=["a.test", "b.test"], identifier=7))
    def check(message: bytes) -> None:
        record = DNSRecord.parse(message)
        assert (record.header.id, str(record.q.qname)) in ((7, "a.test."), (7, "b.test."))

    check()


@pytest.mark.long
def test_tftp() -> None:
    @FEW
    @given(tftp_packets())
    def valid(packet: bytes) -> None:
        assert tftp_ok(packet)

    @FEW
    @given(tftp_packets("near") | tftp_packets("garbage"))
    def others(packet: bytes) -> None:
        tftp_ok(packet)

    valid()
    others()
    assert find(tftp_packets(), lambda packet: True, settings=ONCE) == b"\0\1f\0octet\0"
    assert find(tftp_packets(operations=["data"]), lambda packet: True, settings=ONCE) == b"\0\3\0\0"


@pytest.mark.parametrize("packet", [DATAGRAM4, DATAGRAM6], ids=["IPv4", "IPv6"])
def test_icmp_errors(packet: bytes) -> None:
    family = family_of(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24])
    sent = family.parse(packet)
    assert sent is not None

    def judged(error: bytes) -> bool:
        header = family.parse(error)
        assert header is not None
        assert (header.source, header.destination) == (sent.destination, sent.source)
        message = error[header.header_length :]
        if len(message) < 8 or family.icmp != header.protocol:
            return False
        codec = messages_of(header.source)
        if codec.build(header.source, header.destination, message[0], message[1], int.from_bytes(message[4:8], "big"),
                       message[8:]) != message:  # fmt: skip
            return False
        quote = codec.read_quote(message[8:])
        return codec.is_error(message[0]) and quote is not None and quote.source == sent.source

    @FEW
    @given(icmp_errors(packet))
    def valid(error: bytes) -> None:
        assert judged(error)

    @FEW
    @given(icmp_errors(packet, "near"))
    def near(error: bytes) -> None:
        assert not judged(error)

    @FEW
    @given(icmp_errors(packet, "garbage"))
    def garbage(error: bytes) -> None:
        judged(error)

    valid()
    near()
    garbage()
    simple = find(icmp_errors(packet), lambda error: True, settings=ONCE)
    at = family.header_length
    assert (simple[at], simple[at + 1]) == ((3, 3) if family.version == 4 else (1, 4))
    assert simple[at + 8 :] == packet[: family.header_length + 8]


def test_an_icmp_error_comes_from_a_router() -> None:
    error = find(icmp_errors(DATAGRAM4, reporter="192.0.2.254"), lambda error: True)
    header = ipv4.parse(error)
    assert header is not None
    assert header.source == bytes((192, 0, 2, 254))
    assert icmp.read_quote(error[28:]) is not None


@pytest.mark.long
def test_option_strings() -> None:
    @FEW
    @given(option_strings())
    def valid(text: str) -> None:
        Config.from_qemu(text)

    @FEW
    @given(option_strings("near"))
    def near(text: str) -> None:
        with pytest.raises(ConfigError):
            Config.from_qemu(text)

    @FEW
    @given(option_strings("garbage"))
    def garbage(text: str) -> None:
        try:
            Config.from_qemu(text)
        except ConfigError:
            pass

    valid()
    near()
    garbage()
    assert find(option_strings(), lambda text: True, settings=ONCE) == "user"
    assert find(option_strings("near"), lambda text: True, settings=ONCE) == "user,nett=10.0.2.0/24"


@pytest.mark.parametrize(
    ("make", "arguments", "text"),
    [
        (dhcp_messages, {"kind": "x"}, "kind 'x' is not"),
        (dhcp_messages, {"sender": "relay"}, "\"client\" or \"server\""),
        (dhcp_messages, {"macs": ()}, "name at least one client"),
        (dhcp_messages, {"address": "::1"}, "must be IPv4 addresses"),
        (dhcp6_messages, {"sender": "relay"}, "\"client\" or \"server\""),
        (dhcp6_messages, {"address": "10.0.2.15"}, "must be an IPv6 address"),
        (dhcp6_messages, {"server": b"x"}, "3 to 130 bytes"),
        (dns_messages, {"names": ()}, "give at least one"),
        (dns_messages, {"names": ["a..b"]}, "names"),
        (dns_messages, {"identifier": 65536}, "from 0 to 65535"),
        (tftp_packets, {"operations": ["get"]}, "some of rrq, wrq"),
        (tftp_packets, {"operations": []}, "some of rrq, wrq"),
        (icmp_errors, {"packet": b"x"}, "is not an IP packet"),
        (icmp_errors, {"packet": 5}, "packet must be bytes"),
        (icmp_errors, {"packet": DATAGRAM4, "reporter": "::1"}, "family"),
        (option_strings, {"kind": "x"}, "kind 'x' is not"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make(**arguments)


@given(st.data())
def test_the_clients_are_chosen(data: st.DataObject) -> None:
    macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
    message = data.draw(dhcp_messages(macs=macs))
    assert message[28:34].hex(":") in macs
