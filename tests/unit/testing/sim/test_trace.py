"""Records of a run, and their digest."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable

import pytest

from slirpy.testing import Network
from slirpy.testing.sim.trace import FrameRecord, Kind, NoteRecord, Trace


def frame(
    time: int = 5,
    source: str = "a",
    target: str = "b",
    data: bytes = b"frame",
    arrivals: tuple[int, ...] = (7,),
    fault: str = "",
) -> FrameRecord:
    return FrameRecord(time, source, target, data, arrivals, fault)


def trace(*records: FrameRecord | NoteRecord) -> Trace:
    made = Trace()
    made.records += records
    return made


def test_equal_runs_have_equal_digests() -> None:
    runs = [trace(frame(), NoteRecord(6, "a", "log", "line"), frame()).digest() for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 64


@pytest.mark.parametrize(
    "other",
    [
        frame(time=6),
        frame(source="c"),
        frame(target="c"),
        frame(data=b"fram."),
        frame(arrivals=()),
        frame(arrivals=(8,)),
        frame(arrivals=(7, 8)),
        frame(fault="loss"),
        frame(source="ab", target=""),
        NoteRecord(5, "a", "log", "frame"),
    ],
    ids=repr,
)
def test_each_field_counts(other: FrameRecord | NoteRecord) -> None:
    assert trace(frame()).digest() != trace(other).digest()


@pytest.mark.parametrize(
    "change",
    [
        lambda: NoteRecord(6, "a", "fault", "line"),
        lambda: NoteRecord(5, "b", "fault", "line"),
        lambda: NoteRecord(5, "a", "note", "line"),
        lambda: NoteRecord(5, "a", "fault", "lines"),
    ],
)
def test_each_field_of_a_line_counts(change: Callable[[], NoteRecord]) -> None:
    assert trace(NoteRecord(5, "a", "fault", "line")).digest() != trace(change()).digest()


@pytest.mark.parametrize("kind", ["log", "exception"])
def test_texts_that_may_have_addresses_of_objects_do_not_count(kind: Kind) -> None:
    lines = [NoteRecord(5, "a", kind, text) for text in ("<Task-1 at 0x7f>", "<Task-2 at 0x7e>")]
    assert trace(lines[0]).digest() == trace(lines[1]).digest()


def test_order_counts() -> None:
    one, other = frame(), NoteRecord(5, "a", "log", "line")
    assert trace(one, other).digest() != trace(other, one).digest()


def test_text_that_is_not_unicode_is_hashed() -> None:
    assert trace(NoteRecord(0, "a", "log", "\udcff")).digest()


def test_repr() -> None:
    assert (
        repr(frame()) == "FrameRecord(time=5, source='a', target='b', frame=<5 bytes>, arrivals=(7,), fault='')"
    )
    assert repr(trace(frame())) == "<Trace of 1 records>"
    assert frame(arrivals=()).lost
    assert not frame().lost
    made = Trace()
    made.note(3, "", "fault", "partition")
    assert repr(made.records) == "[NoteRecord(time=3, host='', kind='fault', text='partition')]"


@pytest.mark.parametrize(
    ("arrivals", "fault", "text"),
    [
        ((1_000_000,), "", ""),
        ((), "", "lost"),
        ((), "loss", "lost: loss"),
        ((), "hold", "held"),
        ((3_000_000, 4_500_000), "", "repeated: arrives twice, +3.000, +4.500 ms"),
        ((1, 2, 3), "Repeat", "Repeat: arrives +0.000, +0.000, +0.000 ms"),
        ((2_000_000,), "corruption", "corruption: arrives +2.000 ms"),
    ],
)
def test_fates(arrivals: tuple[int, ...], fault: str, text: str) -> None:
    assert FrameRecord(0, "a", "b", b"", arrivals, fault).fate == text


@pytest.mark.parametrize(("kind", "line"), [("log", "text"), ("note", "text"), ("fault", "fault: text")])
def test_lines(kind: Kind, line: str) -> None:
    assert NoteRecord(0, "a", kind, "text").line == line


def test_records_can_be_pickled() -> None:
    """A campaign on several machines may return them; frames that nobody has looked at are made then."""
    with Network() as net:
        net.host("server").run(serve)
        net.run(visit, on="client")
    records = [each for each in net.trace.records if isinstance(each, FrameRecord)]
    copies = pickle.loads(pickle.dumps(records))
    assert len(records) > 5
    assert [(copy.time, copy.arrivals, copy.frame) for copy in copies] == [
        (record.time, record.arrivals, record.frame) for record in records
    ]


async def serve() -> None:
    await (await asyncio.start_server(lambda _, writer: writer.close(), "server", 80)).serve_forever()


async def visit() -> None:
    reader, writer = await asyncio.open_connection("server", 80)
    await reader.read()
    writer.close()
