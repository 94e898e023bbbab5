"""Rules as text."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from slirpy.addresses import IPAddress
from slirpy.config.policy.destination import ANY, HOST, PLAIN_WORDS, is_name, name_of, network_of
from slirpy.config.policy.rule import Rule
from slirpy.config.text import PORT_MAX, decimal, parse_ports, split_port
from slirpy.config.values import as_text
from slirpy.errors import ConfigError
from slirpy.interfaces import TLS_MODES, Action, IPProtocol

__all__ = ["parse_rule"]

_VERBS = {
    "allow": Action.ALLOW,
    "deny": Action.REJECT,
    "reject": Action.REJECT,
    "drop": Action.DROP,
    "redirect": Action.ALLOW,
    "ask": Action.ASK,
}
_PROTOCOLS = {"tcp": IPProtocol.TCP, "udp": IPProtocol.UDP, "icmp": IPProtocol.ICMP}
_PARTS = r"(?:([^:\[\]]*):)??(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:\[\]]*))?"
_LOOPBACK = IPv4Address("127.0.0.1")
_OPTIONS = ("tls=", "proxy=", "proxy-protocol")
_HELP = "write [tcp:|udp:|icmp:]DESTINATION[:PORTS], such as tcp:203.0.113.0/24:443 or example.org:443"


def parse_rule(text: str) -> Rule:
    """Read a rule.

    - ``allow [PROTOCOL:]DESTINATION[:PORTS]`` lets it through;
    - ``deny ...`` or ``reject ...`` refuses it with a RST or an ICMP error;
    - ``drop ...`` discards it silently;
    - ``ask ...`` holds it until somebody decides;
    - ``redirect ...=TARGET[:PORT]`` sends it to an address or a name as the host sees it; without PORT the port stays
    the same.

    PROTOCOL is ``tcp``, ``udp``, ``icmp``, ``quic``, or ``any``, the default. A protocol alone matches all of its
    traffic. DESTINATION is a network or address (IPv6 in brackets), a name (``example.org``, ``*.example.org``), or
    ``any``, ``host``, ``loopback``, ``self``, ``internet``, ``private``, ``link-local``, ``metadata``: see
    :class:`Rule`. PORTS are numbers and ranges: ``80,443,8000-8010``. TARGET may be ``host``, for 127.0.0.1.
    Behind a rule by name may stand ``tls=strict``, ``tls=ech``, ``tls=sni-optional`` or ``tls=off``; behind any that
    allows, ``proxy=URL`` or ``proxy=none``; behind one that redirects, ``proxy-protocol``: TCP connections begin with
    a header of the PROXY protocol, version 2.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("rule", text)
    verb, _, rest = text.strip().partition(" ")
    try:
        if verb not in _VERBS:
            raise ConfigError(f'"{verb}" is not one of {", ".join(_VERBS)}')
        rest, options = _options(rest.strip())
        redirect = None
        if verb == "redirect":
            rest, equals, target = rest.partition("=")
            if not equals:
                raise ConfigError('where does it lead? add "=TARGET[:PORT]", such as =127.0.0.1:8080')
            redirect = _target(target.strip())
        rest, quic = rest.strip(), False
        if rest == "quic" or rest.startswith("quic:"):
            rest, quic = "udp" + rest[len("quic") :], True
        protocol, destination, ports = _split(rest)
        return Rule(_VERBS[verb], destination, protocol, ports, redirect, quic=quic, **options)
    except ConfigError as error:
        raise ConfigError(f'rule "{text}": {error}') from None


def _options(text: str) -> tuple[str, dict[str, Any]]:
    """Split what follows the verb into the rule proper and its options."""
    rest, *words = text.split() or [""]
    options: dict[str, Any] = {}
    while words and words[-1].startswith(_OPTIONS):
        key, _, value = words.pop().partition("=")
        if key in options:
            raise ConfigError(f"{key} is given twice")
        if key == "tls" and value not in TLS_MODES:
            raise ConfigError(f'tls "{value}" is not one of {", ".join(TLS_MODES)}')
        if key == "proxy-protocol":
            options["proxy_header"] = True
            continue
        options[key] = value
    return " ".join((rest, *words)), options


def _split(text: str) -> tuple[IPProtocol | None, str, tuple[tuple[int, int], ...]]:
    """Split into protocol, destination and ports. The first of two parts is the protocol if it names one."""
    if text in _PROTOCOLS:
        return _PROTOCOLS[text], ANY, ()
    match = re.fullmatch(_PARTS, text)
    if match is None:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(f'"{text}" is malformed; {_HELP}') from None
        raise ConfigError(f"IPv6 stands in brackets: [{network}]")
    name, destination, ports = match.groups()
    if name is None and ports is not None and destination in _PROTOCOLS:
        name, destination, ports = destination, ports, None
    if name is not None and name != ANY and name not in _PROTOCOLS:
        raise ConfigError(f'protocol "{name}" is not one of {", ".join(_PROTOCOLS)}, any')
    if not destination:
        raise ConfigError(f'the destination is missing; "any" is all of them; {_HELP}')
    protocol = _PROTOCOLS.get(name or "")
    ranges = () if ports is None else tuple(parse_ports("port", part, 0) for part in ports.split(","))
    return protocol, _destination(destination), ranges


def _destination(text: str) -> str:
    """Parse a keyword, a name, or a network in the usual notation."""
    if text in PLAIN_WORDS or is_name(text):
        return text
    if text.isdigit():
        raise ConfigError(
            f'"{text}" stands where the destination does; for that port of all of them write any:{text}'
        )
    bare = text.removeprefix("[").removesuffix("]")
    network_of(bare)
    network = ip_network(bare)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _target(text: str) -> tuple[IPAddress | str, int]:
    place = split_port(text)
    if place is None:
        raise ConfigError(f'target "{text}" is not ADDRESS[:PORT] or NAME[:PORT]; IPv6 stands in brackets')
    name, port = place
    if name.startswith("*"):
        raise ConfigError(f'target "{name}" is a pattern of names; write one name')
    address: IPAddress | str = _LOOPBACK
    try:
        if is_name(name):
            address = name_of(name) + "."
        elif name not in HOST:
            address = ip_address(name)
    except ValueError:
        raise ConfigError(
            f'target "{name}" is neither an address, nor a name such as proxy.example, nor "host"'
        ) from None
    number = 0 if port is None else decimal(port, 1, PORT_MAX)
    if number is None:
        raise ConfigError(f'port "{port}" of the target is not a number from 1 to {PORT_MAX}')
    return address, number
