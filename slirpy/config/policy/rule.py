"""One rule of a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slirpy.addresses import AnyAddress, IPAddress, redirect_target
from slirpy.checks import instance, is_whole, switch
from slirpy.config.embedded import embedded_ipv4
from slirpy.config.policy.destination import ANY, HOST, INTERNET, SELF, is_name, name_of, network_of
from slirpy.config.proxy import parse_proxy
from slirpy.config.special import WORDS, is_internet, is_near
from slirpy.config.text import PORT_MAX, bracketed
from slirpy.errors import ConfigError
from slirpy.interfaces import TLS_MODES, Action, FlowRequest, IPProtocol, Verdict

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass, field
else:
    from dataclasses import dataclass, field

__all__ = ["QUIC_PORT", "Rule"]

_LOOPBACKS = ((4, 24, 127), (4, 24, 0))
"""Networks in the form of ``Rule._networks`` by which a host means itself."""
_REFUSALS = (Action.REJECT, Action.DROP)
QUIC_PORT = 443


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """One rule of a :class:`RulePolicy`. Its action applies to flows that match all of its parts.

    Raises:
        ConfigError: an invalid part; the text says which.
    """

    action: Action
    destination: str
    """One of three:

    - a network or address, such as ``"203.0.113.0/24"``, as the guest names it;
    - a name, ``"example.org"``, or all names below it at any depth, ``"*.example.org"``, which does not include
      ``example.org`` itself. Case does not matter. A single label needs a full stop: ``"server."``;
    - a word: ``any``; ``host`` (or ``loopback``), the gateway, behind which is the host's loopback; ``self``, every
      address of this host, ``host`` included; ``internet``, the global unicast addresses outside of all special
      ranges and not of this host; ``private``, ``link-local``, ``metadata``, which do not include the gateway,
      whatever its address is.

    A rule that allows ``any``, and does not redirect, leaves out ``self``, ``link-local`` and ``metadata``; the
    networks ``0.0.0.0/0`` and ``::/0`` leave out nothing."""
    protocol: IPProtocol | None
    """IP protocol; None: any."""
    ports: tuple[tuple[int, int], ...]
    """First and last port of each range, 0 to 65535; empty: all. ICMP has none, so it never matches such a rule."""
    redirect: tuple[IPAddress | str, int] | None
    """With ``Action.ALLOW``: the address and port, as the host sees them, to which the flow is sent instead of its
    destination. The address may be given as text, an :mod:`ipaddress` object, or bytes; or it is the name of a host,
    see :attr:`Verdict.redirect`. Port 0 keeps the port."""
    tls: str
    """For a destination by name, what a client must say first: ``"strict"``, ``"sni-optional"`` or ``"off"``; see
    :attr:`Verdict.tls`."""
    quic: bool
    """True for UDP that is QUIC, and so says a name first. Other rules by name allow no UDP to port 443, unless
    ``tls`` is ``"off"``: clients then fall back to TCP."""
    proxy: str | None
    """See :attr:`Verdict.proxy`."""
    proxy_header: bool
    """See :attr:`Verdict.proxy_header`."""
    _networks: tuple[tuple[int, int, int], ...] = field(repr=False, compare=False)
    """Address length in bytes, right shift, and the remaining prefix."""
    _latest: Verdict | None = field(repr=False, compare=False)
    """The verdict that the rule gave last."""
    by_name: bool = field(repr=False, compare=False)
    """True if the destination is a name, or a pattern of names."""

    def __init__(
        self,
        action: Action,
        destination: str = ANY,
        protocol: int | None = None,
        ports: Sequence[tuple[int, int]] = (),
        redirect: tuple[AnyAddress, int] | None = None,
        *,
        tls: str = "strict",
        quic: bool = False,
        proxy: str | None = None,
        proxy_header: bool = False,
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
        by_name = is_name(destination)
        if by_name:
            destination = name_of(destination)
        if tls not in TLS_MODES:
            raise ConfigError(f"a rule's tls is one of {', '.join(TLS_MODES)}; given was {tls!r}")
        if tls != "strict" and not by_name:
            raise ConfigError(f"tls={tls} is for rules by name, and {destination} is none")
        if switch("quic", quic) and (not by_name or protocol not in (None, IPProtocol.UDP)):
            raise ConfigError(f"quic is UDP to a name, and {destination} is none; write udp for addresses")
        if quic:
            _load_cryptography()
            protocol, ports = IPProtocol.UDP, ports or ((443, 443),)
        if not isinstance(proxy, str | None) or proxy == "":
            raise ConfigError(f'a rule\'s proxy is a URL, "none", or None for that of all; given was {proxy!r}')
        if proxy == "none":
            proxy = ""
        elif proxy is not None:
            parse_proxy(proxy)
        if switch("proxy_header", proxy_header) and redirect is None:
            raise ConfigError("a header of the PROXY protocol is for rules that redirect")
        without = by_name or destination in (ANY, INTERNET, SELF, *HOST)
        networks = tuple(map(network_of, () if without else WORDS.get(destination, (destination,))))
        if destination in HOST:
            networks = _LOOPBACKS
        put = object.__setattr__
        put(self, "action", action)
        put(self, "destination", destination)
        put(self, "protocol", None if protocol is None else IPProtocol(protocol))
        put(self, "ports", tuple((first, last) for first, last in ports))
        put(self, "redirect", None if redirect is None else redirect_target("a rule's redirect", redirect))
        put(self, "tls", tls)
        put(self, "quic", quic)
        put(self, "proxy", proxy)
        put(self, "proxy_header", proxy_header)
        put(self, "by_name", by_name)
        put(self, "_latest", None)
        put(self, "_networks", networks)

    def matches(self, request: FlowRequest) -> bool:
        """Report whether the rule matches this flow.

        Raises:
            ConfigError: not a FlowRequest.
        """
        _check_request(request)
        if not self.may_match(request):
            return False
        destination = self.destination
        if self.by_name:
            return any(self.matches_name(name) for name in request.names)
        if destination == ANY:
            return not self.stays_outside or _is_outside(request)
        if destination == SELF:  # a translator may lead to this host, which is no reason to allow it
            return request.own and (
                request.host or self.action in _REFUSALS or not _leads_on(request.destination_bytes)
            )
        if destination == INTERNET:
            return not request.host and is_internet(request.destination_bytes) and not request.own
        if request.host and (destination in HOST or destination in WORDS):
            return destination in HOST
        address = request.destination_bytes
        if destination not in HOST and self._holds(len(address), int.from_bytes(address, "big")):
            return True
        return (
            len(address) == 16
            and self.action in _REFUSALS
            and any(self._holds(4, number) for number in embedded_ipv4(address))
        )

    def may_match(self, request: FlowRequest) -> bool:
        """Report whether protocol and port of a flow match."""
        protocol, port = request.protocol, request.destination_port
        if self.protocol is not None and protocol != self.protocol:
            return False
        if self.ports and (
            protocol == IPProtocol.ICMP or not any(first <= port <= last for first, last in self.ports)
        ):
            return False
        if self.by_name and port == QUIC_PORT and protocol == IPProtocol.UDP and not self.quic:
            return self.action in _REFUSALS or self.tls == "off" or self.redirect is not None
        return True

    @property
    def stays_outside(self) -> bool:
        """True if the rule allows ``any``: that leaves out this host, link-local addresses, and metadata services."""
        return self.destination == ANY and self.action is Action.ALLOW and self.redirect is None

    @property
    def refuses_all(self) -> bool:
        """True if the rule refuses every flow."""
        everything = self.destination == ANY and self.protocol is None and not self.ports
        return everything and self.action in _REFUSALS

    @property
    def opens_one_address(self) -> bool:
        """True if the rule allows one address, which is its destination."""
        plain = self.action is Action.ALLOW and self.redirect is None and self.destination not in WORDS
        return plain and len(self._networks) == 1 and self._networks[0][1] == 0

    def matches_name(self, name: str) -> bool:
        """Report whether the destination, a name or a pattern, includes a name."""
        pattern = self.destination
        return (
            name.endswith(pattern[1:]) and len(name) >= len(pattern) if pattern[0] == "*" else name == pattern
        )

    def _holds(self, length: int, number: int) -> bool:
        """Report whether an address of ``length`` bytes is in one of the networks."""
        return any(size == length and number >> shift == prefix for size, shift, prefix in self._networks)

    def holds_all_of(self, other: Rule) -> bool:
        """Report whether the networks of this rule include those of another."""
        return bool(other._networks) and all(
            any(
                size == length and shift <= wider and prefix >> (wider - shift) == number
                for size, wider, number in self._networks
            )
            for length, shift, prefix in other._networks
        )

    def leads_as(self, other: Rule) -> bool:
        """Report whether flows that match go where those of another rule go, after the same questions."""
        mine, others = ((rule.action, rule.redirect, rule.proxy, rule.proxy_header) for rule in (self, other))
        return mine == others

    def verdict(self, request: FlowRequest) -> Verdict:
        """The verdict for a flow that matches.

        Raises:
            ConfigError: not a FlowRequest.
        """
        _check_request(request)
        names = tuple(filter(self.matches_name, request.names)) if self.by_name else ()
        return self.verdict_for(request, names, self.tls)

    def verdict_for(self, request: FlowRequest, names: tuple[str, ...], tls: str) -> Verdict:
        """The verdict for a flow that matches because of ``names``. Most flows get the same object as the last."""
        latest = self._latest
        if latest is not None and latest.names == names and latest.tls == tls and latest.redirect is None:
            return latest
        latest = self._new_verdict(request, names, tls)
        object.__setattr__(self, "_latest", latest)
        return latest

    def _new_verdict(self, request: FlowRequest, names: tuple[str, ...], tls: str) -> Verdict:
        text = str(self)
        if self.action in _REFUSALS:
            return Verdict(self.action, reason=text, rule=text)
        redirect = None
        if self.redirect is not None:
            address, port = self.redirect
            redirect = address, port or request.destination_port
        return Verdict._of_rule(self.action, redirect, text, names, tls, self.proxy, self.proxy_header)

    def __str__(self) -> str:
        """The rule as :func:`parse_rule` reads it."""
        return self._written() if self._latest is None else self._latest.rule

    def _written(self) -> str:
        verb = self.action.value if self.redirect is None else "redirect"
        protocol = f"{self.protocol.name.lower()}:" if self.protocol is not None else ""
        if self.quic:
            protocol = "quic:"
        ranges = (str(first) if first == last else f"{first}-{last}" for first, last in self.ports)
        ports = ":" + ",".join(ranges) if self.ports else ""
        target = ""
        if self.redirect is not None:
            address, port = self.redirect
            dot = "." if isinstance(address, str) and "." not in address else ""
            target = "=" + bracketed(address) + dot + (f":{port}" if port else "")
        destination = bracketed(self.destination)
        if self.by_name and "." not in destination:
            destination += "."  # a label alone could be a word
        if self.tls != "strict":
            target += f" tls={self.tls}"
        if self.proxy is not None:
            target += f" proxy={self.proxy or 'none'}"
        if self.proxy_header:
            target += " proxy-protocol"
        return f"{verb} {protocol}{destination}{ports}{target}"


def _is_outside(request: FlowRequest) -> bool:
    """Report whether a flow leads to other hosts, and to none that serves this one alone."""
    return not (request.host or is_near(request.destination_bytes) or request.own)


def _leads_on(address: bytes) -> bool:
    """Report whether an address may lead to an IPv4 host."""
    return len(address) == 16 and bool(embedded_ipv4(address))


def _load_cryptography() -> None:
    """Load the library that opens QUIC's packets, now rather than in the sandbox.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401 - an extra, which few need
    except ImportError:
        raise ConfigError("quic needs the package cryptography; run: pip install 'slirpy[quic]'") from None


def _check_request(request: object) -> None:
    instance("request", request, FlowRequest, "a FlowRequest")


def _check_ranges(ports: Any) -> None:
    pairs = ports if isinstance(ports, tuple | list) else [ports]
    for pair in pairs:
        numbers = isinstance(pair, tuple | list) and len(pair) == 2 and all(map(is_whole, pair))
        if not numbers or not 0 <= pair[0] <= pair[1] <= PORT_MAX:
            raise ConfigError(
                f"a rule's ports are ranges within 0 to 65535, such as ((80, 80),); given was {pair!r}"
            )
