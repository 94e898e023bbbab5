"""Fuzzing of the codecs: each target reads bytes, and checks what it finds in them.

No input raises an exception, but for those that a codec documents. What was read and is written again reads the same.
"""

from __future__ import annotations

from collections.abc import Callable

from slirpy.config.embedded import embedded_ipv4
from slirpy.core import offload
from slirpy.interfaces import (
    UNDECIDED,
    Action,
    Datagram,
    Finding,
    FlowRequest,
    IPProtocol,
    Passed,
    Refused,
    Verdict,
)
from slirpy.nat.inspection import first_bytes
from slirpy.tcp import options as tcp_options
from slirpy.wire import (
    arp,
    checksum,
    dhcp,
    dhcp6,
    dns,
    domainname,
    ethernet,
    extension,
    ipv4,
    ipv6,
    mld,
    ndp,
    ndpoption,
    tftp,
    udp,
)
from slirpy.wire.describe import describe
from slirpy.wire.http2 import PREFACE
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import family_of
from tests.property import fuzz_world
from tests.support.fake_network import FakeSink
from tests.support.frames6 import ALL_NODES, GUEST6, LINK_LOCAL, WORLD6
from tests.support.harness import GUEST, GUEST_MAC, WORLD
from tests.support.quic import initial

__all__ = ["CODECS"]


def ethernet_(data: bytes) -> None:
    """Frames of any kind: tags, the description of traces, the layout for offloads."""
    assert isinstance(describe(data), str)
    if len(data) < ethernet.HEADER_LENGTH:
        return
    view = memoryview(data)
    assert ethernet.payload_offset(view) % 4 == 2
    where = offload.layout(view)
    if where is None:
        return
    assert 14 <= where.ip < where.transport < where.data <= where.end <= len(data)
    for size in (100, 1000, 65535) if where.cuttable else (65535,):
        frames = list(offload.segments(view, where, size))
        assert b"".join(bytes(frame.parts[-1]) for frame in frames).endswith(data[where.data : where.end])
    offload.partial(view, where, 1000)
    offload.sum_ok(view, where)


def arp_(data: bytes) -> None:
    """ARP packets."""
    packet = arp.parse(data)
    if packet is not None:
        assert arp.build(packet) == data[:28]


def checksum_(data: bytes) -> None:
    """The Internet checksum, over whole and divided data."""
    assert checksum.checksum(data) == fuzz_world.checksum(data) % 0xFFFF
    at = min(data[0] if data else 0, len(data)) & ~1
    pieces = data[:at], data[at:]
    assert checksum.ones_sum_all(pieces) % 65535 == checksum.ones_sum(data) % 65535


def ipv4_(data: bytes) -> None:
    """IPv4 headers."""
    header = ipv4.parse(data)
    if header is None:
        return
    assert 20 <= header.header_length <= header.total_length <= len(data)
    assert header.fragment_offset <= 65528
    ipv4.header_ok(data, header.header_length)
    checksum.transport_ok(data, header.header_length, header.total_length, header.protocol)
    built = family_of(header.source).build(header.source, header.destination, header.protocol, 8)
    again = ipv4.parse(built + bytes(8))
    assert again is not None
    assert again[-3:] == header[-3:]
    messages_of(header.source).is_answerable(data, header)


def ipv6_(data: bytes) -> None:
    """IPv6 headers, and the extension headers behind them."""
    header = ipv6.parse(data)
    if header is None:
        return
    assert header.total_length <= len(data)
    extension.is_answerable(data, header)
    mld.has_router_alert(data)
    list(embedded_ipv4(header.destination))
    for reassembled in (False, True):
        found = extension.walk(data, header, reassembled=reassembled)
        if isinstance(found, extension.Refusal):
            assert found.pointer <= len(data)
            continue
        assert 40 <= found.header_length <= found.total_length
        assert data[found.named_at] == found.protocol
        extension.is_answerable(data, found)
        if not found.is_fragment:
            continue
        whole = extension.unfragmented(data, found, data[found.header_length : found.total_length])
        again = ipv6.parse(whole)
        assert again is not None
        if not found.fragment_offset:
            result = extension.walk(whole, again, reassembled=True)
            assert isinstance(result, extension.Refusal) or result.header_length >= found.fragment_at


