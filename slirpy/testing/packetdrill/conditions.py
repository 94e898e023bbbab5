"""``#ifdef`` and similar directives of a C preprocessor, and the words that ``--define`` and ``#define`` replace."""

from __future__ import annotations

import re

from slirpy.testing.packetdrill.script import ScriptError, UnsupportedError

__all__ = ["choose"]

_DIRECTIVE = re.compile(
    r"#(ifdef|ifndef|if|elif|else|endif|define|undef|include)\b[ \t]*(.*?)[ \t]*(?://.*|/\*.*\*/[ \t]*)?$"
)
_CONDITION = re.compile(r"(!?)\s*(?:defined\s*\(\s*(\w+)\s*\)|defined\s+(\w+)|(\d+))")
_DEFINE = re.compile(r"--define\s*=\s*(\w+)\s*=\s*(\"[^\"]*\"|`[^`]*`|\S+)")


def choose(name: str, text: str, defines: dict[str, str]) -> str:
    """Blank out the directives of a script, and the lines that they exclude.

    A line that begins with ``#`` and is not a directive is a comment.

    Args:
        name: file name, for errors.
        text: the script.
        defines: defined words, and their replacements; the script's own definitions are added.

    Raises:
        ScriptError: a condition without its end, or an end without its condition.
        UnsupportedError: a condition that is more than ``defined(NAME)``, or an ``#include``.
    """
    if "#" not in text and "--define" not in text:
        return text
    kept: list[str] = []
    taken: list[bool | None] = []
    """For each open condition, whether its lines are included; None: an earlier branch was, and the rest is not."""
    opened: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        match = _DIRECTIVE.match(line)
        active = all(taken)
        if match is None or not _is_directive(match[1], match[2]):
            if active and (define := _DEFINE.match(line.strip())):
                defines[define[1]] = define[2]
                line = ""
            kept.append(line if active else "")
            continue
        kept.append("")
        word, rest = match[1], match[2]
        if word in ("if", "ifdef", "ifndef"):
            taken.append(active and _holds(number, word, rest, defines))
            opened.append(number)
        elif word in ("elif", "else", "endif") and not taken:
            raise ScriptError(f"{name}:{number}: #{word} without #ifdef")
        elif word == "endif":
            taken.pop()
            opened.pop()
        elif word in ("elif", "else"):
            outside = all(taken[:-1])
            if taken[-1] is not False:
                taken[-1] = None
            else:
                taken[-1] = outside and (word == "else" or _holds(number, "if", rest, defines))
        elif active:
            _define(number, word, rest, defines)
    if opened:
        raise ScriptError(f"{name}:{opened[-1]}: #ifdef without #endif")
    return "\n".join(kept)


def _is_directive(word: str, rest: str) -> bool:
    """Report whether it is a directive, not a comment that begins with such a word."""
    if word in ("ifdef", "ifndef", "undef"):
        return rest.isidentifier()
    if word in ("else", "endif"):
        return not rest or rest.startswith("#")
    if word == "define":
        return rest.partition(" ")[0].isidentifier()
    if word == "include":
        return rest.startswith(('"', "<"))
    return _CONDITION.match(rest) is not None


def _holds(line: int, word: str, rest: str, defines: dict[str, str]) -> bool:
    if word != "if":
        return (rest in defines) is (word == "ifdef")
    result = False
    operator = ""
    for piece in re.split(r"(&&|\|\|)", rest):
        if piece in ("&&", "||"):
            operator = piece
            continue
        match = _CONDITION.fullmatch(piece.strip())
        if match is None:
            raise UnsupportedError(line, f"#if {rest}: of conditions there is defined(NAME)")
        value = bool(int(match[4])) if match[4] else (match[2] or match[3]) in defines
        value = value is not bool(match[1])
        if operator == "&&":
            result = result and value
        elif operator == "||":
            result = result or value
        else:
            result = value
    return result


def _define(line: int, word: str, rest: str, defines: dict[str, str]) -> None:
    if word == "include":
        raise UnsupportedError(line, f"#include {rest}: a script is one file")
    name, _, value = rest.partition(" ")
    if word == "define":
        defines[name] = value.strip()
    else:
        defines.pop(name, None)
