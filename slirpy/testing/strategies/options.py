"""Values of options, and QEMU's option strings, from the table of slirpy's options."""

from __future__ import annotations

import string
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any, TypeAlias

from hypothesis import strategies as st

from slirpy import (
    DhcpOption,
    DnsRecord,
    GuestForward,
    GuestRoute,
    HostForward,
    Outbound,
    Proxy,
    Resolver,
    StaticLease,
)
from slirpy.config import Option, kinds, option
from slirpy.testing.strategies import building
from slirpy.testing.strategies.building import ports
from slirpy.testing.strategies.names import labels, names

__all__ = [
    "IN_RANGE",
    "NET",
    "NET6",
    "TEXTS",
    "Values",
    "far",
    "guests",
    "macs",
    "option_strings",
    "option_values",
]

Values: TypeAlias = st.SearchStrategy[Any]

NET = IPv4Network("10.0.2.0/24")
NET6 = IPv6Network("fec0::/64")
_SERVERS = {IPv4Address(f"10.0.2.{number}") for number in (2, 3, 4)}

guests = st.integers(1, 254).map(lambda number: NET[number]).filter(lambda address: address not in _SERVERS)
far = st.integers(1, 254).map(lambda number: f"192.0.2.{number}")
macs = st.binary(min_size=5, max_size=5).map(lambda rest: "52:" + rest.hex(":"))

TEXTS: dict[type, Values] = {
    HostForward: st.builds(
        "{}:{}:{}-{}:{}".format,
        st.sampled_from(("tcp", "udp", "")),
        st.one_of(st.just(""), far),
        st.integers(0, 65535),
        st.one_of(st.just(""), guests),
        ports,
    ),
    GuestForward: st.builds(
        "tcp:{}:{}-{}".format,
        st.one_of(guests, far, st.just("*")),
        st.one_of(ports, st.just("*")),
        st.one_of(st.just("cmd:cat -n"), st.just("unix:/run/x"), st.builds("tcp:{}:{}".format, far, ports)),
    ),
    Resolver: st.one_of(
        far, st.builds("{}:{}".format, far, ports), st.builds("[2001:db8::1]:{}".format, ports)
    ),
    DnsRecord: st.builds("{} {} A {}".format, labels, st.integers(0, 2**31 - 1), far),
    StaticLease: st.builds("{}={}".format, macs, guests),
    GuestRoute: st.one_of(st.just("192.0.2.0/24"), st.builds("198.51.100.0/25={}".format, guests)),
    DhcpOption: st.one_of(
        st.builds("{}=u16:{}".format, st.integers(224, 254), st.integers(0, 65535)),
        st.builds("ntp-server={}".format, far),
    ),
    Proxy: st.builds(
        "{}://{}:{}".format, st.sampled_from(("http", "socks5")), far | st.just("Proxy.example"), ports
    ),
    Outbound: st.one_of(far, st.just("2001:db8::1"), st.builds("{},eth{}".format, far, st.integers(0, 9))),
}
"""Text of each kind of rule."""


def _names_of_files(rows: Option) -> Values:
    if rows.name == "lease_file":
        return st.text(string.ascii_letters, min_size=1).map("/nonexistent/{}".format)
    return st.sampled_from(["/", "/tmp", "/usr"])


def _made(row: Option) -> Values:
    if row.name == "bootfile":
        files = st.text(string.ascii_letters + string.digits + "./", min_size=1, max_size=255)
        return st.one_of(
            files, st.lists(st.one_of(files, files.map("efi-x64={}".format)), min_size=1, max_size=3)
        )
    if row.name in ("rate", "memory"):
        number = st.integers(17, 900)
        return st.one_of(
            number.map(lambda n: n << 20), st.builds("{}{}".format, number, st.sampled_from(("M", "MiB", "GB")))
        )
    if row.name == "host_mac":
        return macs
    if row.name == "no_proxy":
        return st.one_of(
            far, st.sampled_from(["private", "*", "192.0.2.0/24", "2001:db8::/32", "*.example.org"])
        )
    if row.name == "asker":
        return st.sampled_from([print, len])
    if row.name == "audit":
        files = st.text(string.ascii_letters, min_size=1, max_size=50)
        return st.builds(
            "{}{}".format, st.sampled_from(["unix:/nonexistent/", "/nonexistent/"]), files
        ) | st.builds("fd:{}".format, st.integers(3, 10**9 - 1))
    return st.lists(st.builds("allow {}:{}".format, far, ports), min_size=1, max_size=3)


def _several(row: Option) -> Values:
    assert isinstance(row.kind, kinds.Several)
    each = IN_RANGE[type(row.kind.of)](row.kind.of, row)
    key: Any = None
    if row.name == "static_leases":
        key = (lambda text: text[: text.index("=")], lambda text: text[text.index("=") :])
    elif row.name == "dhcp_options":
        key = lambda text: text[: text.index("=")]  # noqa: E731 - one option of a code
    return st.lists(each, min_size=1, max_size=3, unique_by=key)


