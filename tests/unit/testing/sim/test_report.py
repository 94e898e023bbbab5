"""Reports: their text, their files, and the page."""

from __future__ import annotations

import asyncio
import json
import platform
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from slirpy import __version__
from slirpy.errors import ConfigError
from slirpy.testing import Network, run_text
from slirpy.testing.sim.faults import Cut, Flow, Lose
from slirpy.testing.sim.injected import Injected
from slirpy.testing.sim.netstat import SocketInfo
from slirpy.testing.sim.report import KINDS, Report
from slirpy.testing.sim.trace import FrameRecord, NoteRecord, Trace
from slirpy.units import MS, SECOND
from tests.support.traces import Run, packet_frame
from tests.unit.testing.sim.tls import contexts

LOST = Lose(Flow("client", "server"), 1)
NASTY = "</script><script>alert(1)</script><!--"


def report(**more: object) -> Report:
    """The report of a connection whose first data is lost by the plan, and whose first retransmission by chance."""
    reasons = {2: str(LOST), 3: "loss"}

    def faults(source: str, number: int, _: object) -> tuple[str, tuple[int, ...]] | None:
        return (reasons[number], ()) if source == "client" and number in reasons else None

    run = Run(faults)
    run.note("client", NASTY)
    run.send("client", bytes(5000))
    run.trace.note(run.pair.now, "server", "exception", "serve: KeyError('x')")
    run.close()
    values: dict[str, object] = {
        "seed": 7,
        "now": run.pair.now,
        "trace": run.trace,
        "plan": [Injected(LOST, [30 * MS]), Injected(Cut(5, 10, "client", "server"))],
        "sockets": {"server": [SocketInfo("tcp", "*:443", "*:*", "LISTEN")]},
        "failure": "fetch on client failed: TimeoutError()",
        **more,
    }
    return Report(**values)  # type: ignore[arg-type] # each value fits its field


def test_the_text_has_everything() -> None:
    made = report()
    text = str(made)
    frames = sum(isinstance(each, FrameRecord) for each in made.trace.records)
    assert text.splitlines()[:8] == [
        f"slirpy report: seed 7, {made.now / SECOND:.6f} s of virtual time, {frames} frames (2 lost),"
        f" trace {made.trace.digest()[:16]}, slirpy {__version__}, Python {platform.python_version()}",
        "fetch on client failed: TimeoutError()",
        "faults:",
        "  lose new segment 1 of connection 0 from client to server: hit at 30.000 ms",
        "  cut the path between client and server in 5 ms for 10 ms: hit nothing",
        "frames hit: loss 1",
        "sockets:",
        "  host    proto  local  remote  state   recv-q  send-q  again  rtt",
    ]
    assert f"lost: {LOST}"[:40] in text
    assert "exception: serve: KeyError('x')" in text
    assert [str(each.fault) for each in made.idle_faults] == [str(Cut(5, 10, "client", "server"))]
    assert repr(made) == f"<Report of seed 7, {made.now / SECOND:.6f} s, {len(made.trace.records)} records>"


def test_a_run_without_anything_has_a_text() -> None:
    made = Report(seed=0, now=0, trace=Trace())
    assert str(made).splitlines()[1:] == ["the last 40 rows:", "  no frames"]
    assert "<html" in made.html()
    assert json.loads(made.json())["plan"] == []


def test_many_reasons_are_cut_short() -> None:
    trace = Trace()
    trace.records += [FrameRecord(0, "a", "b", bytes(60), (), f"reason {number}") for number in range(20)]
    assert "reason 11 1, 8 others" in str(Report(0, 0, trace))


def test_the_json_repeats_the_run() -> None:
    content = json.loads(report(details={"test": "tests/test_x.py::test_y", "path": Path("/x")}).json())
    assert content["seed"] == 7
    assert content["trace"] == report().trace.digest()
    assert content["versions"]["python"] == platform.python_version()
    assert content["plan"][0] == {
        "fault": str(LOST),
        "kind": "Lose",
        "flow": {"client": "client", "server": "server", "connection": 0, "back": False, "protocol": "tcp"},
        "n": 1,
        "hits": [0.03],
    }
    assert content["idle faults"] == [str(Cut(5, 10, "client", "server"))]
    assert content["test"] == "tests/test_x.py::test_y"


def test_equal_runs_have_equal_files() -> None:
    one, other = report(), report()
    assert (str(one), one.json(), one.html(), one.plot()) == (
        str(other),
        other.json(),
        other.html(),
        other.plot(),
    )
    assert (one.pcapng(), one.packetdrill()) == (other.pcapng(), other.packetdrill())


def test_the_report_of_a_network() -> None:
    async def serve() -> None:
        server = await asyncio.start_server(answer, "0.0.0.0", 443, ssl=server_context)
        await server.serve_forever()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await reader.read()
        writer.close()

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("server", 443, ssl=client_context, server_hostname="")
        writer.write(b"hello\n")
        try:
            return await reader.readline()
        finally:
            writer.close()

    client_context, server_context = contexts()
    with Network(seed=5, epoch=datetime(2026, 1, 1, tzinfo=UTC)) as net:
        net.host("server").run(serve())
        net.host("client")
        net.inject(Lose(Flow("client", "server"), 1), Lose(Flow("client", "server", 1), 0))
        assert net.run(ask(), on="client") == b"hello\n"
        net.run_for(1)  # both ends say goodbye
        made = net.report(ValueError("wrong answer"))
    assert (made.seed, made.now, made.failure) == (5, net.now, "ValueError: wrong answer")
    assert made.epoch == 1_767_225_600 * SECOND
    assert made.keys.startswith("CLIENT_RANDOM ")
    assert made.keys.split()[1].encode() in made.pcapng()
    assert [bool(each.hits) for each in made.plan] == [True, False]
    assert "hit nothing" in str(made)
    assert made.sockets["server"][0].state == "LISTEN"
    assert "--delayed_ack=40000000" in made.packetdrill()
    assert net.report().keys == made.keys
    assert net.report(TimeoutError()).failure == "TimeoutError"
    with pytest.raises(ConfigError, match="failure must be an exception or a text"):
        net.report(3)  # type: ignore[arg-type] # that is the point


