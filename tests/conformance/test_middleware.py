"""Links around links do what every link does, around a carrier that blocks and around one that never does."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from slirpy.interfaces import Link, LinkSink
from slirpy.links import CaptureLink, FaultLink, Faults, Middleware, TraceLink
from slirpy.testing import LINK_CHECKS, LinkCheck, LinkFactory, LinkUnderTest
from tests.conformance.carriers import callback, dgram_fd, stream_fd

SLOW = Faults(delay=200_000, limit=100_000)


def plain(inner: Link) -> Link:
    return Middleware(inner)


def capture(inner: Link) -> Link:
    return CaptureLink(inner, io.BytesIO())


def trace(inner: Link) -> Link:
    return TraceLink(inner, lambda line: None)


def faults(inner: Link) -> Link:
    return FaultLink(inner, Random(1))


def delay(inner: Link) -> Link:
    return FaultLink(inner, Random(1), to_guest=SLOW, from_guest=SLOW)


def all_of_them(inner: Link) -> Link:
    return TraceLink(CaptureLink(FaultLink(inner, Random(1)), io.BytesIO()), lambda line: None)


@pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("inner", [callback, stream_fd, dgram_fd], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "wrap", [plain, capture, trace, faults, delay, all_of_them], ids=lambda wrap: wrap.__name__
)
def test_middleware(wrap: Callable[[Link], Link], inner: LinkFactory, check: LinkCheck) -> None:
    def make(sink: LinkSink) -> LinkUnderTest:
        made = inner(sink)
        # What is delayed is taken before it is known whether there will be room: it waits, up to the limit.
        return replace(made, link=wrap(made.link), blocks=made.blocks and wrap is not delay)

    check(make)
