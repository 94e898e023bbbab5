"""Senseless arguments of the engine's calls are refused by a line that says what was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slirpy.errors import ConfigError
from slirpy.tcp import Connection, Segment, Settings, TcpOptions

SENSELESS: Any = 7
"""A value of no use, whatever is expected."""
OTHER_TYPE = pytest.mark.needs("interpreted", detail="compiled functions raise TypeError")


def segment(**fields: Any) -> Segment:
    return Segment(seq=1, ack=0, flags=2, wnd=1000)._replace(**fields)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Connection(iss=1).listen(-1), "now -1: must not be negative"),
        pytest.param(lambda: Connection(iss=1, pool=SENSELESS), "pool must be a WindowPool", marks=OTHER_TYPE),
        pytest.param(
            lambda: Connection(iss=1).receive(SENSELESS, 0),
            "segment must be a Segment; given was 7",
            marks=OTHER_TYPE,
        ),
        (lambda: Connection(iss=1).receive(segment(seq=-1), 0), "the segment's seq -1"),
        pytest.param(
            lambda: Connection(iss=1).receive(segment(options=TcpOptions(sack=(SENSELESS,))), 0),
            "the option sack: 7 is not a pair",
            marks=OTHER_TYPE,
        ),
        (lambda: Settings(congestion=SENSELESS), "congestion 7 is not a class"),
    ],
)
def test_senseless_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)
