"""The spread of tests over processes: each test runs once, and system tests leave one process to the others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spread import SIZE, SYSTEM, Spread, pieces

COLLECTION = [
    *(f"tests/system/test_{file}.py::test_{number}" for file in "abcd" for number in range(30)),
    *(f"tests/unit/test_{file}.py::test_{number}" for file in "ef" for number in range(100)),
]


class Node:
    """Process that keeps the tests that it was given."""

    def __init__(self, number: int) -> None:
        self.gateway = self
        self.id = f"gw{number}"
        self.tests: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.tests += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def scheduler(
    request: pytest.FixtureRequest, processes: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, list[Node]]:
    monkeypatch.setattr(request.config.option, "tx", ["popen"] * processes, raising=False)
    monkeypatch.setattr(request.config.option, "loadscopereorder", False, raising=False)
    spread, nodes = Spread(request.config), [Node(number) for number in range(processes)]
    for node in nodes:
        spread.add_node(node)
    for node in nodes:
        spread.add_node_collection(node, COLLECTION)
    spread.schedule()
    return spread, nodes


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_each_test_runs_once(
    processes: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread, nodes = scheduler(request, processes, monkeypatch)
    done: list[int] = []
    while not spread.tests_finished or spread.has_pending:
        for node in nodes:
            if node.tests:
                done.append(node.tests.pop(0))
                spread.mark_test_complete(node, done[-1])
    assert sorted(done) == list(range(len(COLLECTION)))
    assert all(node.shutting_down for node in nodes)


def test_all_processes_but_one_begin_with_system_tests(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, nodes = scheduler(request, 3, monkeypatch)
    kinds = [{COLLECTION[index].startswith(SYSTEM) for index in node.tests} for node in nodes]
    assert kinds == [{True}, {True}, {False}]


def test_a_process_that_dies_leaves_the_rest_of_its_tests_to_others(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread, nodes = scheduler(request, 2, monkeypatch)
    dead = nodes.pop(0)
    spread.mark_test_complete(dead, dead.tests.pop(0))
    assert spread.remove_node(dead) == COLLECTION[dead.tests[0]]
    (node,) = nodes
    done = []
    while node.tests:
        done.append(node.tests.pop(0))
        spread.mark_test_complete(node, done[-1])
    assert sorted(done) == list(range(1, len(COLLECTION)))


def test_pieces_are_of_one_file() -> None:
    found = pieces(COLLECTION)
    assert list(found) == COLLECTION
    by_piece: dict[str, list[str]] = {}
    for nodeid, piece in found.items():
        by_piece.setdefault(piece, []).append(nodeid)
    for tests in by_piece.values():
        assert len({test.partition("::")[0] for test in tests}) == 1
        assert len(tests) <= SIZE or tests[0].startswith(SYSTEM)
