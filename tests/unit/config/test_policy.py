"""Rules: what is read, what is refused to be read, and which flow each decides about."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy import Action, Config, ConfigError, FlowRequest, Rule, RulePolicy, Verdict, paths
from slirpy.config.policy import WORDS, parse_rule
from slirpy.interfaces import IPProtocol
from slirpy.nat.routes import LOOPBACK, Refusal, Route, Router
from tests.support.harness import GUEST, config, ip
from tests.support.policies import TABLE, flow


def said(verdict: Verdict) -> str:
    """A verdict as the table has it."""
    if verdict.redirect is not None:
        assert verdict.action is Action.ALLOW
        return f"{ip_address(verdict.redirect[0])}:{verdict.redirect[1]}"
    assert bool(verdict.reason) == (verdict.action is not Action.ALLOW)
    return verdict.action.value


@pytest.mark.parametrize(("rules", "asked", "expected"), TABLE, ids=[f"{r} - {f}" for r, f, _ in TABLE])
def test_table(rules: list[str], asked: str, expected: str) -> None:
    assert said(RulePolicy(rules)(flow(asked))) == expected


def test_the_table_is_not_small() -> None:
    assert len(TABLE) >= 60
    assert {e for _, _, e in TABLE} >= {"allow", "reject", "drop", "127.0.0.1:8080"}


@pytest.mark.parametrize("default", list(Action))
def test_default(default: Action) -> None:
    policy = RulePolicy(["deny private"], default)
    assert policy(flow("tcp 198.51.100.7:80")).action is default
    assert policy(flow("tcp 10.1.2.3:80")).action is Action.REJECT
    assert policy.default is default


def test_the_reason_is_the_rule() -> None:
    policy = RulePolicy(["deny private", "drop udp:any:53"])
    assert policy(flow("tcp 10.1.2.3:80")).reason == "reject private"
    assert policy(flow("udp 8.8.8.8:53")).reason == "drop udp:any:53"
    assert policy(flow("tcp 8.8.8.8:53")).reason == "no rule allows it"


# ------------------------------------------------------------------------------- text and objects

SAME = [
    ("allow 203.0.113.0/24:443", Rule(Action.ALLOW, "203.0.113.0/24", ports=((443, 443),))),
    ("reject private", Rule(Action.REJECT, "private")),
    ("drop udp:any:53", Rule(Action.DROP, protocol=IPProtocol.UDP, ports=((53, 53),))),
    ("allow icmp:any", Rule(Action.ALLOW, protocol=IPProtocol.ICMP)),
    ("allow [2001:db8::/32]:443", Rule(Action.ALLOW, "2001:db8::/32", ports=((443, 443),))),
    ("allow tcp:host:1-2,9", Rule(Action.ALLOW, "host", IPProtocol.TCP, ((1, 2), (9, 9)))),
    ("redirect tcp:any:80=127.0.0.1:8080",
     Rule(Action.ALLOW, "any", IPProtocol.TCP, ((80, 80),), (LOOPBACK, 8080))),
    ("redirect any=[2001:db8::1]:8", Rule(Action.ALLOW, redirect=(ip_address("2001:db8::1").packed, 8))),
    ("redirect any:80=proxy.example:8080",
     Rule(Action.ALLOW, ports=((80, 80),), redirect=("Proxy.example.", 8080))),
    ("redirect any=server.", Rule(Action.ALLOW, redirect=("server.", 0))),
    ("redirect any=192.0.2.1", Rule(Action.ALLOW, redirect=(ip("192.0.2.1"), 0))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), SAME)
def test_text_and_rule_are_the_same(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule
    assert str(rule) == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("deny private", "reject private"),
        ("allow udp", "allow udp:any"),
        ("allow any:any:443", "allow any:443"),
        ("allow tcp:203.0.113.7/32", "allow tcp:203.0.113.7"),
        ("redirect tcp:any:80 = host:8080", "redirect tcp:any:80=127.0.0.1:8080"),
        ("redirect any=B\u00fccher.Example.", "redirect any=xn--bcher-kva.example"),
        ("  drop   metadata  ", "drop metadata"),
        ("allow icmp:198.51.100.7", "allow icmp:198.51.100.7"),
        ("allow 0.0.0.0/0", "allow 0.0.0.0/0"),
    ],
)
def test_other_ways_to_write_it(text: str, plain: str) -> None:
    assert str(parse_rule(text)) == plain


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", '""'),
        ("203.0.113.0/24", '"203.0.113.0/24" is not one of allow'),
        ("alow 1.2.3.4", '"alow"'),
        ("allow", "the destination is missing"),
        ("allow :443", "the destination is missing"),  # as it is if a shell's variable is empty
        ("allow tcp::443", "the destination is missing"),
        ("allow 443", "write any:443"),
        ("allow tcp:443", "write any:443"),
        ("allow 1.2.3.4/33", 'destination "1.2.3.4/33"'),
        ("allow 1.2.3.4/24", "write 1.2.3.0/24"),
        ("allow 1.2.3", 'destination "1.2.3"'),
        ("allow 1.2.3", "words any, host, loopback, internet, self, private, link-local, metadata"),
        ("allow quic", "quic is UDP to a name, and any is none"),
        ("allow Private", 'destination "Private"'),
        ("allow 127.0.0.1:80", "write host"),
        ("allow 127.0.0.0/8", "write host"),
        ("allow 2001:db8::/32", "brackets: [2001:db8::/32]"),
        ("allow 2001:db8::7/32", "brackets: [2001:db8::/32]"),
        ("allow [1.2.3.4:80", "malformed"),
        ("allow a:b:c:d", "malformed"),
        ("allow sctp:1.2.3.4:5", 'protocol "sctp"'),
        ("allow icmp:any:80", "icmp has no ports"),
        ("allow any:http", 'port "http"'),
        ("allow any:", 'port ""'),
        ("allow any:80,", 'port ""'),
        ("allow any:65536", 'port "65536"'),
        ("allow any:-1", 'port ""'),
        ("allow any:\u0661", "port"),
        ("allow any:80-70", "ports 80-70 end before they begin"),
        ("redirect any:80", "where does it lead?"),
        ("redirect any:80=", 'target ""'),
        ("redirect any:80=proxy", 'target "proxy"'),
        ("redirect any:80=*.proxy.example", "a pattern"),
        ("redirect any:80=pro!xy.example", 'target "pro!xy.example" is neither'),
        ("redirect any:80=proxy.example:0", 'port "0" of the target'),
        ("redirect any:80=1.2.3.4:0", 'port "0" of the target'),
        ("redirect any:80=1.2.3.4:x", 'port "x"'),
        ("redirect any:80=::1", "brackets"),
        ("redirect any:80=0.0.0.0:80", "0.0.0.0"),
        ("redirect any:80=224.0.0.1:80", "224.0.0.1"),
    ],
)
def test_a_malformed_rule_names_the_part(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rule(text)
    message = str(caught.value)
    assert message.startswith(f'rule "{text}": ')
    assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Rule("allow"),  # type: ignore[arg-type] # the mistake
        lambda: Rule(Action.ALLOW, "nowhere"),
        lambda: Rule(Action.ALLOW, 7),  # type: ignore[arg-type] # the mistake
        lambda: Rule(Action.ALLOW, ports=((2, 1),)),
        lambda: Rule(Action.ALLOW, ports=((1, 2, 3),)),  # type: ignore[arg-type] # the mistake
        lambda: Rule(Action.ALLOW, ports=(("1", "2"),)),  # type: ignore[arg-type] # the mistake
        lambda: Rule(Action.ALLOW, ports=(7,)),  # type: ignore[arg-type] # the mistake
        lambda: Rule(Action.ALLOW, ports=((0, 65536),)),
        lambda: Rule(Action.ALLOW, protocol=IPProtocol.ICMP, ports=((1, 1),)),
        lambda: Rule(Action.DROP, redirect=(LOOPBACK, 1)),
        lambda: Rule(Action.ALLOW, redirect=(b"\0\0\0\0", 1)),
        lambda: Rule(Action.ALLOW, redirect=(b"\1", 1)),
        lambda: Rule(Action.ALLOW, redirect=(LOOPBACK, 65536)),
        lambda: RulePolicy("allow any"),
        lambda: RulePolicy([7]),  # type: ignore[list-item] # the mistake
        lambda: RulePolicy([], "allow"),  # type: ignore[arg-type] # the mistake
        lambda: Config(policy="allow any"),
        lambda: Config(policy=7),  # type: ignore[arg-type] # the mistake
        lambda: Config(policy=["redirect any=10.0.2.9:80"]),
        lambda: Config(restrict="on"),  # type: ignore[arg-type] # the mistake
    ],
)
def test_a_rule_that_cannot_be_is_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ConfigError):
        wrong()


def test_config_makes_a_policy_of_a_list() -> None:
    policy = Config(policy=["allow any:443", Rule(Action.DROP)]).policy
    assert policy == RulePolicy([Rule(Action.ALLOW, ports=((443, 443),)), "drop any"])
    assert policy != RulePolicy(["drop any"], Action.DROP)
    assert hash(policy) == hash(RulePolicy(["allow any:443", "drop any"]))
    assert "allow any:443" in repr(policy)


# ------------------------------------------------------------------------------- files


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('default = "drop"\nrules = ["allow 203.0.113.0/24:443", "deny private"]\n')
    assert RulePolicy.from_file(path) == RulePolicy(["allow 203.0.113.0/24:443", "deny private"], Action.DROP)
    path.write_text('rules = ["deny private"]\n')
    assert RulePolicy.from_file(path).default is Action.REJECT
    path.write_text('default = "allow"\n')
    assert RulePolicy.from_file(path) == RulePolicy([], Action.ALLOW)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "neither rules nor a default"),
        ("rules = ", "not TOML"),
        ("rule = []", '"rule"'),
        ('rules = "allow any"', "rules"),
        ("rules = [7]", "7"),
        ('rules = ["alow any"]', 'rule "alow any"'),
        ('default = "redirect"', '"redirect"'),
        ("default = true", "True"),
        ("rules = []\n\xff", "not TOML"),
    ],
)
def test_a_malformed_file_names_the_part(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        RulePolicy.from_file(path)
    assert str(caught.value).startswith(f'policy "{path}": ')
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_opened_as_those_that_may_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox then lets them through."""
    opened: dict[str, None] = {}
    monkeypatch.setattr(paths, "read_again", opened)
    path, other = tmp_path / "policy.toml", tmp_path / "other.toml"
    path.write_text('include = ["other.toml"]\n')
    other.write_text('rules = ["deny private"]\n')
    RulePolicy.from_file(path)
    assert list(map(str, opened)) == [str(path), str(other)]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        RulePolicy.from_file(tmp_path / "none.toml")


