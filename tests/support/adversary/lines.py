"""Rules as the judge reads them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from slirpy import Action, RulePolicy
from tests.support.adversary.places import (
    GATEWAYS,
    NAMES,
    NETWORKS,
    OWN,
    PROXIES,
    RELAY,
    TARGETS,
    WORDS,
    Address,
    inside,
    is_internet,
    network,
    parse,
)

REFUSALS = ("deny", "reject", "drop")
_HOST = ("host", "loopback")
DEFAULT = "default"
"""Stands in the last rule for every flow that the others do not match."""


@dataclass(frozen=True)
class Line:
    """One rule."""

    verb: str
    what: str
    port: int = 0
    protocol: str = ""
    tls: str = "strict"
    target: tuple[str, int] | None = None
    proxy: str | None = None

    def __str__(self) -> str:
        protocol = f"{self.protocol}:" if self.protocol else ""
        port = f":{self.port}" if self.port else ""
        options = "" if self.tls == "strict" else f" tls={self.tls}"
        if self.proxy is not None:
            options += f" proxy={self.proxy or 'none'}"
        target = ""
        if self.target is not None:
            address, number = self.target
            target = "=" + (f"[{address}]" if ":" in address else address) + (f":{number}" if number else "")
        what = f"[{self.what}]" if ":" in self.what else self.what
        return f"{self.verb} {protocol}{what}{port}{target}{options}"

    @property
    def refuses(self) -> bool:
        """True if the flow ends here."""
        return self.verb in REFUSALS

    @property
    def by_name(self) -> bool:
        """True for a rule by name."""
        return self.what.endswith((".example", ".test"))

    @property
    def about_addresses(self) -> bool:
        """True if the address of a flow matters."""
        return not self.by_name and self.what not in ("any", DEFAULT)

    def names(self, name: str | None) -> bool:
        """Report whether a rule by name is about a name."""
        if name is None:
            return False
        return name.endswith(self.what[1:]) if self.what.startswith("*.") else name == self.what

    def concerns(self, protocol: str, port: int) -> bool:
        """Report whether protocol and port are the rule's."""
        wanted, number = ("udp", self.port or 443) if self.protocol == "quic" else (self.protocol, self.port)
        if (wanted and protocol != wanted) or (number and (protocol == "icmp" or port != number)):
            return False
        if self.by_name and protocol == "udp" and port == 443 and self.protocol != "quic":
            return self.refuses or self.tls == "off" or self.target is not None
        return True

    def fits(self, protocol: str, address: Address, port: int, name: str | None) -> bool:
        """Report whether the rule is about a flow to an address, under a name or none."""
        if not self.concerns(protocol, port):
            return False
        return self.names(name) if self.by_name else self.holds(address)

    def holds(self, address: Address) -> bool:
        """Report whether a rule that is not by name is about an address, as the host knows it."""
        host = address.is_loopback
        if self.what == "any":
            return self.verb != "allow" or not _is_near(address)
        if self.what == DEFAULT:
            return True
        if self.what in _HOST:
            return host
        if self.what == "self":
            own = tuple(map(parse, OWN))
            return (
                host
                or address in own
                or (self.refuses and any(each in own or each.is_loopback for each in inside(address)))
            )
        if self.what == "internet":
            return not host and is_internet(address)
        if host:
            return self.what not in WORDS and GATEWAYS[address.version] in network(self.what)
        nets = [network(text) for text in WORDS.get(self.what, (self.what,))]
        led = inside(address) if self.refuses else ()
        return any(each in net for net in nets for each in (address, *led))


def _is_near(address: Address) -> bool:
    """Report whether an address is this host's, link-local or a metadata service's, or leads to one."""
    near = [network(text) for word in ("link-local", "metadata") for text in WORDS[word]]
    return any(
        each.is_loopback or str(each) in OWN or any(each in net for net in near)
        for each in (address, *inside(address))
    )


def policy(lines: list[Line]) -> RulePolicy:
    """The policy that consists of these rules."""
    rules = [str(line) for line in lines if line.what != DEFAULT]
    return RulePolicy(rules, Action.REJECT if len(rules) == len(lines) else Action.ALLOW)


def lines(random: Random, *, proxies: bool) -> list[Line]:
    """A policy."""
    found = _some_lines(random, proxies)
    return [*found, Line("allow", DEFAULT)] if random.random() < 0.1 else found


def _some_lines(random: Random, proxies: bool) -> list[Line]:
    if random.random() < 0.15:  # an address of a name is shut
        shut = random.choice(("203.0.113.0/24", "198.51.100.0/24", "2001:db8:7::/48", "private", "self"))
        return [Line("deny", shut), Line("allow", "*.example")]
    if random.random() < 0.1:  # what people write
        first = [Line("deny", word) for word in ("self", "metadata", "link-local", "private")]
        return [*first, Line("allow", random.choice(("internet", "any", "*.good.example")))]
    if random.random() < 0.08:  # two names, of which each has demands of its own
        one, two = random.sample(("a.good.example", "b.good.example", "good.example"), 2)
        return [
            Line("allow", one, 443, proxy=PROXIES[0]),
            Line(random.choice(("allow", "ask")), two, 443, proxy=""),
        ]
    if random.random() < 0.08:
        return [Line("allow", random.choice(("host", "self", "any")), proxy="")]
    return [_line(random, proxies) for _ in range(random.randrange(1, 6))]


def _line(random: Random, proxies: bool) -> Line:
    pool = (*NAMES, "*.good.example", "*.example", "*.test")
    words = ("any", "host", "loopback", "self", "internet", "private", "link-local", "metadata")
    what = random.choice(random.choice((pool, pool, NETWORKS, words)))
    verb = random.choice(("allow",) * 8 + ("deny", "reject", "drop", "ask", "redirect"))
    if what in ("any", "self", "private") and random.random() < 0.6:
        verb = "deny"
    protocol = random.choice(("", "", "", "tcp", "udp", "icmp"))
    port = 0 if protocol == "icmp" else random.choice((0, 0, 22, 80, 443))
    line = Line(verb, what, port, protocol)
    options: dict[str, object] = {}
    if line.by_name:
        options["tls"] = random.choice(("strict",) * 6 + ("ech", "sni-optional", "off"))
        if protocol in ("", "udp") and random.random() < 0.3:
            options["protocol"], options["port"] = "quic", random.choice((0, 443))
    if verb == "redirect":
        options["target"] = random.choice((*TARGETS, (RELAY, random.choice((0, 8080)))))
    if proxies and verb in ("allow", "ask") and random.random() < 0.4:
        options["proxy"] = random.choice(("", *PROXIES))
    return Line(**{**line.__dict__, **options})
