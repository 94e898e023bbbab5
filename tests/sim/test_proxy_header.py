"""Headers of the PROXY protocol, version 2, before the data of a connection."""

from __future__ import annotations

import pytest

from slirpy import Config, ConfigError, HostForward
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.config.policy import parse_rule
from slirpy.testing import Remote, VirtualNetwork
from slirpy.wire.proxyheader import build
from tests.support.hellos import openssl_hello

MS = 1_000_000
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def test_headers_byte_by_byte() -> None:
    """Built by hand from section 2.2 of HAProxy's text."""
    four = build((b"\xc0\0\2\1", 40000), (b"\x7f\0\0\1", 80))
    assert four == SIGNATURE + bytes.fromhex("2111000c c0000201 7f000001 9c40 0050")
    six = build((bytes(15) + b"\1", 1), (b"\x7f\0\0\1", 2))
    assert (
        six
        == SIGNATURE + bytes.fromhex("21210024") + bytes(15) + b"\1" + bytes(10) + b"\xff\xff\x7f\0\0\1\0\1\0\2"
    )
    named = build((b"\xc0\0\2\1", 1), (b"\x7f\0\0\1", 2), "a.example")
    assert named.endswith(b"\2\0\x09a.example")
    assert named[14:16] == (12 + 12).to_bytes(2, "big")


@pytest.mark.parametrize("speaks_first", [True, False])
def test_a_forward_tells_the_guest_its_client(speaks_first: bool) -> None:
    net = VirtualNetwork(Config(resolvers=[], hostfwd=["tcp+proxy:127.0.0.1:8080-:80"]))
    net.boot()
    listener = net.guest.listen(80)
    client = net.host.connect("127.0.0.1", 8080, source=("127.0.0.1", 6000))
    if speaks_first:
        client.write(b"GET /" + b"x" * 100_000)
    net.run(100 * MS)
    stream = listener.accepted[0]
    header = SIGNATURE + bytes.fromhex("2111000c 7f000001 7f000001 1770 1f90")
    assert bytes(stream.received) == header + (b"GET /" + b"x" * 100_000 if speaks_first else b"")
    stream.write(b"answer")
    client.write(b"more")
    client.finish()
    net.run(100 * MS)
    assert client.received == b"answer"
    assert bytes(stream.received).endswith(b"more")
    assert stream.eof


def test_rules() -> None:
    rule = parse_hostfwd("tcp+proxy::8080-:80")
    assert rule == HostForward("tcp", "127.0.0.1", 8080, None, 80, proxy_header=True)
    assert str(rule) == "tcp+proxy:127.0.0.1:8080-:80"
    assert parse_hostfwd(str(rule)) == rule
    assert parse_hostfwd("+proxy::8080-:80") == rule
    assert rule != parse_hostfwd("tcp::8080-:80")
    with pytest.raises(ConfigError, match="PROXY protocol belongs to tcp"):
        parse_hostfwd("udp+proxy::8080-:80")
    with pytest.raises(ConfigError, match="none of tcp"):
        parse_hostfwd("sctp+proxy::8080-:80")


def test_a_redirected_connection_begins_with_guest_and_destination() -> None:
    net = VirtualNetwork(
        Config(
            resolvers=[], dns_records=["a.example A 198.51.100.7"],
            policy=["redirect tcp:a.example:443=192.0.2.1:8443 proxy-protocol",
                    "redirect tcp:any:80=192.0.2.1:8443 proxy-protocol",
                    "redirect tcp:any:81=192.0.2.1:8443"],
        )
    )  # fmt: skip
    server = net.host.serve_tcp("192.0.2.1", 8443, Remote)
    net.boot()
    net.guest.resolve("a.example")
    net.run(100 * MS)
    streams = [net.guest.connect("198.51.100.7", port) for port in (443, 80, 81)]
    net.run(100 * MS)
    heard = [bytes(connection.received) for connection in server.connections]
    guest, far = b"\x0a\0\2\x0f", b"\xc6\x33\x64\7"
    for number, port in enumerate((443, 80)):
        start, end = SIGNATURE + b"\x21\x11\0\x18" + guest + far, port.to_bytes(2, "big") + b"\2\0\x09a.example"
        assert (heard[number][: len(start)], heard[number][len(start) + 2 :]) == (start, end)
    assert heard[2] == b""
    hello = openssl_hello("a.example")
    streams[0].write(hello)
    streams[1].write(b"x")
    net.run(100 * MS)
    assert bytes(server.connections[0].received) == heard[0] + hello
    assert bytes(server.connections[1].received) == heard[1] + b"x"


def test_headers_are_for_redirects() -> None:
    text = "redirect tcp:any:443=127.0.0.1:8443 proxy-protocol"
    assert str(parse_rule(text)) == text
    with pytest.raises(ConfigError, match="rules that redirect"):
        parse_rule("allow any:443 proxy-protocol")
