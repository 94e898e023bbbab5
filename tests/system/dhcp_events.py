"""Scripts that DHCP clients call, the variables that they are given, and counters of what they caused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.system.user import User

__all__ = ["WAIT", "counter", "dhcpcd_files", "event", "script"]

WAIT = 'wait_for() { n=0; until [ -e "$1" ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 99; sleep 0.1; done; }\n'


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def dhcpcd_files(slirpy: User, folder: Path, config: str) -> tuple[Path, Path]:
    """Write the script that dhcpcd calls, and its configuration; skip the test if dhcpcd cannot run as this user."""
    if slirpy.name != "root":
        pytest.skip("dhcpcd gives up its privileges to a user of its own, which there is for root only")
    hook = script(folder, "dhcpcd-script", "#!/bin/sh\nenv > $0.$reason.part\nmv $0.$reason.part $0.$reason\n")
    path = folder / "dhcpcd.conf"
    path.write_text(config)
    return hook, path


def event(path: Path, name: str) -> dict[str, str]:
    """The variables that the client's script was called with."""
    lines = path.with_name(f"{path.name}.{name}").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def counter(stderr: str, name: str) -> int:
    match = re.search(rf"^{name} +(\d+)", stderr, re.MULTILINE)
    return int(match[1]) if match else 0
