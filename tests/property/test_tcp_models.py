"""The engine's parts against models that are too simple to be wrong: sets of numbers, fractions, slices."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from slirpy.tcp import Connection, Settings, options
from slirpy.tcp.loss import sack
from slirpy.tcp.reassembly import Reassembly
from slirpy.tcp.rtt import GRANULARITY, MAX_RTO, MIN_RTO, RtoEstimator
from slirpy.tcp.seq import MASK, seq_ge, seq_gt, seq_le, seq_lt
from slirpy.testing.strategies.transport import numbers, tcp_options
from tests.property.tcp_choices import chosen
from tests.property.tcp_observer import bits

SPAN = 600
ranges = st.lists(st.tuples(st.integers(0, SPAN), st.integers(1, 90)), max_size=25)


def members(number: int) -> list[tuple[int, int]]:
    """A set as sorted ranges."""
    found, at = [], 0
    while number >> at:
        if number >> at & 1:
            start = at
            while number >> at & 1:
                at += 1
            found.append((start, at))
        at += 1
    return found


@given(una=numbers, blocks=ranges, acks=st.lists(st.integers(1, 200), max_size=4), mss=st.integers(1, 60))
@chosen(150)
def test_the_scoreboard_is_a_set_of_numbers(
    una: int, blocks: list[tuple[int, int]], acks: list[int], mss: int
) -> None:
    conn = Connection(Settings(), una)
    conn.mss = mss
    outstanding = SPAN
    conn.snd_max = conn.snd_nxt = (una + outstanding) & MASK
    model = passed = 0
    for i, (start, length) in enumerate(blocks):
        base = (una + passed) & MASK
        told = bits(start, start + length)
        fits = start > 0 and start + length <= outstanding - passed
        fresh = sack.learn(conn, [((base + start) & MASK, (base + start + length) & MASK)])
        assert fresh == (fits and bool((told << passed) & ~model))
        if fits:
            model |= told << passed
        if i < len(acks) and passed + acks[i] < outstanding:
            step = acks[i]
            passed += step
            model &= ~bits(0, passed)
            conn.snd_una = (una + passed) & MASK
            kept = sack.on_ack(conn)
            assert kept == (not model >> passed & 1), "what follows SND.UNA at once was thrown away by the peer"
            if not kept:
                model = 0
        assert [((a - una) & MASK, (b - una) & MASK) for a, b in conn.sacked] == members(model)
    at = (una + SPAN // 2) & MASK
    below = model & bits(0, SPAN // 2)
    if passed <= SPAN // 2:
        assert sack.sacked_below(conn, at) == below.bit_count()
    holes = bits(passed, outstanding) & ~model
    gaps = sack.gaps(conn, conn.snd_una, conn.snd_max)
    assert [((seq - una) & MASK, (seq - una) % (1 << 32) + n) for seq, n in gaps] == members(holes)


@given(start=numbers, pieces=ranges, overlaps=st.tuples(st.integers(0, SPAN), st.integers(1, 90)))
@chosen(150)
def test_reassembly_is_a_row_of_bytes_and_a_mask(
    start: int, pieces: list[tuple[int, int]], overlaps: tuple[int, int]
) -> None:
    queue = Reassembly()
    row = bytearray(SPAN + 200)
    mask = taken = 0
    for value, (offset, length) in enumerate(pieces, 1):
        nxt = (start + taken) & MASK
        offset += taken + 1  # early: what is in its turn never comes here
        length = min(length, SPAN + 200 - offset)
        if length <= 0:
            continue
        assert queue.insert(nxt, (start + offset) & MASK, bytes([value]) * length)
        for i in range(offset, offset + length):
            if not mask >> i & 1:
                row[i] = value
        mask |= bits(offset, offset + length)
        assert queue.size == (mask >> taken).bit_count()
        assert [((a - start) & MASK, (b - start) & MASK) for a, b in queue.ranges()] == members(mask)
        if value % 5 == 0:  # the first hole is filled
            first, end = members(mask)[0]
            taken = first = min(first + value % 4, end - 1)  # or a bit of what is behind it, too
            got = b"".join(queue.take((start + taken) & MASK))
            assert got == bytes(row[first:end])
            taken = end
            mask &= ~bits(0, taken)
    at, length = overlaps
    at += taken
    found = queue.overlap((start + taken) & MASK, (start + at) & MASK, length)
    known = members(mask & bits(at, at + length))
    if known:
        assert found is not None
        left, right = (found[0] - start) & MASK, (found[1] - start) & MASK
        assert (left, right) == known[0]
    else:
        assert found is None


@given(st.lists(st.integers(1, 70 * 10**9), min_size=1, max_size=30), st.integers(0, 12))
@chosen(100)
def test_the_time_out_is_rfc_6298_in_fractions(samples: list[int], backoffs: int) -> None:
    rtt = RtoEstimator()
    srtt = var = Fraction(0)
    for i, sample in enumerate(samples):
        rtt.sample(sample)
        if i == 0:
            srtt, var = Fraction(sample), Fraction(sample, 2)
        else:
            var = Fraction(3, 4) * var + Fraction(1, 4) * abs(srtt - sample)
            srtt = Fraction(7, 8) * srtt + Fraction(1, 8) * sample
        spread = max(Fraction(GRANULARITY), 4 * var)
        exact = min(max(srtt + spread, Fraction(MIN_RTO)), Fraction(MAX_RTO))
        assert abs(rtt.rto - exact) <= 50, "rounding costs some nanoseconds"
    for n in range(1, backoffs + 1):
        before = rtt.base
        rtt.back_off()
        assert rtt.rto == min(before << n, MAX_RTO)


@given(numbers, st.integers(-(1 << 31) + 1, (1 << 31) - 1))
@chosen(100)
def test_numbers_are_ordered_as_their_distance_is(a: int, distance: int) -> None:
    b = (a + distance) & MASK
    assert seq_lt(a, b) == (distance > 0)
    assert seq_le(a, b) == (distance >= 0)
    assert seq_gt(a, b) == (distance < 0)
    assert seq_ge(a, b) == (distance <= 0)


@given(expected=tcp_options(), junk=st.binary(max_size=10))
@chosen(100)
def test_options_are_read_up_to_their_end(expected: options.TcpOptions, junk: bytes) -> None:
    data = expected.encode()
    assert options.parse(data) == expected
    assert options.parse(b"\x01" + data + b"\xfd\x06junk" + b"\x00" + junk) == expected, (
        "unknown ones are skipped"
    )
