"""The areas of mutation testing: each module belongs to one of them, and each pattern still names files."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from tests.mutation.mutmut import areas
from tests.support.repository import REPOSITORY

MODULES = [
    path.relative_to(REPOSITORY).as_posix()
    for part in ("tcp", "core", "nat", "services")
    for path in sorted((REPOSITORY / "slirpy" / part).rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_in_one_area(module: str) -> None:
    found = [name for name, area in areas().items() if any(fnmatch(module, each) for each in area.mutate)]
    assert len(found) == 1, f"{module} is in {found or 'no area'}; see tests/mutation/areas.toml"


@pytest.mark.parametrize("name", areas())
def test_each_pattern_and_each_test_is_there(name: str) -> None:
    area = areas()[name]
    for pattern in area.mutate:
        assert list(REPOSITORY.glob(pattern)), pattern
    for test in area.tests:
        assert (REPOSITORY / test.removeprefix("--ignore=").partition("::")[0]).exists(), test
