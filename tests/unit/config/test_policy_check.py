"""Decisions about flows that are described by text, and the warnings about whole policies, word by word."""

from __future__ import annotations

import pytest

from slirpy import RulePolicy
from slirpy.config.policy.check import FlowDecision, check_flow
from slirpy.config.policy.goal import goal_of
from slirpy.config.policy.remarks import lint
from slirpy.errors import ConfigError
from slirpy.interfaces import Action, FlowRequest, IPProtocol

POLICY = RulePolicy(
    [
        "deny 203.0.113.8",
        "allow tcp:203.0.113.0/24:80",
        "redirect tcp:198.51.100.7:25=127.0.0.1:2525",
        "redirect tcp:198.51.100.8=10.9.9.9",
        "drop bad.ok.test",
        "allow *.ok.test:443",
        "allow optional.test:443 tls=sni-optional",
        "allow off.test:443 tls=off",
        "ask 1.2.3.4:8443",
        "allow icmp:any",
        "allow udp:any:53",
        "allow host:22",
        "allow [2001:db8::1]:80",
        "allow internet:81",
        "allow metadata:82",
        "allow private:83",
        "allow link-local:84",
        "allow self:85",
        "allow any:9000",
    ]
)
DEFAULT = "reject: no rule matches, so the default decides"


@pytest.mark.parametrize(
    ("text", "number", "says"),
    [
        ("203.0.113.8:80", 1, 'reject: rule 1, "reject 203.0.113.8"'),
        ("tcp:203.0.113.9:80", 2, 'allow: rule 2, "allow tcp:203.0.113.0/24:80"'),
        ("udp:203.0.113.9:80", None, DEFAULT),
        (
            "198.51.100.7:25",
            3,
            'redirect to 127.0.0.1 port 2525: rule 3, "redirect tcp:198.51.100.7:25=127.0.0.1:2525"',
        ),
        ("198.51.100.8:26", 4, 'redirect to 10.9.9.9 port 26: rule 4, "redirect tcp:198.51.100.8=10.9.9.9"'),
        ("bad.ok.test:443", 5, 'drop: rule 5, "drop bad.ok.test"; its name is not resolved'),
        ("www.ok.test:443", 6, 'allow: rule 6, "allow *.ok.test:443"; the client has to say this name'),
        ("www.ok.test:80", None, DEFAULT),
        (
            "optional.test:443",
            7,
            'allow: rule 7, "allow optional.test:443 tls=sni-optional"; the client must not say another name',
        ),
        ("off.test:443", 8, 'allow: rule 8, "allow off.test:443 tls=off"'),
        ("1.2.3.4:8443", 9, 'ask: rule 9, "ask 1.2.3.4:8443"'),
        ("icmp:1.2.3.4", 10, 'allow: rule 10, "allow icmp:any"'),
        ("udp:9.9.9.9:53", 11, 'allow: rule 11, "allow udp:any:53"'),
        ("host:22", 12, 'allow: rule 12, "allow host:22"'),
        ("loopback:22", 12, 'allow: rule 12, "allow host:22"'),
        ("self:22", None, DEFAULT),
        ("[2001:db8::1]:80", 13, 'allow: rule 13, "allow [2001:db8::1]:80"'),
        ("[2001:db8::2]:80", None, DEFAULT),
        ("internet:81", 14, 'allow: rule 14, "allow internet:81"'),
        ("host:81", None, DEFAULT),
        ("self:81", None, DEFAULT),
        ("private:81", None, DEFAULT),
        ("metadata:82", 15, 'allow: rule 15, "allow metadata:82"'),
        ("link-local:82", None, DEFAULT),
        ("private:83", 16, 'allow: rule 16, "allow private:83"'),
        ("link-local:84", 17, 'allow: rule 17, "allow link-local:84"'),
        ("self:85", 18, 'allow: rule 18, "allow self:85"'),
        ("host:85", 18, 'allow: rule 18, "allow self:85"'),
        ("private:9000", 19, 'allow: rule 19, "allow any:9000"'),
        ("name.test:9000", 19, 'allow: rule 19, "allow any:9000"'),
        ("self:9000", None, DEFAULT),
        ("metadata:9000", None, DEFAULT),
        ("quic:www.ok.test", None, DEFAULT),
    ],
)
def test_a_decision(text: str, number: int | None, says: str) -> None:
    rule = None if number is None else str(POLICY.rules[number - 1])
    action = says.partition(":")[0]
    assert list(check_flow(POLICY, text)) == [FlowDecision(action, rule, number, f"{text}: {says}")]


def test_a_name_that_is_not_resolved() -> None:
    policy = RulePolicy(["allow a.test:443"])
    (closed,) = check_flow(policy, "b.test:443")
    assert closed.text == f"b.test:443: {DEFAULT}; its name is not resolved"
    (other_port,) = check_flow(policy, "a.test:80")
    assert other_port.text == f"a.test:80: {DEFAULT}"


