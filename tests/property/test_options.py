"""Every option takes all values in its range, in each of its forms, and none outside of it.

Both kinds of values come from the table of options: a row is tried as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy import (
    Config,
    ConfigError,
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
from slirpy.cli.app import app
from slirpy.cli.options import network_config
from slirpy.config import OPTIONS, Option, kinds, option
from slirpy.testing.strategies.names import labels
from slirpy.testing.strategies.options import IN_RANGE, NET, NET6, TEXTS, Values, far, macs
from tests.support.extent import THOROUGH

NEEDS: dict[str, dict[str, Any]] = {
    "audit_fail": {"audit": "/tmp/log"},
    "proxy_auth_file": {"proxy": "http://proxy.example"},
    "smbserver": {"smb": "/"},
    "smbserver6": {"smb": "/"},
    **{key: {"tftp": "/tmp"} for key in ("tftp_write", "tftp_ignore_case", "tftp_single_port")},
}
"""Options that make sense with others only."""
SOME = 60 if THOROUGH else 20
"""Examples for each option."""


async def coroutine(*_: object) -> None:
    """A function that nobody would await."""


# ------------------------------------------------------------------------------------------ in range


def words_of(value: Any) -> list[str]:
    """The text of a value, or of each of several."""
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


@cache
def listen() -> click.Command:
    command = app.get_command(click.Context(app), "listen")
    assert command is not None
    return command


def from_flags(row: Option, value: Any) -> Config:
    """The network of a command line."""
    arguments = [f"--{name}={other}" for name, other in NEEDS.get(row.name, {}).items()]
    if isinstance(row.kind, kinds.Switch):
        arguments += [str(row.flag)] if value is not row.default else []
    elif row.name == "policy":
        arguments += [f"--{rule.replace(' ', '=', 1)}" for rule in value]
    else:
        arguments += [f"{row.flag}={word}" for word in words_of(value)]
    with listen().make_context("listen", [*arguments, "unix:x"]) as context:
        return network_config(context.params)


def from_qemu(row: Option, value: Any) -> Config:
    """The network of an option string of QEMU's."""
    words = {True: ["on"], False: ["off"]}[value] if isinstance(value, bool) else words_of(value)
    text = ",".join(f"{row.qemu}={word}".replace(",", ",,") for word in words)
    return Config.from_qemu(f"user,{text}", **NEEDS.get(row.name, {}))


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
def test_values_in_range_are_accepted_in_every_form(row: Option) -> None:
    @settings(max_examples=SOME)
    @given(IN_RANGE[type(row.kind)](row.kind, row))
    def check(value: Any) -> None:
        more = NEEDS.get(row.name, {})
        config = Config(**{row.name: value}, **more)
        kept = getattr(config, row.name)
        assert Config(**{row.name: kept}, **more) == config  # an object as well as its text
        if row.flag is not None:
            assert getattr(from_flags(row, value), row.name) == kept
        if row.qemu is not None and not (row.name == "bootfile" and isinstance(value, list)):
            assert getattr(from_qemu(row, value), row.name) == kept

    check()


# -------------------------------------------------------------------------------------- out of range

ODD: Values = st.one_of(
    st.integers(), st.floats(), st.binary(max_size=8), st.tuples(st.integers(), st.integers()), st.dictionaries(
        st.integers(), st.integers(), max_size=1
    )
)  # fmt: skip
"""Values of types that few options take."""
NUMBERED = st.integers(65536) | st.integers(max_value=-1)
WRONG_TEXTS: dict[type, Values] = {
    HostForward: st.one_of(
        st.builds("tcp::{}-:80".format, NUMBERED), st.builds("udp::1-:{}".format, st.just(0) | NUMBERED),
        st.builds("{}::1-:1".format, labels.filter(lambda text: text not in ("tcp", "udp", "unix"))), labels,
    ),
    GuestForward: st.one_of(st.builds("tcp:*:{}-cmd:cat".format, st.just(0) | NUMBERED), labels),
    Resolver: st.one_of(st.builds("192.0.2.1:{}".format, st.just(0) | NUMBERED), labels),
    DnsRecord: st.one_of(labels, st.builds("a.test {} A 192.0.2.1".format, st.integers(2**31, 2**33))),
    StaticLease: st.one_of(st.builds("{}=10.0.3.1".format, macs), st.builds("{}=10.0.2.2".format, macs), labels),
    GuestRoute: st.one_of(st.builds("192.0.2.0/{}".format, st.integers(33)), labels),
    DhcpOption: st.one_of(st.builds("{}=x".format, st.integers(255)), st.builds("26=u16:{}".format, NUMBERED)),
    Proxy: st.one_of(labels, st.builds("http://proxy:{}".format, st.just(0) | NUMBERED)),
    Outbound: st.sampled_from(["127.0.0.1", "0.0.0.0", "224.0.0.1", "a b", "eth0,eth1", "x" * 16]),
}  # fmt: skip
"""Text that is no rule."""
BAD_NAMES = st.one_of(
    st.sampled_from(
        ["", ".", "-a", "a-", "a..b", "a b", "b\u00fccher", "a\0", "x" * 64, ".".join(["n" * 62] * 5)]
    ),
    st.builds("{}{}{}".format, labels, st.sampled_from(" ,/;:@\n\t\x7f"), labels),
)