def icmp_(data: bytes) -> None:
    """ICMP and ICMPv6 messages, and the packets that errors quote."""
    if len(data) < 8:
        return
    kind, code, rest = data[0], data[1], int.from_bytes(data[4:8], "big")
    for address in (GUEST, GUEST6):
        messages = messages_of(address)
        trouble = messages.read_error(kind, code, rest)
        assert trouble.error >= 0
        assert trouble.mtu == 0 or trouble.error
        cause = messages.cause_of(kind, code)
        if cause is not None:
            assert messages.cause_of(*messages.error_of(cause, 1400)[:2]) is not None
        quote = messages.read_quote(data[8:])
        if quote is not None:
            assert len(quote.transport) >= 8
            assert len(quote.source) == len(quote.destination) == len(address)
        message = messages.build(address, address, kind, code, rest, data[8:])
        assert message[4:] == data[4:]


_HEADERS = [
    ipv6.parse(ipv6.build(source, destination, ipv6.ICMPV6, 0, hops))
    for source, destination, hops in (
        (LINK_LOCAL, ALL_NODES, 255), (LINK_LOCAL, LINK_LOCAL, 255), (bytes(16), ALL_NODES, 255),
        (LINK_LOCAL, ALL_NODES, 1), (bytes(16), ALL_NODES, 1), (GUEST6, WORLD6, 64),
    )
]  # fmt: skip


def ndp_(data: bytes) -> None:
    """Messages of Neighbor Discovery, and their options."""
    found = ndpoption.read_options(data)
    if found is not None:
        packed: list[ndpoption.NdpOption] = [*found.prefixes, *found.rdnss, *found.pref64]
        for option in packed:
            again = ndpoption.read_options(option.pack())
            assert again is not None
            read: list[ndpoption.NdpOption] = [*again.prefixes, *again.rdnss, *again.pref64]
            assert option in read
    if len(data) < 4:
        return
    message = memoryview(data)
    for header in _HEADERS:
        assert header is not None
        for reader in (
            ndp.read_router_solicitation, ndp.read_router_advertisement, ndp.read_neighbor_solicitation,
            ndp.read_neighbor_advertisement, ndp.read_redirect,
        ):  # fmt: skip
            reader(header, message)


def mld_(data: bytes) -> None:
    """Reports and queries of Multicast Listener Discovery."""
    if len(data) < 4:
        return
    for kind in (data[0], mld.REPORT, mld.REPORT_V2, mld.DONE):
        message = memoryview(bytes((kind,)) + data[1:])
        for header in _HEADERS:
            assert header is not None
            if kind in (mld.REPORT, mld.REPORT_V2, mld.DONE):
                records = mld.read_report(header, message)
                if records is not None and kind == mld.REPORT_V2:
                    assert mld.read_report(header, memoryview(mld.report(LINK_LOCAL, records))) == records
            query = mld.read_query(header, message)
            assert query is None or query.version in (1, 2)


def udp_(data: bytes) -> None:
    """Runs of datagrams, and their headers; the first bytes are the lengths."""
    payloads, at = [], 8
    for length in data[:8]:
        payloads.append(data[at : at + length])
        at += length
    if not payloads:
        return
    count = udp.run_length(payloads, 0)
    assert 1 <= count <= len(payloads)
    assert all(len(payload) == len(payloads[0]) for payload in payloads[: count - 1])
    for source, destination in ((GUEST, WORLD), (GUEST6, WORLD6)):
        segment = udp.build(source, 5, destination, 9, data) + data
        family = family_of(source)
        pseudo = family.pseudo_sum(source, destination, 17, len(segment))
        assert (checksum.ones_sum(segment) + pseudo) % 65535 == 0
        assert segment[6:8] != b"\0\0"


def tcp_options_(data: bytes) -> None:
    """Options of TCP segments."""
    found = tcp_options.parse(data[:40])
    if found.bad or len(found.sack) > 4:
        return
    assert tcp_options.parse(found.encode()) == found


def dhcp_(data: bytes) -> None:
    """Messages of DHCP and BOOTP."""
    request = dhcp.read_request(
        Datagram(bytes(4), 68, b"\xff" * 4, 67, memoryview(data), GUEST_MAC, FakeSink())
    )
    if request is None:
        return
    assert len(request.mac) == 6
    assert not request.mac[0] & 1
    assert request.kind is None or 0 <= request.kind <= 255
    assert len(request.ciaddr) == 4
    assert request.relay is None or len(request.relay) == 4
    for limit in (300, 576, 1472):
        message = dhcp.write_message(dhcp.reply_header(request), request.options.items(), limit)
        assert 300 <= len(message) <= limit
        again = dhcp.read_message(message)
        assert again is not None
        assert again[1].keys() - {52} <= request.options.keys()


