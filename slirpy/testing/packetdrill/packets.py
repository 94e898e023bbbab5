"""Segments and ICMP messages in packetdrill's notation."""

from __future__ import annotations

from typing import Any

from slirpy.testing.packetdrill import language, messages
from slirpy.testing.packetdrill.script import ANY, Event, Icmp, Option, Packet, UnsupportedError
from slirpy.testing.packetdrill.tokens import Tokens
from slirpy.wire.tcp import CWR, ECE

__all__ = ["read_packet"]

_LONGEST = 65_495
_MOST_OPTIONS = 40
_NOT_TCP = frozenset(("udp", "udplite", "sctp", "gre", "GREv0", "mpls", "ipv4", "ipv6", "raw"))
_WILD = ("..", "...")
_IP_FIELDS = frozenset(("noecn", "ect0", "ect1", "ce", "tos", "ttl", "flowlabel"))
_CODE_MISSING = ("[", "mtu", "id", "")


def read_packet(tokens: Tokens, common: dict[str, Any]) -> Event:
    """Read a line with ``<`` or ``>``, at which the cursor stands.

    Raises:
        ScriptError: the line is not in packetdrill's notation.
        UnsupportedError: the line is not about TCP, or about a feature that the engine lacks.
    """
    inbound = tokens.take() == "<"
    line = common["line"]
    quoted: tuple[int, int] | None = None
    if tokens.next in ("[", "("):
        quoted = _ip_fields(tokens, line, inbound)
    if tokens.next in ("addr", ">"):
        raise UnsupportedError(line, f"addresses of a segment{language.missing('addr')}: there is one path")
    if tokens.next in _NOT_TCP:
        raise UnsupportedError(line, f"a packet of {tokens.next}: there is TCP alone")
    if tokens.skip("icmp"):
        return _icmp(tokens, inbound, common, quoted)
    if quoted is not None:
        raise tokens.error("numbers in brackets are only for the segment of an icmp message")
    ports = _ports(tokens)
    flags = _flags(tokens, line)
    if not inbound and flags & (ECE | CWR):
        raise UnsupportedError(line, "the flags E and W: scripts run without ECN")
    seq, length = _range(tokens)
    if tokens.next == "!":
        raise UnsupportedError(line, "a number that does not count from the SYN (!)")
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
    if tokens.next == "{":
        raise UnsupportedError(line, "a segment that is damaged on its way")
    if tokens.next == "/":
        raise UnsupportedError(line, "segments in UDP: there is TCP alone")
    tokens.end()
    if inbound:
        _check_inbound(tokens, seq, length, options)
    if sum(map(_size, options or ())) > _MOST_OPTIONS:
        raise tokens.error(f"options cannot exceed {_MOST_OPTIONS} bytes")
    for key in ("win", "urg"):
        if not 0 <= fields.get(key, 0) <= 0xFFFF:
            raise tokens.error(f"{key} must be 0 to 65535, as it is in the header")
    return Packet(
        inbound=inbound,
        flags=flags,
        seq=seq,
        length=length,
        ack=fields.get("ack"),
        win=fields.get("win"),
        urg=fields.get("urg"),
        options=options,
        ports=ports,
        **common,
    )


def _check_inbound(tokens: Tokens, seq: int | None, length: int, options: tuple[Option, ...] | None) -> None:
    """Check that a segment to be made is completely specified."""
    if options is None or any(ANY in option.values for option in options if option.name == "TS"):
        raise tokens.error("<...> cannot define the options of a segment to be sent to the connection")
    if seq is None:
        raise tokens.error("a segment to be sent to the connection needs its numbers")
    if length > _LONGEST:
        raise tokens.error(f"a segment cannot exceed {_LONGEST} bytes; this one has {length}")


def _size(option: Option) -> int:
    """Return the bytes that an option takes."""
    sizes = {"nop": 1, "eol": 1, "mss": 4, "wscale": 3, "sackOK": 2, "TS": 10}
    if option.name == "hex":
        return len(option.values)
    return sizes.get(option.name, 2 + 4 * len(option.values))


def _ip_fields(tokens: Tokens, line: int, inbound: bool) -> tuple[int, int] | None:
    """Read ``[noecn]``, ``(tos 0x28)``: ignored on arrival, as scripts run without ECN. Its output has no IP header.

    Returns:
        The segment that an ICMP message is about: ``[1:1001(1000)]`` before ``icmp``.
    """
    finish = "]" if tokens.take() == "[" else ")"
    if inbound and finish == "]" and tokens.next.isdigit():
        seq, length = _range(tokens)
        tokens.need(finish)
        return seq or 0, length
    words = []
    while not tokens.skip(finish):
        words.append(tokens.take())
    if words != ["noecn"] and not (inbound and words and words[0] in _IP_FIELDS):
        raise UnsupportedError(line, f"fields of the IP header ({' '.join(words)}): there is TCP alone")
    return None


