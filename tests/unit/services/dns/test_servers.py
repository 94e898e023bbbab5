"""Choice of a resolver: those that fail come last for a while, and nobody waits for the dead."""

from __future__ import annotations

import errno
from pathlib import Path

from dnslib import RCODE, DNSRecord

from slirpy.config import Config
from slirpy.config.resolver import parse_resolver
from slirpy.services.dns import DnsService
from slirpy.services.dns.servers import Servers
from slirpy.stats import Stats
from tests.unit.services.dns.world import FIRST, SECOND_SERVER, World, answer_to, ask, connect, framed


def order(world: World) -> list[bytes]:
    """Servers that were asked, in the order of sockets."""
    return [socket.sent[0][1] for socket in world.host.udp]


def resolve(world: World, name: str) -> bytes:
    """Ask for a new name; the server that was asked answers. Returns which it was."""
    world.say(ask(name).pack())
    address = world.socket.sent[-1][1]
    assert world.relay(answer_to(world.upstream())).rr
    return address


def kill_first(world: World) -> None:
    """The first server does not answer one query."""
    world.say(ask("lost.test").pack())
    world.network.run(1)
    assert world.relay(answer_to(world.upstream())).rr


def test_a_failed_server_is_tried_last_for_ten_seconds(world: World) -> None:
    assert resolve(world, "a.test") == FIRST
    kill_first(world)
    assert world.stats.dns_servers_failed == 1
    assert [resolve(world, f"b{number}.test") for number in range(3)] == [SECOND_SERVER] * 3
    world.network.run(9.9)
    assert resolve(world, "c.test") == SECOND_SERVER
    world.network.run(0.2)
    assert resolve(world, "d.test") == FIRST  # and it answers, so all is well again
    assert resolve(world, "e.test") == FIRST


def test_a_refusal_leads_to_the_next_server_once(world: World) -> None:
    world.say(ask("a.test").pack())
    world.socket.owner.datagram_error(errno.ECONNREFUSED)
    world.network.run(0.9)
    assert order(world) == [FIRST, SECOND_SERVER]
    assert len(world.socket.sent) == 1
    assert world.stats.dns_retries == 1


def test_waiting_queries_go_on_once_when_their_server_fails(world: World) -> None:
    """Queries whose own timers expire at the same moment continue too."""
    for number in range(8):
        world.say(ask(f"name{number}.test", number).pack())
    world.network.run(1.9)
    assert order(world) == [FIRST] * 8 + [SECOND_SERVER] * 8
    assert [len(socket.sent) for socket in world.host.udp] == [1] * 16


def test_after_the_while_one_query_at_a_time_tries_it(world: World) -> None:
    kill_first(world)
    world.network.run(10)
    before = len(world.host.udp)
    for number in range(4):
        world.say(ask(f"a{number}.test").pack())
    assert order(world)[before:] == [FIRST] + [SECOND_SERVER] * 3
    for socket in world.host.udp[before + 1 :]:
        socket.owner.datagram(answer_to(socket.sent[0][0]), SECOND_SERVER, 5353)
    world.network.run(1)  # in vain
    assert order(world)[-1] == SECOND_SERVER
    assert len(world.network.take()) == 3
    world.relay(answer_to(world.upstream()))
    world.network.run(15)
    before = len(world.host.udp)
    world.say(ask("b.test").pack())
    assert order(world)[before] == SECOND_SERVER  # the second while is longer
    world.network.run(10)
    before = len(world.host.udp)
    world.say(ask("c.test").pack())
    assert order(world)[before] == FIRST


