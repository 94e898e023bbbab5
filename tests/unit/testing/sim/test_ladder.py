"""The ladder with a column for each host: arrows, fates, notes, filters, widths."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slirpy.errors import ConfigError
from slirpy.testing.sim.connections import find_connections
from slirpy.testing.sim.ladder import host_ladder
from slirpy.testing.sim.trace import FrameRecord, Kind, NoteRecord, Record, Trace
from slirpy.units import MS
from tests.support.traces import Run, packet_frame


def echo(
    time: int, source: str = "a", target: str = "b", arrivals: Sequence[int] = (1,), fault: str = ""
) -> FrameRecord:
    """A ping from one host to another; arrivals are delays in milliseconds."""
    frame = packet_frame("client", 1, b"\x08\0\xf7\xff" + bytes(4))
    return FrameRecord(time * MS, source, target, frame, tuple((time + each) * MS for each in arrivals), fault)


def note(time: int, text: str, host: str = "a", kind: Kind = "log") -> NoteRecord:
    return NoteRecord(time * MS, host, kind, text)


def trace(*records: Record) -> Trace:
    made = Trace()
    made.records += records
    return made


def test_fates_and_notes() -> None:
    drawn = host_ladder(
        trace(
            echo(0),
            note(1, "started\nin two lines", "b"),
            echo(2, "b", "a", (), "loss"),
            note(3, "partition a | b", "", "fault"),
            echo(3, "a", "b", (9,), "hold"),
            echo(4, "a", "b", (), "hold"),
            echo(5, "b", "c", (1, 3), "duplication"),
            note(7, "KeyError: 'x'", "a", "exception"),
            echo(20, "c", "a"),
        )
    )
    assert drawn.splitlines() == [
        "time [s]  a         b         c",
        "0.000000  ├────────►│         │  ICMP echo request len=0",
        "0.001000  │         ▪ started",
        "          │         │ in two lines",
        "0.002000  │ x───────┤         │  ICMP echo request len=0, lost: loss",
        "0.003000  ══ fault: partition a | b",
        "0.003000  ├┄┄┄┄┄┄┄┄ │         │  ICMP echo request len=0, hold: arrives +9.000 ms",
        "0.004000  ├───────x │         │  ICMP echo request len=0, held",
        "0.005000  │         ├┄┄┄┄┄┄┄┄ │  ICMP echo request len=0, duplication: arrives twice, +1.000, +3.000 ms",
        "0.006000  │         │┄┄┄┄┄┄┄┄►│  ICMP echo request len=0, sent at 0.005000",
        "0.007000  ▪ exception: KeyError: 'x'",
        "0.008000  │         │┄┄┄┄┄┄┄┄►│  ICMP echo request len=0, sent at 0.005000",
        "0.012000  │┄┄┄┄┄┄┄┄►│         │  ICMP echo request len=0, sent at 0.003000",
        "0.020000  │◄──────────────────┤  ICMP echo request len=0",
    ]


def test_in_ascii() -> None:
    drawn = host_ladder(
        trace(
            echo(0), echo(1, "b", "a", (), "loss"), echo(2, "a", "b", (5,), "x"), note(3, "!"), note(3, "?", "")
        ),
        ascii_only=True,
    )
    assert drawn.isascii()
    assert [line[10:21] for line in drawn.splitlines()[1:]] == [
        "|-------->|",
        "| x-------|",
        "|........ |",
        "* !",
        "== ?",
        "|........>|",
    ]


def test_tcp_has_relative_numbers_and_repeats() -> None:
    run = Run(lambda source, number, _: ("partition", ()) if (source, number) == ("client", 2) else None)
    run.send("client", bytes(100))
    lines = [line.split("  ", 2)[-1].strip() for line in host_ladder(run.trace).splitlines()]
    assert any("40000 > 443 PSH,ACK seq=1 ack=1 len=100, lost: partition" in line for line in lines)
    assert any("40000 > 443 ACK seq=1 ack=1 len=100 again" in line for line in lines)


def test_only_some_hosts() -> None:
    run = trace(
        echo(0), echo(1, "b", "c"), echo(2, "c", "a"), note(3, "x", "a"), note(4, "y", "c"), note(5, "z", "")
    )
    drawn = host_ladder(run, hosts=["c"])
    assert [line[:8] for line in drawn.splitlines()[1:]] == ["0.001000", "0.002000", "0.004000", "0.005000"]


def test_only_one_connection() -> None:
    run = Run()
    run.send("client", b"x")
    frames = len(run.trace.records)
    run.trace.records.append(echo(10_000, "client", "server"))
    assert len(host_ladder(run.trace).splitlines()) == frames + 2
    assert len(host_ladder(run.trace, connection=0).splitlines()) == frames + 1
    with pytest.raises(ConfigError, match="connection 1 is not a number from 0 to 0"):
        host_ladder(run.trace, connection=1)
    with pytest.raises(ConfigError, match="connection 0: the run has no TCP connection"):
        host_ladder(trace(echo(0)), connection=0)


def test_the_last_rows() -> None:
    run = trace(*(echo(time) for time in range(50)))
    drawn = host_ladder(run, last=3)
    assert [line[:8] for line in drawn.splitlines()[1:]] == ["0.047000", "0.048000", "0.049000"]
    assert host_ladder(run, last=0) == "no frames"
    assert host_ladder(Trace()) == "no frames"


@pytest.mark.parametrize("width", [60, 80, 110, 200])
@pytest.mark.parametrize("hosts", [1, 2, 3, 9, 200])
def test_no_line_is_longer_than_the_width(hosts: int, width: int) -> None:
    names = [f"host{number}.example.test" for number in range(hosts)]
    records: list[Record] = [
        echo(number, names[number % hosts], names[(number + 1) % hosts], (), "loss")
        for number in range(2 * hosts)
    ]
    records.append(note(900, "a long line of a log " * 20, names[-1]))
    records.append(note(900, "\n".join(map(str, range(100))), names[0]))
    records.append(note(900, "", names[0]))
    lines = host_ladder(trace(*records), width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 1 + 2 * hosts + 1 + 8 + 1
    if width > 60:
        assert all(line.endswith(", lost: loss") for line in lines[1 : 2 * hosts + 1])
    assert ("others" in lines[0]) is (hosts > {60: 2, 80: 3, 110: 5, 200: 9}[width])


def test_frames_of_other_protocols_are_described() -> None:
    arp = b"\xff" * 6 + b"\x02\0\0\0\0\1" + bytes.fromhex("0806 0001080006040001") + bytes(20)
    drawn = host_ladder(trace(FrameRecord(0, "a", "b", arp, (1,))))
    assert "ARP, Request who-has 0.0.0.0 tell 0.0.0.0" in drawn


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"trace": []}, "trace must be a Trace"),
        ({"width": 59}, "width 59"),
        ({"last": -1}, "last -1"),
        ({"hosts": "ab"}, "hosts"),
        ({"ascii_only": 1}, "ascii_only"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        host_ladder(**{"trace": trace(echo(0)), **arguments})  # type: ignore[arg-type] # that is the point


# ------------------------------------------------------------------------------------------- connections


def test_connections_are_found() -> None:
    run = Run()
    run.send("server", b"hello")
    run.close()
    (found,) = find_connections(run.trace.records)
    assert str(found) == "connection 0: client 198.18.0.1:40000 - server 198.18.0.2:443"
    assert found.frames == run.trace.records
    assert [each.from_client for each in found.passages[:3]] == [True, False, True]
    assert found.passages[2].shown[:2] == (1, 1)


def test_a_connection_that_reuses_the_ports_is_another_one() -> None:
    lost = Run(lambda source, number, _: ("loss", ()) if (source, number) == ("client", 0) else None)
    again = Run()
    first = lost.trace.records
    for record in again.trace.records:
        assert isinstance(record, FrameRecord)
        frame = bytearray(record.frame)
        frame[38] ^= 0x40  # other sequence numbers
        record.frame = bytes(frame)
    found = find_connections([*first, *again.trace.records])
    assert [len(each.passages) for each in found] == [len(first), len(again.trace.records)]
    assert len(find_connections([*first, *first])) == 1
    assert find_connections([echo(0), note(0, "x")]) == []
