"""Options that say what guests may reach, and the lines that tell what they were refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from slirpy import Action, ConfigError, RulePolicy, Verdict
from slirpy.cli.refused import BURST, REMEMBERED, REPEAT, RefusedFlows
from slirpy.config.policy import NEAR
from slirpy.units import SECOND
from tests.support.policies import flow
from tests.support.repository import REPOSITORY
from tests.unit.cli.command import given

REJECT = Verdict(Action.REJECT, reason="no rule allows it")


# ------------------------------------------------------------------------------- the options


@pytest.mark.parametrize(
    ("arguments", "rules", "default"),
    [
        (["--allow", "203.0.113.0/24:443", "--deny-private"], ["allow 203.0.113.0/24:443", *NEAR], "reject"),
        (["--deny-private"], [*NEAR], "allow"),
        (["--deny", "host", "--drop=metadata"], ["deny host", "drop metadata"], "allow"),
        (["--reject", "host"], ["reject host"], "allow"),
        (["--redirect", "tcp:any:80=host:8080"], ["redirect tcp:any:80=host:8080"], "allow"),
        (["--allow", "10.9.9.9", "--deny-private", "--allow", "any"],
         ["allow 10.9.9.9", *NEAR, "allow any"], "reject"),
        (["--deny", "10.1.0.0/16", "--allow", "private", "--drop", "udp", "--deny", "any:25"],
         ["deny 10.1.0.0/16", "allow private", "drop udp", "deny any:25"], "reject"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["run", "listen", "qemu"])
def test_rules_come_in_their_order(arguments: list[str], rules: list[str], default: str, command: str) -> None:
    policy = given(*arguments, command=command).policy
    assert policy == RulePolicy(rules, Action(default))


def test_without_rules_there_is_no_policy() -> None:
    config = given()
    assert (config.policy, config.restrict, config.outbound, config.on_refused) == (None, False, None, None)


def test_a_file_stands_where_its_option_does(tmp_path: Path) -> None:
    path = str(tmp_path / "policy.toml")
    Path(path).write_text('rules = ["deny private"]\n')
    policy = given("--drop", "10.1.0.0/16", "--policy", path, "--redirect", "any:80=host").policy
    rules = ["drop 10.1.0.0/16", "deny private", "redirect any:80=host"]
    assert policy == RulePolicy(rules, Action.REJECT)
    Path(path).write_text('default = "allow"\n')
    assert given("--policy", path).policy == RulePolicy([], Action.ALLOW)
    assert given("--policy", path, "--allow", "any").policy == RulePolicy(["allow any"])
    with pytest.raises(ConfigError, match="more than once"):
        given("--policy", path, "--policy", path)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--allow", "203.0.113.0/33"], 'rule "allow 203.0.113.0/33": destination "203.0.113.0/33"'),
        (["--deny", "nowhere"], 'rule "deny nowhere": destination "nowhere"'),
        (["--redirect", "any:80"], 'rule "redirect any:80": where does it lead?'),
        (["--redirect", "any:80=10.0.2.2:8080"], "its target is in the virtual network"),
        (["--policy", "/nonexistent.toml"], 'policy "/nonexistent.toml": no such file'),
        (["--outbound", "not an address"], 'outbound "not an address"'),
    ],
)
def test_a_mistake_names_the_part(arguments: list[str], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(*arguments)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refusals_are_reported_if_there_can_be_some(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--deny", "any"], ["--restrict"], ["--no-host-loopback"]):
        config = given(*arguments)
        assert config.on_refused is not None
        config.on_refused(flow("tcp 198.51.100.7:80"), REJECT)
        told = "slirpy: refused tcp 10.0.2.15 -> 198.51.100.7:80 (no rule allows it)\n"
        assert capsys.readouterr().err == told


# ------------------------------------------------------------------------------------ reports


class Teller:
    """Lines, and a clock that the test moves."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 100.0
        self.refused = RefusedFlows(self.lines.append, lambda: round(self.now * SECOND))

    def refuse(self, text: str, verdict: Verdict = REJECT) -> None:
        self.refused(flow(text), verdict)

    def take(self) -> list[str]:
        lines = list(self.lines)
        self.lines.clear()
        return lines


