"""Splitting of a script into statements: comments are removed, continued lines are joined."""

from __future__ import annotations

import re

from slirpy.records import NamedTuple
from slirpy.testing.packetdrill.script import ScriptError

__all__ = ["Statement", "rules_of", "statements"]

_PIECE = re.compile(
    r"""(?P<code>%\{.*?\}%) | (?P<command>`[^`]*`) | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<comment>/\*.*?\*/ | //[^\n]* | \#[^\n]*) | (?P<open>%\{ | ` | /\*) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`')
_BEGINS = re.compile(r"\s*(?:[+*0-9.]|--|`)")
_RULE = re.compile(r"#\s*RFC\s*(\d+)\s+([A-Za-z0-9.,() -]*[A-Za-z0-9.)])\s*$")


class Statement(NamedTuple):
    """A statement, with the number of its first line, counted from 1."""

    line: int
    text: str


def statements(name: str, text: str) -> list[Statement]:
    """Split a script into statements, without comments.

    A statement begins with a time, an option or a command; every other line continues the one before, and so does a
    line while a bracket is open.

    Raises:
        ScriptError: code or a comment without an end, or a continuation line with nothing before it.
    """
    kept: list[str] = []
    for match in _PIECE.finditer(text):
        if match["open"]:
            at = text.count("\n", 0, match.start()) + 1
            raise ScriptError(f"{name}:{at}: {match['open']} without an end")
        piece = match[0]
        if match["comment"]:
            piece = " " + "\n" * piece.count("\n")
        elif match["code"] or match["command"]:
            # A newline inside belongs to the statement: hidden until the lines are split.
            piece = piece.replace("\n", "\v")
        kept.append(piece)
    found: list[Statement] = []
    for number, text in enumerate("".join(kept).split("\n"), 1):
        if not text.strip():
            continue
        if _BEGINS.match(text) and not (found and _open(found[-1].text)):
            found.append(Statement(number, text.strip()))
        elif found and not found[-1].text.startswith("--"):
            found[-1] = found[-1]._replace(text=f"{found[-1].text} {text.strip()}")
        else:
            raise ScriptError(f"{name}:{number}: a line begins with a time such as +.1, or with --option")
    return _renumbered(found)


def _open(text: str) -> bool:
    """Report whether a call continues in the next line: one of its brackets is open."""
    if "(" not in text or text.startswith(("--", "`")) or "%{" in text:
        return False
    depth = 0
    for char in _QUOTED.sub("", text):
        depth += (char in "([{") - (char in ")]}")
        if not depth and char == ")":
            return False  # the result follows, and a remark in free text
    return depth > 0


def _renumbered(found: list[Statement]) -> list[Statement]:
    hidden = 0
    out = []
    for line, text in found:
        out.append(Statement(line + hidden, text.replace("\v", "\n")))
        hidden += text.count("\v")
    return out


def rules_of(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Split the comment at the head of a script into the rules that it checks, and the rest."""
    rules: list[tuple[str, str]] = []
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith(("#", "//")):
            break
        if match := _RULE.match(line):
            rules += [(match[1], rule.strip()) for rule in match[2].split(",")]
        else:
            words.append(line.lstrip("#/ ").strip())
    return tuple(rules), " ".join(filter(None, words))
