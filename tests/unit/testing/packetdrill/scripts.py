"""Running a script, with the outcome that it is to have."""

from __future__ import annotations

from slirpy.testing.packetdrill import Result, run_text

__all__ = ["SERVER", "SOCKET", "expect"]

SOCKET = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
SERVER = f"{SOCKET}+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n"


def expect(outcome: str, text: str, system: str = "slirpy") -> Result:
    """Run a script; fail unless it passes, fails or is unsupported, as ``outcome`` says."""
    result = run_text(text, system=system)
    assert result.outcome == outcome, f"{result}\n{result.ladder}"
    return result
