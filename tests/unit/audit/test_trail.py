"""Records of events: their fields, budgets and numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy import Action, ConfigError, FlowRequest, RulePolicy, Verdict
from slirpy.audit.budget import BUDGETS
from slirpy.core.flows import ENDS
from tests.unit.audit.records import Record
from tests.unit.audit.trail import GUEST, MAC, REJECT, Trail


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / "audit.jsonl")


def test_a_flow_from_its_name_to_its_end(trail: Trail) -> None:
    events = trail.trail
    events.dns_query(GUEST, trail.port, MAC, "www.example.org", 1, "forwarded")
    events.dns_answer(GUEST, trail.port, MAC, "www.example.org", 1, 0, (b"\xcb\0\x71\x07",))
    allowed = Verdict(Action.ALLOW, rule="allow www.example.org:443", names=("www.example.org",))
    events.flow_opened(1, trail.request("203.0.113.7"), allowed, b"\xcb\0\x71\x08", 443, False)
    events.flow_inspected(1, "tls", ("www.example.org",), "")
    trail.clock.run(1.5)
    events.flow_ended(1, "CLOSED", 10, 2000, 3, 4, 1.5)
    records = trail.end()
    assert [record["event"] for record in records] == [
        "start", "link", "query", "answer", "open", "inspected", "end", "stop"
    ]  # fmt: skip
    query, answer, opened, inspected, ended = records[2:7]
    assert (query["outcome"], query["length"], query["entropy"]) == ("forwarded", 15, 3.18)
    assert answer["addresses"] == ["203.0.113.7"]
    same = {
        "flow": 1, "protocol": "tcp", "inbound": False, "link": 1, "mac": "52:54:00:12:34:56", "lease": "vm",
        "source": "10.0.2.15", "source_port": 40000, "destination": "203.0.113.7", "destination_port": 443,
        "target": "203.0.113.8", "target_port": 443, "names": ["www.example.org"], "verdict": "allow",
        "rule": "allow www.example.org:443", "severity": "other",
    }  # fmt: skip
    for record in (opened, inspected, ended):
        assert same.items() <= record.items()
    assert (opened["said"], inspected["said"], ended["said"]) == ([], ["www.example.org"], ["www.example.org"])
    assert inspected["said_in"] == "tls"
    assert (ended["end"], ended["duration"]) == ("CLOSED", 1.5)
    assert [ended[f] for f in ("bytes_in", "bytes_out", "packets_in", "packets_out")] == [10, 2000, 3, 4]
    assert (opened["time"], ended["time"]) == ("1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:01.500000Z")
    assert (records[-1]["records"], records[-1]["open_flows"]) == (8, 0)


def test_a_name_is_remembered_for_flows_without_rules(trail: Trail) -> None:
    for name in ("a.example", "b.example", "A.example."):
        trail.trail.dns_answer(GUEST, trail.port, MAC, name, 1, 0, (b"\xcb\0\x71\x07",))
    trail.refuse("203.0.113.7")
    trail.refuse("203.0.113.8")
    assert [record["names"] for record in trail.end()[5:7]] == [["a.example", "b.example"], []]


def test_echo_requests_have_an_identifier(trail: Trail) -> None:
    trail.trail.flow_refused(FlowRequest(1, GUEST, 77, "10.1.2.3", 0), REJECT)
    record = trail.end()[2]
    assert (record["source_port"], record["destination_port"], record["identifier"]) == (None, None, 77)
    assert (record["link"], record["mac"], record["severity"]) == (None, None, "private")


@pytest.mark.long
@pytest.mark.parametrize("noise", [60, 6_000])
def test_no_number_of_refusals_hides_the_one_that_matters(trail: Trail, noise: int) -> None:
    for number in range(noise):
        trail.refuse(f"203.0.{number >> 8 & 255}.{number & 255}", 99)
        if number % 1000 == 0:
            trail.clock.run(0.1)
    trail.refuse("169.254.169.254", 80)
    trail.clock.run(2)
    records = trail.end()
    refused = [record for record in records if record["event"] == "refused"]
    assert [r["destination"] for r in refused if r["severity"] == "metadata"] == ["169.254.169.254"]
    omitted = [record for record in records if record["event"] == "omitted"]
    assert len(refused) + sum(record["count"] for record in omitted) == noise + 1
    burst, rate = BUDGETS["refused"]
    assert len(refused) <= burst + 10 * rate
    assert all(record["kind"] == "refused" and record["link"] == 1 and record["sample"] for record in omitted)
    assert len(trail.heard) >= noise  # a function gets them all


def test_one_link_does_not_use_up_the_budget_of_another(trail: Trail) -> None:
    other = object()
    trail.trail.link_changed(other, object(), True)
    for port in range(5000):
        trail.refuse("203.0.113.7", port)
    request = FlowRequest(6, GUEST, 1, "203.0.113.7", 80, link=other)
    trail.trail.flow_refused(request, REJECT)
    assert [r["link"] for r in trail.end() if r["event"] == "refused"][-1] == 2


def test_the_end_of_a_flow_is_written_if_its_beginning_was(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "flow", (200, 100))
    burst = 200
    for number in range(1, burst + 101):
        trail.trail.flow_opened(number, trail.request("203.0.113.7"), None, b"\xcb\0\x71\x07", 443, False)
    for number in range(burst + 100, 0, -1):
        trail.trail.flow_ended(number, "CLOSED", 1, 2, 1, 1, 1.0)
    records = trail.end()
    counts = Counter(record["event"] for record in records)
    assert (counts["open"], counts["end"]) == (burst, burst)
    (omitted,) = [record for record in records if record["event"] == "omitted"]
    assert (omitted["count"], omitted["bytes_in"], omitted["bytes_out"]) == (200, 100, 200)


def test_policies_are_described(trail: Trail) -> None:
    trail.trail.policy_changed(RulePolicy([f"allow 10.0.0.{n}" for n in range(250)]), 3)
    trail.trail.policy_changed(test_policies_are_described, 0)
    trail.trail.policy_changed(None, 0)
    first, second, third = trail.end()[2:5]
    assert (first["policy"], first["rules"][0], first["reset"]) == ("default reject", "allow 10.0.0.0", 3)
    assert (len(first["rules"]), first["more_rules"]) == (200, 50)
    assert second["policy"] == "function test_policies_are_described"
    assert third["policy"] == "none"


def test_lost_events_are_counted_in_the_log(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slirpy.audit.log.BACKLOG", 20_000)
    for number in range(300):
        trail.trail.lease(MAC, GUEST, f"host{number}", "bound")
    trail.clock.run()
    trail.trail.lease(MAC, GUEST, "later", "bound")
    records = trail.end()
    (lost,) = [record for record in records if record["event"] == "lost"]
    assert lost["count"] > 10
    assert records[-2]["lease"] == "later"


def test_errors_of_the_function_are_raised_later(trail: Trail) -> None:
    def broken(record: Record) -> None:
        raise ConfigError("of the program")

    trail.trail.add(broken)
    trail.refuse("203.0.113.7")
    with pytest.raises(ConfigError, match="of the program"):
        trail.clock.run()


TEXT = st.text(max_size=600)
ADDRESS = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
COUNT = st.integers(0, 2**63)
PORT = st.integers(0, 65535)
NAMES = st.lists(TEXT, max_size=12).map(tuple)
VERDICT = st.none() | st.builds(
    Verdict, st.just(Action.ALLOW), rule=TEXT, names=st.lists(TEXT, max_size=3).map(tuple)
)
EVENT = st.one_of(
    st.tuples(st.just("dns_query"), ADDRESS, st.none(), st.just(MAC), TEXT, PORT, TEXT),
    st.tuples(
        st.just("dns_answer"), ADDRESS, st.none(), st.just(b""), TEXT, PORT, st.integers(0, 4095),
        st.lists(ADDRESS, max_size=80).map(tuple),
    ),
    st.tuples(st.just("lease"), st.just(MAC), ADDRESS, TEXT, st.sampled_from(["bound", "released"])),
    st.tuples(st.just("flow_ended"), st.integers(0, 3), st.sampled_from(ENDS), COUNT, COUNT, COUNT, COUNT,
              st.floats(0, 1e9)),
    st.tuples(st.just("flow_inspected"), st.integers(0, 3), TEXT, NAMES, TEXT),
    st.tuples(st.just("open"), st.integers(0, 3), ADDRESS, ADDRESS, PORT, VERDICT, TEXT, NAMES, st.booleans()),
    st.tuples(st.just("refuse"), ADDRESS, ADDRESS, PORT, TEXT, TEXT),
    st.tuples(st.just("wait"), st.floats(0, 3)),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(EVENT, max_size=20))
def test_all_records_follow_the_schema(tmp_path_factory: pytest.TempPathFactory, events: list[Any]) -> None:
    trail = Trail(tmp_path_factory.mktemp("audit") / "log")
    for kind, *arguments in events:
        match kind:
            case "wait":
                trail.clock.run(*arguments)
            case "open":
                number, source, destination, port, verdict, lease, names, inbound = arguments
                request = FlowRequest(17, source, port, destination, port, lease=lease, names=names)
                trail.trail.flow_opened(number, request, verdict, destination, port, inbound)
            case "refuse":
                source, destination, port, reason, rule = arguments
                request = FlowRequest(6, source, port, destination, port)
                trail.trail.flow_refused(request, Verdict(Action.DROP, reason=reason, rule=rule))
            case _:
                getattr(trail.trail, str(kind))(*arguments)
    trail.end()
