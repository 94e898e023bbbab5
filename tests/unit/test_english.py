"""Docstrings begin with a noun or a verb, names of tests have plain subjects, and comments do not break code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import docstrings
from tests.support.repository import REPOSITORY

PLACES = ("slirpy", "benchmarks", "examples")
PRONOUN = re.compile(
    r"(Who|Whom|What|Whose|How|It|Its|Nobody|Nothing|Some(?:body|thing)|Whatever|Whoever|Where|One more|The same|As|"
    r"So|That|This|These|Those|They|He|We|Us|Our|Here|There|Which|Whether)\b"
)
ODD = re.compile(
    r"\b(is told|are told|tells? of|is to be|of (ours|yours|its own)|besides|as ever|who is|who has|nobody has)\b",
    re.IGNORECASE,
)
RIDDLE = re.compile(
    r"test_(?:(?:what|whatever|who|whom|whoever|nobodys?|somebodys?|it|told)(?:_|$)|"
    r".*_(?:told|hears?|heard|who|whom|whoever|whatever|nobodys?|somebodys?)(?:_|$))"
)
IGNORED = re.compile(r"# type: ignore(?!\[[\w, -]+\] # \w).*")
HANGING = re.compile(r"^ *[\])}](?:.*\S)?  # (?!fmt:|noqa|type:).*", re.MULTILINE)
QUOTED = re.compile(rf"[\"'](?:\s|\\\n)*{PRONOUN.pattern}")
"""A string that begins with one of the words: files without it need not be parsed, which takes seconds in all."""
BODIES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def files() -> Iterator[Path]:
    """All files that the rule covers."""
    for place in PLACES:
        yield from sorted((REPOSITORY / place).rglob("*.py"))


def found(text: str) -> list[tuple[int, str]]:
    """Line and words of each docstring that a rule finds fault with."""
    if not QUOTED.search(text) and not ODD.search(" ".join(text.split())):
        return []
    return [
        (line, match.group())
        for line, doc in docstrings(text)
        for rule in (PRONOUN.match, ODD.search)
        if (match := rule(" ".join(doc.split())))
    ]


def test_docstrings_are_plain_english() -> None:
    """No docstring begins with a pronoun or a riddle word, or contains one of the phrases to avoid."""
    faults = [
        f"{path.relative_to(REPOSITORY)}:{line}: {words!r}"
        for path in files()
        for line, words in found(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


def test_docstrings_of_tests_begin_with_a_noun_or_a_verb() -> None:
    """The rule is weaker here than in the package: it allows the odd phrases."""
    faults = [
        f"{path.relative_to(REPOSITORY)}:{line}: {text}"
        for place in ("tests", "docs")
        for path in sorted((REPOSITORY / place).rglob("*.py"))
        if QUOTED.search(program := path.read_text(encoding="utf-8"))
        for line, text in docstrings(program)
        if PRONOUN.match(text)
    ]
    assert not faults, "\n".join(faults)


def names_of_tests() -> Iterator[tuple[Path, str]]:
    """Test functions of files with a possible fault, and scripts of packetdrill as functions of the same words."""
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not any(map(RIDDLE.match, re.findall(r"\bdef\s+(test_\w+)", text))):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield path, node.name
    for path in sorted((REPOSITORY / "tests").rglob("*.pkt")):
        yield path, f"test_{path.stem.replace('-', '_')}"


def test_names_of_tests_are_no_riddles() -> None:
    """Names of tests have a plain subject, which is no pronoun, and nothing in them hears or is told."""
    faults = [
        f"{path.relative_to(REPOSITORY)}: {name}" for path, name in names_of_tests() if RIDDLE.match(name)
    ]
    assert not faults, "\n".join(faults)


def test_no_comment_has_made_the_formatter_break_its_line() -> None:
    """A comment that is too long for the end of a line stands above it."""
    faults = [
        f"{path.relative_to(REPOSITORY)}: {match.group().strip()}"
        for place in (*PLACES, "tests", "docs")
        for path in sorted((REPOSITORY / place).rglob("*.py"))
        for match in HANGING.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


def test_an_ignored_error_of_types_has_a_code_and_a_reason() -> None:
    """``# type: ignore[code] # reason``."""
    faults = [
        f"{path.relative_to(REPOSITORY)}: {match.group()}"
        for place in (*PLACES, "tests", "docs")
        for path in sorted((REPOSITORY / place).rglob("*.py"))
        for match in IGNORED.finditer(path.read_text(encoding="utf-8"))
        if path.name != "test_english.py"
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"""What it does."""', 1),
        ('"""Fine."""\n\ndef f():\n    """It has failed."""', 4),
        ('X = 1\n"""How many."""', 2),
        ('"""A port that is told."""', 1),
        ('class A:\n    """Fine."""\n    x: int\n    """Who asked."""', 4),
    ],
)
def test_the_rule_sees_every_kind_of_docstring(text: str, line: int) -> None:
    """Modules, functions, classes, constants and attributes are all covered."""
    assert [at for at, _ in found(text)] == [line]


@pytest.mark.parametrize(
    "name",
    ["test_what_is_sent_again", "test_who_has_most", "test_it", "test_a_full_disk_is_told", "test_a_frame_for_nobody",
     "test_room_is_told_once", "test_the_guest_hears_a_reset", "test_told_once"],
)  # fmt: skip
def test_the_rule_sees_riddles(name: str) -> None:
    assert RIDDLE.match(name) is not None


@pytest.mark.parametrize("name", ["test_a_whole_segment", "test_its_timer", "test_someone", "test_retold"])
def test_the_rule_spares_longer_words(name: str) -> None:
    assert RIDDLE.match(name) is None
