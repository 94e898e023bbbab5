"""Streams that are joined on the host, without their peers."""

from __future__ import annotations

from typing import cast

from slirpy.nat.inside import Handover
from slirpy.nat.splice import End, Splice
from tests.support.owners import StreamNotes


class UrgentNotes(StreamNotes):
    def urgent(self, data: bytes) -> None:
        self.calls.append(data.decode())


def test_urgent_bytes_are_ordinary_ones_in_their_place() -> None:
    end = End(cast("Splice", None), None)
    for data in (b"a", b"b", b""):
        end.urgent(data)
    assert bytes(end.pending) == b"ab"


def test_a_handover_passes_all_calls_but_the_first_to_the_present_owner() -> None:
    before, after = UrgentNotes(), UrgentNotes()
    handover = Handover(before)
    handover.connected()
    handover.readable()
    handover.urgent(b"!")
    handover.owner = after
    handover.writable()
    handover.urgent(b"?")
    handover.failed(104)
    assert (before.calls, after.calls) == (["readable", "!"], ["writable", "?", "failed"])
    handover.readable()
    handover.writable()
    handover.urgent(b"!")
    handover.failed(5)
    assert after.calls == ["writable", "?", "failed"]


def test_an_owner_may_have_no_use_for_urgent_data() -> None:
    owner = StreamNotes()
    Handover(owner).urgent(b"!")
    assert owner.calls == []
