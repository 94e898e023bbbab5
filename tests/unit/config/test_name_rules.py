"""Rules by name, without a network: text, files, profiles, decisions, and warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from slirpy import Action, ConfigError, FlowRequest, Rule, RulePolicy, Verdict
from slirpy.config.policy import PROFILES, lint, parse_rule, profile_rules
from slirpy.interfaces import IPProtocol

SOURCE, PLACE = "10.0.2.15", "203.0.113.7"


def flow(
    *names: str, port: int = 443, protocol: int = 6, address: str = PLACE, own: bool = False
) -> FlowRequest:
    return FlowRequest(protocol, SOURCE, 4000, address, port, names=names, own=own)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("allow example.org:443", "allow example.org:443"),
        ("allow Example.ORG.", "allow example.org"),
        ("deny *.example.org", "reject *.example.org"),
        ("allow tcp:b\u00fccher.example", "allow tcp:xn--bcher-kva.example"),
        ("allow server.:80", "allow server.:80"),
        ("allow quic:example.org", "allow quic:example.org:443"),
        ("allow quic:example.org:8443", "allow quic:example.org:8443"),
        ("allow example.org:993 tls=off", "allow example.org:993 tls=off"),
        ("allow example.org tls=strict", "allow example.org"),
        ("redirect example.org:80=127.0.0.1:8080 tls=sni-optional",
         "redirect example.org:80=127.0.0.1:8080 tls=sni-optional"),
        ("allow example.org proxy=none", "allow example.org proxy=none"),
        ("ask any:443", "ask any:443"),
        ("allow internet", "allow internet"),
        ("deny self:22", "reject self:22"),
    ],
)  # fmt: skip
def test_text(text: str, same: str) -> None:
    assert str(parse_rule(text)) == same
    assert parse_rule(same) == parse_rule(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("allow exa mple.org", "malformed|no name"),
        ("allow *.*.example.org", "no network|name"),
        ("allow example.org tls=maybe", "is not one of"),
        ("allow any:443 tls=off", "rules by name"),
        ("allow quic:any", "quic"),
        ("allow quic:203.0.113.7", "quic"),
        ("allow example.org tls=off tls=off", "twice"),
        ("allow example..org", "no network|name"),
        ("allow " + "a" * 64 + ".org", "not a name"),
    ],
)
def test_malformed_rules_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_rule(text)


def test_a_name_never_matches_an_address() -> None:
    policy = RulePolicy(["allow example.org"])
    assert policy(flow()).action is Action.REJECT
    assert policy(flow("other.example")).action is Action.REJECT
    verdict = policy(flow("example.org"))
    assert (verdict.action, verdict.names, verdict.tls) == (Action.ALLOW, ("example.org",), "strict")
    assert verdict.rule == "allow example.org"


def test_the_first_of_all_rules_decides() -> None:
    policy = RulePolicy(["deny 203.0.113.7:22", "allow a.test", "deny *.test", "allow 203.0.113.0/24"])
    assert policy(flow("a.test", port=22)).action is Action.REJECT
    assert policy(flow("a.test")).names == ("a.test",)
    assert policy(flow("b.test")).action is Action.REJECT
    assert policy(flow()).names == ()
    assert policy(flow()).action is Action.ALLOW
    assert policy(flow("b.test", "a.test")).names == ("a.test",)
    mixed = policy(flow("b.test", "c.example"))
    assert (mixed.action, mixed.names, mixed.tls) == (Action.ALLOW, ("c.example",), "sni-optional")


def test_the_most_lenient_of_several_names_counts() -> None:
    policy = RulePolicy(["allow a.test", "allow b.test tls=off"])
    assert policy(flow("a.test", "b.test")).tls == "off"
    assert policy(flow("a.test")).tls == "strict"


@pytest.mark.parametrize(
    ("rule", "protocol", "port", "allowed"),
    [
        ("allow a.test", IPProtocol.TCP, 443, True),
        ("allow a.test", IPProtocol.UDP, 443, False),
        ("allow a.test", IPProtocol.UDP, 53, True),
        ("allow a.test tls=off", IPProtocol.UDP, 443, True),
        ("allow udp:a.test:443", IPProtocol.UDP, 443, False),
        ("allow quic:a.test", IPProtocol.UDP, 443, True),
        ("allow quic:a.test", IPProtocol.TCP, 443, False),
        ("allow quic:a.test", IPProtocol.UDP, 80, False),
        ("allow a.test", IPProtocol.ICMP, 0, True),
    ],
)
def test_quic(rule: str, protocol: int, port: int, allowed: bool) -> None:
    verdict = RulePolicy([rule])(flow("a.test", protocol=protocol, port=port))
    assert (verdict.action is Action.ALLOW) is allowed


@pytest.mark.parametrize(
    ("address", "own", "internet", "self_"),
    [
        ("8.8.8.8", False, True, False),
        ("8.8.8.8", True, False, True),
        ("10.0.0.1", False, False, False),
        ("169.254.169.254", False, False, False),
        ("168.63.129.16", False, False, False),
        ("224.0.0.1", False, False, False),
        ("2606:4700::1111", False, True, False),
        ("fd00::1", False, False, False),
        ("2002:a00:1::", False, False, False),
        ("64:ff9b::a00:1", False, False, False),
        ("64:ff9b::808:808", False, True, False),
        ("::ffff:8.8.8.8", False, False, False),
    ],
)
def test_words(address: str, own: bool, internet: bool, self_: bool) -> None:
    source = SOURCE if "." in address and ":" not in address else "fec0::15"
    request = FlowRequest(6, source, 1, address, 80, own=lambda: own)
    assert Rule(Action.ALLOW, "internet").matches(request) is internet
    assert Rule(Action.ALLOW, "self").matches(request) is self_


def test_files_include_others(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.toml").write_text('rules = ["allow b.test"]\ndefault = "allow"')
    (tmp_path / "top.toml").write_text(
        'include = ["sub/base.toml"]\nrules = ["allow a.test"]\nprofile = "agent"'
    )
    policy = RulePolicy.from_file(tmp_path / "top.toml")
    profile = [str(rule) for rule in profile_rules("agent")]
    assert [str(rule) for rule in policy.rules] == [*profile, "allow a.test", "allow b.test"]
    assert policy.default is Action.REJECT


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('include = ["it.toml"]', "includes itself"),
        ('include = ["none.toml"]', 'policy "none.toml": no such file'),
        ('include = "it.toml"', "not a list of files"),
        ('profile = "x"', "not one of agent"),
        ("profile = 5", "not a name"),
        ('included = ["x"]', "unknown key"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "it.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        RulePolicy.from_file(tmp_path / "it.toml")


def test_the_agent_profile_denies_nearby_addresses() -> None:
    policy = RulePolicy([*PROFILES["agent"], "allow any"])
    for address in ("10.0.0.1", "169.254.169.254", "192.168.1.1", "169.254.1.1", "168.63.129.16"):
        assert policy(flow(address=address)).action is Action.REJECT, address
    assert policy(flow(own=True)).action is Action.REJECT
    assert policy(flow()).action is Action.ALLOW
    assert not RulePolicy([*PROFILES["agent"], "allow a.test"]).may_resolve("b.test")


def test_an_address_that_stands_for_a_denied_name_too() -> None:
    """The rule about the address decides, and the client has to say that it wants another name."""
    allowing = "redirect 203.0.113.0/24=192.0.2.1:25 proxy=socks5://192.0.2.9:1080 proxy-protocol"
    verdict = RulePolicy(["deny bad.test", allowing])(flow("bad.test", "good.test"))
    rule = parse_rule(allowing)
    assert verdict == Verdict(
        Action.ALLOW,
        ("192.0.2.1", 25),
        rule=allowing,
        names=("good.test",),
        tls="sni-optional",
        proxy=rule.proxy,
        proxy_header=True,
    )


@pytest.mark.parametrize(
    ("rules", "default", "asked"),
    [
        ([], Action.REJECT, False),
        ([], Action.ALLOW, True),
        ([], Action.ASK, True),
        (["deny 10.0.0.0/8"], Action.ALLOW, True),
        (["deny 10.0.0.0/8"], Action.DROP, False),
        (["allow 192.0.2.1"], Action.REJECT, True),
        (["deny any", "allow any"], Action.ALLOW, False),
        (["deny tcp:any", "allow any"], Action.REJECT, True),
        (["deny any:80"], Action.ALLOW, True),
        (["allow a.test"], Action.ALLOW, True),
        (["allow a.test"], Action.REJECT, False),
        (["deny *.test"], Action.ALLOW, False),
        (["deny b.test:80"], Action.ALLOW, True),
        (["allow *.b.test"], Action.REJECT, False),
        (["allow b.test", "deny any"], Action.ALLOW, True),
        (["deny any", "allow b.test"], Action.ALLOW, False),
        (["deny b.test", "allow any"], Action.REJECT, False),
        (["allow any", "deny b.test"], Action.REJECT, True),
    ],
)
def test_which_names_are_resolved(rules: list[str], default: Action, asked: bool) -> None:
    assert RulePolicy(rules, default).may_resolve("b.test") is asked


@pytest.mark.parametrize(
    ("rules", "default", "names", "rule", "may"),
    [
        # Nothing depends on an address.
        ([], Action.ALLOW, (), "", True),
        (["allow any:80"], Action.REJECT, (), "allow any:80", True),
        (["allow a.test"], Action.REJECT, ("a.test",), "allow a.test", True),
        # Somebody may be asked: what a rule has allowed is known, what somebody has allowed was the address.
        (["allow any:80"], Action.ASK, (), "allow any:80", True),
        (["allow any:80"], Action.ASK, (), "somebody", False),
        (["ask any:80"], Action.ALLOW, (), "somebody", False),
        (["deny 10.0.0.0/8", "allow any:80"], Action.ASK, (), "allow any:80", False),
        # Rules about addresses: the name has to be what decided.
        (["deny 10.0.0.0/8"], Action.ALLOW, (), "", False),
        (["deny 10.0.0.0/8", "allow a.test"], Action.ALLOW, ("a.test",), "", False),
        (["deny 10.0.0.0/8", "allow a.test"], Action.REJECT, ("a.test",), "", True),
        (["deny 10.0.0.0/8", "allow a.test"], Action.REJECT, ("a.test",), "allow a.test", True),
        (["allow 192.0.2.1", "deny b.test"], Action.REJECT, ("a.test",), "allow 192.0.2.1", False),
    ],
)
def test_names_for_an_upstream_proxy(
    rules: list[str], default: Action, names: tuple[str, ...], rule: str, may: bool
) -> None:
    verdict = Verdict(Action.ALLOW, rule=rule, names=names)
    assert RulePolicy(rules, default).may_say_name(verdict) is may


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.test", {"a.test"}),
        ("*.test", {"a.test", "b.a.test", "ba.test"}),
        ("*.a.test", {"b.a.test"}),
    ],
)
def test_names_of_a_pattern(pattern: str, names: set[str]) -> None:
    rule = Rule(Action.ALLOW, pattern)
    assert {name for name in ("test", "a.test", "b.a.test", "ba.test") if rule.matches_name(name)} == names


@pytest.mark.parametrize("proxy", ["", 7, b"http://192.0.2.1"])
def test_a_proxy_that_is_no_text(proxy: object) -> None:
    with pytest.raises(ConfigError, match='is a URL, "none", or None for that of all'):
        Rule(Action.ALLOW, proxy=proxy)  # type: ignore[arg-type] # the mistake


def test_explain() -> None:
    policy = RulePolicy(["deny 203.0.113.8", "allow a.test:443"])
    assert str(policy.explain(flow("a.test"))) == "allow a.test:443"
    assert str(policy.explain(flow(address="203.0.113.8"))) == "reject 203.0.113.8"
    assert policy.explain(flow()) is None


@pytest.mark.parametrize(
    ("rules", "default", "words"),
    [
        (
            ["allow tcp:any:80"],
            Action.REJECT,
            ["private networks", "does not open metadata services and this host"],
        ),
        (["allow 0.0.0.0/0"], Action.REJECT, []),
        (["deny private", "allow tcp:0.0.0.0/0:80"], Action.REJECT, ["metadata service", "loopback", "other"]),
        (["allow any:80", "allow metadata"], Action.REJECT, ["private", "does not open this host"]),
        (["allow any", "deny self", "allow metadata", "allow host"], Action.REJECT, []),
        (["allow any", "deny self", "deny metadata"], Action.REJECT, ["denies nothing", "denies nothing"]),
        (["allow any", "deny 10.0.0.0/8"], Action.REJECT, ["denies nothing", "does not open"]),
        (["allow any", "deny any"], Action.ALLOW, []),
        (["allow any", "allow 10.0.0.0/8", "allow internet"], Action.ALLOW, ["never matches"]),
        (["allow icmp"], Action.REJECT, []),
        (["deny private"], Action.ALLOW, ["metadata service", "loopback", "other addresses"]),
        (["allow any", "deny host"], Action.REJECT, ["denies nothing", "does not open metadata"]),
        (["allow *.a.test", "allow b.a.test:443"], Action.REJECT, ["never matches"]),
        (["allow 10.0.0.0/8", "deny 10.1.0.0/16"], Action.REJECT, ["denies nothing"]),
        (
            ["allow any:80", "allow a.test:80"],
            Action.REJECT,
            ["never matches", "private", "does not open metadata services and this host"],
        ),
        ([*PROFILES["agent"], "allow any:443"], Action.REJECT, []),
        (["allow internet"], Action.REJECT, []),
        (["allow a.test:443", "allow a.test:80", "allow *.a.test"], Action.REJECT, []),
        (["deny any:25"], Action.ALLOW, []),
        (["allow host:8080", "allow 192.168.1.0/24", "deny private"], Action.REJECT, []),
        (["allow self:22", "allow 169.254.169.254:80", "deny private"], Action.REJECT, []),
        (["allow link-local", "deny private"], Action.REJECT, ["metadata service"]),
        (
            ["allow host:80", "deny private"],
            Action.ALLOW,
            ["metadata service", "the default opens the host's loopback", "other"],
        ),
    ],
)
def test_warnings(rules: list[str], default: Action, words: list[str]) -> None:
    found = lint(RulePolicy(rules, default))
    assert len(found) == len(words), found
    for warning, word in zip(found, words, strict=True):
        assert word in warning
