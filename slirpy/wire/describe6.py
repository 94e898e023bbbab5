"""ICMPv6 and DHCPv6 messages in words, for :mod:`slirpy.wire.describe`.

They are described as far as they can be read: a message that a receiver would discard is still named.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from struct import Struct

from slirpy.wire import dhcp6, icmpv6, ipv6, mld, ndp
from slirpy.wire.ndpoption import Options, read_options

__all__ = ["dhcpv6", "icmp6"]

_ICMP = Struct("!BBHHH")
_ROUTER_ADVERTISEMENT = Struct("!BBH")
_TARGET_END, _OPTIONS_OF_RS, _OPTIONS_OF_RA, _DESTINATION_END = 24, 8, 16, 40
_UNREACHABLE = (
    "no route",
    "admin prohibited",
    "beyond scope",
    "address",
    "port",
    "source policy",
    "reject route",
)
_PROBLEMS = ("field", "next header", "option", "incomplete header chain")
_FLAGS = ((0x80, "router"), (0x40, "solicited"), (0x20, "override"))
_RA_FLAGS = ((0x80, "managed"), (0x40, "other"))
_PROTOCOLS = {6: "TCP", 17: "UDP", ipv6.ICMPV6: "ICMP6"}
_KINDS = ("", "Solicit", "Advertise", "Request", "Confirm", "Renew", "Rebind", "Reply", "Release", "Decline",
    "Reconfigure", "Information-request", "Relay-forward", "Relay-reply")  # fmt: skip


def icmp6(data: memoryview) -> str:
    """Describe a message of eight bytes at least."""
    kind, code, _, first, second = _ICMP.unpack_from(data)
    if kind in (icmpv6.ECHO_REQUEST, icmpv6.ECHO_REPLY):
        what = "request" if kind == icmpv6.ECHO_REQUEST else "reply"
        return f"ICMP6 echo {what}, id {first}, seq {second}, length {len(data)}"
    what = _message(kind, data) if kind >= 128 else _error(kind, code, first << 16 | second, data)
    return f"ICMP6 {what}, length {len(data)}"


def _error(kind: int, code: int, word: int, data: memoryview) -> str:
    if kind == icmpv6.UNREACHABLE:
        what = f"unreachable - {_UNREACHABLE[code] if code < len(_UNREACHABLE) else f'code {code}'}"
    elif kind == icmpv6.PACKET_TOO_BIG:
        what = f"packet too big (mtu {word})"
    elif kind == icmpv6.TIME_EXCEEDED:
        what = "time exceeded " + ("in reassembly" if code == icmpv6.REASSEMBLY_TIME else "in transit")
    elif kind == icmpv6.PARAMETER_PROBLEM:
        what = f"parameter problem - {_PROBLEMS[code] if code < len(_PROBLEMS) else f'code {code}'} at {word}"
    else:
        return f"type {kind} code {code}"
    quote = icmpv6.read_quote(data[icmpv6.HEADER_LENGTH :])
    if quote is None:
        return what
    what += f", for {_PROTOCOLS.get(quote.protocol, quote.protocol)} to {IPv6Address(quote.destination)}"
    if quote.protocol in (6, 17) and not quote.fragment_offset:
        what += f".{int.from_bytes(quote.transport[2:4], 'big')}"
    return what


def _message(kind: int, data: memoryview) -> str:
    if kind == ndp.ROUTER_SOLICITATION:
        return "router solicitation" + _link(read_options(data[_OPTIONS_OF_RS:]))
    if kind == ndp.ROUTER_ADVERTISEMENT and len(data) >= _OPTIONS_OF_RA:
        return _advertisement(data)
    if kind in (ndp.NEIGHBOR_SOLICITATION, ndp.NEIGHBOR_ADVERTISEMENT) and len(data) >= _TARGET_END:
        target, options = IPv6Address(bytes(data[8:_TARGET_END])), read_options(data[_TARGET_END:])
        if kind == ndp.NEIGHBOR_SOLICITATION:
            return f"neighbor solicitation, who has {target}{_link(options)}"
        return f"neighbor advertisement, tgt is {target}{_names(_FLAGS, data[4])}{_link(options)}"
    if kind == ndp.REDIRECT and len(data) >= _DESTINATION_END:
        destination = IPv6Address(bytes(data[_TARGET_END:_DESTINATION_END]))
        return f"redirect, {destination} to {IPv6Address(bytes(data[8:_TARGET_END]))}"
    if kind == mld.REPORT_V2:
        return f"multicast listener report v2, {data[6] << 8 | data[7]} group record(s)"
    if kind in _LISTENERS and len(data) >= _TARGET_END:
        return f"multicast listener {_LISTENERS[kind]}, group {IPv6Address(bytes(data[8:_TARGET_END]))}"
    return f"type {kind} code {data[1]}"


_LISTENERS = {mld.QUERY: "query", mld.REPORT: "report", mld.DONE: "done"}


def _advertisement(data: memoryview) -> str:
    hop_limit, flags, lifetime = _ROUTER_ADVERTISEMENT.unpack_from(data, 4)
    what = f"router advertisement, lifetime {lifetime}s, hop limit {hop_limit}{_names(_RA_FLAGS, flags)}"
    options = read_options(data[_OPTIONS_OF_RA:])
    if options is None:
        return what
    for prefix in options.prefixes:
        what += f", prefix {IPv6Address(prefix.prefix)}/{prefix.length}"
    if options.mtu is not None:
        what += f", mtu {options.mtu}"
    for rdnss in options.rdnss:
        what += "".join(f", dns {IPv6Address(address)}" for address in rdnss.addresses)
    for dnssl in options.dnssl:
        what += f", search {' '.join(dnssl.names)}"
    for pref64 in options.pref64:
        what += f", nat64 {IPv6Address(pref64.prefix)}/{pref64.length}"
    return what + _link(options)


def _names(flags: tuple[tuple[int, str], ...], value: int) -> str:
    names = " ".join(name for bit, name in flags if value & bit)
    return f", flags [{names}]" if names else ""


def _link(options: Options | None) -> str:
    mac = None if options is None else options.source_mac or options.target_mac
    return "" if mac is None else f", at {mac.hex(':')}"


def dhcpv6(data: memoryview) -> str:
    """Describe a DHCPv6 message of four bytes at least; a relay agent's by the client's message in it."""
    kind = data[0]
    name = _name(kind)
    if kind in (dhcp6.RELAY_FORWARD, dhcp6.RELAY_REPLY):
        inner = dhcp6.read_relayed(data)
        return f"DHCPv6 {name}" + ("" if inner is None else f" of {_name(inner[0].kind)}")
    line = f"DHCPv6 {name}, xid 0x{bytes(data[1:4]).hex()}"
    message = dhcp6.read_message(data)
    if message is None:
        return line
    for association in message.associations:
        for address in association.addresses:
            line += f", address {IPv6Address(address.address)}"
        if association.status is not None:
            line += f", status {association.status.code}"
    return line if message.status is None else f"{line}, status {message.status.code}"


def _name(kind: int) -> str:
    return _KINDS[kind] if 0 < kind < len(_KINDS) else f"type {kind}"
