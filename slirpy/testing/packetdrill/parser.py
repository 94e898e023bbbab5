"""packetdrill's notation: from text to a :class:`~slirpy.testing.packetdrill.script.Script`."""

from __future__ import annotations

import re
from typing import Any

from slirpy.testing.packetdrill import language
from slirpy.testing.packetdrill.lines import Statement, rules_of, statements
from slirpy.testing.packetdrill.script import (
    Call,
    Code,
    Command,
    Event,
    Icmp,
    Option,
    Packet,
    Script,
    ScriptError,
    UnsupportedError,
    When,
)
from slirpy.testing.packetdrill.tokens import Tokens

__all__ = ["parse"]

_OPTION = re.compile(r"--(\w+)(?:\s*=\s*(.*))?", re.DOTALL)
_SLEEP = re.compile(r"sleep\s+(\d+\.?\d*|\.\d+)")
_RESET_TO_DEFAULTS = re.compile(r"\S*(?:defaults\.sh|sysctl_restore\S*\.sh)")
"""Many scripts begin or end by setting the system back to its defaults; there is nothing to set back."""
_LONGEST = 65_495
_MOST_OPTIONS = 40
_NOT_TCP = frozenset(("udp", "udplite", "sctp", "gre", "mpls", "ipv4", "ipv6", "raw"))


def parse(text: str, name: str = "script") -> Script:
    """Read a script.

    Args:
        text: the whole of it.
        name: of the file, for errors.

    Raises:
        ScriptError: it is not in packetdrill's notation.
        UnsupportedError: it is, and a part of it has no meaning here.
    """
    options: list[tuple[int, str, str]] = []
    events: list[Event] = []
    for statement in statements(name, text):
        if statement.text.startswith("--"):
            options += _options(name, statement)
        elif (event := _event(name, statement)) is not None:
            events.append(event)
    rules, summary = rules_of(text)
    return Script(name, tuple(options), tuple(events), rules, summary)


def _options(name: str, statement: Statement) -> list[tuple[int, str, str]]:
    found = []
    for word in statement.text.split():
        match = _OPTION.fullmatch(word)
        if match is None:
            raise ScriptError(f"{name}:{statement.line}: {word}: write --name=value")
        found.append((statement.line, match[1], match[2] or ""))
    return found


def _event(name: str, statement: Statement) -> Event | None:
    line, text = statement
    tokens = Tokens(f"{name}:{line}", text)
    now = When(relative=True, start=0, end=0)
    when = now if tokens.next.startswith("`") else tokens.time()
    common: dict[str, Any] = {"line": line, "text": " ".join(text.split()), "when": when}
    token = tokens.next
    if token in ("<", ">"):
        return _packet(tokens, common)
    if token.startswith("%{"):
        code = Code(source=tokens.take()[2:-2], **common)
        tokens.end()
        return code
    if token.startswith("`"):
        return _command(tokens.take()[1:-1].strip(), common)
    until = None
    if tokens.skip("..."):
        tokens.skip("+")
        until = tokens.time()._replace(relative=when.relative)
    return _call(tokens, common, until)


def _command(text: str, common: dict[str, Any]) -> Event | None:
    if match := _SLEEP.fullmatch(text):
        return Command(seconds=float(match[1]), **common)
    if _RESET_TO_DEFAULTS.fullmatch(text):
        return None
    raise UnsupportedError(
        common["line"], f"the command `{text}`: no commands are run, there is no system to set"
    )


# ---------------------------------------------------------------------------------------- packets


def _packet(tokens: Tokens, common: dict[str, Any]) -> Event:
    inbound = tokens.take() == "<"
    line = common["line"]
    if tokens.next in _NOT_TCP:
        raise UnsupportedError(line, f"a packet of {tokens.next}: there is TCP alone")
    if tokens.next in ("[", "("):
        _ip_fields(tokens, line)
    if tokens.skip("icmp"):
        return _icmp(tokens, inbound, common)
    flags = _flags(tokens)
    seq, length = _range(tokens)
    fields: dict[str, int] = {}
    while tokens.next in ("ack", "win", "urg"):
        key = tokens.take()
        fields[key] = tokens.integer()
    options: tuple[Option, ...] | None = ()
    if tokens.skip("<"):
        if tokens.skip("..."):
            options = None
            tokens.need(">")
        else:
            options = tuple(_tcp_options(tokens, line))
    if tokens.skip(","):
        raise UnsupportedError(line, "what follows the options: payload is always made by slirpy")
    tokens.end()
    if inbound and options is None:
        raise tokens.error("<...> says nothing for a segment that is to be made")
    if inbound and length > _LONGEST:
        raise tokens.error(f"a segment has {_LONGEST} bytes at most, not {length}")
    if sum(map(_size, options or ())) > _MOST_OPTIONS:
        raise tokens.error(f"options have {_MOST_OPTIONS} bytes at most")
    if not 0 <= fields.get("win", 0) <= 0xFFFF:
        raise tokens.error("win must be 0 to 65535, as it is in the header")
    return Packet(
        inbound=inbound,
        flags=flags,
        seq=seq,
        length=length,
        ack=fields.get("ack"),
        win=fields.get("win"),
        urg=fields.get("urg"),
        options=options,
        **common,
    )