# ------------------------------------------------------------------------------- the router

BROADCASTS = ("10.0.2.255", "255.255.255.255")


@pytest.mark.parametrize("name", ["10.0.2.2", *BROADCASTS])
def test_the_host_is_the_host_by_every_name(name: str) -> None:
    """A rule about the gateway holds for what leads to the same place."""
    asked = FlowRequest(IPProtocol.UDP, GUEST, 1, ip(name), 53)
    for rules in (["deny host", "allow any"], ["deny 10.0.2.2", "allow any"]):
        assert Router(config(policy=rules)).route(asked) is Refusal.PROHIBITED
    for rules in (["allow host"], ["allow 10.0.2.2:53"]):
        route = Router(config(policy=rules)).route(asked)
        assert isinstance(route, Route)
        assert route[:2] == (LOOPBACK, 53)


def test_restrict_refuses_all() -> None:
    router = Router(config(restrict=True, policy=["allow any"]))
    for name in ("10.0.2.2", "10.0.2.3", "10.0.2.9", "198.51.100.7", *BROADCASTS):
        asked = FlowRequest(IPProtocol.TCP, GUEST, 1, ip(name), 53)
        assert router.route(asked) is Refusal.PROHIBITED
    assert router.route(FlowRequest(IPProtocol.UDP, GUEST, 1, ip("224.0.0.251"), 5353)) is Refusal.MARTIAN


