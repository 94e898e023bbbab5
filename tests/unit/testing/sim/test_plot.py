"""Time-sequence diagrams: what is drawn, and that it is well-formed."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from slirpy.testing.sim.connections import TraceConnection, find_connections
from slirpy.testing.sim.plot import SIGNATURE, plot
from slirpy.testing.sim.sequence import series_of
from slirpy.testing.sim.trace import FrameRecord, NoteRecord
from slirpy.units import MS
from tests.support.traces import Run, Verdict

SVG = "{http://www.w3.org/2000/svg}"


def faults(source: str, number: int, _: object) -> Verdict | None:
    match source, number:
        case "client", 5 | 30:
            return "loss", ()
        case "client", 8:
            return "hold", (5 * MS,)
    return None


@pytest.fixture(scope="module")
def connection() -> TraceConnection:
    run = Run(faults)
    run.send("client", bytes(60_000))
    run.send("server", bytes(10_000))
    run.close()
    (found,) = find_connections(run.trace.records)
    return found


def test_the_series_of_a_connection(connection: TraceConnection) -> None:
    client, server = series_of(connection)
    assert (client.name, server.name) == ("client > server", "server > client")
    assert [len(client.lost), len(server.lost), len(server.again)] == [2, 0, 0]
    assert {mark.begin for mark in client.lost} <= {mark.begin for mark in client.again}
    arrived = sorted({(mark.begin, mark.end) for mark in (*client.sent, *client.again)})
    assert arrived[0][0] == 1
    assert arrived[-1][1] == 60_001
    assert all(one[1] == other[0] for one, other in pairwise(arrived))
    assert [mark.text for mark in client.late] == [
        f"seq={client.late[0].begin} len=1448, hold: arrives +15.000 ms"
    ]
    assert [mark.text.split()[0] for mark in client.ends] == ["SYN", "FIN"]
    assert client.acked[0] == (20 * MS, 1)
    assert client.acked[-1][1] == 60_002
    numbers = [number for _, number in client.acked]
    assert numbers == sorted(numbers)
    assert client.sacked
    assert all(any(block.begin <= mark.begin for mark in client.sent) for block in client.sacked)
    assert len({(mark.begin, mark.end) for mark in client.sacked}) == len(client.sacked)


def test_windows_are_scaled(connection: TraceConnection) -> None:
    client, _ = series_of(connection)
    assert client.window[0][1] == 1 + 65535  # the window of a SYN never is
    reports = [each for each in connection.passages if not each.from_client]
    shift = reports[0].segment.options.wscale
    assert shift
    assert client.window[1][1] == reports[1].shown.ack + (reports[1].segment.wnd << shift)


def test_lost_reports_are_not_known_to_the_sender() -> None:
    run = Run(lambda source, number, _: ("loss", ()) if source == "server" and number == 1 else None)
    run.send("client", bytes(3000))
    (found,) = find_connections(run.trace.records)
    client, _ = series_of(found)
    reports = [each.record for each in found.passages if not each.from_client]
    assert reports[1].lost
    assert [time for time, _ in client.acked] == [record.arrivals[0] for record in reports if not record.lost]


def drawing(connection: TraceConnection, *notes: NoteRecord) -> tuple[str, Counter[str], list[str]]:
    text = plot(connection, notes)
    root = ElementTree.fromstring(text)
    paths = list(root.iter(f"{SVG}path"))
    titles = [title.text or "" for each in paths for title in each.iter(f"{SVG}title")]
    return text, Counter(each.get("class") or "" for each in paths), titles


def test_the_drawing_has_all_of_it(connection: TraceConnection) -> None:
    text, counts, titles = drawing(connection, NoteRecord(30 * MS, "", "fault", "cut <a> & b"))
    client, server = series_of(connection)
    in_legend = 1
    assert text.startswith("<svg ")
    assert SIGNATURE in text
    assert counts["again"] == len(client.again) + in_legend
    assert counts["cross"] == len(client.lost)
    assert counts["sent"] == len(client.sent) + len(server.sent) + 2 * in_legend
    assert counts["sack"] == len(client.sacked) + in_legend
    assert counts["late"] == 1 + in_legend
    assert counts["end"] == 4
    assert counts["fault"] == 2 + 2 * in_legend
    assert "cut <a> & b" in titles
    assert "client 198.18.0.1:40000 - server 198.18.0.2:443" in text
    assert "prefers-color-scheme: dark" in text


def test_nothing_lies_outside_the_drawing(connection: TraceConnection) -> None:
    text = plot(connection, width=800, height=300)
    for line in re.findall(r' d="([^"]*)"', text):
        for at in re.findall(r"M([\d.-]+) ([\d.-]+)", line):
            assert 0 <= float(at[0]) <= 800
            assert 0 <= float(at[1]) <= 300
        assert all(0 <= float(at) <= 800 for at in re.findall(r"H([\d.-]+)", line))
        assert all(0 <= float(at) <= 300 for at in re.findall(r"V([\d.-]+)", line))


def test_a_direction_without_data_has_no_panel() -> None:
    run = Run()
    run.send("server", bytes(100))
    (found,) = find_connections(run.trace.records)
    text = plot(found)
    assert "server &gt; client" in text
    assert "client &gt; server" not in text


def test_a_refused_connection_can_be_drawn() -> None:
    run = Run()
    first = run.trace.records[0]
    assert isinstance(first, FrameRecord)
    first.arrivals, first.fault = (), "partition"
    (found,) = find_connections([first])
    _, counts, _ = drawing(found)
    assert counts["end"] == 1


def test_many_segments_are_one_path() -> None:
    run = Run()
    run.send("client", bytes(5_000_000))
    (found,) = find_connections(run.trace.records)
    text, counts, _ = drawing(found)
    assert counts["sent"] == 2
    assert len(text) < 300_000
