"""Destinations of rules: networks, words and names."""

from __future__ import annotations

from ipaddress import ip_network

from slirpy.config.dnsrecord import name_from_wire, name_to_wire
from slirpy.config.special import WORDS
from slirpy.errors import ConfigError

__all__ = ["ANY", "HOST", "INTERNET", "PLAIN_WORDS", "SELF", "is_name", "name_of", "network_of"]

ANY, INTERNET, SELF = "any", "internet", "self"
HOST = ("host", "loopback")
PLAIN_WORDS = (ANY, *HOST, INTERNET, SELF, *WORDS)
_NOT_IN_NAMES = frozenset("/:*[] \t")


def is_name(text: str) -> bool:
    """Report whether the text of a destination is a name, or a pattern of names, and no network or word.

    It has labels with dots between, the last of which is not a number. A single label needs a full stop behind it.
    """
    rest = text.removeprefix("*.")
    labels = rest.removesuffix(".").split(".")
    if text in PLAIN_WORDS or not all(labels) or not _NOT_IN_NAMES.isdisjoint(rest):
        return False
    return (len(labels) > 1 or len(text) > len(labels[0])) and not labels[-1].isdigit()


def name_of(text: str) -> str:
    """Return a name, or a pattern of names, in the form in which names of flows are compared.

    That is lower case, ASCII (names in other scripts as RFC 3490 says), without a full stop at the end.

    Raises:
        ConfigError: DNS has no such names.
    """
    star = "*." if text.startswith("*.") else ""
    try:
        return star + name_from_wire(name_to_wire(text.removeprefix("*.").lower()))
    except ValueError as error:
        raise ConfigError(f"destination: {error}") from None


def network_of(text: str) -> tuple[int, int, int]:
    """Return the address length in bytes, the right shift, and the remaining prefix of a network.

    Raises:
        ConfigError: not a network.
    """
    try:
        network = ip_network(text)
    except (ValueError, TypeError):
        try:
            near = ip_network(text, strict=False)
        except (ValueError, TypeError):
            words = ", ".join(PLAIN_WORDS)
            raise ConfigError(
                f'destination "{text}" is no network such as 203.0.113.0/24, no name such as example.org or'
                f" *.example.org, and none of the words {words}"
            ) from None
        raise ConfigError(
            f'destination "{text}" has bits beyond its prefix; write {near} for the network, or the address without /'
        ) from None
    if network.is_loopback:
        raise ConfigError(f"destination \"{text}\" is the guest's own loopback; write host for the host's")
    length = network.max_prefixlen // 8
    shift = network.max_prefixlen - network.prefixlen
    return length, shift, int(network.network_address) >> shift
