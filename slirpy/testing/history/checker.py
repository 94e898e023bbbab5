"""A search for an order of operations that explains their results: linearizability.

The algorithm is that of Wing and Gong (1993): choose an operation that began before any pending one had ended, do it
in the model, go on, and go back when the model forbids a result. With the improvements of Lowe (2017): no pair of a
set of operations done and a state is searched twice, and operations on different objects are checked apart.

An operation whose result is unknown may be done at any time after it began, or never. Of several such operations
with the same name and input, the oldest comes first, as all others lead to the same states; otherwise a client that
repeats a request would double the work with each timeout.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from slirpy.checks import amount, instance
from slirpy.reprs import counted
from slirpy.testing.history.events import History, Operation
from slirpy.testing.history.explain import explanation
from slirpy.testing.history.models import Model, frozen

__all__ = ["Linearization", "check_linearizable"]

_STEPS = 1 << 20


@dataclass(frozen=True, slots=True)
class Linearization:
    """The result of a check: true if the history is linearizable; its text says why it is not.

    Attributes:
        is_linearizable: True or False; None if the search was given up.
        order: an order that explains all results, in which operations on different objects follow one another by
            object. If there is none: the longest that explains those of the object of ``misplaced``.
        misplaced: the operation at which every order fails at the latest; None if there is no such operation.
        steps: how often the model did an operation.
        explanation: text for a reader.
    """

    is_linearizable: bool | None
    order: tuple[Operation, ...]
    misplaced: Operation | None
    steps: int
    explanation: str

    def __bool__(self) -> bool:
        return self.is_linearizable is True

    def __str__(self) -> str:
        return self.explanation


def check_linearizable(history: History, model: Model[Any], *, max_steps: int = _STEPS) -> Linearization:
    """Check that the results of a history are those of one copy of a service.

    Args:
        history: what happened. Operations that are pending count as unknown.
        model: how one copy answers.
        max_steps: how often the model does an operation before the search is given up.

    Raises:
        ConfigError: an argument of another type, or an operation that the model does not know.
    """
    instance("history", history, History, "a slirpy.testing.History")
    instance("model", model, Model, "a subclass of slirpy.testing.Model, such as RegisterModel()")
    amount("max_steps", max_steps, 1)
    objects: dict[Hashable, list[Operation]] = {}
    for operation in history.operations():
        objects.setdefault(model.key(operation.name, operation.input), []).append(operation)
    order: list[Operation] = []
    steps = 0
    for key, operations in objects.items():
        search = _Search(operations, model, max_steps - steps)
        is_linearizable = search.run()
        steps += search.steps
        if not is_linearizable:
            of = "" if key is None else f" for key {key!r}"
            if is_linearizable is None:
                text = f"undecided{of}: given up after {counted(steps, 'step')} of the model"
                return Linearization(None, tuple(search.best), None, steps, text)
            misplaced = search.blocked
            assert misplaced is not None
            text = f"not linearizable{of}: " + explanation(operations, search.best, misplaced, search.states)
            return Linearization(False, tuple(search.best), misplaced, steps, text)
        order += search.order()
    text = f"linearizable: {counted(len(order), 'operation')} placed, in {counted(steps, 'step')} of the model"
    return Linearization(True, tuple(order), None, steps, text)


class _Entry:
    """The beginning or the end of an operation in a doubly linked list of those that are not placed."""

    __slots__ = ("after", "before", "bit", "end", "number", "operation", "twin")

    def __init__(self, number: int, operation: Operation | None) -> None:
        self.number = number
        self.bit = 1 << number
        self.operation = operation  # None: this is an end
        self.end: _Entry | None = None
        self.twin = 0  # bit of the previous unknown operation that does the same
        self.before = self.after = self

    def insert_before(self, other: _Entry) -> None:
        self.before, self.after = other.before, other
        self.before.after = other.before = self

    def remove(self) -> None:
        self.before.after, self.after.before = self.after, self.before

    def put_back(self) -> None:
        self.before.after = self.after.before = self


class _Search:
    """The search for the operations on one object."""

    def __init__(self, operations: Sequence[Operation], model: Model[Any], limit: int) -> None:
        self._operations = operations
        self._model = model
        self._limit = limit
        self._left = sum(each.ended is not None for each in operations)
        self._stack: list[tuple[_Entry, Hashable]] = []
        self._head = self._entries(operations)
        self.steps = 0
        self.best: list[Operation] = []
        """The longest order that reaches ``blocked``."""
        self.blocked: Operation | None = None
        """The operation that no order could place, of all these the one that ends last."""
        self.states: dict[Hashable, None] = {}
        """States of the model in front of it."""
        self._reached = -1

    def order(self) -> list[Operation]:
        """Return the operations in the order found so far."""
        return [self._operations[entry.number] for entry, _ in self._stack]

    @staticmethod
    def _entries(operations: Sequence[Operation]) -> _Entry:
        head = _Entry(0, None)  # before the first and behind the last
        placed: list[tuple[int, _Entry]] = []
        twins: dict[Hashable, int] = {}
        for number, operation in enumerate(operations):
            start = _Entry(number, operation)
            placed.append((operation.began, start))
            if operation.ended is not None:
                start.end = _Entry(number, None)
                placed.append((operation.ended, start.end))
            else:
                same = operation.name, frozen(operation.input)
                start.twin = twins.get(same, 0)
                twins[same] = start.bit
        for _, entry in sorted(placed, key=lambda each: each[0]):
            entry.insert_before(head)
        return head

    def run(self) -> bool | None:
        """Return whether there is an order; None: given up."""
        head, stack, step = self._head, self._stack, self._model.step
        state: Any = self._model.initial()
        done = 0
        seen: set[tuple[int, Hashable]] = set()
        entry = head.after
        while self._left:
            operation = entry.operation
            if operation is None:  # its end: it has to be placed before, but could not
                self._note_failure(entry, state)
                if not stack:
                    return False
                entry, state = stack.pop()
                done ^= entry.bit
                if entry.end is not None:
                    entry.end.put_back()
                    self._left += 1
                entry.put_back()
            elif entry.twin & ~done == 0:
                if self.steps == self._limit:
                    return None
                self.steps += 1
                after = step(state, operation.name, operation.input, operation.output)
                # An unknown operation without effect may as well be placed later, or never.
                if after is not None and (entry.end is not None or after != state):
                    reached = done | entry.bit, after
                    if reached not in seen:
                        seen.add(reached)
                        stack.append((entry, state))
                        done, state = reached
                        entry.remove()
                        if entry.end is not None:
                            entry.end.remove()
                            self._left -= 1
                        entry = head
            entry = entry.after
        return True

    def _note_failure(self, end: _Entry, state: Hashable) -> None:
        """Remember the order if no other got as far."""
        operation = self._operations[end.number]
        ended = operation.ended
        assert ended is not None
        if ended > self._reached:
            self._reached, self.blocked = ended, operation
            self.best, self.states = self.order(), {}
        if ended == self._reached:
            self.states[state] = None
            if len(self._stack) > len(self.best):
                self.best = self.order()
