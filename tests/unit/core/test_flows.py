"""Names for the ends of flows."""

from __future__ import annotations

import errno

import pytest

from slirpy.core.flows import ENDS, ending


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (0, "CLOSED"),
        (errno.ECONNREFUSED, "REFUSED"),
        (errno.ECONNRESET, "RESET"),
        (errno.EPIPE, "RESET"),
        (errno.ETIMEDOUT, "TIMED-OUT"),
        (errno.ENETUNREACH, "UNREACHABLE"),
        (errno.EHOSTUNREACH, "UNREACHABLE"),
        (errno.ECONNABORTED, "ABORTED"),
        (9999, "ABORTED"),
    ],
)
def test_each_error_has_a_name(error: int, end: str) -> None:
    assert ending(error) == end
    assert end in ENDS
