"""``slirpy ctl``: tables for people, JSON for programs, completion of what exists."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from slirpy import Action, Decision, FlowRequest, Slirp, Verdict
from slirpy.cli.app import app
from slirpy.control import ControlServer
from slirpy.errors import LinkError
from slirpy.wire import pcapng
from tests.support.live_guest import LiveGuest


@pytest.fixture
def server(net: Slirp, folder: Path) -> Iterator[ControlServer]:
    guest = LiveGuest(net, hostname="build-7")
    guest.serve_echo(7)
    server = net.serve_control(f"unix:{folder}/ctl")
    net.start()
    yield server
    net.stop()


def ctl(server: ControlServer, *words: str) -> Result:
    """Run ``slirpy ctl`` on a server."""
    return CliRunner().invoke(app, ["ctl", str(server.address.path), *words])


def test_tables(server: ControlServer, net: Slirp) -> None:
    with net.connect("build-7", 7):
        assert "10.0.2.15:7" in ctl(server, "flows").output
        assert "ESTABLISHED" in ctl(server, "flows", "--protocol", "tcp").output
        assert "10.0.2.15:7" not in ctl(server, "flows", "--protocol", "udp").output
        assert "10.0.2.0/24" in ctl(server, "info").output
        assert "frames_in" in ctl(server, "stats").output
        assert "drop_arp" not in ctl(server, "stats").output
        assert "build-7" in ctl(server, "leases").output
        assert "52:54:00:12:34:56" in ctl(server, "neighbors").output


def test_json(server: ControlServer) -> None:
    result = ctl(server, "leases", "--json")
    assert result.output.count("\n") == 1
    assert json.loads(result.output)["leases"][0]["hostname"] == "build-7"
    assert json.loads(ctl(server, "flows", "--closed", "--json").output) == {"total": 0, "flows": []}


def test_forwards(server: ControlServer, net: Slirp) -> None:
    added = json.loads(ctl(server, "forwards", "add", "tcp::0-:7", "udp::0-:7", "--json").output)["forwards"]
    assert [each["protocol"] for each in added] == ["tcp", "udp"]
    with socket.create_connection(("127.0.0.1", added[0]["host"]["port"]), 10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    assert added[0]["rule"] in ctl(server, "forwards").output
    assert ctl(server, "forwards", "remove", added[0]["rule"]).exit_code == 0
    assert [str(each) for each in net.hostfwds()] == [added[1]["rule"]]


def test_rules(server: ControlServer, net: Slirp, folder: Path) -> None:
    assert "10.0.2.100" in ctl(server, "guest-forwards", "add", "tcp:10.0.2.100:80-tcp:127.0.0.1:8080").output
    assert len(net.guestfwds()) == 1
    assert ctl(server, "guest-forwards", "remove", str(net.guestfwds()[0])).exit_code == 0
    assert "192.0.2.7" in ctl(server, "dns", "add", "web.test=192.0.2.7").output
    assert json.loads(ctl(server, "dns", "--json").output)["records"][0]["name"] == "web.test"
    assert ctl(server, "dns", "remove", "web.test").exit_code == 0
    assert net.dns_records == []
    file = folder / "policy.toml"
    file.write_text('default = "reject"\nrules = ["allow tcp:192.0.2.7:443"]\n')
    assert "allow tcp:192.0.2.7:443" in ctl(server, "policy", "replace", str(file)).output
    assert "tcp:1.1.1.1:80: reject" in ctl(server, "policy", "check", "tcp:1.1.1.1:80").output
    assert json.loads(ctl(server, "policy", "--json").output)["kind"] == "rules"
    assert "none" in ctl(server, "policy", "remove").output
    assert "CallbackLink" in ctl(server, "links").output
    for words in (
        ["dns", "add"],
        ["guest-forwards", "remove"],
        ["policy", "replace"],
        ["policy", "remove", "x"],
    ):
        assert ctl(server, *words).exit_code == 2


def test_completion(server: ControlServer, net: Slirp) -> None:
    forward = net.add_hostfwd("tcp::0-:7")
    completion = ShellComplete(app, {}, "slirpy", "_SLIRPY_COMPLETE")
    place = str(server.address.path)
    found = completion.get_completions(["ctl", place, "forwards", "remove"], "tcp")
    assert [item.value for item in found] == [str(forward)]
    net.connect("10.0.2.15", 7).close()
    found = completion.get_completions(["ctl", place, "flows", "--guest"], "")
    assert [item.value for item in found] == ["10.0.2.15"]
    assert completion.get_completions(["ctl", "/nowhere", "forwards", "remove"], "") == []
    ctl(server, "capture", "start")
    for words, expected in (
        (["start"], [("file", "n")]),
        (["save", "1"], [("file", "n")]),
        (["start", "net.pcap"], []),
        (["stop"], []),
    ):
        items = completion.get_completions(["ctl", place, "capture", *words], "n")
        assert [(item.type, item.value) for item in items] == expected
    for action in ("stop", "save", "ladder"):
        items = completion.get_completions(["ctl", place, "capture", action], "")
        assert [item.value for item in items] == ["1"]
    assert "forwards" in [item.value for item in completion.get_completions(["ctl", place], "for")]


def test_mistakes(server: ControlServer, folder: Path) -> None:
    result = ctl(server, "forwards", "remove", "tcp::1-:2")
    assert isinstance(result.exception, LinkError)
    assert "no such forward" in str(result.exception)
    result = CliRunner().invoke(app, ["ctl", f"{folder}/none", "flows"])
    assert "no such file" in str(result.exception)
    result = CliRunner().invoke(app, ["ctl", "tcp:127.0.0.1", "flows"])
    assert "PLACE" in str(result.exception)
    result = CliRunner().invoke(app, ["ctl", "--token-file", f"{folder}/none", "tcp:127.0.0.1:1", "flows"])
    assert '--token-file "' in str(result.exception)
    assert ctl(server, "forwards", "add").exit_code == 2
    assert ctl(server, "flows", "--closed", "--protocol", "tcp").exit_code == 2


def test_tcp_with_a_token(server: ControlServer, net: Slirp, folder: Path) -> None:
    other = net.serve_control("tcp:127.0.0.1:0")
    place = f"tcp:{other.address}"
    result = CliRunner().invoke(app, ["ctl", place, "info"])
    assert "token is missing" in str(result.exception)
    result = CliRunner().invoke(app, ["ctl", place, "info"], env={"SLIRPY_CONTROL_TOKEN": other.token})
    assert "10.0.2.0/24" in result.output
    file = folder / "token"
    file.write_text(f"{other.token}\n")
    assert CliRunner().invoke(app, ["ctl", "--token-file", str(file), place, "info"]).exit_code == 0


def test_captures(server: ControlServer, net: Slirp, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "running" in ctl(server, "capture", "start", "net.pcapng,max=10M,files=3").output
    assert "memory" in ctl(server, "capture", "start", "--link", "0").output
    with net.connect("10.0.2.15", 7) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    assert str(folder / "net.pcapng") in ctl(server, "capture").output
    assert "SYN,ACK" in ctl(server, "capture", "ladder", "2").output
    assert ctl(server, "capture", "save", "2", "kept.pcapng").exit_code == 0
    assert (folder / "kept.pcapng").read_bytes() == pcapng.header(["link1"]) + _records(folder / "kept.pcapng")
    refused = ctl(server, "capture", "save", "2", "kept.pcapng")
    assert "cannot be created: file exists" in str(refused.exception)
    assert "ended" in ctl(server, "capture", "stop", "1", "2").output
    assert json.loads(ctl(server, "capture", "--json").output) == {"captures": []}
    assert (folder / "net.pcapng").stat().st_size > 500
    refused = ctl(server, "capture", "start", "net.pcapng")
    assert "exists" in str(refused.exception)
    assert ctl(server, "capture", "start", "net.pcapng", "--overwrite").exit_code == 0


def _records(file: Path) -> bytes:
    return file.read_bytes()[len(pcapng.header(["link1"])) :]


def test_a_stream_of_frames(server: ControlServer, net: Slirp) -> None:
    """Into a pipe, as for Wireshark, until it is stopped."""
    command = [sys.executable, "-m", "slirpy", "ctl", str(server.address.path), "capture", "stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        head = pcapng.header([])
        assert process.stdout.read(len(head)) == head
        with net.connect("10.0.2.15", 7):
            pass
        assert process.stdout.read(100)
        process.stdout.close()  # Wireshark ends; so does the program, at the next frame
        while process.poll() is None:
            with net.connect("10.0.2.15", 7):
                pass
        assert process.returncode == 0


def test_faults(server: ControlServer) -> None:
    output = ctl(server, "faults", "set", "loss=1%,delay=40ms,rate=10M", "--link", "0").output
    assert output.count("loss=0.01,delay=40ms,rate=10000000") == 2
    output = ctl(server, "faults", "set", "--to-guest", "reorder=0.5,reorder-delay=2ms", "--seed", "7").output
    assert "reorder=0.5,reorder_delay=2ms" in output
    assert "none" in output
    assert "link" in ctl(server, "faults").output
    assert json.loads(ctl(server, "faults", "clear", "--json").output) == {"links": []}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("faults", "set"), "set needs FAULTS"),
        (("faults", "loss=1"), "is not one of"),
        (("faults", "clear", "loss=1"), "for `set`"),
        (("faults", "set", "los=1%"), "loss"),
        (("faults", "set", "delay=40"), "with the unit 'us' or 'ms' or 's'"),
        (("faults", "set", "delay"), "must be a number"),
        (("faults", "set", "loss=300%"), "less than or equal to 1"),
        (("capture", "stop"), "needs a NUMBER"),
        (("capture", "stop", "x"), "is not the number of a capture"),
        (("capture", "stop", "7"), "no capture 7"),
        (("capture", "ladder"), "one NUMBER"),
        (("capture", "save", "1"), "a NUMBER and a FILE"),
        (("capture", "start", "-"), "capture stream"),
        (("capture", "start", "a", "b"), "one FILE"),
        (("capture", "start", "a,max=x"), "must be a number"),
        (("capture", "stream", "x"), "nothing to do"),
    ],
)
def test_mistakes_about_captures_and_faults(server: ControlServer, words: tuple[str, ...], text: str) -> None:
    result = ctl(server, *words)
    assert result.exit_code
    assert text in result.output + str(result.exception)


def test_questions(server: ControlServer, net: Slirp) -> None:
    assert ctl(server, "policy", "check", "tcp:192.0.2.7:7").exit_code == 0
    asked: list[Verdict] = []
    flow = FlowRequest(6, "10.0.2.15", 40000, "192.0.2.7", 7, names=("web.test",))

    def ask() -> None:
        found = net._stack.questions(flow, Verdict(Action.ASK))
        assert isinstance(found, Decision)
        found.then(asked.append)

    assert net._mailbox is not None
    net._mailbox.call(ask)
    assert "tcp:web.test:7" in ctl(server, "questions").output
    assert "needs an answer" in ctl(server, "questions", "1").output
    assert ctl(server, "questions", "1", "never").exit_code == 0
    assert [verdict.action for verdict in asked] == [Action.REJECT]
    assert "not open" in str(ctl(server, "questions", "1", "yes").exception)
    assert "tcp:web.test:7" not in ctl(server, "questions").output
