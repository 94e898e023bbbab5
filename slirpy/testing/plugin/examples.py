"""Examples of Hypothesis: a network for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slirpy.testing.sim.network import Network

__all__ = ["network"]


@contextmanager
def network() -> Iterator[Network]:
    """Make a network for one example; a failure gets its report as a note."""
    from slirpy.testing.plugin.session import current_session

    session = current_session()
    net = session.open(0)
    try:
        yield net
        session.check(net)
    except Exception as error:  # whatever the test fails with; it goes on to Hypothesis
        session.failed_example(net, error)
        raise
    finally:
        session.close()