def test_lines() -> None:
    teller = Teller()
    teller.refuse("tcp 198.51.100.7:80")
    teller.refuse("udp 10.1.2.3:53", Verdict(Action.DROP, reason="drop udp:any:53"))
    teller.refuse("icmp 198.51.100.7", Verdict(Action.REJECT))
    teller.refuse("tcp [2001:db8::1]:443")
    assert teller.take() == [
        "refused tcp 10.0.2.15 -> 198.51.100.7:80 (no rule allows it)",
        "dropped udp 10.0.2.15 -> 10.1.2.3:53 (drop udp:any:53)",
        "refused icmp 10.0.2.15 -> 198.51.100.7",
        "refused tcp 10.0.2.15 -> [2001:db8::1]:443 (no rule allows it)",
    ]


def test_repeated_refusals_are_reported_again_after_a_while() -> None:
    teller = Teller()
    for _ in range(8):
        teller.refuse("tcp 198.51.100.7:80")
    assert len(teller.take()) == 1
    teller.now += REPEAT / SECOND
    teller.refuse("tcp 198.51.100.7:80")
    assert teller.take() == [
        "refused tcp 10.0.2.15 -> 198.51.100.7:80 (no rule allows it); 7 times more before that"
    ]
    teller.refused.close()
    assert teller.take() == []


@pytest.mark.long
def test_a_scan_is_not_reported_line_by_line() -> None:
    teller = Teller()
    for port in range(65536):
        teller.now += 0.0001
        teller.refuse(f"tcp 198.51.100.7:{port}")
    told = len(teller.take())
    assert BURST <= told <= BURST + 20
    teller.refused.close()
    assert teller.take() == [f"{65536 - told} more flows were refused and not reported"]
    teller.refused.close()
    assert teller.take() == []


@pytest.mark.parametrize(
    "severe", ["tcp 169.254.169.254:80", "tcp [fd00:ec2::254]:80", "tcp [64:ff9b::169.254.169.254]:80"]
)
@pytest.mark.parametrize("noise", ["udp 198.51.100.{}:99", "tcp 10.1.2.{}:80", "tcp 127.0.0.{}:22"])
def test_no_number_of_refusals_hides_one_that_matters_more(noise: str, severe: str) -> None:
    teller = Teller()
    for number in range(600):
        teller.refuse(noise.format(number % 250))
    assert len(teller.take()) == BURST
    teller.refuse(severe)
    (line,) = teller.take()
    assert line.startswith(
        f"refused tcp 10.0.2.15 -> {severe.removeprefix('tcp ')}".replace("169.254.169.254]", "a9fe:a9fe]")
    )


def test_unreported_refusals_are_counted_by_class() -> None:
    teller = Teller()
    for port in range(1, 31):
        for address in ("198.51.100.7", "10.1.2.3", "169.254.169.254"):
            teller.refuse(f"tcp {address}:{port}")
    teller.take()
    teller.refused.close()
    assert teller.take() == [
        "30 more flows were refused and not reported, of them 10 to metadata services, 10 to private addresses"
    ]


def test_a_reason_with_control_characters_is_escaped() -> None:
    teller = Teller()
    teller.refuse(
        "tcp 198.51.100.7:80", Verdict(Action.REJECT, reason="no \x1b]0;owned\x07\nslirpy: all is well\u202e")
    )
    assert teller.take() == [
        "refused tcp 10.0.2.15 -> 198.51.100.7:80 (no \\x1b]0;owned\\x07\\x0aslirpy: all is well\\u202e)"
    ]


def test_remembered_refusals_are_bounded() -> None:
    teller = Teller()
    for port in range(3 * REMEMBERED):
        teller.now += 1
        teller.refuse(f"tcp 198.51.100.7:{port}")
    assert len(teller.take()) == 3 * REMEMBERED
    assert len(teller.refused._reported) == REMEMBERED


def test_an_output_that_is_closed_does_not_stop_the_network() -> None:
    def tell(line: str) -> None:
        raise BrokenPipeError

    RefusedFlows(tell)(flow("tcp 198.51.100.7:80"), REJECT)


# ------------------------------------------------------------------------------- the documentation


def test_examples_of_the_documentation_are_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "howto" / "policy.md").read_text()
    (table,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / "policy.toml"
    path.write_text(table)
    assert len(RulePolicy.from_file(path).rules) == 5
    lines = re.findall(r"^\$ slirpy run (.*?) -- CMD", text, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        assert given(*shlex.split(line.replace("policy.toml", str(path)))) != given()
