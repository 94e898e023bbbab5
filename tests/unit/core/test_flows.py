"""Snapshots of flows, and names for the ends of flows."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from slirpy.core.flows import ENDS, FlowInfo, describe, ending
from slirpy.units import SECOND


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


@pytest.mark.parametrize("host", [None, (bytes((192, 0, 2, 1)), 80)])
def test_a_description_has_each_number_in_its_place(host: tuple[bytes, int] | None) -> None:
    guest = bytes((10, 0, 2, 15))
    info = describe(
        "tcp", "OPEN", (guest, 1), host, True, (2, 3), (4, 5), (6, 7), SECOND, 3 * SECOND, 10 * SECOND
    )
    assert info == FlowInfo(
        protocol="tcp",
        state="OPEN",
        guest=(ip_address("10.0.2.15"), 1),
        host=None if host is None else (ip_address("192.0.2.1"), 80),
        inbound=True,
        bytes_in=2,
        bytes_out=3,
        packets_in=4,
        packets_out=5,
        queued_in=6,
        queued_out=7,
        age=9.0,
        idle=7.0,
    )
