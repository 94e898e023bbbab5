"""Flows about which somebody is asked, for those who answer from outside: by the control API.

The asker of the network, if there is one, is asked first. Where it has not decided at once, a reader may decide, too;
the first answer counts. Without an asker and without readers nobody could answer, so such flows are refused.
"""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import count

from slirpy.config.policy.goal import goal_of
from slirpy.interfaces import Action, Asker, Decision, FlowRequest, Verdict
from slirpy.nat.outcomes import HOLD_TIME
from slirpy.units import SECOND

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

    from slirpy.core.network import Network

__all__ = ["ANSWERS", "Question", "Questions"]

OPEN_MAX = 256
"""Maximum number of open questions; flows that need a further one are refused."""
REMEMBERED = 10_000
"""Maximum number of answers for ever."""
ANSWERS = ("yes", "no", "always", "never")
_NOBODY = Verdict(Action.REJECT, reason="nobody to ask")
_BUSY = Verdict(Action.REJECT, reason="too many questions at once")
_NO = Verdict(Action.REJECT, reason="refused by the control API")


@dataclass(frozen=True, slots=True)
class Question:
    """A question that waits for an answer."""

    number: int
    """Counts the questions of a network from 1."""
    goal: str
    """The destination, as a rule names it."""
    request: FlowRequest
    """The first flow that waits."""
    rule: str
    """The rule that asks; empty: the default."""
    decision: Decision
    asked: int
    """Time, in nanoseconds."""

    def left(self, now: int) -> float:
        """Seconds until the flow is refused."""
        return max(0, self.asked + HOLD_TIME - now) / SECOND


class Questions:
    """The open questions of a network; an :data:`~slirpy.interfaces.Asker`.

    Args:
        network: gives the time.
        asker: the program's, which is asked first; None: there is none.

    Attributes:
        readers: number of those who read the questions and may answer.
    """

    def __init__(self, network: Network, asker: Asker | None) -> None:
        self._network = network
        self._asker = asker
        self._numbers = count(1)
        self._open: dict[int, Question] = {}
        self._answers: dict[str, Verdict] = {}
        self.readers = 0

    def __call__(self, request: FlowRequest, verdict: Verdict) -> Verdict | Decision | Awaitable[Verdict]:
        """Decide about a flow, now or later."""
        goal = goal_of(request)
        known = self._answers.get(goal)
        if known is not None:
            return known
        answer = None if self._asker is None else self._asker(request, verdict)
        if answer is None:
            if not self.readers:
                return _NOBODY
            waiting = next((each for each in self.open() if each.goal == goal), None)
            if waiting is not None:
                return waiting.decision
            answer = Decision()
        if not isinstance(answer, Decision) or answer.verdict is not None:
            return answer
        if any(each.decision is answer for each in self._open.values()):
            return answer
        if len(self._open) >= OPEN_MAX and len(self.open()) >= OPEN_MAX:
            return answer if self._asker is not None else _BUSY
        number = next(self._numbers)
        self._open[number] = Question(number, goal, request, verdict.rule, answer, self._network.now)
        return answer

    def open(self) -> list[Question]:
        """Return the questions for which a flow waits, in their order, and drop the others."""
        self._open = {number: each for number, each in self._open.items() if each.decision.awaited}
        return list(self._open.values())

    def answer(self, number: int, word: str) -> Question | None:
        """Answer a question by one of :data:`ANSWERS`.

        ``always`` and ``never`` hold for the destination from now on. Returns the question; None: it is not open.
        """
        question = next((each for each in self.open() if each.number == number), None)
        if question is None:
            return None
        verdict = _NO
        if word in ("yes", "always"):
            names = question.request.names
            verdict = Verdict(Action.ALLOW, rule=f"asked: {word}", names=names, tls="sni-optional")
        if word in ("always", "never") and len(self._answers) < REMEMBERED:
            self._answers[question.goal] = verdict
        del self._open[number]
        question.decision.give(verdict)
        return question
