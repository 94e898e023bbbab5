"""packetdrill's notation: from text to a :class:`~slirpy.testing.packetdrill.script.Script`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from slirpy.testing.packetdrill.conditions import choose
from slirpy.testing.packetdrill.lines import Statement, rules_of, statements
from slirpy.testing.packetdrill.packets import read_packet
from slirpy.testing.packetdrill.script import (
    Call,
    Code,
    Command,
    Event,
    Packet,
    Script,
    ScriptError,
    UnsupportedError,
    When,
)
from slirpy.testing.packetdrill.sysctls import read_command
from slirpy.testing.packetdrill.systems import SYSTEMS
from slirpy.testing.packetdrill.tokens import Tokens

__all__ = ["parse"]

_OPTION = re.compile(r"--(\w+)(?:\s*=\s*(.*))?", re.DOTALL)
_NOW = When(relative=True, start=0, end=0)


def parse(text: str, name: str = "script", defines: Mapping[str, str] | None = None) -> Script:
    """Read a script.

    Args:
        text: the whole script.
        name: file name, for errors.
        defines: words for ``#ifdef``, and their replacements in calls; by default only those of slirpy.

    Raises:
        ScriptError: the text is not in packetdrill's notation.
        UnsupportedError: the notation is valid, but a part of it has no meaning here.
    """
    words = dict.fromkeys(SYSTEMS["slirpy"].defines, "1") if defines is None else dict(defines)
    chosen = choose(name, text, words)
    options: list[tuple[int, str, str]] = []
    events: list[Event] = []
    for statement in statements(name, chosen):
        if statement.text.startswith("--"):
            options += _options(name, statement)
        elif (event := _event(name, statement, words)) is not None:
            events.append(event)
    _one_connection(events)
    rules, summary = rules_of(text)
    return Script(name, tuple(options), tuple(events), rules, summary)


def _one_connection(events: Iterable[Event]) -> None:
    """Check that all segments with ports belong to the same connection."""
    first: frozenset[int] | None = None
    for event in events:
        if isinstance(event, Packet) and event.ports is not None:
            ports = frozenset(event.ports)
            first = first or ports
            if ports != first:
                raise UnsupportedError(event.line, "segments of another connection: there is one to a script")


def _options(name: str, statement: Statement) -> list[tuple[int, str, str]]:
    found = []
    for word in re.sub(r"\s*=\s*", "=", statement.text).split():
        match = _OPTION.fullmatch(word)
        if match is None:
            raise ScriptError(f"{name}:{statement.line}: {word}: write --name=value")
        found.append((statement.line, match[1], (match[2] or "").strip('"')))
    return found


def _event(name: str, statement: Statement, defines: Mapping[str, str]) -> Event | None:
    try:
        return _read(name, statement, defines)
    except RecursionError:
        raise ScriptError(f"{name}:{statement.line}: brackets are nested too deeply") from None


def _read(name: str, statement: Statement, defines: Mapping[str, str]) -> Event | None:
    line, text = statement
    tokens = Tokens(f"{name}:{line}", text, defines)
    when = _NOW if tokens.next.startswith("`") else tokens.time()
    common: dict[str, Any] = {"line": line, "text": " ".join(text.split()), "when": when}
    token = tokens.next
    if token in ("<", ">"):
        return read_packet(tokens, common)
    if token.startswith("%{"):
        code = Code(source=tokens.take()[2:-2], **common)
        tokens.end()
        return code
    if token.startswith("`"):
        seconds, changes, lacks = read_command(line, tokens.take()[1:-1])
        tokens.end()
        # A command without effect is left out: a script may begin with one before its time 0.
        nothing = not (seconds or changes or lacks or when.start)
        return None if nothing else Command(seconds=seconds, changes=changes, lacks=lacks, **common)
    until = None
    if tokens.skip("..."):
        tokens.skip("+")
        until = tokens.time()._replace(relative=when.relative)
    return _call(tokens, common, until)


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