# ------------------------------------------------------------------------------------------------ files


def test_files(tmp_path: Path) -> None:
    made = report()
    folder = tmp_path / "new" / "folder"
    paths = made.save(folder, "tests/test_x.py::test_y[a b]")
    assert [path.name for path in paths] == [f"tests-test_x.py-test_y-a-b.{kind}" for kind in KINDS]
    by_kind = {path.suffix[1:]: path.read_bytes() for path in paths}
    assert by_kind["txt"].decode() == f"{made}\n"
    assert by_kind["pcapng"] == made.pcapng()
    assert json.loads(by_kind["json"])["seed"] == 7
    ElementTree.fromstring(by_kind["svg"])
    assert run_text(by_kind["pkt"].decode()).outcome != "unsupported"


def test_files_of_an_earlier_report_are_replaced(tmp_path: Path) -> None:
    first = report().save(tmp_path, "x")
    sizes = [path.stat().st_size for path in first]
    assert report(seed=8).save(tmp_path, "x") == first
    assert [path.stat().st_size for path in first] == sizes
    assert b'"seed": 8' in (tmp_path / "x.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_slirpy_did_not_write_are_not(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match="it has content that slirpy did not write"):
        report().save(tmp_path, "x", [kind])
    assert path.read_text() == '{"mine": 1}'


def test_without_a_connection_there_is_no_diagram(tmp_path: Path) -> None:
    trace = Trace()
    trace.records.append(
        FrameRecord(0, "a", "b", packet_frame("client", 1, b"\x08\0\xf7\xff" + bytes(4)), (1,))
    )
    made = Report(0, 1, trace)
    assert [path.suffix for path in made.save(tmp_path, "x")] == [".txt", ".html", ".pcapng", ".json"]
    with pytest.raises(ConfigError, match="the run has no TCP connection"):
        made.plot()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("", "x"), "directory"),
        (("d", "::"), "name '::' has no letter or digit"),
        (("d", 3), "name"),
        (("d", "x", ["pdf"]), "kind 'pdf' is unknown; the kinds are txt, html"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[object, ...], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=text):
        report().save(*arguments)  # type: ignore[arg-type] # that is the point
    with pytest.raises(ConfigError, match="host 'x' is not of connection 0"):
        report().packetdrill(host="x")
    with pytest.raises(ConfigError, match="connection 3"):
        report().plot(3)


def test_the_connection_that_suffered_most_is_drawn() -> None:
    quiet = Run()
    quiet.send("client", bytes(2000))
    made = report()
    for record in quiet.trace.records:
        assert isinstance(record, FrameRecord)
        frame = bytearray(record.frame)
        frame[34 if record.source == "client" else 36] = 7  # another port
        record.frame = bytes(frame)
    made.trace.records += quiet.trace.records
    assert len(made.connections) == 2
    assert "connection 0" in made.plot()
    assert "connection 0" in made.packetdrill()
    assert "connection 1" in made.plot(1)


# ------------------------------------------------------------------------------------------------- page


class Page(HTMLParser):
    """Collects tags, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def test_the_page_has_ladder_diagram_and_log() -> None:
    made = report()
    page = Page(made.html())
    data = json.loads(page.scripts[0])
    assert data["hosts"] == ["client", "server"]
    assert data["leftOut"] == 0
    lost = [row for row in data["rows"] if row[3] == "lost"]
    assert [row[5] for row in lost] == [f"lost: {LOST}", "lost: loss"]
    assert lost[0][:3] == [30 * MS, 0, 1]
    assert {row[6] for row in data["rows"] if row[2] >= 0} == {0}
    notes = [row for row in data["rows"] if row[2] < 0]
    assert [(row[1], row[3], row[4]) for row in notes] == [
        (0, "log", NASTY),
        (1, "exception", "exception: serve: KeyError('x')"),
    ]
    assert [tag for tag, _ in page.tags].count("svg") == 1
    assert ("li", {"class": "idle"}) in page.tags


def test_the_page_loads_nothing_and_cannot_be_broken_by_a_run() -> None:
    text = report(failure=NASTY, sockets={NASTY: [SocketInfo(NASTY, "", "")]}).html()
    page = Page(text)
    assert len(page.scripts) == 2
    assert "alert(1)</script>" not in text
    assert not re.findall(r'(?:src|href)="|@import|url\(', text)
    assert "prefers-color-scheme: dark" in text


def test_a_long_run_has_the_last_rows_only() -> None:
    trace = Trace()
    trace.records += [NoteRecord(number, "a", "log", str(number)) for number in range(20_003)]
    data = json.loads(Page(Report(0, 1, trace).html()).scripts[0])
    assert data["leftOut"] == 3
    assert data["rows"][0][4] == "3"