IN_RANGE: dict[type[kinds.Kind], Callable[[Any, Option], Values]] = {
    kinds.Switch: lambda kind, row: st.booleans(),
    kinds.Number: lambda kind, row: st.one_of(
        st.integers(kind.lowest, kind.highest), st.sampled_from((kind.lowest, kind.highest))
    ),
    kinds.Choice: lambda kind, row: st.sampled_from(kind.words),
    kinds.Network: lambda kind, row: st.builds(
        lambda address, prefix: f"{address}/{prefix}",
        st.ip_addresses(v=4).filter(lambda each: 0 < each.packed[0] < 112),
        st.integers(kind.shortest, kind.longest),
    ).filter(
        lambda text: (
            not {127, 0, 10 if row.name == "dns46" else 0} & {IPv4Network(text, strict=False)[0].packed[0]}
        )
    ),
    kinds.TranslationPrefix: lambda kind, row: st.sampled_from(
        ["64:ff9b::/96", *(f"2001:db8::/{length}" for length in (32, 40, 48, 56, 64))]
    ),
    kinds.Network6: lambda kind, row: st.builds(
        lambda address, prefix: f"{address}/{prefix}",
        st.ip_addresses(network="2000::/3"),
        st.integers(kind.shortest, kind.longest),
    ),
    kinds.Address6: lambda kind, row: st.ip_addresses(network=NET6).filter(lambda address: address != NET6[0]),
    kinds.Address: lambda kind, row: guests.filter(lambda address: str(address) != "10.0.2.15"),
    kinds.HostName: lambda kind, row: names,
    kinds.Word: lambda kind, row: st.text(string.ascii_letters + string.digits + ".", min_size=1, max_size=255),
    kinds.Location: lambda kind, row: _names_of_files(row),
    kinds.Object: lambda kind, row: TEXTS[kind.made],
    kinds.Made: lambda kind, row: _made(row),
    kinds.Several: lambda kind, row: _several(row),
    kinds.Function: lambda kind, row: st.sampled_from([print, len]),
}
"""Values that an option of each kind takes."""


def option_values(row: Option) -> Values:
    """Make values that an option takes: text, numbers, or lists, by its kind and range."""
    return IN_RANGE[type(row.kind)](row.kind, row)


# -------------------------------------------------------------------------------------------- strings

_KEYED = ("hostname", "domainname", "dnssearch", "tftp_server_name", "bootfile", "hostfwd", "restrict")
"""Options that fit together with any others, whatever their values."""
_PLACED = ("host", "dns", "dhcpstart")
_PLACED6 = ("host6", "dns6")
_FAMILIES = ("", "ipv4=on", "ipv6=on", "ipv4,ipv6", "noipv6", "ipv4=off")
_UNKNOWN = ("nett=10.0.2.0/24", "mac=52:54:00:12:34:56", "type=tap", "x")
_FLAWS = (
    *_UNKNOWN, "net=10.0.2.0/33", "net=guest", "net=127.0.0.0/8", "host=172.16.0.1", "dns=10.0.2",
    "dhcpstart=172.16.0.1", "ipv6-net=fec0::/3", "ipv6-net=fe80::/64", "ipv6-host=fd00::2", "ipv4=maybe",
    "restrict=2",    "ipv4=off,ipv6=off", "hostfwd=tcp::70000-:80", "hostfwd=tcp::80", "hostfwd=icmp::1-:1",
    "guestfwd=tcp:10.0.2.9:80", "smbserver=172.16.0.4", "hostname=", "hostname=-a", "hostname",
    "dnssearch=a..b", "tftp=", "bootfile=",
)  # fmt: skip


def option_strings(kind: building.Kind = "valid") -> st.SearchStrategy[str]:
    """Make strings as after QEMU's ``-netdev``: ``"user"`` with options that :meth:`slirpy.Config.from_qemu` reads.

    The simplest example is ``"user"``. Folders are ``/`` and ``/tmp``.

    Args:
        kind: ``"near"``: one option is unknown, or has a value that it does not take, or contradicts another;
            ``"garbage"``: keys, values and separators in any order.

    Raises:
        ConfigError: it is not a kind.
    """
    building.check_kind(kind)
    if kind == "garbage":
        words = st.sampled_from(
            ("user", "net", "hostfwd", "ipv6", "=", ",", ",,", "on", "10.0.2.0/24", "tcp", ":", "-")
        )
        return st.lists(words | st.text(max_size=4), max_size=12).map("".join)
    if kind == "near":
        return st.builds("{},{}".format, _valid(), st.sampled_from(_FLAWS))
    return _valid()


@st.composite
def _valid(draw: st.DrawFn) -> str:
    words = ["user"]
    if draw(st.booleans()):
        words.append("id=net0")
    family = draw(st.sampled_from(_FAMILIES))
    words += [family] if family else []
    words += draw(st.sampled_from(([], ["net=10.0.2.0/24"], ["net=10.0.2.0"], ["ip=10.0.2.0"])))
    numbers = draw(st.lists(st.integers(20, 254), min_size=5, max_size=5, unique=True))
    placed = draw(st.lists(st.sampled_from(_PLACED), unique=True))
    words += [f"{option(name).qemu}={NET[number]}" for name, number in zip(placed, numbers, strict=False)]
    placed = draw(st.lists(st.sampled_from(_PLACED6), unique=True))
    words += [f"{option(name).qemu}={NET6[number]}" for name, number in zip(placed, numbers, strict=False)]
    if draw(st.booleans()):
        words.append(draw(st.sampled_from(("smb=/tmp", f"smb=/tmp,smbserver={NET[numbers[3]]}"))))
    words += draw(st.sampled_from(([], ["tftp=/tmp"], ["tftp=/"])))
    if draw(st.booleans()):
        words.append(f"guestfwd=tcp:{NET[numbers[4]]}:{draw(ports)}-cmd:cat")
    for name in draw(st.lists(st.sampled_from(_KEYED), unique=True)):
        row = option(name)
        value = draw(option_values(row))
        if isinstance(value, bool):
            alone = str(row.qemu) if value else f"no{row.qemu}"
            words.append(draw(st.sampled_from((f"{row.qemu}={'on' if value else 'off'}", alone))))
        elif name == "bootfile" and isinstance(value, list):
            continue
        else:
            each = value if isinstance(value, list) else [value]
            words += [f"{row.qemu}={str(word).replace(',', ',,')}" for word in each]
    return ",".join(words)
