"""Scripts that DHCP clients call, the variables that they are given, and counters of what they caused."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["WAIT", "counter", "event", "script"]

WAIT = 'wait_for() { n=0; until [ -e "$1" ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 99; sleep 0.1; done; }\n'


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def event(path: Path, name: str) -> dict[str, str]:
    """The variables that the client's script was called with."""
    lines = path.with_name(f"{path.name}.{name}").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def counter(stderr: str, name: str) -> int:
    match = re.search(rf"^{name} +(\d+)", stderr, re.MULTILINE)
    return int(match[1]) if match else 0
