"""The examples do what they say, quickly. ``test_docs.py`` runs them too, and sees that they stay on this machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.repository import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
LIMIT = 30.0
"""Seconds. Each takes less than one; the machine may be busy."""

SAYS = {
    "embed.py": "the server got b'how late is it?' and the guest b'late'",
    "guests_on_a_switch.py": "over TCP: hello from the guest next door",
    "own_link.py": "the link keeps all 8 rules",
    "qemu_pair.py": "python examples/qemu_pair.py qemu-system-x86_64",  # it starts in tests/system
    "tcp_of_others.py": "state.opens(active=False, iss=0)",
    "toy_emulator.py": "the guest's console: hello, guest!",
    "two_connections.py": "102400 bytes arrived after",
    "virtual_time.py": "sent again by a probe: 1",
    "with_asyncio.py": "GUEST 20 WAS HERE\nGUEST 21 WAS HERE\n",
    "with_selectors.py": "the guest received b'HELLO'",
    "with_thread.py": "10.0.2.23 sent 8 bytes and received 17",
    "with_trio.py": "HELLO FROM A GUEST",
    "wsgi_in_the_network.py": "HTTP/1.1 200 OK\nyou asked for /a/page\nHTTP/1.1 200 OK\nand then for /a/page",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", name],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=EXAMPLES,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert SAYS.get(name, "") in result.stdout


def test_none_is_missing() -> None:
    assert all((EXAMPLES / name).exists() for name in SAYS)