def dhcp6_(data: bytes) -> None:
    """Messages of DHCPv6, forwarded or not."""
    found = dhcp6.read_relayed(data)
    if found is None:
        return
    message, relays = found
    for name in (
        "client_id", "server_id", "associations", "requested", "status", "preference", "dns_servers", "domains",
        "user_classes", "vendor_classes", "architectures", "fqdn",
    ):  # fmt: skip
        getattr(message, name)
    if message.client_id is not None:
        mac = dhcp6.mac_of_duid(message.client_id)
        assert mac is None or len(mac) == 6
    options = [dhcp6.pack_option(code, value) for code, values in message.options.items() for value in values]
    again = dhcp6.read_message(dhcp6.write_message(message.kind, message.transaction, options))
    assert again == message
    assert bool(relays) == (dhcp6.pack_relayed(relays, b"") != b"")


def dns_(data: bytes) -> None:
    """Queries, answers and names of DNS."""
    names = domainname.read_names(data)
    if names is not None and not any("\\" in name for name in names):
        assert domainname.read_names(domainname.pack_names(names)) == names
    query = dns.read_query(data)
    if query is not None:
        for name in ("is_internet", "accepts_internet", "validates", "share_key", "cache_key", "udp_size"):
            getattr(query, name)
        for answer in (query.reply(0), query.reply(3), query.reply(16), query.truncated()):
            assert query.answered_by(answer, int.from_bytes(data[:2], "big")) or not query.question
            assert dns.records_of(query, answer) is not None
        assert query.readdressed(query.reply(2)) == query.reply(2)
        if query.question:
            assert query.upstream(7, query.question)[2:] == data[2:]
        if query.question and not query.refusal:
            made = dns.read_query(dns.make_query(query, b"\1a\0", 28).message)
            assert made is not None
            assert (made.name, made.qtype, made.refusal) == (b"\1a\0", 28, 0)
    if len(data) >= 12:
        records = dns.read_records(data, 12)
        assert records is None or records.end <= len(data)


def tftp_(data: bytes) -> None:
    """Requests of TFTP."""
    try:
        request = tftp.read_request(data)
    except tftp.RefusalError as why:
        tftp.error(why.code, why.text)
        return
    assert request.mode == request.mode.lower()
    assert all(name == name.lower() for name, _ in request.options)


def _first_bytes(data: bytes, port: int, protocol: IPProtocol, mode: str) -> None:
    """A client that says this, cut at a place that the first byte tells, to an inspector."""
    request = FlowRequest(protocol, "10.0.2.15", 40000, "192.0.2.1", port)
    cut = data[0] if data else 0
    findings = []
    for pieces in ((data[1:],), (data[1 : 1 + cut], data[1 + cut :])):
        reader = first_bytes(request, Verdict(Action.ALLOW, names=("a.example",), tls=mode))
        assert reader is not None
        finding: Finding = UNDECIDED
        for piece in pieces:
            finding = reader.feed(piece)
            if isinstance(finding, Refused) or (isinstance(finding, Passed) and not finding.more):
                break
            assert not isinstance(finding, Passed) or set(finding.names) <= {"a.example"}
        findings.append(type(finding))
    if protocol == IPProtocol.TCP:
        assert findings[0] is findings[1], findings  # however the stream is cut


def tls_(data: bytes) -> None:
    """First bytes of a client at port 443."""
    _first_bytes(data, 443, IPProtocol.TCP, "strict")


def http_(data: bytes) -> None:
    """First bytes of a client at port 80, and at one that other protocols use too."""
    _first_bytes(data, 80, IPProtocol.TCP, "strict")
    _first_bytes(data, 22, IPProtocol.TCP, "sni-optional")


def http2_(data: bytes) -> None:
    """Frames of a client of HTTP/2."""
    _first_bytes(
        data[:1] + PREFACE + bytes.fromhex("000000040000000000") + data[1:], 80, IPProtocol.TCP, "strict"
    )


def quic_(data: bytes) -> None:
    """A datagram to a QUIC server; and its frames, properly encrypted."""
    _first_bytes(data, 443, IPProtocol.UDP, "strict")
    _first_bytes(data[:1] + initial(data[1:1200]), 443, IPProtocol.UDP, "ech")


CODECS: dict[str, Callable[[bytes], None]] = {
    "arp": arp_,
    "checksum": checksum_,
    "dhcp": dhcp_,
    "dhcp6": dhcp6_,
    "dns": dns_,
    "ethernet": ethernet_,
    "http": http_,
    "http2": http2_,
    "icmp": icmp_,
    "ipv4": ipv4_,
    "ipv6": ipv6_,
    "mld": mld_,
    "ndp": ndp_,
    "quic": quic_,
    "tcp_options": tcp_options_,
    "tftp": tftp_,
    "tls": tls_,
    "udp": udp_,
}
