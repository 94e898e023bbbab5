"""Examples of Hypothesis: a network for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st

if TYPE_CHECKING:
    from slirpy.testing.sim.network import Network

__all__ = ["run_example"]


def run_example(run: Callable[[Network], object], drawn: Iterable[object]) -> None:
    """Run an example in a new network, and again if that is wanted; a failure gets the report of its network.

    Args:
        run: called with the network.
        drawn: the values that Hypothesis has chosen.
    """
    from slirpy.testing.plugin.session import current_session

    __tracebackhide__ = True
    session = current_session()
    net = session.open(0)
    try:
        run(net)
        session.check(net)
        # What a test draws while it runs cannot be drawn again.
        if session.twice and not any(isinstance(each, st.DataObject) for each in drawn):
            session.repeat(net, run)
    except (Exception, pytest.fail.Exception) as error:  # whatever it is, it goes on to Hypothesis
        session.failed_example(error)
        raise
    finally:
        session.close()
