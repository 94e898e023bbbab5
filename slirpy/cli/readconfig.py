"""Files of QEMU's ``-readconfig``: groups in brackets, then keys with quoted values."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slirpy.config.optionstring import Pairs

__all__ = ["Section", "parse", "read", "write"]

_HEADER = re.compile(r'\s*\[\s*([^\s"\]]+)\s*(?:"([^"]*)"\s*)?\]')
_PAIR = re.compile(r'\s*([^\s=]+)\s*=\s*"([^"]*)"')
SIZE_MAX = 1 << 20
"""Largest file, in bytes."""


@dataclass(slots=True)
class Section:
    """A group with its keys. What precedes the first header is a section without a group."""

    group: str
    name: str
    """The identifier, or empty."""
    lines: list[str]
    """Lines of the file, the header first."""

    def title(self) -> str:
        """The header's text, without brackets."""
        return f'{self.group} "{self.name}"' if self.name else self.group

    def pairs(self) -> Pairs:
        """Keys and values, in their order."""
        return [(match[1], match[2]) for line in self.lines[1:] if (match := _PAIR.match(line))]

    def rewrite(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """Replace all keys. Comments and empty lines stay."""
        others = [line for line in self.lines[1:] if not _PAIR.match(line)]
        self.lines[1:] = [*(f'  {key} = "{value or ""}"' for key, value in pairs), *others]


def read(name: str) -> str:
    """Read the text of a file.

    Raises:
        OSError: it cannot be read, or is larger than :data:`SIZE_MAX`.
    """
    with Path(name).open("rb") as file:
        data = file.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data.decode("utf-8", "surrogateescape")


def parse(text: str) -> list[Section]:
    """Split a file into its sections. A line that QEMU would not accept stays where it is, for QEMU to report."""
    sections = [Section("", "", [])]
    for line in text.splitlines():
        match = _HEADER.match(line)
        if match is None:
            sections[-1].lines.append(line)
        else:
            sections.append(Section(match[1], match[2] or "", [line]))
    return sections


def write(sections: Sequence[Section]) -> str:
    """Write the sections back."""
    return "".join(f"{line}\n" for section in sections for line in section.lines)
