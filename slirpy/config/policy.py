"""Rules of a policy: the destinations that guests may reach.

A policy is a list of rules, and the first that matches a flow decides. A rule looks at the protocol, the
destination and the port: all that is known when a guest's first packet arrives. If more becomes known about flows
(names), it goes into :class:`~slirpy.interfaces.FlowRequest`, and rules about it become one more kind of destination.

Destinations are addresses as the guest sees them. The host's loopback appears there as the gateway's address, and has
a keyword, because it is the destination that most often needs a rule.

A rule that refuses an IPv4 address also refuses the IPv6 addresses that lead there by a translator or a tunnel
(:mod:`slirpy.config.embedded`). A rule that allows an IPv4 address says nothing about those, since it is the network
that decides where they lead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from slirpy.addresses import AnyAddress, IPAddress, reachable_place
from slirpy.checks import instance, is_whole
from slirpy.config.embedded import embedded_ipv4
from slirpy.config.text import PORT_MAX, bracketed, decimal, parse_ports, split_port
from slirpy.config.values import as_text, listed
from slirpy.config.values import path as path_of
from slirpy.errors import ConfigError
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict

__all__ = ["WORDS", "Rule", "RulePolicy", "checked_verdict", "parse_rule"]

WORDS = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "metadata": (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
        "fd00:a9fe:a9fe::1", "fe80::a9fe:a9fe",
    ),
}  # fmt: skip
"""Names of networks: RFC 1918, 6598, 4193, 3879; RFC 3927, 4291; and the addresses of cloud metadata services."""
_ANY = "any"
_HOST = ("host", "loopback")
_VERBS = {
    "allow": Action.ALLOW,
    "deny": Action.REJECT,
    "reject": Action.REJECT,
    "drop": Action.DROP,
    "redirect": Action.ALLOW,
}
_PROTOCOLS = {"tcp": IPProtocol.TCP, "udp": IPProtocol.UDP, "icmp": IPProtocol.ICMP}
_PARTS = re.compile(r"(?:([^:\[\]]*):)??(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:\[\]]*))?")
_LOOPBACK = IPv4Address("127.0.0.1")
_LOOPBACKS = ((4, 24, 127), (4, 24, 0))
"""Networks in the form of ``Rule._networks`` by which a host means itself."""
_HELP = "write [tcp:|udp:|icmp:]DESTINATION[:PORTS], such as tcp:203.0.113.0/24:443"


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """One rule of a :class:`RulePolicy`. Its action applies to flows that match all of its parts.

    Raises:
        ConfigError: an invalid part; the text says which.
    """

    action: Action
    destination: str
    """A network or address, such as ``"203.0.113.0/24"``, as the guest names it; or a word: ``any``; ``host`` (or
    ``loopback``), the gateway, behind which is the host's loopback; ``private``, ``link-local``, ``metadata``, which
    do not include the gateway, whatever its address is."""
    protocol: IPProtocol | None
    """IP protocol; None: any."""
    ports: tuple[tuple[int, int], ...]
    """First and last port of each range, 0 to 65535; empty: all. ICMP has none, so it never matches such a rule."""
    redirect: tuple[IPAddress, int] | None
    """With ``Action.ALLOW``: the address and port, as the host sees them, to which the flow is sent instead of its
    destination. The address may be given as text, an :mod:`ipaddress` object, or bytes. Port 0 keeps the port."""
    _networks: tuple[tuple[int, int, int], ...] = field(repr=False, compare=False)
    """Address length in bytes, right shift, and the remaining prefix."""

    def __init__(
        self,
        action: Action,
        destination: str = _ANY,
        protocol: int | None = None,
        ports: Sequence[tuple[int, int]] = (),
        redirect: tuple[AnyAddress, int] | None = None,
    ) -> None:
        if not isinstance(action, Action):
            raise ConfigError(f"a rule's action is one of slirpy.Action; given was {action!r}")
        if not isinstance(destination, str):  # ipaddress accepts numbers too
            raise ConfigError(f"a rule's destination is text; given was {destination!r}")
        if protocol is not None and (not is_whole(protocol) or protocol not in tuple(IPProtocol)):
            raise ConfigError(f"a rule's protocol is one of IPProtocol, or None; given was {protocol!r}")
        _check_ranges(ports)
        if ports and protocol == IPProtocol.ICMP:
            raise ConfigError("icmp has no ports; leave them out of the rule")
        if redirect is not None and action is not Action.ALLOW:
            raise ConfigError(f"a rule that redirects has Action.ALLOW; given was {action}")
        words = (_ANY, *_HOST)
        networks = tuple(map(_network, () if destination in words else WORDS.get(destination, (destination,))))
        if destination in _HOST:
            networks = _LOOPBACKS
        put = object.__setattr__
        put(self, "action", action)
        put(self, "destination", destination)
        put(self, "protocol", None if protocol is None else IPProtocol(protocol))
        put(self, "ports", tuple((first, last) for first, last in ports))
        put(self, "redirect", None if redirect is None else reachable_place("a rule's redirect", redirect))
        put(self, "_networks", networks)

    def matches(self, request: FlowRequest) -> bool:
        """Report whether the rule matches this flow.

        Raises:
            ConfigError: not a FlowRequest.
        """
        _check_request(request)
        protocol = request.protocol
        if self.protocol is not None and protocol != self.protocol:
            return False
        if self.ports:
            port = request.destination_port
            if protocol == IPProtocol.ICMP or not any(first <= port <= last for first, last in self.ports):
                return False
        destination = self.destination
        if destination == _ANY:
            return True
        if request.host and (destination in _HOST or destination in WORDS):
            return destination in _HOST
        address = request.destination_bytes
        if destination not in _HOST and self._holds(len(address), int.from_bytes(address, "big")):
            return True
        return (
            len(address) == 16
            and self.action is not Action.ALLOW
            and any(self._holds(4, number) for number in embedded_ipv4(address))
        )

    def _holds(self, length: int, number: int) -> bool:
        """Report whether an address of ``length`` bytes is in one of the networks."""
        return any(size == length and number >> shift == prefix for size, shift, prefix in self._networks)

    def verdict(self, request: FlowRequest) -> Verdict:
        """The verdict for a flow that matches.

        Raises:
            ConfigError: not a FlowRequest.
        """
        _check_request(request)
        if self.redirect is not None:
            address, port = self.redirect
            return Verdict(Action.ALLOW, (address, port or request.destination_port))
        return Verdict(self.action, reason="" if self.action is Action.ALLOW else str(self))

    def __str__(self) -> str:
        """The rule as :func:`parse_rule` reads it."""
        verb = self.action.value if self.redirect is None else "redirect"
        protocol = f"{self.protocol.name.lower()}:" if self.protocol is not None else ""
        ranges = (str(first) if first == last else f"{first}-{last}" for first, last in self.ports)
        ports = ":" + ",".join(ranges) if self.ports else ""
        target = ""
        if self.redirect is not None:
            address, port = self.redirect
            target = "=" + bracketed(address) + (f":{port}" if port else "")
        return f"{verb} {protocol}{bracketed(self.destination)}{ports}{target}"


class RulePolicy:
    """A :data:`~slirpy.interfaces.Policy` made of rules: the first that matches decides.

    Args:
        rules: in their order; text is read by :func:`parse_rule`.
        default: action for a flow that no rule matches.

    Raises:
        ConfigError: a rule that cannot be read.
    """

    __slots__ = ("_otherwise", "rules")

    def __init__(self, rules: Iterable[Rule | str] = (), default: Action = Action.REJECT) -> None:
        if not isinstance(default, Action):
            raise ConfigError(f"default is one of slirpy.Action; given was {default!r}")
        self.rules = tuple(
            parse_rule(rule) if isinstance(rule, str) else rule for rule in listed("rules", rules)
        )
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise ConfigError(f"a rule is text or a slirpy.Rule; given was {rule!r}")
        self._otherwise = Verdict(default, reason="" if default is Action.ALLOW else "no rule allows it")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RulePolicy:
        """Read a TOML file: ``rules``, a list of what :func:`parse_rule` reads, and ``default``.

        ``default`` is ``"reject"``, which it also is when it is left out, ``"drop"`` or ``"allow"``.

        Raises:
            ConfigError: the file cannot be read; the text names the part.
        """
        import tomllib  # only some programs need it

        checked = path_of("path", path)
        try:
            with open(checked, "rb") as file:
                found = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f'policy "{path}": {os.strerror(error.errno or 0).lower()}') from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f'policy "{path}": not TOML: {error}') from None
        try:
            return _from_table(found)
        except ConfigError as error:
            raise ConfigError(f'policy "{path}": {error}') from None

    @property
    def default(self) -> Action:
        """Action for a flow that no rule matches."""
        return self._otherwise.action

    def __call__(self, request: FlowRequest) -> Verdict:
        """Decide about a flow."""
        for rule in self.rules:
            if rule.matches(request):
                return rule.verdict(request)
        return self._otherwise

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RulePolicy):
            return NotImplemented
        return (self.rules, self.default) == (other.rules, other.default)

    def __hash__(self) -> int:
        return hash((self.rules, self.default))

    def __repr__(self) -> str:
        return f"RulePolicy({[str(rule) for rule in self.rules]}, {self.default})"


def _from_table(found: dict[str, Any]) -> RulePolicy:
    for key in found:
        if key not in ("rules", "default"):
            raise ConfigError(f'unknown key "{key}"; known are rules, default')
    if not found:  # an empty file is probably an accident
        raise ConfigError('there are neither rules nor a default; write rules = ["allow ..."]')
    rules = found.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise ConfigError(f'rules is not a list of texts such as ["allow any:443"]: {rules!r}')
    default = found.get("default", "reject")
    known = [action.value for action in Action]
    if default not in known:
        raise ConfigError(f'default "{default}" is not one of {", ".join(known)}')
    return RulePolicy(rules, Action(default))


def _check_request(request: object) -> None:
    instance("request", request, FlowRequest, "a FlowRequest")


def checked_verdict(given: object) -> Verdict:
    """Check a policy's verdict.

    Raises:
        ConfigError: not a Verdict.
    """
    if not isinstance(given, Verdict):
        raise ConfigError(
            f"the policy gave {given!r}; it must give a slirpy.Verdict, such as Verdict(Action.ALLOW)"
        )
    return given


def _check_ranges(ports: Any) -> None:
    pairs = ports if isinstance(ports, tuple | list) else [ports]
    for pair in pairs:
        numbers = isinstance(pair, tuple | list) and len(pair) == 2 and all(map(is_whole, pair))
        if not numbers or not 0 <= pair[0] <= pair[1] <= PORT_MAX:
            raise ConfigError(
                f"a rule's ports are ranges within 0 to 65535, such as ((80, 80),); given was {pair!r}"
            )


def parse_rule(text: str) -> Rule:
    """Read a rule.

    - ``allow [PROTOCOL:]DESTINATION[:PORTS]`` lets it through;
    - ``deny ...`` or ``reject ...`` refuses it with a RST or an ICMP error;
    - ``drop ...`` discards it silently;
    - ``redirect ...=ADDRESS[:PORT]`` sends it to an address as the host sees it; without PORT the port stays the
    same.

    PROTOCOL is ``tcp``, ``udp``, ``icmp``, or ``any``, the default. A protocol alone matches all of its traffic.
    DESTINATION is a network or address (IPv6 in brackets), or ``any``, ``host``, ``loopback``, ``private``,
    ``link-local``, ``metadata``: see :class:`Rule`. PORTS are numbers and ranges: ``80,443,8000-8010``. ADDRESS
    may be ``host``, for 127.0.0.1.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("rule", text)
    verb, _, rest = text.strip().partition(" ")
    try:
        if verb not in _VERBS:
            raise ConfigError(f'"{verb}" is not one of {", ".join(_VERBS)}')
        rest = rest.strip()
        redirect = None
        if verb == "redirect":
            rest, equals, target = rest.partition("=")
            if not equals:
                raise ConfigError('where does it lead? add "=ADDRESS[:PORT]", such as =127.0.0.1:8080')
            redirect = _target(target.strip())
        protocol, destination, ports = _split(rest.strip())
        return Rule(_VERBS[verb], destination, protocol, ports, redirect)
    except ConfigError as error:
        raise ConfigError(f'rule "{text}": {error}') from None


