"""Examples of Hypothesis: a network for each, and settings that suit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slirpy.testing.sim.network import Network

__all__ = ["PROFILE", "network", "register_profile", "without_explanation"]

PROFILE = "sim"


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


def register_profile() -> None:
    """Register the profile ``sim``: no deadline, and no search for lines of code that explain a failure.

    That search traces every line, which takes about five times as long, and finds lines of the simulator.
    """
    from hypothesis import settings

    settings.register_profile(PROFILE, parent=settings(), deadline=None, phases=_phases(settings().phases))


def without_explanation(function: Callable[..., Any]) -> None:
    """Apply the profile ``sim`` to a test without settings."""
    from hypothesis import settings

    if not hasattr(function, "_hypothesis_internal_settings_applied"):
        settings(deadline=None, phases=_phases(settings().phases))(function)


def _phases(phases: Any) -> list[Any]:
    from hypothesis import Phase

    return [phase for phase in phases if phase is not Phase.explain]
