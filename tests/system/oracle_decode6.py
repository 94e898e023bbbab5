"""ICMPv6, Neighbor Discovery and DHCPv6 as named fields; see :mod:`tests.system.oracle_decode`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from tests.system.oracle_text import address, mac, text

__all__ = ["dhcp6", "icmp6"]

_NDP = {133: ("rs", 8), 134: ("ra", 16), 135: ("ns", 24), 136: ("na", 24), 137: ("redirect", 40)}
_NDP_OPTIONS = {
    1: "source link",
    2: "target link",
    3: "prefix",
    5: "mtu",
    25: "rdnss",
    31: "dnssl",
    38: "pref64",
}
_DHCP_KINDS = ("?", "SOLICIT", "ADVERTISE", "REQUEST", "CONFIRM", "RENEW", "REBIND", "REPLY")
_CLIENT_ID, _SERVER_ID, _DNS, _URL = 1, 2, 23, 59


def icmp6(body: bytes, fields: dict[str, str], port: Callable[[int], str]) -> str:
    """A message: its name, and its fields but for the checksum."""
    kind, code = body[0], body[1]
    if kind in (128, 129):
        fields["icmp.id"], fields["icmp.seq"] = (str(int.from_bytes(body[at : at + 2], "big")) for at in (4, 6))
        fields["icmp.data"] = text(body[8:])
        return f"icmp6 echo {'request' if kind == 128 else 'reply'}"
    if kind in _NDP:
        return _ndp(body, fields)
    fields["icmp.rest"] = body[4:8].hex()
    if kind < 128:
        quoted = body[8:]
        protocol = quoted[6]
        fields["icmp.quoted header"] = f"{address(quoted[8:24])} > {address(quoted[24:40])} protocol {protocol}"
        fields["icmp.quoted ttl"] = str(quoted[7])
        ports = struct.unpack("!HH", quoted[40:44]) if protocol in (6, 17) else ()
        fields["icmp.quoted ports"] = " > ".join(map(port, ports)) or "none"
        fields["icmp.quoted bytes"] = str(len(quoted))
    return f"icmp6 {kind}/{code}"


def _ndp(body: bytes, fields: dict[str, str]) -> str:
    name, length = _NDP[body[0]]
    fields["ndp.code"] = str(body[1])
    if name == "ra":
        fields["ndp.hop limit"], fields["ndp.flags"] = str(body[4]), f"{body[5]:#04x}"
        lifetime, reachable, retransmit = struct.unpack("!HII", body[6:16])
        fields["ndp.lifetime"] = f"{lifetime} s"
        fields["ndp.timers"] = f"{reachable} {retransmit}"
    elif name != "rs":
        fields["ndp.flags"] = f"{body[4]:#04x}"
        fields["ndp.target"] = address(body[8:24])
    for kind, value in _options(body[length:]):
        fields[f"ndp.{_NDP_OPTIONS.get(kind, kind)}"] = _value(kind, value)
    return f"ndp {name}"


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        yield data[0], data[2 : data[1] * 8]
        data = data[data[1] * 8 :]


def _value(kind: int, value: bytes) -> str:
    if kind in (1, 2):
        return mac(value)
    if kind == 3:
        length, flags, valid, preferred = struct.unpack("!BBII", value[:10])
        return f"{address(value[14:30])}/{length} flags {flags:#04x} valid {valid} preferred {preferred}"
    if kind == 5:
        return str(int.from_bytes(value[2:], "big"))
    if kind == 25:
        servers = (address(value[at : at + 16]) for at in range(6, len(value), 16))
        return f"{int.from_bytes(value[2:6], 'big')} s {' '.join(servers)}"
    return value.hex()


def dhcp6(data: bytes, fields: dict[str, str]) -> str:
    """A message of a DHCPv6 server."""
    kind = data[0]
    fields["dhcp.xid"] = data[1:4].hex()
    rest, order = data[4:], []
    while len(rest) >= 4:
        code, length = struct.unpack("!HH", rest[:4])
        value, rest = rest[4 : 4 + length], rest[4 + length :]
        order.append(code)
        if code in (_CLIENT_ID, _SERVER_ID):
            shown = value.hex()
        elif code == _DNS:
            shown = " ".join(address(value[at : at + 16]) for at in range(0, length, 16))
        else:
            shown = value.decode("ascii", "replace") if code == _URL else value.hex()
        fields[f"dhcp.option {code}"] = shown
    if rest:
        fields["dhcp.left over"] = rest.hex()
    return f"dhcp6 {_DHCP_KINDS[kind] if kind < len(_DHCP_KINDS) else kind}"