def test_on_refused_reports_each_refusal() -> None:
    told: list[tuple[FlowRequest, Verdict]] = []

    def note(request: FlowRequest, verdict: Verdict) -> None:
        told.append((request, verdict))

    asked = flow("tcp 198.51.100.7:80")
    assert Router(config(policy=["allow any:443"], on_refused=note)).route(asked) is Refusal.PROHIBITED
    assert Router(config(policy=["drop any"], on_refused=note)).route(asked) is Refusal.DROP
    assert Router(config(restrict=True, on_refused=note)).route(asked) is Refusal.PROHIBITED
    assert [(r, v.action, v.reason) for r, v in told] == [
        (asked, Action.REJECT, "no rule allows it"),
        (asked, Action.DROP, "drop any"),
        (asked, Action.REJECT, "restrict"),
    ]
    told.clear()
    Router(config(policy=["allow any"], on_refused=note)).route(asked)
    Router(config(on_refused=note)).route(flow("tcp 10.0.2.77:80"))
    assert told == []  # an address that nobody has is nothing that was refused
    shut = Router(config(host_loopback=False, policy=["allow any"], on_refused=note))
    assert shut.route(flow("tcp 10.0.2.2:80")) is Refusal.NET_UNREACHABLE
    assert [verdict.reason for _, verdict in told] == ["no host loopback"]


# ------------------------------------------------------------------------------- against a second opinion

networks = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
        lambda t: ip_network((t[0] >> (32 - t[1]) << (32 - t[1]), t[1]))
    ),
    st.sampled_from([ip_network(n) for word in WORDS.values() for n in word]),
).filter(lambda n: not n.is_loopback)


@given(networks, st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_networks_as_ipaddress_sees_them(network: object, address: bytes) -> None:
    inside = ip_address(address) in ip_network(str(network))
    request = FlowRequest(IPProtocol.TCP, GUEST, 1, address, 80)
    assert Rule(Action.ALLOW, str(network)).matches(request) == inside


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    for verb in ("", "allow ", "redirect "):
        try:
            rule = parse_rule(verb + text)
        except ConfigError:
            continue
        assert parse_rule(str(rule)) == rule


def test_a_rule_about_the_host_is_about_its_loopback_alone() -> None:
    """127.0.0.1 as a destination is the guest's own, and never leaves it."""
    own = FlowRequest(IPProtocol.TCP, GUEST, 1, "127.0.0.1", 80)
    assert not parse_rule("allow host").matches(own)
    assert not parse_rule("deny host").matches(own)
