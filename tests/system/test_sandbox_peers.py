"""The table of the documentation that compares slirpy's own sandbox with those of slirp4netns and passt."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, on Linux"),
]
CAPABILITIES = {10: "CAP_NET_BIND_SERVICE"}
NAMESPACES = ("user", "mnt", "ipc")


def facts(pid: int) -> list[str]:
    """Cells of the table for a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    status = dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))
    effective = int(status["CapEff"], 16)
    held = [CAPABILITIES.get(n, str(n)) for n in range(64) if effective >> n & 1]
    own = [k for k in NAMESPACES if os.readlink(f"/proc/{pid}/ns/{k}") != os.readlink(f"/proc/self/ns/{k}")]
    visible = sorted(os.listdir(f"/proc/{pid}/root"))
    return [
        ", ".join(held) or "none",
        {"0": "no", "1": "yes"}[status["NoNewPrivs"]],
        {"0": "no", "2": "yes"}[status["Seccomp"]],
        ", ".join(own) or "none",
        "the host's" if "usr" in visible else ", ".join(f"`/{name}`" for name in visible) or "empty",
    ]


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=User("root", folder).environment(),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_the_table_of_sandboxes(
    folder: Path, eventually: Callable[..., None], need: Callable[..., None]
) -> None:
    need("slirp4netns", "passt", "unshare")
    commands = {
        "slirpy": User("root", folder).argv("listen", "--sandbox", "on", "unix:listen"),
        "passt": ["passt", "-f", "-s", f"{folder}/passt"],
    }
    started: list[subprocess.Popen[bytes]] = []
    try:
        space = start(["unshare", "-n", "sleep", "60"], folder)
        started.append(space)
        eventually(
            lambda: os.readlink(f"/proc/{space.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "namespace"
        )
        # It unmounts what lies below shared mounts, hence a namespace of its own.
        commands["slirp4netns"] = ["unshare", "-m", "--propagation", "private", "slirp4netns", "--configure",
                                   "--enable-sandbox", "--enable-seccomp", str(space.pid), "tap0"]  # fmt: skip
        found = {}
        for name, command in commands.items():
            process = start(command, folder)
            started.append(process)
            status = Path(f"/proc/{process.pid}/status")
            eventually(lambda at=status: "Seccomp:\t2" in at.read_text(), f"{name} has its filter")
            found[name] = facts(process.pid)
    finally:
        for process in started:
            process.kill()
            process.wait()
    page = (REPOSITORY / "docs" / "howto" / "border.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.partition("| | slirpy |")[2].splitlines()[2:7]
    ]
    table = {
        name: [row[column] for row in rows] for column, name in enumerate(("slirpy", "slirp4netns", "passt"), 1)
    }
    assert table == found
