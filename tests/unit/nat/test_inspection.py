"""Inspection of the first bytes of flows that a name allowed."""

from __future__ import annotations

import sys

import hpack
import pytest

from slirpy.interfaces import (
    UNDECIDED,
    Action,
    Finding,
    FirstBytes,
    FlowRequest,
    IPProtocol,
    Passed,
    Refused,
    Verdict,
)
from slirpy.nat.inspection import first_bytes
from slirpy.nat.inspection.quic import MAX_BYTES, MAX_CONNECTIONS
from slirpy.nat.inspection.streams import WEB_PORTS, StreamInspection
from slirpy.wire.http1 import METHODS, forbidden
from slirpy.wire.http2 import PREFACE
from slirpy.wire.tls import ALERT_ACCESS_DENIED
from tests.support.hellos import client_hello, extension, openssl_hello, record, recorded, records, server_name
from tests.support.quic import crypto, initial

NAMES = ("a.example", "b.example")
SETTINGS = bytes.fromhex("000000040000000000")


def inspection(port: int = 443, tls: str = "strict", protocol: int = IPProtocol.TCP) -> FirstBytes:
    """An inspection of a flow that the names allowed."""
    request = FlowRequest(protocol, "10.0.2.15", 40000, "192.0.2.1", port)
    found = first_bytes(request, Verdict(Action.ALLOW, names=NAMES, tls=tls))
    assert found is not None
    return found


def say(*pieces: bytes, port: int = 443, tls: str = "strict") -> Finding:
    """The last finding."""
    reader = inspection(port, tls)
    return [reader.feed(piece) for piece in pieces][-1]


def h2_request(stream: int, host: str) -> bytes:
    """A HEADERS frame without entries in the dynamic table."""
    block = hpack.Encoder().encode([(":authority", host, True), (":method", "GET")])
    return len(block).to_bytes(3, "big") + b"\1\5" + stream.to_bytes(4, "big") + block


def test_nothing_is_inspected_unless_the_verdict_demands_it() -> None:
    request = FlowRequest(IPProtocol.TCP, "10.0.2.15", 40000, "192.0.2.1", 443)
    assert first_bytes(request, Verdict(Action.ALLOW, names=NAMES, tls="off")) is None
    assert first_bytes(request, Verdict(Action.ALLOW)) is None
    other = FlowRequest(IPProtocol.UDP, "10.0.2.15", 40000, "192.0.2.1", 53)
    assert first_bytes(other, Verdict(Action.ALLOW, names=NAMES)) is None


@pytest.mark.parametrize("port", [443, 22, 993])
def test_tls_has_to_say_an_allowed_name(port: int) -> None:
    assert say(openssl_hello("B.example"), port=port) == Passed("tls", ("b.example",))
    forged = say(openssl_hello("evil.example"), port=port)
    assert isinstance(forged, Refused)
    assert forged.names == ("evil.example",)
    assert "evil.example" in forged.reason
    assert forged.answer[0] == 21  # an alert
    for bad in (
        openssl_hello(None),
        record(client_hello(server_name(b"a.example"), after=b"x")),
        b"\x16\3\1\0\0",
    ):
        assert isinstance(say(bad, port=port), Refused)


def test_nothing_is_decided_before_the_hello_is_complete() -> None:
    data = records(openssl_hello("a.example")[5:], 7)
    reader = inspection()
    assert {type(reader.feed(data[at : at + 1])) for at in range(len(data) - 1)} == {type(UNDECIDED)}
    assert reader.feed(data[-1:]) == Passed("tls", ("a.example",))
    assert isinstance(inspection().end(), Refused)


def test_encrypted_hellos_need_a_rule_of_their_own() -> None:
    grease = extension(0xFE0D, b"\0\0\1\0\1\7\0\1e\0\1p")
    hello = record(client_hello(server_name(b"a.example"), grease))
    for mode in ("strict", "sni-optional"):
        refused = say(hello, tls=mode)
        assert isinstance(refused, Refused)
        assert "ECH" in refused.reason
    assert say(hello, tls="ech") == Passed("tls", ("a.example",))
    assert isinstance(say(record(client_hello(server_name(b"front.example"), grease)), tls="ech"), Refused)
    assert isinstance(say(record(client_hello(grease)), tls="ech"), Refused)
    assert isinstance(say(recorded()["Chromium 156"]), Refused)


