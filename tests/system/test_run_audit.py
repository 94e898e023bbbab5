"""``slirpy run`` with an audit log, a policy that is learned, and questions at the terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slirpy import RulePolicy
from tests.support.repository import REPOSITORY
from tests.system.user import User
from tests.system.webserver import WebServer
from tests.unit.audit.records import check, check_numbers, lines

pytestmark = pytest.mark.system

# Connects to each place, and says what comes of it.
TRY = """
import errno, socket, sys
for text in sys.argv[1:]:
    kind, host, port = text.split(":")
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        try:
            s.connect((host, int(port)))
            if kind == "udp":
                s.send(b"x")
                s.recv(99)
            print("reached", flush=True)
        except OSError as error:
            print(errno.errorcode.get(error.errno, "silence"), flush=True)
"""


def attempt(*places: str) -> list[str]:
    return ["--", sys.executable, "-c", TRY, *places]


def test_the_log_of_a_run(slirpy: User, web: WebServer, folder: Path) -> None:
    log = folder / "audit.jsonl"
    options = ["--audit", str(log), "--allow", f"host:{web.port}"]
    places = [f"tcp:10.0.2.2:{web.port}", "tcp:169.254.169.254:80", "udp:198.51.100.7:99"]
    result = slirpy.run("run", *options, *attempt(*places))
    assert result.stdout.split() == ["reached", "ECONNREFUSED", "EHOSTUNREACH"], result.stderr
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    records = lines(log.read_bytes())
    check(records)
    check_numbers(records)
    assert [record["event"] for record in (records[0], records[-1])] == ["start", "stop"]
    refused = [record for record in records if record["event"] == "refused"]
    assert [(r["destination"], r["severity"], r["verdict"]) for r in refused] == [
        ("169.254.169.254", "metadata", "reject"),
        ("198.51.100.7", "other", "reject"),
    ]
    (opened,) = [record for record in records if record["event"] == "open"]
    assert (opened["rule"], opened["host"], opened["target_port"]) == (f"allow host:{web.port}", True, web.port)
    assert any(record["event"] == "end" and record["flow"] == opened["flow"] for record in records)
    tables = slirpy.run("audit", "--refused", str(log))
    assert "tcp 169.254.169.254:80" in tables.stdout
    again = slirpy.run("run", "--audit", str(log), "--", "true")
    assert again.returncode == 0
    assert lines(log.read_bytes())[: len(records)] == records  # appended to


def test_a_full_disk_is_reported_at_once(slirpy: User, web: WebServer) -> None:
    result = slirpy.run("run", "--audit", "/dev/full", *attempt(f"tcp:10.0.2.2:{web.port}"))
    assert result.stdout.split() == ["reached"]
    assert 'slirpy: audit "/dev/full": the log is lost: No space left on device' in result.stderr


def test_without_a_log_there_is_no_new_flow(slirpy: User, web: WebServer) -> None:
    options = ["--audit", "/dev/full", "--audit-fail", "closed"]
    result = slirpy.run("run", *options, *attempt(f"tcp:10.0.2.2:{web.port}"))
    assert result.stdout.split() == ["ECONNREFUSED"]
    assert "no new flow is allowed until it can be written" in result.stderr
    assert f"refused tcp 10.0.2.15 -> 10.0.2.2:{web.port} (no audit log)" in result.stderr


def test_a_learned_policy_allows_the_same_and_nothing_new(slirpy: User, web: WebServer, folder: Path) -> None:
    policy, log = folder / "policy.toml", folder / "audit.jsonl"
    same = [f"tcp:10.0.2.2:{web.port}", "tcp:10.0.2.2:9"]
    first = slirpy.run("run", "--learn", str(policy), *attempt(*same))
    assert first.stdout.split() == ["reached", "ECONNREFUSED"], first.stderr
    assert sorted(map(str, RulePolicy.from_file(policy).rules)) == [f"allow tcp:host:9,{web.port}"]
    options = ["--policy", str(policy), "--audit", str(log)]
    second = slirpy.run("run", *options, *attempt(*same))
    assert second.stdout == first.stdout
    assert not [record for record in lines(log.read_bytes()) if record["event"] == "refused"]
    changed = slirpy.run("run", *options, *attempt(*same, "tcp:10.0.2.2:10", "tcp:169.254.169.254:80"))
    assert changed.stdout.split() == ["reached", "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED"]
    refused = [record for record in lines(log.read_bytes()) if record["event"] == "refused"]
    assert [(r["destination"], r["destination_port"]) for r in refused] == [
        ("10.0.2.2", 10),
        ("169.254.169.254", 80),
    ]
    kept = policy.read_text()
    over = slirpy.run("run", "--learn", str(policy), "--", "true")
    assert (over.returncode, policy.read_text()) == (2, kept)


class Terminal:
    """slirpy on a terminal whose keys the test presses."""

    def __init__(self, argv: list[str], folder: Path) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.execvp(argv[0], argv)
        self.text = ""

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the screen has shown a text so many times."""
        end = time.monotonic() + 60
        while self.text.count(text) < count:
            assert select.select([self._fd], [], [], max(end - time.monotonic(), 0))[0], self.text
            try:
                self.text += os.read(self._fd, 4096).decode()
            except OSError:
                break
        assert self.text.count(text) >= count, self.text

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def end(self) -> int:
        """Wait for the end of slirpy. Returns its exit status."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._fd)
        return status


def test_questions_at_the_terminal(slirpy: User, web: WebServer, folder: Path) -> None:
    answers, log = folder / "answers.toml", folder / "audit.jsonl"
    options = ["--ask", "--ask-save", str(answers), "--audit", str(log)]
    there = f"tcp:10.0.2.2:{web.port}"
    script = 'read word; echo "word=$word"; "$@"; read word; echo "word=$word"'
    command = ["--", "sh", "-c", script, "sh", *attempt(there, there, "tcp:10.0.2.2:9", "tcp:10.0.2.2:11")[1:]]
    terminal = Terminal(slirpy.argv("run", *options, *command), folder)
    question = "[y]es, [n]o, [a]lways, ne[v]er: "
    terminal.press("one\n")
    terminal.wait_for("word=one")
    terminal.wait_for(question)
    assert f"allow tcp 10.0.2.15 -> 10.0.2.2:{web.port} (the host's 127.0.0.1)?" in terminal.text
    terminal.press("xa")  # x is no answer
    terminal.wait_for(question, 2)
    terminal.press("V")
    terminal.wait_for(question, 3)
    terminal.press("n")
    terminal.wait_for("ECONNREFUSED", 2)
    assert terminal.text.count("reached") == 2  # the second without a question
    terminal.press("two\n")
    terminal.wait_for("word=two")
    assert terminal.end() == 0
    assert [str(rule) for rule in RulePolicy.from_file(answers).rules] == [
        f"allow tcp:host:{web.port}",
        "reject tcp:host:9",
    ]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    check(records)
    assert [record["rule"] for record in records if record["event"] == "open"] == ["asked: always"] * 2
    assert [record["reason"] for record in records if record["event"] == "refused"] == [
        "refused at the terminal"
    ] * 2


# In a network namespace with two servers at public addresses, which no packet leaves.
NAMES = """
set -e
ip link set lo up
for address in 203.0.113.7 203.0.113.8; do
    ip address add $address/32 dev lo
    "$PYTHON" -m tests.system.webserver $address 8080 > $address.port &
    echo $! >> servers
