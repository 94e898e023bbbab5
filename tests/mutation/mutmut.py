"""mutmut in a copy of the repository, for one area of the package."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.support.repository import REPOSITORY

__all__ = ["AREAS", "Area", "Change", "Figures", "areas", "is_listed", "run"]

AREAS = Path(__file__).with_name("areas.toml")
_SURVIVORS = Path(__file__).with_name("survivors.toml")
_COPIED = ("slirpy", "tests", "docs", "examples", "benchmarks")
_KILLED, _TIMEOUT, _SURVIVED = (1, 3), (-24, 24, 36, 152, 255), (0, 5, 33)
_MANGLED = re.compile(r"(?P<module>[\w.]+)\.x(?:ǁ(?P<owner>\w+)ǁ|_)(?P<name>\w+)__mutmut_\d+")
_SETTINGS = """
[tool.mutmut]
source_paths = ["slirpy"]
only_mutate = {mutate}
also_copy = [
    "docs", "examples", "benchmarks", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml", "Makefile",
]
timeout_multiplier = 4.0
timeout_constant = 5.0
use_git_change_detection = false
track_dependencies = false
pytest_add_cli_args = ["-p", "no:cacheprovider", "-m", "not long and not stress"]
pytest_add_cli_args_test_selection = {tests}
"""


class Area(NamedTuple):
    """A part of the package, and the tests that concern it."""

    mutate: list[str]
    """Patterns of files."""
    tests: list[str]
    """Arguments for pytest."""


class Change(NamedTuple):
    """One mutant, in words that stay valid when others come before it."""

    function: str
    was: str
    becomes: str


class Figures(NamedTuple):
    """The result for one area."""

    mutants: int
    """Number of mutants of the area."""
    tried: int
    """Number of those that were run."""
    killed: int
    """Number of those that a test noticed, by failing or by taking too long."""
    survivors: list[Change]
    """The others."""


def areas() -> dict[str, Area]:
    """All areas by name."""
    return {name: Area(**given) for name, given in tomllib.loads(AREAS.read_text()).items()}


def is_listed(change: Change) -> bool:
    """Report whether a survivor need not be noticed, by ``survivors.toml``."""
    listed = tomllib.loads(_SURVIVORS.read_text())
    return change in [
        Change(each["function"], each["was"], each["becomes"]) for each in listed["survivor"]
    ] or any(
        re.search(each["was"], change.was) and re.search(each["becomes"], change.becomes)
        for each in listed["kind"]
    )


def run(name: str, folder: Path, *, most: int | None, seed: int, only: str = "*") -> Figures:
    """Run the mutants of an area.

    Args:
        name: of the area.
        folder: where to copy the repository to; what is there is replaced.
        most: number of mutants to run, chosen by chance; None: all.
        seed: for that choice.
        only: pattern of the modules' names, such as ``slirpy.nat.udp``.
    """
    _copy(areas()[name], folder)
    _mutmut(folder, "none of them")  # which writes the mutants, and finds the tests that reach each function
    found = _results(folder)
    chosen = sorted(mutant for mutant in found if fnmatch.fnmatch(_module(mutant), only))
    count = len(chosen)
    if most is not None and most < count:
        chosen = Random(seed).sample(chosen, most)
    _mutmut(folder, *chosen)
    found = {mutant: code for mutant, code in _results(folder).items() if mutant in set(chosen)}
    unclear = {mutant: code for mutant, code in found.items() if code not in (*_KILLED, *_TIMEOUT, *_SURVIVED)}
    if unclear:
        said = (folder / "output.txt").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"mutmut left {len(unclear)} mutants without a result; it said: {said}")
    survivors = [
        _change(folder, mutant)
        for mutant, code in found.items()
        if code in _SURVIVED and not (_runs_at_import(folder, mutant) and _fails_anew(folder, name, mutant))
    ]
    return Figures(count, len(found), len(found) - len(survivors), sorted(survivors))


def _runs_at_import(folder: Path, mutant: str) -> bool:
    """Report whether the changed function is called while its module is imported.

    mutmut forks a process for each mutant when all is imported, so that what such a function made is unchanged.
    """
    match = _MANGLED.fullmatch(mutant)
    assert match is not None, mutant
    source = (folder / "slirpy" / Path(*match["module"].split(".")[1:])).with_suffix(".py")
    if match["owner"] is not None or not source.exists():
        return False
    todo: list[ast.AST] = [ast.parse(source.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == match["name"]:
            return True
        todo += ast.iter_child_nodes(node)
    return False


def _fails_anew(folder: Path, name: str, mutant: str) -> bool:
    """Report whether the tests of the area notice a mutant in a process that imports it."""
    marks = ["-m", "not long and not stress"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *marks,
        *areas()[name].tests,
    ]
    environment = os.environ | {"MUTANT_UNDER_TEST": mutant}
    done = subprocess.run(command, cwd=folder / "mutants", env=environment, check=False, capture_output=True)
    # A mutant that cannot be imported is noticed, too: pytest then ends with another code than 1.
    return done.returncode not in (0, pytest.ExitCode.NO_TESTS_COLLECTED)


def _copy(area: Area, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "site")
    for part in _COPIED:
        shutil.copytree(REPOSITORY / part, folder / part, ignore=ignored)
    for path in (
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / each for each in ("mkdocs.yml", "Makefile", "LICENSE")),
    ):
        shutil.copy(path, folder)
    settings = _SETTINGS.format(mutate=json.dumps(area.mutate), tests=json.dumps(area.tests))
    (folder / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text() + settings)


def _mutmut(folder: Path, *names: str) -> None:
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    with (folder / "output.txt").open("w") as output:
        subprocess.run(command, cwd=folder, check=False, stdout=output, stderr=subprocess.STDOUT)
    if not (folder / "mutants").is_dir():
        raise RuntimeError((folder / "output.txt").read_text(errors="replace")[-4000:])


def _results(folder: Path) -> dict[str, int | None]:
    """Exit codes by mutant."""
    results: dict[str, int | None] = {}
    for path in sorted((folder / "mutants").rglob("*.meta")):
        results |= json.loads(path.read_text())["exit_code_by_key"]
    return results


def _module(mutant: str) -> str:
    match = _MANGLED.fullmatch(mutant)
    assert match is not None, mutant
    return match["module"]


def _change(folder: Path, mutant: str) -> Change:
    command = [sys.executable, "-m", "mutmut", "show", mutant]
    shown = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    match = _MANGLED.fullmatch(mutant)
    assert match is not None, mutant
    lines = shown.split("@@\n", 1)[-1].splitlines()
    function = ".".join(filter(None, (match["module"], match["owner"], match["name"])))
    return Change(function, _joined(lines, "-"), _joined(lines, "+"))


def _joined(lines: Iterable[str], sign: str) -> str:
    return " ".join(line[1:].strip() for line in lines if line.startswith(sign))
