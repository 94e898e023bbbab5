"""A pytest plugin (``-p tests.spread``): how tests are spread over the processes of pytest-xdist.

The tests of a file are handed out in pieces, so that processes exchange few messages. The system tests start real
programs and mostly wait for them: each of their files is one piece, all processes but one begin with these, and one
process starts with everything else, so that the processors have work while the others wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

SYSTEM = "tests/system/"
SIZE = 12
"""Most tests of a piece, where a file is divided."""
TOGETHER = {f"tests/system/test_{name}.py": "tests/system/test_containers.py" for name in ("pasta", "recipes")}
"""Files that run in the piece of another: they serve names at port 53 of one loopback address of the host."""


def pieces(collection: Sequence[str]) -> dict[str, str]:
    """Assign each test, given by its node id, to a piece of tests that one process runs in a row."""
    counts: Counter[str] = Counter()
    found = {}
    for nodeid in collection:
        file = nodeid.partition("::")[0]
        found[nodeid] = (
            TOGETHER.get(file, file) if file.startswith(SYSTEM) else f"{file} {counts[file] // SIZE}"
        )
        counts[file] += 1
    return found


class Spread(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hand out pieces; forget the tests that are done, which the base class counts again after each test."""

    _piece: dict[str, str]
    _index: dict[str, int]

    def schedule(self) -> None:
        if self.collection is None:
            collection: list[str] = next(iter(self.registered_collections.values()))
            self._piece = pieces(collection)
            self._index = {nodeid: index for index, nodeid in enumerate(collection)}
        super().schedule()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        nodeid = self.collection[item_index]
        name, work = self._piece[nodeid], self.assigned_work[node]
        del work[name][nodeid]
        if not work[name]:
            del work[name]
        self._reschedule(node)

    def _split_scope(self, nodeid: str) -> str:
        return self._piece[nodeid]

    def _assign_work_unit(self, node: WorkerController) -> None:
        name = self._next(node)
        piece: dict[str, bool] = self.workqueue.pop(name)
        self.assigned_work[node][name] = piece
        node.send_runtest_some([self._index[nodeid] for nodeid in piece])

    def _next(self, node: WorkerController) -> str:
        """Choose the first piece, or the first one without system tests if all other processes have system tests."""
        others = [work for other, work in self.assigned_work.items() if other is not node]
        if others and all(any(name.startswith(SYSTEM) for name in work) for work in others):
            for name in self.workqueue:
                if not name.startswith(SYSTEM):
                    return str(name)
        return str(next(iter(self.workqueue)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spread:
    """Use it, whatever ``--dist`` says."""
    return Spread(config, log)