def test_the_while_has_an_end() -> None:
    servers = Servers(Stats())
    servers.update([parse_resolver("127.0.0.1"), parse_resolver("127.0.0.2")])
    first = servers.plan(0)[0]
    now, waits = 0, []
    for _ in range(6):
        servers.failed(first, now)
        assert first.failing_until is not None
        waits.append((first.failing_until - now) // 1_000_000_000)
        now = first.failing_until
    assert waits == [10, 20, 40, 60, 60, 60]


def test_a_server_that_is_named_twice_is_one() -> None:
    world = World(("127.0.0.53", "127.0.0.54:5353", "127.0.0.53"))
    world.say(ask().pack())
    world.network.run(2.5)
    assert order(world) == [FIRST, SECOND_SERVER]


def test_a_slow_name_is_no_failure_of_its_server(world: World) -> None:
    world.say(ask("slow.test").pack())
    slow = world.socket
    world.network.run(0.5)
    assert resolve(world, "quick.test") == FIRST
    world.network.run(0.5)
    assert world.socket.sent[0][1] == SECOND_SERVER
    assert world.stats.dns_servers_failed == 0
    slow.owner.datagram(answer_to(slow.sent[0][0]), FIRST, 53)
    assert world.heard().rr
    assert resolve(world, "other.test") == FIRST


def test_all_queries_to_a_dead_server_move_on_at_once(world: World) -> None:
    for number in range(5):
        world.say(ask(f"a{number}.test", number).pack())
        world.network.run(0.1)
    world.network.run(0.4)
    assert order(world) == [FIRST] * 5
    world.network.run(0.1)  # a second for the first of them
    assert order(world) == [FIRST] * 5 + [SECOND_SERVER] * 5


def test_a_crowd_finds_out_sooner(world: World) -> None:
    assert resolve(world, "warm.test") == FIRST
    for number in range(300):
        world.say(ask(f"a{number}.test", number).pack())
        world.network.run(0.001)
    assert order(world)[1:201] == [FIRST] * 200
    assert order(world)[-90:] == [SECOND_SERVER] * 90
    assert len(world.host.udp) == 1 + 300 + order(world)[1:].count(FIRST)
    assert world.stats.dns_servers_failed == 1


def test_a_crowd_has_patience_with_a_slow_server(world: World) -> None:
    world.say(ask("warm.test").pack())
    world.network.run(0.1)
    world.relay(answer_to(world.upstream()))
    for number in range(300):
        world.say(ask(f"a{number}.test", number).pack())
        world.network.run(0.001)
    assert order(world)[1:] == [FIRST] * 300


def test_servfail_is_relayed_only_if_all_servers_fail(world: World) -> None:
    for code in (RCODE.SERVFAIL, RCODE.REFUSED, RCODE.NOTIMP):
        name = f"name{code}.test"
        world.say(ask(name).pack())
        reply = DNSRecord.parse(world.upstream()).reply()
        reply.header.rcode = code
        world.socket.owner.datagram(bytes(reply.pack()), FIRST, 53)
        world.network.run()
        assert world.network.take() == []
        reply = DNSRecord.parse(world.upstream()).reply()
        reply.header.rcode = RCODE.SERVFAIL
        assert world.relay(bytes(reply.pack())).header.rcode == code  # what the first has said
    assert world.stats.dns_answers == 3
    assert world.stats.dns_servers_failed == 0


def test_servfail_of_the_first_and_silence_of_the_second(world: World) -> None:
    world.say(ask().pack())
    reply = DNSRecord.parse(world.upstream()).reply()
    reply.header.rcode = RCODE.SERVFAIL
    world.socket.owner.datagram(bytes(reply.pack()), FIRST, 53)
    world.network.run(0.999)
    assert world.network.take() == []
    world.network.run(0.001)
    assert world.heard().header.rcode == RCODE.SERVFAIL


def test_a_late_servfail_does_not_cut_the_other_server_short(world: World) -> None:
    world.say(ask().pack())
    world.network.run(1.5)
    slow, quick = world.host.udp
    reply = DNSRecord.parse(slow.sent[0][0]).reply()
    reply.header.rcode = RCODE.SERVFAIL
    slow.owner.datagram(bytes(reply.pack()), FIRST, 53)
    world.network.run(0.1)
    assert world.network.take() == []
    quick.owner.datagram(answer_to(quick.sent[0][0]), SECOND_SERVER, 5353)
    assert world.heard().rr
    world.say(ask("other.test").pack())
    slow = world.socket
    world.network.run(1.5)
    reply = DNSRecord.parse(slow.sent[0][0]).reply()
    reply.header.rcode = RCODE.SERVFAIL
    slow.owner.datagram(bytes(reply.pack()), slow.sent[0][1], slow.sent[0][2])
    world.network.run(0.499)
    assert world.network.take() == []
    world.network.run(0.001)
    assert world.heard().header.rcode == RCODE.SERVFAIL


def test_a_server_that_cannot_be_read_is_passed_over(world: World) -> None:
    world.say(ask().pack())
    world.socket.owner.datagram(
        world.upstream()[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + ask().pack()[12:], FIRST, 53
    )
    world.network.run()
    assert world.stats.drop_dns_bad_answer == 1
    assert world.relay(answer_to(world.upstream())).rr


def test_tcp_failing_says_nothing_about_udp(world: World) -> None:
    stream, _ = connect(world)
    stream.send([framed(ask().pack())])
    world.host.tcp[0].owner.failed(errno.ECONNREFUSED)
    world.network.run()
    assert world.stats.dns_servers_failed == 1
    assert resolve(world, "a.test") == FIRST
    stream.send([framed(ask("b.test").pack())])
    assert [item.address for item in world.host.tcp] == [FIRST, SECOND_SERVER, SECOND_SERVER]


def test_the_case_of_a_name_can_be_mixed() -> None:
    world = World(dns_mix_case=True)
    seen = set()
    for number in range(8):
        name = f"abcdefghijklmnop.q{number}.example"
        query = ask(name, number).pack()
        world.say(query)
        sent = world.upstream()
        seen.add(sent[13:29])
        assert sent[12:].lower() == query[12:].lower()
        assert sent[-4:] == query[-4:]
        answer = bytearray(answer_to(sent))
        answer[13] ^= 0x20
        world.socket.owner.datagram(bytes(answer), FIRST, 53)
        assert world.stats.drop_dns_mismatch == number + 1
        heard = world.relay(answer_to(sent))
        assert (str(heard.q.qname), heard.header.id) == (name + ".", number)
    assert len(seen) == 8
    assert all(item != item.lower() for item in seen)


def test_other_servers_empty_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\n")
    world = World()
    world.service = DnsService(Config(), world.network, world.host, resolv_conf=str(path))
    assert resolve(world, "a.test") == FIRST
    assert world.talk(ask("a.test")).rr
    path.write_text("nameserver 127.0.0.54\nnameserver 127.0.0.53\n")
    world.network.run(1)
    assert resolve(world, "a.test") == SECOND_SERVER
    path.write_text("nameserver 127.0.0.54\nnameserver 127.0.0.53\n# the same\n")
    world.network.run(1)
    assert world.talk(ask("a.test")).rr
