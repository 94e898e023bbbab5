"""The tests form a package tree, and the unit tests lie where what they test does."""

from __future__ import annotations

import re

import pytest

from tests.support.repository import PACKAGE, REPOSITORY

TESTS = REPOSITORY / "tests"
FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("*.py"))
NO_HELPER = re.compile(r"^from tests\.\S*\b(test_\w+|conftest) import", re.MULTILINE)
FOLDERS = sorted({folder for path in FILES for folder in path.parents})


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_each_folder_is_a_package(folder: str) -> None:
    """Otherwise pytest takes its files for modules at the top, where two of the same name collide."""
    assert (TESTS / folder / "__init__.py").exists()


def test_the_folders_of_unit_tests_are_those_of_the_package() -> None:
    ours = [folder.relative_to("unit") for folder in FOLDERS if "unit" in folder.parts]
    assert [str(folder) for folder in ours if not (PACKAGE / folder).is_dir()] == []


def test_no_file_repeats_the_name_of_its_folder() -> None:
    assert [str(path) for path in FILES if path.name.startswith(f"test_{path.parent.name}_")] == []


def test_helpers_are_in_modules_of_their_own() -> None:
    """Neither tests nor conftest.py are imported: what several files need has a name that says so."""
    assert [str(path) for path in FILES if NO_HELPER.search((TESTS / path).read_text())] == []