def _size(option: Option) -> int:
    """Bytes that an option takes."""
    sizes = {"nop": 1, "eol": 1, "mss": 4, "wscale": 3, "sackOK": 2, "TS": 10}
    if option.name == "hex":
        return len(option.values)
    return sizes.get(option.name, 2 + 4 * len(option.values))


def _ip_fields(tokens: Tokens, line: int) -> None:
    """``[noecn]`` is what there is; all else would need an IP header."""
    finish = "]" if tokens.take() == "[" else ")"
    words = []
    while not tokens.skip(finish):
        words.append(tokens.take())
    if words != ["noecn"]:
        raise UnsupportedError(line, f"fields of the IP header ({' '.join(words)}): there is TCP alone")


def _flags(tokens: Tokens) -> int:
    letters = ""
    while tokens.next and not tokens.next[0].isdigit():
        letters += tokens.take()
    if letters == "-":
        return 0
    flags = 0
    for letter in letters:
        if letter not in language.FLAGS:
            raise tokens.error(f'flags are of "{"".join(language.FLAGS)}", not "{letter}"')
        flags |= language.FLAGS[letter]
    if not letters:
        raise tokens.error("flags are missing")
    return flags


def _range(tokens: Tokens) -> tuple[int, int]:
    """``1:1001(1000)``: first number and length."""
    seq = tokens.integer()
    tokens.need(":")
    finish = tokens.integer()
    tokens.need("(")
    length = tokens.integer()
    tokens.need(")")
    if (finish - seq) & 0xFFFFFFFF != length:
        raise tokens.error(f"{seq}:{finish} are {(finish - seq) & 0xFFFFFFFF} bytes, not {length}")
    return seq, length


def _icmp(tokens: Tokens, inbound: bool, common: dict[str, Any]) -> Icmp:
    if not inbound or tokens.take() != "unreachable" or tokens.next not in language.ICMP_CODES:
        codes = ", ".join(language.ICMP_CODES)
        raise UnsupportedError(common["line"], f"of ICMP there is < icmp unreachable with {codes}")
    code = language.ICMP_CODES[tokens.take()]
    mtu = tokens.integer() if tokens.skip("mtu") else 0
    tokens.need("[")
    if tokens.next and not tokens.next[0].isdigit():
        _flags(tokens)
    seq, length = _range(tokens)
    tokens.need("]")
    tokens.end()
    return Icmp(code=code, mtu=mtu, seq=seq, length=length, **common)


def _tcp_options(tokens: Tokens, line: int) -> list[Option]:
    found: list[Option] = []
    while not tokens.skip(">"):
        if found:
            tokens.need(",")
        name = tokens.take()
        if name not in language.OPTIONS:
            raise UnsupportedError(line, f'the TCP option "{name}"; there are {", ".join(language.OPTIONS)}')
        found.append(Option(name, tuple(_numbers(tokens, name))))
    return found


def _numbers(tokens: Tokens, name: str) -> list[int]:
    if name == "TS":
        tokens.need("val")
        val = tokens.integer()
        tokens.need("ecr")
        return [val, tokens.integer()]
    if name == "sack":
        numbers: list[int] = []
        while tokens.next not in (",", ">"):
            numbers.append(tokens.integer())
            tokens.need(":")
            numbers.append(tokens.integer())
        return numbers
    if name == "hex":
        digits = ""
        while tokens.next not in (",", ">"):
            digits += tokens.take()
        try:
            return list(bytes.fromhex(digits))
        except ValueError:
            raise tokens.error(f'hexadecimal digits in pairs expected, not "{digits}"') from None
    return [tokens.integer()] if language.OPTIONS[name][0] else []


# ------------------------------------------------------------------------------------------ calls


def _call(tokens: Tokens, common: dict[str, Any], until: When | None) -> Call:
    name = tokens.take()
    if not name.isidentifier():
        raise tokens.error(f'"<", ">", a call or code expected, not "{name}"')
    arguments = tokens.values("(", ")")
    result, error = None, ""
    if tokens.skip("=") and not tokens.skip("..."):
        result = tokens.integer()
        if result == -1 and tokens.next.isidentifier():
            error = tokens.take()
        if tokens.skip("("):  # a remark, such as the text of the error
            while not tokens.skip(")"):
                tokens.take()
    tokens.end()
    return Call(name=name, arguments=arguments, result=result, error=error, until=until, **common)