def _wrong_made(row: Option) -> Values:
    if row.name == "bootfile":
        texts = st.one_of(
            st.just(""), st.just("a\n"), st.just("x" * 256), st.builds("{}=x".format, st.integers(65536))
        )
        return st.one_of(ODD, texts, st.lists(st.one_of(st.integers(), texts), min_size=1, max_size=2))
    if row.name in ("rate", "memory"):
        return st.one_of(
            st.integers(max_value=999), st.integers(1 << 51), st.floats(), st.binary(max_size=8),
            st.sampled_from(["", "1", "10 X", "-5M", "5iB", "1e9", "1.2345M", "0x10", "M"]),
        )  # fmt: skip
    if row.name in ("no_proxy", "host_mac"):
        return ODD | BAD_NAMES
    rules = st.builds("allow {}:{}".format, far, NUMBERED) | labels
    if row.name == "asker":
        return st.one_of(ODD, st.text())
    if row.name == "audit":
        numbers = st.sampled_from(["x", "-1", "", "\u0661", "10000000000"])
        return st.one_of(
            ODD, st.builds("fd:{}".format, numbers), st.sampled_from(["", "unix:", "a\0", "unix:" + "x" * 109])
        )
    return st.one_of(ODD, rules, st.lists(st.integers() | rules, min_size=1, max_size=2))


def _not_whole(kind: kinds.Number) -> Values:
    return st.one_of(
        st.integers(max_value=kind.lowest - 1),
        st.integers(kind.highest + 1),
        st.floats(),
        st.booleans(),
        st.integers(kind.lowest, kind.highest).map(str),
        st.binary(max_size=4),
    )


OUTSIDE: dict[type[kinds.Kind], Callable[[Any, Option], Values]] = {
    kinds.Switch: lambda kind, row: st.one_of(ODD, st.sampled_from(["on", "off", "true", ""]), st.none()),
    kinds.Number: lambda kind, row: _not_whole(kind),
    kinds.Choice: lambda kind, row: st.one_of(ODD, st.text().filter(lambda text: text not in kind.words), st.none()),
    kinds.Network: lambda kind, row: st.one_of(
        ODD,
        st.builds("10.0.0.0/{}".format, st.integers(0, kind.shortest - 1) | st.integers(kind.longest + 1)),
        st.builds("{}.0.0.0/8".format, st.sampled_from([127, *range(224, 240)])),
        st.sampled_from(["", "fec0::/64", "10.0.2", "guest"]),
    ),
    kinds.Network6: lambda kind, row: st.one_of(
        ODD,
        st.builds("2000::/{}".format, st.integers(0, kind.shortest - 1) | st.integers(kind.longest + 1)),
        st.builds("{}/{}".format, st.sampled_from(["::1", "fe80::2", "ff02::1"]), st.integers(8, kind.longest)),
        st.sampled_from(["", "10.0.0.0/8", "fec0:", "guest"]),
    ),
    kinds.TranslationPrefix: lambda kind, row: st.one_of(
        ODD,
        st.builds("2000::/{}".format, st.integers(0, 128).filter(lambda n: n not in (32, 40, 48, 56, 64, 96))),
        st.sampled_from(["", "10.0.0.0/8", "64:ff9b::1/96", "2001:db8:0:0:100::/96"]),
    ),
    kinds.Address6: lambda kind, row: st.one_of(
        ODD,
        st.ip_addresses(v=6).filter(lambda address: address not in NET6),
        st.just(NET6[0]),
        st.ip_addresses(v=4),
        BAD_NAMES,
    ),
    kinds.Address: lambda kind, row: st.one_of(
        ODD,
        st.ip_addresses(v=4).filter(lambda address: address not in NET),
        st.sampled_from([NET[0], NET[-1]]),
        st.ip_addresses(v=6),
        BAD_NAMES,
    ),
    kinds.HostName: lambda kind, row: st.one_of(ODD, BAD_NAMES),
    kinds.Word: lambda kind, row: st.one_of(ODD, st.sampled_from(["", " ", "a b", "a\n", "\u00fc", "x" * 256])),
    kinds.Location: lambda kind, row: st.one_of(ODD, st.sampled_from(["", "a\0b"])),
    kinds.Object: lambda kind, row: st.one_of(ODD, WRONG_TEXTS[kind.made]),
    kinds.Made: lambda kind, row: _wrong_made(row),
    kinds.Several: lambda kind, row: st.one_of(
        st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8),
        st.lists(OUTSIDE[type(kind.of)](kind.of, row), min_size=1, max_size=1),
    ),
    kinds.Function: lambda kind, row: st.one_of(ODD, st.text(), st.just(coroutine)),
}  # fmt: skip
"""Values that no option of each kind takes."""


