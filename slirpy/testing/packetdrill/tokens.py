"""Tokens of one statement, and the values among them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from slirpy.testing.packetdrill.script import ScriptError, Value, When, Word
from slirpy.units import SECOND

__all__ = ["Tokens"]

_TOKEN = re.compile(
    r"""\s*(%\{.*?\}%|`[^`]*`|"(?:\\.|[^"\\])*"|\.\.\.|\.\.(?=\()|0x[0-9a-fA-F]+|\d+\.\d+|\.\d+|\d+\.(?!\.)|\d+\w*|[A-Za-z_]\w*|\S)""",
    re.DOTALL,
)
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")


class Tokens:
    """A cursor over the tokens of a statement.

    Args:
        where: file and line, for errors.
        text: the statement.
        defines: words and their replacements.
    """

    def __init__(self, where: str, text: str, defines: Mapping[str, str] | None = None) -> None:
        self._where = where
        self._text = text
        self._found = [match[1] for match in _TOKEN.finditer(text)]
        self._at = 0
        if defines:
            self._found = [new for old in self._found for new in _replaced(old, defines)]

    def error(self, what: str) -> ScriptError:
        """Make an error that names the place; the caller raises it."""
        return ScriptError(f"{self._where}: {what} in: {' '.join(self._text.split())}")

    @property
    def next(self) -> str:
        """Return the next token without taking it; empty at the end."""
        return self._found[self._at] if self._at < len(self._found) else ""

    def take(self) -> str:
        """Take the next token."""
        token = self.next
        if not token:
            raise self.error("the end is missing")
        self._at += 1
        return token

    def skip(self, token: str) -> bool:
        """Take the next token if it is this one; returns whether it was."""
        if self.next != token:
            return False
        self._at += 1
        return True

    def need(self, token: str) -> None:
        """Take this token.

        Raises:
            ScriptError: the next token is another one.
        """
        if not self.skip(token):
            raise self.error(f'"{token}" expected, not "{self.next or "the end"}"')

    def integer(self) -> int:
        """Take a number, possibly negative or hexadecimal."""
        sign = -1 if self.skip("-") else 1
        token = self.take()
        try:
            return sign * int(token, 0 if token.startswith("0x") else 10)
        except ValueError:
            raise self.error(f'a number expected, not "{token}"') from None

    def end(self) -> None:
        """Check that no token is left."""
        if self.next:
            raise self.error(f'"{self.next}" is not expected')

    # --------------------------------------------------------------------------------------- times

    def time(self) -> When:
        """Take a time: ``+.1``, ``0.5``, ``+0~+.1``, ``0.1~0.2``, ``*``."""
        if self.skip("*"):
            return When(relative=True, start=0, end=0, anytime=True)
        relative = self.skip("+")
        start = end = self._seconds()
        if self.skip("~"):
            if self.skip("+") != relative:
                raise self.error("both ends of a range must have a +, or neither")
            end = self._seconds()
            if end < start:
                raise self.error("a range must not end before it begins")
        return When(relative, start, end)

    def _seconds(self) -> int:
        token = self.take()
        if not _NUMBER.fullmatch(token):
            raise self.error(f'a time in seconds expected, not "{token}"')
        whole, _, rest = token.partition(".")
        if len(rest) > 9:
            raise self.error("a time can have at most nine digits after the point")
        return int(whole or 0) * SECOND + int(rest.ljust(9, "0") or 0)

    # -------------------------------------------------------------------------------------- values

    def value(self) -> Value:
        """Take an argument of a call."""
        token = self.next
        if self.skip("..."):
            return None
        if token == "[":
            found: Value = list(self.values("[", "]"))
        elif token == "{":
            found = self._structure()
        elif token.startswith('"'):
            found = self._text_value()
        elif token == "-" or token[:1].isdigit():
            found = self.integer()
        else:
            return self._word()
        if isinstance(found, int) and self.next == "|":
            return self._joined(str(found))
        return found

    def _text_value(self) -> str:
        """Take ``"one" "two"``, or ``"the beginning"...``."""
        text = ""
        while self.next.startswith('"'):
            text += self.take()[1:-1]
        self.skip("...")
        return text

    def values(self, begin: str, finish: str) -> tuple[Value, ...]:
        """Take comma-separated values in brackets."""
        self.need(begin)
        found: list[Value] = []
        while not self.skip(finish):
            if found:
                self.need(",")
            found.append(self.value())
        return tuple(found)

    def _structure(self) -> Value:
        """Take ``{fd=4, events=POLLIN}``, ``{msg_iov(1)=[...], msg_flags=0}``, ``{..., 1000}``."""
        self.need("{")
        if not self._is_named():
            self._at -= 1
            return list(self.values("{", "}"))
        found: dict[str, Value] = {}
        while not self.skip("}"):
            if found:
                self.need(",")
            name = self.take()
            if self.next == "(":
                self.values("(", ")")
            self.need("=")
            found[name] = self.value()
        return found

    def _is_named(self) -> bool:
        """Report whether ``name=`` or ``name(...)=`` comes next."""
        at = self._at + 1
        if not self.next.isidentifier():
            return False
        if self._found[at : at + 1] == ["("]:
            while at < len(self._found) and self._found[at] != ")":
                at += 1
            at += 1
        return self._found[at : at + 1] == ["="]

    def _word(self) -> Value:
        name = self._name()
        if self.next == "(":
            return Word(name, self.values("(", ")"))
        if self.skip("="):
            return {name: self.value()}
        return self._joined(name)

    def _joined(self, first: str) -> Word:
        """Take names and numbers joined by ``|``."""
        names = [first]
        while self.skip("|"):
            names.append(self.take() if self.next[:1].isdigit() else self._name())
        return Word("|".join(names))

    def _name(self) -> str:
        token = self.take()
        if not token.isidentifier():
            raise self.error(f'a value expected, not "{token}"')
        return token


def _replaced(token: str, defines: Mapping[str, str]) -> list[str]:
    """Return the replacement of a word; applied once, so that no definition is circular."""
    if token not in defines:
        return [token]
    return [match[1] for match in _TOKEN.finditer(defines[token])]