def _split(text: str) -> tuple[IPProtocol | None, str, tuple[tuple[int, int], ...]]:
    """Split into protocol, destination and ports. The first of two parts is the protocol if it names one."""
    if text in _PROTOCOLS:
        return _PROTOCOLS[text], _ANY, ()
    match = _PARTS.fullmatch(text)
    if match is None:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(f'"{text}" is malformed; {_HELP}') from None
        raise ConfigError(f"IPv6 stands in brackets: [{network}]")
    name, destination, ports = match.groups()
    if name is None and ports is not None and destination in _PROTOCOLS:
        name, destination, ports = destination, ports, None
    if name is not None and name != _ANY and name not in _PROTOCOLS:
        raise ConfigError(f'protocol "{name}" is not one of {", ".join(_PROTOCOLS)}, any')
    if not destination:
        raise ConfigError(f'the destination is missing; "any" is all of them; {_HELP}')
    protocol = _PROTOCOLS.get(name or "")
    ranges = () if ports is None else tuple(parse_ports("port", part, 0) for part in ports.split(","))
    return protocol, _destination(destination), ranges


def _destination(text: str) -> str:
    """Parse a keyword, or a network in the usual notation."""
    if text in (_ANY, *_HOST) or text in WORDS:
        return text
    if text.isdigit():
        raise ConfigError(
            f'"{text}" stands where the destination does; for that port of all of them write any:{text}'
        )
    bare = text.removeprefix("[").removesuffix("]")
    _network(bare)
    network = ip_network(bare)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _network(text: str) -> tuple[int, int, int]:
    try:
        network = ip_network(text)
    except (ValueError, TypeError):
        try:
            near = ip_network(text, strict=False)
        except (ValueError, TypeError):
            words = ", ".join((_ANY, *_HOST, *WORDS))
            raise ConfigError(
                f'destination "{text}" is no network such as 203.0.113.0/24, and none of the words {words};'
                " rules on names are not built yet"
            ) from None
        raise ConfigError(
            f'destination "{text}" has bits beyond its prefix; write {near} for the network, or the address without /'
        ) from None
    if network.is_loopback:
        raise ConfigError(f"destination \"{text}\" is the guest's own loopback; write host for the host's")
    length = network.max_prefixlen // 8
    shift = network.max_prefixlen - network.prefixlen
    return length, shift, int(network.network_address) >> shift


def _target(text: str) -> tuple[IPAddress, int]:
    place = split_port(text)
    if place is None:
        raise ConfigError(f'target "{text}" is not ADDRESS[:PORT]; IPv6 stands in brackets')
    name, port = place
    try:
        address = _LOOPBACK if name in _HOST else ip_address(name)
    except ValueError:
        raise ConfigError(f'target "{name}" is neither an address nor "host"') from None
    number = 0 if port is None else decimal(port, 1, PORT_MAX)
    if number is None:
        raise ConfigError(f'port "{port}" of the target is not a number from 1 to {PORT_MAX}')
    return address, number
