"""A resolver of the host's at an address of the virtual network, such as 10.0.2.3; and one with a scope.

A host that is itself behind a user-mode network has such a resolver, and it is another server than ours. But where
the virtual network is routed on the host it is ours, and what is sent there comes back.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from dnslib import RCODE

from slirpy import Config, ConfigError
from slirpy.config.resolver import Resolver, parse_resolver
from slirpy.host.addresses import name_of, place_of
from slirpy.services.dns import DnsService
from slirpy.wire.scope import split_scope, with_scope
from tests.unit.services.dns.world import (
    DNS,
    SECOND_SERVER,
    World,
    answer_to,
    ask,
    connect,
    fetch,
    framed,
    records,
)

HOST = bytes((10, 0, 2, 77))


@pytest.mark.parametrize("address", ["10.0.2.3", "10.0.2.2", "10.0.2.15", "10.0.2.200"])
@pytest.mark.parametrize("named", ["configuration", "resolv.conf"])
def test_a_resolver_inside_the_network_is_queried_like_any_other(
    tmp_path: Path, address: str, named: str
) -> None:
    world = World((address,))
    if named == "resolv.conf":
        path = tmp_path / "resolv.conf"
        path.write_text(f"nameserver {address}\n")
        world.service = DnsService(Config(), world.network, world.host, resolv_conf=str(path))
    for kind in ("A", "TXT"):
        world.say(ask(qtype=kind).pack())
        assert world.socket.sent[-1][1:] == (socket.inet_aton(address), 53)
        assert world.relay(answer_to(world.upstream())).header.rcode == RCODE.NOERROR
    stream, _ = connect(world)
    stream.send([framed(ask("tcp.test").pack())])
    world.network.run()
    (upstream,) = world.host.tcp
    assert (upstream.address, upstream.port) == (socket.inet_aton(address), 53)
    upstream.give(framed(answer_to(bytes(upstream.sent[2:]))))
    world.network.run()
    data, _ = fetch(stream)
    assert len(records(data)) == 1
    assert world.host.lookups == []


def test_a_query_that_comes_back_goes_to_the_next_server_at_once() -> None:
    world = World(("10.0.2.3", "127.0.0.54"))
    for number in range(2):
        world.say(ask(f"name{number}.test", identifier=number).pack())
        if number == 0:
            world.say(world.upstream(), HOST, 40000)
            assert world.stats.drop_dns_loop == 1
            assert world.network.take() == []
            world.network.run()  # and not after a second
        assert world.socket.sent[-1][1:] == (SECOND_SERVER, 53)  # the other is asked last from now on
        assert world.relay(answer_to(world.upstream())).header.id == number
    assert world.stats.dns_servers_failed == 1


def test_a_query_that_comes_back_to_the_only_server_fails_at_once() -> None:
    world = World(("10.0.2.3",))
    for number in range(3):
        world.say(ask(f"name{number}.test", identifier=number).pack())
        world.say(world.upstream(), HOST, 40000)
        assert world.heard().header.rcode == RCODE.SERVFAIL
    assert world.stats.drop_dns_loop == 3
    assert world.network.pending == 0
    assert not world.service._udp.servers._returning


def test_a_query_over_tcp_that_comes_back() -> None:
    world = World(("10.0.2.3",))
    stream, _ = connect(world)
    stream.send([framed(ask().pack())])
    world.network.run()
    back, _ = connect(world)
    back.send([bytes(world.host.tcp[0].sent)])
    world.network.run()
    for each in (back, stream):
        data, _ = fetch(each)
        assert [heard.header.rcode for heard in records(data)] == [RCODE.SERVFAIL]
    assert world.stats.drop_dns_loop == 1
    assert not world.service._tcp.servers._returning


def test_only_an_exact_copy_of_our_query_is_a_loop() -> None:
    world = World(("10.0.2.3",))
    world.say(ask().pack())
    ours = world.upstream()
    world.say(bytes((ours[0] ^ 1,)) + ours[1:], port=5001)  # another identifier
    assert world.stats.drop_dns_loop == 0
    world.socket.owner.datagram(answer_to(ours), DNS, 53)
    world.network.run()
    assert len(world.network.take()) == 2  # both waited for one answer
    world.say(ours, port=5002)  # it is over, and means nothing any more
    assert world.stats.drop_dns_loop == 0
    assert not world.service._udp.servers._returning


# ----------------------------------------------------------------------------------------------- scopes


def test_a_scope_travels_inside_of_the_address() -> None:
    address = socket.inet_pton(socket.AF_INET6, "fe80::1:2")
    for index in (1, 7, 65536, 0xFFFFFFFF):
        inside = with_scope(address, index)
        assert split_scope(inside) == (address, index)
        assert name_of(inside, 53) == ("fe80::1:2", 53, 0, index)
        assert place_of(("fe80::1:2", 53, 0, index)) == (inside, 53)
        assert place_of((f"fe80::1:2%{index}", 53, 5, index)) == (inside, 53)
    assert name_of(address, 53) == ("fe80::1:2", 53)
    other = socket.inet_pton(socket.AF_INET6, "2001:db8:1:2:3:4:5:6")
    assert name_of(other, 53) == ("2001:db8:1:2:3:4:5:6", 53)
    assert place_of(("2001:db8:1:2:3:4:5:6", 53, 0, 9)) == (other, 53)


@pytest.mark.parametrize("text", ["fe80::1%7", "[fe80::1%7]:5353"])
def test_a_resolver_with_a_scope_is_queried_through_its_interface(text: str) -> None:
    world = World((text,))
    port = 5353 if "5353" in text else 53
    target = with_scope(parse_resolver(text).address.packed, 7)
    world.say(ask().pack())
    assert world.socket.family == 6
    assert world.socket.sent[-1][1:] == (target, port)
    world.socket.owner.datagram(answer_to(world.upstream()), with_scope(target, 8), port)  # from another link
    assert world.stats.drop_dns_mismatch == 1
    assert world.relay(answer_to(world.upstream())).rr
    stream, _ = connect(world)
    stream.send([framed(ask("tcp.test").pack())])
    world.network.run()
    assert (world.host.tcp[0].address, world.host.tcp[0].port) == (target, port)


def test_an_interface_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, int] = {}

    def index(name: str) -> int:
        if name not in there:
            raise OSError(19, "No such device")
        return there[name]

    monkeypatch.setattr(socket, "if_nametoindex", index)
    world = World(("fe80::1%wlan9", "127.0.0.54"))
    world.say(ask("a.test").pack())
    assert world.socket.sent[-1][1:] == (SECOND_SERVER, 53)
    there["wlan9"] = 5
    world.say(ask("b.test").pack())
    assert split_scope(world.socket.sent[-1][1])[1] == 5
    lonely = World(("fe80::1%99999999999", "fe80::1%none"))
    assert lonely.talk(ask()).header.rcode == RCODE.SERVFAIL
    stream, _ = connect(lonely)
    stream.send([framed(ask().pack())])
    lonely.network.run()
    data, _ = fetch(stream)
    assert [heard.header.rcode for heard in records(data)] == [RCODE.SERVFAIL]


def test_a_scope_is_read_and_written() -> None:
    for text in ("[fe80::1%eth0]:53", "[febf::1%br-0.5]:5353"):
        assert str(parse_resolver(text)) == text
    assert parse_resolver("fe80::1%eth0") == Resolver(parse_resolver("[fe80::1%eth0]:53").address, 53, "eth0")
    assert str(parse_resolver("fd00::1%eth0")) == "[fd00::1]:53"
    assert str(parse_resolver("127.0.0.1%eth0")) == "127.0.0.1:53"
    for text in ("fe80::1", "fe80::1%", "[fe80::1]:53"):
        with pytest.raises(ConfigError, match="write the interface too"):
            parse_resolver(text)