def _ports(tokens: Tokens) -> tuple[int, int] | None:
    """Read ``1234 > 8080``."""
    if not tokens.next.isdigit():
        return None
    source = tokens.integer()
    if not tokens.skip(">"):
        raise tokens.error("flags are missing")
    return source, tokens.integer()


def _flags(tokens: Tokens, line: int) -> int:
    letters = ""
    while tokens.next and tokens.next not in _WILD and not tokens.next[0].isdigit():
        letters += tokens.take()
    if letters == "-":
        return 0
    flags = 0
    for letter in letters:
        if letter == "A" or letter.isdigit():
            raise UnsupportedError(line, f"the flags {letters}: the engine has no AccECN")
        if letter not in language.FLAGS:
            raise tokens.error(f'flags are of "{"".join(language.FLAGS)}", not "{letter}"')
        flags |= language.FLAGS[letter]
    if not letters:
        raise tokens.error("flags are missing")
    return flags


def _range(tokens: Tokens) -> tuple[int | None, int]:
    """Read ``1:1001(1000)``: first number and length; ``..(1000)``: any number."""
    if tokens.next in _WILD:
        tokens.take()
        return None, _length(tokens)
    seq = tokens.integer()
    tokens.need(":")
    finish = tokens.integer()
    length = _length(tokens)
    if (finish - seq) & 0xFFFFFFFF != length:
        raise tokens.error(f"{seq}:{finish} are {(finish - seq) & 0xFFFFFFFF} bytes, not {length}")
    return seq, length


def _length(tokens: Tokens) -> int:
    tokens.need("(")
    length = tokens.integer()
    tokens.need(")")
    if length < 0:
        raise tokens.error("a segment cannot have a negative length")
    return length


# ------------------------------------------------------------------------------------------- ICMP


def _icmp(tokens: Tokens, inbound: bool, common: dict[str, Any], quoted: tuple[int, int] | None) -> Icmp:
    line = common["line"]
    if not inbound:
        raise UnsupportedError(line, "an ICMP message that is sent: there is TCP alone")
    word = tokens.take()
    if word == "unreachable":
        code = tokens.take() if tokens.next not in _CODE_MISSING else ""
        if code and code not in language.ICMP_CODES:
            codes = ", ".join(language.ICMP_CODES)
            raise UnsupportedError(line, f"icmp unreachable {code}; there is {codes}")
    elif word in messages.TYPES or word in messages.ABOUT_NOTHING:
        code = _code(tokens)
    else:
        raise UnsupportedError(line, f"icmp {word}; there is {', '.join(messages.TYPES)}")
    mtu = tokens.integer() if tokens.skip("mtu") else 0
    if tokens.skip("id"):
        tokens.integer()
    seq, length = quoted or (0, 0)
    if tokens.skip("["):
        if tokens.next in _NOT_TCP:
            raise UnsupportedError(line, f"a message about a packet of {tokens.next}: there is TCP alone")
        if tokens.next and not tokens.next[0].isdigit():
            _flags(tokens, line)
        first, length = _range(tokens)
        seq = first or 0
        tokens.need("]")
    tokens.end()
    return Icmp(type=word, code=code, mtu=mtu, seq=seq, length=length, **common)


def _code(tokens: Tokens) -> str:
    """Read a code, if there is one."""
    return tokens.take() if tokens.next.isidentifier() and tokens.next not in _CODE_MISSING else ""


# ---------------------------------------------------------------------------------------- options


def _tcp_options(tokens: Tokens, line: int) -> list[Option]:
    found: list[Option] = []
    while not tokens.skip(">"):
        if found:
            tokens.need(",")
        name = tokens.take()
        if name not in language.OPTIONS:
            there = ", ".join(language.OPTIONS)
            raise UnsupportedError(line, f'the TCP option "{name}"{language.missing(name)}; there are {there}')
        found.append(Option(name, tuple(_numbers(tokens, name))))
    return found


def _numbers(tokens: Tokens, name: str) -> list[int]:
    if name == "TS":
        tokens.need("val")
        val = _number_or_any(tokens)
        tokens.need("ecr")
        return [val, _number_or_any(tokens)]
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
    if not language.OPTIONS[name][0]:
        return []
    number, most = tokens.integer(), 0xFFFF if name == "mss" else 0xFF
    if not 0 <= number <= most:
        raise tokens.error(f"{name} must be 0 to {most}")
    return [number]


def _number_or_any(tokens: Tokens) -> int:
    if tokens.skip("..."):
        return ANY
    number = tokens.integer()
    if not 0 <= number <= 0xFFFFFFFF:
        raise tokens.error("a timestamp must be 0 to 4294967295")
    return number