def test_a_missing_name_may_be_allowed_a_wrong_one_never() -> None:
    assert say(openssl_hello(None), tls="sni-optional") == Passed("tls")
    assert isinstance(say(openssl_hello("evil.example"), tls="sni-optional"), Refused)
    assert say(b"SSH-2.0-x\r\n", tls="sni-optional") == Passed("ssh")
    assert say(b"GET / HTTP/1.0\r\n\r\n", tls="sni-optional") == Passed("http/1", more=True)
    assert isinstance(say(b"GET / HTTP/1.1\r\n\r\n", tls="sni-optional"), Refused)
    assert isinstance(say(b"GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n", tls="sni-optional"), Refused)
    assert inspection(tls="sni-optional").end() == Passed("other")


@pytest.mark.parametrize("port", [80, 8080, 22, 9000])
def test_each_request_has_to_name_an_allowed_host(port: int) -> None:
    reader = inspection(port)
    request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    assert reader.feed(request[:20]) == UNDECIDED
    assert reader.feed(request[20:] + b"GET /") == Passed("http/1", ("a.example",), more=True, held=5)
    assert reader.feed(b" HTTP/1.1\r\n") == Passed("http/1", (), more=True, held=16)
    assert reader.feed(b"Host: b.example\r\n\r\n") == Passed("http/1", ("b.example",), more=True)
    later = reader.feed(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert isinstance(later, Refused)
    assert later.answer == b""  # the server may be speaking
    first = say(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", port=port)
    assert isinstance(first, Refused)
    assert first.names == ("evil.example",)
    assert first.answer.startswith(b"HTTP/1.1 403 ")
    for bad in (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
                b"GET http://evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
                b"GET / HTTP/1.1\nHost: a.example\n\n"):  # fmt: skip
        assert isinstance(say(bad, port=port), Refused)


def test_http2_names_a_host_in_each_request() -> None:
    reader = inspection(80)
    assert reader.feed(PREFACE + SETTINGS) == UNDECIDED
    assert reader.feed(h2_request(1, "a.example")) == Passed("h2", ("a.example",), more=True)
    assert isinstance(reader.feed(h2_request(3, "evil.example")), Refused)
    assert isinstance(say(PREFACE + SETTINGS + h2_request(1, "evil.example")), Refused)
    assert say(PREFACE[:2]) == UNDECIDED


def test_bodies_are_not_read() -> None:
    reader = inspection(80)
    assert isinstance(reader, StreamInspection)
    reader.feed(b"PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n")
    assert reader.body == 100
    reader.skip(100)
    assert isinstance(reader.feed(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), Refused)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_upgrades(protocol: bytes, accepted: bool) -> None:
    """The stream is hidden afterwards only if the server has agreed to another protocol."""
    reader = inspection(80)
    assert isinstance(reader, StreamInspection)
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: " + protocol + b"\r\n\r\n"
    after = PREFACE + SETTINGS + h2_request(3, "evil.example")
    assert reader.feed(head + after[:30]) == Passed("http/1", ("a.example",), more=True, held=30)
    reader.heard(b"HTTP/1.1 101 Yes\r\n\r\n" if accepted else b"HTTP/1.1 200 OK\r\n\r\n")
    finding = reader.feed(b"")
    if accepted and protocol == b"websocket":
        assert finding == Passed("http/1", (), more=True)
        assert reader.body is None
    else:
        assert isinstance(finding, Refused) or isinstance(reader.feed(after[30:]), Refused)


@pytest.mark.parametrize("start", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\0\0\x08\x04\xd2\x16\x2f", b"EHLO x\r\n",
                                   b"\x80abc", b"\x16x", b"*1\r\n$4\r\nPING\r\n", b"0032git-upload-pack /x\0host=y\0",
                                   b"HELLO", b"GETX / "])  # fmt: skip
def test_other_protocols_pass_by_address_and_port(start: bytes) -> None:
    assert 22 not in WEB_PORTS
    passed = say(start, port=22)
    assert isinstance(passed, Passed)
    assert not passed.more
    for port in WEB_PORTS:
        finding = say(start, port=port)
        if finding == UNDECIDED:
            finding = say(start, b"\n\n", port=port)
        assert isinstance(finding, Refused), port


@pytest.mark.parametrize("start", [b"\x16", b"P", b"PRI", b"GE", b"\x80", b"\x80\x2e\1", b"PROPF"])
def test_beginnings_decide_nothing(start: bytes) -> None:
    assert say(start, port=22) == UNDECIDED


def test_old_hellos_are_refused_anywhere() -> None:
    assert isinstance(say(b"\x80\x2e\1\3\1", port=22), Refused)
    assert isinstance(say(b"\x80", port=443), Refused)


def taken_for(reader: FirstBytes, start: bytes) -> str:
    """The protocol of some first bytes; the end of the client shows it of those that decide nothing."""
    finding = reader.feed(start)
    if finding != UNDECIDED:
        return getattr(finding, "kind", "") or "refused"
    ended = reader.end()
    assert ended == Passed("other") or (isinstance(ended, Refused) and ended.reason == UNNAMED)
    return ended.kind if isinstance(ended, Refused) and ended.kind else "undecided"


REQUEST = b"GET / HTTP/1.1\r\nHost: "
GREASE = extension(0xFE0D, b"\0\0\1\0\1\7\0\1e\0\1p")
UNNAMED = "the client ended before it said a name"
WRONG_SNI = "SNI evil.example is not an allowed name of this address"
WRONG_HOST = "Host evil.example is not an allowed name of this address"
OLD_HELLO = "SSL 2 hello, or no web protocol"


@pytest.mark.parametrize(
    ("data", "tls", "reason", "names", "kind"),
    [
        (openssl_hello("evil.example"), "strict", WRONG_SNI, ("evil.example",), "tls"),
        (openssl_hello(None), "strict", "no SNI", (), "tls"),
        (b"\x16\3\1\0\0", "strict", "TLS record of a forbidden length", (), "tls"),
        (b"\x16\2\1\0\0", "strict", "unknown TLS version", (), "tls"),
        (record(client_hello(server_name(b"a.example"), GREASE)), "strict",
         "ECH may hide the name (browsers need tls=ech)", ("a.example",), "tls"),
        (record(client_hello(GREASE)), "ech", "no SNI", (), "tls"),
        (REQUEST + b"evil.example\r\n\r\n", "strict", WRONG_HOST, ("evil.example",), "http/1"),
        (b"GET / HTTP/1.0\r\n\r\n", "ech", "no Host", (), "http/1"),
        (b"HELLO\r\n\r\n", "strict", "malformed HTTP request line", (), "http/1"),
        (PREFACE + SETTINGS + h2_request(1, "evil.example"), "strict", WRONG_HOST, ("evil.example",), "h2"),
        (b"\x80", "strict", OLD_HELLO, (), ""),
    ],
)  # fmt: skip
def test_refusals_have_reason_names_protocol_and_answer(
    data: bytes, tls: str, reason: str, names: tuple[str, ...], kind: str
) -> None:
    """A client of TLS hears an alert, one of HTTP/1 a response, all others nothing."""
    answer = ALERT_ACCESS_DENIED if kind == "tls" else b""
    if data.startswith(b"GET"):
        answer = forbidden(reason)
    assert say(data, tls=tls) == Refused(reason, names, kind, answer)


def test_a_later_request_is_refused_without_an_answer() -> None:
    allowed = REQUEST + b"a.example\r\n\r\n"
    assert say(allowed, REQUEST + b"evil.example\r\n\r\n") == Refused(WRONG_HOST, ("evil.example",), "http/1")
    assert say(allowed, b"bogus\r\n\r\n") == Refused("malformed HTTP request line", (), "http/1")


def test_hosts_of_several_requests_are_named_once_in_their_order() -> None:
    first, second = REQUEST + b"a.example\r\n\r\n", REQUEST + b"b.example\r\n\r\n"
    assert say(second + second + first) == Passed("http/1", ("b.example", "a.example"), more=True)


@pytest.mark.parametrize(
    ("start", "web", "elsewhere"),
    [
        (b"", "undecided", "undecided"),
        (b"\x16\2", "tls", "other"),  # only version 3 is TLS
        (b"\x16\3", "tls", "tls"),
        (b"\x80", "refused", "undecided"),
        (b"\x80\x2e\1", "refused", "undecided"),
        (b"\x80\x2e\2", "refused", "other"),
        (b"\x80\x2e\1\0", "refused", "refused"),
        (b"\x80\x2e\1\2", "refused", "other"),
        (b"\x80\x2e\1\3", "refused", "refused"),
        (b"\x80\x2e\2\3", "refused", "other"),
        (b"\xff\x2e\1\3", "refused", "refused"),
        (b"\x7f\x2e\1\3", "http/1", "other"),
        (b"PRI ", "h2", "h2"),
        (b"PRI", "undecided", "undecided"),
        (b"PRx", "http/1", "other"),
        (b"SSH-", "http/1", "ssh"),
        (b"MKCALENDAR", "http/1", "undecided"),
        (b"MKCALENDAR ", "http/1", "http/1"),
        (b"MKCALENDARS ", "http/1", "other"),
        (b"GETS ", "http/1", "other"),
    ],
)
def test_protocols_are_recognized_by_their_first_bytes(start: bytes, web: str, elsewhere: str) -> None:
    assert taken_for(inspection(443), start) == web
    assert taken_for(inspection(22), start) == elsewhere
    assert taken_for(inspection(443, "sni-optional"), start) == elsewhere


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_is_recognized_at_any_port(method: bytes) -> None:
    reader = inspection(22)
    assert [reader.feed(method[:1]), reader.feed(method[1:])] == [UNDECIDED, UNDECIDED]
    assert taken_for(reader, b" ") == "http/1"


def test_an_end_after_a_name_is_no_refusal() -> None:
    for kind, data in (
        ("http/1", REQUEST + b"a.example\r\n\r\n"),
        ("h2", PREFACE + SETTINGS + h2_request(1, "a.example")),
    ):
        reader = inspection()
        reader.feed(data)
        assert reader.end() == Passed(kind)
    assert quic().end() == UNDECIDED


def test_a_hello_has_no_body() -> None:
    reader = inspection(80)
    assert isinstance(reader, StreamInspection)
    assert reader.body == 0
    reader.skip(3)
    reader.feed(b"\x16\3")
    assert reader.body == 0
    reader.skip(3)


def test_http2_bodies_are_not_read() -> None:
    reader = inspection(80)
    assert isinstance(reader, StreamInspection)
    reader.feed(PREFACE + SETTINGS + h2_request(1, "a.example") + b"\0\0\x64\0\0\0\0\0\1")
    assert reader.body == 100
    reader.skip(100)
    assert reader.body == 0
    assert isinstance(reader.feed(h2_request(3, "evil.example")), Refused)


@pytest.mark.parametrize(
    ("port", "rule", "reads"),
    [
        (443, "", True),
        (853, "", False),
        (443, "allow tcp:x", True),
        (853, "allow quic:x", True),
        (853, "quic:x", False),
    ],
)
def test_quic_is_read_at_its_port_and_where_a_rule_says_so(port: int, rule: str, *, reads: bool) -> None:
    request = FlowRequest(IPProtocol.UDP, "10.0.2.15", 40000, "192.0.2.1", port)
    verdict = Verdict(Action.ALLOW, names=NAMES, rule=rule)
    assert (first_bytes(request, verdict) is not None) == reads


# ---------------------------------------------------------------------------------------- QUIC


def quic(tls: str = "strict") -> FirstBytes:
    """An inspection of a QUIC flow."""
    return inspection(443, tls, IPProtocol.UDP)


def hello(name: bytes, *more: bytes) -> bytes:
    """A ClientHello."""
    return client_hello(server_name(name), *more)


def test_quic_has_to_say_an_allowed_name() -> None:
    assert quic().feed(initial(crypto(0, hello(b"a.example")))) == Passed("quic", ("a.example",), more=True)
    for bad in (hello(b"evil.example"), client_hello()):
        assert isinstance(quic().feed(initial(crypto(0, bad))), Refused)
    for garbage in (b"\xc1\0\0\0\1", b"\xc1\xff\0\0\x1d" + bytes(60), initial(b"")[:-1] + b"x"):
        assert isinstance(quic().feed(garbage), Refused)
    assert isinstance(
        quic().feed(initial(crypto(0, hello(b"a.example", extension(0xFE0D, b"\0" * 8 + b"\0\1p"))))), Refused
    )


@pytest.mark.parametrize(
    ("datagram", "reason", "names"),
    [
        (initial(crypto(0, hello(b"evil.example"))), WRONG_SNI, ("evil.example",)),
        (initial(crypto(0, client_hello())), "no SNI", ()),
        (initial(crypto(0, hello(b"a.example", GREASE))), "ECH may hide the name (browsers need tls=ech)",
         ("a.example",)),
        (b"\xc1\0\0\0\1", "malformed QUIC connection ID", ()),
        (b"\xc1\xff\0\0\x1d" + bytes(60), "QUIC version 0xff00001d", ()),
        (initial(b"")[:-1] + b"x", "QUIC packet that cannot be read", ()),
    ],
)  # fmt: skip
def test_quic_refusals_have_reason_and_names(datagram: bytes, reason: str, names: tuple[str, ...]) -> None:
    assert quic().feed(datagram) == Refused(reason, names, "quic")


def test_quic_may_say_no_name_where_that_is_allowed() -> None:
    assert quic("sni-optional").feed(initial(crypto(0, client_hello()))) == Passed("quic", more=True)


def test_each_packet_of_a_datagram_is_read() -> None:
    """A packet of a connection that exists hides no later one."""
    reader = quic()
    good = initial(crypto(0, hello(b"a.example")))
    assert isinstance(reader.feed(good), Passed)
    foreign = initial(b"", destination=b"servers")[:-1] + b"x"
    other = initial(crypto(0, hello(b"b.example")), destination=b"another")
    assert reader.feed(foreign + other + good) == Passed("quic", ("b.example", "a.example"), more=True)
    evil = initial(crypto(0, hello(b"evil.example")), destination=b"third")
    assert isinstance(reader.feed(foreign + good + evil), Refused)


def test_quic_hellos_in_two_datagrams() -> None:
    reader = quic()
    whole = hello(b"a.example", extension(51, bytes(1500)))
    assert reader.feed(initial(crypto(0, whole[:1000]))) == UNDECIDED
    assert reader.feed(b"\x40" + bytes(30)) == UNDECIDED  # what is not Initial waits, too
    assert reader.feed(initial(crypto(1000, whole[1000:]), 1)) == Passed("quic", ("a.example",), more=True)
    assert reader.feed(b"\x40" + bytes(30)) == Passed("quic", (), more=True)


def test_each_quic_connection_of_a_port_is_read() -> None:
    reader = quic()
    good = initial(crypto(0, hello(b"a.example")))
    assert reader.feed(good) == reader.feed(good)
    foreign = bytearray(initial(b"", destination=b"servers"))
    foreign[-1] ^= 1  # under other keys: of the connection that exists
    assert reader.feed(bytes(foreign)) == Passed("quic", (), more=True)
    second = initial(crypto(0, hello(b"evil.example")), destination=b"second")
    assert isinstance(reader.feed(second), Refused)


def test_a_quic_hello_cannot_be_exchanged_later() -> None:
    reader = quic()
    assert isinstance(reader.feed(initial(crypto(0, hello(b"a.example")))), Passed)
    assert isinstance(reader.feed(initial(crypto(0, hello(b"c.example")), 1)), Refused)


def test_quic_connections_of_a_port_are_bounded() -> None:
    reader = quic()

    def opened(number: int) -> Finding:
        return reader.feed(initial(crypto(0, hello(b"a.example")), destination=number.to_bytes(8, "big")))

    findings = {opened(number) for number in range(MAX_CONNECTIONS)}
    assert findings == {Passed("quic", ("a.example",), more=True)}
    assert opened(MAX_CONNECTIONS) == Refused("too many QUIC connections from one port", kind="quic")


def test_bytes_of_quic_hellos_of_a_port_are_bounded() -> None:
    """An incomplete hello counts up to the last byte that came."""
    reader = quic()
    sizes = [16384] * (MAX_BYTES // 16384)
    for number, size in enumerate(sizes):
        datagram = initial(crypto(size - 1, b"x"), destination=number.to_bytes(8, "big"))
        assert reader.feed(datagram) == UNDECIDED
    last = initial(crypto(1, b"x"), destination=b"the last")
    assert reader.feed(last) == Refused("too many QUIC connections from one port", kind="quic")


def test_without_its_library_quic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slirpy.nat.inspection.quic", None)
    request = FlowRequest(IPProtocol.UDP, "10.0.2.15", 40000, "192.0.2.1", 443)
    first = first_bytes(request, Verdict(Action.ALLOW, names=["a.example"]))
    assert first is not None
    assert isinstance(first.feed(b"\xc0"), Refused)
    assert isinstance(first.end(), Refused)
