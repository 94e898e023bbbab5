"""Bounds of what a trial of the host's loopback keeps."""

from __future__ import annotations

import pytest

from slirpy.nat.routes import Route
from slirpy.nat.trial import KEPT_BYTES, MAX_KEPT, TIME, Kept, Trial

BEGAN = 5_000


def trial() -> Trial:
    return Trial((b"\x0a\0\2\2", 9), Route(b"\x7f\0\0\1", 9), BEGAN)


def test_datagrams_are_kept_with_their_headers() -> None:
    kept = trial()
    assert kept.keep(memoryview(b"one"), 64, True, BEGAN)
    assert kept.keep(memoryview(b"two"), 7, False, BEGAN + TIME)
    assert kept.kept == [Kept(b"one", 64, True), Kept(b"two", 7, False)]


@pytest.mark.parametrize(
    ("size", "most"),
    [(0, MAX_KEPT), (1, MAX_KEPT), (KEPT_BYTES // 2, 2), (KEPT_BYTES // 3, 3), (KEPT_BYTES, 1)],
)
def test_too_many_or_too_large(size: int, most: int) -> None:
    kept = trial()
    for _ in range(most):
        assert kept.keep(memoryview(bytes(size)), 64, False, BEGAN)
    assert not kept.keep(memoryview(bytes(size)), 64, False, BEGAN)
    assert len(kept.kept) == most


def test_too_late() -> None:
    assert trial().keep(memoryview(b"x"), 64, False, BEGAN + TIME)
    assert not trial().keep(memoryview(b"x"), 64, False, BEGAN + TIME + 1)
