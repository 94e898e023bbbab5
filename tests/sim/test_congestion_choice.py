"""The congestion control that the connections of a network have."""

from __future__ import annotations

from typing import Any

import pytest

from slirpy import Config, ConfigError
from slirpy.tcp.congestion import Cubic, Reno
from slirpy.testing import Remote
from tests.support.harness import WORLD, Net, Peer, config


class Mine(Reno):
    """User-defined algorithm."""

    __slots__ = ()


def of_a_connection(net: Net) -> Any:
    net.host.serve_tcp(WORLD, 80, Remote)
    Peer(net).open()
    (flow,) = net.stack.tcp_flows.values()
    return flow.conn.cc


@pytest.mark.parametrize(
    ("given", "made"), [({}, Cubic), ({"congestion": "reno"}, Reno), ({"congestion": Mine}, Mine)]
)
def test_connections_use_the_configured_algorithm(given: dict[str, Any], made: type) -> None:
    assert type(of_a_connection(Net(config(**given)))) is made


@pytest.mark.parametrize("given", ["fast", "", None, 5])
def test_an_unknown_algorithm_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="is none of cubic, reno, and cannot be called to make one"):
        Config(congestion=given)
