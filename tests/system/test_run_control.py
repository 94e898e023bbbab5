"""``slirpy run --control``: watched and changed from outside, with slirpy shut in."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.waiting import until
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
SERVER = (
    "import socket; s = socket.create_server(('0.0.0.0', 80)); print('up', flush=True); "
    "s.accept()[0].send(b'hi')"
)


def test_a_forward_added_from_outside(slirpy: User, need: Need, folder: Path) -> None:
    need("curl")
    with slirpy.start("run", "--control", f"unix:{folder}/ctl", "--", "python3", "-c", SERVER) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        assert oct(os.stat(folder / "ctl").st_mode & 0o777) == "0o600"
        added = slirpy.run("ctl", f"{folder}/ctl", "forwards", "add", "tcp::0-:80", "--json")
        assert added.returncode == 0, added.stderr
        (forward,) = json.loads(added.stdout)["forwards"]
        curl = ["curl", "-sS", "--unix-socket", f"{folder}/ctl", "http://slirpy/v1/leases"]
        said = subprocess.run(curl, capture_output=True, text=True, timeout=20, check=True)
        assert json.loads(said.stdout)["leases"][0]["address"] == "10.0.2.15"
        with socket.create_connection(("127.0.0.1", forward["host"]["port"]), 10) as sock:
            assert sock.recv(2, socket.MSG_WAITALL) == b"hi"
        assert running.wait(20) == 0
    assert not (folder / "ctl").exists()


def test_tcp_with_a_token(slirpy: User, folder: Path) -> None:
    with slirpy.start("run", "--control", "tcp:127.0.0.1:0", "--", "cat") as running:
        assert running.stderr is not None
        said = re.fullmatch(r"control tcp:(127\.0\.0\.1:\d+), token (\S+)\n", running.stderr.readline())
        assert said is not None
        info = slirpy.run("ctl", f"tcp:{said[1]}", "info", "--json", SLIRPY_CONTROL_TOKEN=said[2])
        assert json.loads(info.stdout)["networks"] == ["10.0.2.0/24", "fec0::/64"]
        refused = slirpy.run("ctl", f"tcp:{said[1]}", "info")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "token is missing or wrong" in refused.stderr
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(20) == 0


def test_captures_of_a_confined_network_have_a_folder(slirpy: User, folder: Path) -> None:
    control = ("--control", f"unix:{folder}/ctl")
    with slirpy.start("run", *control, "--capture-dir", str(folder), "--", "cat") as running:
        _wait_for(folder / "ctl")
        started = slirpy.run("ctl", f"{folder}/ctl", "capture", "start", f"{folder}/net.pcapng,max=1k,files=2")
        assert (started.returncode, started.stderr) == (0, "")
        elsewhere = slirpy.run("ctl", f"{folder}/ctl", "capture", "start", "/tmp/slirpy-elsewhere.pcapng")
        assert elsewhere.returncode == 2
        assert "--capture-dir FOLDER" in elsewhere.stderr
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(20) == 0
    assert (folder / "net.pcapng").stat().st_size > 0
    assert not Path("/tmp/slirpy-elsewhere.pcapng").exists()


def _wait_for(path: Path) -> None:
    until(path.exists, lambda: time.sleep(0.01))
