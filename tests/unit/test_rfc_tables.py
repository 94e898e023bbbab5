"""Every rule of the RFCs has a test that proves it, or a reason; and the pages say so."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.repository import REPOSITORY, load

APPENDIX = {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1}
"""Number of each that RFC 9293 has; none is missing."""

ROWS = """
title = "A protocol"
about = "Ours."
[[row]]
rule = "MUST-1"
section = "1"
text = "This | that."
[[row]]
rule = "MAY-2"
section = "2"
text = "Much."
status = "left out"
reason = "Nobody asks."
"""
TESTS = """
import pytest

CASES = [pytest.param(1, marks=pytest.mark.rfc("1", "MUST-1"))]

@pytest.mark.rfc("1", "MUST-1")
def test_one(): ...

class TestMore:
    @pytest.mark.rfc("1", "MUST-1")
    def test_two(self): ...
"""
SCRIPT = "# RFC 1 MUST-1\n--open=passive\n+1 close()\n"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return load("docs/rfc_hooks.py")


@pytest.fixture(scope="module")
def ours(hooks: ModuleType) -> Any:
    """The tables of this project."""
    return hooks.tables()


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with rows, tests and a script."""
    (tmp_path / "rfc").mkdir()
    (tmp_path / "tests" / "wanted").mkdir(parents=True)
    (tmp_path / "rfc" / "1.toml").write_text(ROWS)
    (tmp_path / "tests" / "test_things.py").write_text(TESTS)
    (tmp_path / "tests" / "some-script.pkt").write_text(SCRIPT)
    (tmp_path / "tests" / "wanted" / "later.pkt").write_text(SCRIPT.replace("MUST-1", "MUST-99"))
    return tmp_path


# ------------------------------------------------------------------------------------------ the project's


def test_every_rule_is_proven_or_has_a_reason(hooks: ModuleType, ours: Any) -> None:
    assert hooks.unproven(ours) == []


def test_appendix_b_is_complete(ours: Any) -> None:
    rows = ours["9293"].rows
    for kind, last in APPENDIX.items():
        found = {int(match[1]) for rule in rows if (match := re.match(rf"{kind}-(\d+)\b", rule))}
        assert found == set(range(1, last + 1))


def test_every_table_is_on_a_page(hooks: ModuleType, ours: Any) -> None:
    pages = "".join(path.read_text() for path in (REPOSITORY / "docs" / "reference").glob("*.md"))
    shown = set(hooks.MARKER.findall(pages))
    assert shown == {*ours, "summary"}


# ------------------------------------------------------------------------------------------ the machinery


def test_the_table_follows_the_markers(hooks: ModuleType, world: Path) -> None:
    found = hooks.tables(world / "rfc", world / "tests")
    assert hooks.table("1", found).split("\n") == [
        "Ours.",
        "",
        "| rule | section | what | state | proof |",
        "|---|---|---|---|---|",
        "| MUST-1 | 1 | This &#124; that. | met | "
        '[test things](../proofs/tests/test_things.py.txt "tests/test_things.py"), '
        '[test one](../proofs/tests/test_things.py.txt#:~:text=def%20test_one "tests/test_things.py"), '
        '[test two](../proofs/tests/test_things.py.txt#:~:text=def%20test_two "tests/test_things.py"), '
        '[some-script](../proofs/tests/some-script.pkt.txt "tests/some-script.pkt") |',
        "| MAY-2 | 2 | Much. | **left out**: Nobody asks. |  |",
    ]
    assert hooks.summary(found).split("\n")[2:] == [
        "| 1 | A protocol | 2 | 1 | 1 |",
        "| | all | 2 | 1 | 1 |",
    ]
    assert hooks.unproven(found) == []


def test_a_rule_without_a_test_is_open(hooks: ModuleType, world: Path) -> None:
    (world / "tests" / "test_things.py").unlink()
    (world / "tests" / "some-script.pkt").unlink()
    found = hooks.tables(world / "rfc", world / "tests")
    assert hooks.unproven(found) == ["RFC 1 MUST-1: no test proves it, and no reason is given"]
    assert "| open |" in hooks.table("1", found)


@pytest.mark.parametrize("marker", ['"1", "MUST-3"', '"2", "MUST-1"'])
def test_a_test_of_a_rule_that_is_not_there(hooks: ModuleType, world: Path, marker: str) -> None:
    (world / "tests" / "test_more.py").write_text(f"@pytest.mark.rfc({marker})\ndef test_x(): ...\n")
    with pytest.raises(ValueError, match=r"test_more\.py: test_x: there is no row RFC \d MUST-\d"):
        hooks.tables(world / "rfc", world / "tests")


def test_a_script_of_a_rule_that_is_not_there(hooks: ModuleType, world: Path) -> None:
    (world / "tests" / "some-script.pkt").write_text(SCRIPT.replace("MUST-1", "MUST-1, 4.4"))
    with pytest.raises(ValueError, match="some-script: there is no row RFC 1 4"):
        hooks.tables(world / "rfc", world / "tests")


def test_a_section_with_several_rules_says_which(hooks: ModuleType, world: Path) -> None:
    rows = ROWS.replace('"MUST-1"', '"5.2 old"\nlevel = "rule"').replace('"MAY-2"', '"5.2 new"\nlevel = "MAY"')
    (world / "rfc" / "1.toml").write_text(rows)
    (world / "tests" / "test_things.py").unlink()
    (world / "tests" / "some-script.pkt").write_text(SCRIPT.replace("MUST-1", "5.2"))
    with pytest.raises(ValueError, match=r"there is no row RFC 1 5\.2; there are 5\.2 old, 5\.2 new"):
        hooks.tables(world / "rfc", world / "tests")


@pytest.mark.parametrize("arguments", ["", '"1"', 'NAME, "b"', '"1", 5', '"1", "MUST-1", "MAY-2"', "*rules"])
def test_a_marker_that_cannot_be_read(hooks: ModuleType, world: Path, arguments: str) -> None:
    (world / "tests" / "test_more.py").write_text(f"import pytest\nX = pytest.mark.rfc({arguments})\n")
    with pytest.raises(ValueError, match=r"test_more\.py:2: write pytest\.mark\.rfc"):
        hooks.tables(world / "rfc", world / "tests")


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("MAY-2", "MUST-1", "is there twice"),
        ('"left out"', '"forgotten"', "is none of met"),
        ("MAY-2", "MUST-2", "cannot be left out"),
        ('reason = "Nobody asks."', "", "a reason is for rows"),
        ('status = "left out"', "", "a reason is for rows"),
        ("MAY-2", "2.1 thing", "level '' is none"),
    ],
)
def test_a_row_that_cannot_be(hooks: ModuleType, world: Path, old: str, new: str, wrong: str) -> None:
    (world / "rfc" / "1.toml").write_text(ROWS.replace(old, new))
    with pytest.raises(ValueError, match=wrong):
        hooks.tables(world / "rfc", world / "tests")
