"""Challenge ACKs are counted for each connection: nobody learns by one what another sent (RFC 5961, section 7)."""

from __future__ import annotations

import pytest
from tcp_script import passive

from slirpy.stats import Stats


@pytest.mark.rfc("5961", "7 count")
def test_the_limit_of_one_connection_is_not_that_of_another() -> None:
    stats = Stats()
    first, second = passive(), passive()
    for s in (first, second):
        s.conn.stats = stats
    for _ in range(10):
        first.recv("R", 100)
    assert (len(first.out), stats.tcp_challenge_acks) == (1, 1)
    second.recv("R", 100)
    assert (len(second.out), stats.tcp_challenge_acks) == (1, 2)