def test_each_port_has_a_decision() -> None:
    decisions = list(check_flow(POLICY, "203.0.113.9:80,81"))
    assert [(each.action, each.number) for each in decisions] == [("allow", 2), ("reject", None)]
    assert [each.text.partition(": ")[0] for each in decisions] == ["203.0.113.9:80,81"] * 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'FLOW "": the destination is missing'),
        ("sctp:1.2.3.4:80", 'FLOW "sctp:1.2.3.4:80": protocol "sctp" is not one of tcp, udp, icmp, any'),
        ("any:80", 'FLOW "any:80" has no single destination; write an address, a name, or a word'),
        ("10.0.0.0/8:80", 'FLOW "10.0.0.0/8:80" has no single destination'),
        ("icmp", 'FLOW "icmp" has no single destination'),
        ("1.2.3.4", 'FLOW "1.2.3.4" has no single port; write for example tcp:example.org:443'),
        ("1.2.3.4:80-90", 'FLOW "1.2.3.4:80-90" has no single port'),
        ("*.ok.test:443", 'FLOW "*.ok.test:443" has no single name; write for example tcp:www.example.org:443'),
    ],
)
def test_text_that_is_no_flow(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(check_flow(POLICY, text))
    assert str(caught.value).startswith(says)


def request(
    destination: str = "1.1.1.1", *names: str, protocol: IPProtocol = IPProtocol.TCP, host: bool = False
) -> FlowRequest:
    """Return a flow to port 443."""
    source = "fec0::15" if ":" in destination else "10.0.2.15"
    return FlowRequest(protocol, source, 40000, destination, 443, host, names=names)


@pytest.mark.parametrize(
    ("flow", "goal"),
    [
        (request(), "tcp:1.1.1.1:443"),
        (request("2001:db8::1", protocol=IPProtocol.UDP), "udp:[2001:db8::1]:443"),
        (request("2001:db8::1", protocol=IPProtocol.ICMP), "icmp:[2001:db8::1]"),
        (request("1.1.1.1", "a.test", "b.test"), "tcp:a.test:443"),
        (request("1.1.1.1", "server"), "tcp:server.:443"),
        (request("10.0.2.2", "a.test", host=True), "tcp:host:443"),
    ],
)
def test_the_destination_of_a_flow_can_be_a_rule(flow: FlowRequest, goal: str) -> None:
    assert goal_of(flow) == goal
    if not flow.names:
        assert RulePolicy([f"allow {goal}"])(flow).action is Action.ALLOW


PRIVATE = '"allow any:443" opens private networks (port 443); to shut that, put deny private before it'


@pytest.mark.parametrize(
    ("rules", "default", "warnings"),
    [
        (
            ["allow 10.0.0.0/8", "deny 10.1.0.0/16", "allow 10.2.0.0/16"],
            Action.REJECT,
            [
                'rule "reject 10.1.0.0/16" denies nothing: "allow 10.0.0.0/8" stands before it and matches all of its'
                " flows",
                'rule "allow 10.2.0.0/16" never matches: "allow 10.0.0.0/8" stands before it and matches all of its'
                " flows",
            ],
        ),
        # Patterns of names, beside names that they do not include.
        (["allow *.a.test", "allow a.test", "allow ba.test"], Action.REJECT, []),
        (["allow *.b.a.test", "allow *.a.test"], Action.REJECT, []),
        (
            ["allow *.a.test", "allow *.b.a.test"],
            Action.REJECT,
            [
                'rule "allow *.b.a.test" never matches: "allow *.a.test" stands before it and matches all of its'
                " flows",
            ],
        ),
        # Ports that are refused, or that a rule shuts, do not end the search among the others.
        (
            ["deny any:80", "deny private"],
            Action.ALLOW,
            [
                f"the default opens {what} (port 1); to shut that, put deny {word} before it"
                for what, word in (
                    ("the cloud's metadata service at 169.254.169.254", "metadata"),
                    ("the host's loopback, at the gateway's address", "self"),
                    ("the other addresses of this host", "self"),
                )
            ],
        ),
        (
            ["deny private", "deny self"],
            Action.ALLOW,
            [
                "the default opens the cloud's metadata service at 169.254.169.254 (port 80); to shut that, put deny"
                " metadata before it"
            ],
        ),
        (
            ["deny private", "allow any:80-90", "allow metadata:80"],
            Action.REJECT,
            [
                '"allow any:80-90" does not open this host (its loopback, its other addresses); allow self would',
            ],
        ),
        (["allow any:443"], Action.ALLOW, [PRIVATE]),
        (["redirect any:443=192.0.2.1", "deny any"], Action.ALLOW, []),
        (
            ["deny private", "allow any:80"],
            Action.REJECT,
            [
                '"allow any:80" does not open metadata services and this host (its loopback, its other addresses);'
                " allow metadata and allow self would"
            ],
        ),
        (
            ["allow any:443", "allow self:443"],
            Action.REJECT,
            [PRIVATE, '"allow any:443" does not open metadata services; allow metadata would'],
        ),
        (
            ["allow udp:any:443", "allow metadata:443"],
            Action.REJECT,
            [
                '"allow udp:any:443" does not open this host (its loopback, its other addresses); allow self would',
            ],
        ),
    ],
)
def test_warnings_word_by_word(rules: list[str], default: Action, warnings: list[str]) -> None:
    assert lint(RulePolicy(rules, default)) == warnings


def test_one_address_is_opened_by_the_rule_that_decides() -> None:
    policy = RulePolicy(["deny 192.0.2.1", "allow 192.0.2.0/24:443", "allow 1.1.1.1", "allow 8.8.8.8:53"])
    assert policy.opens_address(request())
    for other in ("192.0.2.1", "192.0.2.2", "8.8.8.8", "9.9.9.9"):
        assert not policy.opens_address(request(other)), other
