"""The option strings of QEMU's ``-netdev user,...``."""

from __future__ import annotations

from collections.abc import Container
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from slirpy.config.kinds import Several, Switch
from slirpy.config.options import OPTIONS
from slirpy.config.optionstring import read_options, read_switch
from slirpy.config.text import hint
from slirpy.errors import ConfigError

__all__ = ["KEYS", "OLDER", "REPEATED", "SWITCHES", "fill_in", "in_keys", "read_qemu"]

_WITH_KEY = [option for option in OPTIONS if option.qemu is not None]
SWITCHES = {str(option.qemu): option.name for option in _WITH_KEY if isinstance(option.kind, Switch)}
"""Keys that are on or off, and the option of :class:`slirpy.Config` for each."""
REPEATED = {str(option.qemu): option.name for option in _WITH_KEY if isinstance(option.kind, Several)}
"""Keys that may be given several times."""
KEYS = {str(option.qemu): option.name for option in _WITH_KEY if not isinstance(option.kind, Switch | Several)}
"""Keys with one value."""
OLDER = ("ipv6-prefix", "ipv6-prefixlen")
"""The two keys of QEMU's schema that ``ipv6-net`` sets together."""
OF_THE_CARD = ("model", "mac", "macaddr", "addr", "vectors", "netdev")
"""Keys of ``-nic`` and ``-device`` that describe the guest's card."""

_HOST, _DNS, _SMB, _POOL = 0x0202, 0x0203, 0x0204, 0x020F
_CLASSES = (
    ("0.0.0.0/1", 8), ("172.16.0.0/12", 12), ("128.0.0.0/2", 16), ("192.168.0.0/16", 16), ("198.18.0.0/15", 15),
    ("192.0.0.0/3", 24),
)  # fmt: skip
"""Networks, and the prefix length of addresses within them that are written without one. The first match counts."""


def read_qemu(options: str) -> dict[str, Any]:
    """Convert QEMU's options, with or without the leading ``user``, to arguments of :class:`slirpy.Config`.

    Raises:
        ConfigError: an unknown key (the nearest is named), a value that is missing, or JSON that cannot be read.
    """
    given: dict[str, Any] = {}
    prefix6: dict[str, str] = {}
    for number, (key, value) in enumerate(read_options(options)):
        item = key if value is None else f"{key}={value}"
        if item == "type=user" or (number == 0 and item == "user") or key == "id":
            continue  # the kind of network, and a name for QEMU's own use
        if key == "type":
            raise ConfigError(f'"{item}": this is about another kind of network; only "user" is read here')
        if value is None:
            key, value = _alone(key)
        if key in REPEATED:
            given.setdefault(REPEATED[key], []).append(value)
        elif key in KEYS:
            given[KEYS[key]] = value
        elif key in SWITCHES:
            if (on := read_switch(value)) is None:
                raise ConfigError(f'"{item}": "{value}" is neither on nor off')
            given[SWITCHES[key]] = on
        elif key == "ip":
            given.setdefault("net", f"{value}/24")  # deprecated; net takes precedence, wherever it is
        elif key in OLDER:
            prefix6[key] = value
        elif key in OF_THE_CARD:
            raise ConfigError(
                f'"{item}": {key} is an option of the guest\'s card (-nic, -device), not of its network'
            )
        else:
            known = (*KEYS, *SWITCHES, *REPEATED)
            advice = hint(key, known, f"known are {', '.join(KEYS)}")
            raise ConfigError(f'"{item}": unknown option "{key}"; {advice}')
    if "net" in given:
        given["net"] = _with_mask(given["net"])
    if prefix6:
        address, length = prefix6.get("ipv6-prefix", "fec0::"), prefix6.get("ipv6-prefixlen", "64")
        given.setdefault("net6", f"{address}/{length}")
    _choose_family(given)
    return given


def _choose_family(given: dict[str, Any]) -> None:
    """Switch the other family off if only one was switched on: QEMU reads ``ipv6=on`` as IPv6 alone."""
    for family, other in (("ipv4", "ipv6"), ("ipv6", "ipv4")):
        if given.get(family) and other not in given:
            given[other] = False


def _alone(word: str) -> tuple[str, str]:
    """Read a key without a value: on, or off with "no" before it. Only switches may stand alone."""
    if word in SWITCHES:
        return word, "on"
    if word.startswith("no") and word[2:] in SWITCHES:
        return word[2:], "off"
    if word in (*KEYS, *REPEATED, *OLDER):
        raise ConfigError(f'"{word}" has no value; write {word}=VALUE')
    return word, ""


def _with_mask(net: str) -> str:
    """Add the mask to a network without one: that of its class, or of the private network that contains it."""
    try:
        address = IPv4Address(net)
    except ValueError:
        return net  # with a mask, or not a network at all
    for known, prefix in _CLASSES:
        if address in IPv4Network(known):
            return str(IPv4Network((address, prefix), strict=False))
    return f"{net}/28"


def fill_in(given: dict[str, Any]) -> dict[str, Any]:
    """Add the addresses that QEMU chooses, where :class:`slirpy.Config` would choose others.

    In a network larger than a /24 they end in .2.2, .2.3, .2.4 and .2.15. A guestfwd without a server gets the
    fourth of them.
    """
    try:
        net = IPv4Network(given.get("net", "10.0.2.0/24"), strict=False)
    except (TypeError, ValueError):
        return given  # an error of the caller, which Config reports
    host_bits = int(net.hostmask)
    filled = dict(given)
    if net.prefixlen < 24:
        chosen = {"host": _HOST, "dns": _DNS, "dhcpstart": _POOL} | (
            {"smbserver": _SMB} if "smb" in given else {}
        )
        taken = {str(given[name]) for name in chosen if given.get(name) is not None}
        for name, ending in chosen.items():
            address = str(net.network_address + (ending & host_bits))
            if given.get(name) is None and address not in taken:
                filled[name] = address
    if "guestfwd" in given:
        server = net.network_address + (_SMB & host_bits)
        filled["guestfwd"] = [_with_server(rule, str(server)) for rule in given["guestfwd"]]
    return filled


def in_keys(text: str, more: Container[str]) -> str:
    """Rewrite a message about an option in QEMU's terms.

    Args:
        text: the message.
        more: names of options that did not come from QEMU's string.
    """
    for key, name in KEYS.items():
        if key != name and name not in more:
            text = text.replace(name, key)
    return text


def _with_server(rule: Any, server: str) -> Any:
    """A rule ``tcp::80-...`` or ``tcp:0.0.0.0:80-...``, which has a server in QEMU nevertheless."""
    if not isinstance(rule, str):
        return rule
    protocol, colon, rest = rule.partition(":")
    named, second, target = rest.partition(":")
    return f"{protocol}:{server}:{target}" if colon and second and named in ("", "0.0.0.0") else rule
