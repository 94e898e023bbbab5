"""Tables of the rules of each RFC and the tests that prove them, generated when the documentation is built.

The rows are in ``reference/rfc/NUMBER.toml``. The proofs are the markers of the tests, ``pytest.mark.rfc("9293",
"MUST-13")``, and the heads of the scripts under ``tests/packetdrill``, ``# RFC 9293 MUST-13``. In a page, ``<!-- rfc:
9293 -->`` becomes the table of that RFC, and ``<!-- rfc: summary -->`` counts the rows of all. The tests themselves
are part of the documentation, so that a row can point at them. ``tests/unit/test_rfc_tables.py`` fails if a row has
neither a test nor a reason, and if a test proves a row that does not exist.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from slirpy.testing.packetdrill import UnsupportedError, parse

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "docs" / "reference" / "rfc"
TESTS = ROOT / "tests"
MARKER = re.compile(r"^<!-- rfc: (\w+) -->$", re.MULTILINE)
STATUSES = {
    "met": "tests prove it",
    "different": "slirpy does something else, for a reason",
    "left out": "optional, and not implemented",
    "not applicable": "the rule concerns something that does not exist here",
}
"""States of a row. A row without one is met."""


class Proof(NamedTuple):
    """A test that fails when a rule is broken."""

    path: str
    """From the root of the repository."""
    line: int
    test: str
    """Name of the test, or of the script."""


@dataclass(slots=True)
class Row:
    """One rule of an RFC."""

    rule: str
    section: str
    text: str
    level: str = ""
    """MUST, SHOULD or MAY."""
    group: str = ""
    status: str = "met"
    reason: str = ""
    proofs: list[Proof] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """The rules of one RFC."""

    number: str
    title: str
    about: str
    rows: dict[str, Row]


# ------------------------------------------------------------------------------------------ the markers


def markers(tests: Path = TESTS) -> Iterator[tuple[str, str, Proof]]:
    """RFC, rule and proof of all tests and scripts below a folder, except those under ``wanted``.

    Raises:
        ValueError: the arguments of a marker are not two string literals.
    """
    for path in sorted(tests.rglob("*.py")):
        if "mark.rfc" in (text := path.read_text()):
            for node in ast.parse(text).body:
                yield from _marked(node, str(path.relative_to(tests.parent)), path.stem)
    for path in sorted(tests.rglob("*.pkt")):
        if "wanted" in path.parts:
            continue
        try:
            rules = parse(path.read_text(), path.name).rules
        except UnsupportedError:
            continue
        for number, rule in rules:
            yield number, rule, Proof(str(path.relative_to(tests.parent)), 1, path.stem)


def _marked(node: ast.stmt, path: str, name: str) -> Iterator[tuple[str, str, Proof]]:
    """Markers in a statement; those of methods are named after the method."""
    inner = list[ast.stmt]()
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        name = node.name
        if isinstance(node, ast.ClassDef):
            inner = [child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
    for child in inner:
        yield from _marked(child, path, name)
    theirs = {id(found) for child in inner for found in ast.walk(child)}
    for call in ast.walk(node):
        if not (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "rfc"
        ):
            continue
        if id(call) in theirs or ast.unparse(call) == "pytest.mark.rfc(*rule)":
            continue  # counted with its method, or with its script in `markers`
        words = [
            word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)
        ]
        if len(words) != 2 or len(call.args) != 2 or call.keywords:
            raise ValueError(f'{path}:{call.lineno}: write pytest.mark.rfc("9293", "MUST-13"), in plain text')
        yield words[0], words[1], Proof(path, node.lineno, name)


# -------------------------------------------------------------------------------------------- the rows


def tables(folder: Path = TABLES, tests: Path = TESTS) -> dict[str, Table]:
    """All tables by number of the RFC, with their proofs.

    Raises:
        ValueError: a row is wrong, or a test proves a row that does not exist; the message lists all mistakes.
    """
    found: dict[str, Table] = {}
    wrong: list[str] = []
    for path in sorted(folder.glob("*.toml"), key=lambda path: int(path.stem)):
        data: dict[str, Any] = tomllib.loads(path.read_text())
        rows: dict[str, Row] = {}
        group = ""
        for entry in data["row"]:
            group = entry.get("group", group)
            row = Row(**(entry | {"group": group}))
            row.level = row.level or _level(row.rule)
            wrong += [f"{path.name}: {row.rule}: {text}" for text in _mistakes(row, rows)]
            rows[row.rule] = row
        found[path.stem] = Table(path.stem, data["title"], data.get("about", ""), rows)
    for number, rule, proof in markers(tests):
        if number not in found or rule not in found[number].rows:
            near = [name for name in found[number].rows if name.split()[0] == rule] if number in found else []
            there = f"; there are {', '.join(near)}" if near else ""
            wrong.append(f"{proof.path}: {proof.test}: there is no row RFC {number} {rule}{there}")
        elif proof not in (proofs := found[number].rows[rule].proofs):
            proofs.append(proof)
    if wrong:
        raise ValueError("\n".join(wrong))
    return found


def _level(rule: str) -> str:
    return {"MUST": "MUST", "SHLD": "SHOULD", "REC": "SHOULD", "MAY": "MAY"}.get(rule.split("-")[0], "")


def _mistakes(row: Row, others: dict[str, Row]) -> Iterator[str]:
    if row.rule in others:
        yield "is there twice"
    if row.status not in STATUSES:
        yield f"status {row.status!r} is none of {', '.join(STATUSES)}"
    if row.status == "left out" and row.level == "MUST":
        yield "what an RFC demands cannot be left out: it is met, different or not applicable"
    if (row.status != "met") != bool(row.reason):
        yield "a reason is for rows that are not met, and each of those needs one"
    if row.level not in ("MUST", "SHOULD", "MAY", "rule"):
        yield f"level {row.level!r} is none of MUST, SHOULD, MAY, rule"


def state(row: Row) -> str:
    """Status as shown in the table: a met rule without a test is open."""
    return "open" if row.status == "met" and not row.proofs else row.status


def unproven(found: dict[str, Table]) -> list[str]:
    """The rows that are said to be met, and that no test proves."""
    return [
        f"RFC {table.number} {row.rule}: no test proves it, and no reason is given"
        for table in found.values()
        for row in table.rows.values()
        if state(row) == "open"
    ]


# ------------------------------------------------------------------------------------------- the pages


def table(number: str, found: dict[str, Table]) -> str:
    """Render the rows of one RFC as Markdown, a table for each group, for pages in ``reference/``."""
    numbered = any(_level(rule) for rule in found[number].rows)
    head = f"| rule | {'section' if numbered else ''} | what | state | proof |"
    out = [found[number].about.strip()]
    group = None
    for row in found[number].rows.values():
        if row.group != group:
            group = row.group
            out += ["", *([f"## {group}", ""] if group else []), head, "|---" * 5 + "|"]
        said = state(row) if not row.reason else f"**{state(row)}**: {row.reason}"
        second = row.section if numbered else "" if row.level == "rule" else row.level
        cells = (row.rule, second, row.text, said, ", ".join(map(_link, row.proofs)))
        out.append(f"| {' | '.join(cell.strip().replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(out).strip()


def _link(proof: Proof) -> str:
    where = f"../proofs/{proof.path}.txt"
    if proof.path.endswith(".py") and not proof.path.endswith(f"/{proof.test}.py"):
        where += f"#:~:text={quote('def ' + proof.test)}"
    return f'[{escape(proof.test.replace("_", " "))}]({where} "{proof.path}")'


def summary(found: dict[str, Table]) -> str:
    """Table of the numbers of rows of each RFC in each state."""
    counts = {number: Counter(map(state, entry.rows.values())) for number, entry in found.items()}
    total = sum(counts.values(), Counter[str]())
    states = [name for name in (*STATUSES, "open") if total[name]]
    out = [f"| RFC | | rows | {' | '.join(states)} |", "|---" * (3 + len(states)) + "|"]
    for number, count in counts.items():
        cells = " | ".join(str(count[name] or "") for name in states)
        out.append(f"| {number} | {found[number].title} | {count.total()} | {cells} |")
    out.append(f"| | all | {total.total()} | {' | '.join(str(total[name]) for name in states)} |")
    return "\n".join(out)


@lru_cache(maxsize=1)
def _all() -> dict[str, Table]:
    return tables()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tests to which rows link, as text files."""
    _all.cache_clear()
    rows = [row for entry in _all().values() for row in entry.rows.values()]
    for path in sorted({proof.path for row in rows for proof in row.proofs}):
        files.append(File.generated(config, f"proofs/{path}.txt", content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the tables.

    Raises:
        KeyError: there is no such table.
    """
    return MARKER.sub(
        lambda match: summary(_all()) if match[1] == "summary" else table(match[1], _all()), markdown
    )
