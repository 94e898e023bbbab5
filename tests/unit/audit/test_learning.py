"""Policies that are learned from what a run has used."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from slirpy import Action, FlowRequest, LinkError, RulePolicy, Verdict
from slirpy.audit.learning import Learner
from tests.unit.audit.trail import GUEST, MAC, Trail


class Learned:
    """A trail whose records a learner gets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.toml"
        self.learner = Learner(self.path)
        self.trail = Trail(folder / "audit.jsonl")
        self.trail.trail.add(self.learner.note)
        self._flows = 0

    def use(self, request: FlowRequest, verdict: Verdict | None = None, target: bytes = b"") -> None:
        self._flows += 1
        events = self.trail.trail
        events.flow_opened(self._flows, request, verdict, target or request.destination_bytes, 8080, False)
        events.flow_ended(self._flows, "CLOSED", 10, 20, 1, 1, 0.5)

    def answer(self, name: str, address: bytes) -> None:
        self.trail.trail.dns_answer(GUEST, self.trail.port, MAC, name, 1, 0, (address,))

    def end(self) -> RulePolicy:
        self.trail.end()
        assert self.learner.write() is None
        assert self.learner.write() is None
        return RulePolicy.from_file(self.path)


@pytest.fixture
def learned(tmp_path: Path) -> Learned:
    return Learned(tmp_path)


def test_addresses_ports_and_the_host(learned: Learned) -> None:
    request = learned.trail.request
    for port in (443, 80, 81, 82):
        learned.use(request("203.0.113.7", port))
    learned.use(request("203.0.113.7", 53, 17))
    learned.use(request("2001:db8::7", 443))
    learned.use(request("10.0.2.2", 8000, host=True))
    learned.use(FlowRequest(1, GUEST, 77, "203.0.113.7", 0))
    learned.trail.refuse("203.0.113.99")
    policy = learned.end()
    assert sorted(map(str, policy.rules)) == [
        "allow icmp:203.0.113.7",
        "allow tcp:203.0.113.7:80-82,443",
        "allow tcp:[2001:db8::7]:443",
        "allow tcp:host:8000",
        "allow udp:203.0.113.7:53",
    ]
    assert policy.default is Action.REJECT
    text = learned.path.read_text()
    assert "    # 4 flows, 40 bytes sent, 80 received\n" in text
    assert "# 8 flows to 5 destinations. Everything else is refused." in text


def test_the_policy_allows_only_used_destinations(learned: Learned) -> None:
    used = [learned.trail.request("203.0.113.7", 443), learned.trail.request("10.0.2.2", 8000, host=True)]
    for request in used:
        learned.use(request)
    policy = learned.end()
    assert [policy(request).action for request in used] == [Action.ALLOW] * 2
    for new in (
        learned.trail.request("203.0.113.7", 80),
        learned.trail.request("203.0.113.8", 443),
        learned.trail.request("10.0.2.2", 8001, host=True),
        learned.trail.request("203.0.113.7", 443, 17),
    ):
        assert policy(new).action is Action.REJECT


def test_names(learned: Learned) -> None:
    request = learned.trail.request
    learned.answer("WWW.Example.org", b"\xcb\0\x71\7")
    learned.answer("db", b"\xcb\0\x71\x08")
    learned.answer("inside.example.org", b"\x0a\1\2\3")
    learned.answer("unused.example.org", b"\xcb\0\x71\x09")
    for port, protocol in ((443, 6), (80, 6), (443, 17), (53, 17)):
        learned.use(request("203.0.113.7", port, protocol))
    learned.use(request("203.0.113.8", 5432))
    learned.use(request("10.1.2.3", 80))
    policy = learned.end()
    assert sorted(map(str, policy.rules)) == [
        "allow icmp:inside.example.org",
        "allow icmp:unused.example.org",
        "allow quic:www.example.org:443",
        "allow tcp:10.1.2.3:80",
        "allow tcp:db.:5432",
        "allow tcp:www.example.org:80,443",
        "allow udp:www.example.org:53",
    ]
    assert policy.may_resolve("unused.example.org")
    assert not policy.may_resolve("other.example.org")
    assert "known as inside.example.org" in learned.path.read_text()


@pytest.mark.parametrize(
    ("rule", "learns"),
    [
        ("redirect tcp:any:80=proxy.example:8080", "redirect tcp:203.0.113.7:80=proxy.example:8080"),
        ("redirect by a policy of one's own", "redirect tcp:203.0.113.7:80=127.0.0.1:8080"),
    ],
)
def test_the_name_of_a_redirect_is_kept(learned: Learned, rule: str, learns: str) -> None:
    verdict = Verdict(Action.ALLOW, ("proxy.example", 8080), rule=rule)
    learned.use(learned.trail.request("203.0.113.7", 80), verdict, b"\x7f\0\0\1")
    assert [str(rule) for rule in learned.end().rules] == [learns]


def test_redirects_are_kept(learned: Learned) -> None:
    verdict = Verdict(Action.ALLOW, ("127.0.0.1", 8080), rule="redirect tcp:any:80=127.0.0.1:8080")
    learned.use(learned.trail.request("203.0.113.7", 80), verdict, b"\x7f\0\0\1")
    assert [str(rule) for rule in learned.end().rules] == ["redirect tcp:203.0.113.7:80=127.0.0.1:8080"]


def test_names_of_guests_cannot_break_the_file(learned: Learned) -> None:
    learned.answer('x", "allow any\n" # \x1b[2J', b"\x0a\1\2\3")
    learned.use(learned.trail.request("10.1.2.3", 443))
    policy = learned.end()
    assert [str(rule) for rule in policy.rules] == ["allow tcp:10.1.2.3:443"]
    assert all(line.isprintable() for line in learned.path.read_text().splitlines())


def test_a_run_without_flows_is_a_policy_that_allows_nothing(learned: Learned) -> None:
    assert learned.end() == RulePolicy([])


def test_a_file_with_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('default = "allow"\n')
    with pytest.raises(
        LinkError, match="has content, and is left alone; name another file, or remove this one"
    ):
        Learner(path)
    assert path.read_text() == 'default = "allow"\n'


@pytest.mark.parametrize("name", ["/nonexistent/policy.toml", "/", "/dev/null"])
def test_a_place_that_is_no_file(name: str) -> None:
    with pytest.raises(LinkError, match=f'learn "{name}"'):
        Learner(Path(name))


def test_an_empty_file_of_mktemp_is_used(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.touch(0o600)
    learner = Learner(path)
    assert learner.write() is None
    assert RulePolicy.from_file(path) == RulePolicy([])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
