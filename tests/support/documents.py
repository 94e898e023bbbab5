"""The texts of the project: pages with their code blocks, and docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.repository import REPOSITORY

__all__ = ["FENCE", "PAGES", "docstrings"]

PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "benchmarks").glob("*.md")]
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block of code in a page: its language and its text."""
_BODIES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of all docstrings of a program, including those of attributes and constants."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _BODIES):
            for statement in node.body:
                if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
                    continue
                if isinstance(statement.value.value, str):
                    yield statement.lineno, statement.value.value
