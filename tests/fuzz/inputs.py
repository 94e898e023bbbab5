"""The inputs that are kept: a text file for each target, one input in hexadecimal digits a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["CORPUS", "read", "write"]

CORPUS = Path(__file__).with_name("corpus")


def read(target: str) -> list[bytes]:
    """The inputs of a target; none if there is no file."""
    path = CORPUS / f"{target}.hex"
    return [bytes.fromhex(line) for line in path.read_text().split()] if path.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Replace the inputs of a target."""
    lines = sorted({data.hex() for data in inputs if data}, key=lambda line: (len(line), line))
    (CORPUS / f"{target}.hex").write_text("".join(f"{line}\n" for line in lines))
