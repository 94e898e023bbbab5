"""Many runs of one scenario."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from slirpy.errors import ConfigError
from slirpy.testing import Network, explore


def scenario(net: Network) -> None:
    async def main() -> None:
        net.note("here")
        await asyncio.sleep(1)
        assert net.seed % 3, "planted"

    net.run(main, on="client")


def test_failures() -> None:
    """Each failure has its seed, its error and its report; function and results can be pickled."""
    again = pickle.loads(pickle.dumps(explore))
    failures = pickle.loads(pickle.dumps(again(scenario, range(1, 8), {"mtu": 1400})))
    assert [failure.seed for failure in failures] == [3, 6]
    assert "planted" in failures[0].error
    assert "here" in failures[0].report


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="seed"):
        explore(scenario, ["x"])  # type: ignore[list-item] # no seed
    with pytest.raises(ConfigError, match="seeds"):
        explore(scenario, 5)  # type: ignore[arg-type] # no list
