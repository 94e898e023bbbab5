"""Files and names that pages, docstrings and comments mention exist: both are moved and renamed."""

from __future__ import annotations

import builtins
import importlib
import re
from collections.abc import Iterator
from functools import cache

from tests.support.documents import FENCE, PAGES, docstrings
from tests.support.repository import REPOSITORY

PLACES = ("slirpy", "benchmarks", "examples", "tests", "docs")
SOURCES = [path for place in PLACES for path in sorted((REPOSITORY / place).rglob("*.py"))]
FILE = re.compile(r"(?<![\w/.*<{-])(?:[\w-]+/)*[\w-]+\.(?:py|md|toml)\b(?!\.\w)")
OTHERS = {"set_sysctls.py", "test_echo.py", "test_things.py", "test_more.py"}
"""Files of other projects, and files that tests or readers write."""
COMMENT = re.compile(r"(?<!\S)# .*")
DEFINED = re.compile(r"(?:def|class) (\w+)|^ *(\w+)(?:: .*)?(?: = |$)|^ +(\w+): |self\.(\w+)\b", re.MULTILINE)
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|exc|obj):`~?([\w.]+)`")


def missing_files() -> Iterator[str]:
    """Place and name of each mentioned file that is none. The end of a path is enough."""
    paths = [*REPOSITORY.glob("*.*"), *(path for place in PLACES for path in (REPOSITORY / place).rglob("*.*"))]
    files = [path.relative_to(REPOSITORY).parts for path in paths]
    ends = {"/".join(parts[at:]) for parts in files for at in range(len(parts))} | OTHERS
    for path in (*PAGES, *SOURCES):
        text = path.read_text(encoding="utf-8")
        # The changelog names files that are gone, and NUMBER stands for one.
        absent = {name for name in FILE.findall(text) if name not in ends and "NUMBER" not in name}
        if not absent or path.name == "CHANGELOG.md":
            continue
        if path.suffix == ".md":
            prose = [FENCE.sub("", text)]
        else:
            prose = [*COMMENT.findall(text), *(doc for _, doc in docstrings(text))]
        for name in sorted(absent.intersection(FILE.findall("\n".join(prose)))):
            yield f"{path.relative_to(REPOSITORY)}: {name}"


def test_files_that_are_named_exist() -> None:
    missing = list(missing_files())
    assert not missing, "\n".join(missing)


@cache
def leads_somewhere(name: str) -> bool:
    """Report whether an absolute name is that of a module, or of an attribute of one or of its classes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def defined(text: str) -> set[str]:
    """Names that a file defines, more or less: of functions, classes, variables and attributes."""
    return {name for names in DEFINED.findall(text) for name in names}


def test_names_that_are_referred_to_exist() -> None:
    """Names in roles, as :func:`defined`. Those that are not absolute are defined in the package, or used nearby."""
    package: set[str] = set(dir(builtins))
    for path in SOURCES:
        if path.is_relative_to(REPOSITORY / "slirpy"):
            package |= defined(path.read_text(encoding="utf-8"))
    missing = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        own = set(re.findall(r"\w+", ROLE.sub("", text)))
        for name in sorted(set(ROLE.findall(text))):
            last = name.rpartition(".")[2]
            absolute = name.startswith("slirpy.")
            if not leads_somewhere(name) and (absolute or last not in package | own):
                missing.append(f"{path.relative_to(REPOSITORY)}: {name}")
    assert not missing, "\n".join(missing)
