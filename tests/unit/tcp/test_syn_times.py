"""Times at which a SYN is sent again."""

from __future__ import annotations

import pytest

from slirpy.tcp import Connection, Settings
from slirpy.units import SECOND


@pytest.mark.parametrize(
    ("linear", "seconds"),
    [
        (0, [0, 1, 3, 7, 15]),
        (1, [0, 1, 2, 4, 8]),
        (4, [0, 1, 2, 3, 4, 5, 7, 11]),  # Linux since 6.5
    ],
)
def test_the_first_time_outs_are_not_doubled(linear: int, seconds: list[int]) -> None:
    """RFC 6298, section 5.5, backs off from the first; ``syn_linear_timeouts`` are spared."""
    conn = Connection(Settings(syn_linear_timeouts=linear), 1)
    conn.connect(0)
    sent: list[int] = []
    now = 0
    while len(sent) < len(seconds):
        conn.handle_timeout(now)
        sent += [now // SECOND for segment in conn.segments_to_send(now)]
        deadline = conn.deadline()
        assert deadline is not None
        now = deadline
    assert sent == seconds
