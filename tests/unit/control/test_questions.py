"""Questions about flows, answered by the control API."""

from __future__ import annotations

import pytest

from slirpy import Action, Config, Decision, FlowRequest, RulePolicy, Slirp, Verdict
from slirpy.control import ControlServer, shapes
from slirpy.interfaces import Asker
from slirpy.nat import questions as module
from slirpy.nat.questions import ANSWERS, Question
from slirpy.testing import Echo, VirtualNetwork
from slirpy.units import SECOND
from tests.support.control import request

SERVER = "192.0.2.7"
ASK = RulePolicy(["allow 192.0.2.99", "ask tcp:any:7"], Action.ASK)


class World:
    """A network whose policy asks, and somebody who reads the questions."""

    def __init__(self, asker: Asker | None = None, readers: int = 1) -> None:
        self.net = VirtualNetwork(Config(policy=ASK, asker=asker))
        self.net.host.serve_tcp(SERVER, 7, Echo)
        self.net.host.serve_tcp(SERVER, 8, Echo)
        self.net.boot()
        self.questions = self.net.stack.questions
        self.questions.readers = readers

    def ask(self, port: int = 7) -> tuple[object, Question]:
        """Connect; the stream, and the question about it."""
        stream = self.net.guest.connect(SERVER, port)
        self.net.run(SECOND // 10)
        return stream, self.questions.open()[-1]


@pytest.mark.parametrize("word", ANSWERS)
def test_the_answer_decides(word: str) -> None:
    world = World()
    net = world.net
    stream = net.guest.connect(SERVER, 7)
    net.run(SECOND)
    (question,) = world.questions.open()
    assert (question.number, question.goal, question.rule) == (1, f"tcp:{SERVER}:7", "ask tcp:any:7")
    assert 28 < question.left(net.now) <= 29.1
    assert world.questions.answer(1, word) is question
    net.run(SECOND)
    assert stream.established is (word in ("yes", "always"))
    assert world.questions.open() == []
    assert world.questions.answer(1, word) is None
    again = net.guest.connect(SERVER, 7)
    net.run(SECOND)
    held = word in ("yes", "no")
    assert len(world.questions.open()) == held
    assert again.established is (word == "always")


def test_flows_to_one_place_are_one_question() -> None:
    world = World()
    streams = [world.net.guest.connect(SERVER, 7) for _ in range(3)]
    world.net.guest.connect(SERVER, 8)
    world.net.run(SECOND)
    assert [question.goal for question in world.questions.open()] == [f"tcp:{SERVER}:7", f"tcp:{SERVER}:8"]
    assert world.questions.open()[1].rule == ""
    world.questions.answer(1, "yes")
    world.net.run(SECOND)
    assert all(stream.established for stream in streams)


def test_without_readers_there_are_no_questions() -> None:
    world = World(readers=0)
    stream = world.net.guest.connect(SERVER, 7)
    world.net.run(SECOND)
    assert stream.closed
    assert world.questions.open() == []


def test_too_late() -> None:
    world = World()
    stream = world.net.guest.connect(SERVER, 7)
    world.net.run(31 * SECOND)
    assert stream.closed
    assert world.questions.answer(1, "yes") is None


def test_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_MAX", 2)
    world = World()
    streams = [world.net.guest.connect(SERVER, port) for port in (7, 8, 9)]
    world.net.run(SECOND)
    assert [stream.closed for stream in streams] == [False, False, True]
    world.net.run(31 * SECOND)
    world.net.guest.connect(SERVER, 9)
    world.net.run(SECOND)
    assert len(world.questions.open()) == 1


def test_an_asker_of_the_program_comes_first() -> None:
    decisions: list[Decision] = []

    def asker(request: FlowRequest, verdict: Verdict) -> Verdict | Decision:
        if request.destination_port == 8:
            return Verdict(Action.ALLOW)
        decisions.append(decisions[0] if decisions else Decision())
        return decisions[-1]

    world = World(asker)
    at_once = world.net.guest.connect(SERVER, 8)
    streams = [world.net.guest.connect(SERVER, 7) for _ in range(2)]
    world.net.run(SECOND)
    assert at_once.established
    (question,) = world.questions.open()
    assert question.decision is decisions[0]
    decisions[0].give(Verdict(Action.ALLOW))
    world.net.run(SECOND)
    assert all(stream.established for stream in streams)
    assert world.questions.answer(question.number, "no") is None


# -------------------------------------------------------------------------------------------------------- by HTTP


def test_questions_by_http(server: ControlServer, net: Slirp) -> None:
    assert request(server, "GET", "/v1/questions") == (200, {"questions": []})
    assert request(server, "POST", "/v1/questions/1", {"answer": "yes"})[0] == 404
    assert request(server, "POST", "/v1/questions/1", {"answer": "perhaps"})[0] == 422
    assert request(server, "POST", "/v1/questions/0", {"answer": "yes"})[0] == 422
    assert request(server, "PUT", "/v1/policy", {"rules": [], "default": "ask"})[1]["default"] == "ask"
    stack = net._stack
    assert stack.questions.readers == 1
    asked: list[Verdict] = []
    flow = FlowRequest(6, "10.0.2.15", 40000, SERVER, 7, names=("web.test",))

    def ask() -> None:
        found = stack.questions(flow, Verdict(Action.ASK, rule="ask any"))
        assert isinstance(found, Decision)
        found.then(asked.append)

    assert net._mailbox is not None
    net._mailbox.call(ask)
    status, found = request(server, "GET", "/v1/questions")
    shapes.Questions.model_validate(found, strict=True)
    (row,) = found["questions"]
    assert (status, row["flow"], row["names"], row["rule"]) == (200, "tcp:web.test:7", ["web.test"], "ask any")
    assert request(server, "POST", f"/v1/questions/{row['number']}", {"answer": "always"})[0] == 200
    assert [(verdict.action, verdict.names) for verdict in asked] == [(Action.ALLOW, ("web.test",))]
    server.close()
    assert stack.questions.readers == 0
