"""Names of redirects' targets, looked up by a library whose answers the test makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slirpy.interfaces import NameAnswer
from slirpy.nat.targets import NamedTargets

FIRST, SECOND = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


class Library:
    """A resolver library; ``takes`` is what it says about a look-up."""

    def __init__(self) -> None:
        self.takes = True
        self.asked: list[tuple[str, Callable[[NameAnswer], None]]] = []
        self.found: list[Sequence[bytes]] = []
        self.targets = NamedTargets(self._lookup)

    def _lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        if self.takes:
            self.asked.append((name, done))
        return self.takes

    def find(self, name: str = "a.example") -> Callable[[], object]:
        return self.targets.find(name, self.found.append)

    def answer(self, *addresses: bytes) -> None:
        self.asked.pop(0)[1](NameAnswer(addresses, bool(addresses)))


def test_flows_that_wait_share_an_answer_and_later_ones_ask_anew() -> None:
    library = Library()
    library.find()
    library.find()
    library.find("b.example")
    assert [name for name, _ in library.asked] == ["a.example", "b.example"]
    library.answer(FIRST, SECOND)
    assert library.found == [(FIRST, SECOND)] * 2
    library.answer()
    assert library.found[2:] == [()]
    library.find()
    assert [name for name, _ in library.asked] == ["a.example"]


def test_a_name_that_cannot_be_looked_up_has_no_addresses() -> None:
    library = Library()
    library.takes = False
    give_up = library.find()
    assert library.found == [()]
    give_up()
    library.takes = True
    library.find()
    assert len(library.asked) == 1


def test_a_flow_that_gave_up_gets_no_answer() -> None:
    library = Library()
    give_up = library.find()
    library.find()
    give_up()
    give_up()
    library.answer(FIRST)
    assert library.found == [(FIRST,)]
