"""Captures by the control socket: in files, in memory, as a stream; the links afterwards as before."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path

import dpkt
import pytest

from slirpy import Slirp
from slirpy.control import ControlClient, ControlError, ControlServer, taps
from slirpy.control import captures as captures_module
from slirpy.links import outputs
from tests.support.control import exchange, request
from tests.support.live_guest import LiveGuest
from tests.support.waiting import until
from tests.unit.control.talk import inside, talk


@pytest.fixture
def client(server: ControlServer) -> ControlClient:
    return ControlClient(str(server.address.path))


def payloads(data: bytes) -> bytes:
    """All TCP payload in a capture, as another reader sees it."""
    frames = [dpkt.ethernet.Ethernet(frame) for _, frame in dpkt.pcapng.Reader(io.BytesIO(data))]
    return b"".join(
        bytes(frame.data.data.data)
        for frame in frames
        if isinstance(frame.data, dpkt.ip.IP) and isinstance(frame.data.data, dpkt.tcp.TCP)
    )


def _until_none(client: ControlClient) -> None:
    until(lambda: not client.ask("GET", "/v1/captures")["captures"], lambda: client.ask("GET", "/v1"))


def test_a_file(client: ControlClient, net: Slirp, folder: Path) -> None:
    before = inside(net)
    file = folder / "net.pcapng"
    row = client.ask("POST", "/v1/captures", {"file": str(file)})
    assert row["running"]
    assert row["kind"] == "file"
    assert row["links"] == 1
    talk(net)
    assert payloads(file.read_bytes()) == b"hellohello"
    ended = client.ask("POST", f"/v1/captures/{row['number']}/stop")
    assert not ended["running"]
    assert ended["frames"] >= 8
    assert inside(net) == before
    content = file.read_bytes()
    talk(net, b"unrecorded")
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert client.ask("POST", f"/v1/captures/{row['number']}/stop") == ended
    assert client.ask("GET", "/v1/captures") == {"captures": [ended]}
    client.ask("DELETE", f"/v1/captures/{row['number']}")
    assert client.ask("GET", "/v1/captures") == {"captures": []}
    assert file.read_bytes() == content


def test_no_file_is_overwritten_unasked(client: ControlClient, net: Slirp, folder: Path) -> None:
    file, note = folder / "net.pcap", folder / "note"
    note.write_text("mine")
    (folder / "link.pcap").symlink_to(note)
    first = client.ask("POST", "/v1/captures", {"file": str(file)})
    client.ask("DELETE", f"/v1/captures/{first['number']}")
    for name in ("net.pcap", "note", "link.pcap"):
        with pytest.raises(ControlError, match="exists") as refused:
            client.ask("POST", "/v1/captures", {"file": str(folder / name)})
        assert refused.value.status == 409
    for name in ("note", "link.pcap"):
        with pytest.raises(ControlError, match="slirpy did not write"):
            client.ask("POST", "/v1/captures", {"file": str(folder / name), "overwrite": True})
    (folder / "new.1.pcap").touch()
    with pytest.raises(ControlError, match=r"new\.1\.pcap"):
        client.ask("POST", "/v1/captures", {"file": str(folder / "new.pcap")})
    assert note.read_text() == "mine"
    assert client.ask("POST", "/v1/captures", {"file": str(file), "overwrite": True})["running"]
    assert len(client.ask("GET", "/v1/captures")["captures"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"file": "net.pcap"}, 400, "absolute path"),
        ({"file": "/nowhere/net.pcap"}, 409, "folder of yours"),
        ({"file": "/tmp/a\0b"}, 400, "path"),
        ({"file": ""}, 400, "path"),
        ({"links": [5]}, 400, "no link 5"),
        ({"links": [-1]}, 400, "no link -1"),
        ({"max_bytes": 1}, 422, "1000"),
        ({"files": 3}, 422, "files"),
    ],
)
def test_requests_that_cannot_be(
    client: ControlClient, body: dict[str, object], status: int, text: str
) -> None:
    with pytest.raises(ControlError, match=text) as refused:
        client.ask("POST", "/v1/captures", body)
    assert refused.value.status == status
    assert client.ask("GET", "/v1/captures") == {"captures": []}


def test_no_capture_of_this_number(client: ControlClient) -> None:
    for method, path in (("POST", "9/stop"), ("DELETE", "9"), ("GET", "9/file"), ("GET", "9/ladder")):
        with pytest.raises(ControlError, match="no capture 9") as refused:
            client.ask(method, f"/v1/captures/{path}")
        assert refused.value.status == 404


def test_files_are_for_clients_of_a_unix_socket(tcp: ControlServer, folder: Path) -> None:
    status, answer = request(tcp, "POST", "/v1/captures", {"file": str(folder / "x")})
    assert status == 403, answer
    assert not (folder / "x").exists()
    assert request(tcp, "POST", "/v1/captures", {})[0] == 201


def test_a_folder_that_a_sandbox_forbids(
    client: ControlClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **more: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(outputs, "open_own", refuse)
    with pytest.raises(ControlError, match="--capture-dir FOLDER"):
        client.ask("POST", "/v1/captures", {"file": str(folder / "net.pcapng")})


def test_files_in_rotation(client: ControlClient, net: Slirp, folder: Path) -> None:
    client.ask("POST", "/v1/captures", {"file": str(folder / "net.pcapng"), "max_bytes": 1000, "max_files": 3})
    for _ in range(5):
        talk(net)
    assert sorted(each.name for each in folder.glob("*.pcapng")) == [
        "net.1.pcapng",
        "net.2.pcapng",
        "net.pcapng",
    ]
    assert all(each.stat().st_size <= 1000 for each in folder.glob("*.pcapng"))


def test_memory_and_its_ladder(client: ControlClient, net: Slirp, server: ControlServer) -> None:
    number = client.ask("POST", "/v1/captures", {})["number"]
    talk(net, b"in memory")
    client.ask("POST", f"/v1/captures/{number}/stop")
    assert payloads(b"".join(client.stream(f"/v1/captures/{number}/file"))) == 2 * b"in memory"
    drawn = b"".join(client.stream(f"/v1/captures/{number}/ladder")).decode()
    assert "SYN,ACK" in drawn
    assert "len=9" in drawn
    few = (
        b"".join(client.stream(f"/v1/captures/{number}/ladder", {"last": 2, "width": 80})).decode().splitlines()
    )
    assert len(few) == 3
    assert max(map(len, few)) == 80


def test_a_ladder_is_of_memory(client: ControlClient, folder: Path) -> None:
    number = client.ask("POST", "/v1/captures", {"file": str(folder / "x")})["number"]
    with pytest.raises(ControlError, match="not in memory") as refused:
        client.ask("GET", f"/v1/captures/{number}/ladder")
    assert refused.value.status == 409


def test_a_stream(client: ControlClient, net: Slirp) -> None:
    before = inside(net)
    stream = client.stream("/v1/captures/stream")
    data = next(stream)  # the head of the file
    talk(net, b"streamed")
    while payloads(data) != 2 * b"streamed":
        data += next(stream)
    stream.close()
    _until_none(client)
    assert inside(net) == before


def test_a_stream_ends_when_it_is_stopped(client: ControlClient, net: Slirp) -> None:
    stream = client.stream("/v1/captures/stream")
    next(stream)
    (row,) = client.ask("GET", "/v1/captures")["captures"]
    assert row["kind"] == "stream"
    client.ask("POST", f"/v1/captures/{row['number']}/stop")
    for _ in stream:
        pass


def test_a_slow_reader_holds_nothing(
    client: ControlClient, net: Slirp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures_module, "STREAM_BYTES", 10_000)
    stream = client.stream("/v1/captures/stream")
    next(stream)
    lost = 0
    while not lost:
        talk(net, bytes(16_000))
        lost = client.ask("GET", "/v1/captures")["captures"][0]["lost"]
    assert net.stats.control_capture_lost >= lost
    stream.close()
    _until_none(client)


def test_one_link_or_all_that_come(client: ControlClient, net: Slirp) -> None:
    both = client.ask("POST", "/v1/captures", {})["number"]
    one = client.ask("POST", "/v1/captures", {"links": [0, 0]})["number"]
    net.stop()
    second = LiveGuest(net, mac="52:54:00:12:34:57", seed=2)
    net.start()
    rows = {row["number"]: row for row in client.ask("GET", "/v1/captures")["captures"]}
    assert rows[both]["links"] == 2
    assert rows[one]["links"] == 1
    assert rows[both]["frames"] > rows[one]["frames"]
    data = b"".join(client.stream(f"/v1/captures/{both}/file"))
    assert b"link1" in data
    assert b"link2" in data
    second.nic.close()
    assert client.ask("DELETE", f"/v1/captures/{both}")["links"] == 0
    assert net._stack.on_attach is None


def test_they_are_bounded(client: ControlClient) -> None:
    for _ in range(taps.CAPTURES_MAX):
        client.ask("POST", "/v1/captures", {})
    with pytest.raises(ControlError, match="stop one first") as refused:
        client.ask("POST", "/v1/captures", {})
    assert refused.value.status == 409
    client.ask("POST", "/v1/captures/3/stop")
    assert client.ask("POST", "/v1/captures", {})["number"] == taps.CAPTURES_MAX + 1
    assert len(client.ask("GET", "/v1/captures")["captures"]) == taps.CAPTURES_MAX


def test_one_that_fails_ends(client: ControlClient, net: Slirp, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inside(net)
    number = client.ask("POST", "/v1/captures", {})["number"]
    capture = net._call(lambda: net._taps.capture(number))  # type: ignore[union-attr] # it is controlled
    assert capture is not None

    def fail(records: list[bytes]) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(capture.target, "write", fail)
    talk(net)
    until(
        lambda: not client.ask("GET", "/v1/captures")["captures"][0]["running"],
        lambda: client.ask("GET", "/v1"),
    )
    (row,) = client.ask("GET", "/v1/captures")["captures"]
    assert row["error"] == "No space left on device"
    assert inside(net) == before


def test_the_end_of_the_network_ends_them(client: ControlClient, net: Slirp, folder: Path) -> None:
    client.ask("POST", "/v1/captures", {"file": str(folder / "net.pcapng")})
    stream = client.stream("/v1/captures/stream")
    data = next(stream)
    talk(net)
    net.stop()
    net.close()
    data += b"".join(stream)
    assert payloads((folder / "net.pcapng").read_bytes()) == payloads(data) == b"hellohello"


def test_two_servers_share_them(client: ControlClient, net: Slirp, folder: Path) -> None:
    net.serve_control(f"unix:{folder}/two")
    number = client.ask("POST", "/v1/captures", {})["number"]
    other = ControlClient(f"{folder}/two")
    assert [row["number"] for row in other.ask("GET", "/v1/captures")["captures"]] == [number]
    other.ask("DELETE", f"/v1/captures/{number}")
    assert client.ask("GET", "/v1/captures") == {"captures": []}


def test_a_download_has_a_name(server: ControlServer, client: ControlClient) -> None:
    number = client.ask("POST", "/v1/captures", {})["number"]
    head = f"GET /v1/captures/{number}/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(server, head.encode())
    assert b'filename="slirpy-1.pcapng"' in answer
    assert json.loads(exchange(server, b"GET /v1/captures/1 HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n\r\n")[1])
