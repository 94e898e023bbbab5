"""Inputs that fuzzing has found, each of which takes another way through the code, and all that ever went wrong."""

from __future__ import annotations

import pytest

from tests.fuzz import inputs
from tests.fuzz.targets import TARGETS

LIMIT = 1 << 20
"""Bytes that all files may have together."""


@pytest.mark.parametrize("target", TARGETS)
def test_inputs(target: str) -> None:
    known = inputs.read(target)
    assert known, f"no inputs; python -m tests.fuzz {target} --keep finds some"
    for data in known:
        try:
            TARGETS[target](data)
        except Exception as error:  # any exception is a fault of the target
            error.add_note(f"input {data.hex()}")
            raise


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_beginnings_of_inputs(target: str) -> None:
    """Inputs that are cut short raise no exception, either."""
    for data in inputs.read(target)[:20]:
        for length in range(min(len(data), 60)):
            TARGETS[target](data[:length])


def test_the_files_are_small_and_of_targets() -> None:
    files = sorted(inputs.CORPUS.iterdir())
    assert [path.stem for path in files] == sorted(TARGETS)
    assert sum(path.stat().st_size for path in files) < LIMIT
