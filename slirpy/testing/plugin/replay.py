"""Running again what a report describes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slirpy.records import NamedTuple

__all__ = ["Recorded", "recorded", "select"]


class Recorded(NamedTuple):
    """The test in a report."""

    test: str
    """Name of the test, as pytest has it."""
    seed: int
    """Seed of its network."""

    @property
    def names_seed(self) -> bool:
        """True if the name has the seed, as those of tests with several seeds do."""
        return f"seed{self.seed}" in self.test.partition("[")[2].rstrip("]").split("-")


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect every item but the one of ``--sim-replay``.

    Raises:
        pytest.UsageError: the file is no report of a test, or its test is not among those collected.
    """
    wanted = recorded(config)
    if wanted is None:
        return
    chosen = [item for item in items if _is_same(item.nodeid, wanted.test)]
    if not chosen:
        raise pytest.UsageError(
            f"--sim-replay {config.getoption('--sim-replay')}: its test {wanted.test} is not among the tests that"
            " were collected"
        )
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _is_same(one: str, other: str) -> bool:
    """Report whether two names of tests are the same: the folder to which they are relative may differ."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def recorded(config: pytest.Config) -> Recorded | None:
    """Return the test in the report of ``--sim-replay``; None: it is not given.

    Raises:
        pytest.UsageError: the file cannot be read, or is no report of a test.
    """
    name = config.getoption("--sim-replay")
    if name is None:
        return None
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
        return Recorded(str(content["test"]), int(content["seed"]))
    except OSError as error:
        raise pytest.UsageError(f"--sim-replay {name}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise pytest.UsageError(
            f"--sim-replay {name}: this is no JSON file of a report; --sim-artifacts DIR writes them"
        ) from None
