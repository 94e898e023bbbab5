"""Initial sequence numbers and timestamps, RFC 6528 and RFC 7323, section 5.4."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from slirpy.errors import ConfigError
from slirpy.tcp import initial_sequence_number, timestamp_offset

SECRET = bytes(range(16))
FLOW = bytes((10, 0, 2, 15, 192, 0, 2, 1, 0xC0, 0, 0, 80))
SECOND = 1_000_000_000


@pytest.mark.rfc("6528", "3")
@pytest.mark.rfc("9293", "MUST-8")
def test_the_number_is_a_clock_of_four_microseconds() -> None:
    start = initial_sequence_number(SECRET, FLOW, 7 * SECOND)
    assert initial_sequence_number(SECRET, FLOW, 7 * SECOND + 3_999) == start
    for ticks in (1, 250_000, 1 << 31, (1 << 32) - 1, (1 << 32) + 5):
        later = initial_sequence_number(SECRET, FLOW, 7 * SECOND + 4_000 * ticks)
        assert (later - start) % (1 << 32) == ticks % (1 << 32)


@pytest.mark.rfc("9293", "MUST-9")
@pytest.mark.rfc("6528", "3 secret")
@pytest.mark.rfc("6528", "3 apart")
@pytest.mark.rfc("7323", "5.4 offset")
@pytest.mark.rfc("9293", "SHLD-1")
@pytest.mark.rfc("9293", "MUST-9")
@pytest.mark.rfc("6528", "3")
def test_each_flow_has_a_line_of_its_own() -> None:
    """One byte of the addresses and ports, or of the secret, and nothing is left of what was."""
    flows = [FLOW, *(FLOW[:i] + bytes((FLOW[i] ^ 1,)) + FLOW[i + 1 :] for i in range(len(FLOW)))]
    secrets = [SECRET, *(SECRET[:i] + bytes((SECRET[i] ^ 1,)) + SECRET[i + 1 :] for i in range(len(SECRET)))]
    for make in (lambda s, f: initial_sequence_number(s, f, SECOND), timestamp_offset):
        numbers = [make(SECRET, flow) for flow in flows] + [make(secret, FLOW) for secret in secrets[1:]]
        apart = [(a - b) % (1 << 32) for a, b in itertools.combinations(numbers, 2)]
        assert min(min(gap, (1 << 32) - gap) for gap in apart) > 10_000
        for bit in range(32):  # every bit of the number takes part
            assert {number >> bit & 1 for number in numbers} == {0, 1}


@pytest.mark.rfc("7323", "5.4 offset")
def test_timestamps_tell_nothing_about_sequence_numbers() -> None:
    """The one goes out in the clear with every segment, and must not give away where the other begins."""
    gaps = {
        (initial_sequence_number(SECRET, bytes((i,)) * 12, 0) - timestamp_offset(SECRET, bytes((i,)) * 12))
        % (1 << 32)
        for i in range(50)
    }
    assert len(gaps) == 50


@pytest.mark.rfc("6191", "2 ours")
def test_timestamps_go_on_from_one_connection_to_the_next() -> None:
    assert timestamp_offset(SECRET, FLOW) == timestamp_offset(SECRET, bytes(FLOW))


@pytest.mark.parametrize("length", [0, 1, 15, 33])
def test_a_secret_has_a_length(length: int) -> None:
    with pytest.raises(ConfigError, match=f"{length} bytes: must be 16 to 32"):
        initial_sequence_number(bytes(length), FLOW, 0)
    with pytest.raises(ConfigError, match="16 to 32"):
        timestamp_offset(bytes(length), FLOW)


@pytest.mark.parametrize("length", [16, 32])
def test_the_bounds_of_a_secret_are_inside(length: int) -> None:
    assert 0 <= initial_sequence_number(bytes(length), FLOW, 0) < 1 << 32


@pytest.mark.parametrize(
    ("secret", "flow", "now", "said"),
    [
        (b"s" * 16, b"flow", -1, "now"),
        (b"s" * 16, b"flow", 0.5, "now"),
        ("s" * 16, b"flow", 0, "secret"),
        (b"s" * 16, None, 0, "flow"),
    ],
)
def test_arguments_of_other_kinds_are_refused(secret: Any, flow: Any, now: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said} "):
        initial_sequence_number(secret, flow, now)


def test_mutable_bytes_are_taken() -> None:
    """Only the fast way is for bytes alone."""
    secret, flow = bytes(range(16)), b"flow"
    mutable: Any = bytearray(secret)
    view: Any = memoryview(flow)
    assert initial_sequence_number(mutable, view, 0) == initial_sequence_number(secret, flow, 0)