done
while [ ! -s 203.0.113.7.port ] || [ ! -s 203.0.113.8.port ]; do sleep 0.05; done
run() {
    "$PYTHON" -m slirpy run --dns 127.0.0.1:9 --dns-record web.example=203.0.113.7 \\
        --dns-record new.example=203.0.113.8 "$@"
}
ask() { for name; do curl -s -o /dev/null -m 20 -w '%{http_code} ' "http://$name:8080/" || true; done; }
run --learn policy.toml -- sh -c "$(declare -f ask); ask web.example"
run --policy policy.toml --audit same.jsonl -- sh -c "$(declare -f ask); ask web.example"
run --policy policy.toml --audit changed.jsonl -- sh -c "$(declare -f ask); ask web.example new.example"
kill $(cat servers)
"""


@pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root")
def test_a_policy_that_is_learned_is_about_names(slirpy: User, folder: Path, need: Callable[..., None]) -> None:
    need("bash", "curl", "ip", "unshare")
    environment = slirpy.environment(PYTHON=sys.executable, PYTHONPATH=str(REPOSITORY))
    result = subprocess.run(
        ["unshare", "--net", "bash", "-c", NAMES],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["200", "200", "200", "000"]
    assert [str(rule) for rule in RulePolicy.from_file(folder / "policy.toml").rules] == [
        "allow tcp:web.example:8080"
    ]
    refused = {
        name: [
            record["names"] for record in lines((folder / name).read_bytes()) if record["event"] == "refused"
        ]
        for name in ("same.jsonl", "changed.jsonl")
    }
    assert refused["same.jsonl"] == []
    assert refused["changed.jsonl"] == [["new.example"]]
