"""Running again what a report describes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

__all__ = ["select"]


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect every item but the one of ``--sim-replay``.

    Raises:
        pytest.UsageError: the file is no report of a test, or its test is not among those collected.
    """
    name = config.getoption("--sim-replay")
    if name is None:
        return
    wanted = test_of(Path(name))
    chosen = [item for item in items if _is_same(item.nodeid, wanted)]
    if not chosen:
        raise pytest.UsageError(
            f"--sim-replay {name}: its test {wanted} is not among the tests that were collected"
        )
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _is_same(one: str, other: str) -> bool:
    """Report whether two names of tests are the same: the folder to which they are relative may differ."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def test_of(path: Path) -> str:
    """Return the name of the test in a report.

    Raises:
        pytest.UsageError: the file cannot be read, or is no report of a test.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        test = content["test"]
    except OSError as error:
        raise pytest.UsageError(f"--sim-replay {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise pytest.UsageError(
            f"--sim-replay {path}: this is no JSON file of a report; --sim-artifacts DIR writes them"
        ) from None
    return str(test)
