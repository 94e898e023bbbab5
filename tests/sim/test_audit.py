"""The audit of a whole network in virtual time: what happened is on record, once, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import dnslib
import pytest

from slirpy import Action, Config, Decision, FlowRequest, RulePolicy, Verdict
from slirpy.audit.log import AuditLog
from slirpy.audit.trail import AuditTrail
from slirpy.nat.flow import TALLIES_MAX
from slirpy.testing import Echo, VirtualNetwork
from slirpy.units import SECOND
from tests.unit.audit.records import Record, check, check_numbers

SERVER = "192.0.2.7"


class Audited:
    """A network and its records."""

    def __init__(self, **options: object) -> None:
        self.records: list[Record] = []
        config = Config(audit=self.records.append, **options)  # type: ignore[arg-type] # each fits its argument
        self.net = VirtualNetwork(config)
        self.net.host.serve_tcp(SERVER, 7, Echo)
        self.net.host.serve_udp(SERVER, 7, lambda data, *_: data)
        self.net.boot()
        self.records.clear()

    def of(self, event: str) -> list[Record]:
        return [record for record in self.records if record["event"] == event]

    def end(self) -> None:
        self.net.stack.close()
        check(self.records)
        assert [record["seq"] for record in self.records] == list(
            range(self.records[0]["seq"], self.records[-1]["seq"] + 1)
        )
        opened = [record["flow"] for record in self.of("open")]
        assert sorted(record["flow"] for record in self.of("end")) == sorted(opened)
        assert len(set(opened)) == len(opened)


def test_a_connection_ends_on_record_when_both_sides_have_ended_it() -> None:
    audited = Audited()
    stream = audited.net.guest.connect(SERVER, 7)
    stream.write(b"hello")
    audited.net.run_until(lambda: stream.received == b"hello")
    stream.shutdown()
    audited.net.run(1 * SECOND)
    (ended,) = audited.of("end")
    assert (ended["end"], ended["bytes_in"], ended["bytes_out"]) == ("CLOSED", 5, 5)
    assert ended["duration"] < 1
    assert (ended["link"], ended["mac"], ended["lease"]) == (1, "52:54:00:12:34:56", "guest0")
    audited.net.run(100 * SECOND)
    audited.end()


@pytest.mark.parametrize(("port", "end"), [(9, "REFUSED"), (7, "ABORTED")])
def test_connections_that_fail(port: int, end: str) -> None:
    audited = Audited()
    audited.net.guest.connect(SERVER, port)
    audited.net.run(1 * SECOND)
    audited.end()
    assert [record["end"] for record in audited.of("end")] == [end]


def test_datagrams_are_counted_by_destination() -> None:
    audited = Audited()
    socket = audited.net.guest.udp()
    for count, address in ((3, SERVER), (2, "192.0.2.8")):
        for _ in range(count):
            socket.send(b"12345", address, 7)
            audited.net.run(SECOND // 10)
    audited.end()
    found = {r["destination"]: [r[f"{what}_{way}"] for way in ("in", "out") for what in ("packets", "bytes")]
             for r in audited.of("end")}  # fmt: skip
    assert found == {SERVER: [3, 15, 3, 15], "192.0.2.8": [2, 10, 0, 0]}


def test_datagrams_of_a_stranger_are_on_record() -> None:
    """Anybody may send to a flow's socket, unless a policy restricts that."""
    audited = Audited()
    socket = audited.net.guest.udp()
    socket.send(b"12345", SERVER, 7)
    audited.net.run(SECOND // 10)
    (own,) = (port for address, port in audited.net.host._udp if address == bytes(4))
    stranger = bytes((203, 0, 113, 99)), 4444
    for _ in range(3):
        audited.net.host.send_udp(b"abc", bytes((192, 0, 2, 1)), own or 0, stranger)
        audited.net.run(SECOND // 10)
    socket.send(b"answer", "203.0.113.99", 4444)
    audited.end()
    opened, ended = ([r for r in audited.of(event) if r["inbound"]] for event in ("open", "end"))
    assert [{name: r[name] for name in ("link", "mac", "source", "source_port", "destination", "destination_port",
                                        "host", "target", "target_port", "verdict")} for r in opened] == [{
        "link": 1, "mac": "52:54:00:12:34:56", "source": "10.0.2.15", "source_port": socket.port,
        "destination": "203.0.113.99", "destination_port": 4444, "host": False, "target": "203.0.113.99",
        "target_port": 4444, "verdict": "allow",
    }]  # fmt: skip
    assert [(r["packets_in"], r["bytes_in"], r["packets_out"], r["bytes_out"]) for r in ended] == [(0, 0, 3, 9)]


@pytest.mark.long
def test_how_many_destinations_of_a_flow_are_counted() -> None:
    """The oldest counts as ended when another one comes; the next datagram for it opens it again."""
    audited = Audited()
    socket = audited.net.guest.udp()

    def send(port: int) -> None:
        socket.send(b"1234", "192.0.2.8", port)
        audited.net.run(1000)

    for port in range(1, TALLIES_MAX + 1):
        send(port)
    assert audited.of("end") == []
    send(TALLIES_MAX + 1)
    assert [(r["destination_port"], r["packets_in"], r["bytes_in"]) for r in audited.of("end")] == [(1, 1, 4)]
    send(1)
    assert [r["destination_port"] for r in audited.of("end")] == [1, 2]
    audited.end()
    assert len(audited.of("open")) == TALLIES_MAX + 2


def test_echo_requests_are_counted_by_destination() -> None:
    audited = Audited()
    audited.net.host.answer_ping(SERVER)
    pings = [audited.net.guest.ping(SERVER, payload) for payload in (b"12345", b"1234567")]
    audited.net.run(SECOND)
    assert all(ping.reply is not None for ping in pings)
    audited.end()
    (counted,) = audited.of("end")
    assert [counted[f"{what}_{way}"] for way in ("in", "out") for what in ("packets", "bytes")] == [
        2,
        12,
        2,
        12,
    ]


def test_the_rule_that_allows_an_echo_request_is_on_record() -> None:
    """Another request with the same identifier needs another decision, and one to the same address none."""
    audited = Audited(policy=["allow 192.0.2.7", "allow 192.0.2.8"])
    for address in (SERVER, "192.0.2.8", SERVER):
        audited.net.guest.ping(address)
    audited.net.run(SECOND)
    audited.end()
    assert [(r["destination"], r["rule"]) for r in audited.of("open")] == [
        (SERVER, "allow 192.0.2.7"),
        ("192.0.2.8", "allow 192.0.2.8"),
    ]


def test_names_of_addresses_without_any_policy() -> None:
    audited = Audited(dns_records=["web.test=192.0.2.7"])
    audited.net.guest.udp().send(dnslib.DNSRecord.question("web.test").pack(), "10.0.2.3", 53)
    audited.net.run(1 * SECOND)
    audited.net.guest.connect(SERVER, 7)
    audited.net.run(1 * SECOND)
    audited.end()
    assert [(r["name"], r["outcome"]) for r in audited.of("query")] == [("web.test", "local")]
    assert [r["addresses"] for r in audited.of("answer")] == [[SERVER]]
    assert [r["names"] for r in audited.of("open")] == [["web.test"]]


def test_refusals_and_their_rules() -> None:
    audited = Audited(policy=RulePolicy(["drop 192.0.2.9", "allow any"]))
    audited.net.guest.connect("192.0.2.9", 80)
    audited.net.guest.udp().send(b"x", "192.0.2.9", 80)
    audited.net.run(SECOND // 2)
    audited.end()
    assert [(r["protocol"], r["verdict"], r["rule"]) for r in audited.of("refused")] == [
        ("tcp", "drop", "drop 192.0.2.9"),
        ("udp", "drop", "drop 192.0.2.9"),
    ]


class ClosedLog(AuditLog):
    """A log that a test can break."""

    broken = False

    @property
    def ready(self) -> bool:
        return not self.broken


def test_without_a_log_there_is_no_new_flow_of_any_kind(tmp_path: Path) -> None:
    log = ClosedLog(f"{tmp_path}/audit.jsonl", closed=True)
    net = VirtualNetwork(Config(resolvers=["192.0.2.53"]))
    trail = AuditTrail(log=log)
    trail.started(net.stack, [], None)
    net.stack.network.events = trail
    net.host.serve_tcp(SERVER, 7, Echo)
    net.boot()
    before = net.guest.connect(SERVER, 7)
    net.run_until(lambda: before.established)
    log.broken = True
    before.write(b"goes on")
    refused = net.guest.connect(SERVER, 7)
    net.run_until(lambda: before.received == b"goes on" and refused.closed)
    net.guest.udp().send(b"x", SERVER, 9)
    net.guest.udp().send(dnslib.DNSRecord.question("web.test").pack(), "10.0.2.3", 53)
    net.run(1 * SECOND)
    assert [flow.protocol for flow in net.stack.flows()] == ["tcp"]
    log.broken = False
    again = net.guest.connect(SERVER, 7)
    net.run_until(lambda: again.established)


def test_an_asker_decides_and_its_answer_is_on_record() -> None:
    decisions: list[tuple[FlowRequest, Decision]] = []

    def asker(request: FlowRequest, verdict: Verdict) -> Decision:
        assert verdict.action is Action.ASK
        decisions.append((request, Decision()))
        return decisions[-1][1]

    audited = Audited(policy=RulePolicy([], Action.ASK), asker=asker)
    yes, no, late = (audited.net.guest.connect(SERVER, 7) for _ in range(3))
    audited.net.run(5 * SECOND)
    assert not any(stream.established or stream.closed for stream in (yes, no, late))
    decisions[0][1].give(Verdict(Action.ALLOW, rule="asked: yes"))
    decisions[1][1].give(Verdict(Action.REJECT, reason="refused by me"))
    audited.net.run(5 * SECOND)
    assert yes.established
    assert no.closed
    audited.net.run(30 * SECOND)
    assert late.closed
    assert not decisions[2][1].awaited
    audited.end()
    assert [r["rule"] for r in audited.of("open")] == ["asked: yes"]
    assert audited.of("refused")[0]["reason"] == "refused by me"
    assert len(audited.of("refused")) == 2


def test_frames_are_the_same_with_and_without_an_audit() -> None:
    def frames(**options: object) -> list[bytes]:
        net = VirtualNetwork(Config(**options))  # type: ignore[arg-type] # each fits its argument
        net.host.serve_tcp(SERVER, 7, Echo)
        net.boot()
        stream = net.guest.connect(SERVER, 7)
        stream.write(bytes(10_000))
        net.run_until(lambda: len(stream.received) == 10_000)
        return [each.frame for each in net.transcript]

    records: list[Record] = []
    assert frames() == frames(audit=records.append)
    check_numbers(records)


def test_a_lease_that_expires_is_on_record() -> None:
    audited = Audited(lease_time=60)
    client = audited.net.guest.dhcp()
    address = str(audited.net.guest.address)
    audited.net.run(100 * SECOND)
    assert {record["what"] for record in audited.of("lease")} == {"renewed"}
    client._alarm.set(None)  # it renews no more
    audited.net.run(100 * SECOND)
    expired = audited.of("lease")[-1]
    assert (expired["what"], expired["address"], expired["lease"]) == ("expired", address, "guest0")
    assert [record["what"] for record in audited.of("lease")].count("expired") == 1
    audited.end()


def test_connections_from_outside_are_on_record() -> None:
    audited = Audited(hostfwd=["tcp:127.0.0.1:8080-:80"])
    listener = audited.net.guest.listen(80)
    for _ in range(2):
        client = audited.net.host.connect("127.0.0.1", 8080)
        audited.net.run_until(lambda: bool(listener.accepted))
        client.finish()
        listener.accepted.pop().shutdown()
        audited.net.run(100 * SECOND)
    audited.end()
    assert [record["inbound"] for record in audited.of("open")] == [True, True]
    assert [record["end"] for record in audited.of("end")] == ["CLOSED", "CLOSED"]


def test_connections_to_services_of_the_network_are_on_record(tmp_path: Path) -> None:
    audited = Audited(
        dns_records=["web.test=192.0.2.7"],
        guestfwd=["tcp:10.0.2.100:80-tcp:192.0.2.7:7"],
        learn=tmp_path / "learned.toml",
    )
    question = dnslib.DNSRecord.question("web.test").pack()
    dns = audited.net.guest.connect("10.0.2.3", 53)
    dns.write(len(question).to_bytes(2, "big") + question)
    echo = audited.net.guest.connect("10.0.2.100", 80)
    echo.write(b"hello")
    audited.net.run_until(lambda: bool(dns.received) and echo.received == b"hello")
    dns.shutdown()
    echo.shutdown()
    audited.net.run(100 * SECOND)
    audited.end()
    assert [(r["destination"], r["target"]) for r in audited.of("open")] == [
        ("10.0.2.3", None),
        ("10.0.2.100", None),
    ]
    assert {r["destination"]: (r["bytes_in"], r["end"]) for r in audited.of("end")} == {
        "10.0.2.3": (2 + len(question), "CLOSED"),
        "10.0.2.100": (5, "CLOSED"),
    }