def allowed(kind: kinds.Kind, name: str) -> list[str]:
    """Phrases with which a message describes the allowed values; it has one of these at least."""
    match kind:
        case kinds.Switch():
            return ["True or False"]
        case kinds.Number():
            return [f"from {kind.lowest}"]
        case kinds.Choice():
            return [", ".join(kind.words)]
        case kinds.Function():
            return [f"is a function of {kind.takes}", "give an ordinary function"]
        case kinds.Several():
            return [f"must be a list, such as {name}=[...]", *allowed(kind.of, name)]
        case kinds.Network():
            return [
                f"from /{kind.shortest} to /{kind.longest}",
                "write for example 10.0.2.0/24",
                "choose one such as",
            ]
        case kinds.Network6():
            return [
                f"from /{kind.shortest} to /{kind.longest}",
                "write for example fec0::/64",
                "choose one such as",
            ]
        case kinds.TranslationPrefix():
            return ["write for example 64:ff9b::/96"]
        case kinds.Address6():
            return ["such as fec0::2", "choose one from fec0::1 to fec0::ffff:ffff:ffff:ffff"]
        case kinds.Address():
            return ["such as 10.0.2.2", "choose one from 10.0.2.1 to 10.0.2.254"]
        case kinds.HostName():
            return [
                "such as guest.example.test",
                "253 characters",
                "at most 255 ASCII",
                "leave it out",
                "is not text",
            ]
        case kinds.Word():
            return ["give one name or address", "at most 255 ASCII characters", "leave it out", "is not text"]
        case kinds.Location():
            return ["give text or a pathlib.Path", "give one such as", "give for example /srv"]
    return [
        "write ",
        "is not ",
        " from ",
        "is none of",
        "must be",
        "at most",
        "is neither",
        "choose another",
        "such as",
        "is text or",
        "leave it out",
    ]


def shown(value: Any) -> list[str]:
    """Forms in which a message may write a value, or one of several."""
    texts = [repr(value), str(value), repr(str(value))[1:-1], *filter(str.isdigit, str(value).split())]
    return (
        texts + [text for each in value for text in shown(each)] if isinstance(value, list | tuple) else texts
    )


def refusal(row: Option, value: Any) -> str:
    more = NEEDS.get(row.name, {})
    with pytest.raises(ConfigError) as caught:
        Config(**{row.name: value}, **more)
    return str(caught.value)


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
def test_values_out_of_range_are_refused_with_the_reason(row: Option) -> None:
    @settings(max_examples=2 * SOME)
    @given(OUTSIDE[type(row.kind)](row.kind, row))
    def check(value: Any) -> None:
        text = refusal(row, value)
        assert any(
            name and name in text for name in (row.name, row.item, "rule" if row.name == "policy" else "")
        )
        assert any(form in text for form in shown(value)) or value is coroutine, text
        assert any(words in text for words in allowed(row.kind, row.name)), text
        assert "\n" not in text or "\n" in str(value)

    check()


def test_none_is_a_value_only_where_it_is_the_default() -> None:
    for row in OPTIONS:
        if row.default is None:
            nothing: dict[str, Any] = {row.name: None}
            assert Config(**nothing) == Config()
        else:
            assert row.name in refusal(row, None)


# --------------------------------------------------------------------------------------------- tables


def test_every_kind_and_class_is_tried() -> None:
    used = [row.kind for row in OPTIONS]
    used += [kind.of for kind in used if isinstance(kind, kinds.Several)]
    assert {type(kind) for kind in used} == set(IN_RANGE) == set(OUTSIDE)
    made = {kind.made for kind in used if isinstance(kind, kinds.Object)}
    assert made == set(TEXTS) == set(WRONG_TEXTS)


def test_paths_are_kept_as_paths(tmp_path: Path) -> None:
    for row in OPTIONS:
        if isinstance(row.kind, kinds.Location):
            config = Config(**{row.name: str(tmp_path), **NEEDS.get(row.name, {})})
            assert getattr(config, row.name) == tmp_path
    assert option("tftp").kind.check("tftp", len) is len
